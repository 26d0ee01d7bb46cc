#include "gemm/small.h"

#include <algorithm>
#include <cstring>

#include "base/caches.h"
#include "base/short_array.h"
#include "gemm/few.h"
#include "gemm/float.h"
#include "gemm/split.h"
#include "gemm/tile.h"
#include "gemm/vectors.h"

namespace weft {
namespace {

constexpr int64_t shared_bytes = 512 << 10;  // of A and C that make sharing a flat product pay
constexpr int64_t least_turned_depth = 32;   // of a product whose result is worth turning
static_assert(most_turned >= 2 * most_tile_rows);  // a multiple of any number of turned lines that is as large
constexpr int64_t near_bytes = 64 << 10;     // of A and C that are still in a cache when an epilogue follows

// C[rows, columns] = tile[rows, columns], whose rows are `width` apart, in C one after another; columns * sizeof(T) >= 16.
template <class T>
void copy_rows(const T* tile, int64_t width, int64_t rows, int64_t columns, T* c, int64_t c_row) {
  constexpr int64_t chunk = 16 / static_cast<int64_t>(sizeof(T));
  for (int64_t i = 0; i < rows; ++i, tile += width, c += c_row) {
    for (int64_t j = 0; j + chunk < columns; j += chunk) std::memcpy(c + j, tile + j, 16);
    std::memcpy(c + columns - chunk, tile + columns - chunk, 16);  // some once more
  }
}

// The columns of the tiles from column j on. Where whole vectors cost an edge no more than a tile, those that are left are divided evenly:
// of four vectors and tiles of three, a tile of one would have too few sums.
template <class T>
int64_t next_columns(const TileSet<T>& set, int64_t left) {
  if (!set.quick_masks() || left <= set.nr) return std::min<int64_t>(set.nr, left);
  const int64_t vectors = parts(left, set.lanes());
  return parts(vectors, parts(left, set.nr)) * set.lanes();
}

// Whether few columns had better be the rows of tiles: if the elements of a column of A follow one another, and then far fewer vectors make C.
template <class T>
bool few_columns(const Gemm& g, int64_t rows) {
  const TileSet<T>& set = *tile_set<T>();
  if (g.a.row_stride != 1 || g.a.col_stride == 1 || g.c.col_stride != 1 || g.k < least_turned_depth) return false;
  if (g.n * static_cast<int64_t>(sizeof(T)) < 16 || g.n > most_tile_rows) return false;
  return 4 * g.n * parts(rows, set.lanes()) <= 3 * rows * parts(g.n, set.lanes());
}

// The transposed product, whose tiles are turned once more when they are done.
template <class T>
void turned_tiles(const Gemm& g, int64_t rows, const T* a, const T* b, T* c) {
  const TileSet<T>& set = *tile_set<T>();
  const int64_t first = Chains(g.k).first_of_two();
  const int64_t tiles = parts(g.n, set.mr), pitch = parts(g.n, set.turned) * set.turned;
  for (int64_t i = 0, width; i < rows; i += width) {
    width = next_columns(set, rows - i);
    alignas(line_bytes) T tile[most_tile_rows * most_tile_columns];
    set.stack(g.n, tiles, width, g.k, first, b, g.b.col_stride, g.b.row_stride, 0, a + i, g.a.col_stride, tile, set.nr, false);
    alignas(line_bytes) T out[most_tile_columns * most_turned];
    for (int64_t j = 0; j < g.n; j += set.turned) set.turn(width, tile, set.nr, 1, out + j, j, g.n - 1, pitch);
    copy_rows(out, pitch, width, g.n, c + i * g.c.row_stride, g.c.row_stride);
  }
}

// The last columns, if they fill so little of a vector that they are sooner made as the few rows of a product whose lines are A's rows.
template <class T>
int64_t strays(const Gemm& g, int64_t rows) {
  const int64_t lanes = tile_set<T>()->lanes();
  const bool lines = g.a.col_stride == 1 && g.a.row_stride != 1;
  return lines && g.n > lanes ? stray_columns(g.n, lanes, lanes / 4, rows, g.k) : 0;
}

// Makes so many columns, of which `b` is the first in B and `c` in C.
template <class T>
void make_strays(const Gemm& g, int64_t count, int64_t rows, const T* a, const T* b, T* c) {
  const Chains chains(g.k);
  T near[deepest_small * line_elements<T>];
  int64_t step = g.b.row_stride;
  if (g.b.col_stride != 1) {
    for (int64_t j = 0; j < count; ++j)
      for (int64_t p = 0; p < g.k; ++p) near[p * count + j] = b[p * g.b.row_stride + j * g.b.col_stride];
    b = near, step = count;
  }
  few_row_kernels<T>().of_rows[count - 1]({rows, g.k, chains.first, chains.rest, b, step, a, g.a.row_stride, c, g.c.col_stride, g.c.row_stride});
}

// Some rows, tile after tile: A where it lies, B too unless its columns lie apart. Where a tile's last columns are missing, but not many,
// whole tiles are made and copied if what is masked is slow to write and to add to.
template <class T>
void tiled(const Gemm& g, int64_t rows, const T* a, const T* b, T* c) {
  if (few_columns<T>(g, rows)) return turned_tiles(g, rows, a, b, c);
  const TileSet<T>& set = *tile_set<T>();
  const int64_t first = Chains(g.k).first_of_two();
  alignas(line_bytes) T panel[deepest_small * most_tile_columns];
  const int64_t stray = strays<T>(g, rows), n = g.n - stray;
  if (stray) make_strays(g, stray, rows, a, b + n * g.b.col_stride, c + n * g.c.col_stride);
  for (int64_t j = 0, columns; j < n; j += columns) {
    columns = next_columns(set, n - j);
    const bool padded = !set.quick_masks() && columns < set.nr && 2 * columns > set.nr &&
                        columns * static_cast<int64_t>(sizeof(T)) >= 16 && g.c.col_stride == 1;
    const bool packed = padded || g.b.col_stride != 1;
    const T* right = b + j * g.b.col_stride;
    if (packed) {
      if (padded && g.b.col_stride != 1) {  // all columns of the tile, the missing ones too
        for (int64_t i = 0; i < set.nr; i += set.turned)
          set.turn(g.k, right, g.b.col_stride, g.b.row_stride, panel + i, i, columns - 1, set.nr);
      } else {
        set.pack_b(g.k, right, g.b.col_stride, g.b.row_stride, panel, columns);
      }
      right = panel;
    }
    const int64_t b_k = packed ? set.nr : g.b.row_stride;
    const bool tall = set.quick_masks() && columns <= set.narrow;
    const int64_t tiles = parts(rows, set.mr);
    if (!tall && !padded && g.c.col_stride == 1) {
      set.stack(rows, tiles, columns, g.k, first, a, g.a.row_stride, g.a.col_stride, 0, right, b_k, c + j, g.c.row_stride, false);
      continue;
    }
    Heights heights(rows, tiles);
    for (int64_t i = 0, height; i < rows; i += height) {
      height = tall ? set.next_height(rows - i) : heights.next();
      const T* left = a + i * g.a.row_stride;
      T* out = c + i * g.c.row_stride + j * g.c.col_stride;
      alignas(line_bytes) T tile[most_tile_rows * most_tile_columns];
      T* const sums = padded ? tile : out;
      const int64_t sums_row = padded ? set.nr : g.c.row_stride;
      set.run(height, padded ? set.nr : columns, g.k, first, left, g.a.row_stride, g.a.col_stride, right, b_k, sums, sums_row,
              g.c.col_stride, false);
      if (padded) copy_rows(tile, set.nr, height, columns, out, g.c.row_stride);
    }
  }
}

// Row after row of C, each a sum of few rows of B.
template <class T>
void flat(const Gemm& g, const T* a, const T* b, T* c, bool shared, const Epilogue& epilogue) {
  const int64_t pitch = std::max<int64_t>(g.n, row_width<T>);
  const int64_t row_bytes = (g.n + g.k) * static_cast<int64_t>(sizeof(T));
  const bool copied = g.b.col_stride != 1 || pitch != g.n;
  ShortArray<T, 1024> rows(copied ? static_cast<size_t>(g.k * pitch) : 0);
  if (copied) {
    for (int64_t p = 0; p < g.k; ++p) {
      for (int64_t j = 0; j < g.n; ++j) rows[static_cast<size_t>(p * pitch + j)] = b[p * g.b.row_stride + j * g.b.col_stride];
      std::fill(rows.get() + p * pitch + g.n, rows.get() + (p + 1) * pitch, T{});
    }
  }
  struct Job {
    RowSums<T> run;
    const Gemm& g;
    const T *a, *b;
    int64_t b_row;
    T* c;
    const Epilogue& epilogue;
    int64_t rows_at_once;
  } job{row_kernels<T>().of_depth[g.k - 1], g, a, copied ? rows.get() : b, copied ? pitch : g.b.row_stride, c, epilogue,
        epilogue ? std::max<int64_t>(row_width<T>, near_bytes / row_bytes) : g.m};
  const auto some = [](void* context, int64_t begin, int64_t end) {
    const Job& j = *static_cast<const Job*>(context);
    for (int64_t i = begin; i < end; i += j.rows_at_once) {
      const int64_t stop = std::min(end, i + j.rows_at_once);
      j.run(stop - i, j.a + i * j.g.a.row_stride, j.g.a.row_stride, j.g.a.col_stride, j.b, j.b_row,
            j.c + i * j.g.c.row_stride, j.g.c.row_stride, j.g.n);
      j.epilogue.rows(i, stop);
    }
  };
  const int64_t bytes = g.m * row_bytes;
  if (!shared || bytes + static_cast<int64_t>(epilogue.work()) < shared_bytes) return some(&job, 0, g.m);
  parallel_for(g.m, std::max<int64_t>(1, g.m * (shared_bytes / 4) / bytes), some, &job);
}

}  // namespace

static_assert(Chains(deepest_row).count == 1, "rows are summed in one chain");
static_assert(Chains(deepest_small).count <= 2, "tiles run two chains at most");

template <class T>
bool small_product(const Gemm& g, const T* a, const T* b, T* c, bool shared, const Prologue& prologue,
                   const Epilogue& epilogue) {
  const double work = multiply_adds(g);
  const bool thin = g.n <= row_width<T> && g.k <= deepest_row;
  const bool wide = g.n > row_width<T> && g.k <= deepest_wide_row;
  if (g.c.col_stride == 1 && ((thin && g.m > 4) || (wide && (g.m > 4 || g.b.col_stride == 1)))) {
    prologue.all(shared);
    flat(g, a, b, c, shared, epilogue);
    return true;
  }
  if (work > small_product_work || g.k > deepest_small) return false;
  prologue.all(shared);
  tiled(g, g.m, a, b, c);
  epilogue.all(shared);
  return true;
}

bool has_small_rows(const Gemm& g) {
  return (g.dtype == DType::float32 || g.dtype == DType::float64) && g.batch.empty() && g.m > 1 && g.n > 1 && g.k > 0 &&
         g.k <= deepest_small && !(g.dtype == DType::float32 && split_pays<float>(g));
}

void small_rows(const Gemm& g, const void* a, const void* b, void* c, int64_t i0, int64_t i1) {
  const auto run = [&](auto type) {
    using T = decltype(type);
    tiled<T>(g, i1 - i0, static_cast<const T*>(a) + i0 * g.a.row_stride, static_cast<const T*>(b),
             static_cast<T*>(c) + i0 * g.c.row_stride);
  };
  if (g.dtype == DType::float32) run(float{});
  else run(double{});
}

template bool small_product<float>(const Gemm&, const float*, const float*, float*, bool, const Prologue&,
                                   const Epilogue&);
template bool small_product<double>(const Gemm&, const double*, const double*, double*, bool, const Prologue&,
                                    const Epilogue&);

}  // namespace weft
