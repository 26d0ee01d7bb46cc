// See float.h. C is divided into units of some rows by some columns, which the threads take one by one. A unit runs all
// of k, block after block, so that its part of C is complete while it is in the cache. A thread that finds no unit left takes
// half of the columns of one that another thread still runs: no two cores are equally fast, and the last one is waited for.
// Where C is too small for that, k is divided too: a unit then runs some blocks of k, whose sums wait in memory of their own
// until they can be added in order, and no thread reads more than its part of A and B, which often stays in its cache until
// the next product that reads them: that is so for the weights of a layer. What its tiles read is either read where it lies
// or packed: rows of A and panels of B that several units need by all threads together, before any unit begins (which one
// counter tells, so that all this is one range of the pool); the rest by the unit, block by block.
// Source of the scheme: Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008).
#include "gemm/float.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/allocator.h"
#include "base/caches.h"
#include "base/shares.h"
#include "gemm/tile.h"

namespace weft {
namespace {

constexpr int64_t unit_bytes = 768;    // of a unit's rows of A at one step of k: with 256 steps, a fifth of an L2 cache of 1 MiB
constexpr int64_t unit_steps = 256;
constexpr int64_t few_rows = 16;       // fewer in a unit would read B too often,
constexpr int64_t few_far_rows = 64;   // or where B does not stay in an L2 cache
constexpr int64_t few_near_rows = 64;  // which threads divide less well than the columns of a B that stays there
constexpr int64_t even_part = 8;       // of the columns: threads of which one has so much less to do still count as even
constexpr int64_t followed_bytes = 12 << 10;  // of a unit's rows of C that an epilogue then reads: a third of the nearest cache
constexpr int64_t few_tiles = 4;       // in a unit, of which one more or less does not matter
constexpr int64_t many_tiles = 10;     // in a unit, of which one more or less takes less time than tiles that are not full
constexpr int64_t even_blocks = 4;     // blocks of k in each of its parts from which one more or less does not matter
constexpr int64_t sum_cost = 3;        // of writing and adding a sum that waits, in elements of B
constexpr int64_t pack_panels = 8;     // panels of B packed side by side, at most, because memory is read in runs of lines
constexpr int64_t pack_bytes = 1024;   // of a row of theirs: two such groups of 256 rows and more stay in an L2 cache
constexpr int64_t pack_steps = 16;     // rows of B that are packed before the next panel's turn
constexpr int64_t fetched_panels = 16;  // of B, in whose tiles the rows of A that are packed next are brought into a cache
constexpr int64_t pack_run = 64;       // the same where B is transposed and a column's part is read in one run
constexpr int64_t steps_per_line = 4;  // of k, in which a tile brings a line of A into a cache: more of them wait for each other
constexpr int64_t copied_steps = 8;    // rows of a transposed A of which a tile's part is packed before the next tile's turn
constexpr double divided_work = 1 << 23;  // multiply-adds of a product from which on units that run are divided
constexpr int64_t packed_panels = 4;   // for which packing A once more is worth it
constexpr int64_t line = 64;           // bytes of a cache line
constexpr int64_t page = 4096;         // bytes after which addresses compete for the same places of the nearest cache
constexpr int64_t far_page = 128 << 10;  // and for those of an L2 cache
constexpr int64_t few_lines = 4;       // of such a place, which its other lines do not drive out
constexpr int64_t near = 512 << 10;    // bytes that stay in an L2 cache while they are read again and again
constexpr int64_t in_reach = 2 << 20;  // bytes of packed B that each thread may have for itself in an L3 cache
constexpr int64_t little = 32 << 10;   // bytes of a transposed B of which a copy for each thread is not worth its memory
constexpr int64_t few_threads = 4;     // that pack B each for itself sooner than together
constexpr int64_t few_uses = 16;       // of A or B by a thread: packing costs more than reading crowded lines so often, more
constexpr int64_t few_tile_uses = 6;   // than it does in the first tile that reads it,
constexpr int64_t many_uses = 64;      // and more than reading so often lines of A that are not crowded,
constexpr int64_t few_far_uses = 12;   // unless what comes after a panel of B is fetched from far away while its tiles run
constexpr int64_t few_split = 2048;    // rows of B that a thread reads, if its vectors are split between two lines

// How many of `count` lines that lie `stride` bytes apart compete for one place of a cache whose places recur after `span` bytes.
int64_t competing(int64_t count, int64_t stride, int64_t span = page) {
  int64_t period = span;
  while (stride % period != 0) period /= 2;
  return period <= line ? parts(2 * count, span / line) : parts(count * period, span);
}

template <class T>
class Product {
 public:
  Product(const Gemm& g, const T* a, const T* b, T* c, const Prologue& prologue, const Epilogue& epilogue, Spare spare,
          int64_t threads, const Poll* poll)
      : g_(g), set_(*tile_set<T>()), a_(a), b_(b), c_(c), prologue_(prologue), epilogue_(epilogue), spare_(spare),
        stop_(poll), chains_(g.k), blocks_(chains_.count), deepest_(chains_.longest()), panels_(parts(g.n, set_.nr)),
        grouped_(std::clamp<int64_t>(pack_bytes / (set_.nr * static_cast<int64_t>(sizeof(T))), 1, pack_panels)) {
    divide(threads);
    // Two chains go through one tile, whose sums stay near, unless one thread runs each of them.
    if (blocks_ == 2 && k_parts_ == 1) first_ = chains_.first, chains_ = Chains::one(g.k), blocks_ = 1, deepest_ = g.k;
    threads_ = std::min(threads, units());
    choose();
    if (a_mode_ != Mode::in_place && unit_tiles() >= many_tiles) whole_tiles_ = true;
    const auto elements = [](auto... sizes) {
      int64_t product = sizeof(T);
      bool large = false;
      ((large = __builtin_mul_overflow(product, static_cast<int64_t>(sizes), &product) || large), ...);
      if (large) throw std::bad_alloc();
      return static_cast<size_t>(product);
    };
    const int64_t a_unit = unit_tiles() * set_.packed_rows * deepest_;
    a_unit_ = a_unit;
    own_a_ = a_mode_ == Mode::by_unit ? a_unit : 0;
    if (a_mode_ == Mode::shared) shared_a_ = memory(elements(a_unit, blocks_, row_units_), shared_a_block_);
    if (b_mode_ == Mode::shared) shared_b_ = memory(elements(panels_, set_.nr, g.k), shared_b_block_);
    // Lines that another core has read are slow to write, unless past the caches, where so many do not stay anyway.
    const bool stream = far_b_ && g.b.col_stride == 1 && panels_ * set_.nr * g.k * static_cast<int64_t>(sizeof(T)) > in_reach &&
                        reinterpret_cast<uintptr_t>(shared_b_) % line == 0;
    pack_shared_b_ = stream ? set_.stream_b : set_.pack_b;
    if (b_mode_ == Mode::own) own_b_ = panels_ * set_.nr * g.k, own_packed_.resize(static_cast<size_t>(threads_ * own_marks()));
    if (b_mode_ == Mode::by_unit) {
      // One panel, if tiles pack it; else a group of them and, if there is one, the group after it.
      opens_ = g.b.col_stride == 1 && a_mode_ != Mode::in_place && whole_tiles_ && g.m >= 2 * set_.mr && g.c.col_stride == 1 &&
               competing(deepest_, g.b.row_stride * static_cast<int64_t>(sizeof(T)), far_page) <= few_lines;
      const int64_t in_unit = parts(panels_, column_units_), at_once = std::min(grouped_, in_unit);
      own_b_ = opens_ ? set_.nr * deepest_ : (at_once < in_unit || blocks_ > 1 ? 2 : 1) * at_once * set_.nr * deepest_;
    }
    if (own_a_ + own_b_) own_ = memory(elements(own_a_ + own_b_, threads_), own_block_);
    if (k_parts_ > 1) sums_ = memory(elements(blocks_ - first_block(1), g.m, g.n), sums_block_);
    divisible_ = threads_ > 1 && k_parts_ == 1 && !followed_ && (b_mode_ != Mode::by_unit || opens_) &&
                 static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k) >= divided_work;
    if (divisible_) slots_ = std::make_unique<Slot[]>(static_cast<size_t>(threads_));
    shares_ = Shares(units(), threads_);
    a_tasks_ = a_mode_ == Mode::shared ? blocks_ * row_units_ : 0;
    b_tasks_ = b_mode_ == Mode::shared ? blocks_ * parts(panels_, grouped_) : 0;
    // Rows that several units read are made by all threads before; those of one unit by that unit.
    if (prologue_ && column_units_ * k_parts_ > 1) row_tasks_ = std::min(g.m, threads_ * units_per_thread);
    if (k_parts_ > 1 || (epilogue_.whole_rows() && (column_units_ > 1 || divisible_))) {
      unfinished_ = std::make_unique<std::atomic<int64_t>[]>(static_cast<size_t>(row_units_));
      for (int64_t r = 0; r < row_units_; ++r) unfinished_[static_cast<size_t>(r)] = column_units_ * k_parts_;
    }
  }

  // False: interrupted.
  bool run() {
    const auto chunk = [](void* context, int64_t begin, int64_t end) {
      for (int64_t slot = begin; slot < end; ++slot) static_cast<Product*>(context)->work(slot);
    };
    parallel_for(threads_, 1, chunk, this);
    return !stop_.stopped();
  }

 private:
  // How A and B are read: where they lie, or packed into panels of a tile's height or width. Panels are packed by all threads
  // together for all units; by each thread for itself (because what another core has read is slow to write again); or by
  // each unit, block by block, just before they are used.
  enum class Mode { in_place, shared, own, by_unit };
  static constexpr int64_t line_elements = line / static_cast<int64_t>(sizeof(T));

  // A unit, or what is left of it: some rows by the panels [first, last) of B in the blocks [block, end) of k. Of the first of
  // these blocks, the panels before `panel` have begun.
  struct Unit {
    int64_t part, row_unit, first, last, block, end, panel;
  };

  // The unit that each thread runs.
  struct alignas(line) Slot {
    std::mutex mutex;
    Unit running{};
  };

  // Memory to pack into: of what is spare, else new.
  T* memory(size_t nbytes, std::unique_ptr<Block>& block) {
    const int64_t taken = parts(static_cast<int64_t>(nbytes), line) * line;
    if (taken > spare_.nbytes) {
      block = std::make_unique<Block>(nbytes);
      return static_cast<T*>(block->data());
    }
    T* found = reinterpret_cast<T*>(spare_.data);
    spare_ = {spare_.data + taken, spare_.nbytes - taken};
    return found;
  }

  // Sets the numbers of units.
  void divide(int64_t threads) {
    const int64_t least = threads == 1 ? 1 : threads * units_per_thread;
    const bool apart = threads > 1 && even_columns(threads) && reads_little_of_a();
    int64_t columns = std::min(least, apart && b_bytes() <= near ? panels_ : panels_ / 2);
    if (columns > threads) columns -= columns % threads;
    column_units_ = 1;
    if (apart && columns >= threads) {
      row_units_ = 1, column_units_ = columns;
      return;
    }
    const int64_t enough = b_bytes() > second_cache_bytes() ? std::max(g_.m / few_far_rows, std::min(threads, g_.m / few_rows))
                                                            : g_.m / few_rows;
    const int64_t needed = parts(g_.m, reads_through() ? few_tiles * set_.mr : unit_bytes / static_cast<int64_t>(sizeof(T)));
    row_units_ = needed > least ? parts(needed, least) * least : std::max(needed, std::min(least, enough));
    if (threads > 1 && panels_ % threads == 0 && panels_ <= least && packs_less_by_columns()) {
      row_units_ = 1, column_units_ = panels_;
      return;
    }
    if (row_units_ >= least) {
      // What follows finds a unit's rows of C in the nearest cache if they are few. B is then read more often, so it must be near.
      const int64_t row_bytes = g_.n * static_cast<int64_t>(sizeof(T)), rows = followed_bytes / row_bytes;
      if (epilogue_ && rows >= few_tiles * set_.mr && g_.k * row_bytes <= near && g_.m > rows * row_units_)
        row_units_ = parts(parts(g_.m, rows), least) * least, whole_tiles_ = followed_ = true;
      return;
    }
    // Few rows: divide the columns instead, if they allow a better division.
    if (columns < least) {
      // Few of both: divide k, if that makes parts of as many blocks, and the sums that wait cost less than having all
      // threads read B. Two blocks count as equal, though the first of them is only a third of k, if there are units enough.
      const int64_t k_parts = std::min(blocks_, parts(least, row_units_)), waiting = blocks_ - blocks_ / k_parts;
      const bool equal = blocks_ % k_parts == 0 || blocks_ >= even_blocks * k_parts;
      const int64_t units = row_units_ * k_parts;
      const bool even = units >= 2 * threads || (units % threads == 0 && blocks_ > 2);
      if (k_parts > 1 && equal && even && sum_cost * waiting * g_.m < g_.k) {
        k_parts_ = k_parts;
        return;
      }
    }
    if (columns <= row_units_) return;
    // As many rows as the cache holds of them in so few steps of k: units of other rows would pack the same columns again.
    row_units_ = parts(g_.m * deepest_, unit_bytes * unit_steps / static_cast<int64_t>(sizeof(T))), column_units_ = columns;
  }

  // Whether units had better have few rows: those of A come from far away, which is quickest where each is read from end to end, block after
  // block, and an L2 cache holds all of B, which is read again for each unit.
  bool reads_through() const {
    const int64_t size = sizeof(T), cache = second_cache_bytes();
    return blocks_ > 1 && g_.a.col_stride == 1 && g_.m * g_.k * size > cache && 2 * b_bytes() <= cache;
  }

  // Whether a thread had better have all rows of A and some columns of B: if there are few rows, since it then reads less of B, or if B
  // comes from far away and is then packed once, by who uses it, just before. The rows that a tile reads meanwhile stay in the L2 cache.
  bool reads_little_of_a() const {
    const int64_t cache = second_cache_bytes(), b = b_bytes();
    const bool less = b <= near ? g_.m <= few_near_rows : b <= cache ? 3 * g_.m <= g_.n : 3 * g_.m <= 2 * g_.n;
    return less && g_.m * deepest_ * static_cast<int64_t>(sizeof(T)) < cache / 4;
  }

  // Whether that leaves no thread with much less to do than another.
  bool even_columns(int64_t threads) const {
    const int64_t taken = parts(panels_, threads) * threads * set_.nr;
    return even_part * (taken - g_.n) <= g_.n;
  }

  int64_t b_bytes() const { return g_.k * g_.n * static_cast<int64_t>(sizeof(T)); }

  // Whether a transposed B, which is packed, had better be divided by columns: each thread then packs no more of it than it uses.
  // A is read again for each panel, so it must be near, and nearer where its rows lie across the steps of k. The last panel must not
  // be much less than the others.
  bool packs_less_by_columns() const {
    const int64_t size = sizeof(T), a_bytes = g_.m * g_.k * size;
    const bool even = 4 * (panels_ * set_.nr - g_.n) <= set_.nr;
    return g_.b.col_stride != 1 && even && g_.m >= few_tiles * set_.mr && b_bytes() <= near &&
           a_bytes <= (g_.a.col_stride == 1 ? near : near / 4);
  }

  // Sets how A and B are read. Packing pays where what is packed is used often, and sooner where reading it in place would
  // crowd the nearest cache or comes from far away.
  void choose() {
    const int64_t size = sizeof(T);
    const int64_t uses_a = parts(panels_, column_units_), uses_b = row_units_ * unit_tiles() * k_parts_ / (column_units_ > 1 ? 1 : threads_);
    bool pack = true;
    if (g_.a.col_stride == 1)
      pack = uses_a >= (b_bytes() > second_cache_bytes() ? few_far_uses : g_.a.row_stride * size % page == 0 ? few_uses : many_uses);
    else if (g_.a.row_stride == 1)
      pack = uses_a > (g_.m * g_.k * size > near ? 2 : few_uses) && competing(deepest_, g_.a.col_stride * size) > 4;
    a_mode_ = !pack ? Mode::in_place : column_units_ > 1 ? Mode::shared : Mode::by_unit;
    pack = true;
    if (g_.b.col_stride == 1) {
      const bool split = g_.b.row_stride * size % line != 0 && uses_b * deepest_ > few_split;
      const int64_t few = row_units_ == 1 && b_bytes() > near ? few_tile_uses : few_uses;
      pack = competing(deepest_, g_.b.row_stride * size) > 8 ? uses_b > (b_bytes() > near ? 2 : few_uses)
                                                            : uses_b > few && (b_bytes() > near || split);
      // From memory, B comes quickest some panels ahead, in runs.
      pack = pack || (b_bytes() > far_bytes && g_.m >= set_.mr);
    }
    const bool apart = threads_ <= few_threads && (g_.b.col_stride == 1 || b_bytes() > little) && b_bytes() <= in_reach;
    b_mode_ = !pack ? Mode::in_place : row_units_ == 1 ? Mode::by_unit : apart ? Mode::own : Mode::shared;
    // Tiles of a column fetch what is packed next while they run, others only between them: where it comes from far away.
    if (b_mode_ == Mode::by_unit && g_.m >= set_.mr && b_bytes() > near) {
      a_mode_ = column_units_ > 1 ? Mode::shared : Mode::by_unit;
      whole_tiles_ = true;
    }
    far_b_ = 2 * b_bytes() > second_cache_bytes() && (b_mode_ == Mode::shared || b_mode_ == Mode::own);
  }

  int64_t row_of(int64_t unit) const {
    if (!whole_tiles_) return g_.m * unit / row_units_;
    return std::min(g_.m, parts(g_.m, set_.mr) * unit / row_units_ * set_.mr);
  }
  int64_t panel_of(int64_t unit) const { return panels_ * unit / column_units_; }
  int64_t first_block(int64_t part) const { return blocks_ * part / k_parts_; }
  int64_t units() const { return row_units_ * column_units_ * k_parts_; }
  int64_t unit_tiles() const { return parts(parts(g_.m, row_units_), set_.mr); }
  int64_t first_k(int64_t block) const { return chains_.begin(block); }
  int64_t depth(int64_t block) const { return chains_.length(block); }
  int64_t width(int64_t panel) const { return std::min<int64_t>(set_.nr, g_.n - panel * set_.nr); }

  // The tiles of a unit's rows: full ones, or of nearly equal heights, because low tiles use the registers badly.
  struct Rows {
    int64_t first, count, tiles, full, height;
    int64_t at(int64_t tile) const { return full ? std::min(tile * height, count) : count * tile / tiles; }
  };
  Rows rows_of(int64_t unit) const {
    const int64_t first = row_of(unit), count = row_of(unit + 1) - first;
    return {first, count, parts(count, set_.mr), whole_tiles_ && a_mode_ != Mode::in_place ? count / set_.mr : 0, set_.mr};
  }

  // The tiles' rows of A for one block of k, one after another.
  void pack_a(const Rows& rows, int64_t block, T* to) const {
    const int64_t k = depth(block), steps = g_.a.row_stride == 1 ? copied_steps : k;
    const T* from = a_ + rows.first * g_.a.row_stride + first_k(block) * g_.a.col_stride;
    for (int64_t p = 0; p < k; p += steps)
      for (int64_t t = 0; t < rows.tiles; ++t) {
        const int64_t i = rows.at(t), count = std::min(steps, k - p);
        T* panel = to + (t * k + p) * set_.packed_rows;
        const T* start = from + i * g_.a.row_stride + p * g_.a.col_stride;
        // Where A is transposed, whole vectors are copied quickest: some rows of the next tile do no harm.
        const bool whole = g_.a.row_stride == 1 && i + set_.packed_rows <= rows.count;
        set_.pack_a(count, start, g_.a.row_stride, g_.a.col_stride, panel, whole ? set_.packed_rows : rows.at(t + 1) - i);
      }
  }

  // Brings the elements of B from k0 on, `k` steps and some columns, into a cache.
  void fetch_b(int64_t k0, int64_t k, int64_t first, int64_t columns) const {
    const T* from = b_ + k0 * g_.b.row_stride + first * g_.b.col_stride;
    const bool across = g_.b.col_stride == 1;
    const int64_t lines = across ? k : columns, length = across ? columns : k;
    for (int64_t i = 0; i < lines; ++i)
      for (int64_t j = 0; j < length; j += line_elements)
        __builtin_prefetch(from + i * (across ? g_.b.row_stride : g_.b.col_stride) + j);
  }

  // Panels of B for one block of k, one after another, written by one of the functions for that.
  void pack_b(int64_t first, int64_t last, int64_t block, T* to, Pack<T> write) const {
    const int64_t k0 = first_k(block), k = depth(block), most = g_.b.row_stride == 1 ? pack_run : pack_steps;
    for (int64_t group = first; group < last; group += grouped_) {
      const int64_t end = std::min(last, group + grouped_);
      for (int64_t p = 0, steps; p < k; p += steps) {
        steps = std::min(most, k - p);
        fetch_b(k0 + p + steps, std::min(most, k - p - steps), group * set_.nr,
                std::min(g_.n, end * set_.nr) - group * set_.nr);
        for (int64_t panel = group; panel < end; ++panel)
          write(steps, b_ + (k0 + p) * g_.b.row_stride + panel * set_.nr * g_.b.col_stride, g_.b.col_stride,
                g_.b.row_stride, to + ((panel - first) * k + p) * set_.nr, width(panel));
      }
    }
  }

  // Panels of B in one block of k that a unit packs for itself, while the tiles of the panels before them run: what it packs
  // next is brought into a cache between the tiles before, so that neither waits for memory.
  struct Group {
    int64_t block, first, last;
    int64_t panels() const { return last - first; }
    bool exists() const { return first < last; }
  };
  Group group_at(int64_t block, int64_t panel, int64_t last) const {
    return {block, panel, std::min(last, panel + grouped_)};
  }
  // The group after one of a unit; there may be none.
  Group following(const Group& group, const Unit& unit) const {
    if (group.last < unit.last) return group_at(group.block, group.last, unit.last);
    return group.block + 1 < unit.end ? group_at(group.block + 1, unit.first, unit.last) : Group{};
  }

  // A share (number `share` of `count`) of a group: some steps of k or, where B is transposed, some panels.
  struct Share {
    int64_t k0, k1, first, last;
  };
  Share share_of(const Group& group, int64_t share, int64_t count) const {
    const auto cut = [=](int64_t total, int64_t i) { return total * i / count; };
    const int64_t k = depth(group.block), n = group.panels();
    if (g_.b.row_stride == 1) return {0, k, group.first + cut(n, share), group.first + cut(n, share + 1)};
    return {cut(k, share), cut(k, share + 1), group.first, group.last};
  }
  void pack_share(const Group& group, const Share& share, T* to) const {
    const int64_t k0 = first_k(group.block), k = depth(group.block);
    for (int64_t panel = share.first; panel < share.last; ++panel)
      set_.pack_b(share.k1 - share.k0, b_ + (k0 + share.k0) * g_.b.row_stride + panel * set_.nr * g_.b.col_stride,
                  g_.b.col_stride, g_.b.row_stride, to + ((panel - group.first) * k + share.k0) * set_.nr, width(panel));
  }

  // Memory that is going to be read: runs of some elements, so many elements apart.
  struct Runs {
    const T* from = nullptr;
    int64_t count = 0, apart = 0, length = 0;
    bool exist() const { return count * length > 0; }
    // What of it comes in some of so many turns.
    Runs in(int64_t turn, int64_t end, int64_t turns) const {
      const auto cut = [=](int64_t total, int64_t i) { return total * i / turns; };
      if (count == 1) return {from + cut(length, turn), 1, 0, cut(length, end) - cut(length, turn)};
      return {from + cut(count, turn) * apart, cut(count, end) - cut(count, turn), apart, length};
    }
    int64_t lines() const { return parts(length, line_elements); }  // of a run
  };

  // Memory that is brought into a cache between tiles. Not into the nearest cache, which is full of what the tiles read, and
  // where runs a page apart would compete for few places.
  class Coming {
   public:
    Coming() = default;
    Coming(const Runs& what, int64_t turns)
        : at_(reinterpret_cast<const char*>(what.from)), end_(at_ + what.length * size), stride_(what.apart * size),
          back_(what.lines() * line), left_(what.exist() ? what.count : 0), per_turn_(parts(what.count * what.lines(), turns)) {}
    // One of the turns.
    void some() {
      for (int64_t n = per_turn_; n > 0 && left_ > 0; --n) {
        __builtin_prefetch(at_, 0, 2);
        at_ += line;
        if (at_ >= end_) at_ += stride_ - back_, end_ += stride_, --left_;
      }
    }

   private:
    static constexpr int64_t size = sizeof(T);
    const char *at_ = nullptr, *end_ = nullptr;
    int64_t stride_ = 0, back_ = 0, left_ = 0, per_turn_ = 0;
  };
  Runs runs_of(const Group& group, const Share& share) const {
    const int64_t column = share.first * set_.nr, columns = std::min(g_.n, share.last * set_.nr) - column;
    const int64_t k = share.k1 - share.k0;
    const T* from = b_ + (first_k(group.block) + share.k0) * g_.b.row_stride + column * g_.b.col_stride;
    if (g_.b.row_stride == 1) return {from, columns, g_.b.col_stride, k};
    return {from, k, g_.b.row_stride, columns};
  }

  // Panels that are packed by the first tiles that read them: has a unit's first come near, all at once, and tells what comes
  // while a panel's tiles run: part of the group after its own, of at most twice as many panels; at last, the next unit's first.
  Runs come_ahead(Group& group, Group& next, int64_t block, int64_t panel, const Unit& unit) const {
    if (group.block != block || panel >= group.last) {
      group = next;
      if (!group.exists()) {
        group = {block, panel, panel + 1};
        fetch_b(first_k(block), depth(block), panel * set_.nr, width(panel));
      }
      next = following(group, unit);
      if (next.exists()) next.last = std::min(next.last, next.first + 2 * group.panels());
      else if (unit.last < panels_) next = {unit.block, unit.last, unit.last + 1};
    }
    if (!next.exists()) return {};
    return runs_of(next, share_of(next, panel - group.first, group.panels()));
  }

  // The packed panel that a unit reads after one: nothing after the last.
  Runs panel_after(const T* right, int64_t block, int64_t panel, int64_t first, int64_t last, int64_t end) const {
    if (panel + 1 < last) return {right + depth(block) * set_.nr, 1, 0, depth(block) * set_.nr};
    if (block + 1 == end) return {};
    return {right + packed_at(first, block + 1) - packed_at(panel, block), 1, 0, depth(block + 1) * set_.nr};
  }

  // The rows of A that are packed after those of a block of a unit, which runs one part of k: of its next block or, after the
  // last, of the next rows' unit.
  Runs rows_after(int64_t row_unit, int64_t part, int64_t block) const {
    if (++block == first_block(part + 1)) {
      if (++row_unit == row_units_) return {};
      block = first_block(part);
    }
    const Rows rows = rows_of(row_unit);
    const T* from = a_ + rows.first * g_.a.row_stride + first_k(block) * g_.a.col_stride;
    if (g_.a.row_stride == 1) return {from, depth(block), g_.a.col_stride, rows.count};
    return {from, rows.count, g_.a.row_stride, depth(block)};
  }

  T* shared_a(int64_t row_unit, int64_t block) const {
    return shared_a_ + (row_unit * blocks_ + block) * a_unit_;
  }
  // Where a panel is among all of B packed.
  int64_t packed_at(int64_t panel, int64_t block) const {
    return (first_k(block) * panels_ + panel * depth(block)) * set_.nr;
  }

  void pack(int64_t task) const {
    const int64_t block = task % blocks_;
    if (task < a_tasks_) {
      pack_a(rows_of(task / blocks_), block, shared_a(task / blocks_, block));
      return;
    }
    const int64_t first = (task - a_tasks_) / blocks_ * grouped_;
    pack_b(first, std::min(panels_, first + grouped_), block, shared_b_ + packed_at(first, block), pack_shared_b_);
  }

  // Tasks that all threads share, each of which waits until all are done or the product is given up.
  template <class Task>
  void together(int64_t tasks, std::atomic<int64_t>& next, std::atomic<int64_t>& done, Task task) {
    if (!tasks) return;
    for (int64_t t; !stop_.asked() && (t = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
      task(t);
      done.fetch_add(1, std::memory_order_release);
    }
    for (int64_t waited = 0; done.load(std::memory_order_acquire) < tasks && !stop_.stopped(); ++waited)
      if (waited > 1000) std::this_thread::yield();
  }

  // One thread's part.
  void work(int64_t slot) {
    if (slot + 1 == threads_) epilogue_.aside();
    const int64_t tasks = a_tasks_ + b_tasks_;
    together(row_tasks_, next_rows_, prepared_,
             [this](int64_t t) { prologue_.rows(g_.m * t / row_tasks_, g_.m * (t + 1) / row_tasks_); });
    together(tasks, next_task_, packed_, [this](int64_t t) { pack(t); });
    shares_.take(slot, stop_, [&](int64_t number) { unit(number, slot); });
    // Then parts of those that still run.
    for (int64_t i = 1; divisible_ && i < threads_ && !stop_.stopped(); ++i)
      if (Unit found = half_of(slots_[static_cast<size_t>((slot + i) % threads_)]); found.panel < found.last)
        run(found, slot), i = 0;
  }

  // Takes half of what is left to do of the unit that a thread runs: its last panels. An empty unit, if that is too little.
  Unit half_of(Slot& slot) {
    std::lock_guard lock(slot.mutex);
    Unit& unit = slot.running;
    if (unit.panel >= unit.last) return {};
    const int64_t blocks = unit.end - unit.block, width = unit.last - unit.first;
    const int64_t left = unit.last - unit.panel + (blocks - 1) * width;
    const int64_t half = std::min(left / (2 * blocks), unit.last - unit.panel);
    if (half < (a_mode_ == Mode::by_unit ? packed_panels : 1)) return {};
    unit.last -= half;
    if (unfinished_) unfinished_[static_cast<size_t>(unit.row_unit)].fetch_add(1, std::memory_order_relaxed);
    return {unit.part, unit.row_unit, unit.last, unit.last + half, unit.block, unit.end, unit.last};
  }

  // Says that a panel of the unit that a thread runs is begun, if it is still that thread's: before which panel they end.
  int64_t begin_panel(Slot& slot, int64_t block, int64_t panel) {
    std::lock_guard lock(slot.mutex);
    slot.running.block = block, slot.running.panel = panel + 1;
    return slot.running.last;
  }

  // Sees to it that a thread has packed a panel of B for itself: one by one where B does not stay near, so that tiles find there
  // what has just been packed; else all of a block, in longer runs of lines.
  void pack_own(int64_t slot, int64_t block, int64_t panel, T* to) {
    char* const packed = own_packed_.data() + slot * own_marks() + block * panels_;
    if (packed[panel]) return;
    const int64_t first = far_b_ ? panel : 0, last = far_b_ ? panel + 1 : panels_;
    pack_b(first, last, block, to + packed_at(first, block), set_.pack_b);
    std::fill(packed + first, packed + last, true);
  }
  // Marks of a thread: those of different threads are not in one cache line.
  int64_t own_marks() const { return parts(blocks_ * panels_, line) * line + line; }

  T* own(int64_t slot) const { return own_ + slot * (own_a_ + own_b_); }

  void unit(int64_t number, int64_t slot) {
    const int64_t part = number / (row_units_ * column_units_), in_part = number % (row_units_ * column_units_);
    // Each part begins with other rows, so that the threads, of which each has a part, finish some rows each.
    const int64_t row_unit = (in_part / column_units_ + part * row_units_ / k_parts_) % row_units_;
    const int64_t first = panel_of(in_part % column_units_), last = panel_of(in_part % column_units_ + 1);
    if (!row_tasks_) prologue_.rows(row_of(row_unit), row_of(row_unit + 1));
    run({part, row_unit, first, last, first_block(part), first_block(part + 1), first}, slot);
  }

  void run(const Unit& unit, int64_t slot) {
    const int64_t part = unit.part, row_unit = unit.row_unit, first = unit.first, end = unit.end;
    int64_t last = unit.last;
    const Rows rows = rows_of(row_unit);
    Slot* const mine = divisible_ ? &slots_[static_cast<size_t>(slot)] : nullptr;
    if (divisible_) {
      std::lock_guard lock(mine->mutex);
      mine->running = unit;
    }
    T* const own_a = own_ ? own(slot) : nullptr;
    T* const own_b = own_a + own_a_;
    T *packed = own_b, *packing = own_b + own_b_ / 2;
    Group group{}, next{};
    for (int64_t block = unit.block; block < end; ++block) {
      const int64_t k = depth(block);
      const Sums out = sums_of(part, block);
      const bool a_packed = a_mode_ != Mode::in_place, b_packed = b_mode_ != Mode::in_place;
      const T* left = a_ + rows.first * g_.a.row_stride + first_k(block) * g_.a.col_stride;
      if (a_mode_ == Mode::by_unit) pack_a(rows, block, own_a);
      if (a_packed) left = a_mode_ == Mode::shared ? shared_a(row_unit, block) : own_a;
      const int64_t a_row = a_packed ? 1 : g_.a.row_stride, a_k = a_packed ? set_.packed_rows : g_.a.col_stride;
      const int64_t b_row = g_.b.row_stride, b_k = b_packed ? set_.nr : b_row;
      for (int64_t panel = first; panel < last; ++panel) {
        if (divisible_ && panel >= (last = begin_panel(*mine, block, panel))) break;
        const int64_t in_group = (panel - first) % grouped_;
        if (in_group == 0 && stop_.asked()) return;
        Runs next_a, next_b;
        if (const int64_t from = std::max(first, last - fetched_panels); a_mode_ == Mode::by_unit && panel >= from)
          next_a = rows_after(row_unit, part, block).in(panel - from, panel - from + 1, last - from);
        if (b_mode_ == Mode::by_unit && opens_) {
          next_b = come_ahead(group, next, block, panel, unit);
          if (width(panel) < set_.nr) pack_b(panel, panel + 1, block, own_b, set_.pack_b);
        } else if (b_mode_ == Mode::by_unit) {
          if (in_group == 0) {
            group = group_at(block, panel, last);
            if (!next.exists()) pack_b(group.first, group.last, block, packed, set_.pack_b);
            else std::swap(packed, packing);
            next = following(group, unit);
          }
          const int64_t count = group.panels();
          if (next.exists()) {
            pack_share(next, share_of(next, in_group, count), packing);
            if (in_group + 1 < count) {
              next_b = runs_of(next, share_of(next, in_group + 1, count));
            } else if (const Group third = following(next, unit); third.exists()) {
              next_b = runs_of(third, share_of(third, 0, next.panels()));
            }
          }
        }
        if (b_mode_ == Mode::own) pack_own(slot, block, panel, own_b);
        const T* right = b_mode_ == Mode::in_place ? b_ + first_k(block) * g_.b.row_stride + panel * set_.nr
                         : b_mode_ == Mode::shared ? shared_b_ + packed_at(panel, block)
                         : b_mode_ == Mode::own    ? own_b + packed_at(panel, block)
                         : opens_                  ? own_b
                                                   : packed + in_group * k * set_.nr;
        if (far_b_) next_b = panel_after(right, block, panel, first, last, end);
        if (rows.full && b_packed && width(panel) == set_.nr && out.col_stride == 1) {
          if (opens_)
            set_.opening(k, first_, left, b_ + first_k(block) * b_row + panel * set_.nr, b_row, own_b, at(rows.first, panel, out),
                         out.row_stride, out.add);
          full_tiles(rows, opens_ ? 1 : 0, k, left, right, panel, out, next_a, next_b);
          continue;
        }
        // A panel of few columns is best run in higher tiles, unless A is packed for those of the others.
        const bool tall = !a_packed && width(panel) <= set_.narrow;
        if (!tall && !rows.full && out.col_stride == 1 && !next_a.exist() && !next_b.exist()) {
          set_.stack(rows.count, rows.tiles, width(panel), k, first_, left, a_row, a_k, a_packed ? k * set_.packed_rows : 0, right, b_k,
                     at(rows.first, panel, out), out.row_stride, out.add);
          continue;
        }
        Coming later_a(next_a, rows.tiles), later_b(next_b, rows.tiles);
        for (int64_t t = 0, i = 0, height; i < rows.count; ++t, i += height) {
          later_a.some();
          later_b.some();
          height = tall ? set_.next_height(rows.count - i) : rows.at(t + 1) - i;
          const T* from = left + (a_packed ? t * k * set_.packed_rows : i * a_row);
          set_.run(height, width(panel), k, first_, from, a_row, a_k, right, b_k, at(rows.first + i, panel, out), out.row_stride,
                   out.col_stride, out.add);
        }
      }
    }
    if (k_parts_ > 1) {
      if (unfinished_[static_cast<size_t>(row_unit)].fetch_sub(1, std::memory_order_acq_rel) > 1) return;
      add_sums(rows);
      epilogue_.rows(rows.first, rows.first + rows.count);
      return;
    }
    if (!epilogue_) return;
    if (!epilogue_.whole_rows())
      epilogue_.block(rows.first, rows.first + rows.count, first * set_.nr, std::min(g_.n, last * set_.nr));
    else if (!unfinished_ || unfinished_[static_cast<size_t>(row_unit)].fetch_sub(1, std::memory_order_acq_rel) == 1)
      epilogue_.rows(rows.first, rows.first + rows.count);
  }

  // Where the sums of a block of k go: into C while all blocks before are in it, else into memory of their own.
  struct Sums {
    T* data;
    int64_t row_stride, col_stride;
    bool add;
  };
  Sums sums_of(int64_t part, int64_t block) const {
    if (part == 0) return {c_, g_.c.row_stride, g_.c.col_stride, block > 0};
    return {sums_ + (block - first_block(1)) * g_.m * g_.n, g_.n, 1, false};
  }

  // A unit's tiles for one packed panel of B, but for those before `begun`: while the first few full ones run, rows of A come,
  // while the others do, columns of B. Each is one call, which takes some time to begin.
  void full_tiles(const Rows& rows, int64_t begun, int64_t k, const T* left, const T* right, int64_t panel, const Sums& out,
                  const Runs& next_a, const Runs& next_b) const {
    const int64_t apart = k * set_.packed_rows;
    T* const to = at(rows.first, panel, out);
    const auto some = [&](int64_t first, int64_t end, const Runs& next) {
      if (first == end) return;
      // Where nothing comes, something that is mapped: it is looked up nevertheless.
      const Runs now = next.exist() ? next : Runs{right};
      set_.column(k, first_, end - first, left + first * apart, right, to + first * set_.mr * out.row_stride, out.row_stride, out.add,
                  now.from, now.lines(), now.count, now.apart * static_cast<int64_t>(sizeof(T)));
    };
    const int64_t cut = std::min(begun + parts(steps_per_line * next_a.count * next_a.lines(), k), rows.full - (next_b.exist() ? 1 : 0));
    some(begun, cut, next_a);
    some(cut, rows.full, next_b);
    if (const int64_t i = rows.full * set_.mr; i < rows.count)
      set_.run(rows.count - i, set_.nr, k, first_, left + rows.full * apart, 1, set_.packed_rows, right, set_.nr,
               to + i * out.row_stride, out.row_stride, 1, out.add);
  }

  // Adds the sums of the blocks that are not in C, in order.
  void add_sums(const Rows& rows) const {
    for (int64_t i = rows.first; i < rows.first + rows.count; ++i) {
      T* const out = c_ + i * g_.c.row_stride;
      const T* sums = sums_ + i * g_.n;
      for (int64_t block = first_block(1); block < blocks_; ++block, sums += g_.m * g_.n) {
        if (g_.c.col_stride == 1)
          for (int64_t j = 0; j < g_.n; ++j) out[j] += sums[j];
        else
          for (int64_t j = 0; j < g_.n; ++j) out[j * g_.c.col_stride] += sums[j];
      }
    }
  }

  // Where the sums at a row and a panel of columns go.
  T* at(int64_t row, int64_t panel, const Sums& sums) const {
    return sums.data + row * sums.row_stride + panel * set_.nr * sums.col_stride;
  }

  const Gemm& g_;
  const TileSet<T>& set_;
  const T* a_;
  const T* b_;
  T* c_;
  const Prologue& prologue_;
  const Epilogue& epilogue_;
  Spare spare_;  // what is left of it
  Stop stop_;
  int64_t first_ = 0;         // the steps of the first of two chains that one tile runs, if it does
  Chains chains_;             // blocks of k:
  int64_t blocks_, deepest_;  // how many, and the length of the longest
  int64_t panels_, grouped_;  // panels of B, and those packed side by side
  int64_t row_units_ = 1, column_units_ = 1, k_parts_ = 1, threads_ = 1;
  bool whole_tiles_ = false;  // units of rows end where tiles do
  bool followed_ = false;     // units have the few rows of C that an epilogue finds in a cache
  bool divisible_ = false;    // units that run are shared with threads that have nothing else to do
  bool opens_ = false;        // the first tile of a column packs the panel of B that it and the others read
  bool far_b_ = false;        // packed panels of B do not stay in the L2 cache: each is fetched before its turn
  Mode a_mode_ = Mode::in_place, b_mode_ = Mode::in_place;
  Pack<T> pack_shared_b_ = nullptr;
  int64_t a_unit_ = 0;  // elements of one unit's packed rows of A in one block of k
  int64_t own_a_ = 0, own_b_ = 0, a_tasks_ = 0, b_tasks_ = 0;
  T *shared_a_ = nullptr, *shared_b_ = nullptr, *own_ = nullptr, *sums_ = nullptr;
  std::unique_ptr<Block> shared_a_block_, shared_b_block_, own_block_, sums_block_;  // where it is not spare memory
  std::vector<char> own_packed_;  // of each thread, block and panel, whether the thread has packed it for itself
  std::unique_ptr<std::atomic<int64_t>[]> unfinished_;  // of each row of units, those not run yet
  int64_t row_tasks_ = 0;  // of the prologue
  alignas(line) std::atomic<int64_t> next_rows_{0};
  alignas(line) std::atomic<int64_t> prepared_{0};
  alignas(line) std::atomic<int64_t> next_task_{0};
  alignas(line) std::atomic<int64_t> packed_{0};
  std::unique_ptr<Slot[]> slots_;
  Shares shares_;
};

}  // namespace

template <class T>
bool float_product(const Gemm& g, const T* a, const T* b, T* c, bool shared, const Prologue& prologue,
                   const Epilogue& epilogue, const Poll* poll, Spare spare) {
  if (g.m == 0 || g.n == 0) return true;
  if (g.k == 0) {
    prologue.all(shared);
    for (int64_t i = 0; i < g.m; ++i)
      for (int64_t j = 0; j < g.n; ++j) c[i * g.c.row_stride + j * g.c.col_stride] = T{};
    epilogue.all(shared);
    return true;
  }
  const double work = static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k) + prologue.work() +
                      epilogue.work();
  const int64_t threads = shared ? useful_threads(work) : 1;
  return Product<T>(g, a, b, c, prologue, epilogue, spare, threads, work < polled_work ? nullptr : poll).run();
}

template bool float_product<float>(const Gemm&, const float*, const float*, float*, bool, const Prologue&,
                                   const Epilogue&, const Poll*, Spare);
template bool float_product<double>(const Gemm&, const double*, const double*, double*, bool, const Prologue&,
                                    const Epilogue&, const Poll*, Spare);

}  // namespace weft
