// Metrics that look at more than two sets of samples: at the teacher's ODE, a student, a data set's classes.
#include <numbers>

#include "io/files.h"
#include "support/evaluation.h"

using namespace retort;
using namespace retort::test;

namespace {

// A student whose prediction of the data is what a function of (x, t / t_max) says.
class Told final : public CompiledNetwork {
 public:
  using Says = std::function<Tensor(const Tensor& x, const Tensor& fraction)>;
  explicit Told(Says says) : says_(std::move(says)) {}
  Tensor operator()(const Tensor& x, const Tensor& c_noise, const Conditioning&) override { return says_(x, c_noise); }

 private:
  Says says_;
};

Model student(const Process& process, Told::Says says) {
  return {std::make_shared<Told>(std::move(says)), process, Parametrisation(Predicts::data, 1.0), {}, Makes::generator};
}

const char* const plane =
    "means = [[-1.0, 0.4], [0.7, 0.2]]\ncovariances = [[0.09, 0.05, 0.05, 0.16], [0.04, -0.01, "
    "-0.01, 0.02]]\nweights = [1, 2]";

struct World {
  explicit World(const std::string& mixture, const std::string& process = "type = \"rectified_flow\"")
      : host(process),
        teacher(host.make_plugin<Teacher>("gaussian_mixture", mixture)),
        solver(host.make_plugin<Solver>("rk45", "rtol = 1e-9\natol = 1e-9")),
        ode(*teacher) {}

  GivenEvaluation evaluation(const Tensor& samples, const Tensor& reference, double t_max = 1) const {
    GivenEvaluation out(samples, reference);
    out.ode_ = &ode;
    out.solver_ = solver.get();
    out.grid_ = times({t_max, 0.6 * t_max, 0.3 * t_max, 0.1 * t_max, 0});
    return out;
  }

  TestHost host;
  std::shared_ptr<Teacher> teacher;
  std::shared_ptr<Solver> solver;
  Ode ode;
};

}  // namespace

TEST_CASE("nll along the teacher's ODE is the mixture's own, by its exact divergence") {
  const std::string exact = "tolerance = 1e-8\ndifference = 1e-4\nleast_noise_level = 1e-6";
  for (const char* mixture : {mixture_1d, plane, "layout = \"ring\"\nstd = 0.1"}) {
    CAPTURE(mixture);
    const World world(mixture);
    const Tensor x = normal({20, world.teacher->shape()[0]}, 1) * 0.8;
    const double own = -world.teacher->log_density(x, at::zeros({20}, at::kDouble)).mean().item<double>();
    CHECK(measure("nll", world.evaluation(x, x), exact)["nll"] == doctest::Approx(own).epsilon(1e-5));
  }
}

TEST_CASE("nll is that of the samples' own scale, on a process that scales them, and of the noise it starts from") {
  // One Gaussian on variance preserving and exploding processes: noise N(0, sigma^2) is not the diffused data, which
  // shows.
  for (const auto& [process, t_max] : {std::pair("type = \"ve\"", 3.0), std::pair("type = \"vp_linear\"", 0.7)}) {
    CAPTURE(std::string(process));
    const World world("means = [[0.5]]\nstds = [0.4]", process);
    const Process& p = world.teacher->process();
    const Tensor x = normal({8, 1}, 2);
    const double alpha = p.alpha(times({t_max})).item<double>(), sigma = p.sigma(times({t_max})).item<double>();
    // The ODE's map is affine: mu + std u goes to alpha mu + sqrt(alpha^2 std^2 + sigma^2) u.
    const double stretch = std::sqrt(alpha * alpha * 0.16 + sigma * sigma) / 0.4;
    const Tensor end = alpha * 0.5 + stretch * (x - 0.5);
    const Tensor log_p = -0.5 * (end / sigma).square() - std::log(sigma * std::sqrt(2 * std::numbers::pi) / stretch);
    const Values got = measure("nll", world.evaluation(x, x, t_max), "tolerance = 1e-9\nleast_noise_level = 1e-6");
    CHECK(got.at("nll") == doctest::Approx(-log_p.mean().item<double>()).epsilon(1e-6));
  }
}

TEST_CASE("Hutchinson's estimate is exact where the divergence has no off-diagonal part, and near where it has") {
  std::string mean = "[", std = "[";
  for (int i = 0; i < 12; ++i) {
    mean += "0.3, ";
    std += "0.5, ";
  }
  const World round("means = [" + mean + "]]\nstds = [" + std + "]]");
  const Tensor x = normal({6, 12}, 1) * 0.5;
  const std::string few = "exact_dimensions = 1\ntolerance = 1e-8\ndifference = 1e-4\nleast_noise_level = 1e-6";
  const double own = -round.teacher->log_density(x, at::zeros({6}, at::kDouble)).mean().item<double>();
  CHECK(measure("nll", round.evaluation(x, x), few)["nll"] == doctest::Approx(own).epsilon(1e-6));
  const World leaning(plane);
  const Tensor y = normal({400, 2}, 2) * 0.5;
  const double other = -leaning.teacher->log_density(y, at::zeros({400}, at::kDouble)).mean().item<double>();
  const double estimate = measure("nll", leaning.evaluation(y, y), "samples = 400\nexact_dimensions = 1")["nll"];
  CHECK(estimate == doctest::Approx(other).epsilon(0.03));
  CHECK(estimate != doctest::Approx(other).epsilon(1e-6));
}

TEST_CASE("modes of a mixture are covered, and samples of high quality, as scipy says and by the laws of chance") {
  const Json one = Json::parse(read_text(source_dir() + "/tests/parity/more_metrics.json"))["mixture"];
  const std::string toml = "means = " + one["means"].dump() + "\nweights = " + one["weights"].dump() +
                           "\ncovariances = " + one["covariances"].dump() + "\nsigmas = " + one["sigmas"].dump();
  const Tensor x = table(one["x"]);
  const Values got = measure("mode_coverage", x, x, toml);
  for (const char* key : {"mixture_nll", "high_quality", "mode_entropy", "mode_kl"}) {
    CAPTURE(key);
    CHECK(got.at(key) == doctest::Approx(one[key].get<double>()).epsilon(1e-12));
  }
  const std::string ring = "layout = \"ring\"\nmodes = 8\nstd = 0.05\n";
  TestHost host;
  const Tensor index = at::arange(8000, at::kLong);
  const Tensor real = host.make_plugin<Dataset>("gaussian_mixture", ring)->batch(Split::train, index).x;
  const Values all = measure("mode_coverage", real, real, ring);
  CHECK(all.at("modes_covered") == 1);
  CHECK(all.at("high_quality") == doctest::Approx(1 - std::exp(-4.5)).epsilon(0.004));
  CHECK(all.at("mode_entropy") == doctest::Approx(std::log(8)).epsilon(0.002));
  // E[-log p] of one mode: log 8 + 1 + log(2 pi 0.05^2), as modes do not touch
  const double entropy = std::log(8) + 1 + std::log(2 * std::numbers::pi * 0.0025);
  CHECK(all.at("mixture_nll") == doctest::Approx(entropy).epsilon(0.03));
  const Values half = measure("mode_coverage", real.index({real.select(1, 1) > 0.3}), real, ring);
  CHECK(half.at("modes_covered") == doctest::Approx(3.0 / 8));
  CHECK(half.at("mode_kl") == doctest::Approx(std::log(8.0 / 3)).epsilon(0.01));
  const Values none = measure("mode_coverage", real + 9, real, ring);
  CHECK(none.at("modes_covered") == 0);
  CHECK(!none.contains("mode_entropy"));
  CHECK(contains(request_error([&] { measure("mode_coverage", real, real); }),
                 "the mixture is of dimension 1, and samples are of dimension 2"));
}

TEST_CASE("self-consistency compares f at all pairs of times, and by noise level with f at the start") {
  const World world(mixture_1d);
  const Model model = student(world.teacher->process(),
                              [](const Tensor& x, const Tensor& t) { return x + t.to(x.scalar_type()).unsqueeze(1); });
  GivenEvaluation evaluation = world.evaluation(normal({6, 1}, 1), normal({6, 1}, 2));
  evaluation.model_ = &model;
  TestHost host;
  const Measurement got = host.make_plugin<Metric>("consistency_error", "self_consistency = true")->measure(evaluation);
  // f along the way; at its end f is the identity.
  std::vector<Tensor> f = {evaluation.start_.x + 1};
  solve(world.ode, *world.solver, evaluation.grid_, evaluation.start_.x, {},
        [&](double t, const Tensor&, const Tensor& x) { f.push_back(x + t); });
  double neighbours = 0, pairs = 0;
  const auto apart = [&](size_t i, size_t j) { return (f[i] - f[j]).square().mean().item<double>(); };
  for (size_t i = 0; i < 5; ++i) {
    neighbours += i > 0 ? apart(i, i - 1) / 4 : 0;
    for (size_t j = 0; j < i; ++j) {
      pairs += apart(i, j) / 10;
    }
  }
  const Values values(got.values.begin(), got.values.end());
  CHECK(values.at("consistency_error") == doctest::Approx(neighbours).epsilon(1e-6));
  CHECK(values.at("self_consistency_error") == doctest::Approx(pairs).epsilon(1e-6));
  const auto& series = got.series.at("self_consistency_error_by_noise");
  REQUIRE(series.size() == 4);
  CHECK(series[0].first == doctest::Approx(1.5).epsilon(1e-12));  // 0.6 / 0.4
  for (size_t i = 0; i < 4; ++i) {
    CHECK(series[i].second == doctest::Approx(apart(i + 1, 0)).epsilon(1e-6));
  }
}

TEST_CASE("boundary error is the distance of f from x at the end, and from the teacher's end an interval before") {
  const World world(mixture_1d);
  const Tensor data = normal({50, 1}, 3);
  const GivenData dataset(data);
  const Model identity = student(world.teacher->process(), [](const Tensor& x, const Tensor&) { return x.clone(); });
  const Model off = student(world.teacher->process(), [](const Tensor& x, const Tensor&) { return x + 0.5; });
  GivenEvaluation evaluation = world.evaluation(data, data);
  evaluation.dataset_ = &dataset;
  evaluation.model_ = &identity;
  const Values good = measure("boundary_error", evaluation);
  evaluation.model_ = &off;
  const Values bad = measure("boundary_error", evaluation);
  CHECK(good.at("boundary_error") < 1e-24);
  CHECK(bad.at("boundary_error") == doctest::Approx(0.25).epsilon(1e-9));
  const Tensor t = at::full({50}, 0.1, at::kDouble);
  const Tensor x = world.teacher->process().add_noise(data, normal_like(data, seeded(0, "boundary error")), t);
  const Tensor ends = solve(world.ode, *world.solver, times({0.1, 0}), x);
  CHECK(good.at("boundary_error_teacher") == doctest::Approx((x - ends).square().mean().item<double>()).epsilon(1e-6));
}

TEST_CASE("authenticity is 0 of memorised data, 1 of what is far, and of fresh draws the odds of nearest neighbours") {
  const Json fixture = Json::parse(read_text(source_dir() + "/tests/parity/more_metrics.json"));
  for (const Json& one : fixture["cases"]) {
    const GivenData dataset(table(one["b"]));
    GivenEvaluation evaluation(table(one["a"]), table(one["b"]));
    evaluation.dataset_ = &dataset;
    CHECK(measure("authenticity", evaluation).at("authenticity") == one["authenticity"].get<double>());
  }
  // A sample and its neighbour are each other's nearest with the odds 2/3 on the line, 6 pi / (8 pi + 3 sqrt 3) in the
  // plane (Pickard 1982).
  const double pi = std::numbers::pi;
  for (const auto& [d, odds] : {std::pair<int64_t, double>(1, 2.0 / 3), {2, 6 * pi / (8 * pi + 3 * std::sqrt(3))}}) {
    const GivenData dataset(normal({6000, d}, 1), normal({4000, d}, 2));
    GivenEvaluation evaluation(normal({4000, d}, 3), normal({4000, d}, 2));
    evaluation.dataset_ = &dataset;
    const Values fresh = measure("authenticity", evaluation);
    CHECK(fresh.at("authenticity") == doctest::Approx(1 - odds).epsilon(0.08));
    CHECK(fresh.at("authenticity_data") == doctest::Approx(1 - odds).epsilon(0.08));
    evaluation.samples_ = dataset.batch(Split::train, at::arange(100, at::kLong)).x;
    CHECK(measure("authenticity", evaluation).at("authenticity") == 0);
    evaluation.samples_ = evaluation.samples_ + 100;
    CHECK(measure("authenticity", evaluation).at("authenticity") == 1);
  }
}

TEST_CASE("classes of samples are those of their neighbours, and shares, fd and errors are told for each") {
  const Json fixture = Json::parse(read_text(source_dir() + "/tests/parity/more_metrics.json"));
  for (const Json& one : fixture["cases"]) {
    const auto name = one["name"].get<std::string>();
    CAPTURE(name);
    const Tensor labels = at::tensor(one["labels"].get<std::vector<int64_t>>(), at::kLong);
    const Tensor found = at::tensor(one["classes"].get<std::vector<int64_t>>(), at::kLong);
    const GivenData dataset(table(one["b"]), {}, labels, 3);
    GivenEvaluation evaluation(table(one["a"]), table(one["b"]));
    evaluation.dataset_ = &dataset;
    // Asked for: what scikit-learn finds, but for the first sample.
    Tensor asked = found.clone();
    asked[0] = (asked[0] + 1).remainder(3);
    evaluation.start_.condition.set(inputs::labels, asked);
    const Values got = measure("per_class", evaluation);
    const auto n = static_cast<double>(found.size(0)), m = static_cast<double>(labels.size(0));
    CHECK(got.at("class_agreement") == doctest::Approx(1 - 1 / n).epsilon(1e-14));
    const Tensor apart = found.bincount({}, 3).to(at::kDouble) / n - labels.bincount({}, 3).to(at::kDouble) / m;
    CHECK(got.at("class_share_error") == doctest::Approx(apart.abs().sum().item<double>() / 2).epsilon(1e-12));
  }
  const Tensor corners = times({-5, 5}).unsqueeze(1);
  const Tensor labels = at::arange(200, at::kLong).remainder(2);
  const Tensor data = corners.index_select(0, labels) + 0.1 * normal({200, 1}, 1);
  const GivenData dataset(data, {}, labels, 2);
  const World world(mixture_1d);
  const Model any = student(world.teacher->process(), [](const Tensor& x, const Tensor&) { return x.clone(); });
  GivenEvaluation evaluation(data + labels.unsqueeze(1), data);  // class 1 is off by 1
  evaluation.dataset_ = &dataset;
  evaluation.model_ = &any;
  TestHost host;
  const Measurement got = host.make_plugin<Metric>("per_class")->measure(evaluation);
  for (size_t c = 0; c < 2; ++c) {
    CHECK(got.series.at("share_by_class")[c].second == doctest::Approx(0.5));
    CHECK(std::abs(got.series.at("fd_by_class")[c].second - static_cast<double>(c)) < 1e-10);
    CHECK(std::abs(got.series.at("ode_error_by_class")[c].second - static_cast<double>(c)) < 1e-10);
  }
}
