// Products of 16-bit floats and of integers; long sums.
#include <cmath>
#include <vector>

#include "products.h"

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
