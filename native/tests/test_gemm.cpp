// Matrix products of all types, layouts and sizes, empty ones too; bits; polls.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "products.h"

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

// Columns that fill little of a last vector, or of a last tile of so many columns, against the same columns among more; k in one block
// of two chains, in several, and divided among threads.
template <class T, int TileColumns>
static void little_of_a_vector(DType dtype) {
  constexpr int64_t most = 96;
  auto& set = const_cast<TileSet<T>&>(*tile_set<T>());  // which nothing uses now
  const TileSet<T> usual = set;
  set = portable::tiles<T, TileColumns, 12>(portable::heights, portable::edge_heights);
  for (const auto& [m, k] : {std::pair<int64_t, int64_t>{300, 32}, {300, 200}, {70, 1000}, {12, 33}, {40, 100}}) {
    std::vector<T> a(static_cast<size_t>(m * k)), b(static_cast<size_t>(k * most)), all(static_cast<size_t>(m * most)), some(all.size());
    for (size_t i = 0; i < a.size(); ++i) a[i] = std::sin(static_cast<T>(i));
    for (size_t i = 0; i < b.size(); ++i) b[i] = std::cos(static_cast<T>(i));
    for (const GemmOperand& left : {GemmOperand{{}, k, 1}, GemmOperand{{}, 1, m}})
      for (const GemmOperand& right : {GemmOperand{{}, most, 1}, GemmOperand{{}, 1, k}}) {
        run_gemm({dtype, {}, m, most, k, left, right, {{}, most, 1}}, a.data(), b.data(), all.data());
        for (const int64_t whole : {24, 60, 72})
          for (int64_t n = whole + 1; n <= whole + 6; ++n)
            for (int threads : {1, 4}) {
              set_num_threads(threads);
              run_gemm({dtype, {}, m, n, k, left, right, {{}, n, 1}}, a.data(), b.data(), some.data());
              for (int64_t i = 0; i < m; ++i)
                CHECK(std::memcmp(some.data() + i * n, all.data() + i * most, static_cast<size_t>(n) * sizeof(T)) == 0);
            }
      }
  }
  set = usual;
}

TEST(columns_that_fill_little_of_a_vector) {
  little_of_a_vector<float, 24>(DType::float32);
  little_of_a_vector<float, 48>(DType::float32);
  little_of_a_vector<double, 48>(DType::float64);
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
