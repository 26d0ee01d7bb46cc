// The loops of few_rows.h; see lanes_loops.h about where they are included.
//
// A register holds one element of each of some neighbouring lines: squares of as many elements as 16 bytes hold are put side by side
// while they are loaded, and transposed in registers. So no line is packed before it is used, and each is read once.
#pragma once

#include "gemm/few_rows.h"
#include "gemm/parts_loops.h"

namespace weft {
namespace {

// An address of which the compiler does not know how it belongs to others: it would keep one for each line, more than there are
// registers.
template <class T>
inline const T* unrelated(const T* at) {
  asm("" : "+r"(at));
  return at;
}

// A vector's lines, or, where not `Whole`, the first `count`. Part: of parts_loops.h.
template <class Part, int Rows, bool Whole>
inline void few_rows_at(const FewRows<typename Part::element>& g, int64_t j, int64_t count) {
  using T = typename Part::element;
  using V = typename Part::type;
  constexpr int side = 16 / static_cast<int>(sizeof(T)), width = Part::width, squares = width / side;
  constexpr int64_t line_elements = 64 / static_cast<int64_t>(sizeof(T));
  const T* start[width];  // where lines are missing, the last one stands in
  if constexpr (!Whole)
    for (int64_t i = 0; i < width; ++i) start[i] = g.l + (j + (i < count ? i : count - 1)) * g.line;
  const int64_t line = g.line, line3 = 3 * g.line, x_k = g.x_k;
  const auto chain = [&](int64_t begin, int64_t end, V(&found)[Rows]) {
    V sums[Rows] = {};
    const auto add = [&](const V& column, const T* x) {
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) sums[r] += x[r] * column;
    };
    const T *x = g.x + begin * x_k, *l[squares];
#pragma GCC unroll 4
    for (int i = 0; i < squares; ++i) l[i] = g.l + (j + i * side) * line + begin;
    int64_t p = begin;
    for (; p + side <= end; p += side) {
      if (p % line_elements == 0)
        for (int i = 0; i < width; ++i) __builtin_prefetch(g.l + (j + i) * line + p + line_elements);
      V square[side];
#pragma GCC unroll 4
      for (int i = 0; i < side; ++i)
        square[i] = Part::side_by_side([&](int part) {
          if constexpr (!Whole) return start[part * side + i] + p;
          return l[part] + (i == 0 ? 0 : i == 1 ? line : i == 2 ? 2 * line : line3);
        });
      Part::transpose(square);
#pragma GCC unroll 4
      for (int i = 0; i < side; ++i, x = unrelated(x + x_k)) add(square[i], x);
#pragma GCC unroll 4
      for (int i = 0; i < squares; ++i) l[i] = unrelated(l[i] + side);
    }
    for (; p < end; ++p, x += x_k) {
      T column[width];
      for (int i = 0; i < width; ++i) column[i] = Whole ? g.l[(j + i) * line + p] : start[i][p];
      add(Part::at(column), x);
    }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) found[r] = sums[r];
  };
  V sums[Rows];
  chain(0, g.first, sums);
  for (int64_t begin = g.first; begin < g.k; begin += g.rest) {
    V more[Rows];
    chain(begin, begin + g.rest < g.k ? begin + g.rest : g.k, more);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) sums[r] += more[r];
  }
  T* const to = g.c + j * g.c_line;
  if (g.c_line == 1) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      if constexpr (Whole) Part::at(to + r * g.c_row) = sums[r];
      else Part::store(to + r * g.c_row, sums[r], count);
    }
    return;
  }
  T found[Rows][width];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) Part::at(found[r]) = sums[r];
  for (int64_t i = 0; i < count; ++i)
    for (int r = 0; r < Rows; ++r) to[i * g.c_line + r * g.c_row] = found[r][i];
}

template <class Part, int Rows>
void few_rows(const FewRows<typename Part::element>& g) {
  constexpr int64_t width = Part::width;
  int64_t j = 0;
  for (; j + width <= g.lines; j += width) few_rows_at<Part, Rows, true>(g, j, width);
  if (j < g.lines) few_rows_at<Part, Rows, false>(g, j, g.lines - j);
}

// For so many rows as fit in the registers.
template <class Part, int Most>
constexpr FewRowKernels<typename Part::element> few_row_kernels_with() {
  FewRowKernels<typename Part::element> kernels{Part::width, Most, {}};
  const auto fill = [&]<int Rows>(auto self) {
    kernels.of_rows[Rows - 1] = few_rows<Part, Rows>;
    if constexpr (Rows < Most) self.template operator()<Rows + 1>(self);
  };
  fill.template operator()<1>(fill);
  return kernels;
}

template <class T>
constexpr FewRowKernels<T> few_row_kernels_of() {
  return few_row_kernels_with<Part32<T>, 8>();
}

}  // namespace
}  // namespace weft
