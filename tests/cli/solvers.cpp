// Runs without a loss: the teacher's own samples by one solver or another.
#include "config/toml.h"
#include "io/files.h"
#include "io/json.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace {

const char* const config = R"([dataset]
type = "gaussian_mixture"
[teacher]
type = "gaussian_mixture"
[solver]
type = "heun"
[schedule]
type = "karras"
evaluations = 8
[evaluate]
samples = 64
metrics = ["ode_error"]
[metric.ode_error]
exact_samples = 64
)";

Json rows_of(const std::filesystem::path& folder) {
  return Json::parse(read_text(folder / "results.json"))["students"];
}

}  // namespace

TEST_CASE("without a loss the teacher's solves are measured, at as many steps as the evaluations allow") {
  Folder folder;
  write_text(folder / "c.toml", config);
  const std::string at = folder.string();
  const Outcome out = run_retort("sweep " + at + "/c.toml run.output=" + at +
                                 "/out 'sweep.\"solver.type\"=[\"ddim\", \"heun\", \"rk4\"]' "
                                 "'sweep.\"schedule.evaluations\"=[8, 32]'");
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  const Json rows = rows_of(folder / "out");
  REQUIRE(rows.size() == 6);
  std::map<std::string, std::vector<double>> errors;
  for (const Json& row : rows) {
    const double budget = row["swept"]["schedule.evaluations"].get<double>();
    const double spent = row["metrics"]["evaluations"].get<double>();
    CHECK(spent <= budget);
    // The last step, into sigma = 0, is DDIM's.
    CHECK(spent > budget - 4);
    errors[row["swept"]["solver.type"].get<std::string>()].push_back(
        row["metrics"]["discretisation_error"].get<double>());
  }
  for (const auto& [solver, of] : errors) {
    CAPTURE(solver);
    CHECK(of[1] < 0.5 * of[0]);
  }
  CHECK(errors["heun"][1] < errors["ddim"][1]);
  CHECK(contains(run_retort("sweep " + at + "/c.toml run.output=" + at +
                            "/out 'sweep.\"solver.type\"=[\"ddim\", \"heun\", \"rk4\"]' "
                            "'sweep.\"schedule.evaluations\"=[8, 32]'")
                     .output,
                 "complete"));
}

TEST_CASE("the fine solve is made once for all solvers and grids between the same ends") {
  Folder folder;
  write_text(folder / "c.toml", config);
  const std::string at = folder.string();
  REQUIRE(run_retort("sweep " + at + "/c.toml run.output=" + at + "/out run.cache=" + at +
                     "/cache 'sweep.\"solver.type\"=[\"ddim\", \"heun\"]'")
              .code == 0);
  size_t exact = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder / "cache")) {
    exact += entry.is_regular_file() && entry.path().extension() == ".safetensors" ? 1 : 0;
  }
  // Of each solver its ends and their count, and of both the exact ends.
  CHECK(exact == 5);
}

TEST_CASE("a number of evaluations that makes no grid is one line") {
  Folder folder;
  const std::string at = folder.string();
  const auto run = [&](const std::string& more) {
    write_text(folder / "c.toml", config);
    return run_retort("run " + at + "/c.toml run.output=" + at + "/out " + more);
  };
  CHECK(one_line(run("schedule.evaluations=0"), 2, {"schedule.evaluations: is 0; expected a whole number from 1 on"}));
  CHECK(one_line(run("schedule.evaluations=3 solver.type=rk4"), 2, {"3 is less than one step of the solver takes, 4"}));
  CHECK(one_line(run("solver.type=rk45"), 2, {"adapts its steps", "schedule.steps"}));
  CHECK(one_line(run("schedule.steps=4"), 2, {"stands beside schedule.steps"}));
  write_text(folder / "c.toml", config);
  CHECK(one_line(run_retort("train " + at + "/c.toml run.output=" + at + "/out"), 2, {"[loss] is missing"}));
  CHECK(one_line(run_retort("run " + at + "/c.toml 'evaluate.metrics=[]' run.output=" + at + "/out"), 2,
                 {"[loss] is missing", "evaluate.metrics"}));
}

TEST_CASE("optimise writes a schedule that a configuration extends, and says what it gains") {
  Folder folder;
  write_text(folder / "c.toml", config);
  const std::string at = folder.string();
  for (const char* method : {"gits", "ld3"}) {
    CAPTURE(std::string(method));
    const std::string found = at + "/" + method + ".toml";
    const Outcome out =
        run_retort("optimise " + at + "/c.toml solver.type=ddim --samples 32 --fine 20 --rounds 5 --method " + method +
                   " --out " + found);
    CAPTURE(out.output);
    REQUIRE(out.code == 0);
    CHECK(contains(out.output, "on 32 samples of fresh noise"));
    const std::string text = read_text(found);
    CHECK(contains(text, "type = \"explicit\""));
    std::string rest = config;
    rest.replace(rest.find("[schedule]"), rest.find("[evaluate]") - rest.find("[schedule]"), "");
    write_text(folder / "d.toml", "extends = \"" + std::string(method) + ".toml\"\n" + rest);
    CHECK(run_retort("run " + at + "/d.toml solver.type=ddim run.output=" + at + "/" + method).code == 0);
    CHECK(rows_of(folder / method)[0]["metrics"]["evaluations"] == 8);
  }
  CHECK(one_line(run_retort("optimise " + at + "/c.toml solver.type=euler_ancestral --out " + at + "/x.toml"), 2,
                 {"solver.type draws noise"}));
  CHECK(one_line(run_retort("optimise " + at + "/c.toml solver.type=ddim --fine 3 --out " + at + "/x.toml"), 2,
                 {"--fine 3", "less than the schedule's 8 intervals"}));
  CHECK(!std::filesystem::exists(folder / "x.toml"));
}

TEST_CASE("optimise --checkpoint writes the times of a student's sampler, which a configuration extends") {
  Folder folder;
  const std::string at = folder.string();
  write_text(
      folder / "c.toml",
      std::string(config) +
          "[network]\ntype = \"mlp\"\nwidth = 16\ndepth = 1\n[loss]\ntype = \"cm\"\n[train]\nsteps = 30\nbatch = 64\n");
  const std::string run = at + "/c.toml 'evaluate.metrics=[\"energy_distance\"]' 'evaluate.student_steps=[1, 2, 3]' ";
  REQUIRE(run_retort("run " + run + "run.output=" + at + "/out").code == 0);
  const std::string checkpoint = " --checkpoint " + at + "/out/checkpoints/step_000030.safetensors ";
  const Outcome out =
      run_retort("optimise " + run + checkpoint + "--by energy_distance --rounds 2 --out " + at + "/times.toml");
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  CHECK(contains(out.output, "2 steps: energy_distance on fresh noise"));
  const Value found = read_toml(at + "/times.toml");
  const Array& lists = std::get<Array>(at_path(found, "evaluate.student_times")->data);
  REQUIRE(lists.size() == 2);
  CHECK(std::get<Array>(lists[0].data).size() == 1);
  CHECK(std::get<Array>(lists[1].data).size() == 2);
  // A run that extends them samples at these times: its rows of several steps differ, that of one step does not.
  write_text(folder / "d.toml", "extends = \"times.toml\"\n" + read_text(folder / "c.toml"));
  const std::string again =
      at + "/d.toml 'evaluate.metrics=[\"energy_distance\"]' 'evaluate.student_steps=[1, 2, 3]' run.output=" + at;
  const Outcome second = run_retort("run " + again + "/again");
  CAPTURE(second.output);
  REQUIRE(second.code == 0);
  const Json before = rows_of(folder / "out"), after = rows_of(folder / "again");
  REQUIRE(after.size() == 3);
  const auto value = [](const Json& row) { return row["metrics"]["energy_distance"].get<double>(); };
  CHECK(value(before[0]) == value(after[0]));
  CHECK(value(before[1]) != value(after[1]));
  CHECK(value(before[2]) != value(after[2]));
  // What is wrong is said before the work.
  CHECK(one_line(run_retort("optimise " + run + checkpoint + "--by fdd --out " + at + "/x.toml"), 2,
                 {"--by fdd", "energy_distance"}));
  CHECK(
      one_line(run_retort("optimise " + run + "'evaluate.student_steps=[1]'" + checkpoint + "--out " + at + "/x.toml"),
               2, {"evaluate.student_steps", "no sampler of two steps"}));
  CHECK(one_line(run_retort("run " + run + "'evaluate.student_times=[[1e9]]' run.output=" + at + "/x"), 2,
                 {"evaluate.student_times", "out of order", "ends of the grid"}));
  CHECK(one_line(run_retort("run " + run + "'evaluate.student_times=[[1.0], [2.0]]' run.output=" + at + "/x"), 2,
                 {"evaluate.student_times", "two lists of 1"}));
  CHECK(!std::filesystem::exists(folder / "x.toml"));
}
