#include "io/diffusers_scheduler.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "io/diffusers_files.h"
#include "io/diffusers_words.h"
#include "io/json.h"
#include "log.h"
#include "retort/error.h"

namespace retort {

namespace {

// What a class takes where its file says nothing.
struct BetaDefaults {
  double start = 1e-4, end = 0.02;
  const char* schedule = "linear";
};
constexpr BetaDefaults of_ddpm{};
constexpr BetaDefaults of_lcm{0.00085, 0.012, "scaled_linear"};
constexpr BetaDefaults of_k_diffusion{0.00085, 0.012, "linear"};

// Solvers of one and the same model family: a table of betas.
const std::map<std::string, BetaDefaults>& table_schedulers() {
  static const std::map<std::string, BetaDefaults> all = {{"DDPMScheduler", of_ddpm},
                                                          {"DDPMParallelScheduler", of_ddpm},
                                                          {"DDIMScheduler", of_ddpm},
                                                          {"DDIMParallelScheduler", of_ddpm},
                                                          {"DDIMInverseScheduler", of_ddpm},
                                                          {"PNDMScheduler", of_ddpm},
                                                          {"RePaintScheduler", of_ddpm},
                                                          {"LMSDiscreteScheduler", of_ddpm},
                                                          {"EulerDiscreteScheduler", of_ddpm},
                                                          {"EulerAncestralDiscreteScheduler", of_ddpm},
                                                          {"DEISMultistepScheduler", of_ddpm},
                                                          {"DPMSolverMultistepScheduler", of_ddpm},
                                                          {"DPMSolverMultistepInverseScheduler", of_ddpm},
                                                          {"DPMSolverSinglestepScheduler", of_ddpm},
                                                          {"UniPCMultistepScheduler", of_ddpm},
                                                          {"SASolverScheduler", of_ddpm},
                                                          {"LCMScheduler", of_lcm},
                                                          {"TCDScheduler", of_lcm},
                                                          {"HeunDiscreteScheduler", of_k_diffusion},
                                                          {"KDPM2DiscreteScheduler", of_k_diffusion},
                                                          {"KDPM2AncestralDiscreteScheduler", of_k_diffusion},
                                                          {"DPMSolverSDEScheduler", of_k_diffusion}};
  return all;
}

bool is_one_of(const std::string& word, std::initializer_list<const char*> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// A scheduler's file, whose errors say where they are.
class SchedulerFile {
 public:
  explicit SchedulerFile(const std::filesystem::path& file) : file_(file.string()), json_(read_json_object(file)) {}

  RequestError error(const std::string& key, const std::string& what) const {
    return RequestError(file_ + ": " + key + ": " + what);
  }
  double number(const char* key, double fallback) const {
    const Json& value = json_at(json_, key);
    if (!value.is_null() && !value.is_number()) {
      throw error(key, "is " + shown_value(value) + "; expected a number");
    }
    return value.is_null() ? fallback : value.get<double>();
  }
  // A flow may have one; a table has two or more.
  int64_t steps(int64_t least) const {
    const char* key = "num_train_timesteps";
    const double n = number(key, 1000);
    constexpr double most = 1e6;
    if (!(n >= static_cast<double>(least) && n <= most && n == std::floor(n))) {
      throw error(key, "is " + shown_value(json_at(json_, key)) + "; expected a whole number from " +
                           std::to_string(least) + " to 1000000");
    }
    return static_cast<int64_t>(n);
  }
  std::string text(const char* key, const std::string& fallback) const {
    const Json& value = json_at(json_, key);
    if (!value.is_null() && !value.is_string()) {
      throw error(key, "is " + shown_value(value) + "; expected a string");
    }
    return value.is_null() ? fallback : value.get<std::string>();
  }
  bool flag(const char* key) const {
    const Json& value = json_at(json_, key);
    if (!value.is_null() && !value.is_boolean()) {
      throw error(key, "is " + shown_value(value) + "; expected true or false");
    }
    return value == true;
  }
  const Json& at(const char* key) const { return json_at(json_, key); }

 private:
  std::string file_;
  Json json_;
};

Value value_of(const std::vector<double>& numbers) {
  Array out;
  for (const double n : numbers) {
    out.push_back(Value{n, {}});
  }
  return Value{std::move(out), {}};
}

Value named(const char* type) {
  Value out;
  out["type"] = Value{std::string(type), {}};
  return out;
}

// DDPM's own fourth curve; in float32, as it is there.
std::vector<double> sigmoid_betas(double start, double end, int64_t steps) {
  constexpr double reach = 6;
  const auto single = at::TensorOptions().dtype(at::kFloat);
  const Tensor betas =
      (at::sigmoid(at::linspace(-reach, reach, steps, single)) * (end - start) + start).to(at::kDouble).contiguous();
  return {betas.data_ptr<double>(), betas.data_ptr<double>() + steps};
}

std::vector<double> trained_betas(const SchedulerFile& file) {
  const Json& list = file.at("trained_betas");
  if (list.is_null()) {
    return {};
  }
  if (!list.is_array() || list.empty() ||
      !std::all_of(list.begin(), list.end(), [](const Json& beta) { return beta.is_number(); })) {
    throw file.error("trained_betas", "is no list of numbers");
  }
  return list.get<std::vector<double>>();
}

// A process that reads none of its table's keys is refused in its own words.
void check_process(const SchedulerFile& file, const Value& table) {
  try {
    Params p(table, "process", nullptr);
    const Process made(p);
    p.finish();
  } catch (const RequestError& e) {
    const std::string what = e.what(), place = "command line: process.";
    const size_t end = what.find(": ", place.size());
    if (what.starts_with(place) && end != std::string::npos) {
      throw file.error(what.substr(place.size(), end - place.size()), what.substr(end + 2));
    }
    throw file.error("the betas", what);
  }
}

Value table_of_betas(const SchedulerFile& file, const BetaDefaults& defaults) {
  const double start = file.number("beta_start", defaults.start), end = file.number("beta_end", defaults.end);
  const std::string schedule = file.text("beta_schedule", defaults.schedule);
  Value out = named("betas");
  std::vector<double> betas = trained_betas(file);
  if (betas.empty() && schedule == "sigmoid") {
    betas = sigmoid_betas(start, end, file.steps(2));
  }
  if (!betas.empty()) {
    out["trained_betas"] = value_of(betas);
  } else if (is_one_of(schedule, {"linear", "scaled_linear", "squaredcos_cap_v2"})) {
    out["beta_schedule"] = Value{schedule, {}};
    if (schedule != "squaredcos_cap_v2") {
      out["beta_start"] = Value{start, {}};
      out["beta_end"] = Value{end, {}};
    }
    out["num_train_timesteps"] = Value{file.steps(2), {}};
  } else {
    throw file.error("beta_schedule", shown_word(schedule) +
                                          " is not supported; expected 'linear', 'scaled_linear', "
                                          "'squaredcos_cap_v2' or 'sigmoid'");
  }
  if (file.flag("rescale_betas_zero_snr")) {
    out["rescale_betas_zero_snr"] = Value{true, {}};
  }
  check_process(file, out);
  return out;
}

Predicts predicted(const SchedulerFile& file, const std::string& fallback) {
  const std::string type = file.text("prediction_type", fallback);
  static const std::map<std::string, Predicts> types = {{"epsilon", Predicts::noise},
                                                        {"v_prediction", Predicts::v},
                                                        {"sample", Predicts::data},
                                                        {"flow_prediction", Predicts::flow}};
  const auto found = types.find(type);
  if (found == types.end()) {
    throw file.error("prediction_type", shown_word(type) +
                                            " is not supported; expected 'epsilon', 'v_prediction', 'sample' or "
                                            "'flow_prediction'");
  }
  return found->second;
}

DiffusersScheduler flow(const SchedulerFile& file) {
  if (const Predicts predicts = predicted(file, "flow_prediction"); predicts != Predicts::flow) {
    throw file.error("prediction_type", "is that of no flow, though the scheduler is one; expected 'flow_prediction'");
  }
  return {named("rectified_flow"),
          Parametrisation(Predicts::flow, 0.5, Sees::fraction),
          {static_cast<double>(file.steps(1)), false}};
}

// NCSN++ (Song et al. 2021): told sigma, it gives the score.
DiffusersScheduler score(const SchedulerFile& file) {
  if (!file.at("prediction_type").is_null()) {
    throw file.error("prediction_type", "says something, though the scheduler is of models of the score alone");
  }
  return {named("ve"),
          Parametrisation(Predicts::noise, 0.5, Sees::fraction),
          {Process::variance_exploding().t_max(), true}};
}

// Karras et al. 2022: F within their scalings, and log(sigma) / 4.
DiffusersScheduler edm(const SchedulerFile& file) {
  if (predicted(file, "epsilon") != Predicts::noise) {
    throw file.error("prediction_type", "is not supported with EDM's scalings; expected 'epsilon'");
  }
  const double sigma_data = file.number("sigma_data", 0.5);
  if (!(sigma_data > 0)) {
    throw file.error("sigma_data", "is " + Value{sigma_data, {}}.text() + "; expected a number over 0");
  }
  return {named("ve"), Parametrisation(Predicts::edm, sigma_data, Sees::edm), {}};
}

DiffusersScheduler discrete(const SchedulerFile& file, const BetaDefaults& defaults) {
  if (file.text("timestep_type", "discrete") == "continuous") {
    throw file.error("timestep_type", "\"continuous\" is not supported; expected \"discrete\"");
  }
  const Predicts predicts = predicted(file, "epsilon");
  if (predicts == Predicts::flow) {
    throw file.error("prediction_type", "'flow_prediction' needs use_flow_sigmas; the table of betas is no flow");
  }
  return {table_of_betas(file, defaults), Parametrisation(predicts, 0.5, Sees::discrete), {}};
}

}  // namespace

DiffusersScheduler read_diffusers_scheduler(const std::filesystem::path& path) {
  const SchedulerFile file(path);
  const std::string name = file.text("_class_name", "");
  if (file.flag("use_flow_sigmas") || (name.starts_with("FlowMatch") && name.ends_with("Scheduler"))) {
    return flow(file);
  }
  if (is_one_of(name, {"EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"})) {
    return edm(file);
  }
  if (name == "ScoreSdeVeScheduler") {
    return score(file);
  }
  const auto found = table_schedulers().find(name);
  if (found != table_schedulers().end()) {
    static std::set<std::filesystem::path> said;  // a folder is read several times
    if (is_one_of(name, {"LCMScheduler", "TCDScheduler"}) && said.insert(path).second) {
      log::warn(path.string() + ": '" + name + "' samples students of few steps; its model is taken for a denoiser");
    }
    return discrete(file, found->second);
  }
  if (name == "CMStochasticIterativeScheduler") {
    throw file.error("_class_name", "'" + name +
                                        "' is of consistency models; a teacher is a diffusion model, whose own "
                                        "scheduler's file teacher.scheduler names");
  }
  std::vector<std::string> known = {"EDMEulerScheduler", "EDMDPMSolverMultistepScheduler",
                                    "FlowMatchEulerDiscreteScheduler", "ScoreSdeVeScheduler"};
  std::string list;
  for (const auto& [scheduler, defaults] : table_schedulers()) {
    known.push_back(scheduler);
  }
  for (const std::string& scheduler : known) {
    list += (list.empty() ? "'" : ", '") + scheduler + "'";
  }
  throw file.error("_class_name", (name.empty() ? "is missing" : shown_word(name) + " is not supported") +
                                      did_you_mean(name, known) + "; expected one of " + list);
}

}  // namespace retort
