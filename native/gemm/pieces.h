// Products in pieces: some rows by some columns of C, and for a long k a part of k, made by one thread in memory of its own that
// stays in its L2 cache. What a piece reads of A and B is copied there block of k by block of k, on the way to the type of the
// sums (types.h), and what it sums is converted once when it is stored. So 16-bit floats and 8-bit integers are multiplied
// without a wide copy of a matrix, and two long thin matrices by all threads.
//
// Values are those of float.h: blocks of k are the same chains, and their sums are added in order. Where threads share k,
// the blocks' sums are kept until all are there. Integers wrap, so that no order is visible.
#pragma once

#include "gemm/gemm.h"
#include "gemm/types.h"

namespace weft {

// One matrix of the batch, on the calling thread or, where `shared`, over the pool. m, n, k > 0. S: Float16, BFloat16, float,
// double, or an unsigned integer. Calls the prologue for all rows and the epilogue for all elements. Uses `spare` where it is
// large enough. False: the poll, if there is one, asked to stop, and C is not complete. Throws std::bad_alloc.
template <class S>
bool piece_product(const Gemm& g, const S* a, const S* b, S* c, bool shared, const Prologue& prologue,
                   const Epilogue& epilogue, const Poll* poll, Spare spare);

// Whether pieces of k are what lets threads share a product of float or double.
bool long_product(const Gemm& g, bool shared);

}  // namespace weft
