#include <ATen/ATen.h>
#include <unistd.h>

#include <filesystem>
#include <limits>

#include "retort/tracker.h"
#include "world.h"

namespace retort::conformance {

namespace {

namespace fs = std::filesystem;

// A folder that goes when the check is over.
class Temporary {
 public:
  Temporary() {
    static int count = 0;
    path_ = fs::temp_directory_path() / ("retort-check-" + std::to_string(getpid()) + "-" + std::to_string(count++));
    fs::create_directories(path_);
  }
  ~Temporary() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  const fs::path& path() const { return path_; }

  /// Bytes of all files in it.
  uintmax_t size() const {
    uintmax_t out = 0;
    for (const auto& entry : fs::recursive_directory_iterator(path_)) {
      out += entry.is_regular_file() ? entry.file_size() : 0;
    }
    return out;
  }

 private:
  fs::path path_;
};

Scalars numbers(int64_t step) {
  return {{"loss", 1 / static_cast<double>(step)}, {"teacher_evaluations", step * 64}, {"tangent", 0.5, "diagnostics"}};
}

TrackedRun in(const Temporary& folder) {
  Value config;
  config["train"]["steps"] = Value{int64_t{30}, {}};
  config["loss"]["type"] = Value{std::string("cm"), {}};
  return {"check", folder.path(), config};
}

}  // namespace

void check_tracker(const Subject& subject, Findings& out) {
  const ExactTeacher teacher(make_process("rectified_flow"), {2});
  World world(teacher.process(), {{2}}, subject.host);
  const auto build = [&] { return world.build<Tracker>(subject); };
  std::shared_ptr<Tracker> tracker;
  out.run("is built", [&] { tracker = build(); });
  if (!tracker) {
    return;
  }
  const Temporary folder;
  bool keeps_files = false;
  out.run("takes numbers", [&] {
    tracker->begin(in(folder), 0);
    const uintmax_t before = folder.size();
    for (const int64_t step : {10, 20}) {
      tracker->log(step, numbers(step));
    }
    keeps_files = folder.size() > before;  // at once, so that they outlive the process
    out.add("takes numbers", true, keeps_files ? "keeps them in the run's folder" : "passes them on", "");
  });
  out.run("a step that comes again is kept once", [&] {
    const uintmax_t until_20 = folder.size();
    tracker->log(30, numbers(30));
    const uintmax_t whole = folder.size();
    const std::shared_ptr<Tracker> later = build();  // of a process that goes on
    later->begin(in(folder), 20);
    const uintmax_t back = folder.size();
    later->log(30, numbers(30));
    out.add("a step that comes again is kept once", back == until_20 && folder.size() == whole,
            std::to_string(until_20) + " bytes to step 20, " + std::to_string(whole) + " to step 30; gone on with " +
                std::to_string(back) + ", " + std::to_string(folder.size()),
            "the same sizes");
    tracker = later;
  });
  out.run("what is not finite", [&] {
    tracker->log(40, {{"loss", std::numeric_limits<double>::quiet_NaN()},
                      {"gradient_norm", std::numeric_limits<double>::infinity()}});
    out.add("what is not finite", true, "is taken", "");
  });
  out.run("pictures and distributions", [&] {
    for (const int64_t channels : {1, 3}) {
      const Tensor pictures = at::rand({2, channels, 5, 4}, seeded(3, "pictures"), at::kFloat);
      const Tensor values = at::randn({50}, seeded(4, "values"), at::kFloat);
      Given given;
      given("pictures", pictures);
      given("values", values);
      tracker->pictures(40, "samples", pictures);
      tracker->histogram(40, "weights", values);
      tracker->histogram(40, "weights", at::zeros({3}));
      given.check(out);
    }
    out.add("pictures and distributions", true, "are taken, of one channel and of three", "");
  });
  out.run("an end that comes again", [&] {
    const std::vector<Measured> measured = {{20, {{"fd", 3.5}}}, {40, {{"fd", 2.5}, {"fd/4 steps", 2.25}}}};
    tracker->end(measured);
    const uintmax_t once = folder.size();
    tracker->end(measured);
    out.add("an end that comes again", folder.size() == once,
            std::to_string(once) + " bytes, then " + std::to_string(folder.size()), "it stands for the earlier one");
  });
  out.run("begins anew", [&] {
    const std::shared_ptr<Tracker> again = build();
    const Temporary other;
    again->begin(in(other), 0);
    const uintmax_t empty = other.size();
    again->log(10, numbers(10));
    again->begin(in(other), 0);
    out.add("begins anew", other.size() == empty,
            std::to_string(empty) + " bytes, then " + std::to_string(other.size()), "nothing of the earlier training");
  });
}

}  // namespace retort::conformance
