/// What the tests of solvers share: the order of a solver as it is measured, and the ends that peers have reached.
#pragma once

#include <array>
#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <string>

#include "io/json.h"
#include "support/parity.h"
#include "support/support.h"

namespace retort::test {

/// Noise levels between two, from the first down to the last: equal steps of the logarithm.
inline Tensor log_grid(double from, double to, int64_t steps) {
  return at::linspace(std::log(from), std::log(to), steps + 1, at::kDouble).exp();
}
/// Karras et al. 2022, eq. 5, rho = 7.
inline Tensor karras_grid(double from, double to, int64_t steps) {
  return at::linspace(std::pow(from, 1.0 / 7), std::pow(to, 1.0 / 7), steps + 1, at::kDouble).pow(7);
}
/// Steps of the logarithm that are long and short in turn, in the ratios 1.5 : 0.5.
inline Tensor uneven_grid(double from, double to, int64_t steps) {
  const Tensor place = at::arange(steps + 1, at::kDouble);
  const Tensor moved = place + 0.5 * place.remainder(2);
  return (std::log(from) + moved / static_cast<double>(steps) * std::log(to / from)).exp();
}

using Grid = std::function<Tensor(double from, double to, int64_t steps)>;

/// The slope of the RMS error against the number of steps, between two refinements of a grid.
inline double measured_order(TestHost& host, const std::string& name, const std::string& toml, double from, double to,
                             const Grid& grid = log_grid, int64_t steps = 160) {
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  const auto solver = host.make_plugin<Solver>(name, toml);
  const Process& p = host.process();
  const Tensor x =
      normal({64, 1}, 1) *
      rows(at::hypot(p.alpha(times({from})), p.sigma(times({from}))), at::zeros({1, 1}, at::kDouble)).item<double>();
  // The exact ends are the same for every solver of a process: known by its levels halfway.
  static std::map<std::array<double, 4>, Tensor> known;
  const Tensor middle = times({(from + to) / 2});
  Tensor& exact = known[{from, to, p.alpha(middle).item<double>(), p.sigma(middle).item<double>()}];
  if (!exact.defined()) {
    const auto reference = host.make_plugin<Solver>("rk45", "rtol = 1e-12\natol = 1e-12");
    exact = solve(Ode(*teacher), *reference, times({from, to}), x);
  }
  const auto error = [&](int64_t count) {
    const Tensor levels =
        grid(p.noise_level(times({from}))[0].item<double>(), p.noise_level(times({to}))[0].item<double>(), count);
    return rms(solve(Ode(*teacher), *solver, p.time_of_noise_level(levels), x) - exact);
  };
  const double slope = std::log2(error(steps) / error(2 * steps));
  note_order(name, toml, solver->order(), slope);
  return slope;
}

/// Solves each case of a file in tests/parity, and holds the ends against those in it.
inline void reproduce(const std::string& file_name, size_t least) {
  std::ifstream file(source_dir() + "/tests/parity/" + file_name);
  REQUIRE(file);
  const Json fixtures = Json::parse(file);
  REQUIRE(fixtures["cases"].size() >= least);
  for (const Json& c : fixtures["cases"]) {
    const auto case_name = c["name"].get<std::string>();
    CAPTURE(case_name);
    const auto toml = [&](const Json& json) { return write_toml(from_json(json, file_name)); };
    TestHost host(toml(c["process"]));
    const auto teacher =
        host.make_plugin<Teacher>("gaussian_mixture", toml(fixtures["teachers"][c["teacher"].get<std::string>()]));
    Json keys = c["solver"];
    const auto name = keys["type"].get<std::string>();
    keys.erase("type");
    const auto solver = host.make_plugin<Solver>(name, toml(keys));
    const auto table = [](const Json& json) {
      std::vector<Tensor> lines;
      for (const Json& line : json) {
        lines.push_back(at::tensor(line.get<std::vector<double>>(), at::kDouble));
      }
      return at::stack(lines);
    };
    const Tensor start = c.contains("start_times") ? times(c["start_times"].get<std::vector<double>>()) : Tensor();
    // For each step one, or one for each draw, or an object from what numbers the step.
    const Noise noise([&](int64_t step, int64_t draw) {
      const Json& all = c.at("noise");
      const Json& drawn = all.is_object() ? all.at(std::to_string(step)) : all.at(static_cast<size_t>(step));
      return table(drawn.at(0).at(0).is_array() ? drawn.at(static_cast<size_t>(draw)) : drawn);
    });
    const Tensor end = solve(Ode(*teacher), *solver, times(c["times"].get<std::vector<double>>()), table(c["start"]),
                             start, {}, noise);
    const double difference = most(end - table(c["end"]));
    CHECK(difference < c["tolerance"].get<double>());
    note_difference("solver", name, c["peer"], difference);
  }
}

}  // namespace retort::test
