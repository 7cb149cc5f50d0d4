#include "run/run.h"

#include "cli/commands.h"
#include "log.h"

namespace retort {

namespace {

void add_request(CLI::App& command, RunRequest& request) {
  command.add_option("CONFIG", request.config, "configuration, TOML")->required();
  command.add_option("OVERRIDES", request.overrides,
                     "key=value: a dotted path and a TOML value, such as train.steps=100");
  command.add_flag("--fresh", request.fresh, "begin anew; earlier results are moved aside, not lost");
  command.add_flag("--frozen", request.frozen,
                   "load only the very libraries that plugins.json, beside CONFIG or in the run's folder, lists");
}

}  // namespace

void add_run(CLI::App& app, Shared& shared) {
  auto request = std::make_shared<RunRequest>();
  CLI::App* all =
      app.add_subcommand("run", "train, sample, evaluate and report; goes on where an earlier call stopped");
  add_request(*all, *request);
  all->callback([request, &shared] { run(*request, shared.registry()); });

  struct Sweep {
    RunRequest request;
    bool dry = false;
  };
  auto sweep = std::make_shared<Sweep>();
  CLI::App* cells = app.add_subcommand(
      "sweep", "run all cells of [sweep]: shows what they will cost, or takes them one by one, beside other processes");
  add_request(*cells, sweep->request);
  cells->add_flag("--dry-run", sweep->dry, "only show the cells, their states and the estimated cost");
  cells->add_flag("--worker", sweep->request.worker,
                  "take cells as one of several processes, on machines that share the folder; prints no table");
  cells->callback([sweep, &shared] {
    if (sweep->dry || !sweep->request.worker) {
      print_plan(sweep->request, shared.registry());
    }
    if (!sweep->dry) {
      run(sweep->request, shared.registry());
    }
  });

  CLI::App* train = app.add_subcommand("train", "train only; `run` then goes on from there");
  add_request(*train, *request);
  train->callback([request, &shared] {
    log::info("trained; weights are in " + run(*request, shared.registry(), Stages::train).string());
  });
}

}  // namespace retort
