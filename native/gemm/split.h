// Products of float32 and of 16-bit floats by the CPU's matrix unit (matrix_unit.h), which multiplies bfloat16: each float32 is split into
// three, whose sum it is exactly, and six products of these make one of float32. What is left out is 2^-26 of a product on the whole, and
// never more than 2^-23 (one unit in its last place); and the sums are rounded less often than those of multiply-adds, so that errors are
// smaller than theirs on the whole. Products that float32 holds exactly are exact, and so are those of 16-bit floats, before they are
// summed.
//
// The value of an element depends on its row of A, its column of B, the sizes, and on whether all numbers are fit: none infinite or not a
// number, none so large or so small that a product of two could not be held in parts. Where they are not, all of the product is made by
// other ways. Layouts and threads change nothing.
#pragma once

#include "gemm/gemm.h"
#include "gemm/matrix_unit.h"

namespace weft {

// The matrix unit, if there is one to use and the product is sooner made so, given that its numbers are fit: goes by sizes alone.
template <class S>
const MatrixUnit* split_pays(const Gemm& g);

enum class SplitResult { completed, interrupted, unfit };

// One matrix of the batch, on the calling thread or, where `shared`, over the pool. Calls the epilogue for all elements, if it is
// completed. Where the numbers are unfit, elements of C may have been written. Throws std::bad_alloc.
template <class S>
SplitResult split_product(const MatrixUnit& unit, const Gemm& g, const S* a, const S* b, S* c, bool shared, const Epilogue& epilogue,
                          const Poll* poll);

}  // namespace weft
