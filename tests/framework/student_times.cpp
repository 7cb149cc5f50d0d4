// The search for a sampler's times: functions whose least values are known.
#include "sample/student_times.h"

#include <cmath>

#include "support/support.h"

using namespace retort;
using namespace retort::test;

TEST_CASE("the search finds the times at which a function is least") {
  for (const char* process_toml : {"type = \"ve\"", "type = \"vp_linear\"", "type = \"rectified_flow\""}) {
    CAPTURE(std::string(process_toml));
    TestHost host(process_toml);
    const Process& process = host.process();
    const double wanted[] = {1.2, 0.1, -1.5};
    // Each time is pulled to a place of its own, and a little towards its neighbour.
    const auto value = [&](const Tensor& times) {
      const Tensor lambda = process.lambda(times);
      double out = 0;
      for (int64_t k = 1; k < 4; ++k) {
        out += std::pow(lambda[k].item<double>() + wanted[k - 1], 2);
      }
      return out + 0.1 * std::pow(lambda[2].item<double>() - lambda[1].item<double>() - 1.1, 2);
    };
    const Tensor begin = process.time(times({-5, -2.5, -0.5, 1, 5}));
    int64_t rounds = 0;
    double last = value(begin);
    const Tensor found = search_sampler_times(process, begin, 6, value, [&](int64_t round, double now) {
      rounds = round;
      CHECK(now <= last);
      last = now;
    });
    CHECK(rounds > 1);
    CHECK(value(found) == doctest::Approx(last));
    CHECK(last < 0.02);
    CHECK(found[0].item<double>() == begin[0].item<double>());
    CHECK(found[-1].item<double>() == begin[-1].item<double>());
    CHECK(found.diff().max().item<double>() < 0);
  }
}

TEST_CASE("where no other times are better, they stay as they are") {
  TestHost host;
  const Tensor begin = times({10, 3, 1, 0});
  const Tensor found = search_sampler_times(
      host.process(), begin, 3, [](const Tensor&) { return 1.0; }, [](int64_t, double) {});
  CHECK(at::equal(found, begin));
}

TEST_CASE("on a table of steps the times found are steps") {
  TestHost host("type = \"betas\"\nnum_train_timesteps = 1000");
  const Process& process = host.process();
  const Tensor begin = times({1000, 700, 300, 0});
  // Least far beyond both ends of what the network knows.
  for (const double sign : {-1.0, 1.0}) {
    const Tensor found = search_sampler_times(
        process, begin, 3, [&](const Tensor& t) { return sign * (t[1] + t[2]).item<double>(); },
        [](int64_t, double) {});
    CHECK(at::equal(found, found.round()));
    CHECK(found.diff().max().item<double>() < 0);
    CHECK(found[2].item<double>() >= 1);
  }
}
