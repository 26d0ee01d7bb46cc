// Products of which one side is a single row or column: matrix-vector products and dot products of floats. k is cut
// into blocks of fixed length, each is summed in lanes (lanes.h), and the blocks' sums are added in order. The value of
// an element depends on the values it is made of and on k alone, and is the same for y = A @ x and y.T = x.T @ A.T. 16-bit
// floats are widened as they are read; their sums, float32, are rounded once.
#pragma once

#include "gemm/gemm.h"

namespace weft {

// One matrix of the batch, with m = 1 or n = 1 and k > 0, on the calling thread or, where `shared`, over the pool. S:
// float, double, Float16 or BFloat16. Throws std::bad_alloc.
template <class S>
void vector_product(const Gemm& g, const S* a, const S* b, S* c, bool shared);

}  // namespace weft
