// The log in lines of JSON.
#include "track/json_lines.h"

#include <limits>

#include "io/files.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {
TrackedRun in(const Folder& folder) { return {"test", folder / "", {}}; }
}  // namespace

TEST_CASE("a line of a log has whole numbers, numbers, nulls and groups, in order") {
  Folder folder;
  JsonLines sink;
  sink.begin(in(folder), 0);
  CHECK(read_text(folder / JsonLines::file_name).empty());
  sink.log(3, {{"loss", std::numeric_limits<double>::quiet_NaN()},
               {"rate", 1.0},
               {"evaluations", int64_t{64}},
               {"b", 0.5, "diagnostics"},
               {"a", 0.25, "diagnostics"}});
  CHECK(read_text(folder / JsonLines::file_name) ==
        R"({"step":3,"loss":null,"rate":1.0,"evaluations":64,"diagnostics":{"b":0.5,"a":0.25}})"
        "\n");
}

TEST_CASE("a log that is gone on with forgets the steps that come again, and what is half written") {
  Folder folder;
  JsonLines sink;
  sink.begin(in(folder), 0);
  for (const int64_t step : {10, 20, 30}) {
    sink.log(step, {{"loss", 0.1 * static_cast<double>(step)}});
  }
  const std::string whole = read_text(folder / JsonLines::file_name);
  const std::string until_20 = whole.substr(0, whole.find("{\"step\":30"));
  write_text(folder / JsonLines::file_name, whole + "[1]\n{\"step\":\"5\"}\n{\"step\":4");
  JsonLines again;
  again.begin(in(folder), 20);
  CHECK(read_text(folder / JsonLines::file_name) == until_20);
  again.log(30, {{"loss", 0.1 * 30.0}});
  CHECK(read_text(folder / JsonLines::file_name) == whole);
  again.begin(in(folder), 0);
  CHECK(read_text(folder / JsonLines::file_name).empty());
}

TEST_CASE("a log that cannot be written says which file") {
  Folder folder;
  JsonLines sink;
  sink.begin(in(folder), 0);
  std::filesystem::remove(folder / JsonLines::file_name);
  std::filesystem::create_directory(folder / JsonLines::file_name);
  CHECK_THROWS_WITH_AS(sink.log(1, {}), doctest::Contains("metrics.jsonl: cannot be written"), Error);
}
