#include "export/outgoing.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <cmath>
#include <regex>

#include "config/toml.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "io/names.h"
#include "retort/schedule.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

std::vector<std::string> names_in(const fs::path& folder, bool folders) {
  std::vector<std::string> out;
  std::error_code error;
  for (fs::directory_iterator i(folder.empty() ? "." : folder, error), end; !error && i != end; i.increment(error)) {
    if (i->is_directory() == folders) {
      out.push_back(i->path().filename().string());
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

// "; did you mean 'runs/mixture'?", of what lies beside a path that does not exist.
std::string nearest_path(const fs::path& path, bool folders) {
  std::vector<std::string> paths;
  for (const std::string& name : names_in(path.parent_path(), folders)) {
    paths.push_back((path.parent_path() / name).string());
  }
  return did_you_mean(path.string(), paths);
}

std::string some_of(const std::vector<std::string>& names) {
  constexpr size_t most = 4;
  std::string out;
  for (size_t i = 0; i < std::min(names.size(), most); ++i) {
    out += (i > 0 ? ", " : "") + ("'" + names[i] + "'");
  }
  return out + (names.size() > most ? ", …" : "");
}

// The training step of "step_001500.safetensors"; nothing of other names.
std::optional<int64_t> step_of(const std::string& name) {
  static const std::regex pattern("step_([0-9]{1,15})\\.safetensors");
  std::smatch match;
  return std::regex_match(name, match, pattern) ? std::optional(std::stoll(match[1].str())) : std::nullopt;
}

fs::path folder_of_cell(const fs::path& run, const std::string& cell) {
  const std::vector<std::string> cells = names_in(run / "cells", true);
  if (cells.empty()) {
    if (!cell.empty()) {
      throw RequestError("--cell: " + run.string() + " is a single run, and has no cells; leave --cell out");
    }
    return run;
  }
  if (cell.empty() && cells.size() > 1) {
    throw RequestError(run.string() + ": is a sweep of " + std::to_string(cells.size()) +
                       " cells; --cell names one of " + some_of(cells));
  }
  const std::string chosen = cell.empty() ? cells[0] : cell;
  if (std::find(cells.begin(), cells.end(), chosen) == cells.end()) {
    throw RequestError("--cell: " + run.string() + " has no cell '" + chosen + "'" + did_you_mean(chosen, cells) +
                       "; expected one of " + some_of(cells));
  }
  return run / "cells" / chosen;
}

fs::path last_checkpoint(const fs::path& folder) {
  std::optional<std::pair<int64_t, std::string>> last;
  for (const std::string& name : names_in(folder / "checkpoints", false)) {
    if (const auto step = step_of(name); step && (!last || *step > last->first)) {
      last = {*step, name};
    }
  }
  if (!last) {
    throw RequestError(folder.string() +
                       ": holds no checkpoint; expected the folder of a run, which keeps its students in " +
                       "checkpoints/");
  }
  return folder / "checkpoints" / last->second;
}

// A file, or the name of one in the run's folder, with or without its ending.
fs::path named_checkpoint(const fs::path& folder, const std::string& name) {
  const fs::path within = folder / "checkpoints";
  for (const fs::path& path : {fs::path(name), within / name, within / (name + ".safetensors")}) {
    if (fs::is_regular_file(path)) {
      return path;
    }
  }
  std::vector<std::string> known = names_in(within, false);
  std::erase_if(known, [](const std::string& file) { return !step_of(file); });
  for (std::string& file : known) {
    file = fs::path(file).stem().string();
  }
  throw RequestError("--checkpoint: " + name + ": no such file" + did_you_mean(name, known) +
                     (known.empty() ? "" : "; " + within.string() + " has " + some_of(known)));
}

}  // namespace

ExportedFile find_export(const std::string& run, const std::string& cell, const std::string& checkpoint) {
  if (fs::is_regular_file(run)) {
    if (!checkpoint.empty() || !cell.empty()) {
      throw RequestError(run + ": is a file; --cell and --checkpoint choose within a run's folder");
    }
    if (fs::path(run).extension() == ".toml") {
      throw RequestError(run + ": is a configuration; expected the folder that its run wrote, such as runs/" +
                         fs::path(run).stem().string());
    }
    const fs::path folder = fs::path(run).parent_path();
    return {folder.filename() == "checkpoints" ? folder.parent_path() : fs::path(), run};
  }
  if (!fs::is_directory(run)) {
    throw RequestError(run + ": no such folder" + nearest_path(run, true) + "; expected the folder of a run");
  }
  const fs::path folder = folder_of_cell(run, cell);
  return {folder, checkpoint.empty() ? last_checkpoint(folder) : named_checkpoint(folder, checkpoint)};
}

fs::path adapter_beside(const fs::path& checkpoint) {
  const fs::path beside = adapter_of(checkpoint);
  if (!fs::exists(beside)) {
    throw RequestError("--lora: " + checkpoint.string() +
                       " has no adapter beside it; expected a student trained with student.adapter = \"lora\", or the "
                       "command without --lora");
  }
  return beside;
}

namespace {

Makes makes_of(const Checkpoint& checkpoint, const Registry& registry, const std::string& path) {
  if (const Value* said = at_path(checkpoint.config, "model.objective")) {
    for (const Makes makes : {Makes::denoiser, Makes::consistency, Makes::flow_map, Makes::generator, Makes::classifier,
                              Makes::policy, Makes::autoencoder, Makes::embedding}) {
      if (said->text() == Value{std::string(name_of(makes)), {}}.text()) {
        return makes;
      }
    }
  }
  // Files of before that was said tell it by the loss that made them.
  const Value* loss = at_path(checkpoint.config, "experiment.loss");
  const Value* type = loss != nullptr ? loss->find("type") : nullptr;
  if (type == nullptr || !std::holds_alternative<std::string>(type->data)) {
    throw RequestError(path + ": does not say what its network was trained to be; train it again");
  }
  Params p(*loss, "loss", nullptr);
  return std::static_pointer_cast<Loss>(registry.make(Loss::kind, std::get<std::string>(type->data), p))->makes();
}

}  // namespace

Outgoing::Outgoing(Experiment& host, const Registry& registry, ExportedFile place_)
    : place(std::move(place_)), checkpoint(host.checkpoint(place.file.string())) {
  const std::string path = place.file.string();
  makes = makes_of(checkpoint, registry, path);
  const Value& model = *checkpoint.config.find("model");
  spec = checkpoint.spec();
  if (const Value* table = model.find("process")) {
    Params p(*table, "process", nullptr);
    process = Process(p);
  }
  Params form(model, "model", nullptr);
  parametrisation = Parametrisation(form);
  if (const Value* student = configured("student"); makes == Makes::consistency) {
    const Value& own = student != nullptr && student->find("boundary") != nullptr ? *student : model;
    Params p(own, "student", nullptr);
    boundary = Boundary(p, parametrisation);
  }
  network = build_network(host, checkpoint, path);
  network->module()->to(at::kCPU, at::kFloat);
  for (const Tensor& parameter : network->module()->parameters()) {
    Tensor(parameter).set_requires_grad(false);
  }
}

std::string Outgoing::name() const {
  const fs::path folder = place.run.empty() ? fs::path() : fs::weakly_canonical(place.run);
  const std::string own = folder.filename().string();
  const bool of_sweep = folder.parent_path().filename() == "cells";
  return place.run.empty() ? place.file.stem().string()
         : of_sweep        ? folder.parent_path().parent_path().filename().string() + " " + own
                           : own;
}

const Value* Outgoing::configured(const char* path) const {
  return at_path(checkpoint.config, std::string("experiment.") + path);
}

std::string Outgoing::network_type() const {
  const Value* type = at_path(checkpoint.config, "model.network.type");
  const std::string* name = type != nullptr ? std::get_if<std::string>(&type->data) : nullptr;
  return name != nullptr ? *name : "";
}

Tensor Outgoing::grid(Experiment& host) const {
  const Value* table = configured("schedule");
  if (table == nullptr) {
    return {};
  }
  Params p(*table, "schedule", &host);
  const std::string type = p.get("type", "", "");
  return static_cast<Host&>(host).make<Schedule>(type, p)->times(process, 1.0);
}

namespace {

// The network as it is.
class Plain final : public CompiledNetwork {
 public:
  explicit Plain(std::shared_ptr<Network> network) : network_(std::move(network)) {}
  Tensor operator()(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    return network_->forward(x, c_noise, condition);
  }

 private:
  std::shared_ptr<Network> network_;
};

}  // namespace

Model Outgoing::model() const {
  return {std::make_shared<Plain>(network), process, parametrisation, boundary, makes, two_times()};
}

Json Outgoing::described() const {
  Json out = {{"retort", RETORT_VERSION},
              {"makes", name_of(makes)},
              {"checkpoint", place.file.filename().string()},
              {"checkpoint_sha256", sha256_of_file(place.file)},
              {"model", to_json(*checkpoint.config.find("model"))}};
  if (const Value* experiment = checkpoint.config.find("experiment")) {
    out["config"] = to_json(*experiment);
    out["config_sha256"] = sha256_of_text(spell(out["config"]));
  }
  if (const Value* training = checkpoint.config.find("training")) {
    out["training"] = to_json(*training);
  }
  if (makes == Makes::consistency) {
    const Value* named = at_path(checkpoint.config, "model.boundary");
    out["boundary"] = {{"kind", named != nullptr ? to_json(*named) : Json()},
                       {"sigma_min", boundary.sigma_min},
                       {"sigma_data", boundary.sigma_data},
                       {"time_scale", boundary.time_scale}};
  }
  return out;
}

namespace {

// Rows of an input as a data set might have them.
Tensor rows_of(const Input& input, int64_t count, at::Generator& random) {
  std::vector<int64_t> shape = input.shape;
  shape.insert(shape.begin(), count);
  const auto numbers = at::TensorOptions().dtype(at::kDouble);
  if (input.classes > 0) {
    return at::randint(0, input.classes, shape, random, at::TensorOptions().dtype(at::kLong));
  }
  if (input.name == inputs::guidance) {
    return 1 + 7 * at::rand(shape, random, numbers);
  }
  if (input.dtype == at::kBool || input.dtype == at::kLong) {
    return at::ones(shape, at::TensorOptions().dtype(input.dtype));
  }
  return at::rand(shape, random, numbers).to(input.dtype);
}

}  // namespace

std::map<std::string, Tensor> in_half(std::map<std::string, Tensor> weights) {
  for (auto& [name, weight] : weights) {
    if (!weight.is_floating_point()) {
      continue;
    }
    const Tensor half = weight.to(at::kHalf);
    if (!at::equal(half.isfinite(), weight.isfinite())) {
      throw RequestError("--half: weight '" + name + "' has values beyond float16's 65504; export it without");
    }
    weight = half;
  }
  return weights;
}

Trial trial(const Outgoing& model, int64_t rows, uint64_t seed) {
  at::Generator random = seeded(seed, "export");
  std::vector<int64_t> shape = model.spec.shape;
  shape.insert(shape.begin(), rows);
  Trial out;
  const auto numbers = at::TensorOptions().dtype(at::kDouble);
  const double most = model.process.t_max();
  // Down to a thousandth of the noisiest time, evenly in its logarithm.
  const Tensor share = at::rand({rows}, random, numbers);
  out.t = most * (share * std::log(1e-3)).exp();
  if (const int64_t steps = model.process.steps(); steps > 0) {
    out.t = out.t.round().clamp(1, static_cast<double>(steps));
  }
  out.s = out.t * at::rand({rows}, random, numbers) * 0.9;
  out.x = at::randn(shape, random, numbers).to(at::kFloat);
  out.x =
      out.x * retort::rows((model.process.alpha(out.t).square() + model.process.sigma(out.t).square()).sqrt(), out.x);
  for (const Input& input : model.spec.inputs) {
    if (input.name != inputs::end_time) {
      out.condition.set(input.name, rows_of(input, rows, random));
    }
  }
  return out;
}

}  // namespace retort
