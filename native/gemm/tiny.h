// Batches of tiny matrices of one size: the loops behind batch.h. What a call costs is then paid once for many
// matrices.
#pragma once

#include <cstdint>

namespace weft {

// C = A @ B for each of `count` matrices, which are *_matrix apart. Element (i, p) of A is at i * a_row + p * a_k, row p of B at
// p * b_k, row i of C at i * c_row. An element is the sum of chains of multiply-adds, each begun at zero: the first of
// `first` terms, the others of `rest`, added in order. Nothing beyond `columns` is touched, but for rows of B of 16-bit integers,
// which must have a vector's elements: there is no loading of these by a mask.
template <class T>
struct TinyProducts {
  int64_t count, columns;
  int64_t k, first, rest;
  const T* a;
  int64_t a_matrix, a_row, a_k;
  const T* b;
  int64_t b_matrix, b_k;
  T* c;
  int64_t c_matrix, c_row;
};

template <class T>
constexpr int64_t tiny_width = 32 / static_cast<int64_t>(sizeof(T));  // columns of a vector where there is no AVX-512
constexpr int tiny_rows_of_one = 8, tiny_rows_of_two = 8;

// T: float, double, uint16_t, uint32_t or uint64_t. How many rows there are depends on the registers.
template <class T>
struct TinyKernels {
  using Run = void (*)(const TinyProducts<T>&);
  int64_t width;                  // columns of a vector
  int most_of_one, most_of_two;   // rows; none of two vectors: 0
  Run of_one[tiny_rows_of_one];   // 1, 2, ... rows of up to a vector
  Run of_two[tiny_rows_of_two];   // of more, up to two
  // Lines, `line` apart, become columns: to[(m * length + p) * lines + j] = from[m * matrix + j * line + p] for m < count,
  // p < length, j < lines. There is none for 16-bit integers.
  void (*turn)(int64_t count, int64_t lines, int64_t length, const T* from, int64_t matrix, int64_t line, T* to);
};

}  // namespace weft
