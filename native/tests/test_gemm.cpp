// Matrix products against a triple loop: types, layouts, batches, empty sizes.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/caches.h"
#include "base/thread_state.h"
#include "check.h"
#include "gemm/float.h"
#include "gemm/gemm.h"
#include "gemm/matrix_unit.h"
#include "gemm/split.h"
#include "gemm/vectors.h"
#include "portable_tiles.h"
#include "portable_unit.h"

using namespace weft;

struct Operand {
  std::vector<int64_t> batch_strides;
  int64_t rs, cs, size, origin;
};

// Layouts of a rows x cols matrix in a batch: row-major, column-major, with gaps, strided both ways, reversed, broadcast.
static Operand operand(int kind, int64_t rows, int64_t cols, const std::vector<int64_t>& batch, bool may_broadcast) {
  Operand o{{}, cols, 1, 0, 0};
  int64_t matrix = rows * cols;
  if (kind == 1) o.rs = 1, o.cs = rows;
  if (kind == 2) o.rs = cols + 3, matrix = rows * (cols + 3);
  if (kind == 3) o.rs = 2 * cols, o.cs = 2, matrix = 2 * rows * cols;
  if (kind == 4) o.rs = -cols, o.origin = rows > 0 ? (rows - 1) * cols : 0;
  if (kind == 5 && may_broadcast) o.rs = 0, o.cs = 1;
  o.batch_strides.resize(batch.size());
  int64_t step = matrix + 5;
  for (size_t d = batch.size(); d-- > 0;) {
    o.batch_strides[d] = kind == 0 && may_broadcast && d == 0 ? 0 : step;
    step *= batch[d] ? batch[d] : 1;
  }
  o.size = step + 5;
  return o;
}

// What an epilogue is told, checked as it happens: each element once, with its final value. Its prologue counts the rows.
template <class T>
struct Watch {
  const Gemm& g;
  const T* c;
  const T* expected;
  bool whole_rows;
  std::vector<uint8_t> seen;  // of each element
  std::vector<uint8_t> made;  // of each row of A
  std::atomic<bool> wrong{false};

  static void prepare(void* context, int64_t matrix, int64_t i0, int64_t i1) {
    auto& w = *static_cast<Watch*>(context);
    for (int64_t i = i0; i < i1; ++i) ++w.made[static_cast<size_t>(matrix * w.g.m + i)];
  }

  static void done(void* context, int64_t matrix, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
    auto& w = *static_cast<Watch*>(context);
    if (w.whole_rows && (j0 != 0 || j1 != w.g.n)) w.wrong = true;
    for (int64_t row = matrix * w.g.m + i0; row < matrix * w.g.m + i1; ++row) {
      if (w.made[static_cast<size_t>(row)] != 1) w.wrong = true;
      int64_t at = row % w.g.m * w.g.c.row_stride, rest = row / w.g.m;
      for (size_t d = w.g.batch.size(); d-- > 0; rest /= w.g.batch[d])
        at += rest % w.g.batch[d] * w.g.c.batch_strides[d];
      for (int64_t j = j0; j < j1; ++j) {
        const int64_t element = at + j * w.g.c.col_stride;
        if (w.c[element] != w.expected[element]) w.wrong = true;
        ++w.seen[static_cast<size_t>(row * w.g.n + j)];
      }
    }
  }
};

template <class T>
static void compare(DType dtype, int64_t m, int64_t n, int64_t k, const std::vector<int64_t>& batch, int ka, int kb,
                    int kc) {
  const Operand oa = operand(ka, m, k, batch, true), ob = operand(kb, k, n, batch, true);
  const Operand oc = operand(kc, m, n, batch, false);
  std::vector<T> a(static_cast<size_t>(oa.size)), b(static_cast<size_t>(ob.size)), c(static_cast<size_t>(oc.size));
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<T>(static_cast<int64_t>(i * 7 % 11) - 5);
  for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<T>(static_cast<int64_t>(i * 5 % 13) - 6);
  for (auto& x : c) x = static_cast<T>(77);
  std::vector<T> expected = c;
  int64_t count = 1;
  for (int64_t s : batch) count *= s;
  for (int64_t index = 0; index < count; ++index) {
    int64_t rest = index, at = oa.origin, bt = ob.origin, ct = oc.origin;
    for (size_t d = batch.size(); d-- > 0; rest /= batch[d]) {
      const int64_t i = rest % batch[d];
      at += i * oa.batch_strides[d], bt += i * ob.batch_strides[d], ct += i * oc.batch_strides[d];
    }
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        using Wide = std::conditional_t<std::is_integral_v<T>, uint64_t, T>;
        Wide sum{};
        for (int64_t p = 0; p < k; ++p)
          sum += static_cast<Wide>(a[static_cast<size_t>(at + i * oa.rs + p * oa.cs)]) *
                 static_cast<Wide>(b[static_cast<size_t>(bt + p * ob.rs + j * ob.cs)]);
        expected[static_cast<size_t>(ct + i * oc.rs + j * oc.cs)] = static_cast<T>(sum);
      }
  }
  const Gemm g{dtype, batch, m, n, k, {oa.batch_strides, oa.rs, oa.cs}, {ob.batch_strides, ob.rs, ob.cs},
               {oc.batch_strides, oc.rs, oc.cs}};
  CHECK(run_gemm(g, a.data() + oa.origin, b.data() + ob.origin, c.data() + oc.origin));
  CHECK(c == expected);  // small whole numbers: exact in any order
  for (bool whole_rows : {false, true}) {
    Watch<T> watch{g, c.data() + oc.origin, expected.data() + oc.origin, whole_rows,
                   std::vector<uint8_t>(static_cast<size_t>(count * m * n)), std::vector<uint8_t>(static_cast<size_t>(count * m))};
    const GemmHooks hooks{&watch, Watch<T>::prepare, 1e6, Watch<T>::done, whole_rows, 1e6};
    for (auto& x : c) x = static_cast<T>(77);
    CHECK(run_gemm(g, a.data() + oa.origin, b.data() + ob.origin, c.data() + oc.origin, nullptr, &hooks));
    CHECK(!watch.wrong);
    CHECK(watch.seen == std::vector<uint8_t>(watch.seen.size(), 1));
  }
}

static void all_layouts(int64_t m, int64_t n, int64_t k, const std::vector<int64_t>& batch) {
  for (int ka = 0; ka < 6; ++ka)
    for (int kb = 0; kb < 6; ++kb) {
      compare<float>(DType::float32, m, n, k, batch, ka, kb, (ka + kb) % 5);
      compare<double>(DType::float64, m, n, k, batch, ka, kb, (ka + 2 * kb) % 5);
      compare<int64_t>(DType::int64, m, n, k, batch, ka, kb, ka % 5);
      compare<int8_t>(DType::int8, m, n, k, batch, ka, kb, kb % 5);
      compare<uint16_t>(DType::uint16, m, n, k, batch, ka, kb, kb % 5);
    }
}

struct Sizes {
  int64_t m, n, k;
};

static void every_shape() {
  for (const std::vector<int64_t>& batch : {std::vector<int64_t>{}, {3}, {2, 3}, {0}, {1, 4}})
    for (const Sizes& s : std::vector<Sizes>{
             {3, 4, 5}, {1, 1, 1}, {1, 6, 2}, {6, 1, 2}, {4, 3, 1}, {2, 3, 0}, {0, 3, 2}, {3, 0, 2}})
      all_layouts(s.m, s.n, s.k, batch);
}

TEST(products) {
  every_shape();
  // Around the edges of tiles, groups of rows and blocks of k and columns.
  for (const Sizes& s : std::vector<Sizes>{{7, 17, 9}, {13, 33, 257}, {97, 20, 30}, {25, 70, 300}, {2, 530, 3}})
    for (int kind = 0; kind < 6; ++kind) compare<float>(DType::float32, s.m, s.n, s.k, {}, kind, (kind + 1) % 6, kind % 5);
  compare<float>(DType::float32, 30, 4100, 5, {}, 0, 0, 0);
  // Units that pack B for themselves, in several groups of panels and blocks of k: B by rows a page apart, and transposed.
  compare<float>(DType::float32, 30, 1024, 300, {}, 0, 0, 0);
  compare<double>(DType::float64, 30, 1100, 300, {}, 0, 1, 0);
  compare<double>(DType::float64, 30, 4100, 5, {}, 1, 1, 1);
}

TEST(large_products_are_shared_over_the_pool) {
  set_num_threads(4);
  compare<float>(DType::float32, 150, 140, 130, {}, 0, 0, 0);
  compare<int32_t>(DType::int32, 150, 140, 130, {}, 1, 1, 1);
  compare<uint16_t>(DType::uint16, 90, 300, 20, {2}, 0, 0, 0);
  compare<double>(DType::float64, 20, 20, 20, {300}, 0, 1, 0);
  compare<float>(DType::float32, 400, 1200, 300, {}, 0, 0, 0);
  // B packed by each thread for itself, panel by panel.
  compare<float>(DType::float32, 140, 650, 700, {}, 0, 0, 0);
  // Those whose C is so small that k is divided.
  for (int kind = 0; kind < 6; ++kind) {
    compare<float>(DType::float32, 64, 100, 1000, {}, kind, (kind + 1) % 6, kind % 5);
    compare<float>(DType::float32, 500, 50, 30, {}, kind, (kind + 1) % 6, 0);  // units whose C is in the nearest cache
    compare<double>(DType::float64, 9, 20, 1500, {}, kind, kind, kind % 5);
    // Those whose transposed product is made and turned, where A is transposed: by one thread, and by several.
    compare<float>(DType::float32, 900, 10, 40, {}, 1, kind, 0);
    compare<double>(DType::float64, 700, 10, 300, {}, 1, kind, 0);
  }
}

TEST(an_epilogue_follows_before_rows_leave_the_cache) {
  // 12 KiB of C at a time and at most a tile more, in whole tiles.
  const Gemm g{DType::float32, {}, 1000, 100, 64, {{}, 1, 1000}, {{}, 100, 1}, {{}, 100, 1}};
  std::vector<float> a(64000, 1.0f), b(6400, 2.0f), c(100000);
  struct Seen {
    std::atomic<int64_t> calls{0}, rows{0}, most{0}, uneven{0};
  };
  for (int threads : {1, 2, 3}) {
    set_num_threads(threads);
    Seen seen;
    const auto done = [](void* context, int64_t, int64_t i0, int64_t i1, int64_t, int64_t) {
      Seen& s = *static_cast<Seen*>(context);
      s.calls += 1, s.rows += i1 - i0, s.uneven += (i1 - i0) % portable::rows != 0 && i1 != 1000;
      for (int64_t most = s.most; i1 - i0 > most && !s.most.compare_exchange_weak(most, i1 - i0);) {}
    };
    const GemmHooks hooks{.context = &seen, .done = done, .work = 1e5};
    CHECK(run_gemm(g, a.data(), b.data(), c.data(), nullptr, &hooks));
    CHECK(seen.rows == 1000 && seen.most <= (12 << 10) / 400 + portable::rows && seen.uneven == 0 && seen.calls <= 48);
    CHECK(c == std::vector<float>(100000, 128.0f));
  }
}

// Tiles as portable ones, but slow in the thread that runs the first of them.
namespace slow {
static std::atomic<std::thread::id> thread;
static std::atomic<int64_t> tiles, others;

static void wait() {
  std::thread::id none, here = std::this_thread::get_id();
  if (!thread.compare_exchange_strong(none, here) && thread != here) {
    ++others;
    return;
  }
  ++tiles;
  // While others run a hundred, but not for ever: they may have nothing left to do.
  const int64_t enough = others + 100;
  for (int i = 0; i < 10 && others < enough; ++i) std::this_thread::sleep_for(std::chrono::microseconds(500));
}

template <int Rows>
void tile(int64_t k, int64_t first, const float* a, int64_t a_row, int64_t a_k, const float* b, int64_t b_k, float* c, int64_t c_row,
          bool add) {
  wait();
  portable::tile<float, Rows>(k, first, a, a_row, a_k, b, b_k, c, c_row, add);
}

void column(int64_t k, int64_t first, int64_t count, const float* a, const float* b, float* c, int64_t c_row, bool add,
            const void* ahead, int64_t lines, int64_t runs, int64_t apart) {
  for (int64_t t = 0; t < count; ++t) wait();
  portable::column<float>(k, first, count, a, b, c, c_row, add, ahead, lines, runs, apart);
}

void opening(int64_t k, int64_t first, const float* a, const float* b, int64_t b_k, float* to, float* c, int64_t c_row, bool add) {
  wait();
  portable::opening<float>(k, first, a, b, b_k, to, c, c_row, add);
}

template <size_t... Height>
void use(TileSet<float>& set, std::index_sequence<Height...>) {
  ((set.of_rows[Height] = tile<Height + 1>), ...);
  set.column = column, set.opening = opening;
}
}  // namespace slow

TEST(what_is_left_of_a_unit_is_shared_with_idle_threads) {
  auto& set = const_cast<TileSet<float>&>(*tile_set<float>());  // which nothing uses now
  const TileSet<float> usual = set;
  slow::use(set, portable::heights);
  // The columns are divided, and B is packed by tiles, or read where it lies; the rows are, and A is packed by units, or read where it lies.
  set_num_threads(2);
  for (const Sizes& s : {Sizes{64, 450, 300}, Sizes{24, 1200, 300}, Sizes{100, 400, 215}, Sizes{100, 300, 290}}) {
    slow::thread = std::thread::id(), slow::tiles = slow::others = 0;
    compare<float>(DType::float32, s.m, s.n, s.k, {}, 0, 0, 0);
    // Of eight units, less than one.
    CHECK(slow::tiles * 8 < slow::tiles + slow::others);
  }
  set = usual;
}

// A column that notes what it is to bring into a cache.
namespace noted {
static std::mutex mutex;
static std::vector<std::pair<uintptr_t, uintptr_t>> ranges;

void column(int64_t k, int64_t first, int64_t tiles, const float* a, const float* b, float* c, int64_t c_row, bool add,
            const void* ahead, int64_t lines, int64_t runs, int64_t apart) {
  const auto start = reinterpret_cast<uintptr_t>(ahead);
  {
    std::lock_guard lock(mutex);
    for (int64_t i = 0; i < runs; ++i) {
      const auto from = start + static_cast<uintptr_t>(i * apart);
      if (lines) ranges.emplace_back(from, from + static_cast<uintptr_t>(lines) * 64);
    }
  }
  portable::column<float>(k, first, tiles, a, b, c, c_row, add, ahead, lines, runs, apart);
}

// Whether it begins in an array.
bool begins_in(uintptr_t from, const std::vector<float>& array) {
  const auto start = reinterpret_cast<uintptr_t>(array.data());
  return from >= start && from < start + array.size() * sizeof(float);
}
}  // namespace noted

TEST(panels_that_stay_in_the_second_cache_are_not_fetched) {
  auto& set = const_cast<TileSet<float>&>(*tile_set<float>());
  const TileSet<float> usual = set;
  set.column = noted::column;
  set_num_threads(2);
  // Units of so many rows that they are cut into full tiles.
  constexpr int64_t m = 8 * 20 * portable::rows, k = 200, row_bytes = k * sizeof(float);
  for (const bool far : {false, true}) {
    const int64_t n = second_cache_bytes() / 2 / row_bytes + (far ? 40 : -40);
    const std::vector<float> a(m * k, 1), b(static_cast<size_t>(k * n), 1);
    std::vector<float> c(static_cast<size_t>(m * n));
    noted::ranges.clear();
    run_gemm({DType::float32, {}, m, n, k, {{}, 1, m}, {{}, n, 1}, {{}, n, 1}}, a.data(), b.data(), c.data());
    const auto others = std::count_if(noted::ranges.begin(), noted::ranges.end(),
                                      [&](const auto& range) { return !noted::begins_in(range.first, a); });
    CHECK(c.front() == k && c.back() == k && (others > 0) == far);
  }
  set = usual;
}

TEST(what_a_unit_packs_next_comes_while_its_tiles_run) {
  auto& set = const_cast<TileSet<float>&>(*tile_set<float>());
  const TileSet<float> usual = set;
  set.column = noted::column;
  set_num_threads(1);
  constexpr int64_t m = 30, k = 400, group = 8 * portable::columns, n = 170 * portable::columns, first = 136;
  // Rows a page apart drive each other out of a cache: they are packed when they have come. Others are packed by the tiles.
  for (const int64_t row : {1024, 1280}) {
    const std::vector<float> a(m * k, 1), b(static_cast<size_t>(k * row), 1);
    std::vector<float> c(m * n);
    noted::ranges.clear();
    run_gemm({DType::float32, {}, m, n, k, {{}, k, 1}, {{}, row, 1}, {{}, n, 1}}, a.data(), b.data(), c.data());
    CHECK(c[0] == k && c[m * n - 1] == k);
    std::vector<int> times(b.size());
    const auto start = reinterpret_cast<uintptr_t>(b.data());
    for (const auto& [from, to] : noted::ranges) {
      if (noted::begins_in(from, a)) continue;
      CHECK(from >= start && to <= start + b.size() * sizeof(float) + 64);
      for (uintptr_t at = from; at < std::min(to, start + b.size() * sizeof(float)); at += sizeof(float)) ++times[(at - start) / sizeof(float)];
    }
    // Everything but what comes at first: one panel; or a group of panels and, of the second, the share that is packed first, before
    // any tile runs.
    const bool opened = row != 1024;
    for (int64_t p = 0; p < k; ++p)
      for (int64_t j = opened ? (p < first ? portable::columns : 0) : p < first / 8 ? 2 * group : p < first ? group : 0; j < n; ++j)
        CHECK(times[static_cast<size_t>(p * row + j)] > 0);
  }
  set = usual;
}

TEST(rows_that_are_packed_next_come_while_tiles_run) {
  auto& set = const_cast<TileSet<float>&>(*tile_set<float>());
  const TileSet<float> usual = set;
  set.column = noted::column;
  set_num_threads(1);
  // Four units of 148 rows and more, in blocks of 136 steps; A and B lie transposed.
  constexpr int64_t m = 600, k = 400, n = 20 * portable::columns, rows = 148, steps = 136;
  const std::vector<float> a(m * k, 1), b(k * n, 1);
  std::vector<float> c(m * n);
  noted::ranges.clear();
  run_gemm({DType::float32, {}, m, n, k, {{}, 1, m}, {{}, 1, k}, {{}, n, 1}}, a.data(), b.data(), c.data());
  set = usual;
  CHECK(c[0] == k && c[m * n - 1] == k);
  std::vector<int> times(a.size());
  const auto start = reinterpret_cast<uintptr_t>(a.data()), end = start + a.size() * sizeof(float);
  int64_t lines = 0;
  for (const auto& [from, to] : noted::ranges) {
    CHECK(from >= start && from < end);
    lines += static_cast<int64_t>((to - from) / 64);
    for (uintptr_t at = from; at < std::min(to, end); at += sizeof(float)) ++times[(at - start) / sizeof(float)];
  }
  // All but what is packed first, each line once or, where units meet, twice.
  for (int64_t p = 0; p < k; ++p)
    for (int64_t i = p < steps ? rows : 0; i < m; ++i) CHECK(times[static_cast<size_t>(p * m + i)] > 0);
  CHECK(lines * 64 < 3 * m * k * static_cast<int64_t>(sizeof(float)) / 2);
}

TEST(float_bits_do_not_depend_on_threads) {
  for (const Sizes& s : {Sizes{120, 120, 120}, Sizes{64, 100, 1000}, Sizes{9, 20, 3000}}) {
    std::vector<float> a(static_cast<size_t>(s.m * s.k)), b(static_cast<size_t>(s.k * s.n));
    for (size_t i = 0; i < a.size(); ++i) a[i] = std::sin(static_cast<float>(i));
    for (size_t i = 0; i < b.size(); ++i) b[i] = std::cos(static_cast<float>(i));
    const Gemm g{DType::float32, {}, s.m, s.n, s.k, {{}, s.k, 1}, {{}, s.n, 1}, {{}, s.n, 1}};
    std::vector<float> results[4];
    for (int threads = 1; threads <= 4; ++threads) {
      set_num_threads(threads);
      std::vector<float>& c = results[threads - 1];
      c.resize(static_cast<size_t>(s.m * s.n));
      run_gemm(g, a.data(), b.data(), c.data());
      CHECK(std::memcmp(results[0].data(), c.data(), c.size() * sizeof(float)) == 0);
    }
  }
}

TEST(float_bits_do_not_depend_on_layouts) {
  constexpr int64_t m = 50, n = 37, k = 600;
  std::vector<float> a(m * k), at(m * k), b(k * n), bt(k * n), first(m * n), second(m * n);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t p = 0; p < k; ++p) a[static_cast<size_t>(i * k + p)] = at[static_cast<size_t>(p * m + i)] = std::sin(static_cast<float>(i * k + p));
  for (int64_t p = 0; p < k; ++p)
    for (int64_t j = 0; j < n; ++j) b[static_cast<size_t>(p * n + j)] = bt[static_cast<size_t>(j * k + p)] = std::cos(static_cast<float>(p * n + j));
  const Gemm plain{DType::float32, {}, m, n, k, {{}, k, 1}, {{}, n, 1}, {{}, n, 1}};
  const Gemm transposed{DType::float32, {}, m, n, k, {{}, 1, m}, {{}, 1, k}, {{}, n, 1}};
  run_gemm(plain, a.data(), b.data(), first.data());
  run_gemm(transposed, at.data(), bt.data(), second.data());
  CHECK(std::memcmp(first.data(), second.data(), first.size() * sizeof(float)) == 0);
}

// A product an operand of which is mostly zeros, against chains of multiply-adds that skip nothing; what follows it is told of
// each element once, when it is final. ka, kb, kc: layouts.
template <class T>
static void compare_with_zeros(DType dtype, const Sizes& s, bool of_left, int ka, int kb, int kc, bool finite) {
  const Operand oa = operand(ka, s.m, s.k, {}, true), ob = operand(kb, s.k, s.n, {}, true), oc = operand(kc, s.m, s.n, {}, false);
  std::vector<T> a(static_cast<size_t>(oa.size)), b(static_cast<size_t>(ob.size)), c(static_cast<size_t>(oc.size), T(77));
  for (size_t i = 0; i < a.size(); ++i) a[i] = of_left && i * i % 13 != 1 ? T{} : static_cast<T>(std::sin(static_cast<double>(i)));
  for (size_t i = 0; i < b.size(); ++i) b[i] = !of_left && i * i % 13 != 1 ? -T{} : static_cast<T>(std::cos(static_cast<double>(i)));
  if (!finite) (of_left ? b : a)[static_cast<size_t>((of_left ? ob : oa).origin)] = std::numeric_limits<T>::infinity();
  std::vector<T> expected = c;
  const Chains chains(s.k);
  for (int64_t i = 0; i < s.m; ++i)
    for (int64_t j = 0; j < s.n; ++j) {
      T total{};
      for (int64_t chain = 0; chain < chains.count; ++chain) {
        T sum{};
        for (int64_t p = chains.begin(chain); p < chains.begin(chain) + chains.length(chain); ++p)
          sum = std::fma(a[static_cast<size_t>(oa.origin + i * oa.rs + p * oa.cs)], b[static_cast<size_t>(ob.origin + p * ob.rs + j * ob.cs)], sum);
        total = chain ? total + sum : sum;
      }
      expected[static_cast<size_t>(oc.origin + i * oc.rs + j * oc.cs)] = total;
    }
  const auto equal = [](const T& x, const T& y) { return std::memcmp(&x, &y, sizeof(T)) == 0 || (std::isnan(x) && std::isnan(y)); };
  const Gemm g{dtype, {}, s.m, s.n, s.k, {{}, oa.rs, oa.cs}, {{}, ob.rs, ob.cs}, {{}, oc.rs, oc.cs}};
  struct Told {
    int64_t n;
    bool whole_rows;
    std::vector<std::atomic<uint8_t>> seen;
    std::atomic<bool> wrong{false};
    std::atomic<int> asides{0};
  };
  for (int followed = 0; followed < 3; ++followed) {
    Told told{s.n, followed == 2, std::vector<std::atomic<uint8_t>>(static_cast<size_t>(s.m * s.n))};
    const auto done = [](void* context, int64_t, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
      Told& t = *static_cast<Told*>(context);
      if (t.whole_rows && (j0 != 0 || j1 != t.n)) t.wrong = true;
      for (int64_t i = i0; i < i1; ++i)
        for (int64_t j = j0; j < j1; ++j) ++t.seen[static_cast<size_t>(i * t.n + j)];
    };
    const auto aside = [](void* context) { ++static_cast<Told*>(context)->asides; };
    const GemmHooks hooks{.context = &told, .done = done, .whole_rows = told.whole_rows, .work = 1e5, .aside = aside};
    std::fill(c.begin(), c.end(), T(77));
    const uint64_t before = total_over_threads(&ThreadState::gemms_skipping_zeros);
    CHECK(run_gemm(g, a.data() + oa.origin, b.data() + ob.origin, c.data() + oc.origin, nullptr, followed ? &hooks : nullptr));
    CHECK(total_over_threads(&ThreadState::gemms_skipping_zeros) - before == (oc.rs == 1 || oc.cs == 1));
    CHECK(std::equal(c.begin(), c.end(), expected.begin(), equal));
    CHECK(!told.wrong);
    CHECK((told.asides > 0) == (followed > 0));
    for (const auto& seen : told.seen) CHECK(seen == (followed ? 1 : 0));
  }
}

TEST(products_that_skip_zeros) {
  for (int threads : {1, 3})
    for (const Sizes& s : std::vector<Sizes>{{70, 240, 80}, {240, 130, 40}, {130, 90, 400}, {96, 96, 200}}) {
      set_num_threads(threads);
      for (int layout = 0; layout < 5; ++layout)
        for (bool of_left : {true, false}) {
          compare_with_zeros<float>(DType::float32, s, of_left, layout, (layout + 2) % 5, (layout + threads) % 5, true);
          compare_with_zeros<double>(DType::float64, s, of_left, layout, (layout + 1) % 5, layout % 3, layout != 3);
        }
    }
}

TEST(small_and_flat_products) {
  // Every depth of flat products, around the width of a vector; tiles of every height.
  for (int64_t k = 1; k <= 9; ++k)
    for (const int64_t n : {2, 3, 4, 5, 8, 9, 16, 21})
      for (int kind = 0; kind < 6; ++kind) {
        compare<float>(DType::float32, 23, n, k, {}, kind, (kind + 1) % 6, kind % 5);
        compare<double>(DType::float64, 23, n, k, {2}, kind, (kind + 2) % 6, kind % 3);
      }
  for (int64_t m = 2; m <= 14; ++m) compare<float>(DType::float32, m, 19, 30, {}, m % 6, (m + 1) % 6, m % 5);
  set_num_threads(4);
  compare<float>(DType::float32, 30000, 3, 3, {}, 0, 0, 0);
  compare<float>(DType::float32, 401, 1003, 2, {}, 0, 1, 0);
  compare<double>(DType::float64, 16, 16, 16, {300}, 1, 1, 0);
}

TEST(results_that_are_turned) {
  for (int threads : {1, 4}) {
    set_num_threads(threads);
    for (int ka : {0, 1, 3}) {
      compare<float>(DType::float32, 20, 2000, 133, {}, ka, 1, 0);
      compare<double>(DType::float64, 33, 70, 140, {2}, ka, 1, 0);
    }
  }
}

TEST(bits_of_small_and_flat_products_are_those_of_large_ones) {
  for (const Sizes& s : std::vector<Sizes>{{20, 3, 3}, {20, 8, 7}, {20, 30, 4}, {20, 30, 1}, {20, 10, 100}, {13, 5, 256},
                                             {75, 3, 33}, {43, 7, 64}, {32, 2, 9}}) {
    const int64_t rows = 3000;
    std::vector<float> a(static_cast<size_t>(rows * s.k)), b(static_cast<size_t>(s.k * 96)), large(static_cast<size_t>(rows * 96)),
        small(static_cast<size_t>(s.m * s.n));
    for (size_t i = 0; i < a.size(); ++i) a[i] = std::sin(static_cast<float>(i));
    for (size_t i = 0; i < b.size(); ++i) b[i] = std::cos(static_cast<float>(i));
    const GemmOperand left{{}, s.k, 1}, right{{}, 96, 1};
    run_gemm({DType::float32, {}, rows, 96, s.k, left, right, right}, a.data(), b.data(), large.data());
    run_gemm({DType::float32, {}, s.m, s.n, s.k, left, right, {{}, s.n, 1}}, a.data(), b.data(), small.data());
    for (int64_t i = 0; i < s.m; ++i)
      CHECK(std::memcmp(small.data() + i * s.n, large.data() + i * 96, static_cast<size_t>(s.n) * sizeof(float)) == 0);
  }
}

TEST(single_rows_and_columns) {
  // Around the edges of lanes, groups of rows, blocks of k and chunks of columns.
  for (const Sizes& s : std::vector<Sizes>{{1, 9, 3}, {1, 8, 4}, {1, 3, 17}, {1, 37, 513}, {1, 2051, 20}, {1, 1, 5000}, {1, 5, 4100},
                                             {1, 33, 1}, {1, 70, 2}, {1, 19, 4}, {1, 40, 30}})
    for (int ka = 0; ka < 6; ++ka)
      for (int kb = 0; kb < 6; ++kb) {
        compare<float>(DType::float32, s.m, s.n, s.k, {}, ka, kb, 0);
        compare<double>(DType::float64, s.n, s.m, s.k, {}, kb, ka, 2);
        compare<float>(DType::float32, s.n, s.m, s.k, {2}, kb, ka, 3);
      }
  set_num_threads(3);
  compare<float>(DType::float32, 1, 700, 1100, {}, 0, 0, 0);
  compare<float>(DType::float32, 700, 1, 1100, {}, 0, 0, 0);
  compare<double>(DType::float64, 1, 3, 70000, {}, 0, 1, 0);
  compare<double>(DType::float64, 1, 301, 1100, {}, 0, 3, 0);
  // Of a size that no cache holds.
  compare<float>(DType::float32, 1, 2050, 2070, {}, 0, 1, 0);
  compare<float>(DType::float32, 1, 2070, 2050, {}, 0, 0, 0);
  compare<double>(DType::float64, 1403, 1, 1500, {}, 0, 0, 0);
}

TEST(bits_of_single_rows_and_columns_do_not_depend_on_layouts_or_threads) {
  for (const Sizes& s : std::vector<Sizes>{{1, 7, 1030}, {1, 100, 1030}, {1, 1, 100003}, {1, 3, 70001}, {1, 900, 500}}) {
    const auto n = static_cast<size_t>(s.n), k = static_cast<size_t>(s.k);
    std::vector<float> x(k), xs(3 * k), b(k * n), bt(k * n), bs(6 * k * n), found[6];
    for (size_t p = 0; p < k; ++p) x[p] = xs[3 * p] = std::sin(static_cast<float>(p));
    for (size_t p = 0; p < k; ++p)
      for (size_t j = 0; j < n; ++j)
        b[p * n + j] = bt[j * k + p] = bs[3 * (p * 2 * n + 2 * j)] = std::cos(static_cast<float>(p * n + j));
    for (int i = 0; i < 6; ++i) {
      found[i].resize(n);
      set_num_threads(i < 3 ? 1 : 4);
      const GemmOperand row{{}, s.k, 1}, apart{{}, s.k, 3}, plain{{}, s.n, 1}, turned{{}, 1, s.k}, wide{{}, 6 * s.n, 6};
      const Gemm g{DType::float32, {}, 1, s.n, s.k, i % 2 ? apart : row, i % 3 == 0 ? plain : i % 3 == 1 ? turned : wide, plain};
      run_gemm(g, i % 2 ? xs.data() : x.data(), i % 3 == 0 ? b.data() : i % 3 == 1 ? bt.data() : bs.data(), found[i].data());
      CHECK(std::memcmp(found[i].data(), found[0].data(), n * sizeof(float)) == 0);
    }
    // The same product, turned.
    const Gemm g{DType::float32, {}, s.n, 1, s.k, {{}, 1, s.n}, {{}, 1, 1}, {{}, 1, 1}};
    run_gemm(g, b.data(), x.data(), found[1].data());
    CHECK(std::memcmp(found[1].data(), found[0].data(), n * sizeof(float)) == 0);
  }
}

// A batch and its matrices one by one.
template <class T>
static void compare_one_by_one(DType dtype, T (*value)(double), const Sizes& s, const std::vector<int64_t>& batch, int ka, int kb, int kc) {
  const Operand oa = operand(ka, s.m, s.k, batch, true), ob = operand(kb, s.k, s.n, batch, true), oc = operand(kc, s.m, s.n, batch, false);
  std::vector<T> a(static_cast<size_t>(oa.size)), b(static_cast<size_t>(ob.size)), c(static_cast<size_t>(oc.size), value(77)), each;
  for (size_t i = 0; i < a.size(); ++i) a[i] = value(100 * std::sin(static_cast<double>(i)));
  for (size_t i = 0; i < b.size(); ++i) b[i] = value(100 * std::cos(static_cast<double>(i)));
  each = c;
  int64_t count = 1;
  for (int64_t size : batch) count *= size;
  run_gemm({dtype, batch, s.m, s.n, s.k, {oa.batch_strides, oa.rs, oa.cs}, {ob.batch_strides, ob.rs, ob.cs},
            {oc.batch_strides, oc.rs, oc.cs}}, a.data() + oa.origin, b.data() + ob.origin, c.data() + oc.origin);
  for (int64_t index = 0; index < count; ++index) {
    int64_t rest = index, at = oa.origin, bt = ob.origin, ct = oc.origin;
    for (size_t d = batch.size(); d-- > 0; rest /= batch[d]) {
      const int64_t i = rest % batch[d];
      at += i * oa.batch_strides[d], bt += i * ob.batch_strides[d], ct += i * oc.batch_strides[d];
    }
    run_gemm({dtype, {}, s.m, s.n, s.k, {{}, oa.rs, oa.cs}, {{}, ob.rs, ob.cs}, {{}, oc.rs, oc.cs}}, a.data() + at, b.data() + bt,
             each.data() + ct);
  }
  CHECK(std::memcmp(c.data(), each.data(), c.size() * sizeof(T)) == 0);
}

TEST(batches_have_the_bits_of_their_matrices) {
  for (int threads : {1, 4}) {
    set_num_threads(threads);
    int kind = 0;
    for (const std::vector<int64_t>& batch : {std::vector<int64_t>{7}, {3, 4}, {1, 300}, {900}})
      for (const Sizes& s : std::vector<Sizes>{{3, 3, 3}, {4, 4, 4}, {8, 8, 8}, {2, 2, 2}, {10, 5, 20}, {1, 1, 3}, {1, 1, 21}, {5, 1, 10},
                                               {1, 4, 4}, {3, 1, 3}, {1, 13, 9}, {7, 1, 300}, {9, 17, 1}, {2, 33, 30}, {13, 12, 13}, {16, 16, 16}, {12, 11, 18}}) {
        if (batch[0] > 100 && s.m * s.n * s.k > 600) continue;
        for (int shift = 0; shift < 3; ++shift, ++kind) {
          const int ka = kind % 6, kb = kind / 6 % 6, kc = kind % 5;
          compare_one_by_one<float>(DType::float32, [](double x) { return static_cast<float>(x); }, s, batch, ka, kb, kc);
          compare_one_by_one<double>(DType::float64, [](double x) { return x; }, s, batch, kb, ka, kc);
          compare_one_by_one<int64_t>(DType::int64, [](double x) { return static_cast<int64_t>(x); }, s, batch, ka, ka, kc);
          compare_one_by_one<int8_t>(DType::int8, [](double x) { return static_cast<int8_t>(x); }, s, batch, kb, kb, kc);
          compare_one_by_one<uint16_t>(DType::float16, [](double x) { return float_to_half(static_cast<float>(x)); }, s, batch, ka, kb, kc);
          compare_one_by_one<uint16_t>(DType::bfloat16, [](double x) { return float_to_bfloat16(static_cast<float>(x)); }, s, batch, kb, ka, kc);
        }
      }
  }
}

TEST(matrices_that_each_thread_multiplies_by_itself) {
  for (int threads : {1, 2, 3, 4}) {
    set_num_threads(threads);
    for (const std::vector<int64_t>& batch : {std::vector<int64_t>{2}, {7}, {2, 9}})
      for (int ka : {1, 2})
        for (int kb : {1, 2}) {
          const Sizes s{66, 70, 80};
          compare_one_by_one<float>(DType::float32, [](double x) { return static_cast<float>(x); }, s, batch, ka, kb, 1);
          compare_one_by_one<double>(DType::float64, [](double x) { return x; }, s, batch, ka, kb, 1);
          compare_one_by_one<int32_t>(DType::int32, [](double x) { return static_cast<int32_t>(x); }, s, batch, ka, kb, 1);
          compare_one_by_one<uint16_t>(DType::float16, [](double x) { return float_to_half(static_cast<float>(x)); }, s, batch, ka, kb, 1);
        }
  }
}

// The loops for each instruction set that this CPU has, with numbers whose sums are exact: nothing is fused in the portable ones.
template <class T>
static void check_tiny_kernels() {
  const TinyKernels<T>* found[most_instruction_sets];
  const int count = runnable_kernels(found);
  CHECK(count > 0 && &tiny_kernels<T>() == found[count - 1]);
  constexpr int64_t matrices = 2, k = 11, first = 4, rest = 3, gap = 3;
  for (const TinyKernels<T>* kernels : {found[0], found[count - 1], found[count / 2]})
    for (int vectors : {1, 2})
      for (int rows = 1; rows <= (vectors == 1 ? kernels->most_of_one : kernels->most_of_two); ++rows)
        for (int64_t columns = (vectors - 1) * kernels->width + 1; columns <= vectors * kernels->width; ++columns) {
          std::vector<T> a(static_cast<size_t>(matrices * rows * k)), b(static_cast<size_t>(matrices * k * columns)),
              c(static_cast<size_t>(matrices * rows * (columns + gap)), T(77)), expected = c;
          for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<T>(i % 13);
          for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<T>(i % 17);
          for (int64_t m = 0; m < matrices; ++m)
            for (int64_t i = 0; i < rows; ++i)
              for (int64_t j = 0; j < columns; ++j) {
                T& sum = expected[static_cast<size_t>((m * rows + i) * (columns + gap) + j)] = 0;
                for (int64_t p = 0; p < k; ++p)
                  sum += a[static_cast<size_t>((m * rows + i) * k + p)] * b[static_cast<size_t>((m * k + p) * columns + j)];
              }
          (vectors == 1 ? kernels->of_one : kernels->of_two)[rows - 1](
              {.count = matrices, .columns = columns, .k = k, .first = first, .rest = rest, .a = a.data(), .a_matrix = rows * k,
               .a_row = k, .a_k = 1, .b = b.data(), .b_matrix = k * columns, .b_k = columns, .c = c.data(),
               .c_matrix = rows * (columns + gap), .c_row = columns + gap});
          CHECK(c == expected);
        }
  for (const TinyKernels<T>* kernels : {found[0], found[count - 1], found[count / 2]})
    for (int64_t lines = 1; lines <= 2 * kernels->width + 1; ++lines)
      for (int64_t length : {1, 3, 4, 7, 8, 18}) {
        const int64_t line = length + 1, matrix = lines * line + 2;
        std::vector<T> from(static_cast<size_t>(matrices * matrix)), to(static_cast<size_t>(matrices * lines * length));
        for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<T>(i);
        kernels->turn(matrices, lines, length, from.data(), matrix, line, to.data());
        for (int64_t m = 0; m < matrices; ++m)
          for (int64_t p = 0; p < length; ++p)
            for (int64_t j = 0; j < lines; ++j)
              CHECK(to[static_cast<size_t>((m * length + p) * lines + j)] == from[static_cast<size_t>(m * matrix + j * line + p)]);
      }
}

TEST(tiny_kernels_of_every_instruction_set) {
  check_tiny_kernels<float>();
  check_tiny_kernels<double>();
}

template <class T>
static void check_few_row_kernels() {
  const FewRowKernels<T>* found[most_instruction_sets];
  const int count = runnable_kernels(found);
  CHECK(count > 0 && &few_row_kernels<T>() == found[count - 1]);
  constexpr int64_t k = 37, first = 12, rest = 10, gap = 3;
  for (const FewRowKernels<T>* kernels : {found[0], found[count - 1], found[count / 2]})
    for (int rows = 1; rows <= kernels->most; ++rows)
      for (const int64_t lines : {int64_t{1}, kernels->width - 1, kernels->width, 2 * kernels->width + 3})
        for (const bool beside : {true, false}) {  // lines of C, or rows
          std::vector<T> x(static_cast<size_t>(k * (rows + 1))), l(static_cast<size_t>(lines * (k + gap))),
              c(static_cast<size_t>((rows + gap) * (lines + gap)), T(77)), expected = c;
          for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(i % 13);
          for (size_t i = 0; i < l.size(); ++i) l[i] = static_cast<T>(i % 17);
          const int64_t c_row = beside ? lines + gap : 1, c_line = beside ? 1 : rows + gap;
          for (int64_t r = 0; r < rows; ++r)
            for (int64_t j = 0; j < lines; ++j) {
              T& sum = expected[static_cast<size_t>(r * c_row + j * c_line)] = 0;
              for (int64_t p = 0; p < k; ++p) sum += x[static_cast<size_t>(p * (rows + 1) + r)] * l[static_cast<size_t>(j * (k + gap) + p)];
            }
          kernels->of_rows[rows - 1]({.lines = lines, .k = k, .first = first, .rest = rest, .x = x.data(), .x_k = rows + 1, .l = l.data(),
                                      .line = k + gap, .c = c.data(), .c_row = c_row, .c_line = c_line});
          CHECK(c == expected);
        }
}

TEST(kernels_of_few_rows_of_every_instruction_set) {
  check_few_row_kernels<float>();
  check_few_row_kernels<double>();
}

template <class T>
static void check_far_row_kernels() {
  const FarRowKernels<T>* found[most_instruction_sets];
  const int count = runnable_kernels(found);
  CHECK(count > 0 && &far_row_kernels<T>() == found[count - 1]);
  constexpr int64_t gap = 3, room = 64;
  for (const FarRowKernels<T>* kernels : {found[0], found[count - 1], found[count / 2]})
    for (int rows = 1; rows <= most_far_rows; ++rows)
      for (const int64_t k : {1, 7, 8, 27})
        for (const int64_t columns : {1, 15, 16, 33, 64})
          for (const bool beside : {true, false}) {  // elements of a row of X, or of a column
            std::vector<T> x(static_cast<size_t>((k + gap) * (rows + gap))), l(static_cast<size_t>((k - 1) * (columns + gap) + columns)),
                sums(static_cast<size_t>(rows * room), T(77));
            for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(i % 13);
            for (size_t i = 0; i < l.size(); ++i) l[i] = static_cast<T>(i % 17);
            const int64_t x_row = beside ? k + gap : 1, x_k = beside ? 1 : rows + gap;
            kernels->of_rows[rows - 1]({.columns = columns, .k = k, .x = x.data(), .x_row = x_row, .x_k = x_k, .l = l.data(),
                                        .line = columns + gap, .sums = sums.data(), .sums_row = room});
            for (int64_t r = 0; r < rows; ++r)
              for (int64_t j = 0; j < columns; ++j) {
                T sum = 0;
                for (int64_t p = 0; p < k; ++p)
                  sum += x[static_cast<size_t>(r * x_row + p * x_k)] * l[static_cast<size_t>(p * (columns + gap) + j)];
                CHECK(sums[static_cast<size_t>(r * room + j)] == sum);
              }
          }
}

TEST(kernels_of_far_rows_of_every_instruction_set) {
  check_far_row_kernels<float>();
  check_far_row_kernels<double>();
}

TEST(few_rows_by_a_far_matrix) {
  for (int threads : {1, 2}) {
    set_num_threads(threads);
    for (int kind : {0, 1, 2, 3, 4}) {
      compare<float>(DType::float32, 5, 3100, 1000, {}, kind, 2, kind);
      compare<double>(DType::float64, 8, 1400, 1000, {}, kind, 4, kind);
      compare<float>(DType::float32, 3100, 4, 1000, {}, 1, kind, kind);
    }
  }
  // A poll is asked between columns.
  const std::vector<float> b(1000 * 3100);
  std::vector<float> c(5 * 3100);
  const Poll stop{[](void*) { return true; }, nullptr};
  CHECK(!run_gemm({DType::float32, {}, 5, 3100, 1000, {{}, 1000, 1}, {{}, 3100, 1}, {{}, 3100, 1}}, b.data(), b.data(), c.data(), &stop));
}

TEST(batches_that_are_one_product) {
  // The same right, and the same left operand; of which only some have the order of one product.
  for (const Sizes& s : std::vector<Sizes>{{4, 4, 4}, {1, 3, 3}, {3, 1, 3}, {1, 1, 20}, {30, 40, 20}, {40, 150, 30}}) {
    const int64_t count = 50;
    std::vector<float> a(static_cast<size_t>(count * s.m * s.k)), b(static_cast<size_t>(count * s.k * s.n)),
        c(static_cast<size_t>(count * s.m * s.n)), one(static_cast<size_t>(s.m * s.n));
    for (size_t i = 0; i < a.size(); ++i) a[i] = std::sin(static_cast<float>(i));
    for (size_t i = 0; i < b.size(); ++i) b[i] = std::cos(static_cast<float>(i));
    for (bool same_right : {true, false}) {
      // B's columns follow one another from matrix to matrix.
      const GemmOperand left{{same_right ? s.m * s.k : 0}, s.k, 1}, right{{same_right ? 0 : s.n * s.k}, 1, s.k};
      const GemmOperand out = same_right ? GemmOperand{{s.m * s.n}, s.n, 1} : GemmOperand{{s.n}, count * s.n, 1};
      run_gemm({DType::float32, {count}, s.m, s.n, s.k, left, right, out}, a.data(), b.data(), c.data());
      for (int64_t i = 0; i < count; ++i) {
        run_gemm({DType::float32, {}, s.m, s.n, s.k, {{}, s.k, 1}, {{}, 1, s.k}, {{}, s.n, 1}},
                 a.data() + i * left.batch_strides[0], b.data() + i * right.batch_strides[0], one.data());
        for (int64_t r = 0; r < s.m; ++r)
          CHECK(std::memcmp(c.data() + i * out.batch_strides[0] + r * out.row_stride, one.data() + r * s.n,
                            static_cast<size_t>(s.n) * sizeof(float)) == 0);
      }
    }
  }
}

TEST(sixteen_bit_products_round_once) {
  for (DType d : {DType::float16, DType::bfloat16}) {
    const auto narrow = d == DType::float16 ? float_to_half : float_to_bfloat16;
    const auto widen = d == DType::float16 ? half_to_float : bfloat16_to_float;
    constexpr int64_t k = 300;
    std::vector<uint16_t> a(k, narrow(1.0f)), b(k, narrow(1.0f));
    uint16_t c = 0;
    const Gemm g{d, {}, 1, 1, k, {{}, k, 1}, {{}, 1, 1}, {{}, 1, 1}};
    run_gemm(g, a.data(), b.data(), &c);
    CHECK(widen(c) == 300.0f);  // a 16-bit running sum would stop at 256 in bfloat16
  }
}

// The float32 product of widened operands, rounded.
static void compare_halves(DType d, int64_t m, int64_t n, int64_t k, const std::vector<int64_t>& batch, int ka, int kb, int kc) {
  const auto narrowed = d == DType::float16 ? float_to_half : float_to_bfloat16;
  const auto wide = d == DType::float16 ? half_to_float : bfloat16_to_float;
  const Operand oa = operand(ka, m, k, batch, true), ob = operand(kb, k, n, batch, true), oc = operand(kc, m, n, batch, false);
  std::vector<uint16_t> a(static_cast<size_t>(oa.size)), b(static_cast<size_t>(ob.size)), c(static_cast<size_t>(oc.size), 77);
  for (size_t i = 0; i < a.size(); ++i) a[i] = narrowed(std::sin(static_cast<float>(i)));
  for (size_t i = 0; i < b.size(); ++i) b[i] = narrowed(std::cos(static_cast<float>(i)));
  std::vector<float> fa(a.size()), fb(b.size()), fc(c.size(), wide(77));
  for (size_t i = 0; i < a.size(); ++i) fa[i] = wide(a[i]);
  for (size_t i = 0; i < b.size(); ++i) fb[i] = wide(b[i]);
  Gemm g{d, batch, m, n, k, {oa.batch_strides, oa.rs, oa.cs}, {ob.batch_strides, ob.rs, ob.cs}, {oc.batch_strides, oc.rs, oc.cs}};
  run_gemm(g, a.data() + oa.origin, b.data() + ob.origin, c.data() + oc.origin);
  g.dtype = DType::float32;
  run_gemm(g, fa.data() + oa.origin, fb.data() + ob.origin, fc.data() + oc.origin);
  for (size_t i = 0; i < c.size(); ++i) CHECK(c[i] == narrowed(fc[i]));
}

TEST(sixteen_bit_products_are_rounded_products_of_float) {
  for (DType d : {DType::float16, DType::bfloat16}) {
    for (const Sizes& s : std::vector<Sizes>{{3, 4, 5}, {1, 37, 513}, {21, 1, 700}, {1, 1, 5000}, {2, 1, 1100}, {7, 17, 9}, {50, 70, 300}, {3, 2, 0},
                                               {75, 9, 33}, {33, 2, 3}, {1, 30, 3}, {30, 1, 4}})
      for (int ka = 0; ka < 6; ++ka)
        for (int kb = 0; kb < 6; ++kb) compare_halves(d, s.m, s.n, s.k, {}, ka, kb, (ka + kb) % 5);
    for (int threads : {1, 4}) {
      set_num_threads(threads);
      compare_halves(d, 9, 7, 5000, {}, 0, 0, 0);
      compare_halves(d, 230, 300, 70, {2}, 0, 1, 2);
    }
  }
}

TEST(integer_products_in_pieces) {
  for (int threads : {1, 4}) {
    set_num_threads(threads);
    for (int kind = 0; kind < 6; ++kind) {
      compare<uint8_t>(DType::uint8, 201, 530, 40, {}, kind, (kind + 1) % 6, kind % 5);
      compare<int16_t>(DType::int16, 30, 70, 600, {}, kind, (kind + 2) % 6, kind % 5);
      compare<int32_t>(DType::int32, 5, 3, 4000, {}, kind, (kind + 3) % 6, kind % 5);
      compare<uint64_t>(DType::uint64, 101, 130, 60, {2}, kind, (kind + 1) % 6, kind % 5);
      compare<int64_t>(DType::int64, 1, 1100, 700, {}, kind, (kind + 1) % 6, kind % 5);
      compare<int8_t>(DType::int8, 1100, 1, 700, {}, kind, (kind + 1) % 6, kind % 5);
      compare<int8_t>(DType::int8, 75, 3, 4, {}, kind, (kind + 1) % 6, kind % 5);
      compare<uint64_t>(DType::uint64, 300, 5, 33, {}, kind, (kind + 2) % 6, kind % 5);
    }
  }
}

TEST(threads_share_a_long_sum) {
  set_num_threads(4);
  for (int ka = 0; ka < 6; ++ka)
    for (int kb = 0; kb < 6; ++kb) {
      compare<float>(DType::float32, 8, 20, 6000, {}, ka, kb, (ka + kb) % 5);
      compare<double>(DType::float64, 30, 8, 6000, {2}, ka, kb, (ka + kb) % 5);
    }
  // More rows or columns than one piece has.
  set_num_threads(2);
  for (int kind : {1, 2, 4}) {
    compare<float>(DType::float32, 13, 600, 3000, {}, kind, 2, kind);
    compare<float>(DType::float32, 400, 30, 3000, {}, 2, kind, kind);
    compare<int16_t>(DType::int16, 13, 700, 6000, {}, kind, 2, kind);
    compare<int16_t>(DType::int16, 400, 30, 6000, {}, 2, kind, kind);
  }
}

static const MatrixUnit* const no_unit = use_matrix_unit(nullptr);  // what follows but for these tests is about other ways

// Of the portable unit and, where there is one, the CPU's.
template <class Test>
static void with_units(Test test) {
  for (const MatrixUnit* unit : {&portable_unit::unit, cpu_matrix_unit()}) {
    if (!unit) continue;
    use_matrix_unit(unit);
    test();
    use_matrix_unit(nullptr);
  }
}

TEST(products_by_a_matrix_unit) {
  with_units([] {
    for (const Sizes& s : std::vector<Sizes>{{300, 290, 190}, {700, 130, 190}, {129, 257, 1100}}) {
      const GemmOperand any{{}, 1, 1};
      CHECK(split_pays({DType::float32, {}, s.m, s.n, s.k, any, any, any}));
      for (int threads : {1, 2, 3, 8}) {
        set_num_threads(threads);
        const int kind = static_cast<int>(s.m) % 5;
        compare<float>(DType::float32, s.m, s.n, s.k, {}, (kind + threads) % 5, threads % 5, (2 * threads + kind) % 5);
      }
    }
    compare<float>(DType::float32, 260, 200, 220, {3}, 0, 1, 0);
    for (const Sizes& s : std::vector<Sizes>{{128, 128, 128}, {64, 100, 1000}, {32, 4096, 4096}, {256, 256, 16}}) {
      const GemmOperand any{{}, 1, 1};
      CHECK(!split_pays({DType::float32, {}, s.m, s.n, s.k, any, any, any}));
    }
  });
}

TEST(products_by_a_matrix_unit_are_as_exact) {
  constexpr int64_t n = 320;
  std::vector<float> a(n * n), b(n * n), c(n * n), other(n * n), shared(n * n);
  uint32_t state = 1;
  const auto drawn = [&] { return static_cast<float>(static_cast<int32_t>(state = state * 1664525 + 1013904223)) / 2147483648.0f; };
  for (auto& x : a) x = drawn();
  for (auto& x : b) x = drawn();
  const Gemm g{DType::float32, {}, n, n, n, {{}, n, 1}, {{}, n, 1}, {{}, n, 1}};
  const auto error = [&](const std::vector<float>& found) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double exact = 0;
        for (int64_t p = 0; p < n; ++p) exact += static_cast<double>(a[static_cast<size_t>(i * n + p)]) * b[static_cast<size_t>(p * n + j)];
        const double off = found[static_cast<size_t>(i * n + j)] - exact;
        sum += off * off;
      }
    return sum;
  };
  set_num_threads(1);
  CHECK(run_gemm(g, a.data(), b.data(), other.data()));
  if (const MatrixUnit* unit = cpu_matrix_unit()) {
    for (double scale : {1.0, 1e12, 1e-12}) {
      for (auto& x : a) x = static_cast<float>(x * scale);
      CHECK(run_gemm(g, a.data(), b.data(), other.data()));
      use_matrix_unit(unit);
      CHECK(run_gemm(g, a.data(), b.data(), c.data()));
      set_num_threads(3);
      CHECK(run_gemm(g, a.data(), b.data(), shared.data()));
      set_num_threads(1);
      use_matrix_unit(nullptr);
      CHECK(c == shared);
      CHECK(c != other);
      CHECK(error(c) < error(other));
      for (auto& x : a) x = static_cast<float>(x / scale);
    }
  }
}

TEST(numbers_that_a_matrix_unit_cannot_split) {
  constexpr int64_t n = 256;
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> a(n * n), b(n * n), c(n * n), expected(n * n);
  const auto same = [](const std::vector<float>& x, const std::vector<float>& y) {
    return std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
  };
  for (float odd : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN(), 3e38f, 1e-45f})
    for (bool left : {true, false}) {
      for (size_t i = 0; i < a.size(); ++i) {
        a[i] = static_cast<float>(i % 17) / 7 - 1;
        b[i] = static_cast<float>(i % 13) / 3 - 2;
      }
      (left ? a : b)[n * n - 1] = odd;
      if (odd < 1e-40f && odd > 0) (left ? b : a)[77] = 1e-30f;
      const Gemm g{DType::float32, {}, n, n, n, {{}, n, 1}, {{}, n, 1}, {{}, n, 1}};
      for (int threads : {1, 2, 4}) {
        set_num_threads(threads);
        CHECK(run_gemm(g, a.data(), b.data(), expected.data()));
        with_units([&] {
          CHECK(run_gemm(g, a.data(), b.data(), c.data()));
          CHECK(same(c, expected));
          Watch<float> watch{g, c.data(), expected.data(), true, std::vector<uint8_t>(n * n), std::vector<uint8_t>(n)};
          const GemmHooks hooks{&watch, Watch<float>::prepare, 1e6, Watch<float>::done, true, 1e6};
          CHECK(run_gemm(g, a.data(), b.data(), c.data(), nullptr, &hooks));
          CHECK(same(c, expected));
          CHECK(watch.seen == std::vector<uint8_t>(watch.seen.size(), 1));
        });
      }
    }
}

TEST(a_poll_stops_between_matrices) {
  std::vector<float> a(100 * 100), c(3 * 100 * 100);
  const Gemm g{DType::float32, {3}, 100, 100, 100, {{0}, 100, 1}, {{0}, 100, 1}, {{10000}, 100, 1}};
  const Poll stop{[](void*) { return true; }, nullptr};
  for (int threads : {1, 2, 4}) {  // all matrices, two of them or none are one thread's
    set_num_threads(threads);
    CHECK(!run_gemm(g, a.data(), a.data(), c.data(), &stop));
  }
}

TEST(a_poll_stops_within_a_matrix) {
  struct Asked {
    int times = 0, most;
    static bool ask(void* context) {
      auto& self = *static_cast<Asked*>(context);
      return ++self.times > self.most;
    }
  };
  constexpr int64_t n = 520;
  const std::vector<uint64_t> data(n * n, 0x3f8000003f800000);  // ones of float, nearly ones of double, and some integers
  std::vector<uint64_t> c(n * n);
  for (DType dtype : {DType::float32, DType::float64, DType::bfloat16, DType::int32})
    for (const GemmOperand& left : {GemmOperand{{}, n, 1}, GemmOperand{{}, 1, n}})
      for (int threads : {1, 4}) {
        set_num_threads(threads);
        const Gemm g{dtype, {}, n, n, n, left, {{}, n, 1}, {{}, n, 1}};
        for (int most : {0, 1, 5, 1 << 20}) {
          Asked asked{.most = most};
          const Poll poll{Asked::ask, &asked};
          const bool completed = run_gemm(g, data.data(), data.data(), c.data(), &poll);
          CHECK(completed == (asked.times <= most));
          if (most == 1 << 20) CHECK(completed && (asked.times > 5 || threads > 1));  // others may do almost all of it
        }
      }
  // A long sum that threads share.
  const Gemm shared{DType::float32, {}, 40, 40, 100000, {{}, 1, 40}, {{}, 40, 1}, {{}, 40, 1}};
  const std::vector<float> ones(40 * 100000, 1.0f);
  Asked asked{.most = 3};
  const Poll poll{Asked::ask, &asked};
  CHECK(!run_gemm(shared, ones.data(), ones.data(), c.data(), &poll));
  CHECK(asked.times == 4);
}
