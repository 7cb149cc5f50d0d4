#include "noise_path.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace retort {

namespace {
constexpr uint32_t kind_path = 1;
}

int64_t place_of(double lambda) {
  return std::llround(static_cast<double>(path_places) * (0.5 + 0.5 * std::tanh(lambda / 5)));
}
double lambda_of(int64_t place) {
  return 5 * std::atanh(2 * static_cast<double>(place) / static_cast<double>(path_places) - 1);
}

std::vector<lanes::Halving>& Descent::plan(int64_t left, int64_t right, int64_t place, double power) {
  if (left == left_ && right == right_ && place == place_ && power == power_) {
    return halvings_;
  }
  left_ = left;
  right_ = right;
  place_ = place;
  power_ = power;
  halvings_.clear();
  double low = lambda_of(left), high = lambda_of(right);
  for (int64_t at = -1; at != place;) {
    at = (left + right) / 2;
    const double own = lambda_of(at), before = power * (own - low), behind = power * (high - own);  // maybe infinite
    // With r = e^{-2 before} and s = e^{-2 behind}, the bridge of X has these weights, and this variance:
    const double no_r = -std::expm1(-2 * before), no_s = -std::expm1(-2 * behind),
                 no_rs = -std::expm1(-2 * (before + behind));
    halvings_.push_back({static_cast<uint64_t>(at), static_cast<float>(std::exp(-before) * no_s / no_rs),
                         static_cast<float>(std::exp(-behind) * no_r / no_rs),
                         static_cast<float>(std::sqrt(no_r * no_s / no_rs)), at <= place, nullptr});
    (at <= place ? left : right) = at;
    (at <= place ? low : high) = own;
  }
  return halvings_;
}

void Plans::weigh(int64_t from, int64_t to, double power) {
  if (from == from_ && to == to_ && power == power_) {
    return;
  }
  from_ = from;
  to_ = to;
  power_ = power;
  const double length = power * (lambda_of(to) - lambda_of(from));
  const double scale = 1 / std::sqrt(-std::expm1(-2 * length));
  before = static_cast<float>(std::exp(-length) * scale);
  after = static_cast<float>(scale);
}

void RowPath::open(const PathName& name) {
  if (name == name_ && !stretches_.empty()) {
    return;
  }
  name_ = name;
  stretches_ = {{0, path_places, -1, -1}};
  known_ = 0;
  points_[0].place = points_[1].place = -1;
}

// To the last stretch that has the place inside.
void RowPath::rise(int64_t place) {
  while (place <= stretches_.back().left || stretches_.back().right <= place) {
    stretches_.pop_back();
  }
  known_ = std::min(known_, stretches_.size());
  if (known_ < stretches_.size() || stretches_.back().middle() == place) {
    return;
  }
  // Its half, which was not the one of the call before.
  const Stretch s = stretches_.back();
  const int own = static_cast<int>(stretches_.size()) - 1;
  stretches_.push_back(place < s.middle() ? Stretch{s.left, s.middle(), s.low, own}
                                          : Stretch{s.middle(), s.right, own, s.high});
}

// Has the middles of stretches that are not shorter than `least` written down.
void RowPath::keep(std::vector<lanes::Halving>& halvings, int64_t least) {
  for (lanes::Halving& h : halvings) {
    const Stretch s = stretches_.back();
    const size_t own = stretches_.size() - 1;
    h.middle = nullptr;
    if (s.right - s.left < least || known_ != own) {
      continue;
    }
    if (middles_.size() <= own) {
      middles_.emplace_back();
    }
    middles_[own].resize(static_cast<size_t>(lanes::blocks_of(name_.columns) * lanes::block));
    h.middle = middles_[own].data();
    known_ = own + 1;
    if (&h != &halvings.back()) {
      const int index = static_cast<int>(own);
      stretches_.push_back(h.to_right ? Stretch{s.middle(), s.right, index, s.high}
                                      : Stretch{s.left, s.middle(), s.low, index});
    }
  }
}

const RowPath::Point& RowPath::at(int64_t place, int64_t least, Descent& descent) {
  if (points_[0].place != place) {
    std::swap(points_[0], points_[1]);
  }
  Point& point = points_[0];
  if (point.place == place) {
    return point;
  }
  point.place = place;
  const int64_t blocks = lanes::blocks_of(name_.columns);
  point.x.resize(static_cast<size_t>(blocks * lanes::block));
  if (place == 0) {
    std::fill(point.x.begin(), point.x.end(), 0.0F);  // it counts for nothing
    return point;
  }
  rise(place);
  const Stretch start = stretches_.back();
  if (start.middle() == place && known_ == stretches_.size()) {
    std::copy_n(middles_[known_ - 1].begin(), point.x.size(), point.x.begin());
    return point;
  }
  std::vector<lanes::Halving>& halvings = descent.plan(start.left, start.right, place, name_.power);
  keep(halvings, least);
  lanes::descend({name_.seed, name_.row, 0, kind_path}, halvings, end(start.low), end(start.high), blocks,
                 point.x.data());
  return point;
}

void RowPath::increment(int64_t from, int64_t to, Plans& plans, float* out) {
  const int64_t least = to - from;  // the next step will be about as long, and leaves shorter stretches
  at(from, least, plans.first);
  const float* const after = at(to, least, plans.second).x.data();
  const float* const before = points_[1].x.data();
  plans.weigh(from, to, name_.power);
  const float a = plans.before, b = plans.after;
  for (int64_t i = 0; i < name_.columns; ++i) {
    out[i] = b * after[i] - a * before[i];
  }
}

}  // namespace retort
