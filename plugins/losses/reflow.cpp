/// Reflow: a student whose ways are straight lines, from where the teacher's ODE leads from pure noise.
///
/// Noise n is drawn, and the teacher's ODE is solved from it to the end, x0. At x_t = alpha x0 + sigma n the student
/// regresses on what a network would predict that knows this pair: with parametrisation "flow" on process
/// "rectified_flow" that is the velocity n - x0 of the straight line between the two. On other processes it is
/// rectified diffusion. The student is sampled by DDIM's steps, which are Euler's on rectified flow; once its ways are
/// straight, few are enough. The data set gives the conditions alone.
///
/// times = "steps" trains at the first times of `steps` equal parts of [0, t_max] alone. With one step that is pure
/// noise: the distillation of InstaFlow, whose student is a generator of one step.
/// Source: Liu et al. 2022 (arXiv 2209.03003), eq. 1 and algorithm 1; Liu et al. 2023 (InstaFlow, arXiv 2309.06380);
/// Lee et al. 2024 (arXiv 2405.20320) for "u_shaped"; Wang et al. 2024 (arXiv 2410.07303) for other processes.
///
///     [loss]
///     type = "reflow"
///     times = "uniform"              # or "u_shaped", "steps"
///     steps = 1                      # of times = "steps"
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <cmath>

using namespace retort;

class Reflow final : public Loss {
 public:
  explicit Reflow(Params& p)
      : distance_(p),
        times_(p.choice("times", "uniform", {"uniform", "u_shaped", "steps"},
                        "where it trains: t uniform; mostly near both ends, p(t) ~ exp(a t) + exp(a (1 - t)); or where "
                        "the steps of a sampler begin")),
        sharpness_(p.get("sharpness", 4.0, "times = \"u_shaped\": a", more_than(0))),
        steps_(p.get("steps", 1, "times = \"steps\": how many; 1: pure noise alone", at_least(1))) {}

  Makes makes() const override { return times_ == "steps" && steps_ == 1 ? Makes::generator : Makes::flow_map; }
  Needs needs() const override { return {.teacher = true, .solver = true, .schedule = true}; }

  LossValue operator()(const TrainingStep& step) const override {
    const NoiseDataPair pair = step.pair();
    const Tensor noise = pair.noise / rows(step.process.sigma(pair.t), pair.noise);
    const Tensor t = pair.t * fraction(step.uniform());
    const Tensor x = step.process.add_noise(pair.data, noise, t);
    const Tensor target = step.student.parametrisation().target(step.process, t, pair.data, noise);
    return {distance_(step.student.raw(x, t, step.batch.condition), target), t};
  }

 private:
  // Of the noisiest time, in (0, 1], from u in [0, 1).
  Tensor fraction(const Tensor& u) const {
    if (times_ == "uniform") {
      return 1 - u;
    }
    if (times_ == "steps") {
      return 1 - (u * steps_).floor() / steps_;
    }
    // Half of them from exp(a t), by the inverse of its distribution, the others mirrored.
    const Tensor near_one = (u.mul(2).frac() * std::expm1(sharpness_)).log1p() / sharpness_;
    return at::where(u < 0.5, near_one, 1 - near_one);
  }

  Distance distance_;
  std::string times_;
  double sharpness_;
  int64_t steps_;
};

RETORT_PLUGIN(Reflow, loss, reflow)
