#include "train/budget.h"

#include <limits>

#include "support/support.h"
#include "train/optimizer.h"

using namespace retort;
using namespace retort::test;

namespace {

TrainSettings settings(const std::string& toml) {
  const Value table = parse_toml(toml, "test.toml");
  Params p(table, "train", nullptr);
  return TrainSettings(p);
}

TrainingRecord after(int64_t step, int64_t evaluations, double seconds) { return {step, evaluations, 0, seconds}; }

}  // namespace

TEST_CASE("what runs out first ends a training") {
  const TrainSettings s = settings("steps = 100\nevaluations = 1000\nseconds = 10.0\n");
  const Budget budget(s);
  CHECK(!budget.counts_steps_alone());
  CHECK(!budget.is_over(after(99, 999, 9.9)));
  CHECK(budget.is_over(after(100, 0, 0)));
  CHECK(budget.is_over(after(1, 1000, 0)));
  CHECK(budget.is_over(after(1, 0, 10)));
  CHECK(budget.progress(after(10, 500, 1)) == 0.5);
  CHECK(budget.progress(after(10, 50, 8)) == 0.8);
  CHECK(budget.progress(after(90, 50, 8)) == 0.9);
  CHECK(budget.spent(after(90, 0, 0)) == 0);
  CHECK(budget.text() == "at most 100 steps, 1000 teacher evaluations, 10.0 s");
}

TEST_CASE("steps alone end a training where nothing else is said, in stages that tile it") {
  const TrainSettings s = settings("steps = 100\n");
  const Budget budget(s);
  CHECK(budget.counts_steps_alone());
  CHECK(!budget.is_over(after(99, 1000000, 1e9)));
  CHECK(budget.spent(after(50, 10, 10)) == 0);
  CHECK(budget.text() == "100 steps");
  int64_t steps_of[3] = {0, 0, 0};
  for (int64_t step = 0; step < 100; ++step) {
    steps_of[budget.stage(after(step, 0, 0), 3)] += 1;
  }
  CHECK(steps_of[0] == 34);
  CHECK(steps_of[1] == 33);
  CHECK(steps_of[2] == 33);
}

TEST_CASE("stages and the cosine follow what is spent") {
  const TrainSettings s = settings("steps = 1000\nevaluations = 1000\nlearning_rate = 1.0\nlr_schedule = \"cosine\"\n");
  const Budget budget(s);
  CHECK(budget.stage(after(1, 0, 0), 4) == 0);
  CHECK(budget.stage(after(1, 600, 0), 4) == 2);
  CHECK(budget.stage(after(1, 999, 0), 4) == 3);
  const Optimizer optimizer({}, s);
  CHECK(optimizer.rate(0, 0) == doctest::Approx(1.0));
  CHECK(optimizer.rate(10, 0.5) == doctest::Approx(0.5));
  CHECK(optimizer.rate(500, 0.1) == doctest::Approx(0.5));
  CHECK(optimizer.rate(10, 1) == doctest::Approx(0.0));
}
