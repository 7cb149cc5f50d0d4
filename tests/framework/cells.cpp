#include "sweep/cells.h"

#include <set>

#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

std::vector<Cell> cells_of(const std::string& sweep) {
  return expand(parse_toml("[loss]\ntype = \"cm\"\n[train]\nsteps = 10\n[sweep]\n" + sweep, "test.toml"));
}

std::set<std::string> names_of(const std::string& sweep) {
  std::set<std::string> out;
  for (const Cell& cell : cells_of(sweep)) {
    out.insert(cell.name);
  }
  return out;
}

std::string error_of(const std::string& sweep) {
  return request_error([&] { cells_of(sweep); });
}

int64_t integer_at(const Cell& cell, const std::string& key) {
  return std::get<int64_t>(at_path(cell.config, key)->data);
}

}  // namespace

TEST_CASE("lists make their product, in order, seeds fastest") {
  const std::vector<Cell> cells =
      cells_of("\"loss.type\" = [\"cm\", \"direct_cm\"]\nseeds = 2\n\"train.steps\" = [10, 20]\n");
  REQUIRE(cells.size() == 8);
  CHECK(cells[0].name == "cm_steps=10_seed=0");
  CHECK(cells[1].name == "cm_steps=10_seed=1");
  CHECK(cells[7].name == "direct_cm_steps=20_seed=1");
  CHECK(integer_at(cells[7], "run.seed") == 1);
  CHECK(integer_at(cells[7], "train.steps") == 20);
  CHECK(cells[0].config.find("sweep") == nullptr);
}

TEST_CASE("a configuration without [sweep] is one cell without a name") {
  const std::vector<Cell> cells = expand(parse_toml("[train]\nsteps = 1\n", "test.toml"));
  REQUIRE(cells.size() == 1);
  CHECK(cells[0].name.empty());
}

TEST_CASE("zipped lists go together, explicit cells are one axis, exclusions take away") {
  CHECK(names_of("zip = { \"train.steps\" = [10, 20], \"train.learning_rate\" = [0.1, 0.2] }\nseeds = [5, 9]\n") ==
        std::set<std::string>{"steps=10_learning_rate=0.1_seed=5", "steps=10_learning_rate=0.1_seed=9",
                              "steps=20_learning_rate=0.2_seed=5", "steps=20_learning_rate=0.2_seed=9"});
  CHECK(names_of("cells = [{ \"loss.type\" = \"cm\", \"loss.target\" = \"ema\" }, { \"loss.type\" = \"direct_cm\" }]\n"
                 "\"train.steps\" = [1, 2]\n") ==
        std::set<std::string>{"cm_ema_steps=1", "cm_ema_steps=2", "direct_cm_steps=1", "direct_cm_steps=2"});
  CHECK(names_of("\"loss.type\" = [\"cm\", \"direct_cm\"]\n\"train.steps\" = [1, 2]\n"
                 "exclude = [{ \"loss.type\" = \"direct_cm\", \"train.steps\" = 2 }]\n") ==
        std::set<std::string>{"cm_steps=1", "cm_steps=2", "direct_cm_steps=1"});
  // Several zips are several axes, and keys may be written as tables too.
  CHECK(cells_of("zip = [{ \"a.x\" = [1, 2] }, { \"b.y\" = [1, 2, 3] }]\n").size() == 6);
  CHECK(names_of("loss.type = [\"cm\", \"direct_cm\"]\n") == std::set<std::string>{"cm", "direct_cm"});
}

TEST_CASE("what is wrong in [sweep] is one line with its place") {
  CHECK(contains(error_of("\"loss.type\" = \"cm\"\n"), "test.toml:6: sweep.\"loss.type\" is a string"));
  CHECK(contains(error_of("\"loss.type\" = []\n"), "an empty list"));
  CHECK(contains(error_of("zipp = [{ \"a.b\" = [1] }]\n"), "did you mean 'zip'"));
  CHECK(contains(error_of("seeds = 0\n"), "expected 1 to 100000"));
  CHECK(contains(error_of("seeds = 222222222222222220\n"), "expected 1 to 100000"));
  CHECK(contains(error_of("seeds = 100000\n\"a.x\" = [1, 2]\n"), "makes more than 100000 cells"));
  CHECK(contains(error_of("seeds = [\"a\"]\n"), "expected integers"));
  CHECK(contains(error_of("zip = { \"a.x\" = [1, 2], \"a.y\" = [1] }\n"), "expected equal lengths"));
  CHECK(contains(error_of("\"a.x\" = [1]\nzip = { \"a.x\" = [1] }\n"), "swept twice"));
  CHECK(contains(error_of("\"a.x\" = [1, 1]\n"), "two cells are the same"));
  CHECK(contains(error_of("\"loss.type\" = [\"cm\"]\nexclude = [{ \"loss.tipe\" = \"cm\" }]\n"),
                 "did you mean 'loss.type'"));
  CHECK(contains(error_of("\"a.x\" = [1]\nexclude = [{ \"a.x\" = 1 }]\n"), "leaves no cell"));
  CHECK(contains(error_of("cells = [1]\n"), "expected tables"));
}
