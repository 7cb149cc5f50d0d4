#include <fstream>
#include <thread>

#include "io/files.h"
#include "io/json.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace {

const std::string sweep = "sweep " + mixture_config + small + " 'sweep.seeds=2' ";

Json results_of(const std::filesystem::path& folder) { return Json::parse(read_text(folder / "results.json")); }

// Everything of a sweep's results but what differs from run to run: times, and what was remembered.
Json comparable(const std::filesystem::path& folder) {
  Json out = Json::array();
  const Json results = results_of(folder);
  for (Json row : results["progress"]) {
    row.erase("train_seconds");
    row.erase("remembered_evaluations");
    out.push_back(row);
  }
  return out;
}

size_t lines_of(const std::string& text) { return static_cast<size_t>(std::count(text.begin(), text.end(), '\n')); }

size_t times_said(const std::string& text, const std::string& what) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; ++at) {
    count += 1;
  }
  return count;
}

// Starts the program in the background, its output in a file; its number is in `pid_file`.
std::thread start(const std::string& arguments, const std::filesystem::path& pid_file,
                  const std::filesystem::path& output) {
  return std::thread([=] {
    shell("echo $$ > " + pid_file.string() + "; exec '" + program() + "' " + arguments + " > " + output.string() +
          " 2>&1");
  });
}

template <class F>
bool wait_for(F condition) {
  for (int i = 0; i < 12000; ++i) {
    if (condition()) {
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

size_t finished_cells(const std::filesystem::path& folder) {
  size_t count = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator i(folder / "cells", error), end; !error && i != end; i.increment(error)) {
    count += std::filesystem::exists(i->path() / "results.json") ? 1 : 0;
  }
  return count;
}

}  // namespace

TEST_CASE("a sweep: what it will cost, its cells, tables, statistics; and nothing is done twice") {
  Folder folder;
  const std::string out = " run.output=" + folder.string() + "/out";
  const Outcome plan = run_retort(sweep + out + " --dry-run");
  CAPTURE(plan.output);
  CHECK(plan.code == 0);
  CHECK(contains(plan.output, "4 cells, 0 done"));
  CHECK(contains(plan.output, "direct_cm_seed=1"));
  CHECK(!std::filesystem::exists(folder / "out" / "cells"));

  const Outcome first = run_retort(sweep + out);
  CAPTURE(first.output);
  REQUIRE(first.code == 0);
  CHECK(contains(first.output, "±"));
  const Json results = results_of(folder / "out");
  CHECK(results["students"].size() == 12);  // 4 cells, 3 samplers
  CHECK(results["cells"].size() == 4);
  CHECK(results["statistics"]["groups"].size() == 12);  // 2 losses, 2 points of training, 3 samplers
  CHECK(results["statistics"]["differences"].size() == 6);
  const std::string csv = read_text(folder / "out" / "results.csv");
  CHECK(csv.starts_with("cell,status,loss.type,run.seed,student_steps,train_steps,"));
  CHECK(lines_of(csv) == 13);
  CHECK(lines_of(read_text(folder / "out" / "progress.csv")) == 25);
  CHECK(contains(read_text(folder / "out" / "report.html"), "Paired differences"));
  for (const char* cell : {"cm_seed=0", "direct_cm_seed=1"}) {
    for (const char* file : {"config.toml", "results.json", "metrics.jsonl", "plugins.json"}) {
      CHECK(std::filesystem::exists(folder / "out" / "cells" / cell / file));
    }
  }

  // Again: nothing. One more seed: two cells. Another number of samples: measured anew, not trained anew.
  CHECK(contains(run_retort(sweep + out).output, "these results are complete"));
  const auto trained = std::filesystem::last_write_time(folder / "out" / "cells" / "cm_seed=0" / "metrics.jsonl");
  const Json before = comparable(folder / "out");
  const Outcome more = run_retort(sweep + out + " sweep.seeds=3");
  CAPTURE(more.output);
  CHECK(more.code == 0);
  CHECK(times_said(more.output, "seed=2: ode_error") == 2);
  CHECK(times_said(more.output, "seed=1: ode_error") == 0);
  const Json after = comparable(folder / "out");
  CHECK(after.size() == 36);
  CHECK(run_retort(sweep + out + " evaluate.samples=100").code == 0);
  CHECK(std::filesystem::last_write_time(folder / "out" / "cells" / "cm_seed=0" / "metrics.jsonl") == trained);
  // Another learning rate: all four, and what was there is kept aside.
  const Outcome other = run_retort(sweep + out + " train.learning_rate=0.01");
  CHECK(times_said(other.output, "seed=0: ode_error") == 2);
  CHECK(std::filesystem::exists(folder / "out" / "cells" / "cm_seed=0~1" / "results.json"));
}

TEST_CASE("the shared teacher is solved once, and solves that cells share once too, with the same results") {
  Folder folder;
  const std::string cells =
      "sweep " + mixture_config + small +
      " loss.type=direct_cm evaluate.at=[] sweep.seeds=1 'sweep.\"train.learning_rate\"=[0.001, 0.01]' ";
  const auto config = folder / "two.toml";
  std::string text = read_text(source_dir() + "/configs/mixture.toml");
  text = text.substr(0, text.find("[sweep]")) + "[sweep]\n\"train.learning_rate\" = [0.001, 0.01]\n";
  write_text(config, text);
  const std::string both =
      "sweep " + config.string() + small + " loss.type=direct_cm run.output=" + folder.string() + "/both";
  const Outcome out = run_retort(both);
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  const Json rows = results_of(folder / "both")["students"];
  REQUIRE(rows.size() == 6);
  CHECK(rows[0]["remembered_evaluations"] == 0);
  CHECK(rows[3]["remembered_evaluations"] == rows[3]["teacher_evaluations"]);
  CHECK(rows[3]["teacher_evaluations"] == rows[0]["teacher_evaluations"]);
  const std::string alone = "run " + config.string() + small +
                            " loss.type=direct_cm train.learning_rate=0.01 run.output=" + folder.string() + "/alone";
  REQUIRE(run_retort(alone).code == 0);
  CHECK(results_of(folder / "alone")["students"][0]["metrics"] == rows[3]["metrics"]);
}

TEST_CASE("killed and taken up again, a sweep gives what an uninterrupted one gives") {
  Folder folder;
  const std::string options = sweep + " train.steps=200 train.save_every=1e-9 run.output=" + folder.string() + "/";
  REQUIRE(run_retort(options + "whole").code == 0);
  std::thread victim = start(options + "killed", folder / "pid", folder / "log");
  CHECK(wait_for([&] { return finished_cells(folder / "killed") >= 1; }));
  shell("kill -KILL $(cat " + folder.string() + "/pid)");
  victim.join();
  REQUIRE(finished_cells(folder / "killed") < 4);
  const size_t before = finished_cells(folder / "killed");
  const Outcome resumed = run_retort(options + "killed");
  CAPTURE(resumed.output);
  REQUIRE(resumed.code == 0);
  CHECK(times_said(resumed.output, "seed=0: ode_error") + times_said(resumed.output, "seed=1: ode_error") ==
        4 - before);
  CHECK(comparable(folder / "whole") == comparable(folder / "killed"));
}

TEST_CASE("two workers share the cells; when one is killed, the other takes over what it had") {
  Folder folder;
  const std::string options = sweep + " train.steps=150 sweep.seeds=3 --worker run.output=" + folder.string() + "/out";
  std::thread first = start(options, folder / "pid1", folder / "log1");
  std::thread second = start(options, folder / "pid2", folder / "log2");
  CHECK(wait_for([&] { return finished_cells(folder / "out") >= 2; }));
  shell("kill -KILL $(cat " + folder.string() + "/pid1)");
  first.join();
  second.join();
  const std::string log1 = read_text(folder / "log1"), log2 = read_text(folder / "log2");
  CAPTURE(log1);
  CAPTURE(log2);
  CHECK(finished_cells(folder / "out") == 6);  // none is lost, and none was done twice:
  for (const char* loss : {"cm", "direct_cm"}) {
    for (const char* seed : {"0", "1", "2"}) {
      const std::string name = std::string("\n") + loss + "_seed=" + seed + ": ode_error";  // said at its end
      CHECK(times_said("\n" + log1, name) + times_said("\n" + log2, name) <= 1);
    }
  }
  const Json results = results_of(folder / "out");
  CHECK(results["students"].size() == 18);
  for (const auto& entry : std::filesystem::directory_iterator(folder / "out" / "cells")) {
    CAPTURE(entry.path());
    CHECK(entry.path().filename().string().find(".claim") == std::string::npos);
  }
}

TEST_CASE("a cell that fails is reported, the others go on, and the exit code tells") {
  Folder folder;
  std::string text = read_text(source_dir() + "/configs/mixture.toml");
  text = text.substr(0, text.find("[sweep]")) + "[sweep]\n\"train.learning_rate\" = [0.001, 1e30]\n";
  write_text(folder / "two.toml", text);
  const std::string command =
      "sweep " + (folder / "two.toml").string() + small + " train.steps=60 run.output=" + folder.string() + "/out";
  const Outcome out = run_retort(command);
  CAPTURE(out.output);
  CHECK(out.code == 1);
  CHECK(contains(out.output, "error: cell learning_rate=1e+30 failed: "));
  CHECK(contains(out.output, "1 of 2 cells failed"));
  const Json results = results_of(folder / "out");
  CHECK(results["cells"][1]["status"] == "failed");
  CHECK(results["students"].size() == 3);
  const std::string csv = read_text(folder / "out" / "results.csv");
  CHECK(lines_of(csv) == 7);
  CHECK(contains(csv, "1e+30,failed,1e+30,1,"));
  // Errors of the configuration come before any work.
  const Outcome wrong = run_retort(command + "2 'sweep.\"solver.type\"=[\"heun\", \"huen\"]'");
  CHECK(wrong.code == 2);
}
