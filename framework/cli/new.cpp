#include <cstdio>
#include <filesystem>

#include "cli/commands.h"
#include "help/fill.h"
#include "io/files.h"
#include "log.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

struct NewRequest {
  std::string kind, name;
  std::string in = ".";
};

// "my_solver" → "MySolver"
std::string camel_case(const std::string& name) {
  std::string out;
  bool upper = true;
  for (const char c : name) {
    if (c == '_') {
      upper = true;
      continue;
    }
    out += upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    upper = false;
  }
  return out;
}

void check_name(const std::string& name) {
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; };
  constexpr size_t longest = 64;
  if (name.empty() || name.size() > longest || !(name[0] >= 'a' && name[0] <= 'z') ||
      !std::all_of(name.begin(), name.end(), plain) || name.find("__") != std::string::npos) {
    throw RequestError("'" + name.substr(0, longest) +
                       "' is no name for a plugin; expected lower_case, such as my_solver");
  }
}

void make_plugin_folder(const NewRequest& request) {
  const std::vector<std::string> kinds(std::begin(plugin_kinds), std::end(plugin_kinds));
  if (std::find(kinds.begin(), kinds.end(), request.kind) == kinds.end()) {
    throw RequestError("'" + request.kind + "' is no kind of plugin" + did_you_mean(request.kind, kinds));
  }
  check_name(request.name);
  const fs::path tree = program_tree();
  const fs::path templates = tree / "share/retort/template";
  const fs::path folder = fs::path(request.in) / request.name;
  if (!fs::is_directory(templates / request.kind)) {
    throw Error(templates.string() + ": is missing, so this installation is incomplete");
  }
  if (fs::exists(folder)) {
    throw RequestError(folder.string() + ": is there already; choose another name, or another folder with --in");
  }
  const std::vector<std::pair<std::string, std::string>> values = {
      {"@name@", request.name}, {"@Name@", camel_case(request.name)}, {"@kind@", request.kind}};
  // Made beside its place and renamed, so that no half of it can be left.
  const fs::path half = folder.string() + ".half";
  fs::remove_all(half);
  make_folder(half);
  for (const fs::path& from : {templates / "common", templates / request.kind}) {
    for (const fs::directory_entry& entry : fs::directory_iterator(from)) {
      const std::string name = filled(entry.path().filename().string(), {{"NAME", request.name}});
      write_text(half / name, choose_plugin(filled(read_text(entry.path()), values), request.kind, request.name));
    }
  }
  fs::rename(half, folder);
  const std::string at = folder.lexically_normal().string();
  std::printf(
      "%s holds a %s that works as it is. Build it, check it, run it:\n"
      "  cmake -S %s -B %s/build -G Ninja -DCMAKE_PREFIX_PATH=%s\n"
      "  cmake --build %s/build\n"
      "  retort check %s/build/%s.so\n"
      "  retort --plugin-dir %s/build run %s/%s.toml\n",
      at.c_str(), request.kind.c_str(), at.c_str(), at.c_str(), tree.c_str(), at.c_str(), at.c_str(),
      request.name.c_str(), at.c_str(), at.c_str(), request.name.c_str());
}

}  // namespace

void add_new(CLI::App& app) {
  auto request = std::make_shared<NewRequest>();
  CLI::App* command =
      app.add_subcommand("new", "a folder for a plugin of your own: source, CMakeLists.txt, configuration and test");
  command
      ->add_option("KIND", request->kind,
                   "teacher, solver, loss, schedule, network, dataset, metric, backend, autoencoder or tracker")
      ->required();
  command->add_option("NAME", request->name, "lower_case; also the folder's name")->required();
  command->add_option("--in", request->in, "the folder to make it in")->capture_default_str();
  command->callback([request] { make_plugin_folder(*request); });
}

}  // namespace retort
