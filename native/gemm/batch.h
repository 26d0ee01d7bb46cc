// Batches of products so small that what a call costs would be most of their time: 10,000 matrices of 3 x 3, say. Blocks of
// them are multiplied by one call of a loop over matrices (tiny.h; lanes.h where one side is a vector), which keeps a
// matrix of C in registers. The values are those of the same products one by one, to the bit.
#pragma once

#include "gemm/gemm.h"

namespace weft {

// A batch, its dimensions merged as far as the strides of all operands allow, the innermost last.
struct Batch {
  static constexpr int most_dims = 8;
  struct Dim {
    int64_t size, a, b, c;  // and the strides
  };
  int count = 0;
  Dim dims[most_dims];

  // `g` has at most `most_dims` dimensions, none of size 0.
  explicit Batch(const Gemm& g);
  // Of matrix number `index`.
  struct Offsets {
    int64_t a, b, c;
  };
  Offsets at(int64_t index) const;
};

// The one product that a batch is, whose right operand is the same for all and whose rows follow one another, or the other
// way round (not if `rows_only`); false if there is none. Only products that sum in the same order are.
bool whole_product(const Gemm& g, const Batch& batch, bool rows_only, Gemm& whole);

// Whether the products are small enough to be run in blocks. S: what `product` of gemm.cpp takes.
template <class S>
bool tiny_products(const Gemm& g);

// Runs them, over the pool where it pays. m, n, k > 0. The hooks are called for all rows of several matrices at once. False:
// the poll asked to stop.
template <class S>
bool run_tiny_products(const Gemm& g, const Batch& batch, const S* a, const S* b, S* c, const Poll* poll,
                       const GemmHooks* hooks);

// Whether a product of one matrix is so narrow and shallow that its rows are sooner made in groups, each a tiny matrix. S: a type
// whose products come in pieces; float and double have tiles of few columns.
template <class S>
bool narrow_product(const Gemm& g);

// Runs it, over the pool where it pays. False: the poll asked to stop.
template <class S>
bool run_narrow_product(const Gemm& g, const S* a, const S* b, S* c, const Poll* poll);

}  // namespace weft
