// GroupNorm with what surrounds it in a U-Net: a vector added before, scale, shift and SiLU after. Compiled once for
// each instruction set that Highway knows; the best one is chosen when the program runs.
#include "vector_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "group_norm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "lanes-inl.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

HWY_BEFORE_NAMESPACE();
namespace retort_onednn {
namespace HWY_NAMESPACE {

// Sums of x - x_0 and of its square over the positions, for `count` vectors of channels. Differences from the first
// position keep the squares' sum exact enough where the mean is large against the spread.
template <int count, class T>
HWY_INLINE void sum_channels(const T* src, int64_t positions, int64_t channels, float* sums, float* squares) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  V first[count], sum[count], square[count];
  for (int v = 0; v < count; ++v) {
    first[v] = load(d, src + v * lanes);
    sum[v] = square[v] = hn::Zero(d);
  }
  for (int64_t p = 1; p < positions; ++p) {
    const T* from = src + p * channels;
    for (int v = 0; v < count; ++v) {
      const V x = hn::Sub(load(d, from + v * lanes), first[v]);
      sum[v] = hn::Add(sum[v], x);
      square[v] = hn::MulAdd(x, x, square[v]);
    }
  }
  for (int v = 0; v < count; ++v) {
    hn::StoreU(sum[v], d, sums + v * lanes);
    hn::StoreU(square[v], d, squares + v * lanes);
  }
}

// Channels [begin, end) of one sample: whole groups. `a` and `b` are [channels] of scratch.
template <class T>
void normalise(const Norm& s, int64_t sample, int64_t begin, int64_t end, float* a, float* b) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t c = s.channels, in_group = c / s.groups;
  const T* src = static_cast<const T*>(s.src) + sample * s.positions * c;
  T* dst = static_cast<T*>(s.dst) + sample * s.positions * c;
  const auto row = [sample](const Rows& rows) {
    return rows.data == nullptr ? nullptr : rows.data + sample * rows.stride;
  };
  const float *added = row(s.added), *scale = row(s.scale), *shift = row(s.shift);

  int64_t i = begin;
  for (; i + 4 * lanes <= end; i += 4 * lanes) {
    sum_channels<4>(src + i, s.positions, c, a + i, b + i);
  }
  for (; i + lanes <= end; i += lanes) {
    sum_channels<1>(src + i, s.positions, c, a + i, b + i);
  }
  for (; i < end; ++i) {
    float sum = 0, square = 0;
    for (int64_t p = 1; p < s.positions; ++p) {
      const float x = single(src[p * c + i]) - single(src[i]);
      sum += x;
      square += x * x;
    }
    a[i] = sum;
    b[i] = square;
  }

  const auto positions = static_cast<double>(s.positions), count = positions * static_cast<double>(in_group);
  for (int64_t g = begin; g < end; g += in_group) {
    const auto mean_of = [&](int64_t k) {
      return single(src[k]) + a[k] / positions + (added == nullptr ? 0.0F : added[k]);
    };
    double mean = 0, squares = 0;
    for (int64_t k = g; k < g + in_group; ++k) {
      mean += mean_of(k);
    }
    mean /= static_cast<double>(in_group);
    for (int64_t k = g; k < g + in_group; ++k) {
      const double off = mean_of(k) - mean;
      squares += b[k] - static_cast<double>(a[k]) * a[k] / positions + positions * off * off;
    }
    const double factor = 1 / std::sqrt(std::max(squares, 0.0) / count + s.epsilon);
    // y = a x + b, in place of the sums
    for (int64_t k = g; k < g + in_group; ++k) {
      double slope = factor * (s.weight == nullptr ? 1.0F : s.weight[k]);
      double level = (s.bias == nullptr ? 0.0F : s.bias[k]) + ((added == nullptr ? 0.0F : added[k]) - mean) * slope;
      if (scale != nullptr) {
        slope *= scale[k] + s.scale_offset;
        level *= scale[k] + s.scale_offset;
      }
      a[k] = static_cast<float>(slope);
      b[k] = static_cast<float>(level + (shift == nullptr ? 0.0F : shift[k]));
    }
  }
  for (int64_t p = 0; p < s.positions; ++p) {
    const T* from = src + p * c;
    T* to = dst + p * c;
    i = begin;
    for (; i + lanes <= end; i += lanes) {
      const V y = hn::MulAdd(load(d, from + i), hn::LoadU(d, a + i), hn::LoadU(d, b + i));
      store(d, s.silu ? silu(d, y) : y, to + i);
    }
    for (; i < end; ++i) {
      const float y = single(from[i]) * a[i] + b[i];
      put(s.silu ? y / (1 + std::exp(-y)) : y, to + i);
    }
  }
}

void run_group_norm(const Norm& s) {
  // Where there are fewer samples than threads, a sample's groups are shared among them.
  const int64_t threads = omp_get_max_threads();
  const int64_t parts = s.batch >= threads ? 1 : std::min(s.groups, threads);
  const int64_t in_group = s.channels / s.groups;
#pragma omp parallel num_threads(static_cast <int>(std::min(threads, s.batch * parts)))
  {
    static thread_local std::vector<float> scratch;
    if (scratch.size() < static_cast<size_t>(2 * s.channels)) {
      scratch.resize(static_cast<size_t>(2 * s.channels));
    }
#pragma omp for
    for (int64_t i = 0; i < s.batch * parts; ++i) {
      const int64_t part = i % parts;
      const int64_t begin = part * s.groups / parts * in_group, end = (part + 1) * s.groups / parts * in_group;
      float *a = scratch.data(), *b = a + s.channels;
      if (s.bfloat16) {
        normalise<hwy::bfloat16_t>(s, i / parts, begin, end, a, b);
      } else {
        normalise<float>(s, i / parts, begin, end, a, b);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace retort_onednn
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace retort_onednn {

HWY_EXPORT(run_group_norm);

void group_norm(const Norm& norm) { HWY_DYNAMIC_DISPATCH(run_group_norm)(norm); }

}  // namespace retort_onednn
#endif
