// How threads share the units of large products, and what comes near meanwhile.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/caches.h"
#include "gemm/float.h"
#include "products.h"

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
  portable::tile<float, Rows, portable::columns>(k, first, a, a_row, a_k, b, b_k, c, c_row, add);
}

void column(int64_t k, int64_t first, int64_t count, const float* a, const float* b, float* c, int64_t c_row, bool add,
            const void* ahead, int64_t lines, int64_t runs, int64_t apart) {
  for (int64_t t = 0; t < count; ++t) wait();
  portable::column<float, portable::columns>(k, first, count, a, b, c, c_row, add, ahead, lines, runs, apart);
}

void opening(int64_t k, int64_t first, const float* a, const float* b, int64_t b_k, float* to, float* c, int64_t c_row, bool add) {
  wait();
  portable::opening<float, portable::columns>(k, first, a, b, b_k, to, c, c_row, add);
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

// Tiles as portable ones that note whether their thread has called an epilogue before.
namespace ordered {
static thread_local bool followed;
static std::atomic<int64_t> tiles, late;

template <int Rows>
void tile(int64_t k, int64_t first, const float* a, int64_t a_row, int64_t a_k, const float* b, int64_t b_k, float* c, int64_t c_row,
          bool add) {
  ++tiles, late += followed;
  portable::tile<float, Rows, portable::columns>(k, first, a, a_row, a_k, b, b_k, c, c_row, add);
}

template <size_t... Height>
void use(TileSet<float>& set, std::index_sequence<Height...>) {
  ((set.of_rows[Height] = tile<Height + 1>), ...);
}
}  // namespace ordered

TEST(rows_are_followed_by_who_has_made_its_parts_of_them_all) {
  auto& set = const_cast<TileSet<float>&>(*tile_set<float>());
  const TileSet<float> usual = set;
  ordered::use(set, portable::heights);
  // Each of two threads has half of k, in four units of rows.
  const Gemm g{DType::float32, {}, 64, 18, 1000, {{}, 1000, 1}, {{}, 18, 1}, {{}, 18, 1}};
  std::vector<float> a(64000, 1.0f), b(18000, 2.0f), c(64 * 18);
  struct Followed {
    const std::vector<float>& c;
    std::atomic<int64_t> rows{0}, calls{0}, wrong{0};
  };
  const auto done = [](void* context, int64_t, int64_t i0, int64_t i1, int64_t, int64_t) {
    auto& f = *static_cast<Followed*>(context);
    ordered::followed = true;
    f.rows += i1 - i0, f.calls += 1;
    for (int64_t i = i0 * 18; i < i1 * 18; ++i) f.wrong += f.c[static_cast<size_t>(i)] != 2000.0f;
  };
  set_num_threads(2);
  for (int i = 0; i < 20; ++i) {
    ordered::tiles = ordered::late = 0;
    std::thread([&] {  // in which nothing has been followed
      Followed followed{.c = c};
      const GemmHooks hooks{.context = &followed, .done = done, .whole_rows = true, .work = 1e5};
      CHECK(run_gemm(g, a.data(), b.data(), c.data(), nullptr, &hooks));
      CHECK(followed.rows == 64 && followed.calls == 4 && followed.wrong == 0);
    }).join();
    CHECK(ordered::tiles > 0 && ordered::late == 0);
    set_num_threads(2);  // other threads, too
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
  portable::column<float, portable::columns>(k, first, tiles, a, b, c, c_row, add, ahead, lines, runs, apart);
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
