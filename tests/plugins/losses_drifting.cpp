// Drifting: values and gradients against a formula in loops, which rows know of each other, and a generator that is led
// to the mixture.
#include <cmath>

#include "plugins/losses_distribution.h"

using namespace retort;
using namespace retort::test;
using namespace retort::test::distribution;

namespace {

using Points = std::vector<std::vector<double>>;

Points points_of(const Tensor& x) {
  Points out;
  for (int64_t i = 0; i < x.size(0); ++i) {
    out.emplace_back(x[i].data_ptr<double>(), x[i].data_ptr<double>() + x.size(1));
  }
  return out;
}

struct Way {
  Tensor step;  // [n, 2]
  double unit;
};

// Deng et al. 2026, algorithms 1 and 2: the sum over the temperatures of V, for every x, one number after another.
Way drift(const Tensor& x_rows, const Tensor& data, const std::vector<double>& temperatures, bool scale_distances,
          bool scale_forces, double least) {
  const Points x = points_of(x_rows.detach().contiguous()), p = points_of(data.contiguous());
  const size_t n = x.size();
  const auto target = [&](size_t j) -> const std::vector<double>& { return j < n ? x[j] : p[j - n]; };
  const auto distance = [&](size_t i, size_t j) { return std::hypot(x[i][0] - target(j)[0], x[i][1] - target(j)[1]); };
  double mean = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < 2 * n; ++j) {
      mean += distance(i, j) / static_cast<double>(2 * n * n);
    }
  }
  Way out{at::zeros({static_cast<int64_t>(n), 2}, at::kDouble), scale_distances ? mean / std::sqrt(2.0) : 1};
  for (const double temperature : temperatures) {
    const auto kernel = [&](size_t i, size_t j) {
      return i == j ? 0 : std::exp(-distance(i, j) / (scale_distances ? mean : 1) / temperature);
    };
    const auto affinity = [&](size_t i, size_t j) {
      double row = 0, column = 0;
      for (size_t k = 0; k < 2 * n; ++k) {
        row += kernel(i, k);
      }
      for (size_t k = 0; k < n; ++k) {
        column += kernel(k, j);
      }
      return std::max(kernel(i, j) / std::sqrt(row * column), least);
    };
    Tensor v = at::zeros_like(out.step);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = n; j < 2 * n; ++j) {
        for (size_t k = 0; k < n; ++k) {
          for (size_t c = 0; c < 2; ++c) {
            v[static_cast<int64_t>(i)][static_cast<int64_t>(c)] +=
                affinity(i, j) * affinity(i, k) * (target(j)[c] - x[k][c]) / out.unit;
          }
        }
      }
    }
    out.step += scale_forces ? v / rms(v) : v;
  }
  return out;
}

// What the loss is to be, whose gradient in x is that step.
Tensor value(const Tensor& x, const Way& way) {
  return ((x / way.unit) - (x / way.unit + way.step).detach()).square().mean(1);
}

const std::vector<double> temperatures = {0.1, 0.4};

std::string keys(const std::string& more) { return "temperatures = [0.1, 0.4]\n" + more; }

}  // namespace

TEST_CASE("drifting moves samples to the data and away from each other, by both softmaxes of their distances") {
  for (const bool distances : {true, false}) {
    for (const bool forces : {true, false}) {
      for (const double least : {0.0, 0.05}) {
        CAPTURE(distances);
        CAPTURE(forces);
        CAPTURE(least);
        World w;
        w.numbers = {w.z};
        const auto word = [](bool b) { return b ? "true" : "false"; };
        const LossValue got = w.run(
            "drifting", keys(std::string("scale_distances = ") + word(distances) + "\nscale_forces = " + word(forces) +
                             "\nleast_affinity = " + Value{least, {}}.text()));
        w.agree(got.per_row, value(w.x, drift(w.x, w.real, temperatures, distances, forces, least)), "student");
      }
    }
  }
}

TEST_CASE("rows of a group, and of a label, drift as if they were alone") {
  World w;
  w.numbers = {w.z};
  const auto joined = [&](const std::vector<std::vector<int64_t>>& parts) {
    Tensor out = at::zeros({batch_rows}, at::kDouble);
    for (const auto& part : parts) {
      const Tensor index = at::tensor(part, at::kLong), x = w.x.index_select(0, index);
      const Way way = drift(x, w.real.index_select(0, index), temperatures, true, true, 0);
      out = out.index_copy(0, index, value(x, way));
    }
    return out;
  };
  w.agree(w.run("drifting", keys("group = 3")).per_row, joined({{0, 1, 2}, {3, 4, 5}}), "student");
  w.labels = at::tensor({2, 0, 2, 0, 2, 0}, at::kLong);
  w.agree(w.run("drifting", keys("")).per_row, joined({{0, 2, 4}, {1, 3, 5}}), "student");
  w.agree(w.run("drifting", keys("per_class = false")).per_row, joined({{0, 1, 2, 3, 4, 5}}), "student");
  // A row that is alone has nowhere to go.
  w.labels = at::tensor({2, 0, 0, 0, 0, 0}, at::kLong);
  CHECK(w.run("drifting", keys("")).per_row[0].item<double>() == 0);
}

TEST_CASE("a generator that drifts is led to the mixture") {
  for (const std::string toml : {"", "scale_distances = false\nscale_forces = false\ntemperatures = [0.1, 0.3]"}) {
    CAPTURE(toml);
    Apprentice student("drifting", toml, Makes::generator);
    const double before = student.distance(1);
    student.train(300, 3e-3, 128);
    const double after = student.distance(1);
    MESSAGE("energy distance " << before << " before, " << after << " after");
    CHECK(before > 0.1);
    CHECK(after < 0.01);
  }
}
