// Products of which one side is a few rows and the other lines whose elements follow one another, as where a layer's weights meet
// a small batch, or a large batch the weights of a few classes. Packing the lines would take longer than the product: they are
// transposed in registers, right before they are multiplied. The bits are those of float.h.
#pragma once

#include "gemm/gemm.h"

namespace weft {

constexpr int64_t least_stray_depth = 32;  // of columns that are made as rows, and written apart

// How many of the last of some columns had better be made as rows, of so many lines and terms: those that fill no whole vector, if they
// are so few.
inline int64_t stray_columns(int64_t columns, int64_t lanes, int64_t most, int64_t lines, int64_t k) {
  const int64_t count = columns % lanes;
  return count <= most && lines >= lanes && k >= least_stray_depth ? count : 0;
}

// Whether that is how one matrix of the batch is sooner done. T: float, double.
template <class T>
bool few_rows_pay(const Gemm& g);

// One matrix of the batch, on the calling thread or, where `shared`, over the pool. Only where it pays. False: interrupted. Throws
// std::bad_alloc.
template <class T>
bool few_rows_product(const Gemm& g, const T* a, const T* b, T* c, bool shared, const Poll* poll);

}  // namespace weft
