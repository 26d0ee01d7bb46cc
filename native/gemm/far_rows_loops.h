// The loops of far_rows.h; see lanes_loops.h about where they are included.
//
// Rows of L are read from end to end, some at a time, as the hardware fetches them by itself; the sums stay in the nearest cache.
#pragma once

#include "gemm/far_rows.h"
#include "gemm/parts_loops.h"

namespace weft {
namespace {

// Part: of parts_loops.h.
template <class Part, int Rows, int Terms>
inline void far_terms(const FarRows<typename Part::element>& g, int64_t p) {
  using T = typename Part::element;
  using V = typename Part::type;
  T x[Rows][Terms];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int t = 0; t < Terms; ++t) x[r][t] = g.x[r * g.x_row + (p + t) * g.x_k];
  const T* const from = g.l + p * g.line;
  const auto add = [&](int64_t j, auto load) {
    V sums[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) sums[r] = Part::at(g.sums + r * g.sums_row + j);
#pragma GCC unroll 8
    for (int t = 0; t < Terms; ++t) {
      __builtin_prefetch(from + (Terms + t) * g.line + j);
      const V row = load(from + t * g.line + j);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) sums[r] += x[r][t] * row;
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) Part::at(g.sums + r * g.sums_row + j) = sums[r];
  };
  int64_t j = 0;
  for (; j + Part::width <= g.columns; j += Part::width) add(j, [](const T* at) -> V { return Part::at(at); });
  if (j == g.columns) return;
  const auto mask = Part::mask_of(g.columns - j);
  add(j, [&](const T* at) -> V { return Part::load(at, mask); });
}

template <class Part, int Rows>
void far_rows(const FarRows<typename Part::element>& g) {
  constexpr int terms = 8;
  for (int r = 0; r < Rows; ++r)
    for (int64_t j = 0; j < g.columns; j += Part::width) Part::at(g.sums + r * g.sums_row + j) = typename Part::type{};
  int64_t p = 0;
  for (; p + terms <= g.k; p += terms) far_terms<Part, Rows, terms>(g, p);
  for (; p < g.k; ++p) far_terms<Part, Rows, 1>(g, p);
}

template <class Part>
constexpr FarRowKernels<typename Part::element> far_row_kernels_with() {
  FarRowKernels<typename Part::element> kernels{};
  const auto fill = [&]<int Rows>(auto self) {
    kernels.of_rows[Rows - 1] = far_rows<Part, Rows>;
    if constexpr (Rows < most_far_rows) self.template operator()<Rows + 1>(self);
  };
  fill.template operator()<1>(fill);
  return kernels;
}

template <class T>
constexpr FarRowKernels<T> far_row_kernels_of() {
  return far_row_kernels_with<Part32<T>>();
}

}  // namespace
}  // namespace weft
