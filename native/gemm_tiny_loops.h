// The loops of gemm_tiny.h; see gemm_lanes_loops.h about where they are included.
#pragma once

#include "gemm_parts_loops.h"
#include "gemm_tiny.h"

namespace weft {
namespace {

template <class T, int Rows, int Vectors>
void tiny_products(const TinyProducts<T>& given) {
  using V = typename PartVector<T>::type;
  constexpr int64_t width = tiny_width<T>;
  const TinyProducts<T> g = given;
  const int64_t left_over = g.columns - (Vectors - 1) * width;  // columns of the last vector
  [[maybe_unused]] const auto mask = part_mask<T>(left_over);
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
        if constexpr (Vectors == 2) row[0] = part_at(right);
        if constexpr (sizeof(T) == 2)
          row[Vectors - 1] = part_at(right + (Vectors - 1) * width);
        else
          row[Vectors - 1] = load_part(right + (Vectors - 1) * width, mask);
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
      if constexpr (Vectors == 2) part_at(to) = sums[r][0], to += width;
      if (left_over == width)
        part_at(to) = sums[r][Vectors - 1];
      else
        store_part(to, sums[r][Vectors - 1], left_over);
    }
  }
}

template <class T>
constexpr TinyKernels<T> tiny_kernels_of() {
#ifdef __AVX2__
  constexpr bool many = sizeof(T) >= 4, two = T(0.5) != T(0);  // two vectors for floats
#else
  constexpr bool many = false, two = false;
#endif
  TinyKernels<T> k{2, 0, {tiny_products<T, 1, 1>, tiny_products<T, 2, 1>}, {}};
  if constexpr (many) {
    k.most_of_one = 4;
    k.of_one[2] = tiny_products<T, 3, 1>, k.of_one[3] = tiny_products<T, 4, 1>;
  }
  if constexpr (two) {
    k.most_of_one = 8, k.most_of_two = 6;
    k.of_one[4] = tiny_products<T, 5, 1>, k.of_one[5] = tiny_products<T, 6, 1>;
    k.of_one[6] = tiny_products<T, 7, 1>, k.of_one[7] = tiny_products<T, 8, 1>;
    k.of_two[0] = tiny_products<T, 1, 2>, k.of_two[1] = tiny_products<T, 2, 2>, k.of_two[2] = tiny_products<T, 3, 2>;
    k.of_two[3] = tiny_products<T, 4, 2>, k.of_two[4] = tiny_products<T, 5, 2>, k.of_two[5] = tiny_products<T, 6, 2>;
  }
  return k;
}

}  // namespace
}  // namespace weft
