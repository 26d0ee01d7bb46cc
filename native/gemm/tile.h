// The innermost parts of a float matrix product: a tile of C held in vector registers while k runs, and packing. They are
// machine code that src/weft/codegen/microkernel.py generates for the CPU, and are made known here before the first product.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/caches.h"

namespace weft {

// C[rows, nr] (rows of stride c_row) = A[rows, k] @ B[k, nr], or += where `add`. Element (i, p) of A is at i * a_row +
// p * a_k, row p of B at p * b_k. Every element is one chain of multiply-adds over p, begun at zero; or the sum of two, one over
// the `first` steps and one over the others, where that is not 0. k may be 0.
template <class T>
using Tile = void (*)(int64_t k, int64_t first, const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_k, T* c, int64_t c_row,
                      bool add);

// The same for the first `columns`, 1 ... nr; nothing of B and C is touched beyond them.
template <class T>
using Edge = void (*)(int64_t k, int64_t first, const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_k, T* c, int64_t c_row,
                      bool add, int64_t columns);

// So many full tiles one below the other, of packed rows of A (each tile's after those of the one above) and a packed panel of
// B. Meanwhile what is at `ahead` is brought into an L2 cache, bit by bit: so many runs of cache lines, some bytes apart.
template <class T>
using Column = void (*)(int64_t k, int64_t first, int64_t tiles, const T* a, const T* b, T* c, int64_t c_row, bool add, const void* ahead,
                        int64_t lines, int64_t runs, int64_t apart);

// A full tile of packed rows of A and of nr columns of B, row p of which is at p * b_k; they are packed into `to` on the way.
template <class T>
using Opening = void (*)(int64_t k, int64_t first, const T* a, const T* b, int64_t b_k, T* to, T* c, int64_t c_row, bool add);

// to[p * width + j] = from[j * line + p * step] for p < k and j < lines; the places of other j may be written too.
template <class T>
using Pack = void (*)(int64_t k, const T* from, int64_t line, int64_t step, T* to, int64_t lines);

// Lines become columns, some (TileSet::turned) at once: to[p * width + j] = from[i * line + p * step] for p < k, where i is
// first + j or, beyond it, last.
template <class T>
using Turn = void (*)(int64_t k, const T* from, int64_t line, int64_t step, T* to, int64_t first, int64_t last, int64_t width);

// For r < rows: the chain of multiply-adds over those bits p of masks[r] | all that `cut` has too, the lowest first, of
// values[r * value_row + p * value_step] and row p of a panel of `wide` columns; begun at zero or at row r of `partial`. Stored at
// to + r * to_row, or added there; then the chain over the bits that `cut` has not, begun at zero, is added.
template <class T>
using Skip = void (*)(int64_t rows, const uint64_t* masks, uint64_t all, uint64_t cut, const T* values, int64_t value_row,
                      int64_t value_step, const T* panel, const T* partial, bool resumed, T* to, int64_t to_row, bool add);

// masks[r] = the bits of those of `count`, up to 64, elements at from + r * step that are not zero.
template <class T>
using Nonzero = void (*)(int64_t rows, int64_t count, const T* from, int64_t step, uint64_t* masks);

// Of rows of `count` elements: out[0] = the largest magnitude's bits; out[1] = the least of all magnitudes' bits less one, as
// numbers without a sign as long as an element, so that zeros do not count.
template <class T>
using Extent = void (*)(int64_t rows, int64_t count, const T* from, int64_t step, uint64_t* out);

// masks[r] and the extent of rows side by side: elements p < count, up to 64, of row r are at from + r + p * step.
template <class T>
using NonzeroAcross = void (*)(int64_t rows, int64_t count, const T* from, int64_t step, uint64_t* masks, uint64_t* out);

// Rows of `wide` elements, `step` apart, become those of a panel, as by pack_wide; and their extent.
template <class T>
using CopyWide = void (*)(int64_t rows, const T* from, int64_t step, T* to, uint64_t* out);

constexpr int most_tile_rows = 12;
constexpr int tall_edges[] = {8, 12};  // rows of edges that there are even if a tile has fewer
constexpr int most_tile_columns = 64;
constexpr int panel_vectors = 8;   // of a row of a panel out of which rows are picked
constexpr int most_turned = 32;

// Rows divided among tiles as evenly as can be, since low tiles use the registers badly: those of tile t end at
// rows * (t + 1) / tiles.
class Heights {
 public:
  Heights(int64_t rows, int64_t tiles) : low_(rows / tiles), rest_(rows % tiles), tiles_(tiles) {}

  int64_t next() {
    sum_ += rest_;
    if (sum_ < tiles_) return low_;
    sum_ -= tiles_;
    return low_ + 1;
  }

 private:
  int64_t low_, rest_, tiles_, sum_ = 0;
};

template <class T>
struct TileSet {
  int mr, nr;                        // the full tile: rows, and columns (elements)
  int packed_rows;                   // the width of pack_a, at least mr; that of pack_b is nr
  Tile<T> of_rows[most_tile_rows];   // the tile of 1, 2, ... mr rows
  Edge<T> edges[most_tile_rows];     // of 1, 2, ... mr rows, and of some more: `next_height`
  int narrow;                        // the most columns of edges of more than mr rows
  Column<T> column;
  Opening<T> opening;
  Pack<T> pack_a, pack_b, pack_wide;
  Pack<T> stream_b;                  // pack_b that, where `line` is 1, writes past the caches, to a multiple of a vector's size
  int wide, turned;                  // the width of pack_wide; the lines that `turn` takes at once, which nr and wide divide by
  Turn<T> turn;
  Skip<T> skip;
  Nonzero<T> nonzero;
  Extent<T> extent;
  NonzeroAcross<T> nonzero_across;
  CopyWide<T> copy_wide;

  // The elements of a vector; and whether loading and storing a part of one costs no more than all of it, as with AVX-512.
  int64_t lanes() const { return narrow; }
  bool quick_masks() const { return narrow * sizeof(T) == 64; }

  // The rows of the next edge of at most `narrow` columns, if so many rows are left.
  int64_t next_height(int64_t left) const {
    if (left >= 12 && left != 16) return 12;
    return left >= 8 ? 8 : std::min<int64_t>(left, mr);
  }

  // The tile, or edge, of `rows` x `columns`, whose elements of C may lie `c_col` apart. Not two chains where `add`.
  void run(int64_t rows, int64_t columns, int64_t k, int64_t first, const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_k, T* c,
           int64_t c_row, int64_t c_col, bool add) const {
    if (c_col != 1) {
      alignas(line_bytes) T tile[most_tile_rows * most_tile_columns];
      edges[rows - 1](k, first, a, a_row, a_k, b, b_k, tile, nr, false, columns);
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j) {
          T& element = c[i * c_row + j * c_col];
          element = add ? element + tile[i * nr + j] : tile[i * nr + j];
        }
    } else if (columns == nr) {
      of_rows[rows - 1](k, first, a, a_row, a_k, b, b_k, c, c_row, add);
    } else {
      edges[rows - 1](k, first, a, a_row, a_k, b, b_k, c, c_row, add, columns);
    }
  }

  // So many tiles or edges of `Heights`, one below the other; the columns of C lie side by side. A tile's rows of A begin `a_tile`
  // elements after those of the one above, or follow them where that is 0. Little is done between two tiles: the CPU seldom
  // foresees how long a tile's loop runs, so all that comes before the next one's is waited for.
  void stack(int64_t rows, int64_t tiles, int64_t columns, int64_t k, int64_t first, const T* a, int64_t a_row, int64_t a_k,
             int64_t a_tile, const T* b, int64_t b_k, T* c, int64_t c_row, bool add) const {
    Heights heights(rows, tiles);
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t height = heights.next();
      if (columns == nr) of_rows[height - 1](k, first, a, a_row, a_k, b, b_k, c, c_row, add);
      else edges[height - 1](k, first, a, a_row, a_k, b, b_k, c, c_row, add, columns);
      a += a_tile ? a_tile : height * a_row;
      c += height * c_row;
    }
  }
};

// The tiles of float or double; null until there are any. What it points to stays for ever.
template <class T>
const TileSet<T>* tile_set();

// Makes tiles known: products that begin from now on use them.
template <class T>
void set_tiles(const TileSet<T>& tiles);

}  // namespace weft
