// The noise of stochastic solvers: its bits, its law, Brownian paths, and that a number has one value.
#include "retort/noise.h"

#include <array>
#include <cmath>
#include <numbers>
#include <thread>

// The SDK does not export what is inside of it, so the test has a copy of its own.
#include "../../sdk/src/noise_lanes.cpp"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

Tensor zeros(int64_t rows, int64_t columns) { return at::zeros({rows, columns}, at::kFloat); }

// Correlation of numbers that have mean 0 and variance 1, in units of what it varies by if they are independent.
double together(const Tensor& x, const Tensor& y) {
  return (x.to(at::kDouble) * y.to(at::kDouble)).mean().item<double>() * std::sqrt(static_cast<double>(x.numel()));
}

const Process& exploding() {
  static const TestHost host("type = \"ve\"");
  return host.process();
}

// Times of a variance-exploding process, [rows] each.
Times level(double sigma, int64_t rows) {
  return {exploding(), exploding().time_of_noise_level(at::full({rows}, sigma, at::kDouble))};
}

Tensor increment(const Noise& noise, double from, double to, int64_t rows, int64_t columns, double power = 1) {
  return noise.brownian(zeros(rows, columns), level(from, rows), level(to, rows), power);
}

// A thread that has no path in mind.
Tensor anew(const std::function<Tensor()>& work) {
  Tensor out;
  std::thread([&] { out = work(); }).join();
  return out;
}

double u(double sigma, double power = 1) { return std::pow(sigma, -2 * power); }

}  // namespace

TEST_CASE("the bits of noise are Threefry's, by the known answers of its authors' library, Random123") {
  struct Answer {
    std::array<uint32_t, 4> counter, key, bits;
  };
  const uint32_t ones = 0xffffffff;
  const Answer answers[] = {
      {{0, 0, 0, 0}, {0, 0, 0, 0}, {0x531c7e4f, 0x39491ee5, 0x2c855a92, 0x3d6abf9a}},
      {{ones, ones, ones, ones}, {ones, ones, ones, ones}, {0xc4189358, 0x1c9cc83a, 0xd5881c67, 0x6a0a89e0}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0, 0x082efa98, 0xec4e6c89},
       {0x4aa71d8f, 0x734738c2, 0x431fc6a8, 0xae6debf1}}};
  const auto joined = [](uint32_t low, uint32_t high) { return low | static_cast<uint64_t>(high) << 32; };
  for (const auto& [counter, key, expected] : answers) {
    const lanes::Name name{joined(key[0], key[1]), joined(key[2], key[3]), joined(counter[1], counter[2]), counter[3]};
    const lanes::Bits made = lanes::bits(name, counter[0]);
    CHECK((std::array{made.a, made.b, made.c, made.d} == expected));
  }
}

TEST_CASE("noise is Box and Muller's of its bits, and the same with vectors of any width") {
  double error = 0, largest = 0;
  for (uint64_t row = 0; row < 300; ++row) {
    const lanes::Name name{11, row, 5, 0};
    const int64_t columns = 1 + static_cast<int64_t>(row);
    std::vector<float> made(static_cast<size_t>(columns)), plain = made, whole(384);
    lanes::normals(name, columns, made.data());
    lanes::fill_plain(name, columns, plain.data());
    lanes::normals(name, 384, whole.data());
    REQUIRE(made == plain);
    REQUIRE(std::equal(made.begin(), made.end(), whole.begin()));
    for (size_t i = 0; i < 384; ++i) {
      const lanes::Bits bits = lanes::bits(name, static_cast<uint32_t>(i / 64 * 16 + i % 16));
      const size_t word = i % 64 / 16;
      const auto first = static_cast<int32_t>(word < 2 ? bits.a : bits.c);
      const auto angle = static_cast<int32_t>(word < 2 ? bits.b : bits.d) * std::numbers::pi / 4294967296.0;
      const double radius = std::sqrt(-2 * std::log(std::abs(static_cast<double>(first | 1)) / 2147483648.0));
      const double expected = radius * (word % 2 == 1 ? std::sin(angle) : std::cos(angle) * (first < 0 ? -1 : 1));
      error = std::max(error, std::abs(static_cast<double>(whole[i]) - expected));
      largest = std::max(largest, radius);
    }
  }
  CHECK(largest > 4);
  CHECK(error < 2e-6);
}

TEST_CASE("descents are the same with vectors of any width") {
  std::vector<lanes::Halving> halvings;
  for (uint64_t i = 0; i < 12; ++i) {
    halvings.push_back({i, 0.31F + 0.05F * static_cast<float>(i), 0.77F, 0.4F, i % 3 == 0, nullptr});
  }
  std::vector<float> low(128), high(128), out(128), plain(128);
  lanes::normals({1, 2, 3, 0}, 128, low.data());
  lanes::normals({1, 2, 4, 0}, 128, high.data());
  lanes::descend_plain({8, 9, 0, 1}, halvings.data(), halvings.size(), low.data(), high.data(), 2, plain.data());
  lanes::descend({8, 9, 0, 1}, halvings, low.data(), high.data(), 2, out.data());
  CHECK(out == plain);
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    lanes::descend_middle({8, 9, 0, 1}, halvings.data(), halvings.size(), low.data(), high.data(), 2, out.data());
    CHECK(out == plain);
    lanes::fill_middle({8, 9, 0, 1}, 128, out.data());
    lanes::fill_plain({8, 9, 0, 1}, 128, plain.data());
    CHECK(out == plain);
  }
#endif
}

TEST_CASE("noise has the normal law's moments and tails, and no number tells of another") {
  constexpr int64_t rows = 4096, columns = 4000;
  constexpr double count = static_cast<double>(rows * columns);
  const Noise noise(21);
  const Tensor z = noise.normal(zeros(rows, columns)), d = z.to(at::kDouble);
  CHECK(std::abs(d.mean().item<double>()) < 4 / std::sqrt(count));
  CHECK(std::abs(d.pow(2).mean().item<double>() - 1) < 4 * std::sqrt(2 / count));
  CHECK(std::abs(d.pow(3).mean().item<double>()) < 4 * std::sqrt(15 / count));
  CHECK(std::abs(d.pow(4).mean().item<double>() - 3) < 4 * std::sqrt(96 / count));
  CHECK(std::abs(d.pow(6).mean().item<double>() - 15) < 4 * std::sqrt(10170 / count));
  CHECK(z.abs().max().item<double>() < 6.56);
  for (const double far : {0.5, 1.0, 2.0, 3.0, 4.0, 5.0}) {
    CAPTURE(far);
    for (const Tensor& beyond : {z > far, z < -far}) {
      const double expected = count * std::erfc(far / std::sqrt(2.0)) / 2;
      CHECK(std::abs(beyond.sum().item<double>() - expected) < 4.5 * std::sqrt(expected));
    }
  }
  // Numbers beside each other, of one pair (16 columns apart), of one block, of rows, steps, draws and seeds.
  for (const int64_t lag : {1, 2, 16, 32, 48, 64}) {
    CAPTURE(lag);
    const Tensor a = z.narrow(1, 0, columns - lag), b = z.narrow(1, lag, columns - lag);
    CHECK(std::abs(together(a, b)) < 4.5);
    CHECK(std::abs(together(a.square() - 1, b.square() - 1)) < 2 * 4.5);
  }
  CHECK(std::abs(together(z.narrow(0, 0, rows - 1), z.narrow(0, 1, rows - 1))) < 4.5);
  const Tensor like = zeros(512, columns), some = z.narrow(0, 0, 512);
  CHECK(std::abs(together(some, noise.at(1).normal(like))) < 4.5);
  CHECK(std::abs(together(some, noise.normal(like, 1))) < 4.5);
  CHECK(std::abs(together(some, Noise(22).normal(like))) < 4.5);
  CHECK(std::abs(together(some, increment(noise, 3, 1, 512, columns))) < 4.5);
}

TEST_CASE("increments of a Brownian path add up, and go together as far as they overlap") {
  constexpr int64_t rows = 256, columns = 1000;
  for (const double power : {1.0, 0.3, 4.0}) {
    CAPTURE(power);
    const std::vector<double> levels = {80, 79.9, 20, 4, 3.98, 3.9, 1, 0.2, 0.002};
    const Noise noise(3);
    std::vector<Tensor> steps;
    Tensor sum = at::zeros({rows, columns}, at::kDouble);
    for (size_t i = 0; i + 1 < levels.size(); ++i) {
      steps.push_back(increment(noise, levels[i], levels[i + 1], rows, columns, power));
      const double length = u(levels[i + 1], power) - u(levels[i], power);
      CHECK(std::abs(steps.back().to(at::kDouble).square().mean().item<double>() - 1) < 4.5 * std::sqrt(2.0 / 256000));
      for (size_t j = 0; j < i; ++j) {
        CHECK(std::abs(together(steps[i], steps[j])) < 4.5);
      }
      const double whole = u(levels[i + 1], power) - u(levels[0], power);
      const Tensor direct = increment(noise, levels[0], levels[i + 1], rows, columns, power).to(at::kDouble);
      // The first part of it, of which it has this share.
      const double share = std::sqrt((u(levels[1], power) - u(levels[0], power)) / whole);
      CHECK((direct * steps[0].to(at::kDouble)).mean().item<double>() == doctest::Approx(share).epsilon(0.01).scale(1));
      // A place is 1e-4 of lambda or more off where it is meant to be, so weights are only so exact.
      sum = sum + std::sqrt(length) * steps.back().to(at::kDouble);
      CHECK(rms(sum / std::sqrt(whole) - direct) < 0.02);
    }
  }
}

TEST_CASE("increments between places add up to rounding") {
  // lambda = 5 atanh(k / 32) is a place itself.
  const auto at_place = [](double k) { return std::exp(-5 * std::atanh(k / 32)); };
  const Noise noise(5);
  const double a = at_place(-20), b = at_place(-3), c = at_place(11);
  const auto part = [&](double from, double to) { return increment(noise, from, to, 64, 100).to(at::kDouble); };
  const Tensor whole = part(a, c);
  CHECK(most(std::sqrt(u(b) - u(a)) * part(a, b) + std::sqrt(u(c) - u(b)) * part(b, c) -
             std::sqrt(u(c) - u(a)) * whole) < 3e-6 * std::sqrt(u(c)));
}

TEST_CASE("what a thread remembers of a path changes no number of it") {
  const auto solve_along = [](const Noise& noise, const std::vector<double>& levels, int64_t rows) {
    std::vector<Tensor> all;
    for (size_t i = 0; i + 1 < levels.size(); ++i) {
      all.push_back(increment(noise.at(static_cast<int64_t>(i)), levels[i], levels[i + 1], rows, 70));
    }
    return at::stack(all);
  };
  const std::vector<double> down = {80, 60, 33, 32, 31.999, 10, 4, 4.0001, 1, 0.5, 0.07, 0.002, 0};
  const std::vector<double> back = {0.002, 0, 3, 1, 80, 40, 3, 1, 3, 2, 1.5, 3, 1, 80, 0.1};
  for (const auto& levels : {down, back}) {
    const Tensor known = solve_along(Noise(4), levels, 5);
    for (size_t i = 0; i + 1 < levels.size(); ++i) {
      const auto step = static_cast<int64_t>(i);
      const auto alone = [&] { return increment(Noise(4).at(step), levels[i], levels[i + 1], 5, 70); };
      CHECK(at::equal(anew(alone), known[step]));
      // Each row by itself, in another order, with other rows and paths between.
      for (const int64_t row : {4, 0, 2}) {
        const Noise own = Noise(4).select(at::full({1}, row, at::kLong)).at(step);
        CHECK(at::equal(increment(own, levels[i], levels[i + 1], 1, 70)[0], known[step][row]));
        increment(own, 7, 5, 1, 70, 0.5);
      }
    }
  }
  // More than is remembered.
  const int64_t many = (int64_t{1} << 20) / 128 + 5;
  CHECK(at::equal(solve_along(Noise(4), {9, 7, 4}, many).narrow(1, 0, 5), solve_along(Noise(4), {9, 7, 4}, 5)));
}

TEST_CASE("within one place of a path, and into sigma = 0, its noise is that of a draw") {
  const Noise noise = Noise(6).at(3);
  const Tensor x = zeros(4, 30);
  CHECK(at::equal(noise.brownian(x, level(2, 4), level(2, 4), 1, 1), noise.normal(x, 1)));
  CHECK(at::equal(noise.brownian(x, level(2, 4), level(0, 4)), noise.normal(x)));
  CHECK(!at::equal(noise.brownian(x, level(2, 4), level(1, 4)), noise.normal(x)));
  CHECK((noise.brownian(x.to(at::kDouble), level(2, 4), level(1, 4)).scalar_type() == at::kDouble));
  CHECK(noise.brownian(zeros(0, 30), level(2, 0), level(1, 0)).size(0) == 0);
}
