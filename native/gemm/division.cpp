// See division.h.
#include "gemm/division.h"

#include "base/caches.h"

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
  return period <= line_bytes ? parts(2 * count, span / line_bytes) : parts(count * period, span);
}

}  // namespace

Division::Division(const Gemm& g, const TileSizes& sizes, int64_t most_threads, bool epilogue)
    : grouped(std::clamp<int64_t>(pack_bytes / (sizes.nr * sizes.element), 1, pack_panels)), sizes_(sizes), m_(g.m), n_(g.n), k_(g.k),
      chains_(g.k) {
  panels = parts(n_, sizes_.nr), blocks = chains_.count, deepest = chains_.longest();
  divide(g, most_threads, epilogue);
  // Two chains go through one tile, whose sums stay near, unless one thread runs each of them.
  if (blocks == 2 && k_parts == 1) two_chains = chains_.first, chains_ = Chains::one(k_), blocks = 1, deepest = k_;
  threads = std::min(most_threads, units());
  choose(g);
  if (b == Reading::in_place) early = shared_columns();
}

// Sets the numbers of units.
void Division::divide(const Gemm& g, int64_t most_threads, bool epilogue) {
  const int64_t least = most_threads == 1 ? 1 : most_threads * units_per_thread;
  const bool apart = (most_threads == 1 || even_columns(most_threads)) && reads_little_of_a(g);
  int64_t columns = std::min(least, apart && b_bytes() <= near ? panels : panels / 2);
  if (columns > most_threads) columns -= columns % most_threads;
  if (apart && columns >= most_threads) {
    column_units = columns;
    return;
  }
  const int64_t enough =
      b_bytes() > sizes_.second_cache ? std::max(m_ / few_far_rows, std::min(most_threads, m_ / few_rows)) : m_ / few_rows;
  const int64_t needed = parts(m_, reads_through(g) ? few_tiles * sizes_.mr : unit_bytes / sizes_.element);
  row_units = needed > least ? rounded_up(needed, least) : std::max(needed, std::min(least, enough));
  if (most_threads > 1 && panels % most_threads == 0 && panels <= least && packs_less_by_columns(g)) {
    row_units = 1, column_units = panels;
    return;
  }
  if (row_units >= least) {
    // What follows finds a unit's rows of C in the nearest cache if they are few. B is then read more often, so it must be near.
    const int64_t row_bytes = n_ * sizes_.element, rows = followed_bytes / row_bytes;
    if (epilogue && rows >= few_tiles * sizes_.mr && k_ * row_bytes <= near && m_ > rows * row_units)
      row_units = rounded_up(parts(m_, rows), least), whole_tiles = followed = true;
    return;
  }
  // Few rows: divide the columns instead, if they allow a better division.
  if (columns < least) {
    // Few of both: divide k, if that makes parts of as many blocks, and the sums that wait cost less than having all
    // threads read B. Two blocks count as equal, though the first of them is only a third of k, if there are units enough.
    const int64_t of_k = std::min(blocks, parts(least, row_units)), waiting = blocks - blocks / of_k;
    const bool equal = blocks % of_k == 0 || blocks >= even_blocks * of_k;
    const int64_t together = row_units * of_k;
    const bool even = together >= 2 * most_threads || (together % most_threads == 0 && blocks > 2);
    if (of_k > 1 && equal && even && sum_cost * waiting * m_ < k_) {
      k_parts = of_k;
      return;
    }
  }
  if (columns <= row_units) return;
  // As many rows as the cache holds of them in so few steps of k: units of other rows would pack the same columns again.
  row_units = parts(m_ * deepest, unit_bytes * unit_steps / sizes_.element), column_units = columns;
}

// Whether units had better have few rows: those of A come from far away, which is quickest where each is read from end to end,
// block after block, and an L2 cache holds all of B, which is read again for each unit.
bool Division::reads_through(const Gemm& g) const {
  return blocks > 1 && g.a.col_stride == 1 && m_ * k_ * sizes_.element > sizes_.second_cache && 2 * b_bytes() <= sizes_.second_cache;
}

// Whether a thread had better have all rows of A and some columns of B: if there are few rows, since it then reads less of B, or if B
// does not stay near and is then packed once, by who uses it, just before; that is so sooner where the first tiles of columns pack it than
// where it is turned. The rows that a tile reads meanwhile stay in the L2 cache.
bool Division::reads_little_of_a(const Gemm& g) const {
  const int64_t cache = sizes_.second_cache, b_size = b_bytes();
  const bool stays = (g.b.col_stride == 1 ? 2 : 1) * b_size <= cache;
  const bool less = b_size <= near ? m_ <= few_near_rows : 3 * m_ <= (stays ? n_ : 2 * n_);
  return less && m_ * deepest * sizes_.element < cache / 4;
}

// Whether that leaves no thread with much less to do than another.
bool Division::even_columns(int64_t of_threads) const {
  const int64_t taken = rounded_up(panels, of_threads) * sizes_.nr;
  return even_part * (taken - n_) <= n_;
}

// Whether a transposed B, which is packed, had better be divided by columns: each thread then packs no more of it than it uses.
// A is read again for each panel, so it must be near, and nearer where its rows lie across the steps of k. The last panel must not
// be much less than the others.
bool Division::packs_less_by_columns(const Gemm& g) const {
  const int64_t a_bytes = m_ * k_ * sizes_.element;
  const bool even = 4 * (panels * sizes_.nr - n_) <= sizes_.nr;
  return g.b.col_stride != 1 && even && m_ >= few_tiles * sizes_.mr && b_bytes() <= near &&
         a_bytes <= (g.a.col_stride == 1 ? near : near / 4);
}

// How many columns the last panel had better have of the one before: a tile of few vectors has few multiply-adds for each row that it
// loads; one of a single vector is higher. Columns that fill less than half of a vector do not count: they are often made as rows.
int64_t Division::shared_columns() const {
  const int64_t whole = sizes_.nr / sizes_.lanes, last = (width(panels - 1) + sizes_.lanes / 2) / sizes_.lanes;
  return panels > 1 && last > 1 ? (whole - last) / 2 * sizes_.lanes : 0;
}

// Sets how A and B are read. Packing pays where what is packed is used often, and sooner where reading it in place would
// crowd the nearest cache or comes from far away.
void Division::choose(const Gemm& g) {
  const int64_t size = sizes_.element, cache = sizes_.second_cache, b_size = b_bytes();
  const int64_t uses_a = parts(panels, column_units), uses_b = row_units * unit_tiles() * k_parts / (column_units > 1 ? 1 : threads);
  bool pack = true;
  if (g.a.col_stride == 1)
    pack = uses_a >= (b_size > cache ? few_far_uses : g.a.row_stride * size % page == 0 ? few_uses : many_uses);
  else if (g.a.row_stride == 1)
    pack = uses_a > (m_ * k_ * size > near ? 2 : few_uses) && competing(deepest, g.a.col_stride * size) > 4;
  a = !pack ? Reading::in_place : column_units > 1 ? Reading::shared : Reading::by_unit;
  pack = true;
  if (g.b.col_stride == 1) {
    const int64_t row_bytes = g.b.row_stride * size;
    const bool split = row_bytes % line_bytes != 0 && uses_b * deepest > few_split;
    const int64_t few = row_units == 1 && b_size > near ? few_tile_uses : few_uses;
    pack = competing(deepest, row_bytes) > 8 ? uses_b > (b_size > near ? 2 : few_uses) : uses_b > few && (b_size > near || split);
    // From memory, B comes quickest some panels ahead, in runs.
    pack = pack || (b_size > far_bytes && m_ >= sizes_.mr);
  }
  const bool apart = threads <= few_threads && (g.b.col_stride == 1 || b_size > little) && b_size <= in_reach;
  b = !pack ? Reading::in_place : row_units == 1 ? Reading::by_unit : apart ? Reading::own : Reading::shared;
  // Tiles of a column fetch what is packed next while they run, others only between them: where it comes from far away.
  if (b == Reading::by_unit && m_ >= sizes_.mr && b_size > near) {
    a = column_units > 1 ? Reading::shared : Reading::by_unit;
    whole_tiles = true;
  }
  if (a != Reading::in_place && unit_tiles() >= many_tiles) whole_tiles = true;
  far_b = 2 * b_size > cache && (b == Reading::shared || b == Reading::own);
  // Lines that another core has read are slow to write, unless past the caches, where so many do not stay anyway.
  streams = far_b && b == Reading::shared && g.b.col_stride == 1 && panels * sizes_.nr * k_ * size > in_reach;
  opens = b == Reading::by_unit && g.b.col_stride == 1 && a != Reading::in_place && whole_tiles && m_ >= 2 * sizes_.mr &&
          g.c.col_stride == 1 && competing(deepest, g.b.row_stride * size, far_page) <= few_lines;
}

}  // namespace weft
