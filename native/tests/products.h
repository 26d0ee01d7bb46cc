// Matrix products against a triple loop, in several layouts; what an epilogue is told of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "check.h"
#include "gemm/gemm.h"
#include "gemm/matrix_unit.h"
#include "gemm/types.h"
#include "portable_tiles.h"

using namespace weft;

inline const MatrixUnit* const no_unit = use_matrix_unit(nullptr);  // but in tests that are about it

namespace weft {
inline bool operator==(Float16 x, Float16 y) { return x.bits == y.bits; }
inline bool operator==(BFloat16 x, BFloat16 y) { return x.bits == y.bits; }
}  // namespace weft

template <class T>
T number(int64_t whole) {
  T found;
  if constexpr (is_half<T>) narrow(static_cast<float>(whole), found);
  else found = static_cast<T>(whole);
  return found;
}

struct Sizes {
  int64_t m, n, k;
};

struct Operand {
  std::vector<int64_t> batch_strides;
  int64_t rs, cs, size, origin;
};

// Layouts of a rows x cols matrix in a batch: row-major, column-major, with gaps, strided both ways, reversed, broadcast.
inline Operand operand(int kind, int64_t rows, int64_t cols, const std::vector<int64_t>& batch, bool may_broadcast) {
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
        if (!(w.c[element] == w.expected[element])) w.wrong = true;
        ++w.seen[static_cast<size_t>(row * w.g.n + j)];
      }
    }
  }
};

template <class Wide, class T>
Wide wide(T x) {
  if constexpr (is_half<T>) return widened(x);
  else return static_cast<Wide>(x);
}

template <class T>
NOT_SANITIZED void multiply_one_by_one(const Sizes& s, const T* a, const Operand& oa, const T* b, const Operand& ob, T* c, const Operand& oc) {
  using Wide = std::conditional_t<std::is_integral_v<T>, uint64_t, SumOf<T>>;
  for (int64_t i = 0; i < s.m; ++i)
    for (int64_t j = 0; j < s.n; ++j) {
      Wide sum{};
      for (int64_t p = 0; p < s.k; ++p) sum += wide<Wide>(a[i * oa.rs + p * oa.cs]) * wide<Wide>(b[p * ob.rs + j * ob.cs]);
      if constexpr (is_half<T>) narrow(sum, c[i * oc.rs + j * oc.cs]);
      else c[i * oc.rs + j * oc.cs] = static_cast<T>(sum);
    }
}

template <class T>
void compare(DType dtype, int64_t m, int64_t n, int64_t k, const std::vector<int64_t>& batch, int ka, int kb,
                    int kc) {
  const Operand oa = operand(ka, m, k, batch, true), ob = operand(kb, k, n, batch, true);
  const Operand oc = operand(kc, m, n, batch, false);
  std::vector<T> a(static_cast<size_t>(oa.size)), b(static_cast<size_t>(ob.size)), c(static_cast<size_t>(oc.size));
  for (size_t i = 0; i < a.size(); ++i) a[i] = number<T>(static_cast<int64_t>(i * 7 % 11) - 5);
  for (size_t i = 0; i < b.size(); ++i) b[i] = number<T>(static_cast<int64_t>(i * 5 % 13) - 6);
  for (auto& x : c) x = number<T>(77);
  std::vector<T> expected = c;
  int64_t count = 1;
  for (int64_t s : batch) count *= s;
  for (int64_t index = 0; index < count; ++index) {
    int64_t rest = index, at = oa.origin, bt = ob.origin, ct = oc.origin;
    for (size_t d = batch.size(); d-- > 0; rest /= batch[d]) {
      const int64_t i = rest % batch[d];
      at += i * oa.batch_strides[d], bt += i * ob.batch_strides[d], ct += i * oc.batch_strides[d];
    }
    multiply_one_by_one<T>({m, n, k}, a.data() + at, oa, b.data() + bt, ob, expected.data() + ct, oc);
  }
  const Gemm g{dtype, batch, m, n, k, {oa.batch_strides, oa.rs, oa.cs}, {ob.batch_strides, ob.rs, ob.cs},
               {oc.batch_strides, oc.rs, oc.cs}};
  CHECK(run_gemm(g, a.data() + oa.origin, b.data() + ob.origin, c.data() + oc.origin));
  CHECK(c == expected);  // small whole numbers: exact in any order
  for (bool whole_rows : {false, true}) {
    Watch<T> watch{g, c.data() + oc.origin, expected.data() + oc.origin, whole_rows,
                   std::vector<uint8_t>(static_cast<size_t>(count * m * n)), std::vector<uint8_t>(static_cast<size_t>(count * m))};
    const GemmHooks hooks{&watch, Watch<T>::prepare, 1e6, Watch<T>::done, whole_rows, 1e6};
    for (auto& x : c) x = number<T>(77);
    CHECK(run_gemm(g, a.data() + oa.origin, b.data() + ob.origin, c.data() + oc.origin, nullptr, &hooks));
    CHECK(!watch.wrong);
    CHECK(watch.seen == std::vector<uint8_t>(watch.seen.size(), 1));
  }
}
