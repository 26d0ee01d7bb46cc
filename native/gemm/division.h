// How a product of floats is divided among threads, and how its operands are read: worked out from sizes and strides alone,
// before anything runs. float.cpp says what units are and how they run.
#pragma once

#include <algorithm>
#include <cstdint>

#include "gemm/float.h"
#include "gemm/gemm.h"
#include "gemm/tile.h"

namespace weft {

// What of the tiles and of the machine the division goes by.
struct TileSizes {
  int64_t mr, nr, packed_rows, lanes;  // of TileSet
  int64_t element;              // bytes
  int64_t second_cache;         // bytes

  template <class T>
  static TileSizes of(const TileSet<T>& set, int64_t second_cache) {
    return {set.mr, set.nr, set.packed_rows, set.lanes(), sizeof(T), second_cache};
  }
};

// How A or B is read: where it lies, or packed into panels of a tile's height or width. Panels are packed by all threads
// together for all units; by each thread for itself (because what another core has read is slow to write again); or by each
// unit, block by block, just before they are used.
enum class Reading { in_place, shared, own, by_unit };

// The tiles of a unit's rows: full ones, or of nearly equal heights, because low tiles use the registers badly.
struct UnitRows {
  int64_t first, count, tiles, full, height;
  int64_t at(int64_t tile) const { return full ? std::min(tile * height, count) : count * tile / tiles; }
};

class Division {
 public:
  // m, n and k are not 0. At most so many threads; `epilogue`: one reads what is done.
  Division(const Gemm& g, const TileSizes& sizes, int64_t most_threads, bool epilogue);

  int64_t row_units = 1, column_units = 1, k_parts = 1;  // a unit is one of each
  int64_t threads = 1;                                   // that have one
  int64_t blocks = 1, deepest = 0;  // of k: how many, and the length of the longest
  int64_t two_chains = 0;           // the steps of the first of two chains that one tile runs, if it does
  int64_t panels = 0, grouped = 1;  // panels of B, and those packed side by side
  Reading a = Reading::in_place, b = Reading::in_place;
  bool whole_tiles = false;  // units of rows end where tiles do
  bool followed = false;     // units have the few rows of C that an epilogue finds in a cache
  bool opens = false;        // the first tile of a column packs the panel of B that it and the others read
  bool far_b = false;        // packed panels of B do not stay in the L2 cache: each is fetched before its turn
  bool streams = false;      // nor near it: they are packed past the caches
  int64_t early = 0;         // columns that the last panel has of the one before, so that neither has too few sums

  int64_t units() const { return row_units * column_units * k_parts; }
  int64_t unit_tiles() const { return parts(parts(m_, row_units), sizes_.mr); }
  int64_t row_of(int64_t unit) const {
    if (!whole_tiles) return m_ * unit / row_units;
    return std::min(m_, parts(m_, sizes_.mr) * unit / row_units * sizes_.mr);
  }
  int64_t panel_of(int64_t unit) const { return panels * unit / column_units; }
  int64_t first_block(int64_t part) const { return blocks * part / k_parts; }
  int64_t first_k(int64_t block) const { return chains_.begin(block); }
  int64_t depth(int64_t block) const { return chains_.length(block); }
  int64_t column_of(int64_t panel) const { return panel == panels ? n_ : panel * sizes_.nr - (panel == panels - 1 ? early : 0); }
  int64_t width(int64_t panel) const { return column_of(panel + 1) - column_of(panel); }
  UnitRows rows_of(int64_t unit) const {
    const int64_t first = row_of(unit), count = row_of(unit + 1) - first;
    return {first, count, parts(count, sizes_.mr), whole_tiles && a != Reading::in_place ? count / sizes_.mr : 0, sizes_.mr};
  }

 private:
  void divide(const Gemm& g, int64_t most_threads, bool epilogue);
  void choose(const Gemm& g);
  int64_t shared_columns() const;
  bool reads_through(const Gemm& g) const;
  bool reads_little_of_a(const Gemm& g) const;
  bool even_columns(int64_t of_threads) const;
  bool packs_less_by_columns(const Gemm& g) const;
  int64_t b_bytes() const { return k_ * n_ * sizes_.element; }

  TileSizes sizes_;
  int64_t m_, n_, k_;
  Chains chains_;
};

}  // namespace weft
