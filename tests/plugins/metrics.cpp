#include "io/files.h"
#include "io/json.h"
#include "support/evaluation.h"

using namespace retort;
using namespace retort::test;

TEST_CASE("fd of two Gaussians is the closed form") {
  // Samples made to have exactly the wanted mean and covariance.
  const auto exactly = [](const Tensor& mean, const Tensor& root, uint64_t seed) {
    Tensor z = normal({400, 3}, seed);
    z = z - z.mean(0);
    const Tensor whitening = at::linalg_inv(at::linalg_cholesky(at::cov(z.t())));
    return at::matmul(at::matmul(z, whitening.t()), root.t()) + mean;
  };
  const Tensor mean_a = times({0, 1, 2}), mean_b = times({1, 1, -1});
  const Tensor root_a = at::tril(normal({3, 3}, 5)) + 2 * at::eye(3, at::kDouble);
  const Tensor root_b = at::tril(normal({3, 3}, 6)) + 2 * at::eye(3, at::kDouble);
  const Tensor ca = at::matmul(root_a, root_a.t()), cb = at::matmul(root_b, root_b.t());
  // tr (ca cb)^(1/2) by the eigenvalues of the product itself, which are real and positive
  const Tensor eigenvalues = at::linalg_eigvals(at::matmul(ca, cb));
  const double cross = at::real(eigenvalues).sqrt().sum().item<double>();
  const double expected = (mean_a - mean_b).square().sum().item<double>() + ca.trace().item<double>() +
                          cb.trace().item<double>() - 2 * cross;
  const Tensor a = exactly(mean_a, root_a, 1), b = exactly(mean_b, root_b, 2);
  CHECK(measure("fd", a, b)["fd"] == doctest::Approx(expected).epsilon(1e-9));
  CHECK(measure("fd", b, a)["fd"] == doctest::Approx(expected).epsilon(1e-9));
  CHECK(measure("fd", a, a)["fd"] == doctest::Approx(0).epsilon(1e-9));
}

TEST_CASE("kid is near zero for one distribution and grows with a shift; order does not matter") {
  const Tensor a = normal({600, 4}, 1), b = normal({600, 4}, 2);
  CHECK(std::fabs(measure("kid", a, b)["kid"]) < 0.02);
  CHECK(measure("kid", a, b + 1)["kid"] > 0.3);
  const std::string whole = "subset_size = 600\nsubsets = 1";
  CHECK(measure("kid", a, b + 1, whole)["kid"] ==
        doctest::Approx(measure("kid", a.flip(0), b + 1, whole)["kid"]).epsilon(1e-10));
  CHECK(measure("kid", a, b + 1, whole)["kid"] ==
        doctest::Approx(measure("kid", b + 1, a, whole)["kid"]).epsilon(1e-10));
}

TEST_CASE("precision and recall tell lost modes from bad samples") {
  const Tensor left = normal({300, 2}, 1) * 0.1 - 2, right = normal({300, 2}, 2) * 0.1 + 2;
  const Tensor both = at::cat({left, right});
  auto lost = measure("precision_recall", normal({600, 2}, 3) * 0.1 - 2, both);
  CHECK(lost["precision"] > 0.85);
  CHECK(lost["recall"] < 0.55);
  auto bad = measure("precision_recall", at::cat({both, both + 30}), both);
  CHECK(bad["precision"] < 0.55);
  CHECK(bad["recall"] > 0.95);
}

TEST_CASE("sliced Wasserstein of a shifted set is the shift over the root of the dimension") {
  const Tensor a = normal({500, 4}, 1);
  const double shift = 3;
  const Tensor b = a + shift * times({1, 0, 0, 0});
  CHECK(measure("sliced_wasserstein", a, b, "directions = 20000")["sliced_wasserstein"] ==
        doctest::Approx(shift / 2).epsilon(0.02));
  CHECK(measure("sliced_wasserstein", a, a.flip(0))["sliced_wasserstein"] == doctest::Approx(0).epsilon(1e-12));
  // Each row twice, in another order, is the same distribution: of unequal numbers all rows count.
  CHECK(measure("sliced_wasserstein", a, at::cat({a, a.flip(0)}))["sliced_wasserstein"] ==
        doctest::Approx(0).epsilon(1e-12));
}

TEST_CASE("metrics are what independent code gives, also far from the origin, degenerate, and of few samples") {
  const Json fixture = Json::parse(read_text(source_dir() + "/tests/parity/metrics.json"));
  for (const Json& one : fixture["cases"]) {
    const auto name = one["name"].get<std::string>();
    CAPTURE(name);
    const auto table = [&](const char* key) {
      std::vector<Tensor> rows;
      for (const Json& row : one[key]) {
        rows.push_back(times(row.get<std::vector<double>>()));
      }
      return at::stack(rows).to(at::kFloat);  // as samples are
    };
    const Tensor a = table("a"), b = table("b");
    const auto check = [&](const std::string& metric, const std::string& toml, const std::string& key, double tolerance,
                           double size) {
      const auto got = measure(metric, a, b, toml);
      const auto found = got.find(key);
      CAPTURE(key);
      if (!one.contains(key)) {
        return;
      }
      REQUIRE(found != got.end());
      CHECK(std::abs(found->second - one[key].get<double>()) <= tolerance * (std::abs(one[key].get<double>()) + size));
    };
    const double spread = std::max(b.to(at::kDouble).std(0, /*unbiased=*/false).max().item<double>(), 1e-3);
    check("fd", "", "fd", 1e-5, spread * spread);
    // The kernel itself is of the sixth power of the numbers, and its sum cancels.
    const double kernel =
        std::pow(b.to(at::kDouble).square().sum(1).mean().item<double>() / static_cast<double>(b.size(1)) + 1, 3);
    check("kid", "subset_size = 100000", "kid", 1e-9, kernel);
    check("precision_recall", "", "precision", 0, 0);
    check("precision_recall", "", "recall", 0, 0);
    check("sliced_wasserstein", "directions = 20000", "sliced_wasserstein", a.size(1) == 1 ? 1e-9 : 0.02, 1e-6);
  }
}

TEST_CASE("a metric that cannot be told of so few samples says nothing, and a spread of one subset is none") {
  const Tensor one = normal({1, 3}, 1), many = normal({50, 3}, 2);
  CHECK(measure("fd", one, many).empty());
  CHECK(measure("kid", one, many).empty());
  CHECK(measure("precision_recall", one, many).empty());
  const auto whole = measure("kid", many, normal({50, 3}, 3), "subset_size = 1000");
  CHECK(whole.contains("kid"));
  CHECK(!whole.contains("kid_std"));
  CHECK(measure("kid", many, normal({50, 3}, 3), "subset_size = 20")["kid_std"] > 1e-6);
}
