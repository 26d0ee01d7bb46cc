// See gemm_float.h. C is divided into units of some rows by some columns, which the threads take one by one. A unit runs all
// of k, block after block, so that its part of C is complete while it is in the cache. What its tiles read is either read
// where it lies or packed: rows of A and panels of B that several units need by all threads together, before any unit
// begins (which one counter tells, so that all this is one range of the pool); the rest by the unit, block by block.
// Source of the scheme: Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008).
#include "gemm_float.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <thread>

#include "allocator.h"
#include "gemm_tile.h"

namespace weft {
namespace {

constexpr int64_t block_k = 256;       // part of every result's definition: see gemm_float.h
constexpr double unit_work = 1 << 16;  // multiply-adds for which waking another thread pays
constexpr int64_t most_rows = 192;     // of a unit: with block_k, A's part takes a fifth of an L2 cache of 1 MiB
constexpr int64_t few_rows = 64;       // fewer in a unit would read B too often
constexpr int64_t units_per_thread = 4;
constexpr int64_t pack_panels = 4;     // panels of B packed side by side, because memory is read in runs of lines
constexpr int64_t pack_steps = 16;     // rows of B that are packed before the next panel's turn
constexpr int64_t line = 64;           // bytes of a cache line
constexpr int64_t page = 4096;         // bytes after which addresses compete for the same places of the nearest cache
constexpr int64_t near = 512 << 10;    // bytes that stay in an L2 cache while they are read again and again
constexpr int most_tile = most_tile_rows * 64;

constexpr int64_t parts(int64_t total, int64_t size) { return (total + size - 1) / size; }

// How many of `count` lines that lie `stride` bytes apart compete for one place of the nearest cache, which has 64 places.
int64_t competing(int64_t count, int64_t stride) {
  int64_t period = page;
  while (stride % period != 0) period /= 2;
  return period <= line ? parts(2 * count, page / line) : parts(count * period, page);
}

template <class T>
class Product {
 public:
  Product(const Gemm& g, const T* a, const T* b, T* c, const Epilogue& epilogue, int64_t threads)
      : g_(g), set_(*tile_set<T>()), a_(a), b_(b), c_(c), epilogue_(epilogue),
        blocks_(parts(g.k, block_k)), panels_(parts(g.n, set_.nr)) {
    divide(threads);
    choose();
    const auto elements = [](auto... sizes) {
      int64_t product = sizeof(T);
      bool large = false;
      ((large = __builtin_mul_overflow(product, static_cast<int64_t>(sizes), &product) || large), ...);
      if (large) throw std::bad_alloc();
      return static_cast<size_t>(product);
    };
    const int64_t deepest = std::min(g.k, block_k);
    a_block_ = a_mode_ == Mode::lines ? parts(g.m, row_units_) * (deepest + line_gap)
                                      : unit_tiles() * set_.packed_rows * deepest;
    threads_ = std::min(threads, row_units_ * column_units_);
    own_a_ = a_mode_ != Mode::in_place && !a_shared_ ? a_block_ : 0;
    own_b_ = b_mode_ == Mode::own ? unit_panels() * set_.nr * deepest : 0;
    if (a_shared_) shared_a_ = std::make_unique<Block>(elements(a_block_, blocks_, row_units_));
    if (b_mode_ == Mode::shared) shared_b_ = std::make_unique<Block>(elements(panels_, set_.nr, g.k));
    if (own_a_ + own_b_) own_ = std::make_unique<Block>(elements(own_a_ + own_b_, threads_));
    a_tasks_ = a_shared_ ? blocks_ * row_units_ : 0;
    b_tasks_ = b_mode_ == Mode::shared ? blocks_ * parts(panels_, pack_panels) : 0;
    if (epilogue_.whole_rows() && column_units_ > 1) {
      unfinished_ = std::make_unique<std::atomic<int64_t>[]>(static_cast<size_t>(row_units_));
      for (int64_t r = 0; r < row_units_; ++r) unfinished_[static_cast<size_t>(r)] = column_units_;
    }
  }

  void run() {
    const auto chunk = [](void* context, int64_t begin, int64_t end) {
      for (int64_t slot = begin; slot < end; ++slot) static_cast<Product*>(context)->work(slot);
    };
    parallel_for(threads_, 1, chunk, this);
  }

 private:
  // A: where it lies, its rows copied (each a run of k), or panels of a tile's height. B: where it lies, or panels that all
  // units share or that each unit packs for itself.
  enum class Mode { in_place, lines, panels, shared, own };
  // Between copied rows of A, so that they do not compete for the same places of the cache.
  static constexpr int64_t line_gap = line / static_cast<int64_t>(sizeof(T));

  // Sets the numbers of units.
  void divide(int64_t threads) {
    const int64_t least = threads == 1 ? 1 : threads * units_per_thread;
    row_units_ = std::max(parts(g_.m, most_rows), std::min(least, g_.m / few_rows));
    column_units_ = 1;
    if (row_units_ >= least) return;
    // Few rows: divide the columns instead, if they allow a better division.
    const int64_t columns = std::min(least, panels_);
    if (columns > row_units_) row_units_ = parts(g_.m, most_rows), column_units_ = columns;
  }

  void choose() {
    const int64_t size = sizeof(T), deepest = std::min(g_.k, block_k);
    const int64_t uses_a = parts(panels_, column_units_), uses_b = parts(parts(g_.m, row_units_), set_.mr);
    if (g_.a.col_stride == 1) {
      // Lines of a tile's rows, besides those of a panel of B.
      const bool crowded = competing(set_.mr * parts(deepest * size, line), g_.a.row_stride * size) > 4 &&
                           g_.a.row_stride * size % page == 0;
      a_mode_ = crowded && uses_a > 4 ? Mode::lines : Mode::in_place;
    } else if (g_.a.row_stride == 1) {
      const bool crowded = competing(deepest, g_.a.col_stride * size) > 4 || g_.m * g_.k * size > near;
      a_mode_ = crowded && uses_a > 2 ? Mode::panels : Mode::in_place;
    } else {
      a_mode_ = Mode::panels;
    }
    a_shared_ = a_mode_ != Mode::in_place && column_units_ > 1;
    if (g_.b.col_stride == 1) {
      const bool crowded = competing(deepest, g_.b.row_stride * size) > 4;
      const int64_t uses = row_units_ * uses_b;
      const bool far = g_.k * g_.n * size > near;
      b_mode_ = uses <= 1 || !(crowded ? uses > 2 : far && uses > 16) ? Mode::in_place : Mode::shared;
    } else {
      b_mode_ = Mode::shared;
    }
    if (b_mode_ == Mode::shared && row_units_ == 1) b_mode_ = Mode::own;
  }

  int64_t row_of(int64_t unit) const { return g_.m * unit / row_units_; }
  int64_t panel_of(int64_t unit) const { return panels_ * unit / column_units_; }
  int64_t unit_tiles() const { return parts(parts(g_.m, row_units_), set_.mr); }
  int64_t unit_panels() const { return parts(panels_, column_units_); }
  int64_t depth(int64_t block) const { return std::min(block_k, g_.k - block * block_k); }
  int64_t width(int64_t panel) const { return std::min<int64_t>(set_.nr, g_.n - panel * set_.nr); }

  // The tiles of a unit's rows, of nearly equal heights: low tiles use the registers badly.
  struct Rows {
    int64_t first, count, tiles;
    int64_t at(int64_t tile) const { return count * tile / tiles; }
  };
  Rows rows_of(int64_t unit) const {
    const int64_t first = row_of(unit), count = row_of(unit + 1) - first;
    return {first, count, parts(count, set_.mr)};
  }

  // Rows of A or panels of it, for one block of k.
  void pack_a(const Rows& rows, int64_t block, T* to) const {
    const int64_t k = depth(block);
    const T* from = a_ + rows.first * g_.a.row_stride + block * block_k * g_.a.col_stride;
    if (a_mode_ == Mode::lines) {
      for (int64_t i = 0; i < rows.count; ++i)
        std::memcpy(to + i * (k + line_gap), from + i * g_.a.row_stride, static_cast<size_t>(k) * sizeof(T));
      return;
    }
    for (int64_t t = 0; t < rows.tiles; ++t) {
      const int64_t i = rows.at(t);
      set_.pack_a(k, from + i * g_.a.row_stride, g_.a.row_stride, g_.a.col_stride, to + t * set_.packed_rows * k,
                  rows.at(t + 1) - i);
    }
  }

  // Panels of B for one block of k, one after another.
  void pack_b(int64_t first, int64_t last, int64_t block, T* to) const {
    const int64_t k = depth(block);
    const T* from = b_ + block * block_k * g_.b.row_stride;
    for (int64_t group = first; group < last; group += pack_panels)
      for (int64_t p = 0; p < k; p += pack_steps)
        for (int64_t panel = group; panel < std::min(last, group + pack_panels); ++panel)
          set_.pack_b(std::min(pack_steps, k - p), from + p * g_.b.row_stride + panel * set_.nr * g_.b.col_stride,
                      g_.b.col_stride, g_.b.row_stride, to + ((panel - first) * k + p) * set_.nr, width(panel));
  }

  T* shared_a(int64_t row_unit, int64_t block) const {
    return static_cast<T*>(shared_a_->data()) + (row_unit * blocks_ + block) * a_block_;
  }
  T* shared_b(int64_t panel, int64_t block) const {
    return static_cast<T*>(shared_b_->data()) + (block * block_k * panels_ + panel * depth(block)) * set_.nr;
  }

  void pack(int64_t task) const {
    if (task < a_tasks_) {
      pack_a(rows_of(task / blocks_), task % blocks_, shared_a(task / blocks_, task % blocks_));
      return;
    }
    task -= a_tasks_;
    const int64_t groups = parts(panels_, pack_panels), block = task / groups, first = task % groups * pack_panels;
    pack_b(first, std::min(panels_, first + pack_panels), block, shared_b(first, block));
  }

  // One thread's part.
  void work(int64_t slot) {
    const int64_t tasks = a_tasks_ + b_tasks_, units = row_units_ * column_units_;
    if (tasks) {
      for (int64_t t; (t = next_task_.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
        pack(t);
        packed_.fetch_add(1, std::memory_order_release);
      }
      for (int64_t waited = 0; packed_.load(std::memory_order_acquire) < tasks; ++waited)
        if (waited > 1000) std::this_thread::yield();
    }
    for (int64_t u; (u = next_unit_.fetch_add(1, std::memory_order_relaxed)) < units;) unit(u, slot);
  }

  void unit(int64_t number, int64_t slot) {
    const int64_t row_unit = number / column_units_, column_unit = number % column_units_;
    const Rows rows = rows_of(row_unit);
    const int64_t first = panel_of(column_unit), last = panel_of(column_unit + 1);
    T* const own_a = own_ ? static_cast<T*>(own_->data()) + slot * (own_a_ + own_b_) : nullptr;
    T* const own_b = own_a + own_a_;
    for (int64_t block = 0; block < blocks_; ++block) {
      const int64_t k = depth(block);
      const T* left = a_ + rows.first * g_.a.row_stride + block * block_k * g_.a.col_stride;
      int64_t a_row = g_.a.row_stride, a_k = g_.a.col_stride;
      if (a_mode_ != Mode::in_place) {
        if (!a_shared_) pack_a(rows, block, own_a);
        left = a_shared_ ? shared_a(row_unit, block) : own_a;
        a_row = a_mode_ == Mode::lines ? k + line_gap : 1;
        a_k = a_mode_ == Mode::lines ? 1 : set_.packed_rows;
      }
      if (b_mode_ == Mode::own) pack_b(first, last, block, own_b);
      for (int64_t panel = first; panel < last; ++panel) {
        const T* right = b_ + block * block_k * g_.b.row_stride + panel * set_.nr;
        if (b_mode_ == Mode::shared) right = shared_b(panel, block);
        if (b_mode_ == Mode::own) right = own_b + (panel - first) * set_.nr * k;
        const int64_t b_k = b_mode_ == Mode::in_place ? g_.b.row_stride : set_.nr;
        for (int64_t t = 0; t < rows.tiles; ++t) {
          const int64_t i = rows.at(t), height = rows.at(t + 1) - i;
          const T* at = left + (a_mode_ == Mode::panels ? t * set_.packed_rows * k : i * a_row);
          tile(height, k, at, a_row, a_k, right, b_k, rows.first + i, panel, block > 0);
        }
      }
    }
    if (!epilogue_) return;
    if (!epilogue_.whole_rows())
      epilogue_.block(rows.first, rows.first + rows.count, first * set_.nr, std::min(g_.n, last * set_.nr));
    else if (!unfinished_ || unfinished_[static_cast<size_t>(row_unit)].fetch_sub(1, std::memory_order_acq_rel) == 1)
      epilogue_.rows(rows.first, rows.first + rows.count);
  }

  // The tile of C at a row and a panel of columns.
  void tile(int64_t height, int64_t k, const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_k, int64_t row,
            int64_t panel, bool add) const {
    const int64_t columns = width(panel);
    T* out = c_ + row * g_.c.row_stride + panel * set_.nr * g_.c.col_stride;
    if (g_.c.col_stride == 1) {
      if (columns == set_.nr)
        set_.of_rows[height - 1](k, a, a_row, a_k, b, b_k, out, g_.c.row_stride, add);
      else
        set_.edges[height - 1](k, a, a_row, a_k, b, b_k, out, g_.c.row_stride, add, columns);
      return;
    }
    T spare[most_tile];
    set_.edges[height - 1](k, a, a_row, a_k, b, b_k, spare, set_.nr, false, columns);
    for (int64_t r = 0; r < height; ++r)
      for (int64_t j = 0; j < columns; ++j) {
        T& element = out[r * g_.c.row_stride + j * g_.c.col_stride];
        const T sum = spare[r * set_.nr + j];
        element = add ? element + sum : sum;
      }
  }

  const Gemm& g_;
  const TileSet<T>& set_;
  const T* a_;
  const T* b_;
  T* c_;
  const Epilogue& epilogue_;
  int64_t blocks_, panels_, row_units_ = 1, column_units_ = 1, threads_ = 1;
  Mode a_mode_ = Mode::in_place, b_mode_ = Mode::in_place;
  bool a_shared_ = false;
  int64_t a_block_ = 0;  // elements of one unit's packed rows of A in one block of k
  int64_t own_a_ = 0, own_b_ = 0, a_tasks_ = 0, b_tasks_ = 0;
  std::unique_ptr<Block> shared_a_, shared_b_, own_;
  std::unique_ptr<std::atomic<int64_t>[]> unfinished_;  // of each row of units, those not run yet
  alignas(line) std::atomic<int64_t> next_task_{0};
  alignas(line) std::atomic<int64_t> packed_{0};
  alignas(line) std::atomic<int64_t> next_unit_{0};
};

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
  const double work = static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k) + epilogue.work();
  const auto worth = static_cast<int64_t>(std::min(work / unit_work, 1e6));
  Product<T>(g, a, b, c, epilogue, shared ? std::clamp<int64_t>(worth, 1, num_threads()) : 1).run();
}

template void float_product<float>(const Gemm&, const float*, const float*, float*, bool, const Epilogue&);
template void float_product<double>(const Gemm&, const double*, const double*, double*, bool, const Epilogue&);

}  // namespace weft
