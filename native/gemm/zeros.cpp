// See zeros.h. C is divided into units of some rows of the sparse operand by the columns of one panel of the dense one. A
// unit packs its panel, some steps of k at a time, and adds up for each of its rows the panel's rows that the row's mask
// names. Masks are made by all threads before any unit begins, which tells whether the rest pays. Where C's rows go along the
// sparse operand's rows (because B is the sparse one, and the transposed product runs), sums wait in memory of the thread and
// are turned in registers.
#include "gemm/zeros.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <memory>
#include <thread>
#include <type_traits>

#include "base/allocator.h"
#include "base/caches.h"
#include "base/shares.h"
#include "base/short_array.h"
#include "base/thread_state.h"
#include "gemm/float.h"
#include "gemm/tile.h"
#include "gemm/vectors.h"

namespace weft {
namespace {

constexpr double least_work = 1 << 20;     // multiply-adds for which looking for zeros pays
constexpr int64_t fewest = 16;             // rows, columns and terms of a product that is worth it
constexpr int samples = 64;                // elements that are looked at first,
constexpr int first_samples = 8;           // and those of them that tell that an operand has no zeros
constexpr int doubt = 6;                   // more of them might have been zero: about one and a half standard deviations
constexpr int64_t most_steps = 64;         // bits of a mask, and rows of a panel
constexpr int64_t unit_rows = 256;         // whose sums stay in an L2 cache
constexpr int64_t least_unit_rows = 64;    // fewer would pack the panel too often
constexpr int64_t near_rows = 32;          // whose sums stay in the nearest cache
constexpr int64_t mask_rows = 32;          // whose masks are made in one go

// What a term, a row and the rest cost beside a term of a tile, and how much less all that has to be. Tiles load less often than they
// multiply, while each term here loads all it multiplies: measured on Zen 4, with AVX2 and with AVX-512, which loads as often as it
// multiplies, and on a Xeon with AVX-512, which does not keep up two loads of a cache line a cycle.
struct Costs {
  double term, row, turn;
};
constexpr Costs of_even_loads{1, 4.5, 5}, of_slow_loads{1.4, 6.5, 15};
constexpr double pack_cost = 4, mask_cost = 24, worth = 0.9;

// An operand, or C, as lines (rows of A, columns of B) of some steps of k each: its strides, in elements. Those of C are rows
// and steps of the result.
struct Side {
  int64_t row, step;
};

// How many of some elements all over a matrix are zero; none if the first of them are not.
template <class T>
int zeros_of(const T* from, int64_t rows, int64_t steps, Side side) {
  int zeros = 0;
  const auto somewhere = [](uint32_t drawn, int64_t below) {  // without a division
    return static_cast<int64_t>(static_cast<uint64_t>(drawn) * static_cast<uint64_t>(std::min(below, int64_t{1} << 32)) >> 32);
  };
  for (uint32_t i = 0; i < samples && (i < first_samples || zeros > 0); ++i)
    zeros += from[somewhere(i * 0x9e3779b1u, rows) * side.row + somewhere(i * 0x85ebca6bu, steps) * side.step] == T{};
  return zeros;
}

// How a product would be divided, and what it would cost: no more than this is worked out of a product that is then made of tiles.
template <class T>
struct Plan {
  const TileSet<T>& set = *tile_set<T>();
  int64_t rows, columns, k;  // of the sparse operand's rows, the dense one's columns
  bool turned;               // C's elements follow one another along the rows here
  int64_t panels = parts(columns, set.wide), row_units = parts(rows, unit_rows);
  int64_t threads;           // that have a unit, of as many as would be used otherwise
  double uneven;             // how much longer it takes because units are not divided evenly among these
  int64_t masks = 0;         // of a row

  Plan(int64_t all_rows, int64_t all_columns, int64_t terms, bool turns, int64_t useful)
      : rows(all_rows), columns(all_columns), k(terms), turned(turns) {
    while (useful > 1 && units() < useful * units_per_thread && rows >= 2 * row_units * least_unit_rows) row_units *= 2;
    threads = std::min(useful, units());
    uneven = static_cast<double>(useful * parts(units(), threads)) / static_cast<double>(units());
    const Chains chains(k);
    for (int64_t chain = 0; chain < chains.count; ++chain) masks += parts(chains.length(chain), most_steps);
  }
  int64_t units() const { return panels * row_units; }

  // Whether it pays if such a share of the sparse operand is not zero.
  bool pays(double share) const {
    const auto of = [](int64_t part, int64_t whole) { return static_cast<double>(part) / static_cast<double>(whole); };
    const Costs& cost = set.quick_masks() && processor_is_intels() ? of_slow_loads : of_even_loads;
    const double each = cost.term * share + cost.row * of(masks, k) + pack_cost * of(row_units, rows) +
                        (turned ? cost.turn / static_cast<double>(k) : 0);
    return each * uneven * of(panels * set.wide, columns) + mask_cost / static_cast<double>(columns) < worth;
  }
};

template <class T>
class Skipping {
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  static constexpr int mantissa = sizeof(T) == 4 ? 23 : 52;
  static constexpr int bias = sizeof(T) == 4 ? 127 : 1023;
  static constexpr Bits infinity = static_cast<Bits>(2 * bias + 1) << mantissa;
  static constexpr uint64_t none = static_cast<Bits>(-1);  // where all elements are zero
  // The least sum of two elements' exponents at which their product is a multiple of the least number there is: then no
  // sum of such products is rounded to zero.
  static constexpr int64_t least_exponents = -(bias - 1 + mantissa) + 2 * mantissa;

  // Steps that are packed together: the last of one chain, or all; and, after so many of them (`cut`), all of the one that follows, if
  // there is room for it.
  struct Pack {
    int64_t begin, count, cut;
    bool resumed, last, later;  // of the first chain: not begun here; ended here; not the first one of k
  };

 public:
  // C[rows, columns] = sparse[rows, k] @ dense[k, columns], whose elements (i, j) are at i * out.row + j * out.step.
  Skipping(const Plan<T>& plan, const T* sparse, Side s, const T* dense, Side d, T* c, Side out, bool columns_first,
           const Epilogue& epilogue, const Poll* poll)
      : plan_(plan), set_(plan.set), sparse_(sparse), dense_(dense), c_(c), s_(s), d_(d), out_(out), columns_first_(columns_first),
        epilogue_(epilogue), stop_(poll), packs_(static_cast<size_t>(plan.masks)) {
    divide_k();
    const int64_t most = parts(plan_.rows, plan_.row_units);
    const bool waiting = plan_.turned || plan_.columns % set_.wide != 0;  // sums wait until they can be stored
    sums_ = !waiting ? 0 : pack_count_ > 1 ? most : std::min(most, near_rows);
    partial_ = parted_ ? most : 0;
    panel_ = std::min(plan.k, most_steps);
    own_ = rounded_up((panel_ + sums_ + partial_) * set_.wide * size, line_bytes);
    shares_.begin(plan.units(), plan_.threads);
    const int64_t ranges = columns_first_ ? plan_.panels : plan_.row_units, of_each = plan_.panels * plan_.row_units / ranges;
    if (epilogue_.whole_rows() && of_each > 1) unfinished_.begin(ranges, of_each);
  }

  // Makes the masks and, if there are so many zeros that the rest pays, all the rest. Nothing: there are not, and nothing of C is
  // written. False: interrupted.
  std::optional<bool> run(Spare spare) {
    const int64_t masks = rounded_up(plan_.rows * static_cast<int64_t>(pack_count_) * 8, line_bytes);
    const int64_t nbytes = masks + own_ * plan_.threads;
    char* memory = spare.data;
    if (nbytes > spare.nbytes) {
      block_ = std::make_unique<Block>(static_cast<size_t>(nbytes));
      memory = static_cast<char*>(block_->data());
    }
    masks_ = reinterpret_cast<uint64_t*>(memory);
    memory_ = memory + masks;
    const auto chunk = [](void* context, int64_t begin, int64_t end) {
      for (int64_t slot = begin; slot < end; ++slot) static_cast<Skipping*>(context)->work(slot);
    };
    parallel_for(plan_.threads, 1, chunk, this);
    if (!worth_it_) return {};
    return !stop_.stopped();
  }

 private:
  static constexpr int64_t size = sizeof(T);

  // Cuts the chains into steps for which masks and panels have room, and puts together what one panel has room for.
  void divide_k() {
    const Chains chains(plan_.k);
    for (int64_t chain = 0; chain < chains.count; ++chain) {
      const int64_t begin = chains.begin(chain), end = begin + chains.length(chain);
      parted_ |= end - begin > most_steps;
      for (int64_t p = begin; p < end; p += most_steps) {
        const int64_t count = std::min(most_steps, end - p);
        Pack* const before = pack_count_ ? &packs_[pack_count_ - 1] : nullptr;
        const bool room = before && before->count == before->cut && before->count + count <= most_steps;
        if (room && p == begin && p + count == end) before->count += count;
        else packs_[pack_count_++] = {p, count, count, p > begin, p + count == end, chain > 0};
      }
    }
  }

  // One thread's part.
  void work(int64_t slot) {
    const int64_t tasks = parts(plan_.rows, mask_rows);
    for (int64_t task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
      survey(task);
      if (surveyed_.fetch_add(1, std::memory_order_acq_rel) + 1 == tasks) {
        decide();
        decided_.store(true, std::memory_order_release);
      }
    }
    for (int64_t waited = 0; !decided_.load(std::memory_order_acquire); ++waited)
      if (waited > 1000) std::this_thread::yield();
    if (!worth_it_) return;
    shares_.take(slot, stop_, [&](int64_t number) { unit(number, slot); });
    epilogue_.aside();  // units are long: who is done first would only wait
  }

  // By all masks: whether there are so many zeros, and what the dense operand must not have.
  void decide() {
    const uint64_t least = least_.load(std::memory_order_relaxed);
    const auto lowest = least_exponents - (static_cast<int64_t>(least >> mantissa) - bias) + bias;
    lowest_ = static_cast<uint64_t>(std::clamp<int64_t>(lowest, 1, 2 * bias + 1)) << mantissa;
    worth_it_ = plan_.pays(static_cast<double>(terms_.load(std::memory_order_relaxed)) / static_cast<double>(plan_.rows * plan_.k));
  }

  uint64_t* masks_of(size_t pack) const { return masks_ + plan_.rows * static_cast<int64_t>(pack); }

  // The masks of some rows.
  void survey(int64_t task) {
    const int64_t row = task * mask_rows, count = std::min(mask_rows, plan_.rows - row);
    int64_t terms = 0;
    uint64_t least = infinity;
    for (size_t n = 0; n < pack_count_; ++n) {
      const Pack& pack = packs_[n];
      const T* values = sparse_ + row * s_.row + pack.begin * s_.step;
      uint64_t* const masks = masks_of(n) + row;
      uint64_t extent[2];
      if (s_.row == 1 && s_.step != 1) {
        set_.nonzero_across(count, pack.count, values, s_.step, masks, extent);
      } else {
        int64_t step = s_.row;
        alignas(line_bytes) T turned[mask_rows * most_steps];  // where no two elements follow one another
        if (s_.step != 1) {
          for (int64_t p = 0; p < pack.count; p += set_.turned)
            set_.turn(count, values, s_.step, s_.row, turned + p, p, pack.count - 1, most_steps);
          values = turned, step = most_steps;
        }
        set_.nonzero(count, pack.count, values, step, masks);
        set_.extent(count, pack.count, values, step, extent);
      }
      for (int64_t r = 0; r < count; ++r) terms += std::popcount(masks[r]);
      if (extent[1] != none) least = std::min(least, extent[1] + 1);
    }
    terms_.fetch_add(terms, std::memory_order_relaxed);
    uint64_t before = least_.load(std::memory_order_relaxed);
    while (least < before && !least_.compare_exchange_weak(before, least, std::memory_order_relaxed)) {}
  }

  void unit(int64_t number, int64_t slot) {
    const int64_t panel = columns_first_ ? number / plan_.row_units : number % plan_.panels;
    const int64_t row_unit = columns_first_ ? number % plan_.row_units : number / plan_.panels;
    const int64_t i0 = plan_.rows * row_unit / plan_.row_units, i1 = plan_.rows * (row_unit + 1) / plan_.row_units;
    const int64_t j0 = panel * set_.wide, columns = std::min<int64_t>(set_.wide, plan_.columns - j0);
    T* const packed = reinterpret_cast<T*>(memory_ + slot * own_);
    T* const sums = packed + panel_ * set_.wide;
    T* const partial = sums + sums_ * set_.wide;
    const bool direct = !plan_.turned && columns == set_.wide;
    const int64_t turns = parts(i1 - i0, set_.turned), blocks = parts(i1 - i0, near_rows);
    for (size_t n = 0; n < pack_count_; ++n) {
      const Pack& pack = packs_[n];
      if (stop_.asked()) return;
      const T* const dense = dense_ + pack.begin * d_.step + j0 * d_.row;
      uint64_t extent[2];
      if (d_.row == 1 && columns == set_.wide) {
        set_.copy_wide(pack.count, dense, d_.step, packed, extent);
      } else {
        set_.pack_wide(pack.count, dense, d_.row, d_.step, packed, columns);
        set_.extent(pack.count, set_.wide, packed, set_.wide, extent);
      }
      const bool exact = extent[0] < infinity && extent[1] + 1 >= lowest_;
      const uint64_t all = exact ? 0 : ~uint64_t{0} >> (64 - pack.count), cut = ~uint64_t{0} >> (64 - pack.cut);
      const bool final = n + 1 == pack_count_;
      for (int64_t block = 0, i = i0, end; block < blocks; ++block, i = end) {
        end = std::min(i1, i0 + turns * (block + 1) / blocks * set_.turned);
        const int64_t count = end - i, at = pack_count_ > 1 ? i - i0 : 0;
        T* const to = direct ? c_ + i * out_.row + j0 : sums + at * set_.wide;
        const int64_t to_step = direct ? out_.row : set_.wide;
        T* const part = partial + (i - i0) * set_.wide;
        set_.skip(count, masks_of(n) + i, all, cut, sparse_ + i * s_.row + pack.begin * s_.step, s_.row, s_.step, packed, part, pack.resumed,
                  pack.last ? to : part, pack.last ? to_step : set_.wide, pack.last && pack.later);
        if (final && !direct) store(to, i, count, j0, columns);
      }
    }
    report(panel, row_unit, i0, i1, j0, j0 + columns);
  }

  // Sums to where they belong in C. Where they are turned, the last of them once more with those before: there are enough.
  void store(const T* from, int64_t i, int64_t count, int64_t j0, int64_t columns) const {
    T* const to = c_ + i * out_.row + j0 * out_.step;
    if (!plan_.turned)
      for (int64_t r = 0; r < count; ++r)
        std::memcpy(to + r * out_.row, from + r * set_.wide, static_cast<size_t>(columns * size));
    else
      for (int64_t begin = 0; begin < count; begin += set_.turned) {
        const int64_t r = std::min(begin, count - set_.turned);
        set_.turn(columns, from, set_.wide, 1, to + r, r, count - 1, out_.step);
      }
  }

  void report(int64_t panel, int64_t row_unit, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
    if (!epilogue_) return;
    if (columns_first_) std::swap(i0, j0), std::swap(i1, j1);
    if (!epilogue_.whole_rows())
      epilogue_.block(i0, i1, j0, j1);
    else if (!unfinished_ || unfinished_.done(columns_first_ ? panel : row_unit))
      epilogue_.rows(i0, i1);
  }

  const Plan<T> plan_;
  const TileSet<T>& set_;
  const T* sparse_;
  const T* dense_;
  T* c_;
  const Side s_, d_, out_;
  const bool columns_first_;  // C's rows are the columns here
  const Epilogue& epilogue_;
  Stop stop_;
  ShortArray<Pack, 8> packs_;
  size_t pack_count_ = 0;
  bool parted_ = false;               // some chain is longer than a panel
  int64_t panel_ = 0, sums_ = 0, partial_ = 0, own_ = 0;  // rows of each thread's panel, sums and parts of chains; its bytes
  std::unique_ptr<Block> block_;              // unless spare memory is enough
  uint64_t* masks_ = nullptr;
  char* memory_ = nullptr;
  bool worth_it_ = false;
  uint64_t lowest_ = 0;  // the least magnitude, as bits, that the dense operand's elements may have
  Shares shares_;
  alignas(line_bytes) std::atomic<int64_t> next_{0};  // mask task
  alignas(line_bytes) std::atomic<int64_t> surveyed_{0};
  // Of the rows whose masks are made: elements that are not zero, and the magnitude of the least of these, as bits.
  std::atomic<int64_t> terms_{0};
  std::atomic<uint64_t> least_{infinity};
  std::atomic<bool> decided_{false};
  Unfinished unfinished_;  // of each range of C's rows, the units not made yet
};

}  // namespace

bool mostly_zeros(const Gemm& g, const float* a, const float* b) {
  const int left = zeros_of(a, g.m, g.k, {g.a.row_stride, g.a.col_stride}), right = zeros_of(b, g.n, g.k, {g.b.col_stride, g.b.row_stride});
  return 8 * std::max(left, right) >= 5 * samples;
}

template <class T>
std::optional<bool> skipping_product(const Gemm& g, const T* a, const T* b, T* c, bool shared, const Epilogue& epilogue,
                                     const Poll* poll, Spare spare) {
  const double work = multiply_adds(g);
  if (std::min({g.m, g.n, g.k}) < fewest || work < least_work || (g.c.col_stride != 1 && g.c.row_stride != 1)) return {};
  const Side left{g.a.row_stride, g.a.col_stride}, right{g.b.col_stride, g.b.row_stride};
  const int zeros_left = zeros_of(a, g.m, g.k, left), zeros_right = zeros_of(b, g.n, g.k, right);
  if (4 * std::max(zeros_left, zeros_right) < samples) return {};
  const bool of_left = zeros_left > zeros_right || (zeros_left == zeros_right && g.c.col_stride == 1);
  if (work < polled_work) poll = nullptr;
  const Side down{g.c.row_stride, g.c.col_stride}, across{g.c.col_stride, g.c.row_stride};
  const Plan<T> plan(of_left ? g.m : g.n, of_left ? g.n : g.m, g.k, (of_left ? down : across).step != 1,
                     shared ? useful_threads(work + epilogue.work()) : 1);
  const int zeros = std::min(std::max(zeros_left, zeros_right) + doubt, samples);
  if (!plan.pays(1 - static_cast<double>(zeros) / samples)) return {};
  Skipping<T> product(plan, of_left ? a : b, of_left ? left : right, of_left ? b : a, of_left ? right : left, c,
                      of_left ? down : across, !of_left, epilogue, poll);
  const std::optional<bool> completed = product.run(spare);
  if (completed) thread_state().gemms_skipping_zeros.add(1);
  return completed;
}

template std::optional<bool> skipping_product<float>(const Gemm&, const float*, const float*, float*, bool, const Epilogue&,
                                                     const Poll*, Spare);
template std::optional<bool> skipping_product<double>(const Gemm&, const double*, const double*, double*, bool,
                                                      const Epilogue&, const Poll*, Spare);

}  // namespace weft
