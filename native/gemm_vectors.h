// The loops that are compiled once for each instruction set, and the choice of the best that this CPU runs.
#pragma once

#include "gemm_lanes.h"
#include "gemm_rows.h"

namespace weft {

template <class T>
struct VectorLoops {
  LaneKernels<T> lanes;
  RowKernels<T> rows;
};

template <class T>
const VectorLoops<T>& vector_loops();

struct AllVectorLoops {
  VectorLoops<float> f32;
  VectorLoops<double> f64;
};

extern const AllVectorLoops portable_loops;
#ifdef WEFT_AVX2_LOOPS
extern const AllVectorLoops avx2_loops;
#endif

}  // namespace weft
