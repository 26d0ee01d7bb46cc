// Products of float and double that need no driver: small ones, straight out of register tiles on the calling thread, and
// flat ones, in which k is tiny and C is written row by row. The values are those of float.h, to the bit.
#pragma once

#include "gemm/gemm.h"

namespace weft {

// Multiply-adds up to which a product is not worth sharing; of a batch of such, the matrices are shared.
constexpr int64_t small_product_work = 64 * 64 * 64;
constexpr int64_t deepest_small = 128;  // the greatest k of a product whose panels of B are packed on the stack

// Runs one matrix of the batch, on the calling thread or, where `shared` and worth it, over the pool, unless it is neither
// small nor flat: then false, and nothing is done. m, n, k > 0. Calls the prologue for all rows and the epilogue for all
// elements. Throws std::bad_alloc.
template <class T>
bool small_product(const Gemm& g, const T* a, const T* b, T* c, bool shared, const Prologue& prologue,
                   const Epilogue& epilogue);

// Whether some rows of a product can be made alone, by `small_rows`: one of float32 or float64, without a batch, whose k is not
// too long.
bool has_small_rows(const Gemm& g);

// The rows [i0, i1) of such a product, on the calling thread: the values that the whole product has there. Does not throw.
void small_rows(const Gemm& g, const void* a, const void* b, void* c, int64_t i0, int64_t i1);

}  // namespace weft
