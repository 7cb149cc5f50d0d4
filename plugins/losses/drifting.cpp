/// Drifting: a generator of one step whose samples drift to the data and away from each other, without a teacher.
///
/// Of a batch's samples x, data p and features phi: rows attract each other by A = sqrt(softmax over targets x softmax
/// over samples) of -|phi(x) - phi(y)| / T, where targets are the data and the other samples. A sample is moved by
///
///   V(x) = sum_j sum_k A_j A_k (phi(p_j) - phi(x_k)),    p_j the data, x_k the other samples,
///
/// which is 0 where both are distributed alike. The student's value is the mean square of what moves phi(x), the sum of
/// V over the temperatures T, and its gradient is that step. Distances are in units of their mean. Each V is scaled to
/// a mean square of 1, so that the value is no measure of progress: the report's metrics are. With labels, a row knows
/// the rows of its label alone: batches are to have many of each.
///
/// Points are compared as they are. Pictures need the features of a network: of any checkpoint that metrics take, too.
/// Source: Deng et al. 2026, arXiv 2602.04770, algorithms 1 and 2.
///
///     [loss]
///     type = "drifting"
///     temperatures = [0.02, 0.05, 0.2]
///     features = ""                  # or "classifier.safetensors", or a table as evaluate.features has
#include <retort/loss.h>
#include <retort/network.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "fake_score.h"

using namespace retort;

class Drifting final : public Loss {
 public:
  explicit Drifting(Params& p)
      : features_(feature_network(p, "features",
                                  "safetensors file of the network whose features are compared, or a table as "
                                  "evaluate.features has; empty: samples are")),
        temperatures_(p.get("temperatures", std::vector<double>{0.02, 0.05, 0.2},
                            "T of the kernels, in units of the mean distance", more_than(0))),
        scale_distances_(p.get("scale_distances", true, "distances in units of their mean; false: as they are")),
        scale_forces_(p.get("scale_forces", true, "each V is scaled to a mean square of 1; false: as it is")),
        least_(p.get("least_affinity", 0.0, "of two rows; more than 0: distant rows still know of each other",
                     {.low = 0, .high = 1, .high_open = true})),
        per_class_(p.get("per_class", true, "rows know those of their label alone, where there are labels")),
        group_(p.get("group", 0, "rows that know of each other; 0: all of a process", at_least(0))) {
    if (temperatures_.empty()) {
      throw p.error("temperatures", "is empty; expected one at least");
    }
  }

  Makes makes() const override { return Makes::generator; }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor made = seen(one_step(step, step.noise()));
    Tensor goal, unit;
    {
      const at::NoGradGuard no_grad;
      const Tensor at = made.detach(), data = seen(step.batch.x);
      goal = at.clone();
      unit = at::ones({at.size(0), 1}, at.options());
      for (const Tensor& rows : parts(step)) {
        const Move move = drift(at.index_select(0, rows), data.index_select(0, rows));
        goal.index_add_(0, rows, move.step * move.unit);
        unit.index_fill_(0, rows, move.unit);
      }
    }
    return {((made - goal) / unit).square().mean(1), {}};
  }

 private:
  // What is compared of samples: [B, F].
  Tensor seen(const Tensor& x) const { return (features_ != nullptr ? features_->features(x) : x).flatten(1); }

  // The rows that know of each other: a list of indices on the batch's device.
  std::vector<Tensor> parts(const TrainingStep& step) const {
    const int64_t count = step.batch.x.size(0), size = group_ > 0 ? group_ : count;
    if (step.whole_rows() != count && group_ > 0 && count % group_ != 0) {
      throw RequestError("loss.group: " + std::to_string(group_) + " does not divide the " + std::to_string(count) +
                         " rows of each process; expected a divisor, so that no group is split");
    }
    const Tensor labels = step.batch.condition[inputs::labels];
    std::vector<Tensor> out;
    for (const Tensor& rows :
         at::arange(count, at::TensorOptions(at::kLong).device(step.batch.x.device())).split(size)) {
      if (!per_class_ || !labels.defined()) {
        out.push_back(rows);
        continue;
      }
      const Tensor own = labels.to(rows.device()).index_select(0, rows);
      for (const Tensor& label : std::get<0>(at::_unique(own)).unbind()) {
        out.push_back(rows.index_select(0, at::nonzero(own == label).view({-1})));
      }
    }
    return out;
  }

  struct Move {
    Tensor step;  // [n, F]
    double unit;  // one of these
  };

  // The sum of V over the temperatures, for samples x: [n, F] among data p: [n, F].
  Move drift(const Tensor& x, const Tensor& p) const {
    const int64_t n = x.size(0);
    const Tensor targets = at::cat({x, p});
    // By differences: products of matrices would lose near distances to rounding.
    const Tensor distance = at::cdist(x, targets, 2, /*compute_mode=*/2);
    const double size = distance.mean().item<double>();
    if (n == 1 || size <= rounding(targets)) {  // there are no others, or all are one
      return {at::zeros_like(x), 1};
    }
    const double mean = std::max(size, smallest);
    const double unit = scale_distances_ ? std::max(mean / std::sqrt(static_cast<double>(x.size(1))), smallest) : 1;
    Tensor scaled = scale_distances_ ? distance / mean : distance;
    scaled.narrow(1, 0, n).fill_diagonal_(std::numeric_limits<double>::infinity());
    Tensor out = at::zeros_like(x);
    for (const double temperature : temperatures_) {
      const Tensor logits = -scaled / temperature;
      const Tensor affinity = (at::softmax(logits, 1) * at::softmax(logits, 0)).clamp_min(least_ * least_).sqrt();
      const Tensor of_others = affinity.narrow(1, 0, n), of_data = affinity.narrow(1, n, n);
      const Tensor weight = at::cat({-of_others * of_data.sum(1, true), of_data * of_others.sum(1, true)}, 1);
      const Tensor v = (at::matmul(weight, targets) - weight.sum(1, true) * x) / unit;
      out += scale_forces_ ? v / v.square().mean().clamp_min(1e-8).sqrt() : v;
    }
    return {out, unit};
  }

  // What differences of such numbers may have of rounding alone.
  static double rounding(const Tensor& x) {
    const double precision =
        x.scalar_type() == at::kDouble ? std::numeric_limits<double>::epsilon() : std::numeric_limits<float>::epsilon();
    return 16 * precision * x.abs().max().item<double>();
  }

  static constexpr double smallest = 1e-3;  // unit of distances
  std::shared_ptr<Network> features_;
  std::vector<double> temperatures_;
  bool scale_distances_, scale_forces_;
  double least_;
  bool per_class_;
  int64_t group_;
};

RETORT_PLUGIN(Drifting, loss, drifting)
