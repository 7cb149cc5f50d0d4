#include "retort/noise.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/PhiloxRNGEngine.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace retort {

namespace {

// A generator that counts: its numbers are a function of (seed, row, place), so no state is carried along.
constexpr uint64_t numbers_of_a_draw = uint64_t{1} << 32;
constexpr uint64_t draws_of_a_step = 16;
// Places of paths lie beyond those of steps.
constexpr uint64_t first_of_path = uint64_t{1} << 28;

void fill(uint64_t seed, int64_t row, uint64_t draw, int64_t columns, float* to) {
  at::Philox4_32 engine(seed, static_cast<uint64_t>(row), draw * numbers_of_a_draw);
  for (int64_t i = 0; i < columns; ++i) {
    to[i] = engine.randn(10);
  }
}

// The path's place of lambda, 0 at alpha = 0 to `places` at sigma = 0. Those of -5 to 5 take three quarters of them.
constexpr int64_t places = int64_t{1} << 16;
int64_t place_of(double lambda) {
  return std::llround(static_cast<double>(places) * (0.5 + 0.5 * std::tanh(lambda / 5)));
}

// One row's path by bisection: W at a place halfway between two others that are known is their interpolation in u, and
// noise of the variance of a bridge. The noise of a place is a function of (seed, row, place) alone.
class Path {
 public:
  Path(uint64_t seed, int64_t row, int64_t columns, double power)
      : seed_(seed), row_(row), columns_(columns), power_(power), normal_(static_cast<size_t>(columns)) {}

  double u(int64_t place) const {
    if (place == places) {
      return std::numeric_limits<double>::infinity();
    }
    return place == 0 ? 0 : std::exp(2 * power_ * 5 * std::atanh(2 * static_cast<double>(place) / places - 1));
  }

  /// W at two places, the first before the second. They go down together as long as they are in one half.
  std::pair<std::vector<double>, std::vector<double>> at(int64_t first, int64_t second) {
    Stretch stretch{0, places, std::vector<double>(normal_.size(), 0), std::vector<double>(normal_.size())};
    while (stretch.left < first && (first < middle(stretch)) == (second < middle(stretch))) {
      halve(stretch, first);
    }
    Stretch other = stretch;
    return {down(stretch, first), down(other, second)};
  }

 private:
  // Between two places, with W there.
  struct Stretch {
    int64_t left, right;
    std::vector<double> low, high;
  };

  static int64_t middle(const Stretch& s) { return (s.left + s.right) / 2; }

  std::vector<double> down(Stretch& s, int64_t place) {
    while (s.left < place) {
      halve(s, place);
    }
    return std::move(s.low);
  }

  // To the half with that place in it.
  void halve(Stretch& s, int64_t place) {
    const int64_t at = middle(s);
    const double from = u(s.left), to = u(s.right), own = u(at) - from;
    // At sigma = 0 the path is at infinity, which says nothing of where it is now.
    const double share = std::isinf(to) ? 0 : own / (to - from), spread = std::sqrt(own * (1 - share));
    fill(seed_, row_, first_of_path + static_cast<uint64_t>(at), columns_, normal_.data());
    std::vector<double>& end = at <= place ? s.low : s.high;
    for (size_t i = 0; i < normal_.size(); ++i) {
      end[i] = s.low[i] + (share == 0 ? 0 : share * (s.high[i] - s.low[i])) + spread * static_cast<double>(normal_[i]);
    }
    (at <= place ? s.left : s.right) = at;
  }

  uint64_t seed_;
  int64_t row_, columns_;
  double power_;
  std::vector<float> normal_;
};

}  // namespace

Noise::Noise(uint64_t seed, Tensor rows) : seed_(seed), rows_(rows.defined() ? rows.contiguous() : rows) {}
Noise::Noise(std::function<Tensor(int64_t, int64_t)> source) : source_(std::move(source)) {}

Noise Noise::at(int64_t step) const {
  Noise out = *this;
  out.step_ = step;
  return out;
}

Noise Noise::select(const Tensor& index) const {
  Noise out = *this;
  out.rows_ = rows_.defined() ? rows_.index_select(0, index) : index.contiguous();
  return out;
}

int64_t Noise::name(int64_t row) const { return rows_.defined() ? rows_.const_data_ptr<int64_t>()[row] : row; }

Tensor Noise::normal(const Tensor& x, int64_t draw) const {
  if (source_) {
    const Tensor whole = source_(step_, draw).to(x.options());
    return rows_.defined() ? whole.index_select(0, rows_.to(x.device())) : whole.narrow(0, 0, x.size(0));
  }
  const int64_t rows = x.size(0), columns = rows > 0 ? x.numel() / rows : 0;
  const Tensor out = at::empty(x.sizes(), at::kFloat);
  float* const to = out.mutable_data_ptr<float>();
  const uint64_t place = static_cast<uint64_t>(step_) * draws_of_a_step + static_cast<uint64_t>(draw);
  at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      fill(seed_, name(r), place, columns, to + r * columns);
    }
  });
  return out.to(x.options());
}

Tensor Noise::brownian(const Tensor& x, const Times& from, const Times& to, double power, int64_t draw) const {
  if (source_) {
    return normal(x, draw);
  }
  const int64_t rows = x.size(0), columns = rows > 0 ? x.numel() / rows : 0;
  const Tensor out = at::empty(x.sizes(), at::kFloat);
  float* const numbers = out.mutable_data_ptr<float>();
  const Tensor first = from.lambda().contiguous(), last = to.lambda().contiguous();
  const uint64_t alone = static_cast<uint64_t>(step_) * draws_of_a_step + static_cast<uint64_t>(draw);
  at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t a = place_of(first.const_data_ptr<double>()[r]), b = place_of(last.const_data_ptr<double>()[r]);
      if (a >= b || b == places) {
        fill(seed_, name(r), alone, columns, numbers + r * columns);
        continue;
      }
      Path path(seed_, name(r), columns, power);
      const auto [before, after] = path.at(a, b);
      const double scale = 1 / std::sqrt(path.u(b) - path.u(a));
      for (int64_t i = 0; i < columns; ++i) {
        const auto at = static_cast<size_t>(i);
        numbers[r * columns + i] = static_cast<float>((after[at] - before[at]) * scale);
      }
    }
  });
  return out.to(x.options());
}

}  // namespace retort
