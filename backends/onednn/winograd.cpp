// 3 x 3 convolutions by Winograd's minimal filtering F(4 x 4, 3 x 3): a quarter of the multiplications. A tile of 6 x 6
// pixels is transformed, multiplied with the transformed weights at each of its 36 positions (36 matrix products over
// channels), and transformed back to 4 x 4 pixels. All in float32; pictures may be bfloat16. Source: Lavin & Gray 2016
// (arXiv 1509.09308), section 4.3.
#include "vector_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "winograd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "lanes-inl.h"

#include <omp.h>

#include <algorithm>
#include <vector>

HWY_BEFORE_NAMESPACE();
namespace retort_onednn {
namespace HWY_NAMESPACE {

constexpr int64_t in_side = 6, out_side = 4, positions = in_side * in_side;

// Tiles whose products are formed at once, in so many registers of two vectors each.
constexpr int at_once = HWY_MAX_BYTES >= 64 ? 12 : 6;

// Lavin & Gray's B^T, applied to six vectors.
HWY_INLINE void transform_input(D d, const V* in, V* out) {
  const V four = hn::Set(d, 4.0F), five = hn::Set(d, 5.0F), two = hn::Set(d, 2.0F);
  out[0] = hn::MulAdd(four, in[0], hn::NegMulAdd(five, in[2], in[4]));
  const V a = hn::NegMulAdd(four, in[2], in[4]), b = hn::NegMulAdd(four, in[1], in[3]);
  out[1] = hn::Add(a, b);
  out[2] = hn::Sub(a, b);
  const V c = hn::Sub(in[4], in[2]), e = hn::Mul(two, hn::Sub(in[3], in[1]));
  out[3] = hn::Add(c, e);
  out[4] = hn::Sub(c, e);
  out[5] = hn::MulAdd(four, in[1], hn::NegMulAdd(five, in[3], in[5]));
}

// A^T: six vectors to four.
HWY_INLINE void transform_output(D d, const V* in, V* out) {
  const V s1 = hn::Add(in[1], in[2]), s2 = hn::Add(in[3], in[4]);
  const V d1 = hn::Sub(in[1], in[2]), d2 = hn::Sub(in[3], in[4]);
  out[0] = hn::Add(in[0], hn::Add(s1, s2));
  out[1] = hn::MulAdd(hn::Set(d, 2.0F), d2, d1);
  out[2] = hn::MulAdd(hn::Set(d, 4.0F), s2, s1);
  out[3] = hn::Add(hn::MulAdd(hn::Set(d, 8.0F), d2, d1), in[5]);
}

// G: what transforms filters.
constexpr float filter_transform[in_side][3] = {{1.0F / 4, 0, 0},
                                                {-1.0F / 6, -1.0F / 6, -1.0F / 6},
                                                {-1.0F / 6, 1.0F / 6, -1.0F / 6},
                                                {1.0F / 24, 1.0F / 12, 1.0F / 6},
                                                {1.0F / 24, -1.0F / 12, 1.0F / 6},
                                                {0, 0, 1}};

// Where a tile begins in its picture.
struct Tile {
  int64_t sample, y, x;
};

Tile tile_at(const WinogradShape& s, int64_t index) {
  const int64_t across = (s.width + out_side - 1) / out_side, down = (s.height + out_side - 1) / out_side;
  return {index / (across * down), index / across % down * out_side, index % across * out_side};
}

template <class T>
void read_tile(const WinogradShape& s, const T* src, const Tile& tile, float* to, int64_t step) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t c = s.in_channels;
  for (int64_t k = 0; k < c; k += lanes) {
    V rows[in_side][in_side];  // transformed along y
    for (int64_t x = 0; x < in_side; ++x) {
      V column[in_side], out[in_side];
      const int64_t px = tile.x + x - 1;
      for (int64_t y = 0; y < in_side; ++y) {
        const int64_t py = tile.y + y - 1;
        const bool inside = px >= 0 && px < s.width && py >= 0 && py < s.height;
        column[y] = inside ? load(d, src + ((tile.sample * s.height + py) * s.width + px) * c + k) : hn::Zero(d);
      }
      transform_input(d, column, out);
      for (int64_t y = 0; y < in_side; ++y) {
        rows[y][x] = out[y];
      }
    }
    for (int64_t y = 0; y < in_side; ++y) {
      V out[in_side];
      transform_input(d, rows[y], out);
      for (int64_t x = 0; x < in_side; ++x) {
        hn::StoreU(out[x], d, to + (y * in_side + x) * step + k);
      }
    }
  }
}

// products[t] = tiles[t] weights, for `count` tiles and two vectors of outputs.
template <int count>
HWY_INLINE void multiply(const float* tiles, int64_t channels, const float* weights, float* products, int64_t row) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  V low[count], high[count];
  for (int t = 0; t < count; ++t) {
    low[t] = high[t] = hn::Zero(d);
  }
  for (int64_t c = 0; c < channels; ++c) {
    const V a = hn::LoadU(d, weights + c * 2 * lanes), b = hn::LoadU(d, weights + (2 * c + 1) * lanes);
    for (int t = 0; t < count; ++t) {
      const V x = hn::Set(d, tiles[t * channels + c]);
      low[t] = hn::MulAdd(x, a, low[t]);
      high[t] = hn::MulAdd(x, b, high[t]);
    }
  }
  for (int t = 0; t < count; ++t) {
    hn::StoreU(low[t], d, products + t * row);
    hn::StoreU(high[t], d, products + t * row + lanes);
  }
}

template <class T>
void write_tile(const WinogradShape& s, const float* from, int64_t step, const float* bias, const Tile& tile,
                const T* residual, T* dst) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t c = s.out_channels;
  const V factor = hn::Set(d, s.factor);
  const int64_t high = std::min(out_side, s.height - tile.y), wide = std::min(out_side, s.width - tile.x);
  for (int64_t k = 0; k < c; k += lanes) {
    V rows[out_side][in_side];
    for (int64_t x = 0; x < in_side; ++x) {
      V column[in_side], out[out_side];
      for (int64_t y = 0; y < in_side; ++y) {
        column[y] = hn::LoadU(d, from + (y * in_side + x) * step + k);
      }
      transform_output(d, column, out);
      for (int64_t y = 0; y < out_side; ++y) {
        rows[y][x] = out[y];
      }
    }
    const V level = bias == nullptr ? hn::Zero(d) : hn::LoadU(d, bias + k);
    for (int64_t y = 0; y < high; ++y) {
      V out[out_side];
      transform_output(d, rows[y], out);
      const int64_t at = ((tile.sample * s.height + tile.y + y) * s.width + tile.x) * c + k;
      for (int64_t x = 0; x < wide; ++x) {
        V v = hn::Add(out[x], level);
        if (residual != nullptr) {
          v = hn::Add(v, load(d, residual + at + x * c));
        }
        v = hn::Mul(v, factor);
        store(d, s.silu ? silu(d, v) : v, dst + at + x * c);
      }
    }
  }
}

template <class T>
void convolve(const WinogradShape& s, const float* weights, const float* bias, const T* src, const T* residual,
              T* dst) {
  const auto panel = static_cast<int64_t>(2 * hn::Lanes(D()));
  const int64_t panels = (s.out_channels + panel - 1) / panel, row = panels * panel;
  const int64_t across = (s.width + out_side - 1) / out_side, down = (s.height + out_side - 1) / out_side;
  const int64_t tiles = s.batch * across * down;
  // Tiles that are transformed together: so many that the weights, which every block reads anew, are worth it.
  int64_t block =
      std::max<int64_t>(at_once, s.scratch_bytes / (positions * (s.in_channels + row) * 4) / at_once * at_once);
  const int64_t threads = omp_get_max_threads();
  if (threads > 1) {
    block = std::min(block, std::max<int64_t>(1, (tiles + threads - 1) / threads));
  }
  block = std::min(block, tiles);
  const int64_t blocks = (tiles + block - 1) / block;
#pragma omp parallel num_threads(static_cast <int>(std::min(threads, blocks)))
  {
    static thread_local std::vector<float> scratch;
    // A line of cache more than the numbers need: else all 36 positions would compete for the same places in the cache.
    constexpr int64_t line = 16;
    const int64_t seen_step = block * s.in_channels + line, made_step = block * row + line;
    const auto wanted = static_cast<size_t>(positions * (seen_step + made_step));
    if (scratch.size() < wanted) {
      scratch.resize(wanted);
    }
    float *seen = scratch.data(), *made = seen + positions * seen_step;
#pragma omp for
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t begin = b * block, count = std::min(block, tiles - begin);
      for (int64_t t = 0; t < count; ++t) {
        read_tile(s, src, tile_at(s, begin + t), seen + t * s.in_channels, seen_step);
      }
      for (int64_t p = 0; p < positions; ++p) {
        for (int64_t k = 0; k < panels; ++k) {
          const float* w = weights + (p * panels + k) * s.in_channels * panel;
          const float* from = seen + p * seen_step;
          float* to = made + p * made_step + k * panel;
          int64_t t = 0;
          for (; t + at_once <= count; t += at_once) {
            multiply<at_once>(from + t * s.in_channels, s.in_channels, w, to + t * row, row);
          }
          for (; t + 4 <= count; t += 4) {
            multiply<4>(from + t * s.in_channels, s.in_channels, w, to + t * row, row);
          }
          for (; t < count; ++t) {
            multiply<1>(from + t * s.in_channels, s.in_channels, w, to + t * row, row);
          }
        }
      }
      for (int64_t t = 0; t < count; ++t) {
        write_tile(s, made + t * row, made_step, bias, tile_at(s, begin + t), residual, dst);
      }
    }
  }
}

void run_winograd(const WinogradShape& s, const float* weights, const float* bias, const void* src,
                  const void* residual, void* dst) {
  if (s.bfloat16) {
    using T = hwy::bfloat16_t;
    convolve<T>(s, weights, bias, static_cast<const T*>(src), static_cast<const T*>(residual), static_cast<T*>(dst));
  } else {
    convolve<float>(s, weights, bias, static_cast<const float*>(src), static_cast<const float*>(residual),
                    static_cast<float*>(dst));
  }
}

// The adjoint of transform_output: four vectors to six.
HWY_INLINE void spread_gradient(D d, const V* in, V* out) {
  const V two = hn::Set(d, 2.0F), four = hn::Set(d, 4.0F), eight = hn::Set(d, 8.0F);
  const V even = hn::Add(in[0], in[2]), odd = hn::Add(in[1], in[3]);
  out[0] = in[0];
  out[1] = hn::Add(even, odd);
  out[2] = hn::Sub(even, odd);
  const V far = hn::MulAdd(four, in[2], in[0]), step = hn::MulAdd(eight, in[3], hn::Mul(two, in[1]));
  out[3] = hn::Add(far, step);
  out[4] = hn::Sub(far, step);
  out[5] = in[3];
}

// The gradient by the products of a tile; adds the tile's gradients to `bias`.
void read_gradient(const WinogradShape& s, const float* gradient, const Tile& tile, float* to, int64_t step,
                   float* bias) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t c = s.out_channels;
  for (int64_t k = 0; k < c; k += lanes) {
    V rows[in_side][out_side];
    V sum = hn::LoadU(d, bias + k);
    for (int64_t x = 0; x < out_side; ++x) {
      V column[out_side], out[in_side];
      for (int64_t y = 0; y < out_side; ++y) {
        const bool inside = tile.x + x < s.width && tile.y + y < s.height;
        const int64_t at = ((tile.sample * s.height + tile.y + y) * s.width + tile.x + x) * c + k;
        column[y] = inside ? hn::LoadU(d, gradient + at) : hn::Zero(d);
        sum = hn::Add(sum, column[y]);
      }
      spread_gradient(d, column, out);
      for (int64_t y = 0; y < in_side; ++y) {
        rows[y][x] = out[y];
      }
    }
    hn::StoreU(sum, d, bias + k);
    for (int64_t y = 0; y < in_side; ++y) {
      V out[in_side];
      spread_gradient(d, rows[y], out);
      for (int64_t x = 0; x < in_side; ++x) {
        hn::StoreU(out[x], d, to + (y * in_side + x) * step + k);
      }
    }
  }
}

// sums[i] += the sum over tiles of seen[tile][i] made[tile], for `count` inputs i and one or two vectors of outputs.
template <int count, int vectors>
HWY_INLINE void add_products(const float* seen, int64_t seen_row, const float* made, int64_t made_row, int64_t tiles,
                             float* sums, int64_t row) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  V sum[count][vectors];
  for (int i = 0; i < count; ++i) {
    for (int v = 0; v < vectors; ++v) {
      sum[i][v] = hn::LoadU(d, sums + i * row + v * lanes);
    }
  }
  for (int64_t t = 0; t < tiles; ++t) {
    V g[vectors];
    for (int v = 0; v < vectors; ++v) {
      g[v] = hn::LoadU(d, made + t * made_row + v * lanes);
    }
    for (int i = 0; i < count; ++i) {
      const V x = hn::Set(d, seen[t * seen_row + i]);
      for (int v = 0; v < vectors; ++v) {
        sum[i][v] = hn::MulAdd(x, g[v], sum[i][v]);
      }
    }
  }
  for (int i = 0; i < count; ++i) {
    for (int v = 0; v < vectors; ++v) {
      hn::StoreU(sum[i][v], d, sums + i * row + v * lanes);
    }
  }
}

template <int vectors>
void add_all_products(const float* seen, int64_t inputs, const float* made, int64_t made_row, int64_t tiles,
                      float* sums, int64_t row) {
  constexpr int at_a_time = 8;
  int64_t i = 0;
  for (; i + at_a_time <= inputs; i += at_a_time) {
    add_products<at_a_time, vectors>(seen + i, inputs, made, made_row, tiles, sums + i * row, row);
  }
  for (; i < inputs; ++i) {
    add_products<1, vectors>(seen + i, inputs, made, made_row, tiles, sums + i * row, row);
  }
}

// G^T (sums) G for every filter, a vector of outputs at once.
void finish_gradient(const WinogradShape& s, const float* sums, float* weights) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t in = s.in_channels, out = s.out_channels;
#pragma omp parallel for
  for (int64_t i = 0; i < in; ++i) {
    for (int64_t o = 0; o < out; o += lanes) {
      V half[3][in_side];
      for (int a = 0; a < 3; ++a) {
        for (int64_t x = 0; x < in_side; ++x) {
          V sum = hn::Zero(d);
          for (int64_t y = 0; y < in_side; ++y) {
            const V value = hn::LoadU(d, sums + ((y * in_side + x) * in + i) * out + o);
            sum = hn::MulAdd(hn::Set(d, filter_transform[y][a]), value, sum);
          }
          half[a][x] = sum;
        }
      }
      for (int a = 0; a < 3; ++a) {
        for (int b = 0; b < 3; ++b) {
          V sum = hn::Zero(d);
          for (int64_t x = 0; x < in_side; ++x) {
            sum = hn::MulAdd(hn::Set(d, filter_transform[x][b]), half[a][x], sum);
          }
          HWY_ALIGN float values[HWY_MAX_BYTES / sizeof(float)] = {};
          hn::Store(sum, d, values);
          for (int64_t k = 0; k < lanes; ++k) {
            weights[(((o + k) * in + i) * 3 + a) * 3 + b] = values[k];
          }
        }
      }
    }
  }
}

void run_gradient(const WinogradShape& s, const float* src, const float* gradient, float* weights, float* bias) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  const int64_t in = s.in_channels, out = s.out_channels;
  const int64_t across = (s.width + out_side - 1) / out_side, down = (s.height + out_side - 1) / out_side;
  const int64_t tiles = s.batch * across * down;
  constexpr int64_t line = 16, least = 16;
  const int64_t block = std::min(tiles, std::max(least, s.scratch_bytes / (positions * (in + out) * 4)));
  const int64_t blocks = (tiles + block - 1) / block;
  const int64_t seen_step = block * in + line, made_step = block * out + line;
  const auto threads = static_cast<int>(std::min<int64_t>(omp_get_max_threads(), blocks));
  const int64_t sum_size = positions * in * out;
  // A sum for each thread, added in the threads' order: the same threads give the same result.
  std::vector<std::vector<float>> sums(static_cast<size_t>(threads)), biases(static_cast<size_t>(threads));
#pragma omp parallel num_threads(threads)
  {
    const auto self = static_cast<size_t>(omp_get_thread_num());
    static thread_local std::vector<float> scratch;
    const auto wanted = static_cast<size_t>(positions * (seen_step + made_step));
    if (scratch.size() < wanted) {
      scratch.resize(wanted);
    }
    sums[self].assign(static_cast<size_t>(sum_size), 0.0F);
    biases[self].assign(static_cast<size_t>(out), 0.0F);
    float *seen = scratch.data(), *made = seen + positions * seen_step;
#pragma omp for schedule(static)
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t begin = b * block, count = std::min(block, tiles - begin);
      for (int64_t t = 0; t < count; ++t) {
        const Tile tile = tile_at(s, begin + t);
        read_tile(s, src, tile, seen + t * in, seen_step);
        read_gradient(s, gradient, tile, made + t * out, made_step, biases[self].data());
      }
      for (int64_t p = 0; p < positions; ++p) {
        float* to = sums[self].data() + p * in * out;
        int64_t k = 0;
        for (; k + 2 * lanes <= out; k += 2 * lanes) {
          add_all_products<2>(seen + p * seen_step, in, made + p * made_step + k, out, count, to + k, out);
        }
        for (; k < out; k += lanes) {
          add_all_products<1>(seen + p * seen_step, in, made + p * made_step + k, out, count, to + k, out);
        }
      }
    }
  }
  for (size_t i = 1; i < sums.size(); ++i) {
    for (size_t k = 0; k < sums[0].size(); ++k) {
      sums[0][k] += sums[i][k];
    }
    for (size_t k = 0; k < biases[0].size(); ++k) {
      biases[0][k] += biases[i][k];
    }
  }
  finish_gradient(s, sums[0].data(), weights);
  std::copy(biases[0].begin(), biases[0].end(), bias);
}

// [position, panel, in, two vectors of out]: G g G^T of every filter g.
void pack_winograd(int64_t out_channels, int64_t in_channels, const float* weights, std::vector<float>& packed) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d)), panel = 2 * lanes;
  const int64_t panels = (out_channels + panel - 1) / panel;
  packed.assign(static_cast<size_t>(positions * panels * in_channels * panel), 0);
#pragma omp parallel for collapse(2)
  for (int64_t o = 0; o < out_channels; o += lanes) {
    for (int64_t c = 0; c < in_channels; ++c) {
      HWY_ALIGN float filter[9][HWY_MAX_BYTES / sizeof(float)] = {};
      for (int64_t i = 0; i < std::min(lanes, out_channels - o); ++i) {
        for (int k = 0; k < 9; ++k) {
          filter[k][i] = weights[((o + i) * in_channels + c) * 9 + k];
        }
      }
      V half[in_side][3];
      for (int64_t y = 0; y < in_side; ++y) {
        for (int x = 0; x < 3; ++x) {
          V sum = hn::Mul(hn::Set(d, filter_transform[y][0]), hn::Load(d, filter[x]));
          sum = hn::MulAdd(hn::Set(d, filter_transform[y][1]), hn::Load(d, filter[3 + x]), sum);
          half[y][x] = hn::MulAdd(hn::Set(d, filter_transform[y][2]), hn::Load(d, filter[6 + x]), sum);
        }
      }
      for (int64_t y = 0; y < in_side; ++y) {
        for (int64_t x = 0; x < in_side; ++x) {
          V sum = hn::Mul(hn::Set(d, filter_transform[x][0]), half[y][0]);
          sum = hn::MulAdd(hn::Set(d, filter_transform[x][1]), half[y][1], sum);
          sum = hn::MulAdd(hn::Set(d, filter_transform[x][2]), half[y][2], sum);
          const int64_t at = ((y * in_side + x) * panels + o / panel) * in_channels + c;
          hn::StoreU(sum, d, packed.data() + at * panel + o % panel);
        }
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace retort_onednn
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace retort_onednn {

HWY_EXPORT(run_winograd);
HWY_EXPORT(pack_winograd);
HWY_EXPORT(run_gradient);

void winograd(const WinogradShape& shape, const float* weights, const float* bias, const void* src,
              const void* residual, void* dst) {
  HWY_DYNAMIC_DISPATCH(run_winograd)(shape, weights, bias, src, residual, dst);
}

void winograd_gradient(const WinogradShape& shape, const float* src, const float* gradient, float* weights,
                       float* bias) {
  HWY_DYNAMIC_DISPATCH(run_gradient)(shape, src, gradient, weights, bias);
}

void pack_for_winograd(int64_t out_channels, int64_t in_channels, const float* weights, std::vector<float>& packed) {
  HWY_DYNAMIC_DISPATCH(pack_winograd)(out_channels, in_channels, weights, packed);
}

}  // namespace retort_onednn
#endif
