// Matrix products C = A @ B over a batch. float32 and float64 are made of register tiles (gemm_float.h), the 16-bit floats
// too, widened to float32; the integer types use plain loops. The result depends on the values and sizes only, never on
// layouts or the number of threads.
#pragma once

#include <cstdint>
#include <vector>

#include "dtype.h"
#include "pool.h"

namespace weft {

struct GemmOperand {
  std::vector<int64_t> batch_strides;  // in elements, one per batch dimension
  int64_t row_stride, col_stride;
};

struct Gemm {
  DType dtype;  // of all three operands; not bool
  std::vector<int64_t> batch;
  int64_t m, n, k;
  GemmOperand a, b, c;
};

// Runs the product. k = 0 gives zeros. False: the poll asked to stop between two matrices of the batch.
// Throws std::bad_alloc.
bool run_gemm(const Gemm& gemm, const void* a, const void* b, void* c, const Poll* poll = nullptr);

}  // namespace weft
