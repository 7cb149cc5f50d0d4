/// Pi-Flow: one evaluation lays out the way over a whole segment of time, and the teacher corrects it where it leads.
///
/// The grid is cut into `segments`, at the times where a sampler of as many steps stops. At a segment's beginning t the
/// network gives clean data at `outputs` times of the segment, linear in between (policy DX), in u = sigma / (alpha +
/// sigma), rectified flow's time of the same noise level. Samples are made by Euler's many steps along that policy,
/// dy/du = (y - x0(u)) / u with y = x / (alpha + sigma), which cost no evaluation.
///
/// Training is imitation: the policy, without gradients, is walked from noised data at t to `states` times drawn over
/// the segment; the teacher says its velocity there, and the policy's at the same states is held to it: its mean over
/// `window` of Euler's steps, for the velocity at one time has no bound where a segment leads to the data. With
/// `mixing_steps` the first steps of training go part of the way along the teacher instead, less and less. With several
/// numbers of segments each row has one of them, and the network is told where its segment ends;
/// `evaluate.student_steps` should be among them. With student.init = "teacher" the policy begins as DDIM.
///
/// Source: Chen et al. 2025 (arXiv 2510.14974); the defaults are those of its authors' code for policy DX.
///
///     [loss]
///     type = "pi_flow"
///     outputs = 10
///     segments = [2]
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

using namespace retort;

class PiFlow final : public Loss {
 public:
  explicit PiFlow(Params& p)
      : distance_(p),
        outputs_(p.get("outputs", 10, "N: clean data that the network gives for a segment; 1: DDIM", at_least(1))),
        segments_(p.get("segments", std::vector<int64_t>{1}, "numbers of parts into which the grid is cut, even in it",
                        at_least(1))),
        states_(p.get("states", 4, "states of a way at which the teacher is asked", at_least(1))),
        window_(
            p.get("window", 3, "of Euler's steps, whose mean velocity is compared; 0: that at one time", at_least(0))),
        mixing_steps_(p.get("mixing_steps", 0,
                            "steps of training over which the way is less and less the teacher's; 0: it never is",
                            at_least(0))),
        substeps_(p.get("substeps", 128, "Euler's steps along a policy over the whole of u in [0, 1]", at_least(1))) {
    if (segments_.empty()) {
      throw p.error("segments", "is an empty list; expected at least one number of segments");
    }
  }

  Makes makes() const override { return Makes::policy; }
  Needs needs() const override {
    return {.teacher = true, .schedule = true, .end_time = segments_.size() > 1, .outputs = outputs_};
  }
  void check_times(const Tensor& times) const override {
    const int64_t most = *std::max_element(segments_.begin(), segments_.end()), intervals = times.size(0) - 1;
    if (most > intervals) {
      throw Error("segments = " + std::to_string(most) + ": are more than the schedule's " + std::to_string(intervals) +
                  " intervals; expected that many at most");
    }
  }

  LossValue operator()(const TrainingStep& step) const override {
    const Segment segment = draw(step);
    const Tensor x = step.process.add_noise(step.batch.x, step.noise(), segment.t);
    const Policy policy = step.student.policy(x, segment.t, segment.end, step.batch.condition);
    const Policy fixed = policy.detach();
    const Ways ways = draw_ways(step, segment);
    Tensor y = flow_form::state(step.process, x, segment.t), u = segment.from, total;
    for (size_t i = 0; i < ways.own.size(); ++i) {
      const Tensor a = (u - ways.own[i]).clamp_min(0), b = (a - ways.teachers[i]).clamp_min(0);
      Tensor wanted;
      {
        const at::NoGradGuard no_grad;
        y = fixed.walk(y, u, a, substeps_);
        wanted = teacher_velocity(step, y, a);
      }
      const Tensor value = distance_(velocity(policy, y, a, b - ways.window), wanted);
      total = total.defined() ? total + value : value;
      y = y + rows(b - a, y) * wanted;
      u = b;
    }
    return {total / static_cast<double>(states_), segment.t};
  }

 private:
  // Of each row: its times, and u at them.
  struct Segment {
    Tensor t, end, from, to;  // [B]
  };
  // How far each row goes along its own policy, and then along the teacher, before each of the states; and the window.
  struct Ways {
    std::vector<Tensor> own, teachers;  // [B] each, lengths in u
    Tensor window;
  };

  Segment draw(const TrainingStep& step) const {
    const Tensor grid = step.schedule->times(step.process, step.progress);
    const int64_t intervals = grid.size(0) - 1;
    std::vector<int64_t> edges, first;  // of one number of segments after the other
    for (const int64_t count : segments_) {
      first.push_back(static_cast<int64_t>(edges.size()));
      for (int64_t k = 0; k <= count; ++k) {
        edges.push_back(part_of_grid(k, intervals, count));
      }
    }
    const auto listed = [](const std::vector<int64_t>& all) { return at::tensor(all, at::kLong); };
    const auto choices = static_cast<double>(segments_.size());
    const Tensor choice = segments_.size() > 1 ? (step.uniform() * choices).floor().to(at::kLong)
                                               : at::zeros({step.batch.x.size(0)}, at::kLong);
    const Tensor count = listed(segments_).index_select(0, choice);
    const Tensor place = listed(first).index_select(0, choice) + (step.uniform() * count).floor().to(at::kLong);
    const auto time = [&](const Tensor& i) { return grid.index_select(0, listed(edges).index_select(0, i)); };
    const Tensor t = time(place), end = time(place + 1);
    return {t, end, flow_form::time(step.process, t), flow_form::time(step.process, end)};
  }

  Ways draw_ways(const TrainingStep& step, const Segment& segment) const {
    const Tensor length = segment.from - segment.to;
    const Tensor count = (length * static_cast<double>(substeps_)).round().clamp_min(1);
    Ways out;
    out.window = at::minimum(static_cast<double>(window_) * (length / count), length);
    const double past = mixing_steps_ > 0 ? static_cast<double>(step.index) / static_cast<double>(mixing_steps_) : 1;
    const double share = 1 - std::min(past, 1.0);  // the teacher's
    const Tensor room = length - out.window;
    const Tensor zero = at::zeros({1, room.size(0)}, at::kDouble);
    const auto gaps = [](const Tensor& places) { return places.diff(1, 0).unbind(0); };
    // Places that rise: after all of them some of the own way is left, and none of the teacher's.
    out.own = gaps(at::cat({zero, sorted(step, states_) * (1 - share) * room}));
    const Tensor inner = mixing_steps_ > 0 ? sorted(step, states_ - 1) : at::zeros({states_ - 1, room.size(0)});
    out.teachers = gaps(at::cat({zero, inner.to(at::kDouble), at::ones_like(zero)}) * (share * room));
    return out;
  }

  // [count, B], each row's in order.
  static Tensor sorted(const TrainingStep& step, int64_t count) {
    std::vector<Tensor> out;
    for (int64_t i = 0; i < count; ++i) {
      out.push_back(step.uniform());
    }
    return out.empty() ? at::zeros({0, step.batch.x.size(0)}, at::kDouble) : std::get<0>(at::stack(out).sort(0));
  }

  // dy/du = n - x0.
  static Tensor teacher_velocity(const TrainingStep& step, const Tensor& y, const Tensor& u) {
    const Tensor t = flow_form::time_back(step.process, u);
    const auto [data, noise] = step.ode->predict(flow_form::state_back(step.process, y, t), t);
    return noise - data;
  }

  // The policy's mean velocity from y at u = `from` to u = `to`; over less than two of Euler's steps that at y itself.
  Tensor velocity(const Policy& policy, const Tensor& y, const Tensor& from, const Tensor& to) const {
    const Tensor here = policy.velocity(y, from);
    const Tensor near = ((from - to) * static_cast<double>(substeps_)).round() < 2;
    if (near.all().item<bool>()) {
      return here;
    }
    const Tensor way = y - policy.walk(y, from, to, substeps_);
    const Tensor mean = rows((from - to).clamp_min(1e-4).reciprocal(), y) * way;
    return at::where(rows(near.to(at::kDouble), y) > 0, here, mean);
  }

  Distance distance_;
  int64_t outputs_;
  std::vector<int64_t> segments_;
  int64_t states_, window_, mixing_steps_, substeps_;
};

RETORT_PLUGIN(PiFlow, loss, pi_flow)
