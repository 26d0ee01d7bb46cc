// See float.h. C is divided (division.h) into units of some rows by some columns, which threads take one by one. A unit runs all
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
#include <utility>
#include <vector>

#include "base/allocator.h"
#include "base/caches.h"
#include "base/shares.h"
#include "gemm/ahead.h"
#include "gemm/division.h"
#include "gemm/few.h"
#include "gemm/tile.h"
#include "gemm/vectors.h"

namespace weft {
namespace {

constexpr int64_t pack_steps = 16;     // rows of B that are packed before the next panel's turn
constexpr int64_t pack_run = 64;       // the same where B is transposed and a column's part is read in one run
constexpr int64_t fetched_panels = 16;  // of B, in whose tiles the rows of A that are packed next are brought into a cache
constexpr int64_t steps_per_line = 4;  // of k, in which a tile brings a line of A into a cache: more of them wait for each other
constexpr int64_t copied_steps = 8;    // rows of a transposed A of which a tile's part is packed before the next tile's turn
constexpr double divided_work = 1 << 23;  // multiply-adds of a product from which on units that run are divided
constexpr int64_t packed_panels = 4;   // for which packing A once more is worth it

template <class T>
class Product {
 public:
  Product(const Gemm& g, const T* a, const T* b, T* c, const Prologue& prologue, const Epilogue& epilogue, Spare spare,
          int64_t threads, const Poll* poll)
      : g_(g), set_(*tile_set<T>()), d_(g, TileSizes::of(set_, second_cache_bytes()), threads, static_cast<bool>(epilogue)), a_(a),
        b_(b), c_(c), prologue_(prologue), epilogue_(epilogue), spare_(spare), stop_(poll) {
    const auto elements = [](auto... sizes) {
      int64_t product = sizeof(T);
      bool large = false;
      ((large = __builtin_mul_overflow(product, static_cast<int64_t>(sizes), &product) || large), ...);
      if (large) throw std::bad_alloc();
      return static_cast<size_t>(product);
    };
    a_unit_ = d_.unit_tiles() * set_.packed_rows * d_.deepest;
    // What is packed of B begins with a line, too.
    own_a_ = d_.a == Reading::by_unit ? rounded_up(a_unit_, line_elements<T>) : 0;
    if (d_.a == Reading::shared) shared_a_ = memory(elements(a_unit_, d_.blocks, d_.row_units), shared_a_block_);
    if (d_.b == Reading::shared) shared_b_ = memory(elements(d_.panels, set_.nr, g.k), shared_b_block_);
    pack_shared_b_ = d_.streams && reinterpret_cast<uintptr_t>(shared_b_) % line_bytes == 0 ? set_.stream_b : set_.pack_b;
    if (d_.b == Reading::own) own_b_ = d_.panels * set_.nr * g.k, own_packed_.resize(static_cast<size_t>(d_.threads * own_marks()));
    if (d_.b == Reading::by_unit) {
      // One panel, if tiles pack it; else a group of them and, if there is one, the group after it.
      const int64_t in_unit = parts(d_.panels, d_.column_units), at_once = std::min(d_.grouped, in_unit);
      own_b_ = d_.opens ? set_.nr * d_.deepest : (at_once < in_unit || d_.blocks > 1 ? 2 : 1) * at_once * set_.nr * d_.deepest;
    }
    if (own_a_ + own_b_) own_ = memory(elements(own_a_ + own_b_, d_.threads), own_block_);
    if (d_.k_parts > 1) sums_ = memory(elements(d_.blocks - d_.first_block(1), g.m, g.n), sums_block_);
    divisible_ = d_.threads > 1 && d_.k_parts == 1 && !d_.followed && (d_.b != Reading::by_unit || d_.opens) &&
                 multiply_adds(g) >= divided_work;
    if (divisible_) slots_ = std::make_unique<Slot[]>(static_cast<size_t>(d_.threads));
    shares_.begin(d_.units(), d_.threads);
    a_tasks_ = d_.a == Reading::shared ? d_.blocks * d_.row_units : 0;
    b_tasks_ = d_.b == Reading::shared ? d_.blocks * parts(d_.panels, d_.grouped) : 0;
    // Rows that several units read are made by all threads before; those of one unit by that unit.
    if (prologue_ && d_.column_units * d_.k_parts > 1) row_tasks_ = std::min(g.m, d_.threads * units_per_thread);
    if (d_.k_parts > 1 || (epilogue_.whole_rows() && (d_.column_units > 1 || divisible_)))
      unfinished_.begin(d_.row_units, d_.column_units * d_.k_parts);
  }

  // False: interrupted.
  bool run() {
    const auto chunk = [](void* context, int64_t begin, int64_t end) {
      for (int64_t slot = begin; slot < end; ++slot) static_cast<Product*>(context)->work(slot);
    };
    parallel_for(d_.threads, 1, chunk, this);
    return !stop_.stopped();
  }

 private:
  // A unit, or what is left of it: some rows by the panels [first, last) of B in the blocks [block, end) of k. Of the first of
  // these blocks, the panels before `panel` have begun.
  struct Unit {
    int64_t part, row_unit, first, last, block, end, panel;
  };

  // The unit that each thread runs.
  struct alignas(line_bytes) Slot {
    std::mutex mutex;
    Unit running{};
  };

  // Memory to pack into: of what is spare, else new.
  T* memory(size_t nbytes, std::unique_ptr<Block>& block) {
    const int64_t taken = rounded_up(static_cast<int64_t>(nbytes), line_bytes);
    if (taken > spare_.nbytes) {
      block = std::make_unique<Block>(nbytes);
      return static_cast<T*>(block->data());
    }
    T* found = reinterpret_cast<T*>(spare_.data);
    spare_ = {spare_.data + taken, spare_.nbytes - taken};
    return found;
  }

  // The tiles' rows of A for one block of k, one after another.
  void pack_a(const UnitRows& rows, int64_t block, T* to) const {
    const int64_t k = d_.depth(block), steps = g_.a.row_stride == 1 ? copied_steps : k;
    const T* from = a_ + rows.first * g_.a.row_stride + d_.first_k(block) * g_.a.col_stride;
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
      for (int64_t j = 0; j < length; j += line_elements<T>)
        __builtin_prefetch(from + i * (across ? g_.b.row_stride : g_.b.col_stride) + j);
  }

  // Panels of B for one block of k, one after another, written by one of the functions for that.
  void pack_b(int64_t first, int64_t last, int64_t block, T* to, Pack<T> write) const {
    const int64_t k0 = d_.first_k(block), k = d_.depth(block), most = g_.b.row_stride == 1 ? pack_run : pack_steps;
    for (int64_t group = first; group < last; group += d_.grouped) {
      const int64_t end = std::min(last, group + d_.grouped);
      for (int64_t p = 0, steps; p < k; p += steps) {
        steps = std::min(most, k - p);
        fetch_b(k0 + p + steps, std::min(most, k - p - steps), group * set_.nr,
                std::min(g_.n, end * set_.nr) - group * set_.nr);
        for (int64_t panel = group; panel < end; ++panel)
          write(steps, b_ + (k0 + p) * g_.b.row_stride + panel * set_.nr * g_.b.col_stride, g_.b.col_stride,
                g_.b.row_stride, to + ((panel - first) * k + p) * set_.nr, d_.width(panel));
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
    return {block, panel, std::min(last, panel + d_.grouped)};
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
    const int64_t k = d_.depth(group.block), n = group.panels();
    if (g_.b.row_stride == 1) return {0, k, group.first + cut(n, share), group.first + cut(n, share + 1)};
    return {cut(k, share), cut(k, share + 1), group.first, group.last};
  }
  void pack_share(const Group& group, const Share& share, T* to) const {
    const int64_t k0 = d_.first_k(group.block), k = d_.depth(group.block);
    for (int64_t panel = share.first; panel < share.last; ++panel)
      set_.pack_b(share.k1 - share.k0, b_ + (k0 + share.k0) * g_.b.row_stride + panel * set_.nr * g_.b.col_stride,
                  g_.b.col_stride, g_.b.row_stride, to + ((panel - group.first) * k + share.k0) * set_.nr, d_.width(panel));
  }

  Runs<T> runs_of(const Group& group, const Share& share) const {
    const int64_t column = share.first * set_.nr, columns = std::min(g_.n, share.last * set_.nr) - column;
    const int64_t k = share.k1 - share.k0;
    const T* from = b_ + (d_.first_k(group.block) + share.k0) * g_.b.row_stride + column * g_.b.col_stride;
    if (g_.b.row_stride == 1) return {from, columns, g_.b.col_stride, k};
    return {from, k, g_.b.row_stride, columns};
  }

  // Panels that are packed by the first tiles that read them: has a unit's first come near, all at once, and tells what comes
  // while a panel's tiles run: part of the group after its own, of at most twice as many panels; at last, the next unit's first.
  Runs<T> come_ahead(Group& group, Group& next, int64_t block, int64_t panel, const Unit& unit) const {
    if (group.block != block || panel >= group.last) {
      group = next;
      if (!group.exists()) {
        group = {block, panel, panel + 1};
        fetch_b(d_.first_k(block), d_.depth(block), panel * set_.nr, d_.width(panel));
      }
      next = following(group, unit);
      if (next.exists()) next.last = std::min(next.last, next.first + 2 * group.panels());
      else if (unit.last < d_.panels) next = {unit.block, unit.last, unit.last + 1};
    }
    if (!next.exists()) return {};
    return runs_of(next, share_of(next, panel - group.first, group.panels()));
  }

  // The packed panel that a unit reads after one: nothing after the last.
  Runs<T> panel_after(const T* right, int64_t block, int64_t panel, int64_t first, int64_t last, int64_t end) const {
    if (panel + 1 < last) return {right + d_.depth(block) * set_.nr, 1, 0, d_.depth(block) * set_.nr};
    if (block + 1 == end) return {};
    return {right + packed_at(first, block + 1) - packed_at(panel, block), 1, 0, d_.depth(block + 1) * set_.nr};
  }

  // The rows of A that are packed after those of a block of a unit, which runs one part of k: of its next block or, after the
  // last, of the next rows' unit.
  Runs<T> rows_after(int64_t row_unit, int64_t part, int64_t block) const {
    if (++block == d_.first_block(part + 1)) {
      if (++row_unit == d_.row_units) return {};
      block = d_.first_block(part);
    }
    const UnitRows rows = d_.rows_of(row_unit);
    const T* from = a_ + rows.first * g_.a.row_stride + d_.first_k(block) * g_.a.col_stride;
    if (g_.a.row_stride == 1) return {from, d_.depth(block), g_.a.col_stride, rows.count};
    return {from, rows.count, g_.a.row_stride, d_.depth(block)};
  }

  T* shared_a(int64_t row_unit, int64_t block) const {
    return shared_a_ + (row_unit * d_.blocks + block) * a_unit_;
  }
  // Where a panel is among all of B packed.
  int64_t packed_at(int64_t panel, int64_t block) const {
    return (d_.first_k(block) * d_.panels + panel * d_.depth(block)) * set_.nr;
  }

  void pack(int64_t task) const {
    const int64_t block = task % d_.blocks;
    if (task < a_tasks_) {
      pack_a(d_.rows_of(task / d_.blocks), block, shared_a(task / d_.blocks, block));
      return;
    }
    const int64_t first = (task - a_tasks_) / d_.blocks * d_.grouped;
    pack_b(first, std::min(d_.panels, first + d_.grouped), block, shared_b_ + packed_at(first, block), pack_shared_b_);
  }

  // Tasks that all threads share, each of which waits until all are done or the product is given up.
  template <class Task>
  void together(int64_t count, Tasks& tasks, Task task) {
    if (!count) return;
    tasks.some(count, stop_, task);
    tasks.wait(count, stop_);
  }

  // One thread's part.
  void work(int64_t slot) {
    if (slot + 1 == d_.threads) epilogue_.aside();
    together(row_tasks_, preparing_,
             [this](int64_t t) { prologue_.rows(g_.m * t / row_tasks_, g_.m * (t + 1) / row_tasks_); });
    together(a_tasks_ + b_tasks_, packing_, [this](int64_t t) { pack(t); });
    shares_.take(slot, stop_, [&](int64_t number) { unit(number, slot); });
    if (d_.k_parts > 1) finish_rows(slot);
    // Then parts of those that still run.
    for (int64_t i = 1; divisible_ && i < d_.threads && !stop_.stopped(); ++i)
      if (Unit found = half_of(slots_[static_cast<size_t>((slot + i) % d_.threads)]); found.panel < found.last)
        run(found, slot), i = 0;
  }

  // Where threads share k: the sums of rows of which all parts are made, and what follows. By whoever has made its parts first, since one
  // thread may be slower than the others for a while; each begins with the rows that it has made last.
  void finish_rows(int64_t slot) {
    const int64_t last = row_unit_of(d_.units() * (slot + 1) / d_.threads - 1);
    for (int64_t left = d_.row_units, waited = 0; left > 0 && !stop_.stopped(); ++waited) {
      left = 0;
      for (int64_t i = 0; i < d_.row_units; ++i) {
        const int64_t row_unit = (last - i + d_.row_units) % d_.row_units;
        if (unfinished_.some_left(row_unit)) {
          ++left;
        } else if (unfinished_.claim(row_unit)) {
          const UnitRows rows = d_.rows_of(row_unit);
          add_sums(rows);
          epilogue_.rows(rows.first, rows.first + rows.count);
        }
      }
      if (waited > 1000) std::this_thread::yield();
    }
  }

  // Takes half of what is left to do of the unit that a thread runs: its last panels. An empty unit, if that is too little.
  Unit half_of(Slot& slot) {
    std::lock_guard lock(slot.mutex);
    Unit& unit = slot.running;
    if (unit.panel >= unit.last) return {};
    const int64_t blocks = unit.end - unit.block, width = unit.last - unit.first;
    const int64_t left = unit.last - unit.panel + (blocks - 1) * width;
    const int64_t half = std::min(left / (2 * blocks), unit.last - unit.panel);
    if (half < (d_.a == Reading::by_unit ? packed_panels : 1)) return {};
    unit.last -= half;
    if (unfinished_) unfinished_.add(unit.row_unit);
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
    char* const packed = own_packed_.data() + slot * own_marks() + block * d_.panels;
    if (packed[panel]) return;
    const int64_t first = d_.far_b ? panel : 0, last = d_.far_b ? panel + 1 : d_.panels;
    pack_b(first, last, block, to + packed_at(first, block), set_.pack_b);
    std::fill(packed + first, packed + last, true);
  }
  // Marks of a thread: those of different threads are not in one cache line.
  int64_t own_marks() const { return rounded_up(d_.blocks * d_.panels, line_bytes) + line_bytes; }

  T* own(int64_t slot) const { return own_ + slot * (own_a_ + own_b_); }

  // Each part of k begins with other rows, so that the threads, of which each has a part, have made other rows last.
  int64_t row_unit_of(int64_t number) const {
    const int64_t part = number / (d_.row_units * d_.column_units), in_part = number % (d_.row_units * d_.column_units);
    return (in_part / d_.column_units + part * d_.row_units / d_.k_parts) % d_.row_units;
  }

  void unit(int64_t number, int64_t slot) {
    const int64_t part = number / (d_.row_units * d_.column_units), column_unit = number % d_.column_units, row_unit = row_unit_of(number);
    const int64_t first = d_.panel_of(column_unit), last = d_.panel_of(column_unit + 1);
    if (!row_tasks_) prologue_.rows(d_.row_of(row_unit), d_.row_of(row_unit + 1));
    run({part, row_unit, first, last, d_.first_block(part), d_.first_block(part + 1), first}, slot);
  }

  void run(const Unit& unit, int64_t slot) {
    const int64_t part = unit.part, row_unit = unit.row_unit, first = unit.first, end = unit.end;
    int64_t last = unit.last;
    const UnitRows rows = d_.rows_of(row_unit);
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
      const int64_t k = d_.depth(block);
      const Sums out = sums_of(part, block);
      const bool a_packed = d_.a != Reading::in_place, b_packed = d_.b != Reading::in_place;
      const T* left = a_ + rows.first * g_.a.row_stride + d_.first_k(block) * g_.a.col_stride;
      if (d_.a == Reading::by_unit) pack_a(rows, block, own_a);
      if (a_packed) left = d_.a == Reading::shared ? shared_a(row_unit, block) : own_a;
      const int64_t a_row = a_packed ? 1 : g_.a.row_stride, a_k = a_packed ? set_.packed_rows : g_.a.col_stride;
      const int64_t b_row = g_.b.row_stride, b_k = b_packed ? set_.nr : b_row;
      for (int64_t panel = first; panel < last; ++panel) {
        if (divisible_ && panel >= (last = begin_panel(*mine, block, panel))) break;
        const int64_t in_group = (panel - first) % d_.grouped;
        if (in_group == 0 && stop_.asked()) return;
        Runs<T> next_a, next_b;
        if (const int64_t from = std::max(first, last - fetched_panels); d_.a == Reading::by_unit && panel >= from)
          next_a = rows_after(row_unit, part, block).in(panel - from, panel - from + 1, last - from);
        if (d_.b == Reading::by_unit && d_.opens) {
          next_b = come_ahead(group, next, block, panel, unit);
          if (d_.width(panel) < set_.nr) pack_b(panel, panel + 1, block, own_b, set_.pack_b);
        } else if (d_.b == Reading::by_unit) {
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
        if (d_.b == Reading::own) pack_own(slot, block, panel, own_b);
        const T* right = d_.b == Reading::in_place ? b_ + d_.first_k(block) * g_.b.row_stride + d_.column_of(panel)
                         : d_.b == Reading::shared ? shared_b_ + packed_at(panel, block)
                         : d_.b == Reading::own    ? own_b + packed_at(panel, block)
                         : d_.opens                  ? own_b
                                                   : packed + in_group * k * set_.nr;
        if (d_.far_b) next_b = panel_after(right, block, panel, first, last, end);
        const int64_t stray = strays(panel, rows, out), width = d_.width(panel) - stray;
        if (stray) make_strays(stray, rows, block, right + width, b_k, at(rows.first, panel, out) + width, out);
        if (!width) continue;
        if (rows.full && b_packed && width == set_.nr && out.col_stride == 1) {
          if (d_.opens)
            set_.opening(k, d_.two_chains, left, b_ + d_.first_k(block) * b_row + panel * set_.nr, b_row, own_b, at(rows.first, panel, out),
                         out.row_stride, out.add);
          full_tiles(rows, d_.opens ? 1 : 0, k, left, right, panel, out, next_a, next_b);
          continue;
        }
        // A panel of few columns is best run in higher tiles, unless A is packed for those of the others.
        const bool tall = !a_packed && width <= set_.narrow;
        if (!tall && !rows.full && out.col_stride == 1 && !next_a.exist() && !next_b.exist()) {
          set_.stack(rows.count, rows.tiles, width, k, d_.two_chains, left, a_row, a_k, a_packed ? k * set_.packed_rows : 0, right, b_k,
                     at(rows.first, panel, out), out.row_stride, out.add);
          continue;
        }
        Coming later_a(next_a, rows.tiles), later_b(next_b, rows.tiles);
        for (int64_t t = 0, i = 0, height; i < rows.count; ++t, i += height) {
          later_a.some();
          later_b.some();
          height = tall ? set_.next_height(rows.count - i) : rows.at(t + 1) - i;
          const T* from = left + (a_packed ? t * k * set_.packed_rows : i * a_row);
          set_.run(height, width, k, d_.two_chains, from, a_row, a_k, right, b_k, at(rows.first + i, panel, out), out.row_stride,
                   out.col_stride, out.add);
        }
      }
    }
    if (d_.k_parts > 1)
      unfinished_.done(row_unit);
    else if (epilogue_ && !epilogue_.whole_rows())
      epilogue_.block(rows.first, rows.first + rows.count, d_.column_of(first), d_.column_of(last));
    else if (epilogue_ && (!unfinished_ || unfinished_.done(row_unit)))
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
    return {sums_ + (block - d_.first_block(1)) * g_.m * g_.n, g_.n, 1, false};
  }

  // The last columns of a panel, if they fill so little of a vector that they are sooner made as rows: A's columns, or some rows turned
  // while they are loaded, are the vectors then.
  int64_t strays(int64_t panel, const UnitRows& rows, const Sums& out) const {
    const int64_t lanes = set_.lanes();
    if (out.col_stride != 1 || (g_.a.col_stride != 1 && g_.a.row_stride != 1)) return 0;
    const int64_t most = g_.a.col_stride == 1 ? lanes / 4 : std::min<int64_t>(lanes / 2, set_.mr);
    return stray_columns(d_.width(panel), lanes, most, rows.count, g_.k);
  }

  // Makes so many columns of a unit's rows, of which `right` is the first in B and `to` in C.
  void make_strays(int64_t count, const UnitRows& rows, int64_t block, const T* right, int64_t b_k, T* to, const Sums& out) const {
    const int64_t k = d_.depth(block);
    const T* const left = a_ + rows.first * g_.a.row_stride + d_.first_k(block) * g_.a.col_stride;
    if (g_.a.col_stride == 1) {
      const int64_t first = d_.two_chains ? d_.two_chains : k, row = g_.a.row_stride;
      const auto make = few_row_kernels<T>().of_rows[count - 1];
      if (!out.add) return make({rows.count, k, first, k - first + 1, right, b_k, left, row, to, 1, out.row_stride});
      T sums[line_elements<T> * most_tile_columns];
      for (int64_t i = 0; i < rows.count; i += most_tile_columns) {
        const int64_t some = std::min<int64_t>(most_tile_columns, rows.count - i);
        make({some, k, first, k - first + 1, right, b_k, left + i * row, row, sums, 1, count});
        for (int64_t r = 0; r < some; ++r)
          for (int64_t j = 0; j < count; ++j) to[(i + r) * out.row_stride + j] += sums[r * count + j];
      }
      return;
    }
    for (int64_t i = 0; i < rows.count; i += set_.nr)
      set_.run(count, std::min<int64_t>(set_.nr, rows.count - i), k, d_.two_chains, right, 1, b_k, left + i, g_.a.col_stride,
               to + i * out.row_stride, 1, out.row_stride, out.add);
  }

  // A unit's tiles for one packed panel of B, but for those before `begun`: while the first few full ones run, rows of A come,
  // while the others do, columns of B. Each is one call, which takes some time to begin.
  void full_tiles(const UnitRows& rows, int64_t begun, int64_t k, const T* left, const T* right, int64_t panel, const Sums& out,
                  const Runs<T>& next_a, const Runs<T>& next_b) const {
    const int64_t apart = k * set_.packed_rows;
    T* const to = at(rows.first, panel, out);
    const auto some = [&](int64_t first, int64_t end, const Runs<T>& next) {
      if (first == end) return;
      // Where nothing comes, something that is mapped: it is looked up nevertheless.
      const Runs<T> now = next.exist() ? next : Runs<T>{right};
      set_.column(k, d_.two_chains, end - first, left + first * apart, right, to + first * set_.mr * out.row_stride, out.row_stride, out.add,
                  now.from, now.lines(), now.count, now.apart * static_cast<int64_t>(sizeof(T)));
    };
    const int64_t cut = std::min(begun + parts(steps_per_line * next_a.count * next_a.lines(), k), rows.full - (next_b.exist() ? 1 : 0));
    some(begun, cut, next_a);
    some(cut, rows.full, next_b);
    if (const int64_t i = rows.full * set_.mr; i < rows.count)
      set_.run(rows.count - i, set_.nr, k, d_.two_chains, left + rows.full * apart, 1, set_.packed_rows, right, set_.nr,
               to + i * out.row_stride, out.row_stride, 1, out.add);
  }

  // Adds the sums of the blocks that are not in C, in order: a line of C at a time.
  void add_sums(const UnitRows& rows) const {
    constexpr int64_t most = line_elements<T>;
    const int64_t blocks = d_.blocks - d_.first_block(1), apart = g_.m * g_.n;
    for (int64_t i = rows.first; i < rows.first + rows.count; ++i)
      for (int64_t j = 0; j < g_.n; j += most) {
        const int64_t count = std::min(most, g_.n - j);
        T* const out = c_ + i * g_.c.row_stride + j * g_.c.col_stride;
        const T* const sums = sums_ + i * g_.n + j;
        if (count == most && g_.c.col_stride == 1) {
          T line[most];
          std::copy_n(out, most, line);
          for (int64_t block = 0; block < blocks; ++block)
            for (int64_t l = 0; l < most; ++l) line[l] += sums[block * apart + l];
          std::copy_n(line, most, out);
        } else {
          for (int64_t l = 0; l < count; ++l)
            for (int64_t block = 0; block < blocks; ++block) out[l * g_.c.col_stride] += sums[block * apart + l];
        }
      }
  }

  // Where the sums at a row and a panel of columns go.
  T* at(int64_t row, int64_t panel, const Sums& sums) const {
    return sums.data + row * sums.row_stride + d_.column_of(panel) * sums.col_stride;
  }

  const Gemm& g_;
  const TileSet<T>& set_;
  const Division d_;
  const T* a_;
  const T* b_;
  T* c_;
  const Prologue& prologue_;
  const Epilogue& epilogue_;
  Spare spare_;  // what is left of it
  Stop stop_;
  bool divisible_ = false;  // units that run are shared with threads that have nothing else to do
  Pack<T> pack_shared_b_ = nullptr;
  int64_t a_unit_ = 0;  // elements of one unit's packed rows of A in one block of k
  int64_t own_a_ = 0, own_b_ = 0, a_tasks_ = 0, b_tasks_ = 0;
  T *shared_a_ = nullptr, *shared_b_ = nullptr, *own_ = nullptr, *sums_ = nullptr;
  std::unique_ptr<Block> shared_a_block_, shared_b_block_, own_block_, sums_block_;  // where it is not spare memory
  std::vector<char> own_packed_;  // of each thread, block and panel, whether the thread has packed it for itself
  Unfinished unfinished_;  // of each row of units, those not run yet
  int64_t row_tasks_ = 0;  // of the prologue
  Tasks preparing_, packing_;
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
  const double work = multiply_adds(g) + prologue.work() + epilogue.work();
  const int64_t threads = shared ? useful_threads(work) : 1;
  return Product<T>(g, a, b, c, prologue, epilogue, spare, threads, work < polled_work ? nullptr : poll).run();
}

template bool float_product<float>(const Gemm&, const float*, const float*, float*, bool, const Prologue&,
                                   const Epilogue&, const Poll*, Spare);
template bool float_product<double>(const Gemm&, const double*, const double*, double*, bool, const Prologue&,
                                    const Epilogue&, const Poll*, Spare);

}  // namespace weft
