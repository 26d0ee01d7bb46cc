// Products of float and double that skip the zeros of an operand: what a relu or dropout has gone through is zero at half of
// its elements, and so is the gradient that goes back through it. A tile (tile.h) multiplies by zeros as by anything
// else; here each row of that operand, the *sparse* one, picks the rows of the other, the *dense* one, that it needs.
//
// The values are those of float.h, to the bit. A term that is skipped is a zero, and adding it changes no sum unless
// that is -0, which a chain begun at +0 only becomes by rounding a tiny term away. So nothing is skipped where the dense
// operand has an element that is not finite, or so small that a term, by the least element of the sparse one, might be.
#pragma once

#include <optional>

#include "gemm/gemm.h"

namespace weft {

// One matrix of the batch, as `float_product`, if an operand has zeros enough that skipping them pays: what that returns.
// Nothing: they have not, and nothing was done. m, n, k > 0. Throws std::bad_alloc.
template <class T>
std::optional<bool> skipping_product(const Gemm& g, const T* a, const T* b, T* c, bool shared, const Epilogue& epilogue,
                                     const Poll* poll, Spare spare);

// Whether so much of an operand is zero that skipping it is quicker than a matrix unit: goes by some elements all over it.
bool mostly_zeros(const Gemm& g, const float* a, const float* b);

}  // namespace weft
