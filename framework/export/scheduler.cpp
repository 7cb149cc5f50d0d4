#include "export/scheduler.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <optional>

#include "config/toml.h"
#include "io/checkpoint.h"
#include "sample/sampler.h"

namespace retort {

namespace {
const std::string written_for = "diffusers 0.42.1";
}

std::string diffusers_library() { return written_for.substr(0, written_for.find(' ')); }
std::string diffusers_version() { return written_for.substr(written_for.find(' ') + 1); }

std::string listed(const std::vector<int64_t>& numbers) {
  std::string out;
  for (const int64_t n : numbers) {
    out += (out.empty() ? "" : ", ") + std::to_string(n);
  }
  return "[" + out + "]";
}

namespace {

std::string spelled(double value) { return Value{value, {}}.text(); }

std::string rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2g", value);
  return text;
}

RequestError refuse(const Outgoing& model, const std::string& why) {
  return RequestError(model.place.file.string() + ": " + why +
                      "; --format torchscript writes it with all that it needs");
}

std::string prediction_type(const Outgoing& model) {
  switch (model.parametrisation.predicts) {
    case Predicts::noise:
      return "epsilon";
    case Predicts::v:
      return "v_prediction";
    case Predicts::data:
      return "sample";
    default:
      throw refuse(model, "its network predicts '" + model.parametrisation.name() +
                              "' on a table of steps, which no scheduler of diffusers knows");
  }
}

// The betas of every step, from alpha^2.
Json betas_of(const Process& process) {
  const Tensor square = process.alpha(at::arange(process.steps() + 1, at::kDouble)).square();
  Json out = Json::array();
  for (int64_t i = 1; i < square.size(0); ++i) {
    out.push_back(1 - square[i].item<double>() / square[i - 1].item<double>());
  }
  return out;
}

// The keys of a table of steps, as all schedulers have them: by name where it has one.
Json table_of_steps(const Process& process) {
  const Json given = to_json(process.to_value());
  Json out = {{"beta_start", 1e-4},        {"beta_end", 0.02},
              {"beta_schedule", "linear"}, {"num_train_timesteps", process.steps()},
              {"trained_betas", nullptr},  {"rescale_betas_zero_snr", false}};
  if (given.contains("beta_schedule")) {
    for (const char* key : {"beta_schedule", "beta_start", "beta_end"}) {
      if (given.contains(key)) {
        out[key] = given[key];
      }
    }
  } else if (given.contains("beta_min")) {  // Stable Diffusion's, under Retort's own name
    out["beta_schedule"] = "scaled_linear";
    out["beta_start"] = given["beta_min"];
    out["beta_end"] = given["beta_max"];
  } else {
    out["trained_betas"] = given.contains("trained_betas") ? given["trained_betas"] : betas_of(process);
  }
  if (given.contains("rescale_betas_zero_snr")) {
    out["rescale_betas_zero_snr"] = given["rescale_betas_zero_snr"];
  }
  return out;
}

// A scheduler that samples over such a table, and neither clips nor thresholds.
ExportedScheduler over_table(const Outgoing& model, const char* name, const char* spacing) {
  ExportedScheduler out;
  out.name = name;
  out.config = table_of_steps(model.process);
  out.config.update({{"prediction_type", prediction_type(model)},
                     {"clip_sample", false},
                     {"clip_sample_range", 1.0},
                     {"set_alpha_to_one", true},
                     {"steps_offset", 0},
                     {"thresholding", false},
                     {"dynamic_thresholding_ratio", 0.995},
                     {"sample_max_value", 1.0},
                     {"timestep_spacing", spacing}});
  return out;
}

bool whole(double value) { return std::abs(value - std::round(value)) < 1e-9; }

// What diffusers calls the times: one less. Nothing where one lies between two steps.
std::optional<std::vector<int64_t>> as_timesteps(const Tensor& times) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < times.size(0); ++i) {
    const double t = times[i].item<double>();
    if (!whole(t) || t < 0.5) {
      return std::nullopt;
    }
    out.push_back(static_cast<int64_t>(std::round(t)) - 1);
  }
  return out;
}

std::vector<std::vector<double>> chosen_times(const Outgoing& model) {
  std::vector<std::vector<double>> out;
  const Value* lists = model.configured("evaluate.student_times");
  if (lists == nullptr || !std::holds_alternative<Array>(lists->data)) {
    return out;
  }
  for (const Value& list : std::get<Array>(lists->data)) {
    out.push_back(to_json(list).get<std::vector<double>>());
  }
  return out;
}

// How far c_skip and c_out of LCMScheduler lie from the student's own, at diffusers' timestep: the larger difference.
double boundary_difference(const Outgoing& model, double scaling, int64_t timestep) {
  const double r = static_cast<double>(timestep) * scaling, square = r * r + 0.25;
  const double skip = 0.25 / square, out = r / std::sqrt(square);
  class Constant final : public CompiledNetwork {
   public:
    explicit Constant(double value) : value_(value) {}
    Tensor operator()(const Tensor& x, const Tensor&, const Conditioning&) override { return at::full_like(x, value_); }

   private:
    double value_;
  };
  Parametrisation data(Predicts::data, model.parametrisation.sigma_data);
  data.preconditioning = model.parametrisation.preconditioning;
  const Tensor t = at::full({1}, static_cast<double>(timestep + 1), at::kDouble);
  // The student's f, of a sample and of the data that is predicted.
  const auto f = [&](double x, double predicted) {
    const Model own(std::make_shared<Constant>(predicted), model.process, data, model.boundary);
    return own.consistency(at::full({1, 1}, x, at::kDouble), t, {}).item<double>();
  };
  return std::max(std::abs(skip - f(1, 0)), std::abs(out - f(0, 1)));
}

// Steps of the training grid, where the run's grid is k, 2k, …, T and 0 as LCMScheduler's is; else all T.
int64_t original_steps(const Process& process, const Tensor& grid) {
  if (!grid.defined()) {
    return process.steps();
  }
  const int64_t intervals = grid.size(0) - 1, width = process.steps() / intervals;
  for (int64_t i = 0; i <= intervals; ++i) {
    if (grid[i].item<double>() != static_cast<double>((intervals - i) * width)) {
      return process.steps();
    }
  }
  return intervals;
}

// What set_timesteps(n) of LCMScheduler chooses: every floor(i original / n)-th of its own list, from the noisiest on.
// Empty where it refuses the number.
std::vector<int64_t> lcm_timesteps(int64_t total, int64_t original, int64_t n) {
  std::vector<int64_t> out;
  const double width = static_cast<double>(original) / static_cast<double>(n);
  for (int64_t i = 0; i < n && n <= original; ++i) {
    const auto index = static_cast<int64_t>(std::floor(static_cast<double>(i) * width));
    out.push_back((original - index) * (total / original) - 1);
  }
  return out;
}

ExportedScheduler lcm(const Outgoing& model, const Tensor& grid, const std::vector<int64_t>& steps) {
  ExportedScheduler out = over_table(model, "LCMScheduler", "leading");
  // Without boundary terms f is the data that is predicted, as LCMScheduler's is for a great scaling.
  constexpr double none = 1e4;
  const double scaling = model.boundary.kind == BoundaryKind::time_scaled ? model.boundary.time_scale : none;
  const int64_t original = original_steps(model.process, grid);
  out.config.update({{"original_inference_steps", original}, {"timestep_scaling", scaling}});
  if (!grid.defined()) {
    return out;
  }
  out.start = model.process.sigma(grid.narrow(0, 0, 1)).item<double>();
  double most = 0;
  int64_t where = 0;
  const std::vector<std::vector<double>> chosen = chosen_times(model);
  for (const int64_t n : steps) {
    if (n >= grid.size(0) && std::none_of(chosen.begin(), chosen.end(), [&](const auto& list) {
          return static_cast<int64_t>(list.size()) + 1 == n;
        })) {
      continue;
    }
    const Tensor times = sampler_times(grid, n, chosen);
    const std::optional<std::vector<int64_t>> timesteps = as_timesteps(times.narrow(0, 0, n));
    if (!timesteps) {
      out.differences.push_back("in " + std::to_string(n) +
                                " steps Retort's times lie between diffusers' timesteps, which are whole numbers");
      continue;
    }
    out.timesteps.emplace_back(n, *timesteps);
    if (const auto own = lcm_timesteps(model.process.steps(), original, n); own != *timesteps) {
      out.differences.push_back("in " + std::to_string(n) + (n == 1 ? " step" : " steps") +
                                " Retort takes the timesteps " + listed(*timesteps) + ", and set_timesteps(" +
                                std::to_string(n) + ") of LCMScheduler " +
                                (own.empty() ? "refuses the number" : "takes " + listed(own)) +
                                "; set_timesteps(timesteps=…) takes Retort's");
    }
    for (const int64_t timestep : *timesteps) {
      if (const double apart = boundary_difference(model, scaling, timestep); apart > most) {
        most = apart;
        where = timestep;
      }
    }
  }
  constexpr double felt = 0.05, negligible = 2e-6;
  if (most > felt) {
    const Value* named = at_path(model.checkpoint.config, "model.boundary");
    throw refuse(model, "its boundary " + (named != nullptr ? named->text() : std::string("\"edm\"")) +
                            " is not LCMScheduler's: c_skip and c_out differ by " + rounded(most) + " at timestep " +
                            std::to_string(where) +
                            " (student.boundary = \"time_scaled\", or times farther from the clean end, would fit)");
  }
  if (most > negligible) {
    out.differences.push_back(
        "c_skip and c_out of LCMScheduler, which count time from 0 and not from 1, differ from the "
        "student's by " +
        rounded(most) + " at timestep " + std::to_string(where) + ", and by less at all others");
  }
  if (const double end = grid[-1].item<double>(); end > 0) {
    out.differences.push_back("Retort's grid ends at t = " + spelled(end) +
                              ", so that between two steps it adds the noise that is missing from there alone; "
                              "LCMScheduler adds all of it");
  }
  if (const Value* gamma = model.configured("evaluate.gamma"); gamma != nullptr) {
    const double value = to_json(*gamma).get<double>();
    if (value >= 0 && value < 1) {
      out.differences.push_back("evaluate.gamma = " + spelled(value) +
                                ": in several steps Retort draws that share of the noise anew, LCMScheduler all of it");
    }
  }
  return out;
}

// The pairs (t, next) of DDIMScheduler, as Retort counts times: 0 is the clean end.
std::vector<std::pair<int64_t, int64_t>> ddim_steps(int64_t total, int64_t n, const std::string& spacing,
                                                    int64_t offset) {
  std::vector<std::pair<int64_t, int64_t>> out;
  for (int64_t k = 0; k < n; ++k) {
    const double width = static_cast<double>(total) / static_cast<double>(n);
    int64_t t = 0;
    if (spacing == "leading") {
      t = (n - 1 - k) * (total / n) + offset + 1;
    } else if (spacing == "trailing") {
      t = static_cast<int64_t>(std::nearbyint(static_cast<double>(total) - static_cast<double>(k) * width));
    } else if (n > 1) {
      t = static_cast<int64_t>(
              std::nearbyint(static_cast<double>((n - 1 - k) * (total - 1)) / static_cast<double>(n - 1))) +
          1;
    }
    out.emplace_back(t, std::max<int64_t>(t - total / n, 0));
  }
  return out;
}

// Whether a scheduler is called as a solver: its name, and "Scheduler" behind it.
bool is_of_solver(std::string scheduler, const std::string& solver) {
  std::transform(scheduler.begin(), scheduler.end(), scheduler.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return scheduler == solver + "scheduler";
}

ExportedScheduler ddim(const Outgoing& model, const Tensor& grid) {
  ExportedScheduler out = over_table(model, "DDIMScheduler", "trailing");
  if (!grid.defined()) {
    return out;
  }
  out.start = model.process.sigma(grid.narrow(0, 0, 1)).item<double>();
  const int64_t n = grid.size(0) - 1, total = model.process.steps();
  const auto is_grid = [&](const std::vector<std::pair<int64_t, int64_t>>& pairs, double end) {
    for (int64_t i = 0; i < n; ++i) {
      const double next = i + 1 == n ? end : grid[i + 1].item<double>();
      if (grid[i].item<double>() != static_cast<double>(pairs[static_cast<size_t>(i)].first) ||
          next != static_cast<double>(i + 1 == n ? static_cast<int64_t>(end) : pairs[static_cast<size_t>(i)].second)) {
        return false;
      }
    }
    return true;
  };
  const double end = grid[-1].item<double>();
  bool found = false;
  for (const auto& [spacing, offset] :
       {std::pair("trailing", 0), std::pair("leading", 0), std::pair("leading", 1), std::pair("linspace", 0)}) {
    const auto pairs = ddim_steps(total, n, spacing, offset);
    if ((end == 0 || end == 1) && n <= total && pairs.back().second == 0 && is_grid(pairs, end)) {
      out.config["timestep_spacing"] = spacing;
      out.config["steps_offset"] = offset;
      out.config["set_alpha_to_one"] = end == 0;
      found = true;
      break;
    }
  }
  if (const std::optional<std::vector<int64_t>> timesteps = as_timesteps(grid.narrow(0, 0, n))) {
    out.timesteps.emplace_back(n, *timesteps);
  }
  if (!found) {
    out.differences.push_back(
        "the run's grid of " + std::to_string(n) +
        " intervals is none of DDIMScheduler's: it steps by T / n from the times of its own list");
  }
  const Value* solver = model.configured("solver.type");
  if (solver != nullptr && !is_of_solver(out.name, to_json(*solver).get<std::string>())) {
    out.differences.push_back("the run sampled it by the solver " + solver->text() +
                              "; DDIMScheduler steps as Retort's solver ddim does");
  }
  return out;
}

ExportedScheduler edm(const Outgoing& model, const Tensor& grid) {
  const bool consistency = model.makes == Makes::consistency;
  if (consistency && model.boundary.kind != BoundaryKind::edm) {
    throw refuse(model, "its boundary is not that of EDM's denoiser, which EDMEulerScheduler has");
  }
  ExportedScheduler out;
  out.name = "EDMEulerScheduler";
  const double first = grid.defined() ? grid[0].item<double>() : 80;
  const double last =
      grid.defined() ? grid[-1].item<double>() > 0 ? grid[-1].item<double>() : grid[-2].item<double>() : 0.002;
  out.config = {{"sigma_min", last},
                {"sigma_max", first},
                {"sigma_data", model.parametrisation.sigma_data},
                {"num_train_timesteps", 1000},
                {"prediction_type", "epsilon"},  // what diffusers calls EDM's F within its scalings
                {"rho", 7.0},
                {"final_sigmas_type", "zero"}};
  out.start = first;
  out.differences.push_back("a pipeline begins at sqrt(sigma_max^2 + 1) times noise, Retort at sigma_max");
  if (consistency) {
    out.differences.push_back(
        "EDMEulerScheduler steps along the ODE: one step is the student's own, several are not. For those take "
        "pred_original_sample of each step, and add noise up to the next sigma");
  } else {
    out.differences.push_back("it steps by Euler's rule over Karras's times; Retort by the run's solver and schedule");
  }
  return out;
}

ExportedScheduler flow(const Outgoing& model) {
  if (model.makes != Makes::denoiser) {
    throw refuse(model, std::string("it is a ") + name_of(model.makes) +
                            " on a flow, and diffusers' schedulers of flows step along the ODE");
  }
  ExportedScheduler out;
  out.name = "FlowMatchEulerDiscreteScheduler";
  out.config = {{"num_train_timesteps", static_cast<int64_t>(timestep_scale(model))}, {"shift", 1.0}};
  out.differences.push_back("it steps by Euler's rule over its own times; Retort by the run's solver and schedule");
  return out;
}

}  // namespace

double timestep_scale(const Outgoing& model) {
  const Value* scale = at_path(model.checkpoint.config, "model.network.timestep_scale");
  return scale != nullptr ? to_json(*scale).get<double>() : 1;
}

namespace {

ExportedScheduler chosen(const Outgoing& model, const Tensor& grid, const std::vector<int64_t>& steps) {
  if (model.makes != Makes::consistency && model.makes != Makes::denoiser && model.makes != Makes::generator) {
    throw refuse(model, std::string("it is a ") + name_of(model.makes) + ", which no scheduler of diffusers samples");
  }
  const Preconditioning seen =
      model.parametrisation.preconditioning.resolved(model.parametrisation.predicts, model.process);
  const double scale = timestep_scale(model);
  if (const Value* score = at_path(model.checkpoint.config, "model.network.gives_score");
      score != nullptr && to_json(*score) == true) {
    throw refuse(model, "its network gives a score, which no scheduler of few steps asks for");
  }
  if (seen.sees == Sees::discrete) {
    if (scale != 1) {
      throw refuse(model, "its network is told " + spelled(scale) + " times the step, and diffusers tell it the step");
    }
    return model.makes == Makes::denoiser ? ddim(model, grid) : lcm(model, grid, steps);
  }
  const bool own_scalings = model.process.is_variance_exploding() && seen.sees == Sees::edm &&
                            model.parametrisation.predicts == Predicts::edm &&
                            seen.sigma_data == model.parametrisation.sigma_data;
  if (own_scalings && scale == 1) {
    return edm(model, grid);
  }
  if (model.parametrisation.predicts == Predicts::flow && seen.sees == Sees::fraction && scale > 1 &&
      model.process == Process::rectified_flow()) {
    return flow(model);
  }
  const std::string sees = seen.sees == Sees::edm ? "log(sigma) / 4" : "t / t_max";
  throw refuse(model,
               "its network is told " + (scale == 1 ? "" : spelled(scale) + " times ") + sees + ", and predicts '" +
                   model.parametrisation.name() + "' on process '" + model.process.name() +
                   "', as no scheduler of diffusers asks it (student.preconditioning = \"discrete\" on a process "
                   "\"betas\" would be asked by LCMScheduler)");
}

}  // namespace

ExportedScheduler scheduler_for(const Outgoing& model, const Tensor& grid, const std::vector<int64_t>& steps) {
  ExportedScheduler out = chosen(model, grid, steps);
  out.config["_class_name"] = out.name;
  out.config["_diffusers_version"] = diffusers_version();
  return out;
}

}  // namespace retort
