// Scaled dot-product attention, out = softmax(scale * q k^T + mask) v, and its gradient, a block of query rows at a time: the
// scores of a block fill a piece of scratch memory that stays in the cache, so that memory grows with the length, not with its
// square. The gradient computes them again (as in T. Dao et al.: FlashAttention, 2022). The products are made of register
// tiles (gemm/tile.h), which must be known; what is done to a row of scores is a generated kernel.
//
// A result depends on values and sizes only. Every element of a product is a chain of multiply-adds over blocks of fixed
// length, and the gradients of keys and values are sums over blocks of rows in an order that follows from the sizes. What a
// query does not see, because of `causal` or a mask of booleans, changes no bit of what is computed for it, also where it is
// infinite or NaN; nor does the query change the gradient of what it does not see.
#pragma once

#include <cstdint>
#include <vector>

#include "base/pool.h"
#include "gemm/gemm.h"

namespace weft {

// A kernel over rows of scratch memory. Parameter 1 is the number of elements of a row; it is set for each call.
struct RowKernel {
  void (*function)(void** buffers, const int64_t* params, int64_t begin, int64_t end) = nullptr;
  std::vector<int64_t> params{};
};

struct Attention {
  DType dtype;    // of queries, keys, values, gradients and results: float32 or float64
  bool causal;    // row i sees the keys 0 ... i only
  bool gradient;  // of queries, keys and values, not the output
  std::vector<int64_t> batch;
  int64_t rows, keys, width, value_width;  // q: rows x width, k: keys x width, v: keys x value_width
  int64_t pitch;                           // elements from one row of scores to the next, as the kernels' parameters say
  GemmOperand q, k, v, g, mask;            // g: gradient of the output
  int64_t mask_size;                       // bytes of an element of the mask; its strides are in elements. 0: no mask
  RowKernel weights;                       // buffer 0 (scores; buffer 1: the mask) to weights, in place; but for a gradient
                                           // they lack a factor for each row, which goes to buffer 2
  RowKernel slopes;                        // buffer 0 (weights), buffer 1 (their gradients; buffer 2: the mask) to the scores'
                                           // gradients, there
};

// Rows of scores that are computed together.
constexpr int64_t attention_rows = 48;

// Where operands are; null where there is none. Results are row-major.
struct AttentionMemory {
  const void *q, *k, *v, *g, *mask;
  void *out, *dq, *dk, *dv;  // of a gradient, any that is wanted; else `out`
};

// False: the poll asked to stop. Throws std::bad_alloc.
bool run_attention(const Attention& attention, const AttentionMemory& memory, const Poll* poll = nullptr);

}  // namespace weft
