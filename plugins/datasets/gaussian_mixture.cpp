/// Samples of a Gaussian mixture, with the same parameters as the teacher of that name.
///
///     [dataset]
///     type = "gaussian_mixture"
///     layout = "ring"
///     modes = 8
///     std = 0.06
#include <retort/plugin.h>

#include "../shared/mixture.h"
#include "../shared/points.h"

using namespace retort;

class GaussianMixtureData final : public Points {
 public:
  explicit GaussianMixtureData(Params& p) : Points(p), mixture_(p) {}
  std::vector<int64_t> shape() const override { return {mixture_.dimension()}; }

 protected:
  Tensor draw(int64_t n, at::Generator generator) const override {
    return mixture_.sample(n, generator).first.to(at::kFloat);
  }

 private:
  Mixture mixture_;
};

RETORT_PLUGIN(GaussianMixtureData, dataset, gaussian_mixture)
