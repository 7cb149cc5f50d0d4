#include "run/run.h"

#include "cli/commands.h"

namespace retort {

void add_evaluate(CLI::App& app, Shared& shared) {
  auto request = std::make_shared<RunRequest>();
  CLI::App* command =
      app.add_subcommand("evaluate", "sample and measure what `train` left, again, and write the report");
  command->add_option("CONFIG", request->config, "the configuration that was trained")->required();
  command->add_option("OVERRIDES", request->overrides, "key=value, as given to train");
  command->callback([request, &shared] { run_and_show(*request, shared.registry(), Stages::evaluate); });
}

}  // namespace retort
