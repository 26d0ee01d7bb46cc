// Tiles of 12 rows of two 512-bit vectors: 24 of the 32 registers are sums. Compiled for AVX-512.
#include "gemm_tile.h"

namespace weft {

constinit const Tiles avx512_tiles = {tile_set<float, 64, 2, 12>(), tile_set<double, 64, 2, 12>()};

}  // namespace weft
