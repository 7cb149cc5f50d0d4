#include "help/explain.h"

#include <cstdio>

#include "cli/commands.h"
#include "help/schema.h"
#include "io/files.h"

namespace retort {

void add_explain(CLI::App& app, Shared& shared) {
  struct Request {
    std::string key;
    bool json = false;
  };
  auto request = std::make_shared<Request>();
  CLI::App* command =
      app.add_subcommand("explain", "what a key of a configuration is: type, default, range, an example");
  command
      ->add_option("KEY", request->key, "train.ema; solver.order, of all solvers that have it; loss, all of its keys")
      ->required();
  command->add_flag("--json", request->json, "as JSON");
  command->footer(
      "A plugin's keys: solver.heun. One of them: solver.heun.coordinate. A name alone is looked for everywhere:\n"
      "learning_rate, heun.");
  command->callback([request, &shared] {
    const Catalog catalog(shared.registry());
    const std::string text =
        request->json ? spell(explain_as_json(catalog, request->key), 1) + "\n" : explain(catalog, request->key);
    std::printf("%s", text.c_str());
  });
}

void add_schema(CLI::App& app, Shared& shared) {
  auto out = std::make_shared<std::string>();
  CLI::App* command =
      app.add_subcommand("schema", "configurations as a JSON Schema, by which editors complete and check");
  command->add_option("--out", *out, "the file to write, in place of standard output");
  command->footer(
      "Editors with a plugin for TOML, such as Even Better TOML, take it from a file's first line:\n"
      "#:schema ./schema.json");
  command->callback([out, &shared] {
    const std::string text = spell_schema(schema_of(Catalog(shared.registry())));
    if (out->empty()) {
      std::printf("%s", text.c_str());
    } else {
      write_text(*out, text);
    }
  });
}

}  // namespace retort
