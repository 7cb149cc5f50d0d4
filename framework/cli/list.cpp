#include <cstdio>

#include "cli/commands.h"
#include "io/json.h"
#include "log.h"

namespace retort {

namespace {

void list(const Registry& registry, const std::string& kind, bool json) {
  const std::vector<std::string> kinds(std::begin(plugin_kinds), std::end(plugin_kinds));
  if (!kind.empty() && std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) {
    throw RequestError("'" + kind + "' is no kind of plugin" + did_you_mean(kind, kinds));
  }
  Json all = Json::array();
  std::string last;
  for (const PluginFile& file : registry.files()) {
    if (!kind.empty() && file.kind != kind) {
      continue;
    }
    if (json) {
      all.push_back({{"kind", file.kind}, {"name", file.name}, {"path", file.path.string()}});
      continue;
    }
    std::printf("%-10s %-20s %s\n", file.kind == last ? "" : file.kind.c_str(), file.name.c_str(), file.path.c_str());
    last = file.kind;
  }
  if (json) {
    Json rejected = Json::array();
    for (const RejectedFile& file : registry.rejected()) {
      rejected.push_back({{"path", file.path.string()}, {"reason", file.reason}});
    }
    std::printf("%s\n", spell(Json{{"plugins", all}, {"rejected", rejected}}, 1).c_str());
    return;
  }
  for (const RejectedFile& file : registry.rejected()) {
    log::warn(file.reason);
  }
}

}  // namespace

void add_list(CLI::App& app, Shared& shared) {
  struct Request {
    std::string kind;
    bool json = false;
  };
  auto request = std::make_shared<Request>();
  CLI::App* command = app.add_subcommand("list", "every plugin that can be found; runs none of their code");
  command->add_option("KIND", request->kind, "teacher, solver, loss, schedule, network, dataset, metric or backend");
  command->add_flag("--json", request->json, "as JSON, with the files that were refused and why");
  command->callback([request, &shared] { list(shared.registry(), request->kind, request->json); });
}

}  // namespace retort
