#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {
struct Widget {
  explicit Widget(Params& p)
      : size(p.get("size", 3, "how large", between(1, 9))),
        rate(p.get("rate", 0.5, "how fast", more_than(0))),
        kind(p.choice("kind", "round", {"round", "square"}, "which")),
        list(p.get("list", std::vector<double>{1, 2}, "some")) {}
  int64_t size;
  double rate;
  std::string kind;
  std::vector<double> list;
};

std::string error_of(const std::string& toml) {
  return request_error([&] {
    const Value table = parse_toml(toml, "a.toml");
    Params p(table, "widget", nullptr);
    Widget w(p);
    p.finish();
  });
}
}  // namespace

TEST_CASE("values are read with their types, and defaults fill the rest") {
  const Value table = parse_toml("size = 7\nrate = 2\nlist = [3, 4.5]", "a.toml");
  Params p(table, "widget", nullptr);
  const Widget w(p);
  p.finish();
  CHECK(w.size == 7);
  CHECK(w.rate == 2.0);
  CHECK(w.kind == "round");
  CHECK(w.list == std::vector<double>{3, 4.5});
  CHECK(p.resolved().text() == R"({ size = 7, rate = 2.0, kind = "round", list = [3.0, 4.5] })");
}

TEST_CASE("a mistake is one line with file, line, key, what was expected and the nearest name") {
  CHECK(contains(error_of("\nsise = 4"), "a.toml:2: unknown key 'widget.sise'; did you mean 'size'?"));
  CHECK(contains(error_of("size = 4.5"), "a.toml:1: widget.size: is a number, 4.5; expected integer"));
  CHECK(contains(error_of("size = \"4\""), "is a string, \"4\"; expected integer"));
  CHECK(contains(error_of("size = 12"), "12 is out of range; expected 1 to 9"));
  CHECK(contains(error_of("rate = 0"), "0 is out of range; expected > 0"));
  CHECK(contains(error_of("rate = nan"), "nan is out of range"));
  CHECK(contains(error_of("kind = \"sqare\""),
                 "'sqare' is unknown; expected one of 'round', 'square'; did you mean 'square'?"));
  CHECK(contains(error_of("list = [1, \"b\"]"), "expected list of numbers"));
  CHECK(error_of("size = 12").find('\n') == std::string::npos);
}

TEST_CASE("describing mode records every parameter and reads nothing") {
  Params p = Params::describing();
  const Widget w(p);
  REQUIRE(p.described().size() == 4);
  CHECK(p.described()[0].name == "size");
  CHECK(p.described()[0].type == "integer");
  CHECK(p.described()[0].default_value == "3");
  CHECK(p.described()[0].range == "1 to 9");
  CHECK(p.described()[2].choices == std::vector<std::string>{"round", "square"});
}

TEST_CASE("a required key says what it is for") {
  const std::string message = request_error([] {
    const Value table = parse_toml("", "a.toml");
    Params p(table, "grid", nullptr);
    p.require("times", std::vector<double>{1, 0}, "falling times");
  });
  CHECK(contains(message, "grid.times: missing; expected list of numbers, for example [1.0, 0.0] (falling times)"));
}

TEST_CASE("relative paths count from the file that holds them") {
  const Value table = parse_toml("file = \"b/c.bin\"", "some/where/a.toml");
  Params p(table, "t", nullptr);
  CHECK(p.path("file", "", "") == "some/where/b/c.bin");
}

TEST_CASE("every plugin describes itself") {
  for (const PluginFile& file : registry().files()) {
    CAPTURE(file.name);
    const PluginDescription d = registry().describe(file);
    CHECK(d.about.size() > 30);
    for (const ParamInfo& p : d.params) {
      CAPTURE(p.name);
      CHECK(!p.doc.empty());
      CHECK(!p.type.empty());
    }
  }
}
