/// Standard normal numbers, and bisections of Brownian paths with them, many columns at a time. Used by noise.cpp
/// alone.
///
/// The bits are Threefry-4x32 with 13 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), one
/// more than the fewest that pass BigCrush. It counts, so a number is a function of its name and no state is carried
/// along. Box and Muller's formula makes two numbers of two words: with 30 bits for the radius none is beyond 6.56.
///
/// Every number is the same on every processor with IEEE 754 arithmetic, whatever its vectors: there are only sums,
/// products, fused ones of both, square roots and conversions, each rounded once, and no function of a library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace retort::lanes {

/// Columns that are made together. Arrays below have a multiple of it.
inline constexpr int64_t block = 64;
inline int64_t blocks_of(int64_t columns) { return (columns + block - 1) / block; }

/// What a draw is called. `kind` keeps draws of steps and places of paths apart.
struct Name {
  uint64_t seed, row, place;
  uint32_t kind;
};

/// Four words of bits: counter: (count, place, kind), key: (seed, row).
struct Bits {
  uint32_t a, b, c, d;
};
Bits bits(const Name& name, uint32_t count);

/// `columns` numbers of a draw. The numbers of fewer columns are the first ones of more.
void normals(const Name& name, int64_t columns, float* out);

/// One bisection: the middle is low * X_left + high * X_right + spread z, and the next one is in the half `to_right`.
struct Halving {
  uint64_t place;  // of the middle, which names z
  float low, high, spread;
  bool to_right;
  float* middle;  // [blocks of columns], or nullptr where it is not kept
};

/// From a stretch with X at its ends (nullptr: 0) to the middle of the last bisection. low, high, out: [blocks of
/// columns]. name.place is not used.
void descend(Name name, const std::vector<Halving>& halvings, const float* low, const float* high, int64_t blocks,
             float* out);

}  // namespace retort::lanes
