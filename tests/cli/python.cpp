#include "io/files.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace fs = std::filesystem;

namespace {

const std::string files = "'" + source_dir() + "/tests/support/python";

std::string with(const std::string& kind, const std::string& file) {
  return " " + kind + ".type=python " + kind + ".file=" + file + " ";
}

}  // namespace

TEST_CASE("a solver in Python gives what the same solver in C++ gives") {
  Folder folder;
  write_text(folder / "start.csv", "1.0,-2.0\n0.3,4.0\n-3.0,0.1\n");
  const std::string solve = "solve " + mixture_config + " --dtype float64 --start " + folder.string() + "/start.csv ";
  const Outcome python =
      run_retort(solve + with("solver", files + "/ddim.py'") + "--out " + folder.string() + "/a.csv");
  CAPTURE(python.output);
  REQUIRE(python.code == 0);
  REQUIRE(run_retort(solve + "solver.type=ddim --out " + folder.string() + "/b.csv").code == 0);
  CHECK(read_text(folder / "a.csv") == read_text(folder / "b.csv"));
}

TEST_CASE("a loss in Python trains the same student as the same loss in C++") {
  Folder folder;
  const std::string run =
      "run " + mixture_config + small + "metric.ode_error.exact_samples=0 run.output=" + folder.string();
  const Outcome python = run_retort(run + "/a" + with("loss", files + "/cm.py'"));
  CAPTURE(python.output);
  REQUIRE(python.code == 0);
  REQUIRE(run_retort(run + "/b loss.type=cm").code == 0);
  const auto metrics = [&](const char* name) {
    return Json::parse(read_text(folder / name / "results.json"))["students"][0]["metrics"];
  };
  const Json python_metrics = metrics("a"), native = metrics("b");
  for (const auto& [key, value] : native.items()) {
    CAPTURE(key);
    CHECK(python_metrics[key].get<double>() == doctest::Approx(value.get<double>()).epsilon(1e-4));
  }
}

TEST_CASE("mistakes in a Python file are one line with file and line") {
  Folder folder;
  write_text(folder / "start.csv", "1.0,-2.0\n");
  const std::string file = folder.string() + "/mine.py";
  const std::string solve = "solve " + mixture_config + " --start " + folder.string() + "/start.csv --out " +
                            folder.string() + "/b.csv" + with("solver", file);
  const std::string constants = "order = 1\nevaluations = 1\n";
  struct Case {
    std::string text;
    int code;
    const char* part;
  };
  const Case cases[] = {
      {constants + "def step(ode, x, t, s)\n    return x\n", 2, "mine.py:3: SyntaxError"},
      {constants + "def steps(ode, x, t, s):\n    return x\n", 2, "defines no function 'step'"},
      {"evaluations = 1\ndef step(ode, x, t, s):\n    return x\n", 2, "does not say 'order = "},
      {"order = 'two'\nevaluations = 1\ndef step(ode, x, t, s):\n    return x\n", 2, "'order' has another type"},
      {constants + "import nonsense_module\n", 2, "mine.py:3: ModuleNotFoundError"},
      {constants + "def step(ode, x, t, s):\n    y = x\n    return y + undefined_name\n", 1, "mine.py:5: NameError"},
      {constants + "def step(ode, x, t, s):\n    return 'x'\n", 1, "something else than a tensor"},
      {constants + "def step(ode, x, t, s):\n    return x[:, :1]\n", 1, "another shape"},
      {constants + "def step(ode, x, t, s):\n    return ode.data(x, t[:0])\n", 1, "mine.py:4"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    write_text(file, c.text);
    CHECK(one_line(run_retort(solve), c.code, {c.part}));
  }
  std::filesystem::remove(file);
  CHECK(one_line(run_retort(solve), 2, {"mine.py", "No such file"}));
  CHECK(one_line(run_retort("solve " + mixture_config + " --start x --out y solver.type=python"), 2,
                 {"solver.file: missing"}));
  write_text(file, constants + "def step(ode, x, t, s):\n    return x\n");
  CHECK(one_line(run_retort("check python --kind solver file=" + file), 1, {}) == false);  // a table, then the line
  CHECK(contains(run_retort("check python --kind solver file=" + file).output, "FAILS order on ve"));
}

TEST_CASE("what a plugin does to others is an error that names it") {
  Folder folder;
  const std::string file = folder.string() + "/mine.py", constants = "order = 1\nevaluations = 1\n";
  const auto run = [&](const std::string& kind, const std::string& text) {
    write_text(file, text);
    return run_retort("train " + mixture_config + small + "loss.type=cm run.output=" + folder.string() + "/out" +
                      with(kind, file));
  };
  // Steps in place, also by a view of its input.
  for (const char* change : {"x.mul_(0.5)", "x.view(-1)[0] = 1", "t.sub_(0.1)"}) {
    CAPTURE(std::string(change));
    const Outcome out =
        run("solver", constants + "def step(ode, x, t, s):\n    " + change + "\n    return x.clone()\n");
    CHECK(out.code == 1);
    CHECK(contains(out.output, "error: solver 'python': changes its input '"));
  }
  CHECK(contains(run_retort("check python --kind solver file=" + file).output, "in place"));
  const Outcome still =
      run("loss",
          "def loss(step):\n    i = step.draw()\n    t = step.grid[i]\n    return step.student(step.x, t)"
          ".detach().square().flatten(1).mean(1), t\n");
  CHECK(still.code == 1);
  CHECK(contains(still.output, "error: loss 'python': its numbers carry no gradient"));
  const Outcome gone = run("solver", "import os\n" + constants + "def step(ode, x, t, s):\n    os._exit(0)\n");
  CHECK(gone.code == 1);
  CHECK(contains(gone.output, "ended the process by _exit(0)"));
  CHECK(contains(gone.output, "solver 'python'"));
}

namespace {

const std::string ring = files + "/ring.py'";

Json metrics_of(const fs::path& folder) {
  return Json::parse(read_text(folder / "results.json"))["students"][0]["metrics"];
}

}  // namespace

TEST_CASE("teacher and schedule in Python lead where the same in C++ lead") {
  Folder folder;
  write_text(folder / "start.csv", "1.0,-2.0\n0.3,4.0\n-3.0,0.1\n");
  const std::string solve =
      "solve " + mixture_config + " --dtype float64 --start " + folder.string() + "/start.csv --out ";
  const auto out = [&](const std::string& name, const std::string& keys) {
    const Outcome outcome = run_retort(solve + (folder / name).string() + keys);
    CAPTURE(outcome.output);
    REQUIRE(outcome.code == 0);
    return read_samples((folder / name).string(), {2});
  };
  const Tensor native = out("a.csv", "");
  const Tensor teacher =
      out("b.csv",
          with("teacher", ring) + "teacher.parametrisation=data teacher.time=sigma teacher.input=x teacher.shape=[2]");
  CHECK((native - teacher).abs().max().item<double>() < 1e-6);
  const Tensor schedule = out("c.csv", with("schedule", files + "/karras.py'"));
  CHECK((native - schedule).abs().max().item<double>() < 1e-9);
}

TEST_CASE("a metric in Python measures what the same metric in C++ measures") {
  Folder folder;
  const Outcome run =
      run_retort("run " + mixture_config + small +
                 "loss.type=cm 'evaluate.metrics=[\"ode_error\",\"python\"]' metric.python.file=" + ring +
                 " metric.ode_error.exact_samples=0 run.output=" + folder.string() + "/out");
  CAPTURE(run.output);
  REQUIRE(run.code == 0);
  const Json metrics = metrics_of(folder / "out");
  CHECK(metrics["end_error"].get<double>() == doctest::Approx(metrics["ode_error"].get<double>()).epsilon(1e-4));
  CHECK(!Json::parse(read_text(folder / "out/results.json"))["teacher"]["metrics"].contains("end_error"));
}

TEST_CASE("data, network and loss in Python: trained, stopped, gone on with, sampled") {
  Folder folder;
  const std::string keys = " evaluate.at=[] evaluate.samples=100 loss.type=python " + with("dataset", ring) +
                           with("network", ring) + with("loss", files + "/losses.py'") +
                           with("solver", files + "/remembering.py'") + with("schedule", files + "/karras.py'") +
                           "'evaluate.metrics=[\"sliced_wasserstein\"]' train.ema=0.9 ";
  const auto run = [&](const std::string& name, const std::string& more) {
    const Outcome out = run_retort("run " + mixture_config + keys + more + " run.output=" + (folder / name).string());
    CAPTURE(out.output);
    REQUIRE(out.code == 0);
    return metrics_of(folder / name);
  };
  const Json whole = run("whole", "train.steps=20");
  run("parts", "train.steps=8");
  CHECK(run("again", "train.steps=20") == whole);
  const std::string student = (folder / "whole/checkpoints/step_000020.safetensors").string();
  const std::map<std::string, Tensor> weights = read_safetensors(student).tensors;
  for (const char* name : {"first.weight", "first.bias", "last.bias"}) {
    CHECK(weights.contains(name));
  }
  CHECK(contains(read_text(folder / "whole/metrics.jsonl"), "distance"));
  const Outcome sampled = run_retort("sample " + mixture_config + keys + "train.steps=20 --checkpoint " + student +
                                     " --out " + folder.string() + "/samples.csv --count 5");
  CAPTURE(sampled.output);
  CHECK(sampled.code == 0);
}

TEST_CASE("a file in Python that lacks something is one line") {
  Folder folder;
  const std::string file = folder.string() + "/mine.py";
  const auto refused = [&](const std::string& kind, const std::string& text, const char* part) {
    write_text(file, text);
    const std::string key =
        kind == "metric" ? " 'evaluate.metrics=[\"python\"]' metric.python.file=" + file + " " : with(kind, file);
    CAPTURE(text);
    CHECK(one_line(run_retort("run " + mixture_config + small + key + " run.output=" + folder.string() + "/out"), 2,
                   {part}));
  };
  refused("solver", "class Solver:\n    pass\n", "has no method 'step'");
  refused("schedule", "class Schedules:\n    pass\n", "and no class 'Schedule'");
  refused("schedule", "class Schedule:\n    pass\n", "has no method 'times'");
  refused("loss", "class Loss:\n    makes = 'consistence'\n", "did you mean 'consistency'");
  refused("loss", "class Loss:\n    needs = {'teachers': True}\n", "did you mean 'teacher'");
  refused("loss", "class Loss:\n    roles = [{'nam': 'a'}]\n", "did you mean 'name'");
  refused("metric", "class Metric:\n    pass\n", "has no method 'measure'");
  refused("dataset", "class Dataset:\n    shape = [2]\n", "has no method 'size'");
  refused("dataset", "class Dataset:\n    shape = 'two'\n", "'shape' has another type");
  refused("dataset", "class Dataset:\n    pass\n", "does not say 'shape");
  refused("network", "class Network:\n    pass\n", "TypeError");
  refused("teacher", "class Teacher:\n    def __call__(self, x, t):\n        return x\n", "parametrisation: missing");
}
