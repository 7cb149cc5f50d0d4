// Grids: closed forms, and numbers of peers (tests/parity/schedules.json).
#include <cmath>
#include <numbers>

#include "io/files.h"
#include "io/json.h"
#include "support/parity.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

Tensor grid(TestHost& host, const std::string& name, const std::string& toml, double progress = 0) {
  return host.make_plugin<Schedule>(name, toml)->times(host.process(), progress);
}

std::string refusal(const std::string& name, const std::string& toml, const std::string& process = "type = \"ve\"") {
  return request_error([&] {
    TestHost host(process);
    grid(host, name, toml);
  });
}

// The largest difference, of each number by its own size.
double difference(const Tensor& found, const Tensor& wanted) {
  REQUIRE(found.sizes() == wanted.sizes());
  return most((found - wanted) / wanted.abs().clamp_min(1e-3));
}

const std::string flow = "type = \"rectified_flow\"";

}  // namespace

TEST_CASE("grids and curricula are their peers'") {
  const Json file = Json::parse(read_text(source_dir() + "/tests/parity/schedules.json"));
  int64_t held = 0;
  for (const Json& c : file["cases"]) {
    if (!c.contains("schedule")) {
      continue;  // a density: see noise_times.cpp
    }
    const auto name = c["peer"].get<std::string>() + ": " + c["name"].get<std::string>();
    CAPTURE(name);
    TestHost host(write_toml(from_json(c["process"], "schedules.json")));
    Json keys = c["schedule"];
    const auto type = keys["type"].get<std::string>();
    keys.erase("type");
    Tensor t = grid(host, type, write_toml(from_json(keys, "schedules.json")), c.value("progress", 0.0));
    const char* what = c.contains("levels") ? "levels" : c.contains("times") ? "times" : "intervals";
    const Tensor wanted = at::tensor(c[what].get<std::vector<double>>(), at::kDouble);
    if (c.contains("rounded")) {
      t = t.round();
    }
    const Tensor found = c.contains("levels")  ? host.process().noise_level(t)
                         : c.contains("times") ? t
                                               : at::tensor({static_cast<double>(t.size(0) - 1)}, at::kDouble);
    CHECK(difference(found, wanted) < 1e-11);
    note_difference("schedule", type, c["peer"], difference(found, wanted));
    ++held;
  }
  CHECK(held == 81);
}

TEST_CASE("uniform of exponent 2 is even in the root of time, and of exponent 1 in time to the bit") {
  TestHost host("type = \"vp_linear\"");
  const Tensor gaps = grid(host, "uniform", "steps = 9\nt_min = 0.01\nrho = 2").sqrt().diff();
  CHECK(most(gaps + 0.1) < 1e-15);
  CHECK(at::equal(grid(host, "uniform", "steps = 9\nt_min = 0.01"), at::linspace(1, 0.01, 10, at::kDouble)));
}

TEST_CASE("final_zero of a grid of times is one more step") {
  TestHost host("type = \"vp_linear\"");
  for (const char* name : {"uniform", "beta", "smoothstep", "bong_tangent", "linear_quadratic"}) {
    CAPTURE(std::string(name));
    const Tensor without = grid(host, name, "steps = 8\nt_min = 0.01"),
                 with = grid(host, name, "steps = 8\nt_min = 0.01\nfinal_zero = true");
    CHECK(without[0].item<double>() == 1);
    CHECK(without[-1].item<double>() == doctest::Approx(0.01).epsilon(1e-14));
    CHECK(at::equal(with, at::cat({without, at::zeros({1}, at::kDouble)})));
  }
}

TEST_CASE("vp has on vp_linear the times of uniform") {
  TestHost host("type = \"vp_linear\"");
  CHECK(most(grid(host, "vp", "steps = 9") - grid(host, "uniform", "steps = 8\nt_min = 1e-3\nfinal_zero = true")) <
        1e-13);
}

TEST_CASE("karras of exponent 1 is even in sigma, and log_snr of a higher exponent is nearer to sigma_min") {
  TestHost host;
  CHECK(most(grid(host, "karras", "steps = 5\nsigma_min = 1\nsigma_max = 9\nrho = 1") - times({9, 7, 5, 3, 1, 0})) <
        1e-14);
  const std::string ends = "steps = 5\nsigma_min = 1\nsigma_max = 16\nfinal_zero = false\n";
  CHECK(most(grid(host, "log_snr", ends + "rho = 1") - times({16, 8, 4, 2, 1})) < 1e-13);
  CHECK(most(grid(host, "log_snr", ends + "rho = 2").log2() - times({4, 2.25, 1, 0.25, 0})) < 1e-13);
}

// By an angle d, Euler's step multiplies the deviation of Gaussian data by cos d times what is right.
TEST_CASE("on Gaussian data kl_optimal loses what even angles lose, and other grids more") {
  TestHost host;
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", "weights = [1.0]\nmeans = [[0.0]]\nstds = [0.5]");
  const auto euler = host.make_plugin<Solver>("euler");
  const std::string ends = "steps = 9\nsigma_min = 0.01\nsigma_max = 20\nfinal_zero = false\n";
  const auto kept = [&](const std::string& name, const std::string& toml) {
    const Tensor levels = grid(host, name, ends + toml);
    const double end = solve(Ode(*teacher), *euler, levels, at::ones({1, 1}, at::kDouble)).item<double>();
    return end * std::hypot(20, 0.5) / std::hypot(0.01, 0.5);
  };
  const double angle = (std::atan(20 / 0.5) - std::atan(0.01 / 0.5)) / 8;
  const double best = kept("kl_optimal", "sigma_data = 0.5");
  CHECK(best == doctest::Approx(std::pow(std::cos(angle), 8)).epsilon(1e-13));
  for (const auto& [name, toml] :
       {std::pair("karras", ""), std::pair("log_snr", ""), std::pair("karras", "rho = 3"),
        std::pair("kl_optimal", "sigma_data = 0.45"), std::pair("kl_optimal", "sigma_data = 0.55")}) {
    CHECK(kept(name, toml) < best - 1e-5);
  }
}

TEST_CASE("beta has its distributions' closed forms") {
  TestHost host(flow);
  const Tensor even = at::linspace(1, 0, 12, at::kDouble);
  const auto with = [&](const std::string& toml) { return grid(host, "beta", "steps = 11\n" + toml); };
  CHECK(most(with("alpha = 1\nbeta = 1") - even) < 1e-15);
  CHECK(most(with("alpha = 0.5\nbeta = 0.5") - (0.5 * std::numbers::pi * even).sin().square()) < 1e-14);
  CHECK(most(with("alpha = 3\nbeta = 1") - even.pow(1 / 3.0)) < 1e-15);
  const Tensor symmetric = with("");
  CHECK(most(symmetric + symmetric.flip(0) - 1) < 1e-15);
  CHECK(symmetric[1].item<double>() > 0.94);  // many near both ends
}

TEST_CASE("smoothstep is u^2 (3 - 2 u), between the ends that are asked for") {
  TestHost host(flow);
  CHECK(at::equal(grid(host, "smoothstep", "steps = 4"), times({1, 0.84375, 0.5, 0.15625, 0})));
  CHECK(most(grid(host, "smoothstep", "steps = 4\nt_max = 0.9\nt_min = 0.1") - times({0.9, 0.775, 0.5, 0.225, 0.1})) <
        1e-15);
}

TEST_CASE("bong_tangent meets the middle at its cut, and is two straight lines where it is flat") {
  TestHost host(flow);
  const Tensor t = grid(host, "bong_tangent", "steps = 8\nmiddle = 0.3");  // 10 points, of which 6 are the first part
  CHECK(t[5].item<double>() == doctest::Approx(0.3).epsilon(1e-15));
  const Tensor flat = grid(host, "bong_tangent", "steps = 8\nmiddle = 0.4\nslope = 1e-6");
  CHECK(most(flat - times({1, 0.88, 0.76, 0.64, 0.52, 0.4, 0.4 * 2 / 3, 0.4 / 3, 0})) < 1e-9);
}

TEST_CASE("linear_quadratic goes its share in even steps, and on from there without a jump of slope") {
  TestHost host(flow);
  const Tensor t = grid(host, "linear_quadratic", "steps = 8\nthreshold = 0.08");
  CHECK(most(t.narrow(0, 0, 5) - times({1, 0.98, 0.96, 0.94, 0.92})) < 1e-15);
  const Tensor gaps = t.narrow(0, 4, 5).diff();  // of c + b j + a j^2: b + a, b + 3 a, …
  CHECK(most(gaps.diff() - gaps.diff()[0]) < 1e-14);
  CHECK(gaps[0].item<double>() - 0.5 * gaps.diff()[0].item<double>() == doctest::Approx(-0.02).epsilon(1e-12));
  CHECK(t[-1].item<double>() == 0);
}

TEST_CASE("flow_shift multiplies the noise levels of even times") {
  TestHost host(flow);
  const Process& p = host.process();
  const Tensor even = p.noise_level(at::linspace(1, 0, 11, at::kDouble)).narrow(0, 1, 9);
  const auto levels = [&](const std::string& toml) {
    const Tensor t = grid(host, "flow_shift", "steps = 10\n" + toml);
    CHECK(t[0].item<double>() == 1);
    CHECK(t[-1].item<double>() == 0);
    return p.noise_level(t).narrow(0, 1, 9);
  };
  CHECK(difference(levels("shift = 3"), 3 * even) < 1e-13);
  CHECK(difference(levels("shift = 1"), even) < 1e-13);
  CHECK(difference(levels("image_seq_len = 256"), std::exp(0.5) * even) < 1e-13);
  CHECK(difference(levels("image_seq_len = 4096"), std::exp(1.15) * even) < 1e-13);
  CHECK(difference(levels("image_seq_len = 4096\ntime_shift_type = \"linear\""), 1.15 * even) < 1e-13);
  const Tensor t = grid(host, "flow_shift", "steps = 10\nshift_terminal = 0.1");
  CHECK(t[9].item<double>() == doctest::Approx(0.1).epsilon(1e-15));
}

TEST_CASE("explicit lists times, or noise levels") {
  TestHost host(flow);
  const std::string listed = "times = [9.0, 1.0, 0.25, 0.0]\nunit = \"noise_level\"";
  CHECK(most(grid(host, "explicit", listed) - times({0.9, 0.5, 0.2, 0})) < 1e-15);
  CHECK(at::equal(grid(host, "explicit", "times = [0.9, 0.5]"), times({0.9, 0.5})));
}

TEST_CASE("ays is its table at ten steps, and halves it on a scale of log sigma") {
  TestHost host;
  const Tensor table = grid(host, "ays", "model = \"sdxl\"");
  CHECK(difference(table, times({14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0})) < 1e-14);
  const Tensor halves = grid(host, "ays", "model = \"sdxl\"\nsteps = 20\nfinal_zero = false");
  CHECK(difference(halves[1].square(), table[0] * table[1]) < 1e-14);
  CHECK(halves[-1].item<double>() == doctest::Approx(0.029).epsilon(1e-14));
}

TEST_CASE("a progressive grid is karras's, of s0 levels at first and s1 + 1 in the end") {
  TestHost host;
  const auto schedule = host.make_plugin<Schedule>("progressive", "s0 = 3\ns1 = 20");
  CHECK(schedule->changes());
  CHECK(!host.make_plugin<Schedule>("progressive", "s0 = 21\ns1 = 20")->changes());
  for (const auto& [progress, levels] : {std::pair(0.0, 3), std::pair(0.5, 15), std::pair(1.0, 21)}) {
    const std::string as_many = "final_zero = false\nsteps = " + std::to_string(levels);
    CHECK(difference(schedule->times(host.process(), progress), grid(host, "karras", as_many)) < 1e-13);
  }
}

TEST_CASE("ddpm ends at clean data or at the table's first step, which it does not repeat") {
  TestHost host("type = \"vp_scaled_linear\"");
  const std::string spacing = "steps = 4\nspacing = \"leading\"\n";
  CHECK(at::equal(grid(host, "ddpm", spacing), times({751, 501, 251, 1, 0})));
  CHECK(at::equal(grid(host, "ddpm", spacing + "final_zero = false"), times({751, 501, 251, 1})));
  CHECK(at::equal(grid(host, "ddpm", spacing + "final_zero = false\nsteps_offset = 1"), times({752, 502, 252, 2, 1})));
}

TEST_CASE("on a table of zero terminal SNR, grids of times begin at pure noise") {
  TestHost host("type = \"betas\"\nbeta_schedule = \"scaled_linear\"\nrescale_betas_zero_snr = true");
  for (const auto& [name, toml] :
       {std::pair("ddpm", "spacing = \"trailing\""), std::pair("ddpm", "spacing = \"linspace\""), std::pair("beta", ""),
        std::pair("smoothstep", ""), std::pair("flow_shift", ""), std::pair("bong_tangent", ""),
        std::pair("linear_quadratic", "")}) {
    CAPTURE(std::string(name));
    const Tensor t = grid(host, name, toml);
    CHECK(host.process().alpha(t)[0].item<double>() == 0);
    CHECK((t.diff() < 0).all().item<bool>());
  }
}

TEST_CASE("what makes no grid is refused") {
  CHECK(contains(refusal("uniform", "t_min = 0.5\nt_max = 0.2"), "t_min: is not below t_max"));
  CHECK(contains(refusal("smoothstep", "final_zero = true"), "final_zero: is true, but t_min is 0 already"));
  CHECK(contains(refusal("beta", "t_min = 2", flow), "t_min is not below the process's noisiest time"));
  CHECK(contains(refusal("beta", "variable = \"noise_level\"", flow), "needs a first time with alpha > 0"));
  CHECK(contains(refusal("bong_tangent", "pivot = 0.05"), "pivot: leaves a part without steps"));
  CHECK(contains(refusal("linear_quadratic", "threshold = 0.6"), "threshold: makes the even steps longer"));
  CHECK(contains(refusal("linear_quadratic", "linear_steps = 50"), "linear_steps: leaves no quadratic step"));
  CHECK(contains(refusal("vp", "beta_min = 9\nbeta_max = 1"), "beta_min: is above beta_max"));
  CHECK(contains(refusal("progressive", "s0 = 9\ns1 = 7"), "s0: is above s1 + 1"));
  CHECK(contains(refusal("flow_shift", "steps = 1\nshift_terminal = 0.1"), "shift_terminal: names a time between"));
  CHECK(contains(refusal("flow_shift", "image_seq_len = 9\ntime_shift_type = \"linear\"\nbase_shift = 0"),
                 "time_shift_type: makes a shift of -"));
  CHECK(contains(refusal("flow_shift", "base_image_seq_len = 4096"), "base_image_seq_len: is not below"));
  CHECK(contains(refusal("ddpm", "spacing = \"linspace\"\nsteps = 1"), "steps: is 1, which \"linspace\""));
  CHECK(contains(refusal("ddpm", "spacing = \"leading\"\nsteps = 1000\nlower_end = false"), "a list of 1001 steps"));
  CHECK(
      contains(refusal("ddpm", "spacing = \"leading\"\nsteps = 10\nsteps_offset = 100"), "makes the first step 1001"));
  CHECK(contains(refusal("ddpm", "spacing = \"lcm\"\nsteps = 51"), "original_steps: is 50"));
}
