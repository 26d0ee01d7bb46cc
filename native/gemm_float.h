// Matrix products of float and double out of register tiles. The value of an element depends on its row of A, its column of
// B and k alone: if it is more than 128, k is cut into as few blocks of at most 256 (192 where k < 1024) as there must be, but
// two at least, of equal lengths but for rounding to a multiple of 8; each block is one chain of multiply-adds
// (gemm_tile.h), and the blocks' sums are added in order. Layouts, tile shapes and threads change nothing.
#pragma once

#include "gemm.h"

namespace weft {

// Up to so many terms an element is one chain, which a single tile sums.
inline constexpr int64_t one_chain = 128;

// One matrix of the batch, on the calling thread or, where `shared`, over the pool. k may be 0. Calls the prologue for
// all rows and the epilogue for all elements. Packs into `spare` where it is large enough. Throws std::bad_alloc.
template <class T>
void float_product(const Gemm& g, const T* a, const T* b, T* c, bool shared, const Prologue& prologue,
                   const Epilogue& epilogue, Spare spare = {});

}  // namespace weft
