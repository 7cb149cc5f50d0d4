/// Cross entropy of a classifier, which trains the feature networks that metrics use.
///
///     [loss]
///     type = "cross_entropy"
///     label_smoothing = 0.1
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

using namespace retort;

class CrossEntropy final : public Loss {
 public:
  explicit CrossEntropy(Params& p)
      : label_smoothing_(p.get("label_smoothing", 0.0, "share of the target spread over all classes",
                               {.low = 0, .high = 1, .high_open = true})) {}

  Makes makes() const override { return Makes::classifier; }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor labels = step.batch.condition[inputs::labels];
    if (!labels.defined()) {
      throw RequestError("loss 'cross_entropy' needs a data set with labels");
    }
    const Tensor logits = step.student.network()(step.batch.x, {}, {}).to(at::kFloat);
    return {at::cross_entropy_loss(logits, labels, {}, at::Reduction::None, -100, label_smoothing_), {}};
  }

 private:
  double label_smoothing_;
};

RETORT_PLUGIN(CrossEntropy, loss, cross_entropy)
