// Files of trackers: what stands in them, and what stays of it when a training goes on.
#include <cmath>
#include <limits>

#include "io/files.h"
#include "retort/tracker.h"
#include "shared/event_file.h"
#include "support/program.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

constexpr double none = std::numeric_limits<double>::quiet_NaN();

std::shared_ptr<Tracker> make(const std::string& name, const std::string& toml = "") {
  return TestHost().make_plugin<Tracker>(name, toml);
}

TrackedRun in(const Folder& folder) {
  return {"run", folder / "", parse_toml("[train]\nlearning_rate = 0.5\nema = 0\n[loss]\ntype = \"cm\"", "c.toml")};
}

}  // namespace

TEST_CASE("a table gains columns as numbers come up, and leaves open what is not finite") {
  Folder folder;
  const auto csv = make("csv");
  csv->begin(in(folder), 0);
  csv->log(10, {{"loss", 0.5}, {"evaluations", int64_t{64}}});
  csv->log(20, {{"loss", none}, {"evaluations", int64_t{128}}, {"a, b", 0.25, "diagnostics"}});
  csv->log(30, {{"evaluations", int64_t{192}}});
  const std::string whole = "step,loss,evaluations,diagnostics/a_ b\n10,0.5,64,\n20,,128,0.25\n30,,192,\n";
  CHECK(read_text(folder / "metrics.csv") == whole);
  // A process that was killed while it wrote a line.
  write_text(folder / "metrics.csv", whole + "40,0.1,2");
  const auto later = make("csv");
  later->begin(in(folder), 20);
  CHECK(read_text(folder / "metrics.csv") == whole.substr(0, whole.find("30,")));
  later->log(30, {{"evaluations", int64_t{192}}});
  CHECK(read_text(folder / "metrics.csv") == whole);
  later->end({{20, {{"fd", 3.0}}}, {30, {{"fd", 2.0}, {"fd/2 steps", 1.5}}}});
  CHECK(read_text(folder / "measured_metrics.csv") == "step,fd,fd/2 steps\n20,3.0,\n30,2.0,1.5\n");
}

TEST_CASE("files keep to the folder of the training") {
  for (const std::string file : {"", "a/b.csv", "../x.csv", "..", "config.toml", "metrics.jsonl"}) {
    CHECK_THROWS_WITH_AS(make("csv", "file = \"" + file + "\""), doctest::Contains("expected a name without folders"),
                         RequestError);
  }
  CHECK_THROWS_WITH_AS(make("tensorboard", "file = \"events\""), doctest::Contains("with \"tfevents\" in it"),
                       RequestError);
}

TEST_CASE("checksums are CRC-32C") {
  // RFC 3720, appendix B.4: 32 bytes of zeros have 0x8a9136aa; masked as TensorFlow does.
  const uint32_t crc = 0x8a9136aaU;
  CHECK(events::masked_crc(std::string(32, '\0')) == (crc >> 15 | crc << 17) + 0xa282ead8U);
}

TEST_CASE("an event file that is gone on with has no step twice, and drops half a record") {
  Folder folder;
  const auto board = make("tensorboard");
  board->begin(in(folder), 0);
  const std::filesystem::path file = folder / "events.out.tfevents.retort";
  board->log(10, {{"loss", 0.5}});
  const std::string until_10 = read_text(file);
  board->log(300, {{"loss", 0.25}});
  const std::string whole = read_text(file);
  for (const std::string& left : {whole, whole.substr(0, whole.size() - 3), until_10 + "xyz"}) {
    write_text(file, left);
    make("tensorboard")->begin(in(folder), 10);
    CHECK(read_text(file) == until_10);
  }
  make("tensorboard")->begin(in(folder), 0);
  CHECK(read_text(file).size() < until_10.size());
}

TEST_CASE("TensorBoard's own reader finds what was logged") {
  const std::string& python = python_that_imports("tensorboard");
  if (python.empty()) {
    return;
  }
  Folder folder;
  const auto board = make("tensorboard", "buckets = 4");
  board->begin(in(folder), 0);
  board->log(10, {{"loss", 0.5}, {"rate", none}, {"tangent", 2.0, "diagnostics"}});
  board->log(20, {{"loss", 0.25}});
  board->begin(in(folder), 10);
  board->log(20, {{"loss", 0.125}});
  board->pictures(20, "samples", at::full({2, 3, 4, 6}, 0.5));
  board->histogram(20, "weights", at::tensor({0.0, 1.0, 2.0, 4.0, 4.0}));
  board->end({{10, {{"fd", 9.0}}}, {20, {{"fd", 3.0}}}});
  board->end({{10, {{"fd", 9.0}}}, {20, {{"fd", 3.0}}}});
  const Outcome out =
      shell("'" + python + "' '" + source_dir() + "/tests/support/python/events.py' '" + folder.string() + "'");
  CAPTURE(out.output);
  CHECK(out.code == 0);
}

TEST_CASE("a tracker in Python is told all, and its mistakes are one line") {
  Folder folder;
  write_text(folder / "t.py", R"(
import json
class Tracker:
    def begin(self, run, from_step):
        self.file = run["folder"] + "/told"
        self.tell("begin", run["name"], run["config"], from_step)
    def tell(self, *what):
        open(self.file, "a").write(json.dumps(what) + "\n")
    def log(self, step, numbers):
        self.tell("log", step, numbers)
        if step == 13:
            raise ValueError("no luck")
    def pictures(self, step, name, pictures):
        self.tell("pictures", step, name, list(pictures.shape))
    def end(self, measured):
        self.tell("end", measured)
)");
  const std::string toml = "file = \"" + (folder / "t.py").string() + "\"";
  std::shared_ptr<Tracker> tracker;
  try {
    tracker = make("python", toml);
  } catch (const RequestError& e) {
    if (contains(e.what(), "without Python") || contains(e.what(), "cannot be used")) {
      MESSAGE("left out: " << e.what());
      return;
    }
    throw;
  }
  tracker->begin(in(folder), 0);
  tracker->log(10, {{"loss", 0.5}, {"rate", none}, {"tangent", int64_t{2}, "diagnostics"}});
  tracker->pictures(10, "samples", at::zeros({2, 1, 3, 3}));
  tracker->histogram(10, "weights", at::zeros({3}));  // which it does not ask for
  tracker->end({{10, {{"fd", 3.0}}}});
  CHECK(read_text(folder / "told") ==
        "[\"begin\", \"run\", {\"train\": {\"learning_rate\": 0.5, \"ema\": 0}, \"loss\": {\"type\": \"cm\"}}, 0]\n"
        "[\"log\", 10, {\"loss\": 0.5, \"diagnostics/tangent\": 2}]\n"
        "[\"pictures\", 10, \"samples\", [2, 1, 3, 3]]\n"
        "[\"end\", [[10, {\"fd\": 3.0}]]]\n");
  CHECK_THROWS_WITH_AS(tracker->log(13, {}), doctest::Contains("t.py:12: ValueError: no luck"), Error);
  write_text(folder / "u.py", "class Tracker:\n    pass\n");
  CHECK_THROWS_WITH_AS(make("python", "file = \"" + (folder / "u.py").string() + "\""),
                       doctest::Contains("has no method 'log'; expected log(self, step, numbers)"), RequestError);
}
