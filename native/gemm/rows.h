// Rows of C that are sums of few rows of B: the loops behind the flat products of small.h.
#pragma once

#include <cstdint>

namespace weft {

// C[rows, n] (rows of stride c_row, contiguous) = A[rows, k] @ B[k, n], each element one chain of multiply-adds begun at zero.
// Element (i, p) of A is at i * a_row + p * a_k. Rows of B are at b_row and have at least row_width<T> elements.
template <class T>
using RowSums = void (*)(int64_t rows, const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_row, T* c, int64_t c_row,
                         int64_t n);

template <class T>
constexpr int64_t row_width = 32 / static_cast<int64_t>(sizeof(T));
constexpr int64_t deepest_row = 8;       // the greatest k where n is at most row_width: B stays in registers
constexpr int64_t deepest_wide_row = 4;  // and where n is more

template <class T>
struct RowKernels {
  RowSums<T> of_depth[deepest_row];  // for k = 1, 2, ...
};

}  // namespace weft
