#include <cstdio>

#include "cli/commands.h"
#include "config/layers.h"
#include "config/toml.h"
#include "io/json.h"
#include "plugin/check.h"

namespace retort {

namespace {

struct CheckRequest {
  std::string subject, kind;
  std::vector<std::string> settings;
  bool json = false;
};

PluginFile find_subject(const CheckRequest& request, const Registry& registry) {
  if (request.subject.find('/') != std::string::npos || request.subject.ends_with(".so")) {
    return Registry::read(request.subject);
  }
  std::vector<PluginFile> found;
  std::vector<std::string> known;
  for (const PluginFile& file : registry.files()) {
    if (!request.kind.empty() && file.kind != request.kind) {
      continue;
    }
    known.push_back(file.name);
    if (file.name == request.subject) {
      found.push_back(file);
    }
  }
  if (found.size() == 1) {
    return found[0];
  }
  if (found.empty()) {
    throw RequestError("no plugin is called '" + request.subject + "'" + did_you_mean(request.subject, known) +
                       " (retort list shows all; a file is given as a path, ./" + request.subject + ".so)");
  }
  throw RequestError("'" + request.subject + "' is a " + found[0].kind + " and a " + found[1].kind +
                     "; choose with --kind, or give the file: " + found[0].path.string() + ", " +
                     found[1].path.string());
}

int64_t print(const PluginFile& file, const std::vector<conformance::Property>& properties) {
  std::printf("%s %s\n%s\n\n", file.kind.c_str(), file.name.c_str(), file.path.c_str());
  size_t width = 0;
  int64_t failed = 0;
  for (const conformance::Property& p : properties) {
    width = std::max(width, p.name.size());
  }
  for (const conformance::Property& p : properties) {
    failed += p.holds ? 0 : 1;
    std::printf("  %-5s %-*s  %s; expected %s\n", p.holds ? "ok" : "FAILS", static_cast<int>(width), p.name.c_str(),
                p.measured.c_str(), p.expected.c_str());
  }
  std::printf("\n%zu properties, %lld of them failed\n", properties.size(), static_cast<long long>(failed));
  return failed;
}

int64_t print_json(const PluginFile& file, const std::vector<conformance::Property>& properties) {
  Json list = Json::array();
  int64_t failed = 0;
  for (const conformance::Property& p : properties) {
    failed += p.holds ? 0 : 1;
    list.push_back({{"property", p.name}, {"holds", p.holds}, {"measured", p.measured}, {"expected", p.expected}});
  }
  const Json out = {
      {"kind", file.kind}, {"name", file.name}, {"path", file.path.string()}, {"properties", list}, {"failed", failed}};
  std::printf("%s\n", spell(out, 1).c_str());
  return failed;
}

void check_request(const CheckRequest& request, const Registry& registry) {
  const PluginFile file = find_subject(request, registry);
  Value params;
  for (const std::string& setting : request.settings) {
    apply_override(params, setting);
  }
  const auto properties = check_plugin(registry, file, params);
  const int64_t failed = request.json ? print_json(file, properties) : print(file, properties);
  if (failed > 0) {
    std::fflush(stdout);
    throw Error(file.kind + " '" + file.name + "' fails " + std::to_string(failed) + " of " +
                std::to_string(properties.size()) + " properties");
  }
}

}  // namespace

void add_check(CLI::App& app, Shared& shared) {
  auto request = std::make_shared<CheckRequest>();
  CLI::App* command = app.add_subcommand(
      "check", "measure what any plugin of its kind must satisfy: order, gradients, independence of rows, …");
  command->add_option("PLUGIN", request->subject, "a plugin's name, or the path of its file")->required();
  command->add_option("SETTINGS", request->settings, "key=value: parameters of the plugin, such as order=3");
  command->add_option("--kind", request->kind, "where several kinds have a plugin of that name");
  command->add_flag("--json", request->json, "as JSON");
  command->footer("Exit code 1 where a property fails.");
  command->callback([request, &shared] { check_request(*request, shared.registry()); });
}

}  // namespace retort
