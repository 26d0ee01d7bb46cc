// Products that skip zeros.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/thread_state.h"
#include "gemm/float.h"
#include "products.h"

// Chains of multiply-adds that skip nothing.
template <class T>
NOT_SANITIZED static void multiply_in_chains(const Sizes& s, const T* a, const Operand& oa, const T* b, const Operand& ob, T* c, const Operand& oc) {
  const Chains chains(s.k);
  for (int64_t i = 0; i < s.m; ++i)
    for (int64_t j = 0; j < s.n; ++j) {
      T total{};
      for (int64_t chain = 0; chain < chains.count; ++chain) {
        T sum{};
        for (int64_t p = chains.begin(chain); p < chains.begin(chain) + chains.length(chain); ++p)
          sum = std::fma(a[i * oa.rs + p * oa.cs], b[p * ob.rs + j * ob.cs], sum);
        total = chain ? total + sum : sum;
      }
      c[i * oc.rs + j * oc.cs] = total;
    }
}

// A product an operand of which is mostly zeros, against what skips nothing; what follows it is told of each element once, when it is
// final. ka, kb, kc: layouts.
template <class T>
static void compare_with_zeros(DType dtype, const Sizes& s, bool of_left, int ka, int kb, int kc, bool finite) {
  const Operand oa = operand(ka, s.m, s.k, {}, true), ob = operand(kb, s.k, s.n, {}, true), oc = operand(kc, s.m, s.n, {}, false);
  std::vector<T> a(static_cast<size_t>(oa.size)), b(static_cast<size_t>(ob.size)), c(static_cast<size_t>(oc.size), T(77));
  for (size_t i = 0; i < a.size(); ++i) a[i] = of_left && i * i % 13 != 1 ? T{} : static_cast<T>(std::sin(static_cast<double>(i)));
  for (size_t i = 0; i < b.size(); ++i) b[i] = !of_left && i * i % 13 != 1 ? -T{} : static_cast<T>(std::cos(static_cast<double>(i)));
  if (!finite) (of_left ? b : a)[static_cast<size_t>((of_left ? ob : oa).origin)] = std::numeric_limits<T>::infinity();
  std::vector<T> expected = c;
  multiply_in_chains<T>(s, a.data() + oa.origin, oa, b.data() + ob.origin, ob, expected.data() + oc.origin, oc);
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
