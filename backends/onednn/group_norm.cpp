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

// Sums of a sample's channels [begin, end), as above.
template <class T>
void sum_all(const T* src, int64_t positions, int64_t channels, int64_t begin, int64_t end, float* sums,
             float* squares) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t i = begin;
  for (; i + 4 * lanes <= end; i += 4 * lanes) {
    sum_channels<4>(src + i, positions, channels, sums + i, squares + i);
  }
  for (; i + lanes <= end; i += lanes) {
    sum_channels<1>(src + i, positions, channels, sums + i, squares + i);
  }
  for (; i < end; ++i) {
    float sum = 0, square = 0;
    for (int64_t p = 1; p < positions; ++p) {
      const float x = single(src[p * channels + i]) - single(src[i]);
      sum += x;
      square += x * x;
    }
    sums[i] = sum;
    squares[i] = square;
  }
}

struct Moments {
  double mean, squares;  // of a group; the squares of what lies off the mean, summed
};

// From the sums above, of channels [begin, begin + count).
template <class T>
Moments moments(const T* src, const float* sums, const float* squares, const float* added, int64_t positions,
                int64_t begin, int64_t count) {
  const auto n = static_cast<double>(positions);
  const auto mean_of = [&](int64_t k) { return single(src[k]) + sums[k] / n + (added == nullptr ? 0.0F : added[k]); };
  Moments out{0, 0};
  for (int64_t k = begin; k < begin + count; ++k) {
    out.mean += mean_of(k);
  }
  out.mean /= static_cast<double>(count);
  for (int64_t k = begin; k < begin + count; ++k) {
    const double off = mean_of(k) - out.mean;
    out.squares += squares[k] - static_cast<double>(sums[k]) * sums[k] / n + n * off * off;
  }
  out.squares = std::max(out.squares, 0.0);
  return out;
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
  sum_all(src, s.positions, c, begin, end, a, b);

  const double count = static_cast<double>(s.positions * in_group);
  for (int64_t g = begin; g < end; g += in_group) {
    const auto [mean, squares] = moments(src, a, b, added, s.positions, g, in_group);
    const double factor = 1 / std::sqrt(squares / count + s.epsilon);
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
    int64_t i = begin;
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

// One sample of the gradient. With u = slope x' + level, x' = (x - mean) / deviation, and g the gradient by u, the
// gradient by x is (slope g - mean of slope g - x' mean of slope g x') / deviation, means over the group.
void one_gradient(const NormGradient& n, int64_t sample, float* scratch) {
  const D d;
  const Norm& s = n.norm;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t c = s.channels, in_group = c / s.groups, size = s.positions * c;
  const float* src = static_cast<const float*>(s.src) + sample * size;
  const float* gradient = n.gradient + sample * size;
  float *to = n.src_gradient + sample * size, *sum = n.sums + sample * c, *product = n.products + sample * c;
  const float* scale = s.scale.data == nullptr ? nullptr : s.scale.data + sample * s.scale.stride;
  const float* shift = s.shift.data == nullptr ? nullptr : s.shift.data + sample * s.shift.stride;
  // x' = factor x + offset; u = slope x + level
  float *factor = scratch, *offset = factor + c, *slope = offset + c, *level = slope + c;
  sum_all(src, s.positions, c, 0, c, factor, offset);
  const double count = static_cast<double>(s.positions * in_group);
  for (int64_t g = 0; g < c; g += in_group) {
    const auto [mean, squares] = moments<float>(src, factor, offset, nullptr, s.positions, g, in_group);
    const double inverse = 1 / std::sqrt(squares / count + s.epsilon);
    for (int64_t k = g; k < g + in_group; ++k) {
      const double more = scale == nullptr ? 1 : scale[k] + s.scale_offset;
      const double a = more * (s.weight == nullptr ? 1.0F : s.weight[k]);
      const double b = more * (s.bias == nullptr ? 0.0F : s.bias[k]) + (shift == nullptr ? 0.0F : shift[k]);
      factor[k] = static_cast<float>(inverse);
      offset[k] = static_cast<float>(-mean * inverse);
      slope[k] = static_cast<float>(a * inverse);
      level[k] = static_cast<float>(b - mean * a * inverse);
    }
  }
  // g, and its sums by channel.
  std::fill(sum, sum + c, 0.0F);
  std::fill(product, product + c, 0.0F);
  for (int64_t p = 0; p < s.positions; ++p) {
    const int64_t at = p * c;
    int64_t i = 0;
    for (; i + lanes <= c; i += lanes) {
      const V x = hn::LoadU(d, src + at + i);
      V g = hn::LoadU(d, gradient + at + i);
      if (s.silu) {
        const V u = hn::MulAdd(x, hn::LoadU(d, slope + i), hn::LoadU(d, level + i));
        const V r = sigmoid(d, u);
        g = hn::Mul(g, hn::Mul(r, hn::MulAdd(u, hn::Sub(hn::Set(d, 1.0F), r), hn::Set(d, 1.0F))));
      }
      const V normal = hn::MulAdd(x, hn::LoadU(d, factor + i), hn::LoadU(d, offset + i));
      hn::StoreU(g, d, to + at + i);
      hn::StoreU(hn::Add(hn::LoadU(d, sum + i), g), d, sum + i);
      hn::StoreU(hn::MulAdd(g, normal, hn::LoadU(d, product + i)), d, product + i);
    }
    for (; i < c; ++i) {
      float g = gradient[at + i];
      if (s.silu) {
        const float u = src[at + i] * slope[i] + level[i], r = 1 / (1 + std::exp(-u));
        g *= r * (1 + u * (1 - r));
      }
      to[at + i] = g;
      sum[i] += g;
      product[i] += g * (src[at + i] * factor[i] + offset[i]);
    }
  }
  // dx = slope g + offset' + factor' x, in place of what is no longer needed.
  for (int64_t g = 0; g < c; g += in_group) {
    double first = 0, second = 0;  // sums of slope g and of slope g x', times the inverse deviation
    for (int64_t k = g; k < g + in_group; ++k) {
      first += static_cast<double>(slope[k]) * sum[k];
      second += static_cast<double>(slope[k]) * product[k];
    }
    for (int64_t k = g; k < g + in_group; ++k) {
      const double by_x = -second / count * factor[k];
      level[k] = static_cast<float>(-first / count - second / count * offset[k]);
      factor[k] = static_cast<float>(by_x);
    }
  }
  for (int64_t p = 0; p < s.positions; ++p) {
    const int64_t at = p * c;
    int64_t i = 0;
    for (; i + lanes <= c; i += lanes) {
      const V rest = hn::MulAdd(hn::LoadU(d, src + at + i), hn::LoadU(d, factor + i), hn::LoadU(d, level + i));
      hn::StoreU(hn::MulAdd(hn::LoadU(d, to + at + i), hn::LoadU(d, slope + i), rest), d, to + at + i);
    }
    for (; i < c; ++i) {
      to[at + i] = to[at + i] * slope[i] + src[at + i] * factor[i] + level[i];
    }
  }
}

void run_group_norm_gradient(const NormGradient& n) {
#pragma omp parallel
  {
    std::vector<float> scratch(static_cast<size_t>(4 * n.norm.channels));
#pragma omp for
    for (int64_t i = 0; i < n.norm.batch; ++i) {
      one_gradient(n, i, scratch.data());
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace retort_onednn
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace retort_onednn {

HWY_EXPORT(run_group_norm);
HWY_EXPORT(run_group_norm_gradient);

void group_norm(const Norm& norm) { HWY_DYNAMIC_DISPATCH(run_group_norm)(norm); }
void group_norm_gradient(const NormGradient& gradient) { HWY_DYNAMIC_DISPATCH(run_group_norm_gradient)(gradient); }

}  // namespace retort_onednn
#endif
