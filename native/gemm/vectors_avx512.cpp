// The loops that gain from AVX-512.
#include "gemm/far_rows_loops.h"
#include "gemm/few_rows_loops.h"
#include "gemm/tiny_loops.h"
#include "gemm/vectors.h"

namespace weft {

constinit const WideLoops avx512_loops = {tiny_kernels_with<Part64<float>, 8, 8>(), tiny_kernels_with<Part64<double>, 8, 8>(),
                                          few_row_kernels_with<Part64<float>, 16>(), few_row_kernels_with<Part64<double>, 16>(),
                                          far_row_kernels_with<Part64<float>>(), far_row_kernels_with<Part64<double>>()};

}  // namespace weft
