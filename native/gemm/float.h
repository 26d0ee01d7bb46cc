// Matrix products of float and double out of register tiles. The value of an element depends on its row of A, its column of
// B and k alone: k is cut into blocks (`Chains`), each of which is one chain of multiply-adds (tile.h), and the blocks'
// sums are added in order. Layouts, tile shapes and threads change nothing.
#pragma once

#include <algorithm>

#include "gemm/gemm.h"

namespace weft {

// The blocks of k: one for up to 8 terms; two for up to 320, the first a third of the terms; then as few as there must be,
// of at most 192 (256 from k = 1024 on) and of equal lengths. Lengths are rounded to multiples of 8 (of 2 below 24 terms).
//
// So many that errors are no larger than OpenBLAS's, on the whole, which sums in one chain up to 320 terms (in two of every
// other term at a matrix's edges). Of two blocks the first is the shorter for sums whose second half cancels the first: two
// halves would each have a large sum, and the errors of one chain.
struct Chains {
  int64_t count, first, rest, total;  // how many blocks; the length of the first, and of the others but the last; k

  explicit constexpr Chains(int64_t k) : count(1), first(k), rest(0), total(k) {
    if (k <= 8) return;
    if (k <= 320) {
      const int64_t step = k < 24 ? 2 : 8;
      count = 2, first = k / 3 / step * step, rest = k - first;
      return;
    }
    const int64_t wanted = std::max<int64_t>(3, parts(k, k < 1024 ? 192 : 256));
    first = rest = parts(parts(k, wanted), 8) * 8;
    count = parts(k, first);
  }
  static constexpr Chains one(int64_t k) {
    Chains chains(0);
    chains.first = chains.total = k;
    return chains;
  }
  // The steps of the first of two chains; 0 where there is one. Not for more than two.
  constexpr int64_t first_of_two() const { return count == 2 ? first : 0; }
  constexpr int64_t begin(int64_t block) const { return block ? first + (block - 1) * rest : 0; }
  constexpr int64_t length(int64_t block) const { return block ? std::min(rest, total - begin(block)) : first; }
  constexpr int64_t longest() const { return std::max(first, rest); }
};

// One matrix of the batch, on the calling thread or, where `shared`, over the pool. k may be 0. Calls the prologue for
// all rows and the epilogue for all elements. Packs into `spare` where it is large enough. False: the poll, if there is one,
// asked to stop, and C is not complete. Throws std::bad_alloc.
template <class T>
bool float_product(const Gemm& g, const T* a, const T* b, T* c, bool shared, const Prologue& prologue,
                   const Epilogue& epilogue, const Poll* poll = nullptr, Spare spare = {});

}  // namespace weft
