// Matrix-vector loops for AVX2 and FMA. A CPU with AVX-512 runs them too: the lanes of a sum are part of its definition, and
// memory limits these products anyway.
#include "gemm_lanes_loops.h"

namespace weft {

constinit const Lanes avx2_lanes = {lane_kernels_of<float>(), lane_kernels_of<double>()};

}  // namespace weft
