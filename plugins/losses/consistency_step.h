/// What losses on the teacher's ODE share: the draw of a noised sample on the grid, and the target network. Drawn in
/// one order from the step's own random stream, so that all of them see the same times and noise.
#pragma once

#include <retort/loss.h>

#include <ATen/ATen.h>

#include <vector>

namespace retort {

struct NoisedSample {
  Tensor x;      // [B, …] at times t
  Tensor t;      // [B] float64, a time of the grid but the last
  Tensor s;      // [B] float64, the next time of the grid
  Tensor last;   // [B] bool: s ends the grid
  Tensor grid;   // [N + 1] float64
  Tensor index;  // [B] int64: t's place in it
};

inline NoisedSample draw_noised_sample(const TrainingStep& step) {
  NoisedSample out;
  out.grid = step.schedule->times(step.process, step.progress);
  const int64_t intervals = out.grid.size(0) - 1;
  out.index = step.intervals(intervals);
  out.t = out.grid.index_select(0, out.index);
  out.s = out.grid.index_select(0, out.index + 1);
  out.last = out.index == intervals - 1;
  out.x = step.process.add_noise(step.batch.x, step.noise(), out.t);
  return out;
}

/// The network that targets come from: the student, or its moving average.
class TargetNetwork {
 public:
  /// From the keys `target` and `target_ema`.
  explicit TargetNetwork(Params& p, const std::string& fallback = "student", double decay = 0.95)
      : average_(p.choice("target", fallback, {"student", "ema"},
                          "target network: the student, gradients stopped, or its moving average") == "ema"),
        decay_(
            p.get("target_ema", decay, "target = \"ema\": decay per step", {.low = 0, .high = 1, .high_open = true})) {}

  std::vector<Role> roles() const { return average_ ? std::vector<Role>{target_average(decay_)} : std::vector<Role>{}; }

  /// f(x, s) without gradients; x itself for the rows where `end`: [B] bool.
  static Tensor consistency(const TrainingStep& step, const Tensor& x, const Tensor& s, const Tensor& end) {
    const at::NoGradGuard no_grad;
    const auto of = [&](const Tensor& index) { return x.index_select(0, index.to(x.device())); };
    return by_rows(end, of, [&](const Tensor& i) {
      return step.target.consistency(of(i), s.index_select(0, i), step.batch.condition.select(i));
    });
  }

 private:
  bool average_;
  double decay_;
};

}  // namespace retort
