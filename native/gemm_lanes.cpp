// Matrix-vector loops for any CPU, and the choice of the best.
#include "gemm_lanes_loops.h"

namespace weft {

constinit const Lanes portable_lanes = {lane_kernels_of<float>(), lane_kernels_of<double>()};

const Lanes& lane_kernels() {
#ifdef WEFT_LANES_AVX2
  static const Lanes& best = []() -> const Lanes& {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? avx2_lanes : portable_lanes;
  }();
  return best;
#else
  return portable_lanes;
#endif
}

}  // namespace weft
