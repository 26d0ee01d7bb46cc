// Loops for any CPU, and the choice of the best.
#include "gemm_vectors.h"

#include "gemm_lanes_loops.h"
#include "gemm_rows_loops.h"

namespace weft {

constinit const AllVectorLoops portable_loops = {{lane_kernels_of<float>(), row_kernels_of<float>()},
                                                 {lane_kernels_of<double>(), row_kernels_of<double>()}};

namespace {

const AllVectorLoops& best_loops() {
#ifdef WEFT_AVX2_LOOPS
  static const AllVectorLoops& best = []() -> const AllVectorLoops& {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? avx2_loops : portable_loops;
  }();
  return best;
#else
  return portable_loops;
#endif
}

}  // namespace

template <>
const VectorLoops<float>& vector_loops<float>() {
  return best_loops().f32;
}
template <>
const VectorLoops<double>& vector_loops<double>() {
  return best_loops().f64;
}

}  // namespace weft
