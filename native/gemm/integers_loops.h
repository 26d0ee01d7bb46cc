// The loops of integers.h; see lanes_loops.h about where they are included.
#pragma once

#include <type_traits>

#include "gemm/integers.h"
#include "gemm/types.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace weft {
namespace {

// Two vectors of 32 bytes across, as many rows as their sums find registers.
template <class T>
struct IntegerVector {
  static constexpr int lanes = 32 / static_cast<int>(sizeof(T));
  typedef T type __attribute__((vector_size(32), aligned(sizeof(T))));
};

#ifdef __AVX2__
template <class T>
constexpr int integer_rows = sizeof(T) == 8 ? 3 : 6;
#else
template <class T>
constexpr int integer_rows = sizeof(T) == 8 ? 1 : 2;
#endif

template <class T>
inline typename IntegerVector<T>::type& integers_at(const T* p) {
  return *reinterpret_cast<typename IntegerVector<T>::type*>(const_cast<T*>(p));
}

// The sum of products of a number with two vectors.
template <class T>
struct IntegerSum {
  using V = typename IntegerVector<T>::type;
  V found[2] = {};
  void add(T x, const V& y0, const V& y1) { found[0] += x * y0, found[1] += x * y1; }
  V total(int v) const { return found[v]; }
};

#ifdef __AVX2__
// There is no 64-bit multiplication. Low halves give 64 bits; a low and a high half, of which there are two pairs, 32 bits that
// count above: the multiplication of 32-bit numbers by the number with its halves exchanged gives both, and they are added
// at the end.
template <>
struct IntegerSum<uint64_t> {
  using V = IntegerVector<uint64_t>::type;
  __m256i low[2] = {}, high[2] = {};
  void add(uint64_t x, const V& y0, const V& y1) {
    const __m256i left = _mm256_set1_epi64x(static_cast<long long>(x)), turned = _mm256_shuffle_epi32(left, 0xb1);
    const __m256i right[2] = {reinterpret_cast<__m256i>(y0), reinterpret_cast<__m256i>(y1)};
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      low[v] = _mm256_add_epi64(low[v], _mm256_mul_epu32(left, right[v]));
      high[v] = _mm256_add_epi32(high[v], _mm256_mullo_epi32(turned, right[v]));
    }
  }
  V total(int v) const {
    const __m256i both = _mm256_add_epi32(high[v], _mm256_shuffle_epi32(high[v], 0xb1));
    const __m256i sum = _mm256_add_epi64(low[v], _mm256_slli_epi64(both, 32));
    return reinterpret_cast<V>(sum);
  }
};
#endif

template <class T, int Rows>
void integer_tile(int64_t k, const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_k, T* c, int64_t c_row, bool add) {
  using V = typename IntegerVector<T>::type;
  constexpr int lanes = IntegerVector<T>::lanes;
  IntegerSum<T> sums[Rows];
  for (int64_t p = 0; p < k; ++p, a += a_k, b += b_k) {
    const V right0 = integers_at(b), right1 = integers_at(b + lanes);
#pragma GCC unroll 6
    for (int r = 0; r < Rows; ++r) sums[r].add(a[r * a_row], right0, right1);
  }
#pragma GCC unroll 6
  for (int r = 0; r < Rows; ++r, c += c_row)
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      V& to = integers_at(c + v * lanes);
      to = add ? to + sums[r].total(v) : sums[r].total(v);
    }
}

template <class T>
constexpr IntegerTiles<T> integer_tiles_of() {
  constexpr int rows = integer_rows<T>;
  IntegerTiles<T> tiles{rows, 2 * IntegerVector<T>::lanes, {integer_tile<T, 1>}};
  if constexpr (rows >= 2) tiles.of_rows[1] = integer_tile<T, 2>;
  if constexpr (rows >= 3) tiles.of_rows[2] = integer_tile<T, 3>;
  if constexpr (rows >= 4) tiles.of_rows[3] = integer_tile<T, 4>;
  if constexpr (rows >= 5) tiles.of_rows[4] = integer_tile<T, 5>;
  if constexpr (rows >= 6) tiles.of_rows[5] = integer_tile<T, 6>;
  return tiles;
}

// Arithmetic that wraps; narrow types would become signed numbers on the way. The compiler makes vectors of the narrow type
// again, because only its bits are kept.
template <class S>
using Wrapping = std::conditional_t<sizeof(S) == 8, uint64_t, uint32_t>;

template <class S>
S integer_dot(int64_t k, const S* x, const S* y) {
  SumOf<S> sum = 0;
  for (int64_t p = 0; p < k; ++p) sum = static_cast<SumOf<S>>(sum + Wrapping<S>{x[p]} * y[p]);
  return static_cast<S>(sum);
}

template <class S>
void integer_add_rows(int64_t k, int64_t n, const S* x, const S* rows, int64_t row, S* sums) {
  int64_t p = 0;
  for (; p + 4 <= k; p += 4) {
    const S *r0 = rows + p * row, *r1 = r0 + row, *r2 = r1 + row, *r3 = r2 + row;
    const Wrapping<S> x0 = x[p], x1 = x[p + 1], x2 = x[p + 2], x3 = x[p + 3];
    for (int64_t j = 0; j < n; ++j) sums[j] = static_cast<S>(sums[j] + x0 * r0[j] + x1 * r1[j] + x2 * r2[j] + x3 * r3[j]);
  }
  for (; p < k; ++p)
    for (int64_t j = 0; j < n; ++j) sums[j] = static_cast<S>(sums[j] + Wrapping<S>{x[p]} * rows[p * row + j]);
}

template <class S>
constexpr IntegerLoops<S> integer_loops_of() {
  return {integer_dot<S>, integer_add_rows<S>};
}

}  // namespace
}  // namespace weft
