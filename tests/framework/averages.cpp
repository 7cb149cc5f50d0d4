// Power-function averages, made of snapshots, and half-lives.
#include "train/averages.h"

#include <torch/nn/module.h>

#include <cmath>
#include <functional>

#include "io/files.h"
#include "io/safetensors.h"
#include "support/support.h"
#include "train/profiles.h"

using namespace retort;
using namespace retort::test;

namespace {

// A network of three weights and a buffer.
struct Three final : Network {
  struct Body : torch::nn::Module {
    Body() {
      w = register_parameter("w", at::zeros({3}, at::kDouble));
      b = register_buffer("b", at::zeros({1}, at::kDouble));
    }
    Tensor w, b;
  };
  std::shared_ptr<Body> body = std::make_shared<Body>();
  Weights weights{*this};
  Tensor forward(const Tensor& x, const Tensor&, const Conditioning&) override { return x * body->w; }
  std::shared_ptr<torch::nn::Module> module() override { return body; }

  // As tests/parity/make_averages.py has them after a step.
  static Tensor after(int64_t step) {
    const auto k = static_cast<double>(step);
    return (at::arange(3, at::kDouble) + 0.3 * k).sin() * (1 + k / 50);
  }
  void take(int64_t step) {
    const at::NoGradGuard no_grad;
    body->w.copy_(after(step));
    body->b.fill_(static_cast<double>(step));
  }
};

TrainSettings settings(const std::string& toml) {
  const Value table = parse_toml(toml, "test.toml");
  Params p(table, "train", nullptr);
  return TrainSettings(p);
}

const Json& fixture() {
  static const Json out = Json::parse(read_text(source_dir() + "/tests/parity/averages.json"));
  return out;
}

std::vector<double> numbers(const Json& list) { return list.get<std::vector<double>>(); }

// The average over steps `first` + 1 … `last`, as a sum over all weights: those of a step count as its profile's
// integral over the step.
Tensor by_force(double gamma, int64_t last, int64_t first = 0) {
  const auto n = static_cast<double>(last - first);
  Tensor out = at::zeros({3}, at::kDouble);
  for (int64_t k = 1; k <= last - first; ++k) {
    const auto end = static_cast<double>(k);
    out += (std::pow(end / n, gamma + 1) - std::pow((end - 1) / n, gamma + 1)) * Three::after(first + k);
  }
  return out;
}

// Steps of a training with snapshots, and a checkpoint that tells of them.
std::filesystem::path train(const std::filesystem::path& folder, const TrainSettings& s, int64_t steps, int64_t every,
                            int64_t stage = 0) {
  Three network;
  PowerAverages averages(network.weights, s);
  for (int64_t k = 1; k <= steps; ++k) {
    if (k == stage + 1) {
      averages.begin(stage);
    }
    network.take(k);
    averages.follow(k);
    if (k % every == 0) {
      averages.snapshot(folder, k);
    }
  }
  TensorFile file;
  network.weights.store("", network.weights.tensors, file.tensors);
  file.metadata["retort"] = spell({{"training", {{"step", steps}, {"averages", averages.described()}}}});
  write_safetensors(folder / "last.safetensors", file);
  return folder / "last.safetensors";
}

// An integral over 0 … end by Simpson's rule over the root of the time, whose begin it resolves.
double integral(const std::function<double(double)>& f, double end) {
  constexpr int n = 20000;
  const double h = std::sqrt(end) / n;
  double sum = 0;
  for (int i = 0; i <= n; ++i) {
    const double u = i * h;
    sum += (i == 0 || i == n ? 1 : i % 2 == 1 ? 4 : 2) * f(u * u) * 2 * u;
  }
  return sum * h / 3;
}

double profile(const PowerProfile& p, double t) {
  return (p.gamma + 1) * std::pow(t, p.gamma) / std::pow(p.time, p.gamma + 1);
}

}  // namespace

TEST_CASE("a length is the deviation of its profile, and its exponent is EDM2's") {
  const std::vector<double> lengths = numbers(fixture()["lengths"]), gammas = numbers(fixture()["gammas"]);
  double worst = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    CAPTURE(lengths[i]);
    const double gamma = power_exponent(lengths[i]);
    worst = std::max(worst, std::fabs(gamma - gammas[i]) / gammas[i]);
    CHECK(power_length(gamma) == doctest::Approx(lengths[i]).epsilon(1e-13));
    const PowerProfile p{gamma, 2};
    const double mean = integral([&](double t) { return t * profile(p, t); }, 2);
    const double variance = integral([&](double t) { return (t - mean) * (t - mean) * profile(p, t); }, 2);
    CHECK(std::sqrt(variance) / 2 == doctest::Approx(lengths[i]).epsilon(1e-7));
    const std::vector<double> decays = numbers(fixture()["decays"][i]);
    const std::vector<double> at = {1, 2, 10, 1000};
    for (size_t k = 0; k < at.size(); ++k) {
      CHECK(power_decay(gamma, at[k]) == doctest::Approx(decays[k]).epsilon(1e-11));
    }
  }
  CHECK(worst < 1e-10);  // numpy's roots of a cubic are that good
  CHECK(power_exponent(longest_average) < 2e-3);
}

TEST_CASE("inner products of profiles are EDM2's, and integrals") {
  double worst = 0;
  for (size_t i = 0; i < fixture()["pairs"].size(); ++i) {
    const std::vector<double> pair = numbers(fixture()["pairs"][i]);
    const PowerProfile a{power_exponent(pair[0]), pair[1]}, b{power_exponent(pair[2]), pair[3]};
    const double found = inner_product(a, b);
    CHECK(found == doctest::Approx(inner_product(b, a)).epsilon(1e-14));
    const double integrated =
        integral([&](double t) { return profile(a, t) * profile(b, t); }, std::min(a.time, b.time));
    CHECK(found == doctest::Approx(integrated).epsilon(1e-7));
    const double peers = fixture()["products"][i];
    worst = std::max(worst, std::fabs(found - peers) / peers);
  }
  CHECK(worst < 1e-12);
}

TEST_CASE("averages, shares and reconstructions are EDM2's, and sums over all weights") {
  const Folder folder;
  const std::filesystem::path last = train(folder / "", settings("ema_lengths = [0.05, 0.1]\n"), 64, 8);
  const std::vector<double> tracked = numbers(fixture()["tracked"]);
  std::vector<PowerProfile> profiles;
  double worst = 0;
  for (size_t i = 0; i < 8; ++i) {
    const auto step = static_cast<int64_t>(8 * i + 8);
    const TensorFile file = read_safetensors(
        folder / ("averages_0000" + std::string(step < 10 ? "0" : "") + std::to_string(step) + ".safetensors"));
    for (size_t j = 0; j < 2; ++j) {
      const Tensor found = file.tensors.at(std::string(j == 0 ? "0.05" : "0.1") + "/w");
      profiles.push_back({power_exponent(tracked[j]), static_cast<double>(step)});
      worst = std::max(worst, most(found - times(numbers(fixture()["averages"][i][j]))));
      CHECK(most(found - by_force(profiles.back().gamma, step)) < 1e-13);
    }
  }
  CHECK(worst < 1e-12);
  const std::vector<double> wanted = numbers(fixture()["wanted"]);
  double of_shares = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    CAPTURE(wanted[i]);
    const Mixture mixture = mix(profiles, {power_exponent(wanted[i]), 64});
    of_shares = std::max(of_shares, most(times(mixture.shares) - times(numbers(fixture()["shares"][i]))));
    const TensorFile file = read_safetensors(reconstruct_average(last, wanted[i]));
    const Tensor made = file.tensors.at("w");
    worst = std::max(worst, most(made - times(numbers(fixture()["reconstructed"][i]))));
    // The two profiles differ by `error` in the norm, so what they weigh differs by no more than that (Cauchy-Schwarz).
    const PowerProfile exact{power_exponent(wanted[i]), 64};
    double norm = 0;  // of the weights over the time
    for (int64_t k = 1; k <= 64; ++k) {
      norm += Three::after(k).square().max().item<double>();
    }
    CHECK(most(made - by_force(exact.gamma, 64)) <=
          mixture.error * std::sqrt(inner_product(exact, exact) * norm) + 1e-12);
    CHECK(file.tensors.at("b").item<double>() ==
          doctest::Approx(read_safetensors(folder / "averages_000064.safetensors")
                              .tensors.at(wanted[i] < 0.075 ? "0.05/b" : "0.1/b")
                              .item<double>()));  // buffers are of the last snapshot
  }
  CHECK(of_shares < 1e-9);  // the largest is 10
  CHECK(worst < 1e-10);
}

TEST_CASE("many snapshots give the average that the sum over all weights is") {
  const Folder folder;
  const std::filesystem::path last = train(folder / "", settings("ema_lengths = [0.05, 0.1]\n"), 200, 4);
  for (const double length : {0.03, 0.05, 0.07, 0.1, 0.15, 0.2}) {
    CAPTURE(length);
    const Tensor made = read_safetensors(reconstruct_average(last, length)).tensors.at("w");
    CHECK(most(made - by_force(power_exponent(length), 200)) < (length == 0.05 || length == 0.1 ? 1e-11 : 0.01));
  }
  const Json said = Json::parse(read_metadata(reconstruct_average(last, 0.03)).at("retort"));
  CHECK(said["training"]["ema_length"] == 0.03);
  CHECK(said["training"]["step"] == 200);
}

TEST_CASE("a stage begins its averages anew, and only its own snapshots count") {
  const Folder folder;
  const std::filesystem::path last = train(folder / "", settings("ema_lengths = [0.05, 0.1]\n"), 64, 8, 30);
  const TensorFile file = read_safetensors(folder / "averages_000064.safetensors");
  CHECK(most(file.tensors.at("0.1/w") - by_force(power_exponent(0.1), 64, 30)) < 1e-13);
  const Json said = Json::parse(read_metadata(last).at("retort"))["training"]["averages"];
  CHECK(said["begin"] == 30);
  CHECK(said["steps"] == Json({32, 40, 48, 56, 64}));
  const Tensor made = read_safetensors(reconstruct_average(last, 0.1)).tensors.at("w");
  CHECK(most(made - by_force(power_exponent(0.1), 64, 30)) < 1e-12);
}

TEST_CASE("averages go on from a saved state, bit for bit") {
  const Folder folder;
  const TrainSettings s = settings("ema_lengths = [0.05, 0.1]\n");
  Three one, other;
  PowerAverages whole(one.weights, s), first(one.weights, s), second(other.weights, s);
  for (int64_t k = 1; k <= 50; ++k) {
    one.take(k);
    other.take(k);
    whole.follow(k);
    PowerAverages& now = k <= 20 ? first : second;
    now.follow(k);
    if (k % 10 == 0) {
      whole.snapshot(folder / "", k);
      now.snapshot(folder / "", k);
    }
    if (k == 20) {
      std::map<std::string, Tensor> state;
      first.store(state);
      for (auto& [name, value] : state) {
        value = value.clone();
      }
      second.restore(state, Json::parse(spell(first.described())));
    }
  }
  std::map<std::string, Tensor> a, b;
  whole.store(a);
  second.store(b);
  REQUIRE(a.size() == 4);
  for (const auto& [name, value] : a) {
    CHECK(at::equal(value, b.at(name)));
  }
  CHECK(whole.described() == second.described());
}

TEST_CASE("what snapshots lack is said in one line") {
  const Folder folder;
  const std::filesystem::path without = train(folder / "", settings(""), 8, 8);
  CHECK(contains(request_error([&] { reconstruct_average(without, 0.1); }), "left no snapshots"));
  const std::filesystem::path last = train(folder / "", settings("ema_lengths = [0.05, 0.1]\n"), 64, 8);
  std::filesystem::remove(folder / "averages_000040.safetensors");
  CHECK(contains(request_error([&] { reconstruct_average(last, 0.1); }), "averages_000040.safetensors: this snapshot"));
  CHECK(contains(request_error([] { settings("ema_lengths = [0.1, 0.1]"); }), "names 0.1 twice"));
  CHECK(contains(request_error([] { settings("ema_lengths = [0.3]"); }), "ema_lengths"));
}

TEST_CASE("a half-life counts samples, begins short, and is EDM's") {
  for (const Json& of : fixture()["half_lives"]) {
    const TrainSettings s = settings(
        "batch = 8\ngradient_accumulation = 2\nema_half_life = " + Value{of["samples"].get<double>(), {}}.text() +
        "\nema_rampup = " + Value{of["rampup"].get<double>(), {}}.text() + "\n");
    REQUIRE(s.averages());
    Three network;
    network.take(0);
    const std::vector<Tensor> average = network.weights.copy();
    double worst = 0;
    for (int64_t k = 1; k <= 64; ++k) {
      network.take(k);
      move_average(average, network.weights.tensors, s.ema_decay(k));
      worst = std::max(worst, most(average[0] - times(numbers(of["averages"][static_cast<size_t>(k - 1)]))));
    }
    CHECK(worst < 1e-14);
  }
  // Weights that were left 160 samples ago count half of those that are left now.
  const TrainSettings s = settings("batch = 16\nema_half_life = 160.0\nema_rampup = 0.0\n");
  CHECK(std::pow(s.ema_decay(1), 10) == doctest::Approx(0.5).epsilon(1e-14));
  CHECK(s.ema_decay(1) == s.ema_decay(1000));
  // Of 0.1 times the samples before: at step 11 of 16 each, that is 16.
  CHECK(settings("batch = 16\nema_half_life = 1e6\nema_rampup = 0.1\n").ema_decay(11) == doctest::Approx(0.5));
  CHECK(contains(request_error([] { settings("ema = 0.9\nema_half_life = 100.0"); }), "beside train.ema"));
}

TEST_CASE("the decays of train.ema are what they were") {
  const TrainSettings ramp = settings("ema = 0.99"), flat = settings("ema = 0.99\nema_ramp = false");
  CHECK(ramp.ema_decay(1) == 2.0 / 11);
  CHECK(ramp.ema_decay(5000) == 0.99);
  CHECK(flat.ema_decay(1) == 0.99);
  CHECK(!settings("").averages());
}
