#include "help/init.h"

#include "io/files.h"
#include "io/json_file.h"
#include "retort/loss.h"
#include "run/plan.h"

namespace retort {

namespace {

namespace paths = std::filesystem;

constexpr int64_t usual_size = 32;

// Marks are replaced by texts. "@loss:usual@" stands for `usual` where no loss is wanted.
std::string filled_in(std::string text, const std::vector<std::pair<std::string, std::string>>& marks,
                      const std::string& loss) {
  for (const auto& [mark, value] : marks) {
    for (size_t at = 0; (at = text.find(mark, at)) != std::string::npos; at += value.size()) {
      text.replace(at, mark.size(), value);
    }
  }
  const std::string begin = "@loss:";
  for (size_t at; (at = text.find(begin)) != std::string::npos;) {
    const size_t from = at + begin.size(), end = text.find('@', from);
    text.replace(at, end + 1 - at, loss.empty() ? text.substr(from, end - from) : loss);
  }
  return text;
}

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

// Builds all parts, which finds whatever is wrong before any work.
void check_it_runs(const paths::path& config, Registry& registry) {
  const RunRequest request{.config = config.string()};
  try {
    const Plan plan(request, work_of(request), registry, Plan::For::looking);
  } catch (const NotTrained&) {  // the teacher's own configuration was checked before
  }
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
  std::vector<paths::path> written;
  const auto write = [&](const char* from, const paths::path& to) {
    refuse_what_is_there(to);
    const std::string text = filled_in(read_text(templates / from), marks, request.loss);
    write_text(to, filled_in(text, {{quoted_mark("name"), Value{to.stem().string(), {}}.text()}}, ""));
    written.push_back(to);
  };
  refuse_what_is_there(out.config);
  try {
    if (!out.teacher.empty()) {
      write("teacher.toml", out.teacher);
      check_it_runs(out.teacher, registry);
    }
    write(request.pictures.empty() ? "example.toml" : folder ? "diffusers.toml" : "pictures.toml", out.config);
    check_it_runs(out.config, registry);
  } catch (const Error& e) {
    for (const paths::path& file : written) {
      paths::remove(file, none);
    }
    throw RequestError(std::string(e.what()) + (written.empty() ? "" : " (nothing is left of " + request.out + ")"));
  }
  return out;
}

}  // namespace retort
