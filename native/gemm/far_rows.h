// Few rows by rows that come from far away: the loops behind far.h.
#pragma once

#include <cstdint>

namespace weft {

// sums(r, j) = the sum over p < k of X(r, p) * L(p, j), for some rows r and all j < columns: one chain of multiply-adds each, begun at zero.
// Element (r, p) of X is at r * x_row + p * x_k; row p of L begins at p * line, row r of the sums at r * sums_row, and their elements
// follow one another. The sums have room for whole vectors. The rows of L that follow are brought into a cache meanwhile.
template <class T>
struct FarRows {
  int64_t columns, k;
  const T* x;
  int64_t x_row, x_k;
  const T* l;
  int64_t line;
  T* sums;
  int64_t sums_row;
};

constexpr int most_far_rows = 8;

template <class T>  // float, double
struct FarRowKernels {
  void (*of_rows[most_far_rows])(const FarRows<T>&);  // 1, 2, ... rows
};

}  // namespace weft
