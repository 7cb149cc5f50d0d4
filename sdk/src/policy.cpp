#include "retort/policy.h"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>
#include <vector>

namespace retort {

namespace flow_form {

Tensor time(const Process& process, const Tensor& t) {
  const Tensor sigma = process.sigma(t);
  return sigma / (process.alpha(t) + sigma);
}

Tensor time_back(const Process& process, const Tensor& u) {
  // Where there is no data left, the level is infinite.
  const Tensor noise = u >= 1;
  const Tensor inside = at::where(noise, at::full_like(u, 0.5), u);
  const Tensor t = process.time_of_noise_level(inside / (1 - inside));
  return at::where(noise, at::full_like(t, process.t_max()), t);
}

Tensor state(const Process& process, const Tensor& x, const Tensor& t) {
  return rows((process.alpha(t) + process.sigma(t)).reciprocal(), x) * x;
}

Tensor state_back(const Process& process, const Tensor& y, const Tensor& t) {
  return rows(process.alpha(t) + process.sigma(t), y) * y;
}

}  // namespace flow_form

namespace {

constexpr double least = 1e-4;  // of segments, and of u where it divides

// Where u: [B] or [K, B] lies among `count` times that are even between two: the time below, and the way from there to
// the next, 0 to 1.
struct Place {
  Tensor below;   // int64
  Tensor beyond;  // float64
};
Place place_of(const Tensor& u, const Tensor& from, const Tensor& to, int64_t count) {
  const Tensor place = ((u - to) / (from - to).clamp_min(least)).clamp(0, 1) * static_cast<double>(count - 1);
  const Tensor below = place.floor().clamp_max(static_cast<double>(count - 2));
  return {below.to(at::kLong), place - below};
}

}  // namespace

Policy::Policy(Tensor from, Tensor to, Tensor data)
    : from_(std::move(from)), to_(std::move(to)), data_(std::move(data)) {}

Tensor Policy::data(const Tensor& u) const {
  const int64_t batch = data_.size(0), count = data_.size(1);
  if (count == 1) {
    return data_.select(1, 0);
  }
  const Place place = place_of(u, from_, to_, count);
  const Tensor index = at::arange(batch, at::kLong) * count + place.below, flat = data_.flatten(0, 1);
  const auto rows_at = [&](const Tensor& i) { return flat.index_select(0, i.to(flat.device())); };
  const Tensor here = rows_at(index), weight = rows(place.beyond, here);
  return (1 - weight) * here + weight * rows_at(index + 1);
}

Tensor Policy::velocity(const Tensor& y, const Tensor& u) const {
  return rows(u.clamp_min(least).reciprocal(), y) * (y - data(u));
}

// A step is y + r (y - x0(u)), r = du / u, and x0(u) is linear in the data: so the end is a weighted sum of y and the
// data, whose weights all steps make together, as numbers.
Tensor Policy::walk(const Tensor& y, const Tensor& from, const Tensor& to, int64_t substeps) const {
  const int64_t points = data_.size(1);
  const Tensor length = from - to;
  const Tensor count = (length * static_cast<double>(substeps)).round().clamp_min(1);
  const auto most = static_cast<int64_t>(count.max().item<double>());
  // Times before and after each step: [K, B]. Rows that have arrived stay.
  const Tensor taken = at::arange(most + 1, at::kDouble).unsqueeze(1);
  const Tensor times = at::where(taken < count, from - length * (taken / count), to);
  const Tensor u = times.narrow(0, 0, most), ratio = times.diff(1, 0) / u.clamp_min(least);
  // What is made of a number from a step on to the end.
  const Tensor kept = (1 + ratio).flip(0).cumprod(0).flip(0);
  const Tensor after = at::cat({kept.narrow(0, 1, most - 1), at::ones({1, kept.size(1)}, at::kDouble)});
  const Tensor gain = -ratio * after;
  Tensor weights = at::zeros({points, kept.size(1)}, at::kDouble);
  if (points == 1) {
    weights = gain.sum(0, /*keepdim=*/true);
  } else {
    const Place place = place_of(u, from_, to_, points);
    weights.scatter_add_(0, place.below, gain * (1 - place.beyond));
    weights.scatter_add_(0, place.below + 1, gain * place.beyond);
  }
  std::vector<int64_t> shape(static_cast<size_t>(data_.dim()), 1);
  shape[0] = data_.size(0), shape[1] = points;
  const Tensor summed = (weights.t().to(data_.options()).reshape(shape) * data_).sum(1);
  return rows(kept[0], y) * y + summed.to(y.scalar_type());
}

int64_t part_of_grid(int64_t k, int64_t intervals, int64_t parts) {
  return std::lround(static_cast<double>(k * intervals) / static_cast<double>(parts));
}

}  // namespace retort
