/// Consistency trajectory model: a flow map that agrees with itself along the teacher's ODE.
///
/// G(x, t, s) is the state at time s of the way through x at time t. Draws times t > u >= s of the grid, u between one
/// and `solver_steps` intervals after t, noises the data to x_t, and moves it by the solver to x_u. Then G(x_t, t, s)
/// is to be G'(x_u, u, s), where G' is the target network. Both are compared where they lead at the end of the grid: a
/// last jump of the student, whose weights are held fixed, takes them there. With compare = "at_s" they are compared as
/// they are. With s at the end and one step it is consistency distillation; with enough steps it is `direct_cm`. Beside
/// it, G(x, t, t) is a denoiser: `denoising_weight` times EDM's loss on noised data. The weight is fixed: the paper's,
/// which balances gradients of the last layer, and its discriminator are not here.
///
/// The solver begins anew with every step, so one that keeps a history is of first order.
/// Source: Kim et al. 2023 (arXiv 2310.02279), algorithm 1. Its G = (s / t) x + (1 - s / t) g is ours with g = x - t u.
///
///     [loss]
///     type = "ctm"
///     solver_steps = 17
///     compare = "at_end"             # or "at_s"
///     denoising_weight = 1.0
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include "noise_times.h"

using namespace retort;

class Ctm final : public Loss {
 public:
  explicit Ctm(Params& p)
      : distance_(p),
        solver_steps_(p.get("solver_steps", 17, "most intervals from t to u; how many is uniform", at_least(1))),
        at_end_(p.choice("compare", "at_end", {"at_end", "at_s"},
                         "where states are compared: after a last jump to the end of the grid, or at time s") ==
                "at_end"),
        denoising_weight_(p.get("denoising_weight", 1.0, "of the denoising loss; 0: none", at_least(0))),
        times_(p),
        ema_target_(p.choice("target", "ema", {"ema", "student"},
                             "target network: the student's moving average, or the student, gradients stopped") ==
                    "ema"),
        target_ema_(
            p.get("target_ema", 0.999, "target = \"ema\": decay per step", {.low = 0, .high = 1, .high_open = true})) {}

  Makes makes() const override { return Makes::flow_map; }
  Needs needs() const override {
    return {.teacher = true, .solver = true, .schedule = true, .end_time = true, .predicts = Predicts::flow};
  }
  std::vector<Role> roles() const override {
    return ema_target_ ? std::vector<Role>{target_average(target_ema_)} : std::vector<Role>{};
  }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor grid = step.schedule->times(step.process, step.progress);
    const int64_t intervals = grid.size(0) - 1;
    const Tensor at_t = step.intervals(intervals);
    const auto up_to = [&](const Tensor& count) { return (step.uniform() * count).floor().to(at::kLong); };
    const Tensor at_u = at_t + 1 + up_to((intervals - at_t).clamp_max(solver_steps_));
    const Tensor at_s = at_u + up_to(intervals + 1 - at_u);
    const Tensor t = grid.index_select(0, at_t), s = grid.index_select(0, at_s);
    const Conditioning& condition = step.batch.condition;
    const Tensor x = step.process.add_noise(step.batch.x, step.noise(), t);
    Tensor target;
    {
      const at::NoGradGuard no_grad;
      target = way(step.target, follow(step, grid, x, at_t, at_u), grid.index_select(0, at_u), s, condition);
    }
    const Tensor made = step.student.jump(x, t, s, condition);
    LossValue out{at_end_ ? distance_at_end(step, made, target, s, grid[-1]) : distance_(made, target), t};
    out.diagnostics["consistency"] = out.per_row.detach().mean();
    if (denoising_weight_ > 0) {
      const Tensor denoising = denoising_loss(step);
      out.diagnostics["denoising"] = denoising.detach().mean();
      out.per_row = out.per_row + denoising_weight_ * denoising;
    }
    return out;
  }

 private:
  // x moved from one place of the grid to another, each [B] int64: every row by steps of its own number.
  static Tensor follow(const TrainingStep& step, const Tensor& grid, const Tensor& x, const Tensor& from,
                       const Tensor& to) {
    const Tensor out = x.clone();
    for (int64_t k = 0;; ++k) {
      const Tensor under_way = at::nonzero(from + k < to).view({-1});
      if (under_way.numel() == 0) {
        return out;
      }
      const Tensor place = from.index_select(0, under_way) + k, on_device = under_way.to(x.device());
      out.index_copy_(0, on_device,
                      take_step(*step.solver, step.ode->rows(under_way), out.index_select(0, on_device),
                                grid.index_select(0, place), grid.index_select(0, place + 1)));
    }
  }

  // The jump from t to s; none where these are one time.
  static Tensor way(const Model& model, const Tensor& x, const Tensor& t, const Tensor& s,
                    const Conditioning& condition) {
    const auto of = [&](const Tensor& i) { return x.index_select(0, i.to(x.device())); };
    return by_rows(t == s, of, [&](const Tensor& i) {
      return model.jump(of(i), t.index_select(0, i), s.index_select(0, i), condition.select(i));
    });
  }

  // Between the ends of jumps from s. The jump's weights are to have no gradient, but what it is made from is: so the
  // gradient that they alone have is taken away again.
  Tensor distance_at_end(const TrainingStep& step, const Tensor& made, const Tensor& target, const Tensor& s,
                         const Tensor& end) const {
    const Tensor ends = end.expand_as(s);
    const auto last = [&](const Tensor& x) { return way(step.student, x, s, ends, step.batch.condition); };
    Tensor wanted;
    {
      const at::NoGradGuard no_grad;
      wanted = last(target);
    }
    const Tensor of_weights = distance_(last(made.detach()), wanted);
    return distance_(last(made), wanted) - of_weights + of_weights.detach();
  }

  // EDM's: (1 / level^2 + 1 / sigma_data^2) times the squared error of D.
  Tensor denoising_loss(const TrainingStep& step) const {
    const Tensor t = times_.draw(step);
    const Tensor x = step.process.add_noise(step.batch.x, step.noise(), t);
    const Tensor data = step.student.data(x, t, step.batch.condition.with(inputs::end_time, t));
    const Tensor error = (data - step.batch.x).square().flatten(1).mean(1);
    const double sd = step.student.parametrisation().sigma_data;
    return error * (1 / step.process.noise_level(t).square() + 1 / (sd * sd)).to(error.options());
  }

  Distance distance_;
  int64_t solver_steps_;
  bool at_end_;
  double denoising_weight_;
  NoiseTimes times_;
  bool ema_target_;
  double target_ema_;
};

RETORT_PLUGIN(Ctm, loss, ctm)
