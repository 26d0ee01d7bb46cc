// Few rows by lines: the loops behind few.h.
#pragma once

#include <cstdint>

namespace weft {

// C(r, j) = the sum over p < k of X(r, p) * L(j, p), for some rows r and all j < lines. Element (r, p) of X is at r + p * x_k; line
// j of L begins at j * line, and its elements follow one another; element (r, j) of C is at r * c_row + j * c_line. Sums are chains
// of multiply-adds, each begun at zero: the first of `first` terms, the others of `rest`, added in order.
template <class T>
struct FewRows {
  int64_t lines, k, first, rest;
  const T* x;
  int64_t x_k;
  const T* l;
  int64_t line;
  T* c;
  int64_t c_row, c_line;
};

constexpr int most_few_rows = 16;

template <class T>  // float, double
struct FewRowKernels {
  int64_t width;  // lines that are read side by side
  int most;       // rows at once
  void (*of_rows[most_few_rows])(const FewRows<T>&);  // 1, 2, ... rows
};

}  // namespace weft
