/// Truncated consistency models: a second training for the noisier times alone, on top of a consistency model.
///
/// In its first half the training is `ect`. Then the student as it is becomes the fixed network "first", and goes on at
/// noise levels t >= t' only. Its target at r is its own f(x_r, r) without gradients, and that of "first" where r < t'.
/// A share of the rows stand at t' itself, where the target is always of "first"; they hold the student to it. The loss
/// is the mean of ect's over the other rows, plus `boundary_weight` times the mean over these. Times of the second half
/// have log t as Student's t, between t' and `noisiest`, and t - r as it was last. The student is then for levels of t'
/// and more: for one step, or several that do not go below.
///
/// With two_stages = false all of the training is the second part, and the student has to begin as a consistency model.
/// Source: Lee et al. 2024 (arXiv 2410.14895). The boundary's share and weight are FastGen's; its authors' program
/// begins at 0.05 and 1.
///
///     [loss]
///     type = "tcm"
///     transition = 1.0               # t'
///     boundary_share = 0.25
///     boundary_weight = 0.1
#include <retort/plugin.h>

#include <cmath>

#include "../shared/quantile.h"
#include "closing_step.h"
#include "consistency_training.h"
#include "noise_times.h"
#include "weighting.h"

using namespace retort;

class Tcm final : public Loss {
 public:
  explicit Tcm(Params& p)
      : two_stages_(p.get("two_stages", true, "the first half is ect; false: the student begins as that leaves it")),
        transition_(p.get("transition", 1.0, "noise level t' at and above which the student goes on", more_than(0))),
        noisiest_(p.get("noisiest", 80.0, "greatest noise level of the second part", more_than(0))),
        freedom_(p.get("t_freedom", 0.01, "second part: degrees of freedom of log t", more_than(0))),
        mean_(p.get("t_mean", 0.0, "second part: where log t is most often")),
        scale_(p.get("t_scale", 0.2, "second part: the scale of log t", more_than(0))),
        share_(p.get("boundary_share", 0.25, "of the rows of the second part that stand at t'",
                     {.low = 0, .high = 1, .high_open = true})),
        boundary_weight_(p.get("boundary_weight", 0.1, "of the mean loss of these rows", at_least(0))),
        times_(p, -1.1, 2.0),
        closing_(p),
        distance_(p, "pseudo_huber_vector"),
        weighting_(p, "interval") {
    if (noisiest_ <= transition_) {
      throw p.error("noisiest", "is not above transition; expected transition < noisiest");
    }
  }

  Makes makes() const override { return Makes::consistency; }
  int64_t stages() const override { return two_stages_ ? 2 : 1; }
  std::vector<Role> roles() const override { return {{.name = "first", .update = Role::Update::stage}}; }

  LossValue operator()(const TrainingStep& step) const override {
    const Process& process = step.process;
    if (step.stage + 1 < stages()) {
      const Tensor t = times_.draw(step);
      const Tensor r = process.time_of_noise_level(closing_(process.noise_level(t), step.progress * 2));
      const TrainingPair f = training_pair(step, t, r, step.noise());
      return {weighting_(distance_(f.prediction, f.target), step.student, t, r), t};
    }
    const Tensor at_boundary = boundary_rows(step);
    const Tensor level = at::where(at_boundary, at::full({}, transition_, at::kDouble), truncated(step.uniform()));
    const Tensor t = process.time_of_noise_level(level);
    const Tensor below = closing_(level, 1);
    const Tensor r = process.time_of_noise_level(below);
    const Tensor noise = step.noise();
    const Tensor target = truncated_target(step, process.add_noise(step.batch.x, noise, r), r, below);
    const Tensor f = step.student.consistency(process.add_noise(step.batch.x, noise, t), t, step.batch.condition);
    const Tensor loss = weighting_(distance_(f, target), step.student, t, r);
    LossValue out{loss * balance(step, at_boundary).to(loss.options()), t};
    return out;
  }

 private:
  // n = floor(share B) rows of the whole batch, spread evenly: [B] bool.
  Tensor boundary_rows(const TrainingStep& step) const {
    const Tensor row = at::arange(step.whole_rows(), at::kDouble);
    return step.part(((row + 1) * share_ + 1e-9).floor() > (row * share_ + 1e-9).floor());
  }

  // Factors that make the mean over all rows that over n of them, times its weight, and that over the others.
  Tensor balance(const TrainingStep& step, const Tensor& at_boundary) const {
    const auto all = static_cast<double>(step.whole_rows());
    const double n = std::floor(all * share_ + 1e-9);
    return at::where(at_boundary, at::full({}, n > 0 ? boundary_weight_ * all / n : 0.0, at::kDouble),
                     at::full({}, all / (all - n), at::kDouble));
  }

  // Levels of uniform numbers u: [B].
  Tensor truncated(const Tensor& u) const {
    const auto mass = [&](double level) { return student_t_cdf((std::log(level) - mean_) / scale_, freedom_); };
    const double low = mass(transition_), high = mass(noisiest_);
    Tensor out = (low + (high - low) * u).contiguous();
    for (double *x = out.data_ptr<double>(), *end = x + out.numel(); x != end; ++x) {
      *x = std::exp(mean_ + scale_ * student_t_quantile(*x, freedom_));
    }
    return out.clamp(transition_, noisiest_);
  }

  Tensor truncated_target(const TrainingStep& step, const Tensor& x, const Tensor& r, const Tensor& level) const {
    const at::NoGradGuard no_grad;
    const auto of = [&](const Model& model, const Tensor& i) {
      return model.consistency(x.index_select(0, i.to(x.device())), r.index_select(0, i),
                               step.batch.condition.select(i));
    };
    const Tensor f = by_rows(
        level >= transition_, [&](const Tensor& i) { return of(step.target, i); },
        [&](const Tensor& i) { return of(step.role("first"), i); });
    return at::where(rows((level == 0).to(at::kDouble), x) > 0, x, f);
  }

  bool two_stages_;
  double transition_, noisiest_, freedom_, mean_, scale_, share_, boundary_weight_;
  NoiseTimes times_;
  ClosingStep closing_;
  Distance distance_;
  Weighting weighting_;
};

RETORT_PLUGIN(Tcm, loss, tcm)
