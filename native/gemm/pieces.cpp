// See pieces.h.
#include "gemm/pieces.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <type_traits>

#include "base/allocator.h"
#include "base/caches.h"
#include "base/shares.h"
#include "gemm/float.h"
#include "gemm/tile.h"
#include "gemm/vectors.h"

namespace weft {
namespace {

constexpr int64_t piece_rows = 192;         // with a block of k and a piece's columns, most of an L2 cache of 1 MiB
constexpr int64_t piece_bytes = 1024;       // of a row of a piece
constexpr int64_t fewest_rows = 24;         // of a piece: fewer would read B too often
constexpr int64_t fewest_bytes = 256;       // of a row of a piece: shorter ones would read A too often
constexpr int64_t pieces_per_thread = 4;
constexpr int64_t most_shared_sums = 1 << 14;  // elements of C of which threads keep one for each block of k
constexpr int64_t turned_steps = 64;        // steps of k in which columns of B are turned into rows
constexpr int64_t few_tiles = 3;            // that use a panel of B: it is read where it lies
constexpr int64_t few_panels = 2;           // of B: a transposed A is read where it lies

// Elements from row to row, at least n, that neither share a line nor crowd the nearest cache: an odd number of lines.
template <class T>
constexpr int64_t pitch(int64_t n) {
  return (parts(n * static_cast<int64_t>(sizeof(T)), line_bytes) | 1) * line_bytes / static_cast<int64_t>(sizeof(T));
}

template <class T>
const auto& tiles_of() {
  if constexpr (std::is_integral_v<T>)
    return integer_tiles<T>();
  else
    return *tile_set<T>();
}

// Whether threads share the blocks of k.
bool sharing_k(const Gemm& g, int64_t blocks, int64_t threads) {
  return threads > 1 && g.m * g.n <= most_shared_sums && blocks >= 4 * threads;
}

template <class S>
class Pieces {
  using T = SumOf<S>;
  static constexpr bool converted = !std::is_same_v<S, T>;
  static constexpr int64_t size = sizeof(T);

 public:
  Pieces(const Gemm& g, const S* a, const S* b, S* c, const Prologue& prologue, const Epilogue& epilogue, Spare spare,
         int64_t threads, const Poll* poll)
      : g_(g), set_(tiles_of<T>()), a_(a), b_(b), c_(c), prologue_(prologue), epilogue_(epilogue), stop_(poll), chains_(g.k),
        k_units_(sharing_k(g, chains_.count, threads) ? std::min(chains_.count, 4 * pieces_per_thread * threads) : 1) {
    divide(k_units_ > 1 ? 1 : threads);
    threads_ = std::min(threads, units());
    const int64_t tile_columns = parts(columns_, set_.nr) * set_.nr;
    c_pitch_ = pitch<T>(k_units_ > 1 ? parts(g.n, set_.nr) * set_.nr : tile_columns);
    a_size_ = std::max(rows_ * pitch<T>(chains_.longest()), chains_.longest() * pitch<T>(rows_));
    b_size_ = tile_columns * chains_.longest();
    const int64_t c_size = rows_ * c_pitch_;
    const int64_t own = a_size_ + b_size_ + (k_units_ > 1 ? 0 : c_size);
    own_ = rounded_up(own * size, line_bytes) / size;
    const int64_t kept = k_units_ > 1 ? chains_.count * g.m * c_pitch_ : 0;
    const int64_t nbytes = (own_ * threads_ + kept) * size;
    if (nbytes <= spare.nbytes) {
      memory_ = reinterpret_cast<T*>(spare.data);
    } else {
      block_ = std::make_unique<Block>(static_cast<size_t>(nbytes));
      memory_ = static_cast<T*>(block_->data());
    }
    sums_ = memory_ + own_ * threads_;
    if (epilogue_.whole_rows() && k_units_ == 1 && column_units_ > 1) unfinished_.begin(row_units_, column_units_);
  }

  // False: interrupted.
  bool run(bool shared) {
    // Rows of A that several pieces read are made before.
    const bool at_once = column_units_ > 1 || k_units_ > 1;
    if (at_once) prologue_.all(shared);
    by_unit_ = !at_once;
    const auto chunk = [](void* context, int64_t begin, int64_t end) {
      auto& self = *static_cast<Pieces*>(context);
      for (int64_t slot = begin; slot < end; ++slot)
        for (int64_t u; !self.stop_.stopped() && (u = self.next_.fetch_add(1, std::memory_order_relaxed)) < self.units();)
          self.unit(u, slot);
    };
    parallel_for(threads_, 1, chunk, this);
    if (stop_.stopped()) return false;
    if (k_units_ == 1) return true;
    for (int64_t i = 0; i < g_.m; ++i) {
      T* const sum = sums_ + i * c_pitch_;
      for (int64_t block = 1; block < chains_.count; ++block) {
        const T* const more = sum + block * g_.m * c_pitch_;
        for (int64_t j = 0; j < g_.n; ++j) sum[j] = static_cast<T>(sum[j] + more[j]);
      }
    }
    store(sums_, 0, g_.m, 0, g_.n);
    epilogue_.all(shared);
    return true;
  }

 private:
  int64_t units() const { return row_units_ * column_units_ * k_units_; }

  // Sets the numbers of units of rows and columns, and the most of each in a piece.
  void divide(int64_t threads) {
    const int64_t panels = parts(g_.n, set_.nr), least = threads == 1 ? 1 : threads * pieces_per_thread;
    row_units_ = parts(g_.m, piece_rows);
    column_units_ = parts(panels * set_.nr * size, piece_bytes);
    while (row_units_ * column_units_ < least) {
      const int64_t rows = g_.m / row_units_, bytes = g_.n * size / column_units_;
      if (rows >= 2 * fewest_rows && (rows * size >= bytes || bytes < 2 * fewest_bytes))
        row_units_ *= 2;
      else if (bytes >= 2 * fewest_bytes && panels >= 2 * column_units_)
        column_units_ *= 2;
      else
        break;
    }
    rows_ = parts(g_.m, row_units_);
    columns_ = std::min(g_.n, parts(panels, column_units_) * set_.nr);
  }

  // A matrix as a tile reads it.
  struct Left {
    const T* data;
    int64_t row, step;
  };
  struct Right {
    const T* data;
    int64_t step;
  };

  static void copy(int64_t rows, int64_t n, const S* from, int64_t from_row, T* to, int64_t to_row) {
    if constexpr (converted)
      converters<S>().widen(rows, n, from, from_row, to, to_row);
    else
      for (int64_t i = 0; i < rows; ++i) std::memcpy(to + i * to_row, from + i * from_row, static_cast<size_t>(n) * sizeof(T));
  }

  // Some rows of A in a block of k.
  Left left(int64_t i0, int64_t count, int64_t block, bool many, T* to) const {
    const int64_t k = chains_.length(block), row = g_.a.row_stride, step = g_.a.col_stride;
    const S* from = a_ + i0 * row + chains_.begin(block) * step;
    if constexpr (!converted)
      if (step == 1 || !many) return {from, row, step};
    if (step == 1) {
      copy(count, k, from, row, to, pitch<T>(k));
      return {to, pitch<T>(k), 1};
    }
    const int64_t apart = pitch<T>(count);
    if (row == 1) {
      copy(k, count, from, step, to, apart);
    } else {
      for (int64_t i = 0; i < count; ++i)
        for (int64_t p = 0; p < k; ++p) to[p * apart + i] = widened(from[i * row + p * step]);
    }
    return {to, 1, apart};
  }

  // A panel of B in a block of k: its first `count` columns, followed by anything.
  Right right(int64_t j0, int64_t count, int64_t block, bool many, T* to) const {
    const int64_t k = chains_.length(block), row = g_.b.row_stride, column = g_.b.col_stride, width = set_.nr;
    const S* from = b_ + chains_.begin(block) * row + j0 * column;
    if constexpr (std::is_floating_point_v<S>)
      if (column == 1 && !many) return {from, row};
    if constexpr (std::is_integral_v<T>)  // whose tiles read all columns
      if (count < width) std::memset(to, 0, static_cast<size_t>(k * width) * sizeof(T));
    if (column == 1) {
      copy(k, count, from, row, to, width);
    } else if (row == 1) {
      for (int64_t p = 0; p < k; p += turned_steps) turned(from + p, count, std::min(turned_steps, k - p), to + p * width);
    } else {
      for (int64_t p = 0; p < k; ++p)
        for (int64_t j = 0; j < count; ++j) to[p * width + j] = widened(from[p * row + j * column]);
    }
    return {to, width};
  }

  // Some steps of columns that are contiguous each.
  void turned(const S* from, int64_t count, int64_t steps, T* to) const {
    const int64_t column = g_.b.col_stride, width = set_.nr;
    alignas(line_bytes) T near[converted ? most_tile_columns * turned_steps : 1];
    const T* wide;
    int64_t apart = turned_steps;
    if constexpr (converted)
      copy(count, steps, from, column, near, turned_steps), wide = near;
    else
      wide = from, apart = column;
    if constexpr (std::is_floating_point_v<T>)
      set_.pack_b(steps, wide, apart, 1, to, count);
    else
      for (int64_t j = 0; j < count; ++j)
        for (int64_t p = 0; p < steps; ++p) to[p * width + j] = wide[j * apart + p];
  }

  void tile(int64_t height, int64_t columns, int64_t k, const Left& a, const Right& b, T* c, bool add) const {
    if constexpr (std::is_floating_point_v<T>)
      set_.run(height, columns, k, 0, a.data, a.row, a.step, b.data, b.step, c, c_pitch_, 1, add);
    else
      set_.of_rows[height - 1](k, a.data, a.row, a.step, b.data, b.step, c, c_pitch_, add);
  }

  void unit(int64_t number, int64_t slot) {
    const int64_t k_unit = number % k_units_, piece = number / k_units_;
    const int64_t row_unit = piece / column_units_, column_unit = piece % column_units_;
    const int64_t panels = parts(g_.n, set_.nr);
    const int64_t i0 = g_.m * row_unit / row_units_, rows = g_.m * (row_unit + 1) / row_units_ - i0;
    const int64_t j0 = panels * column_unit / column_units_ * set_.nr;
    const int64_t j1 = std::min(g_.n, panels * (column_unit + 1) / column_units_ * set_.nr);
    T* const own_a = memory_ + slot * own_;
    T* const own_b = own_a + a_size_;
    T* const own_c = own_b + b_size_;
    if (by_unit_) prologue_.rows(i0, i0 + rows);
    const int64_t first = chains_.count * k_unit / k_units_, last = chains_.count * (k_unit + 1) / k_units_;
    const int64_t tiles = parts(rows, set_.mr);
    for (int64_t block = first; block < last; ++block) {
      if (stop_.asked()) return;
      const int64_t k = chains_.length(block);
      T* const to = k_units_ > 1 ? sums_ + (block * g_.m + i0) * c_pitch_ + j0 : own_c;
      const Left all = left(i0, rows, block, j1 - j0 > few_panels * set_.nr, own_a);
      for (int64_t j = j0; j < j1; j += set_.nr) {
        const int64_t columns = std::min<int64_t>(set_.nr, j1 - j);
        const Right panel = right(j, columns, block, tiles > few_tiles, own_b + (j - j0) * k);
        // Of nearly equal heights: low tiles use the registers badly.
        for (int64_t t = 0; t < tiles; ++t) {
          const int64_t i = rows * t / tiles, height = rows * (t + 1) / tiles - i;
          tile(height, columns, k, {all.data + i * all.row, all.row, all.step}, panel, to + i * c_pitch_ + j - j0,
               k_units_ == 1 && block > 0);
        }
      }
    }
    if (k_units_ > 1) return;
    store(own_c, i0, rows, j0, j1 - j0);
    if (!epilogue_) return;
    if (!epilogue_.whole_rows())
      epilogue_.block(i0, i0 + rows, j0, j1);
    else if (!unfinished_ || unfinished_.done(row_unit))
      epilogue_.rows(i0, i0 + rows);
  }

  // Sums to where they belong in C.
  void store(const T* from, int64_t i0, int64_t rows, int64_t j0, int64_t columns) const {
    const int64_t row = g_.c.row_stride, column = g_.c.col_stride;
    S* to = c_ + i0 * row + j0 * column;
    if (column != 1) {
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j) narrow(from[i * c_pitch_ + j], to[i * row + j * column]);
    } else if constexpr (converted) {
      converters<S>().narrow(rows, columns, from, c_pitch_, to, row);
    } else {
      for (int64_t i = 0; i < rows; ++i)
        std::memcpy(to + i * row, from + i * c_pitch_, static_cast<size_t>(columns) * sizeof(T));
    }
  }

  const Gemm& g_;
  const std::remove_cvref_t<decltype(tiles_of<T>())>& set_;
  const S* a_;
  const S* b_;
  S* c_;
  const Prologue& prologue_;
  const Epilogue& epilogue_;
  Stop stop_;
  const Chains chains_;
  const int64_t k_units_;
  int64_t row_units_ = 1, column_units_ = 1, threads_ = 1;
  int64_t rows_ = 0, columns_ = 0;  // of the largest piece
  int64_t a_size_ = 0, b_size_ = 0, own_ = 0;
  int64_t c_pitch_ = 0;  // from row to row of a piece's sums, or of all sums of a block where threads share k
  std::unique_ptr<Block> block_;  // unless spare memory is enough
  T* memory_ = nullptr;           // of each thread
  T* sums_ = nullptr;             // all of each block of k, where threads share k
  Unfinished unfinished_;  // of each row of pieces, those not made yet
  bool by_unit_ = false;  // a piece calls the prologue for its rows
  std::atomic<int64_t> next_{0};
};

}  // namespace

template <class S>
bool piece_product(const Gemm& g, const S* a, const S* b, S* c, bool shared, const Prologue& prologue,
                   const Epilogue& epilogue, const Poll* poll, Spare spare) {
  const int64_t threads = shared ? useful_threads(multiply_adds(g) + prologue.work() + epilogue.work()) : 1;
  if (multiply_adds(g) < polled_work) poll = nullptr;
  return Pieces<S>(g, a, b, c, prologue, epilogue, spare, threads, poll).run(shared);
}

bool long_product(const Gemm& g, bool shared) {
  return shared && sharing_k(g, Chains(g.k).count, useful_threads(multiply_adds(g)));
}

#define WEFT_PIECES(S) \
  template bool piece_product<S>(const Gemm&, const S*, const S*, S*, bool, const Prologue&, const Epilogue&, \
                                 const Poll*, Spare);
WEFT_PIECES(Float16)
WEFT_PIECES(BFloat16)
WEFT_PIECES(float)
WEFT_PIECES(double)
WEFT_PIECES(uint8_t)
WEFT_PIECES(uint16_t)
WEFT_PIECES(uint32_t)
WEFT_PIECES(uint64_t)
#undef WEFT_PIECES

}  // namespace weft
