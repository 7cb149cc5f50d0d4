#include "run/run.h"

#include <cstdio>

#include "cli/commands.h"
#include "log.h"
#include "report/report.h"

namespace retort {

// Shows what has been put together.
void run_and_show(const RunRequest& request, Registry& registry, Stages stages) {
  const RunOutcome out = run(request, registry, stages);
  if (out.reported) {
    std::printf("%s\n%s\n", terminal_table(out.folder).c_str(), (out.folder / "report.html").c_str());
  }
  out.require_all();
}

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
  all->callback([request, &shared] { run_and_show(*request, shared.registry(), Stages::everything); });

  struct Sweep {
    RunRequest request;
    bool dry = false, ask = false;
    std::string tell;
  };
  auto sweep = std::make_shared<Sweep>();
  CLI::App* cells = app.add_subcommand(
      "sweep", "run all cells of [sweep]: shows what they will cost, or takes them one by one, beside other processes");
  add_request(*cells, sweep->request);
  cells->add_flag("--dry-run", sweep->dry, "only show the cells, their states and the estimated cost");
  cells->add_flag("--worker", sweep->request.worker,
                  "take cells as one of several processes, on machines that share the folder; prints no table");
  CLI::Option* asking =
      cells->add_flag("--ask", sweep->ask,
                      "print, as JSON, what [sweep.search] searches and what it has found, for an optimizer outside");
  CLI::Option* telling = cells->add_option(
      "--tell", sweep->tell,
      "run these values of what is searched, {\"train.learning_rate\": 1e-4}, and print what they give");
  telling->excludes(asking);
  cells->callback([sweep, &shared, telling] {
    if (sweep->ask || telling->count() > 0) {
      const Json answer =
          sweep->ask ? ask(sweep->request, shared.registry()) : tell(sweep->request, sweep->tell, shared.registry());
      std::printf("%s\n", spell(answer).c_str());
      return;
    }
    if (sweep->dry || !sweep->request.worker) {
      print_plan(sweep->request, shared.registry());
    }
    if (!sweep->dry) {
      run_and_show(sweep->request, shared.registry(), Stages::everything);
    }
  });

  CLI::App* train = app.add_subcommand("train", "train only; `run` then goes on from there");
  add_request(*train, *request);
  train->callback([request, &shared] {
    const RunOutcome out = run(*request, shared.registry(), Stages::train);
    out.require_all();
    log::info("trained; weights are in " + out.folder.string());
  });
}

}  // namespace retort
