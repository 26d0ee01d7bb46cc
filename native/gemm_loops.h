// Plain loops for matrix products: for the integer types, which wrap, and for floats where no BLAS was given.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

namespace weft {

// A matrix at some address with strides in elements.
template <class T>
struct Matrix {
  T* data;
  int64_t row_stride, col_stride;
  T* at(int64_t row, int64_t col) const { return data + row * row_stride + col * col_stride; }
};

// Rows [begin, end) of C = A @ B. Every element is summed over k in order, so the split into rows changes nothing.
// Narrow integers are summed in 32 bits: their low bits are those of the wrapped sum.
template <class T>
void gemm_rows(Matrix<const T> a, Matrix<const T> b, Matrix<T> c, int64_t n, int64_t k, int64_t begin, int64_t end) {
  using Sum = std::conditional_t<std::is_integral_v<T>, std::conditional_t<(sizeof(T) < 8), uint32_t, uint64_t>, T>;
  constexpr int64_t width = 128;
  Sum sums[width];
  std::vector<Sum> panel(static_cast<size_t>(std::min(n, width) * k));
  for (int64_t j0 = 0; j0 < n; j0 += width) {
    const int64_t w = std::min(width, n - j0);
    for (int64_t p = 0; p < k; ++p)
      for (int64_t j = 0; j < w; ++j) panel[static_cast<size_t>(p * w + j)] = static_cast<Sum>(*b.at(p, j0 + j));
    for (int64_t i = begin; i < end; ++i) {
      std::fill_n(sums, w, Sum{});
      for (int64_t p = 0; p < k; ++p) {
        const Sum left = static_cast<Sum>(*a.at(i, p));
        const Sum* right = panel.data() + p * w;
        for (int64_t j = 0; j < w; ++j) sums[j] += left * right[j];
      }
      for (int64_t j = 0; j < w; ++j) *c.at(i, j0 + j) = static_cast<T>(sums[j]);
    }
  }
}

}  // namespace weft
