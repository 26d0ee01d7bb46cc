// Tiles for any CPU: 128-bit vectors, which every 64-bit one has.
#include "gemm_tile.h"

namespace weft {

constinit const Tiles portable_tiles = {tile_set<float, 16, 2, 4>(), tile_set<double, 16, 2, 4>()};

const Tiles& tiles() {
#ifdef WEFT_X86_TILES
  static const Tiles& best = []() -> const Tiles& {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) return avx512_tiles;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2_tiles;
    return portable_tiles;
  }();
  return best;
#else
  return portable_tiles;
#endif
}

}  // namespace weft
