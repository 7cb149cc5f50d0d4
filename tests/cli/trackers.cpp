// [track]: what trackers are told of a training, and that a killed one tells no step twice.
#include "io/files.h"
#include "io/json.h"
#include "support/csv_table.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace {

std::vector<Json> lines_of(const std::filesystem::path& log) {
  std::vector<Json> out;
  std::istringstream in(read_text(log));
  for (std::string line; std::getline(in, line);) {
    out.push_back(Json::parse(line));
  }
  return out;
}

size_t column(const std::vector<std::string>& header, const std::string& name) {
  const auto found = std::find(header.begin(), header.end(), name);
  REQUIRE_MESSAGE(found != header.end(), name);
  return static_cast<size_t>(found - header.begin());
}

}  // namespace

TEST_CASE("trackers are told what the log has, the loss by time, and what was measured") {
  Folder folder;
  const std::string run = "run " + mixture_config + small + "loss.type=cm run.output=" + folder.string() + "/out " +
                          "'track.trackers=[\"csv\", \"tensorboard\"]' track.loss_bins=3 track.histograms_every=10";
  const Outcome out = run_retort(run);
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  const std::vector<Json> log = lines_of(folder / "out/metrics.jsonl");
  const auto table = csv_fields(read_text(folder / "out/metrics.csv"));
  REQUIRE(log.size() == 20);
  REQUIRE(table.size() == 21);
  const size_t loss = column(table[0], "loss"), step = column(table[0], "step");
  for (size_t i = 0; i < log.size(); ++i) {
    CHECK(std::stoll(table[i + 1][step]) == log[i]["step"].get<int64_t>());
    CHECK(std::stod(table[i + 1][loss]) == log[i]["loss"].get<double>());
    CHECK(std::stoll(table[i + 1][column(table[0], "machine/peak_memory_bytes")]) > 1'000'000);
    CHECK(!log[i].contains("machine"));
    CHECK(log[i]["loss_by_time"].size() >= 1);
    CHECK(log[i]["loss_by_time"].size() <= 3);
  }
  // Of one batch, the loss is the mean of what it is by time, weighted by rows: between the least and the greatest.
  double least = HUGE_VAL, most = 0;
  for (const auto& [name, value] : log[0]["loss_by_time"].items()) {
    CHECK(contains(name, "t "));
    least = std::min(least, value.get<double>());
    most = std::max(most, value.get<double>());
  }
  CHECK(least <= log[0]["loss"].get<double>() * (1 + 1e-6));
  CHECK(most >= log[0]["loss"].get<double>() * (1 - 1e-6));
  const auto measured = csv_fields(read_text(folder / "out/measured_metrics.csv"));
  REQUIRE(measured.size() == 3);  // after 5 steps and after 20
  const Json results = Json::parse(read_text(folder / "out/results.json"));
  for (const Json& student : results["students"]) {
    const int64_t steps = student["student_steps"];
    const std::string name = "ode_error/" + std::to_string(steps) + (steps == 1 ? " step" : " steps");
    CHECK(std::stod(measured[2][column(measured[0], name)]) == student["metrics"]["ode_error"].get<double>());
  }
  CHECK(contains(read_text(folder / "out/events.out.tfevents.retort"), "gradients/"));
  CHECK(contains(read_text(folder / "out/events.out.tfevents.retort.measured"), "measured/ode_error/1 step"));
  // What only looks is no reason to train or to measure again.
  const Outcome again = run_retort(run + " track.loss_bins=5");
  CHECK(again.code == 0);
  CHECK(!contains(again.output, "evaluating"));
}

TEST_CASE("samples from the same noise are pictures, and the training is as it is without them") {
  Folder folder;
  const std::string run = "run '" + source_dir() + "/configs/mixture.toml'" + small +
                          "loss.type=cm evaluate.at=[] train.steps=4 run.output=" + folder.string();
  REQUIRE(run_retort(run + "/plain").code == 0);
  REQUIRE(run_retort(run + "/watched 'track.trackers=[\"tensorboard\"]' track.pictures_every=2").code == 0);
  const auto students = [&](const char* name) {
    return Json::parse(read_text(folder / name / "results.json"))["students"][0]["metrics"];
  };
  CHECK(students("plain") == students("watched"));
}

TEST_CASE("killed and resumed, a tracker's file has each step once, with the same numbers") {
  Folder folder;
  const std::string options = "train " + mixture_config + small +
                              "loss.type=cm evaluate.at=[] train.steps=600 train.save_every=1e-9 "
                              "'track.trackers=[\"csv\"]' run.output=" +
                              folder.string() + "/";
  REQUIRE(run_retort(options + "whole").code == 0);
  const std::filesystem::path log = folder / "killed/metrics.csv";
  kill_when(options + "killed", [&] { return std::filesystem::exists(log) && read_text(log).size() >= 8000; });
  REQUIRE(csv_fields(read_text(log)).size() < 601);
  REQUIRE(run_retort(options + "killed").code == 0);
  const auto a = csv_fields(read_text(folder / "whole/metrics.csv")), b = csv_fields(read_text(log));
  REQUIRE(a.size() == 601);
  REQUIRE(b.size() == 601);
  const size_t loss = column(a[0], "loss");
  for (size_t i = 1; i < a.size(); ++i) {
    CHECK(a[i][0] == b[i][0]);
    CHECK(a[i][loss] == b[i][column(b[0], "loss")]);
  }
}

TEST_CASE("what is wrong with [track] is said before any work") {
  const std::string run = "run " + mixture_config + small + "loss.type=cm ";
  CHECK(one_line(run_retort(run + "'track.trackers=[\"tensorbord\"]'"), 2, {"tensorbord", "tensorboard"}));
  CHECK(one_line(run_retort(run + "'track.trackers=[\"csv\",\"csv\"]'"), 2, {"track.trackers", "names 'csv' twice"}));
  CHECK(one_line(run_retort(run + "tracker.csw.file=a"), 2, {"unknown table [tracker.csw]; did you mean 'csv'?"}));
  CHECK(one_line(run_retort(run + "tracker.csv.file=a/b 'track.trackers=[\"csv\"]'"), 2, {"tracker.csv.file"}));
}
