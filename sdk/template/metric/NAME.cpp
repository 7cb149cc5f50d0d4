/// Energy distance between samples and reference, 2 E|x - y| - E|x - x'| - E|y - y'|, over all pairs.
///
/// Zero for equal sets, positive otherwise. Source: Szekely & Rizzo 2013.
///
///     [evaluate]
///     metrics = ["@name@"]
///
///     [metric.@name@]
///     samples = 2000
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ops/cdist.h>

using namespace retort;

class @Name@ final : public Metric {
 public:
  explicit @Name@(Params& p)
      : most_(p.get("samples", 2000, "at most so many samples of each, the first ones", at_least(1))) {}

  Measurement measure(const Evaluation& evaluation) const override {
    const Tensor x = first(evaluation.samples()), y = first(evaluation.reference());
    const double distance = 2 * mean(x, y) - mean(x, x) - mean(y, y);
    return {{{"@name@", distance}}, {}};  // names and values; curves would follow
  }

  // What `retort check` holds it to.
  std::vector<std::pair<std::string, double>> ideal() const override { return {{"@name@", 0}}; }
  bool symmetric() const override { return true; }

 private:
  Tensor first(const Tensor& x) const {
    return x.narrow(0, 0, std::min(most_, x.size(0))).flatten(1).to(at::kDouble);
  }
  static double mean(const Tensor& x, const Tensor& y) { return at::cdist(x, y).mean().item<double>(); }

  int64_t most_;
};

RETORT_PLUGIN(@Name@, metric, @name@)
