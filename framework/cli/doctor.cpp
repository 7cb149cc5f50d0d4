#include "help/doctor.h"

#include <cstdio>

#include "cli/commands.h"

namespace retort {

void add_doctor(CLI::App& app, Shared& shared) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command =
      app.add_subcommand("doctor", "what is installed, chosen, missing or slow here, and the command that mends it");
  command->add_flag("--json", *json, "as JSON");
  command->footer("It changes nothing. Exit code 0 where runs are possible.");
  command->callback([json, &shared] {
    const auto findings = examine(Catalog(shared.registry()), "runs/cache");
    std::printf("%s", *json ? (spell(to_json(findings), 1) + "\n").c_str() : to_text(findings).c_str());
    std::fflush(stdout);
    if (!runs_are_possible(findings)) {
      throw Error("no run is possible here, for what is 'wrong' above");
    }
  });
}

}  // namespace retort
