// The loops of tiny.h; see lanes_loops.h about where they are included.
#pragma once

#include "gemm/parts_loops.h"
#include "gemm/tiny.h"

namespace weft {
namespace {

// Part: of parts_loops.h.
template <class Part, int Rows, int Vectors>
void tiny_products(const TinyProducts<typename Part::element>& given) {
  using T = typename Part::element;
  using V = typename Part::type;
  constexpr int64_t width = Part::width;
  const TinyProducts<T> g = given;
  const int64_t left_over = g.columns - (Vectors - 1) * width;  // columns of the last vector
  [[maybe_unused]] const auto mask = Part::mask_of(left_over);
  const T *a = g.a, *b = g.b;
  T* c = g.c;
  for (int64_t i = 0; i < g.count; ++i, a += g.a_matrix, b += g.b_matrix, c += g.c_matrix) {
    const auto chain = [&](int64_t begin, int64_t end, V(&sums)[Rows][Vectors]) {
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) sums[r][v] = V{};
      const T *left = a + begin * g.a_k, *right = b + begin * g.b_k;
      for (int64_t p = begin; p < end; ++p, left += g.a_k, right += g.b_k) {
        V row[Vectors];
        if constexpr (Vectors == 2) row[0] = Part::at(right);
        if constexpr (sizeof(T) == 2)
          row[Vectors - 1] = Part::at(right + (Vectors - 1) * width);
        else
          row[Vectors - 1] = Part::load(right + (Vectors - 1) * width, mask);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
          for (int v = 0; v < Vectors; ++v) sums[r][v] += left[r * g.a_row] * row[v];
      }
    };
    V sums[Rows][Vectors];
    chain(0, g.first, sums);
    for (int64_t begin = g.first; begin < g.k; begin += g.rest) {
      V more[Rows][Vectors];
      chain(begin, begin + g.rest < g.k ? begin + g.rest : g.k, more);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) sums[r][v] += more[r][v];
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      T* to = c + r * g.c_row;
      if constexpr (Vectors == 2) Part::at(to) = sums[r][0], to += width;
      if (left_over == width)
        Part::at(to) = sums[r][Vectors - 1];
      else
        Part::store(to, sums[r][Vectors - 1], left_over);
    }
  }
}

// Squares of as many elements as 16 bytes hold are put side by side while they are loaded, and then transposed in
// registers, each in its 16 bytes. Where lines are missing from the last of a vector's, the last one stands in.
template <class Part>
void turn_lines(int64_t count, int64_t lines, int64_t length, const typename Part::element* from, int64_t matrix, int64_t line,
                typename Part::element* to) {
  using T = typename Part::element;
  constexpr int side = 16 / static_cast<int>(sizeof(T)), width = Part::width;
  for (int64_t m = 0; m < count; ++m, from += matrix, to += lines * length)
    for (int64_t j = 0; j < lines; j += width) {
      const T* start[width];
      for (int64_t l = 0; l < width; ++l) start[l] = from + (j + l < lines ? j + l : lines - 1) * line;
      const int64_t columns = lines - j < width ? lines - j : width;
      T* out = to + j;
      int64_t p = 0;
      for (; p + side <= length; p += side) {
        typename Part::type square[side];
#pragma GCC unroll 4
        for (int r = 0; r < side; ++r) square[r] = Part::side_by_side([&](int l) { return start[l * side + r] + p; });
        Part::transpose(square);
#pragma GCC unroll 4
        for (int r = 0; r < side; ++r, out += lines) {
          if (columns == width)
            Part::at(out) = square[r];
          else
            Part::store(out, square[r], columns);
        }
      }
      for (; p < length; ++p, out += lines)
        for (int64_t l = 0; l < columns; ++l) out[l] = start[l][p];
    }
}

// As many of them as Rows and RowsOfTwo say.
template <class Part, int Rows, int RowsOfTwo>
constexpr TinyKernels<typename Part::element> tiny_kernels_with() {
  TinyKernels<typename Part::element> k{Part::width, Rows, RowsOfTwo, {}, {}, nullptr};
  const auto fill = [&]<int R>(auto self) {
    if constexpr (R <= Rows) k.of_one[R - 1] = tiny_products<Part, R, 1>;
    if constexpr (R <= RowsOfTwo) k.of_two[R - 1] = tiny_products<Part, R, 2>;
    if constexpr (R < Rows || R < RowsOfTwo) self.template operator()<R + 1>(self);
  };
  fill.template operator()<1>(fill);
  if constexpr (sizeof(typename Part::element) >= 4) k.turn = turn_lines<Part>;
  return k;
}

template <class T>
constexpr TinyKernels<T> tiny_kernels_of() {
#ifdef __AVX2__
  constexpr bool many = sizeof(T) >= 4, two = T(0.5) != T(0);  // two vectors for floats
  return tiny_kernels_with<Part32<T>, two ? 8 : many ? 4 : 2, two ? 6 : 0>();
#else
  return tiny_kernels_with<Part32<T>, 2, 0>();
#endif
}

}  // namespace
}  // namespace weft
