#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

// Score by central differences of the log-density, as a noise prediction: eps = -sigma grad log p.
Tensor numerical_noise(const Teacher& teacher, const Tensor& x, const Tensor& t) {
  Tensor out = at::zeros_like(x);
  const double h = 1e-5;
  for (int64_t d = 0; d < x.size(1); ++d) {
    Tensor up = x.clone(), down = x.clone();
    up.select(1, d).add_(h);
    down.select(1, d).sub_(h);
    out.select(1, d).copy_((teacher.log_density(up, t) - teacher.log_density(down, t)) / (2 * h));
  }
  return -out * teacher.process().sigma(t).unsqueeze(1);
}

}  // namespace

TEST_CASE("the mixture's prediction is the score of its density, on every process and covariance") {
  const char* const mixtures[] = {
      mixture_1d,
      "means = [[-1.0, 0.4], [0.7, 0.2], [0.1, -0.9]]\nstds = [[0.3, 0.2], [0.15, 0.4], [0.25, 0.25]]\nweights = [1, "
      "2, 1]",
      "means = [[-1.0, 0.4], [0.7, 0.2]]\ncovariances = [[0.09, 0.05, 0.05, 0.16], [0.04, -0.01, -0.01, 0.02]]",
      "layout = \"ring\"\nmodes = 5", "layout = \"grid\"\nmodes = 9"};
  for (const char* process :
       {"type = \"ve\"", "type = \"vp_linear\"", "type = \"vp_scaled_linear\"", "type = \"rectified_flow\""}) {
    TestHost host(process);
    for (const char* mixture : mixtures) {
      CAPTURE(std::string(process));
      CAPTURE(mixture);
      const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture);
      const int64_t d = teacher->shape()[0];
      const Tensor t =
          at::tensor({0.02, 0.1, 0.3, 0.5, 0.8}, at::kDouble) * std::min(teacher->process().t_max(), 1000.0);
      const Tensor x = normal({5, d}, 7);
      CHECK(most(Ode(*teacher).noise(x, t) - numerical_noise(*teacher, x, t)) < 2e-6);
      // Tweedie: x = alpha D + sigma eps
      const Ode::Prediction f = Ode(*teacher).predict(x, t);
      CHECK(most(teacher->process().add_noise(f.data, f.noise, t) - x) < 1e-10);
    }
  }
}

TEST_CASE("one Gaussian's density is the textbook's") {
  TestHost host;
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", "means = [[1.0]]\nstds = [0.5]");
  const double variance = 0.25 + 4;
  CHECK(teacher->log_density(at::full({1, 1}, 2.0, at::kDouble), times({2})).item<double>() ==
        doctest::Approx(-0.5 / variance - 0.5 * std::log(2 * M_PI * variance)).epsilon(1e-13));
}

TEST_CASE("the ideal denoiser of a data set is its posterior mean, and its ODE ends in the data") {
  TestHost host;
  const auto teacher =
      host.make_plugin<Teacher>("empirical", "samples = 50\n[dataset]\ntype = \"moons\"\nsamples = 50");
  const Tensor x = normal({4, 2}, 8);
  const Tensor t = times({0.1, 0.3, 1.0, 5.0});
  CHECK(most(Ode(*teacher).noise(x, t) - numerical_noise(*teacher, x, t)) < 1e-5);
  const auto solver = host.make_plugin<Solver>("heun");
  const Tensor grid = host.make_plugin<Schedule>("karras", "steps = 60")->times(host.process());
  const Tensor end = solve(Ode(*teacher), *solver, grid, normal({20, 2}, 9) * 80);
  const Tensor data = host.make_plugin<Dataset>("moons", "samples = 50")
                          ->batch(Split::train, at::arange(50, at::kLong))
                          .x.to(at::kDouble);
  CHECK(std::get<0>(at::cdist(end, data).min(1)).max().item<double>() < 1e-3);
}

TEST_CASE("impossible mixtures are refused in one line") {
  TestHost host;
  const auto error = [&](const std::string& toml) {
    return request_error([&] { host.make_plugin<Teacher>("gaussian_mixture", toml); });
  };
  CHECK(contains(error("means = [[1.0], [2.0, 3.0]]"), "means: has rows of 1 and 2 numbers"));
  CHECK(contains(error("means = [[1.0], [2.0]]\nstds = [0.1]"), "stds: has 1 entries for 2 means"));
  CHECK(contains(error("means = [[1.0]]\nstds = [-0.1]"), "out of range"));
  CHECK(contains(error("means = [[1.0, 2.0]]\ncovariances = [[1.0, 2.0, 2.0, 1.0]]"), "not positive definite"));
  CHECK(contains(error("means = [[1.0]]\nstds = [0.1]\nweights = [0.5, 0.5]"), "weights: has 2 numbers for 1 means"));
}
