#include "sample/sampler.h"
#include "sample/draws.h"

#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

// Says that all data are zero, and keeps what it was asked about.
class Silent final : public CompiledNetwork {
 public:
  Tensor operator()(const Tensor& x, const Tensor&, const Conditioning&) override {
    asked.push_back(x);
    return at::zeros_like(x);
  }
  std::vector<Tensor> asked;
};

}  // namespace

TEST_CASE("between two steps of the sampler the noise is added that is missing from the end of the grid") {
  for (const char* process_toml : {"type = \"ve\"", "type = \"vp_linear\"", "type = \"rectified_flow\""}) {
    CAPTURE(std::string(process_toml));
    TestHost host(process_toml);
    const Process& process = host.process();
    const auto evaluator = std::make_shared<Silent>();
    const Parametrisation form{Predicts::data, 0.5};
    const Model model(evaluator, process, form);
    const Tensor grid = times({0.9, 0.2, 0.1});
    const Batch start{normal({4000, 3}).to(at::kFloat), {}};
    sample_student(model, grid, start, 700, 0);
    REQUIRE(evaluator->asked.size() == 12);
    const Tensor second = at::cat(std::vector<Tensor>{evaluator->asked[1], evaluator->asked[3]}).to(at::kDouble) /
                          form.c_in(process, grid.narrow(0, 1, 1));
    const auto value = [&](const Tensor& of) { return of.item<double>(); };
    const double there =
        value(process.sigma(times({0.1}))) * value(process.alpha(times({0.2}))) / value(process.alpha(times({0.1})));
    const double missing = std::sqrt(std::pow(value(process.sigma(times({0.2}))), 2) - there * there);
    CHECK(rms(second) == doctest::Approx(missing).epsilon(0.03));  // on "ve": sqrt(0.2^2 - 0.1^2)
  }
}

TEST_CASE("row i of a sample depends on the seed and i alone") {
  TestHost host;
  const auto run = [&](int64_t count, int64_t batch, int64_t seed) {
    const auto evaluator = std::make_shared<Silent>();
    const Model model(evaluator, host.process(), {Predicts::data, 0.5});
    sample_student(model, times({10, 5, 1, 0}), {at::ones({count, 7}), {}}, batch, seed);
    std::vector<Tensor> rows;  // of the last step
    for (size_t i = 2; i < evaluator->asked.size(); i += 3) {
      rows.push_back(evaluator->asked[i]);
    }
    return at::cat(rows);
  };
  const Tensor many = run(40, 40, 1);
  CHECK(at::equal(run(40, 7, 1), many));
  CHECK(at::equal(run(9, 4, 1), many.narrow(0, 0, 9)));
  CHECK(!at::equal(run(9, 4, 2), many.narrow(0, 0, 9)));
  CHECK(most(many[0] - many[1]) > 0);
  CHECK(contains(
      request_error([&] {
        const Model model(std::make_shared<Silent>(), host.process(), {Predicts::data, 0.5}, {}, Makes::generator);
        sample_student(model, times({10, 5, 0}), {at::ones({2, 2}), {}}, 2, 0);
      }),
      "2 sampler steps of what makes samples in one"));
}

TEST_CASE("a sampler's times are spread over the grid, or those chosen for as many steps") {
  const Tensor grid = times({10, 8, 5, 2, 1, 0});
  CHECK(at::equal(sampler_times(grid, 5), grid));
  CHECK(at::equal(sampler_times(grid, 1), times({10, 0})));
  CHECK(at::equal(sampler_times(grid, 2, {{7.5, 3}}), sampler_times(grid, 2)));
  CHECK(at::equal(sampler_times(grid, 3, {{4}, {7.5, 3}}), times({10, 7.5, 3, 0})));
  CHECK(at::equal(sampler_times(grid, 7, {{9, 8, 7, 6, 5, 4}}), times({10, 9, 8, 7, 6, 5, 4, 0})));
  CHECK(contains(request_error([&] { sampler_times(grid, 6); }), "6 sampler steps are more than the 5 interval(s)"));
}

TEST_CASE("gamma = 1 is consistency sampling, gamma = 0 draws no noise, and between them part of it is new") {
  TestHost host("type = \"vp_linear\"");
  const Batch start{normal({500, 3}), {}};
  const auto sample = [&](std::optional<double> gamma, int64_t seed, Makes makes = Makes::consistency) {
    const Model model(std::make_shared<Silent>(), host.process(), {Predicts::noise, 1}, {}, makes);
    return sample_student(model, times({0.9, 0.5, 0.3, 0}), start, 500, seed, gamma);
  };
  CHECK(most(sample(1, 1) - sample({}, 1)) < 1e-12);
  CHECK(at::equal(sample(0, 1), sample(0, 2)));
  CHECK(at::equal(sample(0, 1, Makes::flow_map), sample({}, 1, Makes::flow_map)));
  CHECK(most(sample(0.5, 1) - sample(0.5, 2)) > 0);
  CHECK(most(sample(0.5, 1, Makes::flow_map) - sample(0.5, 2, Makes::flow_map)) > 0);
}

TEST_CASE("with gamma the state before a step has the noise of its time") {
  TestHost host("type = \"rectified_flow\"");
  const Process& process = host.process();
  const Parametrisation form{Predicts::data, 0.5};
  for (const double gamma : {0.0, 0.3, 1.0}) {
    CAPTURE(gamma);
    const auto evaluator = std::make_shared<Silent>();
    const Model model(evaluator, process, form);
    const Tensor grid = times({1, 0.4, 0});
    sample_student(model, grid, {normal({20000, 2}), {}}, 20000, 3, gamma);
    const Tensor second = evaluator->asked[1].to(at::kDouble) / form.c_in(process, grid.narrow(0, 1, 1));
    CHECK(rms(second) == doctest::Approx(0.4).epsilon(0.02));  // data are zero: sigma(0.4) alone
  }
}

TEST_CASE("row i by a stochastic solver depends on the seed and i alone") {
  TestHost host;
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  const auto solver = host.make_plugin<Solver>("euler_ancestral");
  const Batch start{normal({40, 1}) * 10, {}};
  const auto run = [&](int64_t batch, int64_t seed) {
    return sample_teacher(Ode(*teacher), *solver, times({10, 5, 1, 0}), start, batch, seed);
  };
  CHECK(most(run(40, 1) - run(7, 1)) < 1e-12);
  CHECK(most(run(40, 1) - run(40, 2)) > 1e-3);
}

TEST_CASE("labels come in the shares asked for, evenly spread, whatever the number of rows") {
  const auto counts = [](const std::vector<double>& shares, int64_t n) {
    return at::bincount(labels_by_shares(shares, n), {}, static_cast<int64_t>(shares.size()));
  };
  CHECK(at::equal(labels_by_shares({0.25, 0.25, 0.25, 0.25}, 9), at::remainder(at::arange(9), 4)));
  const std::vector<double> shares = {0.7, 0.0, 0.2, 0.1};
  CHECK(at::equal(labels_by_shares(shares, 100).narrow(0, 0, 37), labels_by_shares(shares, 37)));
  for (const int64_t n : {1, 10, 33, 1000}) {
    const Tensor due = at::tensor(shares, at::kDouble) * static_cast<double>(n);
    CHECK((counts(shares, n) - due).abs().max().item<double>() <= 1 + 1e-9);
  }
  CHECK(counts(shares, 1000)[1].item<int64_t>() == 0);
}
