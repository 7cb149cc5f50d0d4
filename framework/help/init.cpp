#include "help/init.h"

#include <unistd.h>

#include <algorithm>

#include "config/layers.h"
#include "config/toml.h"
#include "help/fill.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "io/json_file.h"
#include "io/safetensors.h"
#include "retort/loss.h"
#include "run/cell_run.h"
#include "train/weights.h"

namespace retort {

namespace {

namespace paths = std::filesystem;

constexpr int64_t usual_size = 32;
constexpr int64_t largest_tried = 64;  // side of pictures on which an untrained student is tried within seconds

// As the file says it: from its own folder if it lies there, else from the root.
std::string path_in_file(const std::string& path, const paths::path& file) {
  const paths::path whole = paths::absolute(path).lexically_normal();
  const paths::path own = whole.lexically_relative(paths::absolute(file).lexically_normal().parent_path());
  const bool inside = !own.empty() && *own.begin() != "..";
  std::string out = (inside ? own : whole).string();
  while (out.size() > 1 && out.ends_with('/')) {
    out.pop_back();
  }
  return Value{out, {}}.text();
}

void require(const std::string& path, const std::string& what) {
  std::error_code none;
  if (!paths::exists(path, none)) {
    throw RequestError(path + ": no such file or folder; expected " + what);
  }
}

// The model's own config.json, in a pipeline or alone; null where there is none.
Json config_of_diffusers(const paths::path& folder) {
  for (const char* file : {"config.json", "unet/config.json", "transformer/config.json"}) {
    std::error_code none;
    if (paths::exists(folder / file, none)) {
      return read_json(folder / file);
    }
  }
  return {};
}

void refuse_what_is_there(const paths::path& path) {
  std::error_code none;
  if (paths::exists(path, none)) {
    throw RequestError(path.string() + ": is there already; choose another name with --out");
  }
}

// A file for a moment.
struct PassingFile {
  paths::path path = paths::temp_directory_path() / ("retort_init_" + std::to_string(getpid()) + ".safetensors");
  ~PassingFile() {
    std::error_code none;
    paths::remove(path, none);
  }
};

// What a configuration is built with: models that are not trained yet are only looked for.
Store no_store() { return Store(paths::temp_directory_path() / "retort_init_none"); }

// The model of a configuration as its training begins: in all but its weights what will be distilled.
void save_untrained(const std::string& config, const Registry& registry, const paths::path& to) {
  Experiment made(read_config(config), paths::path(config).stem().string(), registry, Parts::all,
                  model_maker(registry, no_store(), Models::find));
  if (!made.loss) {
    throw RequestError(config + ": [loss] is missing; expected a configuration that trains a model");
  }
  Value description;
  description["model"] = made.model_table();
  description["model"]["objective"] = Value{std::string(name_of(made.loss->makes())), {}};
  TensorFile file;
  file.metadata["format"] = "pt";
  file.metadata["retort"] = spell(to_json(description));
  const std::shared_ptr<Network> network = made.new_network();
  const Weights weights(*network);
  weights.store("", weights.tensors, file.tensors);
  write_safetensors(to, file);
}

void refuse_without_samples(const std::string& loss, Makes makes) {
  if (!makes_samples(makes)) {
    throw RequestError("--loss " + loss + ": trains a model of kind '" + name_of(makes) +
                       "', which makes no samples; expected a loss of students that do (retort list loss)");
  }
}

// Builds all parts, which finds whatever is wrong before any work; `tries` the untrained model too. A teacher that is
// to be trained is stood for by its untrained self.
void check_it_runs(const paths::path& config, const std::string& loss, bool tries, const Registry& registry) {
  Cell cell;
  cell.config = read_config(config.string());
  const PassingFile untrained;
  Value* teacher = cell.config.find(Teacher::kind);
  Value* checkpoint = teacher != nullptr ? teacher->find("checkpoint") : nullptr;
  const std::string* named = checkpoint != nullptr ? std::get_if<std::string>(&checkpoint->data) : nullptr;
  if (named != nullptr && named->ends_with(".toml")) {
    try {
      save_untrained((config.parent_path() / *named).string(), registry, untrained.path);
      checkpoint->data = untrained.path.string();
    } catch (const NotTrained&) {  // it is itself a student, of a teacher that is to be trained
      return;
    }
  }
  CellRun run(cell, config.stem().string(), "", registry, no_store(), Models::find);
  if (!loss.empty()) {
    refuse_without_samples(loss, run.experiment().loss->makes());
  }
  if (tries) {
    run.try_evaluation();
  }
}

// The loss by itself, built in another configuration; null where it needs more than its name.
std::shared_ptr<Loss> look_at_loss(const std::string& name, const std::string& example, const Registry& registry) {
  Experiment host(parse_toml(example, "the example of init"), "init", registry);
  Value table;
  table["type"] = Value{name, {}};
  Params params(table, Loss::kind, &host);
  try {
    return std::static_pointer_cast<Loss>(host.make(Loss::kind, name, params));
  } catch (const RequestError&) {  // it is told with its place, once the file is written
    return nullptr;
  }
}

// The templates' networks predict as EDM's do. One that predicts something else says so; a velocity is that of a
// straight way from data to noise.
std::string predicting(std::string text, Predicts predicts) {
  const std::string usual = "parametrisation = \"edm\"";
  const size_t at = text.find(usual);
  if (at == std::string::npos) {
    return text;
  }
  text.replace(at, usual.size(), "parametrisation = \"" + Parametrisation(predicts, 1).name() + "\"");
  const size_t network = text.find("[network]"), process = std::min(text.find("[process]"), network);
  if (predicts == Predicts::flow && network != std::string::npos) {
    text.replace(process, network - process,
                 "[process]                      # the noise that is added: x_t = (1 - t) x_0 + t n\n"
                 "type = \"rectified_flow\"\n\n");
  }
  return text;
}

}  // namespace

InitFiles write_first_configuration(const InitRequest& request, Registry& registry) {
  const paths::path templates = program_tree() / "share/retort/template/init";
  InitFiles out{request.out, {}};
  std::error_code none;
  if (out.config.extension() != ".toml") {
    throw RequestError("--out " + request.out + ": expected a name that ends with .toml");
  }
  if (!request.loss.empty()) {
    registry.find(Loss::kind, request.loss);  // says what is nearest
  }
  if (request.pictures.empty() && !request.teacher.empty()) {
    throw RequestError("--teacher " + request.teacher +
                       " comes without --pictures; a teacher is distilled on pictures such as it has seen");
  }
  if (!request.pictures.empty()) {
    require(request.pictures, "a folder of pictures, or an archive of them");
  }
  const bool folder = paths::is_directory(request.teacher, none);
  if (!request.teacher.empty()) {
    require(request.teacher, "a folder of diffusers, a checkpoint (.safetensors), or a configuration (.toml)");
    const paths::path ending = paths::path(request.teacher).extension();
    if (!folder && ending != ".safetensors" && ending != ".toml") {
      throw RequestError(
          request.teacher +
          ": expected a folder of diffusers, a checkpoint (.safetensors), or a configuration (.toml); for "
          "a TorchScript file see `retort inspect torchscript --kind teacher`");
    }
  }
  const Json model = folder ? config_of_diffusers(request.teacher) : Json();
  const int64_t own_size = integer_at(model, "sample_size");
  const int64_t size = request.size > 0 ? request.size : own_size > 0 ? own_size : usual_size;
  const std::string name = out.config.stem().string();
  if (!request.pictures.empty() && request.teacher.empty()) {
    out.teacher = out.config;
    out.teacher.replace_filename(name + "_teacher.toml");
  }
  const std::string teacher = out.teacher.empty() ? request.teacher : out.teacher.string();
  // The templates are TOML themselves, so marks of other values than strings stand in quotes.
  const auto quoted_mark = [](const std::string& word) { return "\"@" + word + "@\""; };
  const std::vector<std::pair<std::string, std::string>> marks = {
      {"@student@", out.config.filename().string()},
      {quoted_mark("size"), std::to_string(size)},
      {quoted_mark("grey"), integer_at(model, "in_channels") == 1 ? "true" : "false"},
      {quoted_mark("pictures"), request.pictures.empty() ? "" : path_in_file(request.pictures, out.config)},
      {quoted_mark("teacher"), teacher.empty() ? "" : path_in_file(teacher, out.config)}};
  std::optional<Predicts> predicts;
  if (!request.loss.empty()) {
    const std::string example =
        choose_plugin(filled(read_text(templates / "example.toml"), {{"@name@", "init"}}), "", "");
    if (const std::shared_ptr<Loss> loss = look_at_loss(request.loss, example, registry)) {
      refuse_without_samples(request.loss, loss->makes());
      predicts = loss->needs().predicts;
    }
  }
  std::vector<paths::path> written;
  const auto write = [&](const char* from, const paths::path& to) {
    refuse_what_is_there(to);
    std::string text = choose_plugin(filled(read_text(templates / from), marks), Loss::kind, request.loss);
    text = predicts ? predicting(std::move(text), *predicts) : text;
    write_text(to, filled(text, {{quoted_mark("name"), Value{to.stem().string(), {}}.text()}}));
    written.push_back(to);
  };
  refuse_what_is_there(out.config);
  try {
    if (!out.teacher.empty()) {
      write("teacher.toml", out.teacher);
      check_it_runs(out.teacher, "", size <= largest_tried, registry);
    }
    write(request.pictures.empty() ? "example.toml" : folder ? "diffusers.toml" : "pictures.toml", out.config);
    // A teacher from elsewhere may be of any size, and is not tried.
    const bool tries = request.teacher.empty() && size <= largest_tried;
    check_it_runs(out.config, request.loss, tries, registry);
  } catch (const Error& e) {
    for (const paths::path& file : written) {
      paths::remove(file, none);
    }
    throw RequestError(std::string(e.what()) + (written.empty() ? "" : " (nothing is left of " + request.out + ")"));
  }
  return out;
}

}  // namespace retort
