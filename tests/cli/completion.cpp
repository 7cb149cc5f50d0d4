// What shells complete, by the script that the program prints, run in the shell itself.
#include <filesystem>

#include "io/files.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace fs = std::filesystem;

namespace {

bool has(const std::string& program) { return shell("command -v " + program).code == 0; }

// The candidates that bash shows for a line, in order, one a line.
class Bash {
 public:
  Bash() {
    const Outcome out = run_retort("completion bash");
    REQUIRE(out.code == 0);
    write_text(folder_ / "retort.bash", out.output);
    write_text(folder_ / "own.toml", "");
    write_text(folder_ / "notes.txt", "");
  }
  std::string candidates(const std::string& line, const std::string& set_up = "") const {
    const std::string script = "set -u; . ./retort.bash; " + set_up + " COMP_LINE=$1 COMP_POINT=${#1}; _retort; " +
                               "[ ${#COMPREPLY[@]} -eq 0 ] || printf '%s\\n' \"${COMPREPLY[@]}\"";
    write_text(folder_ / "script.bash", script);
    const Outcome out = shell("cd " + folder_.string() + " && bash --norc script.bash '" + line + "'");
    CHECK(out.code == 0);
    return "\n" + out.output;
  }

 private:
  Folder folder_;
};

bool offers(const std::string& candidates, const std::string& word) {
  return candidates.find("\n" + word + "\n") != std::string::npos;
}

}  // namespace

TEST_CASE("bash completes commands, options, files, keys and values") {
  const Bash bash;
  CHECK(bash.candidates("retort swe") == "\nsweep\n");
  CHECK(offers(bash.candidates("./retort "), "doctor"));
  CHECK(bash.candidates("retort run --fre") == "\n--fresh\n");
  CHECK(offers(bash.candidates("retort sweep own.toml --"), "--worker"));
  CHECK(bash.candidates("retort run o") == "\nown.toml\n");
  CHECK(bash.candidates("retort run own.toml train.learning") == "\ntrain.learning_rate=\n");
  CHECK(offers(bash.candidates("retort run own.toml solver.ty"), "solver.type="));
  CHECK(bash.candidates("retort run own.toml solver.type=dpmpp_2s_a") == "\ndpmpp_2s_ancestral\n");
  CHECK(bash.candidates("retort run own.toml train.steps=3 train.optimizer=adam") == "\nadam\nadamw\n");
  CHECK(bash.candidates("retort run own.toml train.ema_ramp=") == "\ntrue\nfalse\n");
  CHECK(bash.candidates("retort run own.toml metric.ode_error.reference.type=rk45") == "\nrk45\n");
  CHECK(bash.candidates("retort run own.toml metric.ode_error.exact_s") == "\nmetric.ode_error.exact_samples=\n");
  CHECK(bash.candidates("retort run own.toml backend.type=au") == "\nauto\n");
  CHECK(bash.candidates("retort list sch") == "\nschedule\n");
  CHECK(bash.candidates("retort inspect rectified") == "\n");
  CHECK(bash.candidates("retort inspect dpm_sol") == "\ndpm_solver\n");
  CHECK(bash.candidates("retort inspect heun --kind sol") == "\nsolver\n");
  CHECK(bash.candidates("retort explain train.batc") == "\ntrain.batch\n");
  CHECK(bash.candidates("retort completion z") == "\nzsh\n");
  CHECK(bash.candidates("retort --plugin-dir . lis") == "\nlist\n");
}

TEST_CASE("bash knows files for such, and offers none where a command takes none") {
  const Bash bash;
  const std::string seen = "compopt() { echo \"$@\"; };";
  CHECK(bash.candidates("retort run o", seen) == "\n-o filenames\nown.toml\n");
  CHECK(bash.candidates("retort list sch", seen) == "\nschedule\n");
  CHECK(bash.candidates("retort doctor ") == "\n");
  CHECK(bash.candidates("retort doctor n") == "\n");
  CHECK(bash.candidates("retort run with\\ space.toml train.optimizer=adamw") == "\nadamw\n");
}

TEST_CASE("where = divides no words, bash is given the whole word") {
  const Bash bash;
  CHECK(bash.candidates("retort run own.toml train.optimizer=adamw", "COMP_WORDBREAKS=' ';") ==
        "\ntrain.optimizer=adamw\n");
}

TEST_CASE("zsh and fish read their scripts, where they are installed") {
  Folder folder;
  for (const std::string shell_name : {"zsh", "fish"}) {
    CAPTURE(shell_name);
    const Outcome script = run_retort("completion " + shell_name);
    CHECK(script.code == 0);
    CHECK(contains(script.output, "dpmpp_2s_ancestral"));
    if (!has(shell_name)) {
      MESSAGE("left out: there is no " << shell_name << " here");
      continue;
    }
    write_text(folder / ("_retort." + shell_name), script.output);
    const Outcome read = shell(shell_name + " -n " + folder.string() + "/_retort." + shell_name);
    CAPTURE(read.output);
    CHECK(read.code == 0);
  }
  if (has("fish")) {
    const std::string ask = "source " + folder.string() + "/_retort.fish; complete -C";
    CHECK(contains(shell("fish -c '" + ask + " \"retort swe\"'").output, "sweep"));
    CHECK(contains(shell("fish -c '" + ask + " \"retort run x.toml train.optimizer=adam\"'").output,
                   "train.optimizer=adamw"));
    CHECK(contains(shell("fish -c '" + ask + " \"retort list sch\"'").output, "schedule"));
  }
  CHECK(one_line(run_retort("completion bahs"), 2, {"'bahs' is no shell that can be served; did you mean 'bash'?"}));
}
