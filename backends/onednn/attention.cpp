// Attention of one head after another, sixteen queries (or as many as a vector has numbers) at once: neither product
// needs a sum across a vector, and the scores of a block of queries stay in the cache.
#include "vector_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "attention.cpp"
#include <hwy/foreach_target.h>
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "lanes-inl.h"

#include <vector>

HWY_BEFORE_NAMESPACE();
namespace retort_onednn {
namespace HWY_NAMESPACE {

// out[j] = sum over i of x[i] y[i * step + j], for `count` numbers j and two vectors of queries.
template <int count>
HWY_INLINE void products(const float* x, const float* y, int64_t terms, int64_t across, int64_t step, float* out) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  V low[count], high[count];
  for (int j = 0; j < count; ++j) {
    low[j] = high[j] = hn::Zero(d);
  }
  for (int64_t i = 0; i < terms; ++i) {
    const V a = hn::LoadU(d, x + i * 2 * lanes), b = hn::LoadU(d, x + i * 2 * lanes + lanes);
    for (int j = 0; j < count; ++j) {
      const V factor = hn::Set(d, y[i * step + j * across]);
      low[j] = hn::MulAdd(a, factor, low[j]);
      high[j] = hn::MulAdd(b, factor, high[j]);
    }
  }
  for (int j = 0; j < count; ++j) {
    hn::StoreU(low[j], d, out + j * 2 * lanes);
    hn::StoreU(high[j], d, out + (2 * j + 1) * lanes);
  }
}

// The same for any number of outputs. y's terms lie `step` apart, its outputs `across`.
HWY_INLINE void all_products(const float* x, const float* y, int64_t terms, int64_t outputs, int64_t across,
                             int64_t step, float* out) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t j = 0;
  for (; j + 8 <= outputs; j += 8) {
    products<8>(x, y + j * across, terms, across, step, out + j * 2 * lanes);
  }
  for (; j < outputs; ++j) {
    products<1>(x, y + j * across, terms, across, step, out + j * 2 * lanes);
  }
}

struct Scratch {
  std::vector<float> query, key, value, scores, result;
};

template <class T>
void copy_head(const T* from, int64_t positions, int64_t width, int64_t stride, float* to) {
  for (int64_t p = 0; p < positions; ++p) {
    for (int64_t k = 0; k < width; ++k) {
      to[p * width + k] = single(from[p * stride + k]);
    }
  }
}

template <class T>
void one_head(const Attention& s, int64_t sample, int64_t head, Scratch& scratch) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d)), block = 2 * lanes;
  const auto begin = [&](const Heads& of) {
    return static_cast<const T*>(of.data) + sample * of.batch_stride + head * of.head_stride;
  };
  const T* query = begin(s.query);
  float *key = scratch.key.data(), *value = scratch.value.data(), *scores = scratch.scores.data();
  copy_head(begin(s.key), s.keys, s.width, s.key.stride, key);
  copy_head(begin(s.value), s.keys, s.value_width, s.value.stride, value);
  for (int64_t q = 0; q < s.queries; q += block) {
    const int64_t here = std::min(block, s.queries - q);
    float* turned = scratch.query.data();  // [width, block]
    for (int64_t k = 0; k < s.width; ++k) {
      for (int64_t i = 0; i < block; ++i) {
        turned[k * block + i] = i < here ? s.scale * single(query[(q + i) * s.query.stride + k]) : 0.0F;
      }
    }
    all_products(turned, key, s.width, s.keys, s.width, 1, scores);
    V most[2], sum[2];
    for (int v = 0; v < 2; ++v) {
      most[v] = hn::LoadU(d, scores + v * lanes);
      sum[v] = hn::Zero(d);
    }
    for (int64_t k = 1; k < s.keys; ++k) {
      most[0] = hn::Max(most[0], hn::LoadU(d, scores + k * block));
      most[1] = hn::Max(most[1], hn::LoadU(d, scores + k * block + lanes));
    }
    for (int64_t k = 0; k < s.keys; ++k) {
      for (int v = 0; v < 2; ++v) {
        float* at = scores + k * block + v * lanes;
        const V e = hn::Exp(d, hn::Sub(hn::LoadU(d, at), most[v]));
        sum[v] = hn::Add(sum[v], e);
        hn::StoreU(e, d, at);
      }
    }
    float* result = scratch.result.data();  // [value_width, block], then the sums
    all_products(scores, value, s.keys, s.value_width, 1, s.value_width, result);
    float* sums = result + s.value_width * block;
    hn::StoreU(sum[0], d, sums);
    hn::StoreU(sum[1], d, sums + lanes);
    T* out = static_cast<T*>(s.dst) + ((sample * s.queries + q) * s.heads + head) * s.value_width;
    for (int64_t i = 0; i < here; ++i) {
      const float factor = 1 / sums[i];
      for (int64_t k = 0; k < s.value_width; ++k) {
        put(result[k * block + i] * factor, out + i * s.heads * s.value_width + k);
      }
    }
  }
}

void run_attention(const Attention& s) {
  const auto block = static_cast<int64_t>(2 * hn::Lanes(D()));
#pragma omp parallel
  {
    static thread_local Scratch scratch;
    const auto hold = [](std::vector<float>& v, int64_t count) {
      if (v.size() < static_cast<size_t>(count)) {
        v.resize(static_cast<size_t>(count));
      }
    };
    hold(scratch.query, s.width * block);
    hold(scratch.key, s.keys * s.width);
    hold(scratch.value, s.keys * s.value_width);
    hold(scratch.scores, s.keys * block);
    hold(scratch.result, (s.value_width + 1) * block);
#pragma omp for
    for (int64_t i = 0; i < s.batch * s.heads; ++i) {
      if (s.bfloat16) {
        one_head<hwy::bfloat16_t>(s, i / s.heads, i % s.heads, scratch);
      } else {
        one_head<float>(s, i / s.heads, i % s.heads, scratch);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace retort_onednn
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace retort_onednn {

HWY_EXPORT(run_attention);

void attention(const Attention& a) { HWY_DYNAMIC_DISPATCH(run_attention)(a); }

}  // namespace retort_onednn
#endif
