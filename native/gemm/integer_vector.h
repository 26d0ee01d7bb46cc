// Integer products of which one side is a single row or column. Memory limits them, so the matrix is read where it lies.
#pragma once

#include "gemm/gemm.h"

namespace weft {

// One matrix of the batch, with m = 1 or n = 1 and k > 0, on the calling thread or, where `shared`, over the pool. S: an
// unsigned type of 8 to 64 bits. Throws std::bad_alloc.
template <class S>
void integer_vector_product(const Gemm& g, const S* a, const S* b, S* c, bool shared);

}  // namespace weft
