// The loops that gain from AVX-512.
#include "gemm_tiny_loops.h"
#include "gemm_vectors.h"

namespace weft {

constinit const TinyKernels<float> avx512_tiny_float = tiny_kernels_with<Part64<float>, 8, 8>();
constinit const TinyKernels<double> avx512_tiny_double = tiny_kernels_with<Part64<double>, 8, 8>();

}  // namespace weft
