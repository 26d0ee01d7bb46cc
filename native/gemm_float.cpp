// See gemm_float.h. The blocks: k by `block_k`; for each of them B is packed into panels of a tile's width (unless its rows
// can be read where they are), and the tiles of C are shared out as groups of rows and panels. Where there is one group of
// rows, each panel is packed by whoever uses it, just before.
#include "gemm_float.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>

#include "allocator.h"
#include "gemm_tile.h"

namespace weft {
namespace {

constexpr int64_t block_k = 256;       // part of every result's definition: see gemm_float.h
constexpr int64_t group_rows = 192;     // rows of A that one unit of work takes: with block_k, about half of an L2 cache
constexpr int64_t group_columns = 512; // columns of C that one unit of work takes
constexpr int64_t block_columns = 4096;
constexpr double unit_work = 1 << 16;  // multiply-adds for which waking another thread pays
constexpr int most_tile = 12 * 32;
constexpr int64_t resident = 128 << 10;  // bytes that stay in a cache near enough to be read in place again and again

template <class T>
struct Product {
  const Gemm& g;
  const TileSet<T>& set;
  const T* a;
  const T* b;
  T* c;
  // The current block of k and of columns.
  int64_t k0, k, j0, n;
  bool add;
  bool b_in_place;   // whole panels of B are read where they are
  T* panels;         // B packed ahead: panel after panel, each k rows of set.nr; null to pack on the way
  int64_t row_groups, column_groups;
  const Epilogue& epilogue;
  bool last_k, last_columns;
  std::unique_ptr<std::atomic<int64_t>[]> unfinished;  // of each group of rows, the units left in the last blocks

  int64_t panel_count() const { return (n + set.nr - 1) / set.nr; }
  bool reads_in_place(int64_t panel) const { return b_in_place && (panel + 1) * set.nr <= n; }

  void pack_ahead(int64_t panel) { pack(panel, panels + panel * set.nr * k); }

  // Packs one panel of B, with zeros beyond the last column.
  void pack(int64_t panel, T* to) {
    const int64_t nr = set.nr, first = panel * nr, width = std::min<int64_t>(nr, n - first);
    const T* from = b + k0 * g.b.row_stride + (j0 + first) * g.b.col_stride;
    if (g.b.col_stride == 1) {
      for (int64_t p = 0; p < k; ++p, to += nr, from += g.b.row_stride) {
        std::memcpy(to, from, static_cast<size_t>(width) * sizeof(T));
        std::fill(to + width, to + nr, T{});
      }
      return;
    }
    // Along k in short runs, so that a column's cache lines are used whole while they are there.
    for (int64_t p0 = 0; p0 < k; p0 += 16) {
      const int64_t stop = std::min(k, p0 + 16);
      for (int64_t j = 0; j < nr; ++j)
        for (int64_t p = p0; p < stop; ++p)
          to[p * nr + j] = j < width ? from[p * g.b.row_stride + j * g.b.col_stride] : T{};
    }
  }

  // The tiles of one group of rows and one of panels.
  void group(int64_t unit) {
    const int64_t i0 = unit / column_groups * group_rows, rows = std::min(group_rows, g.m - i0);
    const int64_t per_group = std::max<int64_t>(1, group_columns / set.nr);
    const int64_t first = unit % column_groups * per_group, last = std::min(panel_count(), first + per_group);
    const T* left = a + i0 * g.a.row_stride + k0 * g.a.col_stride;
    int64_t a_row = g.a.row_stride, a_k = g.a.col_stride;
    // A's own layout serves while its rows are contiguous, or few panels read it, or it is near anyway; else it is packed
    // tile by tile.
    const bool pack_a = a_k != 1 && last - first > 2 && (a_k < 0 || a_k * k * int64_t{sizeof(T)} > resident);
    const Block packed(pack_a ? static_cast<size_t>(group_rows * k) * sizeof(T) : 0);
    if (pack_a) {
      T* to = static_cast<T*>(packed.data());
      for (int64_t i = 0; i < rows; i += set.mr) {
        const int64_t height = std::min<int64_t>(set.mr, rows - i);
        for (int64_t p = 0; p < k; ++p)
          for (int64_t r = 0; r < height; ++r) to[i * k + p * set.mr + r] = left[(i + r) * a_row + p * a_k];
      }
      left = to;
    }
    const Block own_panel(panels ? 0 : static_cast<size_t>(set.nr * k) * sizeof(T));
    T spare[most_tile];
    for (int64_t panel = first; panel < last; ++panel) {
      const bool in_place = reads_in_place(panel);
      const int64_t column = j0 + panel * set.nr, width = std::min<int64_t>(set.nr, n - panel * set.nr);
      const T* right;
      if (in_place) {
        right = b + k0 * g.b.row_stride + column;
      } else if (panels) {
        right = panels + panel * set.nr * k;
      } else {
        pack(panel, static_cast<T*>(own_panel.data()));
        right = static_cast<T*>(own_panel.data());
      }
      const int64_t b_k = in_place ? g.b.row_stride : set.nr;
      for (int64_t i = 0; i < rows; i += set.mr) {
        const int64_t height = std::min<int64_t>(set.mr, rows - i);
        const Tile<T> run = set.of_rows[height - 1];
        const T* at = pack_a ? left + i * k : left + i * a_row;
        const int64_t row_step = pack_a ? 1 : a_row, k_step = pack_a ? set.mr : a_k;
        T* out = c + (i0 + i) * g.c.row_stride + column * g.c.col_stride;
        if (width == set.nr && g.c.col_stride == 1) {
          run(k, at, row_step, k_step, right, b_k, out, g.c.row_stride, add);
          continue;
        }
        run(k, at, row_step, k_step, right, b_k, spare, set.nr, false);
        for (int64_t r = 0; r < height; ++r)
          for (int64_t j = 0; j < width; ++j) {
            T& element = out[r * g.c.row_stride + j * g.c.col_stride];
            const T sum = spare[r * set.nr + j];
            element = add ? element + sum : sum;
          }
      }
    }
    if (!epilogue || !last_k) return;
    if (!epilogue.whole_rows())
      epilogue.block(i0, i0 + rows, j0 + first * set.nr, j0 + std::min(n, last * set.nr));
    else if (last_columns && unfinished[static_cast<size_t>(i0 / group_rows)].fetch_sub(1, std::memory_order_acq_rel) == 1)
      epilogue.rows(i0, i0 + rows);
  }
};

template <class T, void (Product<T>::*Step)(int64_t)>
void steps(void* context, int64_t begin, int64_t end) {
  auto& product = *static_cast<Product<T>*>(context);
  for (int64_t i = begin; i < end; ++i) (product.*Step)(i);
}

template <class T, void (Product<T>::*Step)(int64_t)>
void each(Product<T>& product, int64_t count, double work, bool shared) {
  if (!shared || count < 2 || work < 2 * unit_work) {
    steps<T, Step>(&product, 0, count);
    return;
  }
  const auto grain = static_cast<int64_t>(unit_work / (work / static_cast<double>(count)));
  parallel_for(count, std::clamp<int64_t>(grain, 1, count), steps<T, Step>, &product);
}

}  // namespace

template <class T>
void float_product(const Gemm& g, const T* a, const T* b, T* c, bool shared, const Epilogue& epilogue) {
  if (g.m == 0 || g.n == 0) return;
  if (g.k == 0) {
    for (int64_t i = 0; i < g.m; ++i)
      for (int64_t j = 0; j < g.n; ++j) c[i * g.c.row_stride + j * g.c.col_stride] = T{};
    epilogue.all(shared);
    return;
  }
  const TileSet<T>& set = *tile_set<T>();
  // Rows of B that lie a multiple of a page apart would all want the same few places of the cache.
  const int64_t b_row_bytes = g.b.row_stride * int64_t{sizeof(T)};
  const bool b_near = b_row_bytes > 0 && b_row_bytes * std::min(g.k, block_k) <= resident && b_row_bytes % 4096 != 0;
  Product<T> product{.g = g, .set = set, .a = a, .b = b, .c = c, .k0 = 0, .k = 0, .j0 = 0, .n = 0, .add = false,
                     .b_in_place = g.b.col_stride == 1 && (g.m <= 4 * set.mr || b_near), .panels = nullptr,
                     .row_groups = (g.m + group_rows - 1) / group_rows, .column_groups = 0, .epilogue = epilogue,
                     .last_k = false, .last_columns = false, .unfinished = nullptr};
  const int64_t widest = std::min(g.n, block_columns);
  const bool ahead = !product.b_in_place && product.row_groups > 1;
  const int64_t packed_width = ahead ? (widest + set.nr - 1) / set.nr * set.nr : 0;
  const Block panels(static_cast<size_t>(packed_width * std::min(g.k, block_k)) * sizeof(T));
  if (ahead) product.panels = static_cast<T*>(panels.data());
  for (product.j0 = 0; product.j0 < g.n; product.j0 += block_columns) {
    product.n = std::min(block_columns, g.n - product.j0);
    const int64_t per_group = std::max<int64_t>(1, group_columns / set.nr);
    product.column_groups = (product.panel_count() + per_group - 1) / per_group;
    product.last_columns = product.j0 + block_columns >= g.n;
    if (product.last_columns && epilogue.whole_rows()) {
      product.unfinished = std::make_unique<std::atomic<int64_t>[]>(static_cast<size_t>(product.row_groups));
      for (int64_t i = 0; i < product.row_groups; ++i) product.unfinished[static_cast<size_t>(i)] = product.column_groups;
    }
    for (product.k0 = 0; product.k0 < g.k; product.k0 += block_k) {
      product.k = std::min(block_k, g.k - product.k0);
      product.add = product.k0 > 0;
      product.last_k = product.k0 + block_k >= g.k;
      const auto kn = static_cast<double>(product.k) * static_cast<double>(product.n);
      if (ahead) each<T, &Product<T>::pack_ahead>(product, product.panel_count(), kn, shared);
      each<T, &Product<T>::group>(product, product.row_groups * product.column_groups,
                                  kn * static_cast<double>(g.m) + (product.last_k ? epilogue.work() : 0), shared);
    }
  }
}

template void float_product<float>(const Gemm&, const float*, const float*, float*, bool, const Epilogue&);
template void float_product<double>(const Gemm&, const double*, const double*, double*, bool, const Epilogue&);

}  // namespace weft
