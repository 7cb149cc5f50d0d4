// Metrics that compare two sets of samples: closed forms, and what independent code gives.
#include "io/files.h"
#include "support/parity.h"
#include "support/evaluation.h"

using namespace retort;
using namespace retort::test;

namespace {

Tensor points(const std::vector<double>& x) { return times(x).unsqueeze(1); }

}  // namespace

TEST_CASE("further metrics are what independent code gives") {
  const Json fixture = Json::parse(read_text(source_dir() + "/tests/parity/more_metrics.json"));
  for (const Json& one : fixture["cases"]) {
    const auto name = one["name"].get<std::string>();
    CAPTURE(name);
    const Tensor a = table(one["a"]), b = table(one["b"]);
    const auto check = [&](const char* metric, const std::string& toml, const char* value, const char* key,
                           double tolerance) {
      CAPTURE(key);
      const Values got = measure(metric, a, b, toml);
      REQUIRE(got.contains(value));
      const auto expected = one[key].get<double>();
      CHECK(std::abs(got.at(value) - expected) <= tolerance * (1 + std::abs(expected)));
      note_difference("metric", metric, "independent code", std::abs(got.at(value) - expected) / (1 + std::abs(expected)));
    };
    check("mmd", "", "mmd_squared", "mmd_median", 1e-12);
    check("mmd", "median_of = \"pooled\"", "mmd_squared", "mmd_pooled", 1e-12);
    check("mmd", "bandwidths = [0.5, 2.0]", "mmd_squared", "mmd_bandwidths", 1e-12);
    check("mmd", "bandwidths = [0.5, 2.0]\nestimate = \"biased\"", "mmd_squared", "mmd_biased", 1e-12);
    check("energy_distance", "", "energy_distance", "energy_distance", 1e-11);
    check("wasserstein", "", "wasserstein_1", "wasserstein_1", 1e-12);
    check("wasserstein", "", "wasserstein_2", "wasserstein_2", 1e-12);
    const std::string exact = "tolerance = 1e-11\n";
    check("sinkhorn", exact + "epsilon = 4.0\nscaled = false", "sinkhorn_divergence", "sinkhorn", 1e-9);
    check("sinkhorn", exact + "epsilon = 1.0", "sinkhorn_divergence", "sinkhorn_scaled", 1e-9);
    check("precision_recall", "density_coverage = true", "density", "density", 1e-12);
    check("precision_recall", "density_coverage = true", "coverage", "coverage", 1e-12);
    check("vendi", "", "vendi_score", "vendi", 1e-10);
    check("vendi", "order = 2.0", "vendi_score", "vendi_order", 1e-10);
    check("vendi", "kernel = \"gaussian\"", "vendi_score", "vendi_gaussian", 1e-10);
  }
}

TEST_CASE("fd_infinity is the least-squares line at 1 / N = 0 through fd of the subsets it draws") {
  const Tensor a = normal({200, 3}, 1) * 1.2 + 0.3, b = normal({150, 3}, 2);
  at::Generator generator = seeded(0, "fd infinity");
  std::vector<Tensor> lines, distances;
  for (const int64_t n : {20, 65, 110, 155, 200}) {  // from a tenth, evenly
    const Tensor order =
        n == 200 ? at::arange(200) : at::randperm(200, generator, at::TensorOptions().dtype(at::kLong));
    const double fd = measure("fd", a.index_select(0, order.narrow(0, 0, n)), b)["fd"];
    lines.push_back(times({1, 1 / static_cast<double>(n)}));
    distances.push_back(times({fd}));
  }
  const Tensor fitted = std::get<0>(at::linalg_lstsq(at::stack(lines), at::stack(distances), {}, "gelsd"));
  CHECK(measure("fd", a, b, "extrapolate = 5")["fd_infinity"] ==
        doctest::Approx(fitted[0].item<double>()).epsilon(1e-9));
  TestHost host;
  CHECK(contains(request_error([&] { host.make_plugin<Metric>("fd", "extrapolate = 1"); }), "1 size makes no line"));
}

TEST_CASE("fd of one distribution falls as 1 / N, and fd_infinity is rid of most of that") {
  const Tensor reference = normal({100000, 8}, 1);
  double fd = 0, infinity = 0;
  for (uint64_t seed = 2; seed < 42; ++seed) {
    const Values got = measure("fd", normal({1000, 8}, seed), reference, "extrapolate = 15");
    fd += got.at("fd") / 40;
    infinity += got.at("fd_infinity") / 40;
  }
  CHECK(fd > 0.015);
  CHECK(std::abs(infinity) < 0.25 * fd);
}

TEST_CASE("kid's interval is Student's over disjoint subsets, and holds the truth about as often as it says") {
  const Values got = measure("kid", normal({100, 3}, 1), normal({110, 3}, 2), "subset_size = 25\nconfidence = 0.95");
  // Four subsets: 2.5 and 97.5 % of Student's t with 3 degrees of freedom are at -+ 3.182446305284263.
  const double reach = 3.182446305284263 * got.at("kid_std") / 2;
  CHECK(got.at("kid_low") == doctest::Approx(got.at("kid") - reach).epsilon(1e-12));
  CHECK(got.at("kid_high") == doctest::Approx(got.at("kid") + reach).epsilon(1e-12));
  CHECK(!measure("kid", normal({30, 3}, 1), normal({30, 3}, 2), "subset_size = 25\nconfidence = 0.9")
             .contains("kid_low"));
  int held = 0;
  for (uint64_t i = 0; i < 100; ++i) {
    const Values one =
        measure("kid", normal({200, 2}, 2 * i), normal({200, 2}, 2 * i + 1), "subset_size = 20\nconfidence = 0.8");
    held += one.at("kid_low") <= 0 && one.at("kid_high") >= 0 ? 1 : 0;
  }
  CHECK(held >= 68);  // 80 expected, three deviations of 4
  CHECK(held <= 92);
}

TEST_CASE("the subsets of kid's interval share no sample: pairs of eight rows are a perfect matching") {
  // Against zeros a pair x, y gives (x y + 1)^3 - 1.
  const Tensor a = points({0.3, 0.7, 1.1, 1.9, 2.3, 3.1, 4.3, 5.9});
  const double kid = measure("kid", a, at::zeros_like(a), "subset_size = 2\nconfidence = 0.5\nsubsets = 100").at("kid");
  const std::function<bool(std::vector<double>, double)> matches = [&](std::vector<double> left, double sum) {
    if (left.empty()) {
      return std::abs(sum / 4 - kid) < 1e-10 * kid;
    }
    for (size_t i = 1; i < left.size(); ++i) {
      std::vector<double> rest(left.begin() + 1, left.end());
      rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(i) - 1);
      if (matches(rest, sum + std::pow(left[0] * left[i] + 1, 3) - 1)) {
        return true;
      }
    }
    return false;
  };
  CHECK(matches({0.3, 0.7, 1.1, 1.9, 2.3, 3.1, 4.3, 5.9}, 0));
}

TEST_CASE("an outlier of the reference spoils precision and not density; a lost mode halves coverage") {
  const Tensor real = normal({400, 2}, 1);
  // Six rows far out: their balls reach back to all the others.
  const Tensor spoiled = at::cat({real, 1000 + 100 * normal({6, 2}, 2)});
  const Tensor wrong = normal({400, 2}, 3) + 8;
  const std::string more = "density_coverage = true\nneighbours = 7";
  const Values bad = measure("precision_recall", wrong, spoiled, more);
  CHECK(bad.at("precision") == 1);
  CHECK(bad.at("density") < 1);
  CHECK(bad.at("coverage") < 0.05);
  const Values same = measure("precision_recall", normal({4000, 2}, 4), normal({4000, 2}, 5), more);
  CHECK(same.at("density") == doctest::Approx(1).epsilon(0.05));
  // A ball of k neighbours stays empty of as many fresh samples with the odds 2^-k (Naeem et al. 2020, lemma 2).
  CHECK(same.at("coverage") == doctest::Approx(1 - std::pow(0.5, 7)).epsilon(0.01));
  const Tensor left = normal({300, 2}, 6) * 0.1 - 2, right = normal({300, 2}, 7) * 0.1 + 2;
  const Values lost = measure("precision_recall", normal({600, 2}, 8) * 0.1 - 2, at::cat({left, right}), more);
  CHECK(lost.at("coverage") == doctest::Approx(0.5).epsilon(0.05));
}

TEST_CASE("mmd and energy distance of two Gaussians are the closed forms") {
  const double s = 0.8, shift = 1.0;
  const Tensor a = normal({4000, 1}, 1), b = normal({4000, 1}, 2) + shift;
  // E k(X, Y) = s / sqrt(s^2 + 2) exp(-shift^2 / (2 (s^2 + 2)))
  const double width = s * s + 2;
  const double expected = 2 * s / std::sqrt(width) * (1 - std::exp(-shift * shift / (2 * width)));
  CHECK(measure("mmd", a, b, "bandwidths = [0.8]")["mmd_squared"] == doctest::Approx(expected).epsilon(0.06));
  // E |N(m, 2)| = 2 / sqrt(pi) exp(-m^2 / 4) + m erf(m / 2)
  const auto mean = [](double m) { return 2 / std::sqrt(M_PI) * std::exp(-m * m / 4) + m * std::erf(m / 2); };
  CHECK(measure("energy_distance", a, b)["energy_distance"] ==
        doctest::Approx(std::sqrt(2 * mean(shift) - 2 * mean(0))).epsilon(0.03));
  CHECK(measure("energy_distance", points({0}), points({4.5}))["energy_distance"] == doctest::Approx(3).epsilon(1e-14));
}

TEST_CASE("Wasserstein distances of shifted and stretched sets are exact, also of unequal numbers") {
  const Tensor a = normal({301, 2}, 1);
  const Tensor shift = times({3, -4});
  const Values shifted = measure("wasserstein", a, a + shift);
  CHECK(shifted.at("wasserstein_1") == doctest::Approx(3.5).epsilon(1e-12));
  CHECK(shifted.at("wasserstein_2") == doctest::Approx(std::sqrt(12.5)).epsilon(1e-12));
  CHECK(measure("wasserstein", a, at::cat({a.flip(0), a}))["wasserstein_2"] == doctest::Approx(0).epsilon(1e-12));
  // {0, 1} against {0, 1/2, 1}: of the mass 1/3 in the middle, half goes to each side.
  const Values few = measure("wasserstein", points({0, 1}), points({0, 0.5, 1}));
  CHECK(few.at("wasserstein_1") == doctest::Approx(1.0 / 6).epsilon(1e-14));
  CHECK(few.at("wasserstein_2") == doctest::Approx(std::sqrt(1.0 / 12)).epsilon(1e-14));
  TestHost host;
  const Measurement m = host.make_plugin<Metric>("wasserstein")->measure(GivenEvaluation(a, a + shift));
  const auto& by = m.series.at("wasserstein_1_by_coordinate");
  REQUIRE(by.size() == 2);
  CHECK(by[1].second == doctest::Approx(4).epsilon(1e-12));
}

TEST_CASE(
    "Sinkhorn divergence of a shift is its square under any smoothing; its limits are W_2^2 and the means' distance") {
  const Tensor a = normal({60, 2}, 1), shift = times({0.6, -0.8});
  for (const char* epsilon : {"epsilon = 0.5\ntolerance = 1e-9", "epsilon = 2\ntolerance = 1e-9", "epsilon = 50"}) {
    CHECK(measure("sinkhorn", a, a + shift, epsilon)["sinkhorn_divergence"] == doctest::Approx(1).epsilon(1e-7));
  }
  const Tensor x = points({-1, -0.2, 0.1, 0.9, 2}), y = points({-2, 0, 0.3, 0.4, 1.1});
  const double w = measure("wasserstein", x, y)["wasserstein_2"];
  CHECK(measure("sinkhorn", x, y, "epsilon = 0.003\nscaled = false\niterations = 100000")["sinkhorn_divergence"] ==
        doctest::Approx(w * w).epsilon(0.02));
  const double means = (x.mean() - y.mean()).square().item<double>();
  CHECK(measure("sinkhorn", x, y, "epsilon = 1e6\nscaled = false\ntolerance = 1e-12")["sinkhorn_divergence"] ==
        doctest::Approx(means).epsilon(1e-5));
  const std::string what = request_error([&] { measure("sinkhorn", a, a + shift, "epsilon = 0.001\niterations = 2"); });
  CHECK(contains(what, "a greater epsilon, or more iterations"));
}

TEST_CASE("the Vendi score counts kinds: n alike are 1, n kinds are n, and rare kinds count less") {
  const Tensor kinds = at::eye(4, at::kDouble);
  const auto of = [&](const std::vector<int64_t>& index, const std::string& toml = "") {
    const Tensor x = kinds.index_select(0, at::tensor(index, at::kLong));
    return measure("vendi", x, x, toml)["vendi_score"];
  };
  CHECK(of({2, 2, 2}) == doctest::Approx(1).epsilon(1e-12));
  CHECK(of({0, 1, 2, 3, 0, 1, 2, 3}) == doctest::Approx(4).epsilon(1e-12));
  CHECK(of({0, 0, 0, 1}) == doctest::Approx(std::exp(-0.75 * std::log(0.75) - 0.25 * std::log(0.25))).epsilon(1e-12));
  CHECK(of({0, 0, 0, 1}, "order = 2.0") == doctest::Approx(1 / (0.5625 + 0.0625)).epsilon(1e-12));
  CHECK(of({0, 1, 2}, "kernel = \"gaussian\"\nbandwidth = 0.01") == doctest::Approx(3).epsilon(1e-12));
}

TEST_CASE("what takes rows in parts tells distributions, not numbers of rows: each row many times changes nothing") {
  const Tensor a = normal({30, 2}, 1), b = normal({20, 2}, 2) + 0.5;
  const Tensor more_a = a.repeat({20, 1}), more_b = b.repeat_interleave(30, 0);
  for (const auto& [metric, value, toml] :
       {std::tuple("energy_distance", "energy_distance", ""),
        std::tuple("mmd", "mmd_squared", "estimate = \"biased\"\nbandwidths = [0.7]"),
        std::tuple("sinkhorn", "sinkhorn_divergence", "epsilon = 0.5\ntolerance = 1e-12")}) {
    CAPTURE(metric);
    CHECK(measure(metric, more_a, more_b, toml)[value] ==
          doctest::Approx(measure(metric, a, b, toml)[value]).epsilon(1e-10));
  }
}
