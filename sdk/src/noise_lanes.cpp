#include "noise_lanes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

// A product and a sum are fused where `fused` says so, and nowhere else, or processors would have numbers of their own.
#ifdef __clang__
#pragma clang fp contract(off)
#else
#pragma GCC optimize("fp-contract=off")
#endif

// Never called below zero, so it sets no errno, which would keep the loops around it from becoming vectors.
extern "C" __attribute__((const)) float sqrtf(float) noexcept;  // NOLINT

// Inlined into functions for several instruction sets, and compiled for each.
#define RETORT_LANES __attribute__((always_inline)) inline

namespace retort::lanes {

namespace {

constexpr int64_t lanes = block / 4;

struct Key {
  explicit Key(const Name& n)
      : words{static_cast<uint32_t>(n.seed), static_cast<uint32_t>(n.seed >> 32), static_cast<uint32_t>(n.row),
              static_cast<uint32_t>(n.row >> 32), 0x1BD11BDA} {
    for (int i = 0; i < 4; ++i) {
      words[4] ^= words[i];
    }
  }
  uint32_t words[5];
};

RETORT_LANES void mix(uint32_t& x, uint32_t& y, int by) {
  x += y;
  y = (y << by) | (y >> (32 - by));
  y ^= x;
}

template <uint32_t n>
RETORT_LANES void inject(const Key& key, Bits& x) {
  x.a += key.words[n % 5];
  x.b += key.words[(n + 1) % 5];
  x.c += key.words[(n + 2) % 5];
  x.d += key.words[(n + 3) % 5] + n;
}

// Two rounds, by table 3 of the paper, which gives the rotations.
RETORT_LANES void two_rounds(Bits& x, int first, int second, int third, int fourth) {
  mix(x.a, x.b, first);
  mix(x.c, x.d, second);
  mix(x.a, x.d, third);
  mix(x.c, x.b, fourth);
}

RETORT_LANES Bits threefry(const Key& key, Bits x) {
  inject<0>(key, x);
  two_rounds(x, 10, 26, 11, 21);
  two_rounds(x, 13, 27, 23, 5);
  inject<1>(key, x);
  two_rounds(x, 6, 20, 17, 11);
  two_rounds(x, 25, 10, 18, 20);
  inject<2>(key, x);
  two_rounds(x, 10, 26, 11, 21);
  two_rounds(x, 13, 27, 23, 5);
  inject<3>(key, x);
  mix(x.a, x.b, 6);
  mix(x.c, x.d, 20);
  return x;
}

RETORT_LANES Bits counter(const Name& n, uint32_t count) {
  return {count, static_cast<uint32_t>(n.place), static_cast<uint32_t>(n.place >> 32), n.kind};
}

// x y + z, rounded once. A processor without it, of before 2013, has it from the C library, twenty times slower.
RETORT_LANES float fused(float x, float y, float z) { return __builtin_fmaf(x, y, z); }

// sqrt(-2 log u) with u in (0, 1]. log m = (m - 1) P(m - 1) with m in [sqrt(1/2), sqrt(2)], to 4e-8.
RETORT_LANES float radius(float u) {
  const auto bits = __builtin_bit_cast(int32_t, u);
  const int32_t exponent = (bits - 0x3f3504f3) >> 23;  // of u / sqrt(1/2)
  const float f = __builtin_bit_cast(float, bits - (exponent << 23)) - 1.0F;
  float p = -1.010223680e-01F;
  p = fused(p, f, 1.641998973e-01F);
  p = fused(p, f, -1.733346515e-01F);
  p = fused(p, f, 1.987304644e-01F);
  p = fused(p, f, -2.495934384e-01F);
  p = fused(p, f, 3.333618202e-01F);
  p = fused(p, f, -5.000066740e-01F);
  p = fused(p, f, 9.999998139e-01F);
  return sqrtf(-2.0F * fused(p, f, static_cast<float>(exponent) * 6.931471806e-01F));
}

// Box and Muller's two numbers of two words: radius times (cos, sin) of an angle a pi / 2, a in [-1, 1), mirrored or
// not by the first word's sign. The polynomials in a^2 are right to 5e-8.
RETORT_LANES void box_muller(uint32_t first, uint32_t second, float& x, float& y) {
  const float odd = static_cast<float>(static_cast<int32_t>(first | 1));  // so that it is not 0, and as often below
  const float r = radius(__builtin_fabsf(odd) * 0x1p-31F);
  const float a = static_cast<float>(static_cast<int32_t>(second)) * 0x1p-31F, q = a * a;
  float sine = 1.508205645e-04F;
  sine = fused(sine, q, -4.672227923e-03F);
  sine = fused(sine, q, 7.968848054e-02F);
  sine = fused(sine, q, -6.459633599e-01F);
  sine = fused(sine, q, 1.570796290e+00F);
  float cosine = 8.581906196e-04F;
  cosine = fused(cosine, q, -2.081062752e-02F);
  cosine = fused(cosine, q, 2.536507446e-01F);
  cosine = fused(cosine, q, -1.233698215e+00F);
  cosine = fused(cosine, q, 9.999999535e-01F);
  const float mirrored = __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, r) ^ (first & 0x80000000U));
  x = mirrored * cosine;
  y = r * (sine * a);
}

RETORT_LANES void fill_block(const Key& key, const Name& name, int64_t index, float* __restrict z) {
  for (int64_t i = 0; i < lanes; ++i) {
    const Bits x = threefry(key, counter(name, static_cast<uint32_t>(index * lanes + i)));
    box_muller(x.a, x.b, z[i], z[lanes + i]);
    box_muller(x.c, x.d, z[2 * lanes + i], z[3 * lanes + i]);
  }
}

RETORT_LANES void fill(const Name& name, int64_t columns, float* out) {
  const Key key(name);
  const int64_t whole = columns / block;
  for (int64_t k = 0; k < whole; ++k) {
    fill_block(key, name, k, out + k * block);
  }
  if (whole * block < columns) {
    std::array<float, block> rest;
    fill_block(key, name, whole, rest.data());
    std::memcpy(out + whole * block, rest.data(), static_cast<size_t>(columns - whole * block) * sizeof(float));
  }
}

RETORT_LANES void load(const float* from, int64_t at, float* to) {
  if (from != nullptr) {
    std::memcpy(to, from + at, block * sizeof(float));
  } else {
    std::memset(to, 0, block * sizeof(float));
  }
}

RETORT_LANES void bridge(const Halving& h, const float* left, const float* right, const float* z,
                         float* __restrict middle) {
  for (int64_t i = 0; i < block; ++i) {
    middle[i] = fused(h.low, left[i], fused(h.high, right[i], h.spread * z[i]));
  }
}

// One block of columns goes all the way down before the next one, so what is in between stays in the first cache.
RETORT_LANES void go_down(Name name, const Halving* halvings, size_t count, const float* low, const float* high,
                          int64_t blocks, float* out) {
  const Key key(name);
  alignas(64) float memory[3][block], z[block];
  for (int64_t k = 0; k < blocks; ++k) {
    float *left = memory[0], *right = memory[1], *middle = memory[2];
    load(low, k * block, left);
    load(high, k * block, right);
    for (size_t j = 0; j < count; ++j) {
      const Halving& h = halvings[j];
      name.place = h.place;
      fill_block(key, name, k, z);
      bridge(h, left, right, z, middle);
      if (h.middle != nullptr) {
        std::memcpy(h.middle + k * block, middle, block * sizeof(float));
      }
      std::swap(h.to_right ? left : right, middle);
    }
    std::memcpy(out + k * block, count > 0 && halvings[count - 1].to_right ? left : right, block * sizeof(float));
  }
}

using Fill = void (*)(const Name&, int64_t, float*);
using Descend = void (*)(Name, const Halving*, size_t, const float*, const float*, int64_t, float*);

void fill_plain(const Name& name, int64_t columns, float* out) { fill(name, columns, out); }
void descend_plain(Name name, const Halving* halvings, size_t count, const float* low, const float* high,
                   int64_t blocks, float* out) {
  go_down(name, halvings, count, low, high, blocks, out);
}

#if defined(__x86_64__)
#ifdef __clang__
#define RETORT_WIDE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#else
#define RETORT_WIDE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")))
#endif
#define RETORT_MIDDLE __attribute__((target("avx2,fma")))
RETORT_WIDE void fill_wide(const Name& name, int64_t columns, float* out) { fill(name, columns, out); }
RETORT_MIDDLE void fill_middle(const Name& name, int64_t columns, float* out) { fill(name, columns, out); }
RETORT_WIDE void descend_wide(Name name, const Halving* halvings, size_t count, const float* low, const float* high,
                              int64_t blocks, float* out) {
  go_down(name, halvings, count, low, high, blocks, out);
}
RETORT_MIDDLE void descend_middle(Name name, const Halving* halvings, size_t count, const float* low, const float* high,
                                  int64_t blocks, float* out) {
  go_down(name, halvings, count, low, high, blocks, out);
}

template <class F>
F best(F wide, F middle, F plain) {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return wide;
  }
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? middle : plain;
}
const Fill best_fill = best<Fill>(fill_wide, fill_middle, fill_plain);
const Descend best_descend = best<Descend>(descend_wide, descend_middle, descend_plain);
#else
const Fill best_fill = fill_plain;
const Descend best_descend = descend_plain;
#endif

}  // namespace

Bits bits(const Name& name, uint32_t count) { return threefry(Key(name), counter(name, count)); }

void normals(const Name& name, int64_t columns, float* out) { best_fill(name, columns, out); }

void descend(Name name, const std::vector<Halving>& halvings, const float* low, const float* high, int64_t blocks,
             float* out) {
  best_descend(name, halvings.data(), halvings.size(), low, high, blocks, out);
}

}  // namespace retort::lanes
