// Loops for AVX2 and FMA. A CPU with AVX-512 runs them too: lanes of a sum are part of its definition, and memory limits these
// products anyway.
#include "gemm_lanes_loops.h"
#include "gemm_rows_loops.h"
#include "gemm_vectors.h"

namespace weft {

constinit const AllVectorLoops avx2_loops = {{lane_kernels_of<float>(), row_kernels_of<float>()},
                                             {lane_kernels_of<double>(), row_kernels_of<double>()}};

}  // namespace weft
