// Products by a matrix unit: the CPU's, where it has one, and one in plain C++.
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "gemm/matrix_unit.h"
#include "gemm/split.h"
#include "portable_unit.h"
#include "products.h"

// With the portable unit and, where there is one, the CPU's in all ways.
template <class Test>
static void with_units(Test test) {
  std::vector<const MatrixUnit*> units(cpu_matrix_units().begin(), cpu_matrix_units().end());
  units.push_back(&portable_unit::unit);
  for (const MatrixUnit* unit : units) {
    use_matrix_unit(unit);
    test();
    use_matrix_unit(nullptr);
  }
}

TEST(products_by_a_matrix_unit) {
  with_units([] {
    for (const Sizes& s : std::vector<Sizes>{{300, 290, 190}, {700, 130, 190}, {129, 257, 1100}}) {
      const GemmOperand any{{}, 1, 1};
      CHECK(split_pays<float>({DType::float32, {}, s.m, s.n, s.k, any, any, any}));
      CHECK(split_pays<Float16>({DType::float16, {}, s.m, s.n, s.k, any, any, any}));
      CHECK(split_pays<BFloat16>({DType::bfloat16, {}, s.m, s.n, s.k, any, any, any}));
      for (int threads : {1, 2, 3, 8}) {
        set_num_threads(threads);
        const int kind = static_cast<int>(s.m) % 5;
        const int ka = (kind + threads) % 5, kb = threads % 5, kc = (2 * threads + kind) % 5;
        compare<float>(DType::float32, s.m, s.n, s.k, {}, ka, kb, kc);
        compare<Float16>(DType::float16, s.m, s.n, s.k, {}, kb, ka, kc);
        compare<BFloat16>(DType::bfloat16, s.m, s.n, s.k, {}, kc, ka, kb);
      }
    }
    compare<float>(DType::float32, 260, 200, 220, {3}, 0, 1, 0);
    // Few rows, and few columns.
    for (const Sizes& s : std::vector<Sizes>{{40, 530, 1100}, {600, 9, 300}, {200, 520, 40}})
      for (int threads : {1, 3})
        for (int kind : {0, 1, 3}) {
          set_num_threads(threads);
          compare<Float16>(DType::float16, s.m, s.n, s.k, {}, kind, 1 - kind / 2, kind);
          compare<BFloat16>(DType::bfloat16, s.m, s.n, s.k, {}, 1, kind, 1);
        }
    for (const Sizes& s : std::vector<Sizes>{{128, 128, 128}, {64, 100, 1000}, {32, 4096, 4096}, {256, 256, 16}}) {
      const GemmOperand any{{}, 1, 1};
      CHECK(!split_pays<float>({DType::float32, {}, s.m, s.n, s.k, any, any, any}));
    }
  });
}

// All numbers of 16 bits, but infinities and what is not a number, by one.
template <class S>
static void check_all_numbers(DType dtype, float (*widen)(uint16_t)) {
  constexpr int64_t n = 256;
  std::vector<S> one(n * n), numbers(n * n), c(n * n);
  for (size_t i = 0; i < n; ++i) one[i * (n + 1)] = number<S>(1);
  for (size_t i = 0; i < n * n; ++i) numbers[i].bits = std::isfinite(widen(static_cast<uint16_t>(i))) ? static_cast<uint16_t>(i) : 0;
  for (bool left : {true, false})
    for (const GemmOperand& layout : {GemmOperand{{}, n, 1}, GemmOperand{{}, 1, n}}) {
      const Gemm g{dtype, {}, n, n, n, layout, layout, layout};
      CHECK(run_gemm(g, (left ? numbers : one).data(), (left ? one : numbers).data(), c.data()));
      for (size_t i = 0; i < n * n; ++i) CHECK(widen(c[i].bits) == widen(numbers[i].bits));
    }
}

TEST(no_bit_of_16_bit_numbers_is_lost) {
  with_units([] {
    check_all_numbers<Float16>(DType::float16, half_to_float);
    check_all_numbers<BFloat16>(DType::bfloat16, bfloat16_to_float);
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
      for (int threads : {1, 3}) {
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
