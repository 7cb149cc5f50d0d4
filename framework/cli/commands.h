/// The sub-commands. Each adds itself to the program's options and returns what to do when it is chosen.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "plugin/registry.h"
#include "run/run.h"

namespace retort {

/// What all commands share.
struct Shared {
  std::vector<std::string> plugin_dirs;
  /// The plugins found; searched for at the first call.
  Registry& registry();

 private:
  std::unique_ptr<Registry> registry_;
};

void run_and_show(const RunRequest& request, Registry& registry, Stages stages);

void add_run(CLI::App& app, Shared& shared);       // run, train
void add_sample(CLI::App& app, Shared& shared);    // sample
void add_evaluate(CLI::App& app, Shared& shared);  // evaluate
void add_solve(CLI::App& app, Shared& shared);     // solve
void add_optimise(CLI::App& app, Shared& shared);  // optimise
void add_export(CLI::App& app, Shared& shared);    // export
void add_encode(CLI::App& app, Shared& shared);    // encode
void add_list(CLI::App& app, Shared& shared);      // list
void add_inspect(CLI::App& app, Shared& shared);   // inspect
void add_explain(CLI::App& app, Shared& shared);   // explain
void add_check(CLI::App& app, Shared& shared);     // check
void add_new(CLI::App& app);                       // new
void add_bench(CLI::App& app, Shared& shared);     // bench
void add_report(CLI::App& app);                    // report
void add_serve(CLI::App& app);                     // serve
void add_init(CLI::App& app, Shared& shared);      // init
void add_doctor(CLI::App& app, Shared& shared);    // doctor
void add_schema(CLI::App& app, Shared& shared);    // schema
void add_completion(CLI::App& app, Shared& shared);

}  // namespace retort
