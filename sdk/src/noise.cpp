#include "retort/noise.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "noise_lanes.h"
#include "noise_path.h"

namespace retort {

namespace {

constexpr uint64_t draws_of_a_step = 16;

// Rows that are worth a thread.
int64_t grain(int64_t columns, int64_t numbers) {
  return std::max<int64_t>(1, numbers / std::max<int64_t>(1, columns));
}

lanes::Name draw_name(uint64_t seed, int64_t row, int64_t step, int64_t draw) {
  return {seed, static_cast<uint64_t>(row), static_cast<uint64_t>(step) * draws_of_a_step + static_cast<uint64_t>(draw),
          0};
}

// The paths of a batch's rows, by their place in it, as a thread's last call has left them: the next step of a solve
// starts where this one ends. A path of another name starts anew, so this saves work and changes no number. Large
// batches do without, so that a thread keeps 30 MB at most.
struct Paths {
  static constexpr int64_t most = int64_t{1} << 20;  // numbers of a batch; of each, a path keeps about seven

  RowPath& of(int64_t row, int64_t rows, int64_t columns) {
    const bool keeps = rows * lanes::blocks_of(columns) * lanes::block <= most;
    rows_.resize(keeps ? static_cast<size_t>(rows) : 1);
    return rows_[keeps ? static_cast<size_t>(row) : 0];
  }
  Plans plans;

 private:
  std::vector<RowPath> rows_;
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
  at::parallel_for(0, rows, grain(columns, 1 << 14), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      lanes::normals(draw_name(seed_, name(r), step_, draw), columns, to + r * columns);
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
  at::parallel_for(0, rows, grain(columns, 1 << 11), [&](int64_t begin, int64_t end) {
    thread_local Paths paths;
    for (int64_t r = begin; r < end; ++r) {
      const int64_t a = place_of(first.const_data_ptr<double>()[r]), b = place_of(last.const_data_ptr<double>()[r]);
      if (a >= b || b == path_places) {
        lanes::normals(draw_name(seed_, name(r), step_, draw), columns, numbers + r * columns);
        continue;
      }
      RowPath& path = paths.of(r, rows, columns);
      path.open({seed_, static_cast<uint64_t>(name(r)), columns, power});
      path.increment(a, b, paths.plans, numbers + r * columns);
    }
  });
  return out.to(x.options());
}

}  // namespace retort
