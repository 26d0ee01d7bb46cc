// Tiles of 6 rows of two 256-bit vectors: 12 sums, 2 columns of B and a broadcast fill the 16 registers. Compiled for AVX2
// and FMA.
#include "gemm_tile.h"

namespace weft {

constinit const Tiles avx2_tiles = {tile_set<float, 32, 2, 6>(), tile_set<double, 32, 2, 6>()};

}  // namespace weft
