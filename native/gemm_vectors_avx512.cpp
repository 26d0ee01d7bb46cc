// The loops that gain from AVX-512.
#include "gemm_few_rows_loops.h"
#include "gemm_tiny_loops.h"
#include "gemm_vectors.h"

namespace weft {

constinit const TinyKernels<float> avx512_tiny_float = tiny_kernels_with<Part64<float>, 8, 8>();
constinit const TinyKernels<double> avx512_tiny_double = tiny_kernels_with<Part64<double>, 8, 8>();
constinit const FewRowKernels<float> avx512_few_float = few_row_kernels_with<Part64<float>, 16>();
constinit const FewRowKernels<double> avx512_few_double = few_row_kernels_with<Part64<double>, 16>();

}  // namespace weft
