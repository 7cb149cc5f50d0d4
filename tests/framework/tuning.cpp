#include "sweep/tuning.h"

#include <cmath>
#include <filesystem>

#include "io/files.h"
#include "io/json.h"
#include "support/support.h"
#include "sweep/overrides.h"

using namespace retort;
using namespace retort::test;

namespace {

const std::string plain =
    "[loss]\ntype = \"cm\"\n[train]\nsteps = 10\n[sweep]\n\"loss.type\" = [\"cm\", \"direct_cm\"]\nseeds = [10, 11]\n";

Value config_of(const std::string& tune) { return parse_toml(plain + "[sweep.tune]\n" + tune, "test.toml"); }

std::string error_of(const std::string& tune) {
  return request_error([&] { tuning_of(config_of(tune)); });
}

const std::string rates = "\"train.learning_rate\" = [0.1, 0.2, 0.3]\nseeds = [0, 1]\nby = \"fd\"\n";

// Results of a cell: a row for each number of sampler steps.
void measure(const std::filesystem::path& folder, const std::vector<std::pair<int, Json>>& fd) {
  make_folder(folder);
  Json rows = Json::array();
  for (const auto& [steps, value] : fd) {
    rows.push_back({{"cell", "x"}, {"student_steps", steps}, {"metrics", {{"fd", value}}}});
  }
  write_text(folder / "results.json", spell({{"students", rows}}));
}

double rate_of(const Cell& cell) { return std::get<double>(at_path(cell.config, "train.learning_rate")->data); }

}  // namespace

TEST_CASE("exploring has every choice of every cell, on its own seeds; confirming has the cells alone") {
  const Value config = config_of(rates);
  const std::vector<Cell> explored = expand(exploring(config));
  REQUIRE(explored.size() == 12);
  CHECK(explored[0].name == "cm_learning_rate=0.1_seed=0");
  CHECK(explored[11].name == "direct_cm_learning_rate=0.3_seed=1");
  const std::vector<Cell> confirmed = expand(confirming(config));
  REQUIRE(confirmed.size() == 4);
  CHECK(confirmed[0].name == "cm_seed=10");
  CHECK(expand(parse_toml(plain, "test.toml")).size() == 4);
  CHECK(!tuning_of(parse_toml(plain, "test.toml")));
  CHECK(!tuning_of(parse_toml("[train]\nsteps = 1\n", "test.toml")));
}

TEST_CASE("the smallest mean over the exploring seeds is chosen, for each kind of cell by itself") {
  Folder folder;
  const Value config = config_of(rates + "student_steps = 2\n");
  const Tuning tuning = tuning_of(config).value();
  const std::vector<Cell> explored = expand(exploring(config));
  std::vector<std::filesystem::path> folders;
  for (const Cell& cell : explored) {
    const double rate = std::get<double>(cell.values.find("train.learning_rate")->data);
    const bool first = std::get<int64_t>(cell.values.find("run.seed")->data) == 0;
    const bool cm = std::get<std::string>(cell.values.find("loss.type")->data) == "cm";
    // cm: 0.1 is best on one seed alone, 0.2 in the mean; direct_cm: 0.3 is best, but gave no number on one seed.
    const Json of_cm = rate == 0.1 ? (first ? 0.0 : 9.0) : rate == 0.2 ? 4.0 : 5.0;
    const Json of_direct = rate == 0.3 ? (first ? Json(0.1) : Json()) : rate == 0.1 ? Json(1.0) : Json(2.0);
    folders.push_back(folder / cell.name);
    measure(folders.back(), {{1, rate == 0.3 ? 0.0 : 1.0}, {2, cm ? of_cm : of_direct}});
  }
  std::vector<Cell> cells = expand(confirming(config));
  give(choose(tuning, explored, folders), cells);
  CHECK(rate_of(cells[0]) == 0.2);
  CHECK(rate_of(cells[1]) == 0.2);
  CHECK(rate_of(cells[2]) == 0.1);
  CHECK(cells[2].chosen.text() == "{ \"train.learning_rate\" = 0.1 }");
  CHECK(cells[2].values.find("train.learning_rate") == nullptr);  // cells of other choices stay comparable

  // By one step, the other is chosen.
  Tuning by_one = tuning;
  by_one.student_steps = 1;
  give(choose(by_one, explored, folders), cells);
  CHECK(rate_of(cells[0]) == 0.3);

  // A sampler of more steps than there are is the one of most steps.
  by_one.student_steps = 100;
  give(choose(by_one, explored, folders), cells);
  CHECK(rate_of(cells[0]) == 0.2);

  // What failed loses; where all failed, the cells are left out, and named.
  for (size_t i = 0; i < 6; ++i) {
    std::filesystem::remove(folders[i] / "results.json");
  }
  const std::vector<std::string> lost = give(choose(tuning, explored, folders), cells);
  CHECK(lost == std::vector<std::string>{"cm_seed=10", "cm_seed=11"});
  REQUIRE(cells.size() == 2);
  CHECK(cells[0].name == "direct_cm_seed=10");
}

TEST_CASE("a metric or a sampler that is not there is told, and never chosen by") {
  Folder folder;
  measure(folder / "cell", {{1, 1.0}, {2, 2.0}});
  Tuning tuning = tuning_of(config_of(rates)).value();
  CHECK(judged(tuning, folder / "cell") == 1.5);  // of both samplers
  tuning.student_steps = 1;
  CHECK(judged(tuning, folder / "cell") == 1.0);
  tuning.by = "fid";
  CHECK(contains(request_error([&] { judged(tuning, folder / "cell"); }), "'fid' is not measured; did you mean 'fd'?"));
  tuning.by = "fd";
  tuning.student_steps = 0;
  CHECK(contains(request_error([&] { judged(tuning, folder / "cell"); }), "no sampler"));
  CHECK(std::isinf(judged(tuning, folder / "nothing")));
}

TEST_CASE("a type may be chosen with keys of its own") {
  const Value config = config_of(
      "\"solver.type\" = [\"euler\", { type = \"heun\", variable = \"lambda\" }]\nseeds = [0]\nby = \"fd\"\n");
  CHECK(tuning_of(config)->keys == std::vector<std::string>{"solver.type", "solver.variable"});
  CHECK(expand(exploring(config)).size() == 4);
}

TEST_CASE("what may not be explored is excluded, and confirming knows nothing of it") {
  const Value config = parse_toml(
      plain + "exclude = [{ \"loss.type\" = \"cm\", \"train.learning_rate\" = 0.3 }]\n[sweep.tune]\n" + rates,
      "test.toml");
  CHECK(expand(exploring(config)).size() == 10);
  CHECK(expand(confirming(config)).size() == 4);
}

TEST_CASE("what is wrong in [sweep.tune] is one line that says where") {
  CHECK(contains(error_of("\"train.learning_rate\" = [0.1]\nseeds = [0]\n"), "sweep.tune.by is missing"));
  CHECK(contains(error_of("\"train.learning_rate\" = [0.1]\nby = \"fd\"\n"), "sweep.tune.seeds is missing"));
  CHECK(contains(error_of("\"train.learning_rate\" = [0.1]\nby = \"fd\"\nseeds = [3, 11]\n"),
                 "test.toml:11: sweep.tune.seeds holds 11, which is one of sweep.seeds"));
  CHECK(contains(error_of("by = \"fd\"\nseeds = [0]\n"), "chooses nothing"));
  CHECK(contains(error_of("\"train.learning_rate\" = 0.1\nby = \"fd\"\nseeds = [0]\n"), "expected a list"));
  CHECK(contains(error_of(rates + "student_steps = \"two\"\n"), "expected a number of steps"));
  CHECK(contains(error_of("cells = [{ \"train.steps\" = 1 }]\nby = \"fd\"\nseeds = [0]\n"),
                 "expected lists by dotted key"));
  CHECK(contains(request_error([] { exploring(config_of("\"loss.type\" = [\"cm\"]\nby = \"fd\"\nseeds = [0]\n")); }),
                 "\"loss.type\" is swept already"));
}

TEST_CASE("the command line changes what is chosen, and takes it away") {
  const auto with = [](const std::vector<std::string>& overrides) {
    Value config = config_of(rates);
    apply_overrides(config, overrides);
    return config;
  };
  CHECK(!tuning_of(with({"train.learning_rate=0.5"})));  // given, so not chosen
  CHECK(expand(with({"train.learning_rate=0.5"})).size() == 4);
  CHECK(expand(exploring(with({"sweep.tune.seeds=[5]"}))).size() == 6);
  CHECK(expand(exploring(with({"sweep.tune.train.learning_rate=[0.1, 0.2]"}))).size() == 8);
  CHECK(tuning_of(with({"sweep.tune.by=kid"}))->by == "kid");
}
