/// Trajectory distribution matching: a student of several steps, each of whose segments ends as the teacher's samples
/// are distributed there.
///
/// The student walks its own way from pure noise, over `steps` segments of the grid, without gradients. At the
/// beginning of a segment that is drawn for each row, it says D; the DDIM step with D leads to the segment's end, and
/// noise from there to a time x_t within the segment. There the step of distribution matching, D_teacher - D_fake, is
/// added to D, and the student's value is the distance of D from that, over the mean of |D - D_teacher|. The "fake"
/// network learns to denoise the same x_t, with its squared error times exp(|n|^2 / 2 - |m|^2 / 2), means over the
/// elements of the drawn noise n and of m = (x_t - alpha D) / sigma: where m is as likely as noise, D is what was
/// noised.
///
/// Guidance is that of the teacher. Needs no data but for its conditions.
/// Source: Luo et al. 2025 (arXiv 2503.06674), and the authors' code, train_tdm_demo.py.
///
///     [loss]
///     type = "tdm"
///     steps = 4                      # evaluate.student_steps = [4] samples as it was trained
///     noise_to = "segment"           # "noisiest": to any time above the segment's end
///     distance = "l2"                # the authors' --use_huber is "pseudo_huber", which points diverge by
#include <retort/loss.h>
#include <retort/plugin.h>
#include <retort/policy.h>

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "fake_score.h"

using namespace retort;

class Tdm final : public Loss {
 public:
  explicit Tdm(Params& p)
      : distance_(p),
        fake_(p, 1, "min_snr"),
        steps_(p.get("steps", 4, "segments of the grid, the student's steps", at_least(1))),
        norm_eps_(p.get("norm_eps", 1e-6, "added to mean |D - D_teacher|", at_least(0))),
        within_(p.choice("noise_to", "segment", {"segment", "noisiest"},
                         "greatest time of x_t: where the segment begins, or where the grid does") == "segment"),
        random_end_(p.get("random_end", false, "segments end at a random place within")),
        importance_(p.get("importance", true, "the fake network's error is weighted by how likely its noise is")) {}

  Makes makes() const override { return Makes::flow_map; }
  Needs needs() const override { return {.teacher = true, .schedule = true}; }
  std::vector<Role> roles() const override { return fake_.roles(); }
  void check_times(const Tensor& times) const override {
    if (steps_ > times.size(0) - 1) {
      throw Error("steps = " + std::to_string(steps_) + ": are more than the schedule's " +
                  std::to_string(times.size(0) - 1) + " intervals; expected that many at most");
    }
  }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor grid = step.schedule->times(step.process, step.progress);
    const Tensor z = step.noise();
    const Tensor segment = (step.uniform() * static_cast<double>(steps_)).floor().to(at::kLong);
    const Tensor edges = edges_of(grid.size(0) - 1);
    const Tensor first = edges.index_select(0, segment).to(at::kDouble);
    Tensor last = edges.index_select(0, segment + 1).to(at::kDouble);
    if (random_end_) {
      last = last - step.uniform() * (last - first);
    }
    const Tensor begin = within_ ? first : at::zeros_like(first);
    const Tensor from = at_place(grid, first), end = at_place(grid, last);
    const Tensor state = walk(step, grid, edges, z, segment);
    FakeSample sample;
    sample.t = at_place(grid, begin + step.uniform() * (last - begin));
    sample.noise = step.noise();
    {
      const at::AutoGradMode only_for_the_student(step.due("student"));
      sample.x = step.student.data(state, from, step.batch.condition);
      const Tensor moved = ddim_step(Times(step.process, from), Times(step.process, end), state, sample.x);
      sample.x_t = noised_further(step.process, moved, sample.noise, end, sample.t);
    }
    LossValue out{{}, sample.t};
    if (step.due("student")) {
      out.per_row = matching(TwoScores(step, sample), sample.x);
    }
    out.roles["fake"] = fake_.denoising(step, sample);
    if (importance_) {
      out.roles["fake"] = out.roles["fake"] * likelihood(step.process, sample);
    }
    return out;
  }

 private:
  // The places of the grid where segments begin, and the end: [steps + 1] int64. The sampler's rule.
  Tensor edges_of(int64_t intervals) const {
    std::vector<int64_t> out;
    for (int64_t k = 0; k <= steps_; ++k) {
      out.push_back(part_of_grid(k, intervals, steps_));
    }
    return at::tensor(out, at::kLong);
  }

  // The times at places of the grid that may lie between its points. place: [B] float64, 0 to the last.
  static Tensor at_place(const Tensor& grid, const Tensor& place) {
    const Tensor low = place.floor().clamp_max(static_cast<double>(grid.size(0) - 2));
    const Tensor index = low.to(at::kLong), part = place - low;
    return grid.index_select(0, index) * (1 - part) + grid.index_select(0, index + 1) * part;
  }

  // The student's states where each row's segment begins.
  static Tensor walk(const TrainingStep& step, const Tensor& grid, const Tensor& edges, const Tensor& z,
                     const Tensor& segment) {
    const at::NoGradGuard no_grad;
    const Tensor out = rows(step.process.sigma(noisiest_times(step)), z) * z;
    for (int64_t k = 0;; ++k) {
      const Tensor left = at::nonzero(segment > k).view({-1});
      if (left.numel() == 0) {
        return out;
      }
      const Tensor on_device = left.to(out.device());
      const auto time = [&](int64_t edge) { return grid[edges[edge].item<int64_t>()].expand({left.size(0)}); };
      out.index_copy_(
          0, on_device,
          step.student.jump(out.index_select(0, on_device), time(k), time(k + 1), step.batch.condition.select(left)));
    }
  }

  Tensor matching(const TwoScores& said, const Tensor& x) const {
    const Tensor size = (x.detach() - said.teacher).abs().flatten(1).mean(1) + norm_eps_;
    return distance_(x, (x + said.teacher - said.fake).detach()) / size;
  }

  static Tensor likelihood(const Process& process, const FakeSample& sample) {
    const at::NoGradGuard no_grad;
    const Tensor& x = sample.x_t;
    const Tensor mixed = (x - rows(process.alpha(sample.t), x) * sample.x) / rows(process.sigma(sample.t), x);
    const auto half_square = [](const Tensor& n) { return n.square().flatten(1).mean(1) / 2; };
    return (half_square(sample.noise) - half_square(mixed)).exp();
  }

  Distance distance_;
  FakeNetwork fake_;
  int64_t steps_;
  double norm_eps_;
  bool within_, random_end_, importance_;
};

RETORT_PLUGIN(Tdm, loss, tdm)
