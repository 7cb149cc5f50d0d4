#include "sweep/statistics.h"

#include <cmath>
#include <random>

#include "support/support.h"
#include "sweep/gather.h"

using namespace retort;
using namespace retort::test;

TEST_CASE("the interval of a mean holds the truth about as often as it says, for few values too") {
  // 8 and 5 values of a normal and of a skewed distribution with known means.
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal(3.0, 2.0);
  std::exponential_distribution<double> skewed(1.0);
  const auto covered = [&](auto& distribution, double truth, size_t n) {
    constexpr int trials = 300;
    int inside = 0;
    for (int i = 0; i < trials; ++i) {
      std::vector<double> values(n);
      for (double& v : values) {
        v = distribution(random);
      }
      const Interval interval = bootstrap_mean(values);
      inside += interval.low <= truth && truth <= interval.high ? 1 : 0;
    }
    return static_cast<double>(inside) / trials;
  };
  const double eight = covered(normal, 3.0, 8), five = covered(normal, 3.0, 5), bent = covered(skewed, 1.0, 8);
  MESSAGE("coverage: 8 normal " << eight << ", 5 normal " << five << ", 8 exponential " << bent);
  CHECK(eight > 0.90);
  CHECK(eight < 0.985);
  CHECK(five > 0.86);
  CHECK(bent > 0.82);
}

TEST_CASE("an interval moves and stretches with its values, and narrows with their number") {
  const std::vector<double> values = {1.0, 2.5, 0.5, 4.0, 3.0, 2.0};
  std::vector<double> other, twice = values;
  for (const double v : values) {
    other.push_back(10 * v - 3);
  }
  twice.insert(twice.end(), values.begin(), values.end());
  const Interval a = bootstrap_mean(values), b = bootstrap_mean(other), c = bootstrap_mean(twice);
  CHECK(a.mean == doctest::Approx(13.0 / 6));
  CHECK(b.mean == doctest::Approx(10 * a.mean - 3));
  CHECK(b.low == doctest::Approx(10 * a.low - 3));
  CHECK(b.high == doctest::Approx(10 * a.high - 3));
  CHECK(c.high - c.low < a.high - a.low);
  CHECK(a.low < a.mean);
  CHECK(a.mean < a.high);
  const Interval one = bootstrap_mean({7});
  CHECK(one.low == 7);
  CHECK(one.high == 7);
  CHECK(bootstrap_mean({}).count == 0);
}

TEST_CASE("a verdict needs an interval beside zero and enough seeds") {
  CHECK(verdict(bootstrap_mean({1.0, 1.1, 0.9, 1.2, 1.0})) == 1);
  CHECK(verdict(bootstrap_mean({-1.0, -1.1, -0.9, -1.2, -1.0})) == -1);
  CHECK(verdict(bootstrap_mean({-1.0, 1.1, -0.9, 1.2, 0.1})) == 0);
  CHECK(verdict(bootstrap_mean({1.0, 1.1, 0.9, 1.2})) == 0);
}

TEST_CASE("differences are paired by seed, within equal settings") {
  Json rows = Json::array();
  const auto add = [&](const char* loss, int64_t steps, int64_t seed, double value) {
    rows.push_back({{"cell", "c"},
                    {"swept", {{"loss.type", loss}, {"train.steps", steps}, {"run.seed", seed}}},
                    {"train_steps", steps},
                    {"student_steps", 1},
                    {"metrics", {{"fd", value}}}});
  };
  for (int64_t seed = 0; seed < 6; ++seed) {
    const double noise = static_cast<double>(seed) * 10;  // far greater than the differences
    add("cm", 100, seed, noise);
    add("direct_cm", 100, seed, noise + 1 + 0.01 * static_cast<double>(seed));
    add("cm", 200, seed, noise);
    add("direct_cm", 200, seed, noise - 2 - 0.01 * static_cast<double>(seed));
  }
  add("cm", 200, 99, 1e6);  // has no partner
  const Json statistics = statistics_of(rows_from(rows), "loss.type");
  REQUIRE(statistics["differences"].size() == 2);
  const Json& first = statistics["differences"][0]["metrics"]["fd"];
  CHECK(first["mean"].get<double>() == doctest::Approx(1.025));
  CHECK(first["verdict"] == 1);
  CHECK(statistics["differences"][1]["metrics"]["fd"]["mean"].get<double>() == doctest::Approx(-2.025));
  CHECK(statistics["differences"][1]["metrics"]["fd"]["verdict"] == -1);
  CHECK(statistics["differences"][1]["metrics"]["fd"]["n"] == 6);
  REQUIRE(statistics["groups"].size() == 4);
  CHECK(statistics["groups"][0]["metrics"]["fd"]["n"] == 6);
}

TEST_CASE("seeds that failed are told of, and no order is claimed of those that are left") {
  Json rows = Json::array(), cells = Json::array();
  for (int64_t seed = 0; seed < 8; ++seed) {
    for (const char* loss : {"cm", "direct_cm"}) {
      const Json values = {{"loss.type", loss}, {"run.seed", seed}};
      cells.push_back({{"values", values}});
      if (seed < 6 || loss[0] == 'c') {  // two of direct_cm's have failed
        rows.push_back({{"swept", values},
                        {"train_steps", 100},
                        {"student_steps", 1},
                        {"metrics", {{"fd", static_cast<double>(seed) + (loss[0] == 'c' ? 0.0 : 1.0)}}}});
      }
    }
  }
  const Json all = statistics_of(rows_from(rows), "loss.type", cells);
  CHECK(all["groups"][0]["metrics"]["fd"]["of"] == 8);
  CHECK(all["groups"][0]["metrics"]["fd"]["n"] == 8);
  CHECK(all["groups"][1]["metrics"]["fd"]["of"] == 8);
  CHECK(all["groups"][1]["metrics"]["fd"]["n"] == 6);
  const Json& difference = all["differences"][0]["metrics"]["fd"];
  CHECK(difference["n"] == 6);
  CHECK(difference["of"] == 8);
  CHECK(difference["low"].get<double>() > 0.5);
  CHECK(difference["verdict"] == 0);
}
