// What a newcomer meets: list, explain, the hint behind an error, doctor, init.
#include <fcntl.h>
#include <pty.h>
#include <unistd.h>

#include <fstream>

#include "help/catalog.h"
#include "help/explain.h"
#include "help/machine.h"
#include "io/files.h"
#include "io/json.h"
#include "plugin/elf.h"
#include "support/program.h"
#include "sweep/axes.h"

using namespace retort;
using namespace retort::test;

namespace fs = std::filesystem;

namespace {

// What a command prints at a terminal, less carriage returns; `answers` are typed.
Outcome at_a_terminal(const std::string& command, const std::string& answers = "") {
  int master = -1;
  struct winsize size = {24, 60, 0, 0};
  const pid_t child = forkpty(&master, nullptr, nullptr, &size);
  if (child == 0) {
    execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  CHECK(write(master, answers.data(), answers.size()) == static_cast<ssize_t>(answers.size()));
  Outcome out{0, ""};
  char buffer[4096];
  for (ssize_t n; (n = read(master, buffer, sizeof buffer)) > 0;) {
    out.output.append(buffer, static_cast<size_t>(n));
  }
  int status = 0;
  waitpid(child, &status, 0);
  close(master);
  std::erase(out.output, '\r');
  out.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return out;
}

std::string line_with(const std::string& text, const std::string& part) {
  const size_t at = text.find(part);
  if (at == std::string::npos) {
    return "";
  }
  const size_t from = text.rfind('\n', at) + 1;
  return text.substr(from, text.find('\n', at) - from);
}

std::string explained(const std::string& key) {
  const Outcome out = run_retort("explain " + key);
  CAPTURE(out.output);
  CHECK(out.code == 0);
  return out.output;
}

}  // namespace

TEST_CASE("a page is read from the file as the plugin itself has it") {
  size_t count = 0;
  for (const PluginFile& file : registry().files()) {
    CAPTURE(file.name);
    CHECK(plugin_about(file.path.string()) == registry().describe(file).about);
    count += 1;
  }
  CHECK(count > 100);
  CHECK(plugin_about("/no/such.so").empty());
  CHECK(plugin_about(source_dir() + "/README.md").empty());
  CHECK(plugin_about(program()).empty());
}

TEST_CASE("the first sentence ends where a new one begins") {
  CHECK(first_sentence("One two. Three.") == "One two.");
  CHECK(first_sentence("By Ho et al. 2020, eq. 3:\nmore. And on.\n\nNext.") == "By Ho et al. 2020, eq. 3: more.");
  CHECK(first_sentence("No full stop\n\nNext.") == "No full stop");
  CHECK(first_sentence("DPM-Solver++(2M): x. `heun` too.") == "DPM-Solver++(2M): x.");
  CHECK(first_sentence("").empty());
}

TEST_CASE("list says a line about each plugin, and hides paths but for -v") {
  const Outcome plain = run_retort("list solver"), paths = run_retort("list solver -v");
  REQUIRE(plain.code == 0);
  CHECK(contains(line_with(plain.output, " heun "), "Heun's method: an Euler predictor and a trapezoidal corrector."));
  CHECK(plain.output.find(".so") == std::string::npos);
  CHECK(contains(line_with(paths.output, " heun "), plugin_dir() + "/solvers/heun.so"));
  CHECK(std::count(plain.output.begin(), plain.output.end(), '\n') ==
        std::count(paths.output.begin(), paths.output.end(), '\n'));
  const Json json = Json::parse(run_retort("list solver --json").output);
  for (const Json& item : json["plugins"]) {
    CHECK(!item["about"].get<std::string>().empty());
    CHECK(fs::exists(item["path"].get<std::string>()));
  }
  for (const std::string kind : plugin_kinds) {
    CHECK(contains(run_retort("list --help").output, kind));
  }
}

TEST_CASE("at a terminal, lines of the list are as wide as it is") {
  const Outcome out = at_a_terminal("'" + program() + "' list solver");
  std::istringstream lines(out.output);
  size_t cut = 0;
  for (std::string line; std::getline(lines, line);) {
    CHECK(line.size() <= 62);  // 60 columns; the sign of the cut has three bytes
    cut += line.ends_with("…") ? 1 : 0;
  }
  CHECK(cut > 5);
}

TEST_CASE("explain shows a key of the host") {
  const std::string ema = explained("train.ema");
  CHECK(contains(ema, "train.ema   number, 0 to under 1, default 0.0\n"));
  CHECK(contains(ema, "decay per step of the weights' moving average"));
  CHECK(contains(ema, "[train]\n"));
  CHECK(contains(ema, "train.ema=0.0\n"));
  CHECK(contains(ema, "trains again"));
  CHECK(contains(line_with(ema, "Related:"), "train.ema_half_life"));
  CHECK(contains(explained("evaluate.samples"), "measures again"));
  CHECK(contains(explained("train.optimizer"), "one of \"adam\" \"adamw\" \"radam\" \"sgd\""));
  CHECK(contains(explained("extends"), "another configuration"));
  CHECK(contains(explained("train"), "max_grad_norm"));
}

TEST_CASE("explain shows keys of plugins, and who has them") {
  CHECK(contains(explained("solver.euler"), "Euler's method in the process's own time"));
  const std::string order = explained("solver.order");
  CHECK(contains(order, "of solver dpm_solver"));
  CHECK(contains(order, "deis, ipndm_v, lms"));
  CHECK(contains(explained("solver.dpm_solver.order"), "[solver]"));
  CHECK(contains(explained("dpm_solver"), "order"));
  const std::string all = explained("loss");
  CHECK(contains(all, "Consistency distillation: the student agrees with its target"));
  CHECK(contains(line_with(all, "  distance "), "cm"));
  CHECK(contains(explained("solver.type"), "\"dpmpp_2m\""));
  CHECK(contains(explained("backend.type"), "\"auto\""));
  CHECK(contains(explained("backend.teacher.threads"), "one per core"));
  CHECK(contains(explained("metric.ode_error.exact_samples"), "[metric.ode_error]"));
  CHECK(contains(explained("metric.ode_error.reference.rtol"), "of solver"));
  CHECK(contains(explained("loss.terms.1.weight"), "loss.terms"));
  CHECK(contains(explained("loss.0.distance"), "loss.distance"));
  CHECK(contains(explained("train.clip"), "train.max_grad_norm"));
  CHECK(contains(explained("schedule.evaluations"), "as many steps as the solver can take"));
  CHECK(contains(explained("learning_rate"), "train.learning_rate"));
  CHECK(contains(explained("sweep.seeds"), "run.seed"));
  CHECK(contains(explained("sweep.tune.by"), "smallest mean"));
  CHECK(contains(explained("'sweep.\"train.steps\"'"), "optimizer steps"));
  const Json json = Json::parse(run_retort("explain solver.order --json").output);
  CHECK(json.size() > 3);
  CHECK(json[0]["key"] == "solver.order");
  CHECK(json[0]["type"] == "integer");
}

TEST_CASE("explain finds every key of every part, and the example it shows is one") {
  const Catalog catalog(registry());
  for (const TableInfo& table : tables()) {
    if (const PluginDescription* part = catalog.table(table.name)) {
      for (const ParamInfo& p : part->params) {
        CHECK(contains(explain(catalog, table.name + std::string(".") + p.name), p.name));
      }
    }
  }
  for (const std::string kind : plugin_kinds) {
    if (find_table(kind) == nullptr) {
      continue;
    }
    for (const PluginDescription& plugin : catalog.plugins(kind)) {
      for (const ParamInfo& p : plugin.params) {
        CAPTURE(plugin.file.name + "." + p.name);
        const std::string text = explain(catalog, kind + "." + plugin.file.name + "." + p.name);
        const size_t at = text.find("In a configuration:   "), end = text.find("  On the command line:");
        REQUIRE(end != std::string::npos);
        std::string example = text.substr(at + 22, end - at - 22);
        CHECK_NOTHROW(parse_toml(example, "example"));
      }
    }
  }
}

TEST_CASE("the words of [sweep] that are explained are those that it knows") {
  for (const ParamInfo& p : sweep_keys()) {
    CHECK(is_sweep_word(p.name));
  }
  for (const ParamInfo& p : tune_keys()) {
    CHECK(is_tune_word(p.name));
  }
  const std::string known = request_error([] { axes_of(parse_toml("seedz = [1]", "test.toml")); });
  for (const ParamInfo& p : sweep_keys()) {
    CHECK(contains(known, p.name));
  }
}

TEST_CASE("what explain does not know is one line with the nearest name") {
  CHECK(one_line(run_retort("explain train.emaa"), 2, {"'train.emaa'; did you mean 'ema'?", "retort explain train"}));
  CHECK(one_line(run_retort("explain trian.ema"), 2, {"no table is called 'trian'; did you mean 'train'?"}));
  CHECK(one_line(run_retort("explain solver.eulr"), 2, {"did you mean 'euler'?"}));
  CHECK(one_line(run_retort("explain huen"), 2, {"did you mean 'heun'?"}));
  CHECK(one_line(run_retort("explain sweep.seed"), 2, {"did you mean 'seeds'?"}));
  CHECK(one_line(run_retort("explain 'a b'"), 2, {"is no key"}));
  CHECK(one_line(run_retort("explain"), 2, {"KEY is required"}));
}

TEST_CASE("the key of an error is found, where it is about one") {
  CHECK(key_of_error("command line: train.steps: 0 is out of range; expected >= 1") == "train.steps");
  CHECK(key_of_error("a/b c.toml:12: solver.type: no solver plugin is called 'huen'; did you mean 'heun'?") ==
        "solver.type");
  CHECK(key_of_error("c.toml:4: unknown key 'run.sede'; did you mean 'seed'? (known keys are …)") == "run.seed");
  CHECK(key_of_error("c.toml:4: unknown key 'solver.order' (it takes no keys)") == "solver");
  CHECK(key_of_error("c.toml:4: unknown table [trian]; did you mean 'train'?") == "train");
  CHECK(key_of_error("c.toml:4: unknown table [metric.od_error]; did you mean 'ode_error'?") == "metric.ode_error");
  CHECK(key_of_error("c.toml:1: [teacher] is missing; loss 'cm' distils one") == "teacher");
  CHECK(key_of_error("c.toml:7: student: the prediction 'noise' is undefined at the grid's time") == "student");
  CHECK(key_of_error("c.toml:7: unknown table [nonsense]").empty());
  CHECK(key_of_error("/no/such/config.toml: no such file").empty());
  CHECK(key_of_error("out of memory").empty());
  CHECK(key_of_error("").empty());
}

TEST_CASE("at a terminal an error points to the page of its key; elsewhere it stays one line") {
  const std::string wrong = "run " + mixture_config + " train.stepz=5";
  const Outcome seen = at_a_terminal("'" + program() + "' " + wrong);
  CHECK(seen.code == 2);
  CHECK(contains(seen.output, "\nsee: retort explain train.steps\n"));
  CHECK(one_line(run_retort(wrong), 2, {"did you mean 'steps'?"}));
}

TEST_CASE("doctor says what is here, and that runs are possible") {
  Folder folder;
  const Outcome out = shell("cd " + folder.string() + " && '" + program() + "' doctor");
  CAPTURE(out.output);
  CHECK(out.code == 0);
  CHECK(contains(line_with(out.output, "LibTorch"), "torch/lib"));
  CHECK(contains(line_with(out.output, "backend "), "auto takes "));
  CHECK(contains(line_with(out.output, "processor"), "core(s)"));
  CHECK(contains(line_with(out.output, "plugins "), std::to_string(registry().files().size())));
  CHECK(contains(line_with(out.output, "shared store"), folder.string() + "/runs/cache, 0.00 GiB in 0 file(s)"));
  CHECK(fs::is_empty(folder.string()));
  const Outcome json = run_retort("doctor --json");
  CHECK(json.code == 0);
  CHECK(Json::parse(json.output)["runs_are_possible"] == true);
}

TEST_CASE("doctor names what is wrong, with what mends it") {
  Folder folder;
  fs::copy_file(test_plugin_dir() + "/toy.so", folder / "toy.so");
  fs::permissions(folder / "toy.so", fs::perms::others_write, fs::perm_options::add);
  const Outcome refused = run_retort("--plugin-dir " + folder.string() + " doctor");
  CHECK(refused.code == 0);
  CHECK(contains(refused.output, "→ chmod o-w " + folder.string() + "/toy.so"));
  const Outcome slow =
      shell("OMP_NUM_THREADS=1 RETORT_PLUGIN_PATH=/no/such RETORT_PYTHON=/no/python '" + program() + "' doctor");
  CHECK(slow.code == 0);
  if (this_machine().cores > 1) {
    CHECK(contains(slow.output, "since OMP_NUM_THREADS=1"));
    CHECK(contains(slow.output, "→ unset OMP_NUM_THREADS"));
  }
  CHECK(contains(slow.output, "/no/such of RETORT_PLUGIN_PATH is no folder"));
  CHECK(contains(slow.output, "/no/python (RETORT_PYTHON) cannot be run"));
  // Plugins that are there twice, and one whose constructor fails.
  const Outcome others = run_retort("--plugin-dir '" + test_plugin_dir() + "' doctor");
  CHECK(others.code == 0);
  // A tree without plugins.
  fs::create_directories(folder / "tree/bin");
  fs::copy_file(program(), folder / "tree/bin/retort");
  const Outcome bare = shell("'" + folder.string() + "/tree/bin/retort' doctor");
  CHECK(bare.code == 1);
  CHECK(contains(line_with(bare.output, "backend "), "none works"));
  CHECK(contains(line_with(bare.output, "plugins missing"), "solver"));
  CHECK(contains(bare.output, "error: no run is possible here"));
}

TEST_CASE("without a build, the wrapper says what one needs, and builds nothing") {
  Folder folder;
  fs::copy_file(source_dir() + "/retort", folder / "retort");
  const std::string wrapper = "cd " + folder.string() + " && ";
  const Outcome out = shell(wrapper + "./retort doctor");
  CHECK(contains(out.output, "not built yet"));
  CHECK(contains(out.output, "CMake"));
  fs::create_directories(folder / "bin");
  write_text(folder / "bin/dpkg-query", "#!/bin/sh\nexit 1\n");
  write_text(folder / "bin/id", "#!/bin/sh\necho 1000\n");
  for (const char* stub : {"dpkg-query", "id"}) {
    fs::permissions(folder / "bin" / stub, fs::perms::owner_all);
  }
  const Outcome bare = shell(wrapper + "PATH=" + folder.string() + "/bin:$PATH ./retort doctor");
  CHECK(bare.code == 1);
  CHECK(contains(bare.output, "ask an administrator for: apt-get install --no-install-recommends g++ cmake"));
  const Outcome json = shell(wrapper + "RETORT_TORCH_DIR=/no/torch ./retort doctor --json");
  CHECK(json.code == 1);
  const Json parsed = Json::parse(json.output);
  CHECK(parsed["built"] == false);
  CHECK(parsed["build_is_possible"] == false);
  CHECK(contains(json.output, "RETORT_TORCH_DIR=/no/torch holds no"));
  CHECK(!fs::exists(folder / "build"));
}

TEST_CASE("who is not root is told in one line what to ask for, and only setup asks for root itself") {
  Folder folder;
  fs::copy_file(source_dir() + "/retort", folder / "retort");
  fs::create_directories(folder / "bin");
  const auto stub = [&](const std::string& name, const std::string& script) {
    write_text(folder / "bin" / name, "#!/bin/sh\n" + script + "\n");
    fs::permissions(folder / "bin" / name, fs::perms::owner_all);
  };
  stub("dpkg-query", "for package; do :; done; [ $package != g++ ] && echo 'install ok installed'");
  stub("id", "echo 1000");
  stub("sudo", "echo \"$@\" >> '" + folder.string() + "/sudo'; exit 1");
  stub("apt-get", "echo \"$@\" >> '" + folder.string() + "/apt'; exit 1");
  const std::string wrapper =
      "cd '" + folder.string() + "' && PATH='" + (folder / "bin").string() + "':$PATH ./retort ";
  for (const std::string command : {"build", "list", "run some.toml", "test"}) {
    CAPTURE(command);
    const Outcome out = shell(wrapper + command);
    CHECK(out.code == 1);
    CHECK(std::count(out.output.begin(), out.output.end(), '\n') == 1);
    CHECK(contains(out.output, "Ask an administrator for: apt-get install --no-install-recommends g++ ("));
    CHECK(contains(out.output, "./retort setup --without-root"));
  }
  CHECK(!fs::exists(folder / "sudo"));
  CHECK(!fs::exists(folder / "apt"));
  CHECK(contains(shell(wrapper + "setup").output, "apt-get failed (see build/apt.log); install these by hand: g++"));
  CHECK(read_text(folder / "sudo") == "apt-get update -qq\n");
  CHECK(contains(shell(wrapper + "setup --with-root").output, "usage: ./retort setup [--without-root]"));
}

TEST_CASE("where the program is built and does not start, the wrapper says why and what is here, whatever its folder") {
  Folder folder;
  const fs::path tree = folder / "a [b]";
  fs::create_directories(tree / "build/release/bin");
  fs::copy_file(source_dir() + "/retort", tree / "retort");
  const fs::path broken = tree / "build/release/bin/retort";
  write_text(broken, "#!/bin/sh\necho 'libtorch.so: cannot open shared object file' >&2\nexit 127\n");
  fs::permissions(broken, fs::perms::owner_all);
  fs::create_directories(tree / ".venv/bin");
  write_text(tree / ".venv/bin/python", "#!/bin/sh\necho \"$0.torch\"\n");
  fs::permissions(tree / ".venv/bin/python", fs::perms::owner_all);
  const std::string ask = "cd '" + tree.string() + "' && ./retort doctor";
  const Outcome out = shell(ask);
  CHECK(out.code == 1);
  CHECK(contains(out.output, "does not start"));
  CHECK(contains(line_with(out.output, "wrong    program"), "libtorch.so: cannot open"));
  fs::create_directories(tree / ".venv/bin/python.torch/Torch");
  write_text(tree / ".venv/bin/python.torch/Torch/TorchConfig.cmake", "");
  CHECK(contains(line_with(shell(ask).output, " LibTorch "), "ok "));
}

TEST_CASE("what cannot be written to standard output is an error") {
  const Outcome out = shell("'" + program() + "' list > /dev/full");
  CHECK(one_line(out, 1, {"standard output could not be written"}));
}
