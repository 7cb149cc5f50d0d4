/// A metric that scales its samples in place before it looks at them, as is usual before features: for the tests.
#include <retort/metric.h>
#include <retort/plugin.h>

using namespace retort;

class Scales final : public Metric {
 public:
  explicit Scales(Params&) {}
  Measurement measure(const Evaluation& evaluation) const override {
    Tensor x = evaluation.samples();
    x.mul_(0.5).add_(0.5);
    return {{{"scaled", x.mean().item<double>()}}, {}};
  }
};

RETORT_PLUGIN(Scales, metric, scales)
