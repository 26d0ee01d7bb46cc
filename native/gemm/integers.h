// Register tiles of the integer products: C[rows, nr] out of k steps, as tile.h says of those of the floats, but with sums
// that wrap; and the loops of integer products of which one side is a vector. They are C++ and not generated: there is no
// rounding to agree upon, and a process that multiplies integers waits for no compilation.
#pragma once

#include <cstdint>

#include "gemm/tile.h"

namespace weft {

inline constexpr int most_integer_rows = 6;

template <class T>
using IntegerTile = void (*)(int64_t k, const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_k, T* c, int64_t c_row,
                             bool add);

// T: uint16_t, uint32_t or uint64_t.
template <class T>
struct IntegerTiles {
  int mr, nr;
  IntegerTile<T> of_rows[most_integer_rows];  // of 1, 2, ... mr rows
};

// S: an unsigned type of 8 to 64 bits.
template <class S>
struct IntegerLoops {
  // The sum of x[p] * y[p] over p < k.
  S (*dot)(int64_t k, const S* x, const S* y);
  // sums[j] += the sum of x[p] * rows[p * row + j] over p < k, for j < n.
  void (*add_rows)(int64_t k, int64_t n, const S* x, const S* rows, int64_t row, S* sums);
};

}  // namespace weft
