// What the ways to run an attention share (see attention.h).
#pragma once

#include <algorithm>
#include <cstdint>

#include "attention.h"
#include "short_array.h"

namespace weft {

template <class T>
struct Matrix {
  const T* data;
  int64_t row, col;  // strides
  const T* at(int64_t i) const { return data + i * row; }
};

// How far into an operand its matrix number `head` (of the batch) begins, in elements.
inline int64_t offset_of(const Attention& at, const GemmOperand& operand, int64_t head) {
  int64_t result = 0;
  for (size_t d = at.batch.size(); d-- > 0;) {
    result += head % at.batch[d] * operand.batch_strides[d];
    head /= at.batch[d];
  }
  return result;
}

template <class T>
Matrix<T> matrix_of(const Attention& at, const void* data, const GemmOperand& operand, int64_t head) {
  return {static_cast<const T*>(data) + offset_of(at, operand, head), operand.row_stride, operand.col_stride};
}

// The mask of some rows of a head, from `first` on; null if there is none.
inline const char* mask_of(const Attention& at, const void* data, int64_t head, int64_t first) {
  if (!data) return nullptr;
  return static_cast<const char*>(data) + (offset_of(at, at.mask, head) + first * at.mask.row_stride) * at.mask_size;
}

// Runs a kernel over some rows of scratch memory, of which the first is row `first` of the head; each is as long as what it sees.
inline void run_rows(const Attention& at, const RowKernel& kernel, int64_t first, int64_t rows, void* one, void* two,
                     void* three) {
  void* buffers[3] = {one, two, three};
  ShortArray<int64_t, 32> params(kernel.params.size());
  std::copy(kernel.params.begin(), kernel.params.end(), params.get());
  if (!at.causal) {
    params.get()[1] = at.keys;
    kernel.function(buffers, params.get(), 0, rows);
    return;
  }
  for (int64_t i = 0; i < rows; ++i) {
    params.get()[1] = std::min(at.keys, first + i + 1);
    kernel.function(buffers, params.get(), i, i + 1);
  }
}

// Attention of so few rows that each key and value is read as often as it would be if it were packed: products of vectors.
constexpr int64_t few_rows = 2;
// False: the poll asked to stop. Throws std::bad_alloc.
template <class T>
bool run_few_rows(const Attention& at, const AttentionMemory& memory, const Poll* poll);

}  // namespace weft
