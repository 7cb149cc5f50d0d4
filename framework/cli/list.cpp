#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

#include "cli/commands.h"
#include "help/catalog.h"
#include "io/json.h"
#include "log.h"
#include "plugin/elf.h"

namespace retort {

namespace {

struct ListRequest {
  std::string kind;
  bool json = false, paths = false;
};

// The columns of the terminal that is written to; 0 where that is none, and lines stay whole.
size_t columns() {
  struct winsize size {};
  return isatty(STDOUT_FILENO) == 1 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

// A line that fits, cut between characters of UTF-8.
std::string fitting(std::string line, size_t width) {
  if (width < 40 || line.size() <= width) {
    return line;
  }
  size_t end = width - 1;
  while ((static_cast<unsigned char>(line[end]) & 0xc0) == 0x80) {
    --end;
  }
  return line.substr(0, end) + "…";
}

void list_as_json(const Registry& registry, const std::string& kind) {
  Json all = Json::array(), rejected = Json::array();
  for (const PluginFile& file : registry.files()) {
    if (kind.empty() || file.kind == kind) {
      all.push_back({{"kind", file.kind},
                     {"name", file.name},
                     {"path", file.path.string()},
                     {"about", first_sentence(plugin_about(file.path.string()))}});
    }
  }
  for (const RejectedFile& file : registry.rejected()) {
    rejected.push_back({{"path", file.path.string()}, {"reason", file.reason}});
  }
  std::printf("%s\n", spell(Json{{"plugins", all}, {"rejected", rejected}}, 1).c_str());
}

void list(const Registry& registry, const ListRequest& request) {
  const std::vector<std::string> kinds(std::begin(plugin_kinds), std::end(plugin_kinds));
  if (!request.kind.empty() && std::find(kinds.begin(), kinds.end(), request.kind) == kinds.end()) {
    throw RequestError("'" + request.kind + "' is no kind of plugin" + did_you_mean(request.kind, kinds));
  }
  if (request.json) {
    list_as_json(registry, request.kind);
    return;
  }
  const size_t width = request.paths ? 0 : columns();
  std::string last;
  for (const PluginFile& file : registry.files()) {
    if (!request.kind.empty() && file.kind != request.kind) {
      continue;
    }
    char names[160];
    std::snprintf(names, sizeof names, "%-11s %-24s ", file.kind == last ? "" : file.kind.c_str(), file.name.c_str());
    const std::string what = request.paths ? file.path.string() : first_sentence(plugin_about(file.path.string()));
    std::printf("%s\n", fitting(names + what, width).c_str());
    last = file.kind;
  }
  for (const RejectedFile& file : registry.rejected()) {
    log::warn(file.reason);
  }
}

std::string all_kinds() {
  std::string out;
  for (const std::string kind : plugin_kinds) {
    out += (out.empty() ? "" : ", ") + kind;
  }
  return out;
}

}  // namespace

void add_list(CLI::App& app, Shared& shared) {
  auto request = std::make_shared<ListRequest>();
  CLI::App* command = app.add_subcommand("list", "every plugin that can be found, with a line on each");
  command->add_option("KIND", request->kind, "only these: " + all_kinds());
  command->add_flag("-v,--verbose", request->paths, "kind, name and path in place of what it is");
  command->add_flag("--json", request->json, "as JSON, with paths, and the files that were refused and why");
  command->footer("It runs no plugin's code. `retort inspect NAME` says all of one.");
  command->callback([request, &shared] { list(shared.registry(), *request); });
}

}  // namespace retort
