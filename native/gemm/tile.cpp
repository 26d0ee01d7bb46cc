#include "gemm/tile.h"

#include <atomic>

namespace weft {
namespace {

template <class T>
std::atomic<const TileSet<T>*> current{nullptr};

}  // namespace

template <class T>
const TileSet<T>* tile_set() {
  return current<T>.load(std::memory_order_acquire);
}

// The old ones stay, because a product may be using them.
template <class T>
void set_tiles(const TileSet<T>& tiles) {
  current<T>.store(new TileSet<T>(tiles), std::memory_order_release);
}

template const TileSet<float>* tile_set<float>();
template const TileSet<double>* tile_set<double>();
template void set_tiles<float>(const TileSet<float>&);
template void set_tiles<double>(const TileSet<double>&);

}  // namespace weft
