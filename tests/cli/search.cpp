// Searches from TOML to the best draw: what halving stops, what hours leave out, and on from where they were killed.
#include <set>

#include "io/files.h"
#include "io/json.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace fs = std::filesystem;

namespace {

const std::string halving =
    "sweep " + mixture_config + small +
    " 'sweep={\"train.learning_rate\" = { min = 1e-6, max = 1e-2, log = true }, seeds = 2, search = { type = "
    "\"halving\", trials = 6, by = \"energy_distance\", keep = 0.4 }}' loss.type=cm "
    "'evaluate.metrics=[\"energy_distance\"]' train.steps=45 'evaluate.at=[5,15]' evaluate.samples=200 ";

Json results_of(const fs::path& folder) { return Json::parse(read_text(folder / "results.json")); }

// Rows less what differs from run to run.
Json comparable(const fs::path& folder) {
  Json out = results_of(folder);
  for (const char* list : {"students", "progress"}) {
    for (Json& row : out[list]) {
      row.erase("train_seconds");
      row.erase("remembered_evaluations");
    }
  }
  return {out["students"], out["progress"], out["cells"]};
}

}  // namespace

TEST_CASE("halving: at each point the draws with the smallest means train on, and the others keep what they had") {
  Folder folder;
  const Outcome out = run_retort(halving + "run.output=" + folder.string() + "/out");
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  CHECK(contains(out.output, "after 5 steps 3 of 6 draws train on"));
  CHECK(contains(out.output, "after 15 steps 2 of 3 draws train on"));
  CHECK(contains(out.output, "the best by energy_distance"));
  const Json results = results_of(folder / "out");
  std::map<std::string, int64_t> reached;  // by draw
  std::map<std::string, std::map<int64_t, double>> means;
  for (const Json& row : results["progress"]) {
    const std::string draw = row["swept"]["train.learning_rate"].dump();
    const auto steps = row["train_steps"].get<int64_t>();
    reached[draw] = std::max(reached[draw], steps);
    means[draw][steps] += row["metrics"]["energy_distance"].get<double>();
  }
  std::map<int64_t, int> ends;
  for (const auto& [draw, steps] : reached) {
    ends[steps] += 1;
  }
  CHECK(ends == std::map<int64_t, int>{{5, 3}, {15, 1}, {45, 2}});
  for (const auto& [draw, steps] : reached) {
    for (const auto& [other, further] : reached) {
      if (steps < further) {  // who was stopped had no smaller mean there
        CHECK(means[draw][steps] >= means[other][steps]);
      }
    }
  }
  std::map<std::string, int> states;
  for (const Json& cell : results["cells"]) {
    states[cell["status"].get<std::string>()] += 1;
  }
  CHECK(states == std::map<std::string, int>{{"done", 4}, {"stopped", 8}});
  CHECK(contains(read_text(folder / "out/results.csv"), ",stopped,"));
  const Outcome again = run_retort(halving + "run.output=" + folder.string() + "/out");
  CHECK(again.code == 0);
  CHECK(!contains(again.output, ": energy_distance "));  // as a cell that is done says
  // Another share: what was stopped goes on from there.
  std::string wider = halving;
  wider.replace(wider.find("keep = 0.4"), 10, "keep = 0.9");
  const Outcome more = run_retort(wider + "run.output=" + folder.string() + "/out");
  CAPTURE(more.output);
  CHECK(more.code == 0);
  CHECK(contains(more.output, "after 15 steps 6 of 6 draws train on"));
  CHECK(results_of(folder / "out")["students"].size() == 36);
  // What has been trained to its end stays so when the share shrinks again.
  CHECK(run_retort(halving + "run.output=" + folder.string() + "/out").code == 0);
  CHECK(results_of(folder / "out")["students"].size() == 36);
}

TEST_CASE("killed and taken up again, by two workers, a search gives what an uninterrupted one gives") {
  Folder folder;
  const std::string whole = folder / "whole", cut = folder / "cut";
  REQUIRE(run_retort(halving + "run.output=" + whole).code == 0);
  kill_when(halving + "run.output=" + cut, [&] {
    return fs::exists(cut + "/cells") &&
           std::distance(fs::directory_iterator(cut + "/cells"), fs::directory_iterator()) > 3;
  });
  const Outcome both = shell("'" + program() + "' " + halving + "--worker run.output=" + cut + " & '" + program() +
                             "' " + halving + "--worker run.output=" + cut + "; wait");
  CAPTURE(both.output);
  REQUIRE(run_retort(halving + "run.output=" + cut).code == 0);
  CHECK(comparable(whole) == comparable(cut));
}

TEST_CASE("when its hours are over, a search begins no cell, and with more of them it goes on") {
  Folder folder;
  const std::string search = "sweep " + mixture_config + small +
                             " 'sweep={\"train.learning_rate\" = { min = 1e-6, max = 1e-2, log = true }, search = "
                             "{ trials = 3, by = \"energy_distance\", hours = HOURS }}' loss.type=cm "
                             "'evaluate.metrics=[\"energy_distance\"]' train.steps=3 evaluate.at=[] "
                             "evaluate.samples=100 run.output=" +
                             folder.string() + "/out";
  const auto with = [&](const std::string& hours) {
    std::string text = search;
    return run_retort(text.replace(text.find("HOURS"), 5, hours));
  };
  const Outcome first = with("1e-7");
  CAPTURE(first.output);
  CHECK(first.code == 0);
  CHECK(contains(first.output, "the hours of sweep.search.hours are over"));
  std::multiset<std::string> states;
  const Json results = results_of(folder / "out");
  for (const Json& cell : results["cells"]) {
    states.insert(cell["status"].get<std::string>());
  }
  CHECK(states == std::multiset<std::string>{"done", "open", "open"});
  CHECK(with("1.0").code == 0);
  CHECK(results_of(folder / "out")["students"].size() == 9);
}

TEST_CASE("halving that cannot choose is refused before the work") {
  Folder folder;
  const std::string out = " run.output=" + folder.string() + "/out";
  CHECK(one_line(run_retort(halving + "evaluate.at=[]" + out), 2, {"evaluate.at has no step before the last"}));
  CHECK(one_line(run_retort(halving + "train.seconds=1.0" + out), 2, {"expected train.steps alone"}));
  std::string train = halving;
  train.replace(0, 5, "train");
  CHECK(one_line(run_retort(train + out), 2, {"measures while it trains; expected `retort run`"}));
  CHECK(!fs::exists(folder / "out"));
}

TEST_CASE("an optimizer outside asks what is searched, tells values, and reads what they give") {
  Folder folder;
  const std::string search =
      "sweep " + mixture_config + small +
      " 'sweep={\"train.learning_rate\" = { min = 1e-6, max = 1e-2, log = true }, \"train.batch\" = "
      "[8, 16], seeds = 2, search = { type = \"told\", by = \"energy_distance\" }}' loss.type=cm "
      "'evaluate.metrics=[\"energy_distance\"]' train.steps=3 evaluate.at=[] "
      "evaluate.samples=100 run.output=" +
      folder.string() + "/out ";
  const auto json = [](const Outcome& out) {
    CAPTURE(out.output);
    REQUIRE(out.code == 0);
    const size_t end = out.output.find_last_not_of('\n'), from = out.output.rfind('\n', end);
    return Json::parse(out.output.substr(from == std::string::npos ? 0 : from + 1));
  };
  const Json empty = json(run_retort(search + "--ask"));
  CHECK(empty["by"] == "energy_distance");
  CHECK(empty["space"]["train.learning_rate"] == Json{{"min", 1e-6}, {"max", 1e-2}, {"log", true}, {"integer", false}});
  CHECK(empty["space"]["train.batch"]["choices"] == Json{8, 16});
  CHECK(empty["trials"].empty());
  CHECK(one_line(run_retort(search), 2, {"nothing is told yet"}));
  const auto tell = [&](const std::string& values) { return run_retort(search + "--tell '" + values + "'"); };
  CHECK(one_line(tell("{\"train.batch\": 8}"), 2, {"\"train.learning_rate\" is missing"}));
  CHECK(one_line(tell("{\"train.batch\": 9, \"train.learning_rate\": 1e-3}"), 2, {"expected one of 8, 16"}));
  CHECK(one_line(tell("{\"train.batch\": 8, \"train.learning_rate\": 1.0}"), 2,
                 {"expected a number from 1e-06 to 0.01"}));
  CHECK(one_line(tell("{\"train.bach\": 8}"), 2, {"did you mean 'train.batch'"}));
  CHECK(one_line(tell("8"), 2, {"is no JSON object"}));
  CHECK(!fs::exists(folder / "out"));
  const Json first = json(tell("{\"train.batch\": 8, \"train.learning_rate\": 1e-3}"));
  CHECK(first["values"]["train.batch"] == 8);
  CHECK(first["value"].get<double>() > 0);
  CHECK(json(tell("{\"train.batch\": 8, \"train.learning_rate\": 1e-3}")) == first);  // known already
  json(tell("{\"train.batch\": 16, \"train.learning_rate\": 1e-5}"));
  const Json after = json(run_retort(search + "--ask"));
  REQUIRE(after["trials"].size() == 2);
  CHECK(after["trials"][0] == first);
  const Outcome table = run_retort(search);
  CHECK(table.code == 0);
  CHECK(contains(table.output, "the best by energy_distance"));
  CHECK(results_of(folder / "out")["students"].size() == 12);
}

TEST_CASE("Optuna leads a search, and goes on with what was found") {
  const std::string& python = python_that_imports("optuna");
  if (python.empty()) {
    return;
  }
  Folder folder;
  const std::string command =
      "'" + python + "' '" + source_dir() + "/sdk/python/search_optuna.py' --retort '" + program() +
      "' --trials 3 -- " + mixture_config + small +
      " 'sweep={\"train.learning_rate\" = { min = 1e-6, max = 1e-2, log = true }, \"train.batch\" = { min = 8, max = "
      "16 }, "
      "\"loss.distance\" = [\"l2\", \"l1\"], search = { type = \"told\", by = \"energy_distance\" }}' loss.type=cm "
      "'evaluate.metrics=[\"energy_distance\"]' train.steps=3 evaluate.at=[] evaluate.samples=100 run.output=" +
      folder.string() + "/out";
  for (const size_t trials : {3, 6}) {
    const Outcome out = shell(command);
    CAPTURE(out.output);
    REQUIRE(out.code == 0);
    CHECK(contains(out.output, "\"energy_distance\": "));
    CHECK(Json::parse(read_text(folder / "out/told.json")).size() == trials);
  }
}
