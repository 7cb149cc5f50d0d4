#include "retort/noise.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/PhiloxRNGEngine.h>

namespace retort {

Noise::Noise(uint64_t seed, Tensor rows) : seed_(seed), rows_(std::move(rows)) {}
Noise::Noise(std::function<Tensor(int64_t)> source) : source_(std::move(source)) {}

Noise Noise::at(int64_t step) const {
  Noise out = *this;
  out.step_ = step;
  return out;
}

Noise Noise::select(const Tensor& index) const {
  Noise out = *this;
  out.rows_ = rows_.defined() ? rows_.index_select(0, index) : index;
  return out;
}

Tensor Noise::normal(const Tensor& x, int64_t draw) const {
  if (source_) {
    const Tensor whole = source_(step_).to(x.options());
    return rows_.defined() ? whole.index_select(0, rows_.to(x.device())) : whole.narrow(0, 0, x.size(0));
  }
  const int64_t rows = x.size(0), columns = rows > 0 ? x.numel() / rows : 0;
  const Tensor out = at::empty(x.sizes(), at::kFloat), names = rows_.defined() ? rows_.contiguous() : Tensor();
  float* const to = out.mutable_data_ptr<float>();
  // A generator that counts: its numbers are a function of (seed, row, place), so no state is carried along.
  constexpr uint64_t draws_of_a_step = 16, numbers_of_a_draw = uint64_t{1} << 32;
  const uint64_t place =
      (static_cast<uint64_t>(step_) * draws_of_a_step + static_cast<uint64_t>(draw)) * numbers_of_a_draw;
  at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t name = names.defined() ? names.const_data_ptr<int64_t>()[r] : r;
      at::Philox4_32 engine(seed_, static_cast<uint64_t>(name), place);
      for (int64_t i = 0; i < columns; ++i) {
        to[r * columns + i] = engine.randn(10);
      }
    }
  });
  return out.to(x.options());
}

}  // namespace retort
