// Budgets of evaluations and seconds, and [sweep.tune], as users run them.
#include "io/files.h"
#include "io/json.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace {

Json results_of(const std::filesystem::path& folder) { return Json::parse(read_text(folder / "results.json")); }

// The mixture's run, made small, with another [sweep].
std::string config_with(const Folder& folder, const std::string& sweep) {
  std::string text = read_text(source_dir() + "/configs/mixture.toml");
  write_text(folder / "tuned.toml", text.substr(0, text.find("[sweep]")) + sweep);
  return (folder / "tuned.toml").string() + small + " evaluate.at=[] run.output=" + folder.string() + "/out ";
}

}  // namespace

TEST_CASE("training ends by teacher evaluations, and what it reached is measured") {
  Folder folder;
  const std::string common =
      "run " + mixture_config + small +
      " loss.type=cm solver.type=euler evaluate.at=[3,25] train.steps=1000 train.evaluations=3000 ";
  const Outcome whole = run_retort(common + "run.output=" + folder.string() + "/whole");
  CAPTURE(whole.output);
  REQUIRE(whole.code == 0);
  const Json row = results_of(folder / "whole")["students"][0];
  // Euler's method asks once for each of 128 rows, and the step that passes 3000 is the last.
  CHECK(row["teacher_evaluations"] == 3072);
  CHECK(row["optimizer_steps"] == 24);
  CHECK(!row.contains("train_steps"));
  // Of the points in between, the one that was reached is measured.
  CHECK(results_of(folder / "whole")["progress"].size() == 6);
  CHECK(results_of(folder / "whole")["progress"][0]["train_steps"] == 3);
  CHECK(std::filesystem::exists(folder / "whole/checkpoints/step_000024.safetensors"));
  CHECK(contains(read_text(folder / "whole/metrics.jsonl"), "\"step\":24"));

  // Again: nothing to do. Evaluated anew: nothing is trained.
  CHECK(contains(run_retort(common + "run.output=" + folder.string() + "/whole").output, "these results are complete"));
  const Outcome anew = run_retort(common + "evaluate.samples=100 run.output=" + folder.string() + "/whole");
  CHECK(anew.code == 0);
  CHECK(!contains(anew.output, "training:"));
}

TEST_CASE("training ends by seconds") {
  Folder folder;
  const Outcome out = run_retort(
      "run " + mixture_config + small +
      " loss.type=cm evaluate.at=[] train.seconds=0.3 train.steps=1000000 run.output=" + folder.string() + "/out");
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  const Json row = results_of(folder / "out")["students"][0];
  CHECK(row["train_seconds"].get<double>() >= 0.3);
  CHECK(row["train_seconds"].get<double>() < 3);
  CHECK(row["optimizer_steps"].get<int64_t>() > 1);
  CHECK(contains(out.output, "at most 1000000 steps, 0.3 s"));
}

TEST_CASE("each cell takes what was best for it on other seeds") {
  Folder folder;
  const std::string config = config_with(folder,
                                         "[sweep]\n\"loss.type\" = [\"cm\", \"direct_cm\"]\nseeds = [5, 6]\n"
                                         "[sweep.tune]\n\"train.learning_rate\" = [1e-6, 1e-2]\nseeds = [0]\n"
                                         "by = \"sliced_wasserstein\"\nstudent_steps = 1\n");
  const Outcome plan = run_retort("sweep " + config + "--dry-run");
  CAPTURE(plan.output);
  CHECK(plan.code == 0);
  CHECK(contains(plan.output, "4 cells, 0 done"));
  CHECK(contains(plan.output, "Then 4 cells"));

  const Outcome first = run_retort("sweep " + config);
  CAPTURE(first.output);
  REQUIRE(first.code == 0);
  CHECK(contains(first.output, "chosen for"));
  // Among the cells that explore, the winner has the smallest distance.
  std::map<std::string, std::pair<double, double>> best;
  const Json explored = results_of(folder / "out/tuning");
  for (const Json& row : explored["students"]) {
    if (row["student_steps"] == 1) {
      const double value = row["metrics"]["sliced_wasserstein"], rate = row["swept"]["train.learning_rate"];
      const auto [place, is_new] = best.try_emplace(row["loss"], value, rate);
      if (!is_new && value < place->second.first) {
        place->second = {value, rate};
      }
    }
  }
  const Json results = results_of(folder / "out");
  REQUIRE(results["cells"].size() == 4);
  for (const Json& cell : results["cells"]) {
    const std::string loss = cell["values"]["loss.type"];
    CHECK(cell["chosen"]["train.learning_rate"] == best.at(loss).second);
    const std::string config_file = read_text(folder / "out/cells" / cell["name"].get<std::string>() / "config.toml");
    CHECK(contains(config_file, "learning_rate = " + Value{best.at(loss).second, {}}.text()));
  }
  CHECK(results["statistics"]["differences"].size() == 3);  // seed by seed, whatever was chosen
  CHECK(read_text(folder / "out/results.csv")
            .starts_with("cell,status,loss.type,run.seed,train.learning_rate,student_steps,"));

  // Again: both sweeps are complete. The folder's own configuration makes the same cells.
  const Outcome again = run_retort("sweep " + config);
  CHECK(contains(again.output, "these results are complete"));
  const Outcome saved = run_retort("sweep " + folder.string() + "/out/config.toml --dry-run");
  CAPTURE(saved.output);
  CHECK(saved.code == 0);
  CHECK(contains(saved.output, "Then, with what was chosen"));
  CHECK(contains(saved.output, "4 cells, 4 done"));
  // One more seed that explores is two cells more for each loss, and four of the old are kept.
  CHECK(contains(run_retort("sweep " + config + "--dry-run sweep.tune.seeds=[0,1]").output, "8 cells, 4 done"));
  // A rate that is given is not chosen.
  CHECK(contains(run_retort("sweep " + config + "--dry-run train.learning_rate=1e-3").output, "4 cells, 0 done"));
}

TEST_CASE("a type is chosen with its own keys, choices that fail lose and are not tried again") {
  Folder folder;
  const std::string config =
      config_with(folder,
                  "[sweep]\nseeds = [5, 6]\n[sweep.tune]\n\"solver.type\" = [\"euler\", { type = \"dpm_solver\", "
                  "order = 2 }]\n\"train.learning_rate\" = [1e-3, 1e30]\nseeds = [0]\nby = \"fd\"\n") +
      "loss.type=cm ";
  const Outcome first = run_retort("sweep " + config + "--worker");
  CAPTURE(first.output);
  REQUIRE(first.code == 0);
  CHECK(contains(first.output, "not finite"));
  const Outcome again = run_retort("sweep " + config + "--worker");
  CHECK(again.code == 0);
  CHECK(!contains(again.output, "not finite"));
  CHECK(contains(again.output, "these results are complete"));
  // The configuration that the folder keeps makes the same cells, of whatever type.
  const Outcome saved = run_retort("sweep " + folder.string() + "/out/config.toml --dry-run");
  CAPTURE(saved.output);
  CHECK(saved.code == 0);
  CHECK(contains(saved.output, "2 cells, 2 done"));
}

TEST_CASE("what cannot be chosen by, or confirmed, is one line") {
  Folder folder;
  const std::string rate = "[sweep.tune]\n\"train.learning_rate\" = [1e-3]\n";
  const std::string same = config_with(folder, "[sweep]\nseeds = [0, 1]\n" + rate + "seeds = [1]\nby = \"fd\"\n");
  CHECK(one_line(run_retort("sweep " + same), 2, {"tuned.toml:", "sweep.tune.seeds holds 1"}));
  CHECK(!std::filesystem::exists(folder / "out"));

  const std::string typo = config_with(folder, "[sweep]\nseeds = [0]\n" + rate + "seeds = [1]\nby = \"fid\"\n");
  const Outcome out = run_retort("sweep " + typo + "--worker");
  CHECK(out.code == 2);
  CHECK(contains(out.output, "error: sweep.tune.by: 'fid' is not measured; did you mean 'fd'?"));
  CHECK(one_line(run_retort("evaluate " + typo), 2, {"tuning: holds no choice of [sweep.tune] yet"}));
}

TEST_CASE("a training of unknown length makes no checkpoint for others") {
  Folder folder;
  write_text(folder / "teacher.toml",
             "[dataset]\ntype = \"moons\"\n[network]\ntype = \"mlp\"\n[loss]\ntype = "
             "\"denoising\"\n[train]\nseconds = 1.0\n");
  write_text(
      folder / "student.toml",
      "[dataset]\ntype = \"moons\"\n[teacher]\ntype = \"network\"\ncheckpoint = \"teacher.toml\"\n[student]\ninit = "
      "\"teacher\"\n[loss]\ntype = \"cm\"\n[solver]\ntype = \"heun\"\n[schedule]\ntype = \"karras\"\n");
  CHECK(one_line(run_retort("run " + (folder / "student.toml").string() + " run.output=" + folder.string() + "/out"), 2,
                 {"teacher.toml: its training ends by train.evaluations or train.seconds"}));
}
