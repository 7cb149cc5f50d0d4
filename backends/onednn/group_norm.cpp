// Compiled once for each instruction set that Highway knows; the best one is chosen when the program runs.
#include "group_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "group_norm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <cmath>
#include <cstring>
#include <vector>

HWY_BEFORE_NAMESPACE();
namespace retort_onednn {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

V load(D d, const float* from) { return hn::LoadU(d, from); }
V load(D d, const hwy::bfloat16_t* from) {
  const hn::Rebind<hwy::bfloat16_t, D> half;
  return hn::PromoteTo(d, hn::LoadU(half, from));
}
void store(D d, V v, float* to) { hn::StoreU(v, d, to); }
void store(D d, V v, hwy::bfloat16_t* to) {
  // Rounded to the nearest, ties to even: DemoteTo alone cuts off.
  const hn::RebindToUnsigned<D> du;
  const hn::Rebind<uint16_t, D> d16;
  const auto bits = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(hn::Set(du, 0x7FFF), odd)));
  hn::StoreU(hn::TruncateTo(d16, rounded), d16, reinterpret_cast<uint16_t*>(to));
}
float single(float v) { return v; }
float single(hwy::bfloat16_t v) {
  const uint32_t bits = uint32_t{v.bits} << 16;
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}
void single(float v, float* to) { *to = v; }
void single(float v, hwy::bfloat16_t* to) {
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  to->bits = static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

V silu(D d, V v) { return hn::Div(v, hn::Add(hn::Set(d, 1.0F), hn::Exp(d, hn::Neg(v)))); }

// One sample. `mean` and `factor` are [channels] of scratch.
template <class T>
void sample(const NormShape& s, const T* src, const float* weight, const float* bias, const float* scale,
            const float* shift, T* dst, float* mean, float* factor) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t c = s.channels, in_group = c / s.groups;
  const auto count = static_cast<double>(s.positions * in_group);
  // Sums by channel, over the positions; then by group.
  const auto by_channel = [&](const float* centre, float* sums) {
    int64_t i = 0;
    for (; i + lanes <= c; i += lanes) {
      V sum = hn::Zero(d);
      const V middle = centre == nullptr ? hn::Zero(d) : hn::LoadU(d, centre + i);
      for (int64_t p = 0; p < s.positions; ++p) {
        const V x = hn::Sub(load(d, src + p * c + i), middle);
        sum = centre == nullptr ? hn::Add(sum, x) : hn::MulAdd(x, x, sum);
      }
      hn::StoreU(sum, d, sums + i);
    }
    for (; i < c; ++i) {
      double sum = 0;
      for (int64_t p = 0; p < s.positions; ++p) {
        const double x = single(src[p * c + i]) - (centre == nullptr ? 0.0F : centre[i]);
        sum += centre == nullptr ? x : x * x;
      }
      sums[i] = static_cast<float>(sum);
    }
  };
  const auto by_group = [&](float* values, auto finish) {
    for (int64_t g = 0; g < s.groups; ++g) {
      double sum = 0;
      for (int64_t i = g * in_group; i < (g + 1) * in_group; ++i) {
        sum += values[i];
      }
      const auto value = static_cast<float>(finish(sum / count));
      for (int64_t i = g * in_group; i < (g + 1) * in_group; ++i) {
        values[i] = value;
      }
    }
  };
  by_channel(nullptr, mean);
  by_group(mean, [](double v) { return v; });
  by_channel(mean, factor);
  by_group(factor, [&](double v) { return 1 / std::sqrt(v + s.epsilon); });
  // y = factor x + mean, in place of the two.
  for (int64_t i = 0; i < c; ++i) {
    float a = factor[i] * (weight == nullptr ? 1.0F : weight[i]);
    float b = (bias == nullptr ? 0.0F : bias[i]) - mean[i] * a;
    if (scale != nullptr) {
      a *= scale[i];
      b = b * scale[i] + (shift == nullptr ? 0.0F : shift[i]);
    }
    factor[i] = a;
    mean[i] = b;
  }
  for (int64_t p = 0; p < s.positions; ++p) {
    const T* from = src + p * c;
    T* to = dst + p * c;
    int64_t i = 0;
    for (; i + lanes <= c; i += lanes) {
      const V y = hn::MulAdd(load(d, from + i), hn::LoadU(d, factor + i), hn::LoadU(d, mean + i));
      store(d, s.silu ? silu(d, y) : y, to + i);
    }
    for (; i < c; ++i) {
      const float y = single(from[i]) * factor[i] + mean[i];
      single(s.silu ? y / (1 + std::exp(-y)) : y, to + i);
    }
  }
}

template <class T>
void all(const NormShape& s, const void* src, const float* weight, const float* bias, const float* scale,
         const float* shift, int64_t row_stride, void* dst) {
  const int64_t size = s.positions * s.channels;
#pragma omp parallel
  {
    std::vector<float> scratch(static_cast<size_t>(2 * s.channels));
#pragma omp for
    for (int64_t n = 0; n < s.batch; ++n) {
      sample(s, static_cast<const T*>(src) + n * size, weight, bias,
             scale == nullptr ? nullptr : scale + n * row_stride, shift == nullptr ? nullptr : shift + n * row_stride,
             static_cast<T*>(dst) + n * size, scratch.data(), scratch.data() + s.channels);
    }
  }
}

void run(const NormShape& s, const void* src, const float* weight, const float* bias, const float* scale,
         const float* shift, int64_t row_stride, void* dst) {
  if (s.bfloat16) {
    all<hwy::bfloat16_t>(s, src, weight, bias, scale, shift, row_stride, dst);
  } else {
    all<float>(s, src, weight, bias, scale, shift, row_stride, dst);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace retort_onednn
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace retort_onednn {

HWY_EXPORT(run);

void group_norm(const NormShape& shape, const void* src, const float* weight, const float* bias, const float* scale,
                const float* shift, int64_t row_stride, void* dst) {
  HWY_DYNAMIC_DISPATCH(run)(shape, src, weight, bias, scale, shift, row_stride, dst);
}

}  // namespace retort_onednn
#endif
