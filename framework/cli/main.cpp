// The program: parses the command line, runs one command, and turns every error into one line and an exit code.
#include <malloc.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>

#include "cli/commands.h"
#include "cli/crash.h"
#include "cli/signals.h"
#include "help/explain.h"
#include "log.h"

namespace retort {

Registry& Shared::registry() {
  if (!registry_) {
    registry_ = std::make_unique<Registry>(plugin_folders(plugin_dirs));
  }
  return *registry_;
}

namespace {

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// Keeps the memory that tensors have given back: a training step frees and takes hundreds of megabytes, and fetching
// them from the system page by page each time costs a tenth of its time.
void keep_memory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most that glibc allows
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
}

int main_inner(int argc, char** argv) {
  keep_memory();
  CLI::App app("Retort distils diffusion models into consistency models. Every part is a plugin, chosen in TOML.",
               "retort");
  app.set_version_flag("--version", RETORT_VERSION);
  app.require_subcommand(1);
  app.get_formatter()->column_width(36);
  Shared shared;
  app.add_option("--plugin-dir", shared.plugin_dirs, "search this folder for plugins too (may be repeated)")
      ->allow_extra_args(false);
  app.fallthrough();
  add_run(app, shared);
  add_sample(app, shared);
  add_evaluate(app, shared);
  add_solve(app, shared);
  add_optimise(app, shared);
  add_export(app, shared);
  add_encode(app, shared);
  add_list(app, shared);
  add_inspect(app, shared);
  add_explain(app, shared);
  add_check(app, shared);
  add_new(app);
  add_bench(app, shared);
  add_report(app);
  add_serve(app);
  add_init(app, shared);
  add_doctor(app, shared);
  add_schema(app, shared);
  add_completion(app, shared);
  app.footer(
      "Examples:\n"
      "  retort run configs/mixture.toml\n"
      "  retort run configs/mixture.toml solver.type=heun loss.type=direct_cm train.steps=500\n"
      "  retort list solver          retort inspect heun\n"
      "  retort explain train.ema    retort doctor\n"
      "  retort new solver mine      retort check mine/build/mine.so\n"
      "Exit codes: 0 done, 1 the run failed, 2 the request was wrong.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    std::string what = first_line(e.what());
    if (argc > 1 && argv[1][0] != '-' &&
        app.get_subcommands([&](CLI::App* s) { return s->get_name() == argv[1]; }).empty()) {
      std::vector<std::string> names;
      for (const CLI::App* s : app.get_subcommands({})) {
        names.push_back(s->get_name());
      }
      what = "'" + std::string(argv[1]) + "' is no command" + did_you_mean(argv[1], names);
    }
    log::error(what + " (retort --help)");
    return 2;
  }
  return 0;
}

// An error stays one line for programs; a person at a terminal is told where to read on.
void point_to_key(const std::string& message) {
  const std::string key = key_of_error(message);
  if (!key.empty() && isatty(STDERR_FILENO) == 1) {
    std::fprintf(stderr, "see: retort explain %s\n", key.c_str());
  }
}

int main_without_errors(int argc, char** argv) {
  try {
    return main_inner(argc, argv);
  } catch (const RequestError& e) {
    log::error(first_line(e.what()));
    point_to_key(e.what());
    return 2;
  } catch (const std::bad_alloc&) {
    log::error("out of memory; use smaller batches or networks");
    return 1;
  } catch (const std::exception& e) {
    log::error(first_line(e.what()));
    return 1;
  }
}

// What was printed counts once it is written.
bool all_is_written() {
  const bool failed_before = std::ferror(stdout) != 0;
  if (std::fflush(stdout) == 0 && !failed_before) {
    return true;
  }
  const std::string why = failed_before ? "" : std::string(": ") + std::strerror(errno);
  log::error("standard output could not be written" + why);
  return false;
}

}  // namespace

}  // namespace retort

int main(int argc, char** argv) {
  retort::one_line_for_crashes();
  retort::stop_on_signals();
  const int code = retort::main_without_errors(argc, argv);
  return code == 0 && !retort::all_is_written() ? 1 : code;
}
