// Batches of products.
#include <cmath>
#include <cstring>
#include <vector>

#include "products.h"

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
