#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "cli/commands.h"
#include "cli/reference.h"
#include "config/experiment.h"
#include "config/tables.h"
#include "help/catalog.h"
#include "help/fill.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "io/json.h"
#include "retort/model.h"
#include "retort/process.h"
#include "run/cell_run.h"
#include "run/run.h"
#include "sample/conditions.h"

namespace retort {

namespace {

Json to_json(const PluginDescription& d) {
  Json params = Json::array();
  for (const ParamInfo& p : d.params) {
    Json item = {{"name", p.name}, {"type", p.type}, {"required", p.required}, {"doc", p.doc}};
    item[p.required ? "example" : "default"] = p.default_value;
    if (!p.range.empty()) {
      item["range"] = p.range;
    }
    if (!p.choices.empty()) {
      item["choices"] = p.choices;
    }
    params.push_back(item);
  }
  return {{"kind", d.file.kind},
          {"name", d.file.name},
          {"path", d.file.path.string()},
          {"about", d.about},
          {"params", params}};
}

// The table that selects a plugin, with what it requires.
void print_table(const PluginDescription& d) {
  std::printf("\nIn a configuration:\n  [%s]\n", table_of(d.file.kind, d.file.name).c_str());
  if (!is_listed(d.file.kind)) {
    std::printf("  type = \"%s\"\n", d.file.name.c_str());
  }
  for (const ParamInfo& p : d.params) {
    if (p.required) {
      std::printf("  %s = %s\n", p.name.c_str(), p.default_value.c_str());
    }
  }
}

void print(const PluginDescription& d) {
  const bool host = d.file.kind == "table";
  std::printf("%s %s\n\n%s\n", d.file.kind.c_str(), d.file.name.c_str(), d.about.c_str());
  if (d.params.empty()) {
    std::printf("Parameters: none.\n");
  } else {
    std::printf("Parameters:\n");
  }
  for (const ParamInfo& p : d.params) {
    std::string line = "  " + p.name + " = " + p.default_value + "   " + p.type;
    if (!p.range.empty()) {
      line += ", " + p.range;
    }
    if (p.required) {
      line += ", required (an example is shown)";
    }
    std::printf("%s\n", line.c_str());
    if (!p.choices.empty()) {
      std::string choices = "one of";
      for (const std::string& c : p.choices) {
        choices += " \"" + c + "\"";
      }
      std::printf("%s", filled_lines(choices, 6).c_str());
    }
    std::printf("%s", filled_lines(p.doc, 6).c_str());
  }
  if (!host) {
    if (d.about.find("\n    [") == std::string::npos) {  // the page does not end with it
      print_table(d);
    }
    std::printf("\n%s\n", d.file.path.c_str());
  }
}

// Every kind's page: to the folder, or to standard output.
void write_reference(const Registry& registry, const std::string& folder) {
  std::vector<std::string> kinds(std::begin(plugin_kinds), std::end(plugin_kinds));
  kinds.emplace_back("table");
  for (const std::string& kind : kinds) {
    std::vector<PluginDescription> all;
    for (const PluginFile& file : registry.files()) {
      if (file.kind == kind) {
        all.push_back(registry.describe(file));
      }
    }
    for (const TableInfo& table : tables()) {
      if (kind == "table" && table.declare != nullptr) {
        all.push_back(describe_table(table));
      }
    }
    const std::string page = reference_page(kind, all);
    if (folder.empty()) {
      std::printf("%s\n", page.c_str());
    } else {
      make_folder(folder);
      write_text(std::filesystem::path(folder) / (kind + ".md"), page);
    }
  }
}

// A file or folder of weights, where no plugin and no table has that name.
bool is_checkpoint(const Registry& registry, const std::string& name) {
  const auto plugins = registry.files();
  const bool is_plugin =
      std::any_of(plugins.begin(), plugins.end(), [&](const PluginFile& file) { return file.name == name; });
  std::error_code none;
  return !is_plugin && find_table(name) == nullptr &&
         (std::filesystem::is_directory(name.substr(0, name.find('?')), none) || name.ends_with(".safetensors"));
}

void inspect(const Registry& registry, const std::string& name, const std::string& kind, bool json) {
  if (kind.empty() && is_checkpoint(registry, name)) {
    std::printf("%s", describe_checkpoint(name, registry).c_str());
    return;
  }
  std::vector<PluginDescription> found;
  std::vector<std::string> known;
  for (const PluginFile& file : registry.files()) {
    known.push_back(file.name);
    if (file.name == name && (kind.empty() || file.kind == kind)) {
      found.push_back(registry.describe(file));
    }
  }
  for (const TableInfo& table : tables()) {
    if (table.declare == nullptr) {
      continue;
    }
    known.emplace_back(table.name);
    if (table.name == name && (kind.empty() || kind == "table")) {
      found.push_back(describe_table(table));
    }
  }
  if (found.empty()) {
    if (!kind.empty()) {
      registry.find(kind, name);  // says what is nearest
    }
    for (const RejectedFile& file : registry.rejected()) {
      if (file.path.stem() == name) {
        throw RequestError("'" + name + "' was refused: " + file.reason);
      }
    }
    throw RequestError("nothing is called '" + name + "'" + did_you_mean(name, known) + " (retort list shows all)");
  }
  if (json) {
    Json out = Json::array();
    for (const PluginDescription& d : found) {
      out.push_back(to_json(d));
    }
    std::printf("%s\n", spell(out.size() == 1 ? out[0] : out, 1).c_str());
    return;
  }
  for (size_t i = 0; i < found.size(); ++i) {
    std::printf("%s", i > 0 ? "\n────────\n\n" : "");
    print(found[i]);
  }
}

}  // namespace

namespace {

// What the backend makes of the configuration's frozen network, and where its time goes.
void inspect_compiled(const std::string& config, const std::vector<std::string>& overrides, const Registry& registry) {
  RunRequest request;
  request.config = config;
  request.overrides = overrides;
  const Value chosen = expand(load_config(request))[0].config;
  Experiment experiment(chosen, "inspect", registry, Parts::all,
                        model_maker(registry, Store(shared_folder(chosen, request)), Models::find));
  if (!experiment.dataset) {
    throw RequestError(config + ": [dataset] is missing; the network's inputs are not known");
  }
  const auto network = experiment.new_network();
  network->module()->eval();
  const auto compiled = experiment.backend().compile(network);
  const int64_t rows = experiment.train->batch;
  const int64_t size = experiment.dataset->size(Split::test);
  const Batch data =
      for_model(experiment, experiment.dataset->batch(Split::test, at::arange(rows, at::kLong).remainder(size)));
  const Tensor c_noise = at::linspace(-1, 1, rows, data.x.options().dtype(at::kFloat));
  constexpr int64_t rounds = 20;
  const std::string profile = compiled->profile(data.x, c_noise, data.condition, rounds);
  std::printf("%s\n%s", experiment.backend().describe().c_str(),
              profile.empty() ? "The network runs as it is.\n" : profile.c_str());
}

}  // namespace

void add_inspect(CLI::App& app, Shared& shared) {
  struct Request {
    std::string name, kind, output, compiled;
    std::vector<std::string> overrides;
    bool json = false, all = false, markdown = false;
  };
  auto request = std::make_shared<Request>();
  CLI::App* command = app.add_subcommand(
      "inspect",
      "what a plugin is, with every parameter; also the tables run, process, student, train, evaluate, report");
  command->add_option("NAME", request->name,
                      "a plugin, a table, or a checkpoint: a .safetensors file or a folder of diffusers");
  command->add_option("--kind", request->kind, "where several kinds have a plugin of that name");
  command->add_flag("--json", request->json, "as JSON");
  CLI::Option* all = command->add_flag("--all", request->all, "every plugin and table");
  CLI::Option* markdown =
      command->add_flag("--markdown", request->markdown, "with --all: the reference, a page for each kind");
  command->add_option("--output", request->output, "with --all --markdown: the folder for the pages")->needs(markdown);
  markdown->needs(all);
  CLI::Option* compiled = command->add_option(
      "--compiled", request->compiled, "CONFIG: what the backend makes of its network, with the time of each part");
  command->add_option("--set", request->overrides, "with --compiled: key=value, such as backend.type=onednn")
      ->needs(compiled);
  command->callback([request, &shared] {
    if (!request->compiled.empty()) {
      inspect_compiled(request->compiled, request->overrides, shared.registry());
    } else if (request->all && request->markdown) {
      write_reference(shared.registry(), request->output);
    } else if (request->all || request->name.empty()) {
      throw RequestError(request->all ? "inspect --all needs --markdown"
                                      : "inspect needs a NAME (retort list shows all)");
    } else {
      inspect(shared.registry(), request->name, request->kind, request->json);
    }
  });
}

}  // namespace retort
