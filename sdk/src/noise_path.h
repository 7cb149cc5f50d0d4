/// Brownian paths by bisection, one for each row, with what a row's last descents may leave to the next ones.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "noise_lanes.h"

namespace retort {

/// The places of paths: 0 at alpha = 0 to `path_places` at sigma = 0. Those of lambda -5 to 5 are three quarters.
inline constexpr int64_t path_places = int64_t{1} << 16;
int64_t place_of(double lambda);
double lambda_of(int64_t place);

/// Which path: it has `columns` numbers, and u = (alpha / sigma)^(2 power) for its time.
struct PathName {
  uint64_t seed = 0, row = 0;
  int64_t columns = 0;
  double power = 1;
  bool operator==(const PathName&) const = default;
};

/// The bisections down to a place from a stretch that has it inside. Rows at equal places share them.
class Descent {
 public:
  /// left < place < right. Computes anew only what is not that of the last call.
  std::vector<lanes::Halving>& plan(int64_t left, int64_t right, int64_t place, double power);

 private:
  int64_t left_ = 0, right_ = 0, place_ = 0;
  double power_ = 0;
  std::vector<lanes::Halving> halvings_;
};

/// What rows at equal places share of an increment.
struct Plans {
  /// The weights of X at both places. Computes anew only what is not that of the last call.
  void weigh(int64_t from, int64_t to, double power);

  Descent first, second;
  float before = 0, after = 0;

 private:
  int64_t from_ = -1, to_ = -1;
  double power_ = 0;
};

/// One row's path X(lambda) = W(u) / sqrt(u), which is standard normal everywhere, and e^{-power |lambda - lambda'|}
/// its correlation. Given X at the ends of a stretch, X halfway is their weighted sum and noise, named by (seed, row,
/// place) alone. So what is kept from call to call saves work, and changes no number. Systems whose C libraries differ
/// in the last place of exp or atanh may have weights, rounded to float32, that do, and so numbers: nothing else can.
class RowPath {
 public:
  /// Forgets another path.
  void open(const PathName& name);

  /// (W(to) - W(from)) / sqrt(u_to - u_from), 0 <= from < to < path_places. out: [columns]
  void increment(int64_t from, int64_t to, Plans& plans, float* out);

 private:
  // Between two places; the ends are middles of stretches before it, -1: of none, where X counts for nothing.
  struct Stretch {
    int64_t left, right;
    int low, high;
    int64_t middle() const { return (left + right) / 2; }
  };
  // X at a place.
  struct Point {
    int64_t place = -1;
    std::vector<float> x;
  };

  const Point& at(int64_t place, int64_t least, Descent& descent);
  void rise(int64_t place);
  void keep(std::vector<lanes::Halving>& halvings, int64_t least);
  const float* end(int index) const { return index < 0 ? nullptr : middles_[static_cast<size_t>(index)].data(); }

  PathName name_;
  std::vector<Stretch> stretches_;           // each a half of the one before
  std::vector<std::vector<float>> middles_;  // X in the middle of each
  size_t known_ = 0;                         // how many of them are right; the last stretch's may not be
  std::array<Point, 2> points_;              // where the last calls were, the last one first
};

}  // namespace retort
