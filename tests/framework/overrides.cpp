// One grammar for keys, in files and on the command line; and what a swap of a type leaves behind.
#include "sweep/overrides.h"

#include <algorithm>
#include <set>

#include "config/keys.h"
#include "config/layers.h"
#include "io/files.h"
#include "io/names.h"
#include "support/support.h"
#include "sweep/cells.h"

using namespace retort;
using namespace retort::test;

namespace {

Value with(const std::string& toml, const std::vector<std::string>& overrides) {
  Value config = parse_toml(toml, "test.toml");
  apply_overrides(config, overrides);
  return config;
}

std::string overridden(const std::string& assignment) { return with("", {assignment}).text(); }

std::string refusal(const std::string& assignment) {
  return request_error([&] { overridden(assignment); });
}

// The keys of a table that a swap left over.
std::string left_over(const Value& config, const std::string& table) {
  std::string out;
  for (const auto& [key, value] : at_path(config, table)->table()) {
    out += value.left_over ? (out.empty() ? "" : " ") + key : "";
  }
  return out;
}

size_t cells(const std::string& toml, const std::vector<std::string>& overrides) {
  return expand(with(toml, overrides)).size();
}

}  // namespace

TEST_CASE("a key is the same however it is spelled, and a file means by it what the command line means") {
  for (const char* spelling : {"loss.type", "loss.\"type\"", "\"loss\".type", "'loss'.'type'", "\"loss\" . \"type\""}) {
    CAPTURE(spelling);
    CHECK(split_key(spelling) == std::vector<std::string>{"loss", "type"});
    CHECK(overridden(std::string(spelling) + "=cm") == overridden("loss.type=cm"));
    CHECK(parse_toml(std::string(spelling) + " = \"cm\"", "x") == with("", {std::string(spelling) + "=cm"}));
  }
  CHECK(split_key("a.\"b.c=d\".'e'") == std::vector<std::string>{"a", "b.c=d", "e"});
  CHECK(join_key({"a", "b.c", "d e"}) == "a.\"b.c\".\"d e\"");
  for (const char* none : {"", ".", "a.", ".a", "a..b", "a b", "a.\"b", "[a]", "a\nb", "a#b", "a.b c"}) {
    CAPTURE(none);
    CHECK(contains(request_error([&] { split_key(none); }), "is no key; expected a dotted path"));
  }
}

TEST_CASE("the first = outside quotes divides, and a value that is no TOML is a string") {
  const std::pair<const char*, const char*> values[] = {
      {"a=1", "1"},
      {"a=1e-4", "1e-04"},
      {"a=true", "true"},
      {"a=word", "\"word\""},
      {"a=\"quoted\"", "\"quoted\""},
      {"a=", "\"\""},
      {"a=out/lr=0.1", "\"out/lr=0.1\""},
      {"a=user's run", "\"user's run\""},
      {"a=[1, 2]", "[1, 2]"},
      {"a=[1, 2", "\"[1, 2\""},
      {"a={ b = 1 }", "{ b = 1 }"},
      {"a=1#2", "\"1#2\""},
      {"a=\"1#2\"", "\"1#2\""},
      {"a=1\nb=2", "\"1\\u000ab=2\""},
      {"a=2024-01-01", "\"2024-01-01\""},
      {"a=C:\\x", "\"C:\\\\x\""},
      {"a=99999999999999999999", "\"99999999999999999999\""},
      {"a=\xd0\x9e", "\"\xd0\x9e\""},
  };
  for (const auto& [assignment, value] : values) {
    CAPTURE(assignment);
    CHECK(at_path(with("", {assignment}), "a")->text() == value);
  }
  CHECK(at_path(with("", {"a.\"x=y\".b=1"}), "a.\"x=y\".b")->text() == "1");
  CHECK(contains(refusal("nonsense"), "is no override; expected key=value"));
  CHECK(contains(refusal("=3"), "is no override"));
  CHECK(contains(refusal("a=\xff"), "is no valid UTF-8"));
  CHECK(contains(request_error([] { with("a = 3", {"a.b=1"}); }), "goes through an integer, which has no keys"));
}

TEST_CASE("a swap of a type marks the keys that were given beside the old one, and no others") {
  const std::string base = "[schedule]\ntype = \"karras\"\nsigma_max = 20.0\nsteps = 18\n";
  CHECK(left_over(with(base, {"schedule.type=uniform"}), "schedule") == "sigma_max steps");
  CHECK(left_over(with(base, {"schedule.type=karras"}), "schedule").empty());
  // What is given beside the swap is meant for the new type, in whatever order.
  CHECK(left_over(with(base, {"schedule.steps=3", "schedule.type=uniform"}), "schedule") == "sigma_max");
  CHECK(left_over(with(base, {"schedule={type=\"uniform\", steps=3}"}), "schedule").empty());
  // In a sweep, and by `extends`.
  const std::vector<Cell> swept =
      expand(with(base, {"sweep.schedule.type=[\"karras\", \"uniform\", { type = \"ddpm\", steps = 4 }]"}));
  REQUIRE(swept.size() == 3);
  CHECK(left_over(swept[0].config, "schedule").empty());
  CHECK(left_over(swept[1].config, "schedule") == "sigma_max steps");
  CHECK(left_over(swept[2].config, "schedule") == "sigma_max");
  CHECK(swept[2].name == "ddpm_steps=4");
  Folder folder;
  write_text(folder / "base.toml", base);
  write_text(folder / "own.toml", "extends = \"base.toml\"\n[schedule]\ntype = \"uniform\"\nt_max = 20.0\n");
  CHECK(left_over(read_config((folder / "own.toml").string()), "schedule") == "sigma_max steps");
}

TEST_CASE("keys of [sweep] are one key in every spelling, in the file and on the command line") {
  for (const char* written : {"\"loss.type\" = ", "loss.type = ", "loss.\"type\" = ", "\"loss\".type = "}) {
    for (const char* given :
         {"sweep.\"loss.type\"=", "sweep.loss.type=", "sweep.loss.\"type\"=", "\"sweep\".'loss'.type="}) {
      CAPTURE(written);
      CAPTURE(given);
      const std::string file = std::string("[sweep]\n") + written + "[\"a\", \"b\", \"c\"]\n";
      CHECK(cells(file, {}) == 3);
      CHECK(cells(file, {std::string(given) + "[\"a\", \"b\"]"}) == 2);
      CHECK(cells(file, {"loss.\"type\"=a"}) == 1);
    }
  }
  CHECK(cells("[sweep]\nseeds = 3\n", {"sweep.run.seed=[7, 8]"}) == 2);
  CHECK(cells("[sweep]\n\"run.seed\" = [7, 8]\n", {"sweep.seeds=5"}) == 5);
  CHECK(contains(request_error([] { cells("[sweep]\n\"a.b\" = [1]\na.b = [2]\n", {}); }), "\"a.b\" is swept twice"));
}

TEST_CASE("whatever is overridden is no longer swept, and no exclusion grows by it") {
  const std::string exclude =
      "[sweep]\n\"loss.type\" = [\"cm\", \"direct_cm\"]\n\"train.steps\" = [10, 20]\n"
      "exclude = [{ \"loss.type\" = \"direct_cm\", \"train.steps\" = 10 }]\n";
  CHECK(cells(exclude, {}) == 3);
  CHECK(cells(exclude, {"loss.type=cm"}) == 2);         // it speaks of direct_cm
  CHECK(cells(exclude, {"loss.type=direct_cm"}) == 1);  // and still does
  CHECK(cells(exclude, {"train.steps=20"}) == 2);
  CHECK(cells(exclude, {"train.steps=10"}) == 1);
  CHECK(cells(exclude, {"loss.type=direct_cm", "train.steps=10"}) == 1);  // asked for by name
  CHECK(cells(exclude, {"loss={type=\"cm\"}"}) == 2);                     // a table says all that is within it
  CHECK(cells("[sweep]\ncells = [{ \"a.x\" = 1 }, { \"a.x\" = 2, \"a.y\" = 3 }]\n", {"a.x=5"}) == 1);
  CHECK(cells("[sweep]\ncells = [{}, { \"a.x\" = 2 }]\n", {"b.x=5"}) == 2);
  CHECK(cells("[sweep]\nzip = { \"a.x\" = [1, 2], \"a.y\" = [3, 4] }\n", {"a={x=1, y=2}"}) == 1);
  CHECK(cells("[sweep]\n\"solver.type\" = [{ type = \"dpm\", order = 2 }, { type = \"dpm\", order = 3 }, \"heun\"]\n",
              {"solver.order=1"}) == 2);
}

TEST_CASE("cells are told apart by their values, and their names are whole characters") {
  const auto names = [](const std::string& list) {
    std::vector<std::string> out;
    for (const Cell& cell : expand(parse_toml("[sweep]\n\"dataset.folder\" = " + list + "\n", "test.toml"))) {
      out.push_back(cell.name);
    }
    return out;
  };
  const auto differ = [&](const std::string& list) {
    std::vector<std::string> all = names(list);
    std::sort(all.begin(), all.end());
    return std::adjacent_find(all.begin(), all.end()) == all.end();
  };
  const std::string longer(300, 'x');
  CHECK(differ("[\"a/b\", \"a-b\", \"a b\", \"a-b~1\"]"));
  CHECK(differ("[\"" + longer + "a\", \"" + longer + "b\"]"));
  CHECK(differ("[\"..\", \".\", \"-..\"]"));
  std::string numbers;
  for (int i = 0; i < 100; ++i) {
    numbers += "\xe6\x95\xb0";  // three bytes each
  }
  for (const std::string& name : names("[\"" + numbers + "\", \"a" + numbers + "\", \"aa" + numbers + "\"]")) {
    CHECK(name.size() <= 180);
    CHECK_NOTHROW(static_cast<void>(Value{name, {}}.text()));
    CHECK_NOTHROW(parse_toml("x = \"" + name + "\"", "x"));  // TOML is UTF-8
  }
  for (const std::string& name : names("[\"..\", \"/etc\", \"a\\nb\"]")) {
    CHECK(name.find('/') == std::string::npos);
    CHECK(name.front() != '.');
    CHECK(name.find('\n') == std::string::npos);
  }
  CHECK(file_name("plain,name=1", 60) == "plain,name=1");
  // Two axes may join to the same words.
  const std::vector<Cell> joined =
      expand(parse_toml("[sweep]\n\"a.x\" = [\"a\", \"a_b\"]\n\"a.y\" = [\"b_c\", \"c\"]\n", "x"));
  std::set<std::string> all;
  for (const Cell& cell : joined) {
    all.insert(cell.name);
  }
  CHECK(all.size() == 4);
}
