/// Authenticity: the share of samples that are not copies of training data.
///
/// A sample counts as a copy where it is nearer to its nearest training sample than that one is to any other training
/// sample. A model that has memorised gets 0. A perfect one gets no more than the odds that of two fresh draws the
/// neighbour of one has another neighbour: 1/3 on the line, 0.38 in the plane, 1/2 in many dimensions (Pickard 1982).
/// authenticity_data, of real data of the test split, is what to compare with. The cost is the square of
/// `training_samples`, once for all models, and `training_samples` times the number of samples; a copy of what was left
/// out counts as authentic. Source: Alaa et al. 2022 (arXiv 2102.08921); AuthPct of Stein et al. 2023
/// (arXiv 2306.04675) is the figure in percent.
///
///     [evaluate]
///     metrics = ["authenticity"]
///     features = "weights/fashion_mnist_classifier.safetensors"
///
///     [metric.authenticity]
///     training_samples = 10000
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include "../shared/draw.h"
#include "../shared/features_at.h"
#include "distances.h"

using namespace retort;

class Authenticity final : public Metric {
 public:
  explicit Authenticity(Params& p)
      : most_(p.get("training_samples", 10000, "at most so many, drawn from the training split", at_least(2))),
        data_(p.get("data", true, "measure authenticity_data too")) {}

  Measurement measure(const Evaluation& evaluation) const override {
    const Dataset* dataset = evaluation.dataset();
    constexpr int64_t fewest = 10;  // a share of fewer says nothing
    if (dataset == nullptr || dataset->size(Split::train) < 2) {
      return {};
    }
    const Tensor samples = evaluation.sample_features().to(at::kDouble);
    if (samples.size(0) < fewest) {
      return {};
    }
    const std::string which = std::to_string(most_) + " training samples";
    const Tensor training = evaluation
                                .shared("features of " + which,
                                        [&] {
                                          const Tensor index =
                                              draw_rows(at::arange(dataset->size(Split::train), at::kLong), most_,
                                                        evaluation.generator("authenticity"));
                                          return features_at(evaluation, *dataset, Split::train, index);
                                        })
                                .to(at::kDouble);
    // How far each training sample is from the nearest other one.
    const Tensor apart = evaluation.shared("gaps between " + which, [&] {
      std::vector<Tensor> out;
      for (const Tensor& part : training.split(rows_at_once)) {
        out.push_back(std::get<0>(distances(part, training).kthvalue(2, 1)));  // the first is itself
      }
      return at::cat(out);
    });
    Measurement out{{{"authenticity", authentic(samples, training, apart)}}, {}};
    if (data_) {
      const Tensor of_data = evaluation.shared("authenticity of data against " + which, [&] {
        const Tensor x = evaluation.features(evaluation.data(samples.size(0)).x).to(at::kDouble);
        return at::scalar_tensor(authentic(x, training, apart), at::kDouble);
      });
      out.values.emplace_back("authenticity_data", of_data.item<double>());
    }
    return out;
  }

 private:
  int64_t most_;
  bool data_;

  static double authentic(const Tensor& samples, const Tensor& training, const Tensor& apart) {
    int64_t count = 0;
    for (const Tensor& part : samples.split(rows_at_once)) {
      const auto [nearest, which] = distances(part, training).min(1);
      count += (nearest > apart.index_select(0, which)).sum().item<int64_t>();
    }
    return static_cast<double>(count) / static_cast<double>(samples.size(0));
  }
};

RETORT_PLUGIN(Authenticity, metric, authenticity)
