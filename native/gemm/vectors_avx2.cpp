// Loops for AVX2, FMA and F16C. A CPU with AVX-512 runs most of them too: lanes of a sum are part of its definition, and memory
// limits these products anyway.
#include "gemm/vectors_loops.h"

namespace weft {

constinit const AllVectorLoops avx2_loops = vector_loops;

}  // namespace weft
