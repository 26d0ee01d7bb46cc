// Matrix-vector products of one block of k: the loops behind vector.h.
//
// An element is a sum over p of matrix[p] * vector[p]. Number p goes to lane p % 8 (p % 4 of doubles), each lane is one chain
// of multiply-adds begun at zero, and neighbouring lanes are added in pairs until one sum is left.
#pragma once

#include <cstdint>

#include "gemm/types.h"

namespace weft {

template <class T>  // of the sums
constexpr int lanes = 32 / static_cast<int>(sizeof(T));
constexpr int64_t row_group = 8;      // rows that are summed at once
constexpr int64_t far_row_group = 4;  // fewer where they come from memory, which is read best in few places

// How often each cache line of the rows that are read next is asked for: where the matrix is in a cache, where it comes from
// memory, and where no cache holds much of it. Asked for a line three times, some processors look further ahead themselves; those
// of Intel's with AVX-512 are slower for it.
enum class Asked : uint8_t { never = 0, once = 1, thrice = 3 };

// Neighbouring elements whose lanes stay near while the rows of a block go by, and whose runs in a row are long enough for
// the memory to be read at its best.
template <class T>
constexpr int64_t lane_columns = 8192 / static_cast<int64_t>(sizeof(T));

constexpr int most_few_terms = 4;  // of sums each of whose terms has a lane for itself

// Products of `count` matrices with a vector each, *_step apart: n sums of k terms, of which one block is made. Neighbouring
// sums are 1 apart.
template <class S>
struct LaneBatch {
  int64_t count, n, k;
  const S* matrix;
  int64_t matrix_step, row;
  const SumOf<S>* vector;
  int64_t vector_step;
  SumOf<S>* sums;
  int64_t sums_step;
};

// S: float, double, Float16, BFloat16. A 16-bit matrix is widened as it is read; vectors and sums are float32 then.
template <class S>
struct LaneKernels {
  // sums[r] = sum of matrix[r * row + p] * vector[r * step + p] over p < k, for r < rows. Unless the next rows are
  // never asked for, they are the far_row_group rows that follow these.
  void (*along_rows)(const S* matrix, int64_t row, int64_t rows, const SumOf<S>* vector, int64_t step, int64_t k, Asked next,
                     SumOf<S>* sums);
  // sums[j] = sum of matrix[p * row + j] * vector[p] over p < k, for j < n; 8 <= n <= lane_columns<SumOf<S>>.
  void (*down_columns)(const S* matrix, int64_t row, int64_t n, const SumOf<S>* vector, int64_t k, Asked next,
                       SumOf<S>* sums);
  // The same for many small matrices: term p of sum j is at j * row + p, and at p * row + j.
  void (*along_batch)(const LaneBatch<S>&);
  void (*down_batch)(const LaneBatch<S>&);
  // sums[j] = sum of matrix[j * row + p * col] * vector[p] over p < k, for j < n, for k = 1, 2, ... Made for neighbouring j.
  void (*few_terms[most_few_terms])(const S* matrix, int64_t row, int64_t col, int64_t n, const SumOf<S>* vector,
                                    SumOf<S>* sums);
};

}  // namespace weft
