#include "track/watch.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <cmath>
#include <cstdio>
#include <numbers>

#include "results/row.h"
#include "sample/sampler.h"
#include "track/json_lines.h"

namespace retort {

Watch::Watch(const Experiment& experiment, std::filesystem::path folder)
    : experiment_(experiment), folder_(std::move(folder)) {
  trackers_.push_back(std::make_shared<JsonLines>());
  for (const auto& [name, tracker] : experiment.trackers) {
    trackers_.push_back(tracker);
  }
}

void Watch::begin(int64_t from_step) const {
  const TrackedRun run{experiment_.run->name, folder_, experiment_.resolved()};
  for (const auto& tracker : trackers_) {
    tracker->begin(run, from_step);
  }
}

void Watch::log(int64_t step, Scalars scalars, const Scalars& machine) const {
  trackers_[0]->log(step, scalars);  // the log
  scalars.insert(scalars.end(), machine.begin(), machine.end());
  for (size_t i = 1; i < trackers_.size(); ++i) {
    trackers_[i]->log(step, scalars);
  }
}

bool Watch::shows_samples(int64_t step) const {
  const int64_t every = experiment_.track->pictures_every;
  return every > 0 && step % every == 0 && experiment_.schedule && makes_samples(experiment_.loss->makes());
}

bool Watch::shows_weights(int64_t step) const {
  const int64_t every = experiment_.track->histograms_every;
  return every > 0 && step % every == 0;
}

void Watch::show_gradients(int64_t step, const Weights& trained) const {
  for (size_t i = 0; shows_weights(step) && i < trained.parameter_count; ++i) {
    if (const Tensor gradient = trained.tensors[i].grad(); gradient.defined()) {
      for (const auto& tracker : trackers_) {
        tracker->histogram(step, "gradients/" + trained.names[i], gradient.flatten());
      }
    }
  }
}

void Watch::show(int64_t step, const Weights& trained, Network& network, const Model& student) const {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; shows_weights(step) && i < trained.parameter_count; ++i) {
    for (const auto& tracker : trackers_) {
      tracker->histogram(step, "weights/" + trained.names[i], trained.tensors[i].detach().flatten());
    }
  }
  if (shows_samples(step)) {
    network.module()->eval();
    show_samples(step, student);
    network.module()->train();
  }
}

void Watch::show_samples(int64_t step, const Model& student) const {
  const EvaluateSettings& settings = *experiment_.evaluate;
  const Tensor grid = experiment_.schedule->times(experiment_.process(), 1.0);
  const Batch start =
      starting_noise(experiment_, grid, experiment_.track->pictures, settings.seed, middle_guidance(experiment_));
  const auto pass_on = [&](const std::string& name, const Tensor& samples) {
    const Tensor pictures = experiment_.shown(samples);
    for (const auto& tracker : trackers_) {
      if (pictures.defined()) {
        tracker->pictures(step, name, pictures);
      }
    }
  };
  if (experiment_.loss->makes() == Makes::denoiser) {
    if (experiment_.solver) {
      const ModelTeacher model(student, experiment_.spec());
      pass_on("samples", sample_teacher(Ode(model), *experiment_.solver, grid, start, settings.batch, settings.seed));
    }
    return;
  }
  for (const int64_t steps : settings.student_steps) {
    pass_on("samples in " + std::to_string(steps) + (steps == 1 ? " step" : " steps"),
            sample_student(student, sampler_times(grid, steps, settings.student_times), start, settings.batch,
                           settings.seed, settings.gamma));
  }
}

namespace {

// How the row was sampled and by which weights, where there are several ways: 4 steps, guidance 2
std::string way(const Json& row) {
  std::string out;
  const auto add = [&](const std::string& part) { out += (out.empty() ? "" : ", ") + part; };
  const Row r = row_from(row);
  if (const int64_t steps = r.student_steps.value_or(0); steps > 0) {
    add(std::to_string(steps) + (steps == 1 ? " step" : " steps"));
  }
  if (r.guidance) {
    add("guidance " + Value{*r.guidance, {}}.text());
  }
  if (r.ema_length) {
    add("average " + Value{*r.ema_length, {}}.text());
  }
  return out;
}

}  // namespace

void Watch::end(const Json& rows) const {
  std::vector<Measured> measured;
  for (const Json& json : rows) {
    const Row row = row_from(json);
    const int64_t step = row.train_steps.value_or(row.optimizer_steps.value_or(0));
    if (measured.empty() || measured.back().step != step) {
      measured.push_back({step, {}});
    }
    const std::string of = way(json);
    for (const auto& [name, value] : row.metrics) {
      measured.back().scalars.push_back({of.empty() ? name : name + "/" + of, value});
    }
  }
  for (const auto& tracker : trackers_) {
    tracker->end(measured);
  }
}

namespace {
Tensor angle(const Process& process, const Tensor& t) { return at::atan2(process.sigma(t), process.alpha(t)); }
double greatest_angle(const Process& process) {
  return process.is_variance_exploding() ? std::numbers::pi / 2
                                         : angle(process, at::full({1}, process.t_max(), at::kDouble)).item<double>();
}
}  // namespace

Tensor time_bins(const Process& process, const Tensor& t, int64_t bins) {
  const Tensor share = angle(process, t.to(at::kCPU, at::kDouble)) / greatest_angle(process);
  return (share * static_cast<double>(bins)).floor().clamp(0, static_cast<double>(bins - 1)).to(at::kLong);
}

std::vector<std::string> time_bin_names(const Process& process, int64_t bins) {
  const Tensor ends = at::linspace(0, greatest_angle(process), bins + 1, at::kDouble);
  const Tensor times = process.time_of_noise_level(ends.tan().clamp_min(0));
  std::vector<std::string> out;
  for (int64_t i = 0; i < bins; ++i) {
    char name[64];
    const double last = times[i + 1].item<double>();
    if (i + 1 == bins && process.is_variance_exploding()) {
      std::snprintf(name, sizeof name, "t above %.3g", times[i].item<double>());
    } else {
      std::snprintf(name, sizeof name, "t %.3g to %.3g", times[i].item<double>(), last);
    }
    out.emplace_back(name);
  }
  return out;
}

}  // namespace retort
