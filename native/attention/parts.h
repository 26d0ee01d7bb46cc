// What the ways to run an attention share (see attention.h).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "attention/attention.h"
#include "base/short_array.h"

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

// What the queries of a head see.
struct Sight {
  bool causal;
  const bool* mask;  // null: no mask of booleans
  int64_t row, col;  // strides of the mask
  // Whether there may be keys that a query does not see.
  explicit operator bool() const { return causal || mask; }
  bool sees(int64_t query, int64_t key) const {
    return (!causal || key <= query) && (!mask || mask[query * row + key * col]);
  }
};
inline Sight sight_of(const Attention& at, const void* mask, int64_t head) {
  const bool booleans = mask && at.mask_size == 1;
  return {at.causal, booleans ? reinterpret_cast<const bool*>(mask_of(at, mask, head, 0)) : nullptr, at.mask.row_stride,
          at.mask.col_stride};
}

// Whether no element is infinite or NaN.
template <class T>
bool all_finite(const T* x, int64_t step, int64_t n) {
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  constexpr Bits exponent = sizeof(T) == 4 ? Bits{0x7f800000} : static_cast<Bits>(0x7ff0000000000000);
  bool found = false;
  for (int64_t i = 0; i < n; ++i) {
    Bits bits;
    std::memcpy(&bits, x + i * step, sizeof bits);
    found |= (bits & exponent) == exponent;
  }
  return !found;
}

// Keys or values among which those that a query does not see count as zeros, whatever they hold: the weight 0 alone does not
// see to that. Only where a sum came out infinite or NaN can there have been anything else.
template <class T>
class Seen {
 public:
  Seen(const Matrix<T>& all, int64_t rows, int64_t columns) : all_(all), rows_(rows), columns_(columns) {}

  // The matrix, row-major, in which those are zeros that are not finite and not seen by a query. Null: there are none.
  const T* by(int64_t query, const Sight& sight) {
    if (!known_) {
      for (int64_t j = 0; j < rows_; ++j)
        if (!all_finite(all_.at(j), all_.col, columns_)) bad_.push_back(j);
      known_ = true;
    }
    std::vector<int64_t> hidden;
    for (int64_t j : bad_)
      if (!sight.sees(query, j)) hidden.push_back(j);
    if (hidden.empty()) return nullptr;
    if (copy_.empty()) {
      copy_.resize(static_cast<size_t>(rows_ * columns_));
      for (int64_t j = 0; j < rows_; ++j) copy(j);
    }
    for (int64_t j : zeros_) copy(j);
    for (int64_t j : hidden) std::fill_n(copy_.data() + j * columns_, columns_, T{});
    zeros_ = std::move(hidden);
    return copy_.data();
  }

 private:
  void copy(int64_t j) {
    T* to = copy_.data() + j * columns_;
    for (int64_t c = 0; c < columns_; ++c) to[c] = all_.at(j)[c * all_.col];
  }

  Matrix<T> all_;
  int64_t rows_, columns_;
  bool known_ = false;
  std::vector<int64_t> bad_{}, zeros_{};
  std::vector<T> copy_{};
};

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
