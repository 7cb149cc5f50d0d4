/// The share of test samples that a classifier labels rightly.
///
///     [evaluate]
///     metrics = ["accuracy"]
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

using namespace retort;

class Accuracy final : public Metric {
 public:
  explicit Accuracy(Params&) {}

  Measurement measure(const Evaluation& evaluation) const override {
    const Dataset* dataset = evaluation.dataset();
    if (evaluation.network() == nullptr || dataset == nullptr || dataset->classes() == 0) {
      return {};
    }
    const Batch data = evaluation.data(dataset->size(Split::test));
    const at::NoGradGuard no_grad;
    int64_t right = 0;
    constexpr int64_t chunk = 500;
    for (int64_t i = 0; i < data.x.size(0); i += chunk) {
      const int64_t n = std::min(chunk, data.x.size(0) - i);
      const Tensor logits = (*evaluation.network())(data.x.narrow(0, i, n), {}, {});
      if (logits.sizes() != at::IntArrayRef({n, dataset->classes()})) {
        throw RequestError("is of classifiers, and the network gives no number for each of the " +
                           std::to_string(dataset->classes()) + " classes");
      }
      right += logits.argmax(1).eq(data.condition[inputs::labels].narrow(0, i, n)).sum().item<int64_t>();
    }
    return {{{"accuracy", static_cast<double>(right) / static_cast<double>(data.x.size(0))}}, {}};
  }

  std::vector<std::pair<std::string, double>> ideal() const override { return {{"accuracy", 1}}; }
};

RETORT_PLUGIN(Accuracy, metric, accuracy)
