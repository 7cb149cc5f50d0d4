#include "support/support.h"

using namespace retort;
using namespace retort::test;

TEST_CASE("karras is equation 5 of Karras et al. with zero appended") {
  TestHost host;
  const Tensor t = host.make_plugin<Schedule>("karras", "steps = 18")->times(host.process());
  REQUIRE(t.size(0) == 19);
  CHECK(t[0].item<double>() == doctest::Approx(80));
  CHECK(t[17].item<double>() == doctest::Approx(0.002));
  CHECK(t[18].item<double>() == 0);
  const double from = std::pow(80, 1 / 7.0), to = std::pow(0.002, 1 / 7.0);
  CHECK(t[5].item<double>() == doctest::Approx(std::pow(from + 5 / 17.0 * (to - from), 7)));
}

TEST_CASE("ddpm is the paper's grid: 1000, 990, …, 10, 0") {
  TestHost host("type = \"vp_scaled_linear\"");
  const Tensor t = host.make_plugin<Schedule>("ddpm", "steps = 100")->times(host.process());
  CHECK(t.size(0) == 101);
  CHECK(at::equal(t, at::arange(1000, -1, -10, at::kDouble)));
}

TEST_CASE("every schedule falls strictly on every process, from the noisier end to the cleaner") {
  for (const char* process : {"type = \"ve\"", "type = \"vp_linear\"", "type = \"vp_scaled_linear\"",
                              "type = \"vp_cosine\"", "type = \"rectified_flow\""}) {
    TestHost host(process);
    for (const auto& [name, toml] : {std::pair("karras", "sigma_max = 10"), std::pair("log_snr", "sigma_max = 10"),
                                     std::pair("uniform", ""), std::pair("ddpm", "steps = 50")}) {
      CAPTURE(std::string(process));
      CAPTURE(std::string(name));
      const Tensor t = host.make_plugin<Schedule>(name, toml)->times(host.process());
      CHECK((t.diff() < 0).all().item<bool>());
      CHECK(t[-1].item<double>() >= 0);
    }
  }
}

TEST_CASE("log_snr is even in lambda") {
  TestHost host("type = \"vp_linear\"");
  const Tensor t =
      host.make_plugin<Schedule>("log_snr", "steps = 10\nsigma_max = 20\nfinal_zero = false")->times(host.process());
  const Tensor gaps = host.process().lambda(t).diff();
  CHECK(most(gaps - gaps[0]) < 1e-9);
}

TEST_CASE("a range upside down is refused") {
  TestHost host;
  CHECK(contains(request_error([&] { host.make_plugin<Schedule>("karras", "sigma_min = 5\nsigma_max = 1"); }),
                 "sigma_min: is not below sigma_max"));
  CHECK(contains(request_error([&] { host.make_plugin<Schedule>("explicit", "times = [1.0, 2.0]"); }),
                 "expected strictly falling times"));
  CHECK(contains(request_error([&] { host.make_plugin<Schedule>("ddpm", "steps = 33"); }),
                 "33 does not divide total_steps"));
}

TEST_CASE("training intervals are drawn evenly and reproducibly") {
  TestHost host;
  const auto schedule = host.make_plugin<Schedule>("karras", "steps = 5");
  const Tensor a = schedule->draw(5, 50000, seeded(1, "draw"));
  CHECK(at::equal(a, schedule->draw(5, 50000, seeded(1, "draw"))));
  const Tensor counts = at::bincount(a).to(at::kDouble) / 50000;
  CHECK(counts.size(0) == 5);
  CHECK(most(counts - 0.2) < 0.01);
}
