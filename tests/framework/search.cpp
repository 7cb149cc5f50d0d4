// [sweep.search]: what is drawn, and what is refused.
#include <cmath>
#include <set>

#include "config/toml.h"
#include "retort/error.h"
#include "support/support.h"
#include "sweep/cells.h"
#include "sweep/overrides.h"
#include "sweep/search.h"

using namespace retort;
using namespace retort::test;

namespace {

std::vector<Cell> cells_of(const std::string& sweep) { return expand(parse_toml("[sweep]\n" + sweep, "search.toml")); }

double number(const Cell& cell, const std::string& key) {
  const Value& value = *cell.values.find(key);
  const int64_t* whole = std::get_if<int64_t>(&value.data);
  return whole != nullptr ? static_cast<double>(*whole) : std::get<double>(value.data);
}

std::string fault(const std::string& sweep) {
  try {
    cells_of(sweep);
  } catch (const RequestError& e) {
    return e.what();
  }
  return "";
}

const std::string rates = "\"train.learning_rate\" = { min = 1e-5, max = 1e-1, log = true }\n";

}  // namespace

TEST_CASE("numbers are drawn within their ranges, by their logarithm where that is asked for") {
  for (const char* type : {"random", "sobol", "halving"}) {
    CAPTURE(std::string(type));
    const std::vector<Cell> cells =
        cells_of(rates + "\"train.batch\" = { min = 3, max = 6 }\n\"train.ema\" = { min = 0.0, max = 0.5 }\n" +
                 "\"loss.type\" = [\"a\", \"b\", { type = \"c\", steps = 2 }]\n" +
                 "search = { trials = 400, by = \"fd\", type = \"" + type + "\" }");
    REQUIRE(cells.size() == 400);
    std::set<double> batches;
    std::map<std::string, int> losses;
    int low = 0, below = 0;
    for (const Cell& cell : cells) {
      const double rate = number(cell, "train.learning_rate"), ema = number(cell, "train.ema");
      CHECK((rate >= 1e-5 && rate <= 1e-1));
      CHECK((ema >= 0 && ema <= 0.5));
      CHECK(std::holds_alternative<int64_t>(cell.values.find("train.batch")->data));
      batches.insert(number(cell, "train.batch"));
      const auto loss = std::get<std::string>(cell.values.find("loss.type")->data);
      losses[loss] += 1;
      CHECK((cell.values.find("loss.steps") != nullptr) == (loss == "c"));
      low += rate < 1e-3 ? 1 : 0;  // half of the decades
      below += ema < 0.25 ? 1 : 0;
    }
    CHECK(batches == std::set<double>{3, 4, 5, 6});
    const int apart = std::string(type) == "random" ? 60 : 8;  // three deviations of 400 tosses, or nearly even
    CHECK(std::abs(low - 200) <= apart);
    CHECK(std::abs(below - 200) <= apart);
    for (const auto& [loss, count] : losses) {
      CHECK(std::abs(count - 133) <= apart);
    }
  }
}

TEST_CASE("Sobol's points fill each range evenly: of 2^m draws one lies in each of 2^m parts") {
  for (const int seed : {0, 1, 7}) {
    const std::vector<Cell> cells = cells_of(
        "\"train.ema\" = { min = 0.0, max = 1.0 }\n\"train.beta2\" = { min = 0.0, max = 1.0 }\n"
        "search = { type = \"sobol\", trials = 64, seed = " +
        std::to_string(seed) + " }");
    for (const char* key : {"train.ema", "train.beta2"}) {
      std::vector<int> parts(64);
      for (const Cell& cell : cells) {
        parts[static_cast<size_t>(std::min(63.0, number(cell, key) * 64))] += 1;
      }
      // Draws are rounded to four digits, which may move one across a border.
      CHECK(std::count(parts.begin(), parts.end(), 1) >= 60);
    }
  }
}

TEST_CASE("the same seed draws the same, more trials add to fewer, and another seed draws others") {
  const auto names = [](const std::string& keys) {
    std::vector<std::string> out;
    for (const Cell& cell : cells_of(rates + "search = { " + keys + " }")) {
      out.push_back(cell.values.text());
    }
    return out;
  };
  for (const std::string type : {"type = \"random\", ", "type = \"sobol\", "}) {
    const std::vector<std::string> few = names(type + "trials = 5"), many = names(type + "trials = 20");
    CHECK(few.size() == 5);
    CHECK(std::equal(few.begin(), few.end(), many.begin()));
    CHECK(names(type + "trials = 5") == few);
    CHECK(names(type + "trials = 5, seed = 1") != few);
  }
}

TEST_CASE("of a narrow range as many different numbers are drawn as of a wide one") {
  for (const char* range : {"min = 0.999, max = 0.9999", "min = 1.0, max = 1.00001", "min = 1e-9, max = 1e9"}) {
    CAPTURE(std::string(range));
    CHECK(cells_of("\"train.ema\" = { " + std::string(range) + " }\nsearch = { trials = 50 }").size() == 50);
  }
}

TEST_CASE("each draw is tried on all seeds; exclusions are drawn again; few places give few cells") {
  const std::vector<Cell> cells = cells_of(rates + "seeds = 3\nsearch = { trials = 4 }");
  REQUIRE(cells.size() == 12);
  CHECK(*cells[0].values.find("train.learning_rate") == *cells[2].values.find("train.learning_rate"));
  CHECK(!(*cells[2].values.find("train.learning_rate") == *cells[3].values.find("train.learning_rate")));
  const std::string lists = "\"loss.type\" = [\"a\", \"b\"]\n\"train.steps\" = [1, 2, 3]\n";
  CHECK(cells_of(lists + "search = \"random\"").size() == 6);
  for (const Cell& cell : cells_of(lists + "exclude = { \"loss.type\" = \"b\" }\nsearch = { trials = 3 }")) {
    CHECK(std::get<std::string>(cell.values.find("loss.type")->data) == "a");
  }
  CHECK(cells_of(lists + "exclude = { \"loss.type\" = \"b\" }\nsearch = { trials = 3 }").size() == 3);
}

TEST_CASE("what is wrong in a search is one line, with what was expected") {
  const auto says = [](const std::string& sweep, const std::string& what) {
    const std::string line = fault(sweep);
    CAPTURE(line);
    CHECK(line.find(what) != std::string::npos);
    CHECK(line.find('\n') == std::string::npos);
  };
  says(rates, "is a range; expected a list of values, or [sweep.search]");
  says(rates + "search = \"sobel\"", "did you mean 'sobol'");
  says(rates + "search = 3", "sweep.search is an integer; expected a table");
  says(rates + "search = { trails = 3 }", "did you mean 'trials'");
  says(rates + "search = { trials = 0 }", "sweep.search.trials");
  says(rates + "search = \"halving\"", "expected the metric by which halving chooses");
  says(rates + "search = \"random\"\ntune = { \"train.batch\" = [1, 2], seeds = [1], by = \"fd\" }",
       "expected one of them");
  says("\"train.ema\" = { min = 1.0, max = 0.5 }\nsearch = \"random\"", "min below max");
  says("\"train.ema\" = { min = 0.0, max = 0.5, log = true }\nsearch = \"random\"", "above 0 for log");
  says("\"train.ema\" = { min = 0.0 }\nsearch = \"random\"", "has no max");
  says("\"train.ema\" = { min = \"a\", max = 1 }\nsearch = \"random\"", "has no number as min");
  says("\"train.ema\" = { min = 0.0, max = 1.0, lg = true }\nsearch = \"random\"", "did you mean 'log'");
  says("\"train.ema\" = { min = 0.0, max = 1.0, log = 1 }\nsearch = \"random\"", "expected true or false");
}

TEST_CASE("a search's words can be given on the command line, and a range that is given there is no longer drawn") {
  Value config = parse_toml(
      "[train]\nema = 0.5\n[sweep]\n" + rates + "\"train.batch\" = [8, 16, 32]\nsearch = \"sobol\"", "search.toml");
  apply_overrides(config, {"sweep.search.trials=5"});
  CHECK(expand(config).size() == 5);
  apply_overrides(config, {"train.learning_rate=1e-3"});
  for (const Cell& cell : expand(config)) {
    CHECK(cell.values.find("train.learning_rate") == nullptr);
  }
  apply_overrides(config, {"train.batch=8"});
  CHECK(expand(config).size() == 1);
}
