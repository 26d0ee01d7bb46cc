// The loops of rows.h; see lanes_loops.h about where they are included.
#pragma once

#include "gemm/rows.h"

namespace weft {
namespace {

template <class T>
struct RowVector;
template <>
struct RowVector<float> { typedef float type __attribute__((vector_size(32), aligned(4))); };
template <>
struct RowVector<double> { typedef double type __attribute__((vector_size(32), aligned(8))); };

template <class T>
inline typename RowVector<T>::type& row_at(const T* p) {
  return *reinterpret_cast<typename RowVector<T>::type*>(const_cast<T*>(p));
}

// n <= row_width: B in registers.
template <class T, int K>
void thin_rows(int64_t rows, const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_row, T* c, int64_t c_row,
               int64_t n) {
  using V = typename RowVector<T>::type;
  V right[K];
#pragma GCC unroll 8
  for (int p = 0; p < K; ++p) right[p] = row_at(b + p * b_row);
  const auto sum = [&](V& to) {
    V s{};
#pragma GCC unroll 8
    for (int p = 0; p < K; ++p) s += a[p * a_k] * right[p];
    to = s;
  };
  // Where rows of C follow one another without a gap, a whole vector is stored: the next rows, which come later, write over
  // what is too much.
  const int64_t ahead = (row_width<T> + n - 1) / n - 1;
  const int64_t whole = c_row == n && rows > ahead ? rows - ahead : 0;
  int64_t i = 0;
  for (; i < whole; ++i, a += a_row, c += n) sum(row_at(c));
  for (; i < rows; ++i, a += a_row, c += c_row) {
    T one[row_width<T>];
    sum(row_at(one));
    for (int64_t j = 0; j < n; ++j) c[j] = one[j];
  }
}

template <class T, int K, int Rows>
inline void wide_rows_at_once(const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_row, T* c, int64_t c_row,
                              int64_t n) {
  using V = typename RowVector<T>::type;
  T left[Rows][K];
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < K; ++p) left[r][p] = a[r * a_row + p * a_k];
  const auto columns = [&](int64_t j) {
    V s[Rows] = {};
#pragma GCC unroll 4
    for (int p = 0; p < K; ++p) {
      const V right = row_at(b + p * b_row + j);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) s[r] += left[r][p] * right;
    }
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) row_at(c + r * c_row + j) = s[r];
  };
  int64_t j = 0;
  for (; j + row_width<T> <= n; j += row_width<T>) columns(j);
  if (j < n) columns(n - row_width<T>);  // the last ones once more, beside those there are already
}

template <class T, int K>
void wide_rows(int64_t rows, const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_row, T* c, int64_t c_row,
               int64_t n) {
  constexpr int together = K <= 2 ? 4 : 2;
  for (; rows >= together; rows -= together, a += together * a_row, c += together * c_row)
    wide_rows_at_once<T, K, together>(a, a_row, a_k, b, b_row, c, c_row, n);
  for (; rows > 0; --rows, a += a_row, c += c_row) wide_rows_at_once<T, K, 1>(a, a_row, a_k, b, b_row, c, c_row, n);
}

template <class T, int K>
void rows_of_depth(int64_t rows, const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_row, T* c, int64_t c_row,
                   int64_t n) {
  if constexpr (K <= deepest_wide_row)
    if (n > row_width<T>) return wide_rows<T, K>(rows, a, a_row, a_k, b, b_row, c, c_row, n);
  thin_rows<T, K>(rows, a, a_row, a_k, b, b_row, c, c_row, n);
}

template <class T>
constexpr RowKernels<T> row_kernels_of() {
  return {{rows_of_depth<T, 1>, rows_of_depth<T, 2>, rows_of_depth<T, 3>, rows_of_depth<T, 4>, rows_of_depth<T, 5>,
           rows_of_depth<T, 6>, rows_of_depth<T, 7>, rows_of_depth<T, 8>}};
}

}  // namespace
}  // namespace weft
