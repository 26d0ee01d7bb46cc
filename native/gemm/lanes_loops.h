// The loops of lanes.h. Included by one source file for each instruction set, which is compiled for it; those files use
// nothing of the standard library, so that no code for a newer CPU can stand in for the portable copy of a shared function.
//
// Where p is contiguous in the matrix a register holds the lanes of one element; where the elements are, it holds one lane of
// eight or four of them.
//
// They are C++ and not generated because memory limits them: there is nothing to choose for a CPU, and the first product of a
// process waits for no compilation.
#pragma once

#include "gemm/lanes.h"
#include "gemm/parts_loops.h"
#include "gemm/types_loops.h"

namespace weft {
namespace {

template <class T>
using LaneVector = PartVector<T>;

template <class T>
inline typename LaneVector<T>::type& at(const T* p) {
  return part_at(p);
}

// A register of neighbouring elements.
template <class T>
inline typename LaneVector<T>::type load_run(const T* p) {
  return at(p);
}
inline LaneVector<float>::type load_run(const Float16* p) {
  return Eight<Float16>::value(*reinterpret_cast<const ShortEight*>(p));
}
inline LaneVector<float>::type load_run(const BFloat16* p) {
  return Eight<BFloat16>::value(*reinterpret_cast<const ShortEight*>(p));
}

typedef float FourFloats __attribute__((vector_size(16), aligned(4), may_alias));

// The elements of a run that the mask has, fewer than a register's; the others are zero and are not read.
inline LaneVector<float>::type load_some(const float* p, const LaneVector<float>::mask& present, int64_t) {
  return load_part(p, present);
}
inline LaneVector<double>::type load_some(const double* p, const LaneVector<double>::mask& present, int64_t) {
  return load_part(p, present);
}
template <class S, std::enable_if_t<is_half<S>, int> = 0>
inline LaneVector<float>::type load_some(const S* p, const LaneVector<float>::mask&, int64_t count) {
  typedef uint64_t Words __attribute__((vector_size(16)));
  const Words words{load_bytes(p, 2 * count), count > 4 ? load_bytes(p + 4, 2 * (count - 4)) : 0};
  return Eight<S>::value(reinterpret_cast<ShortEight>(words));
}

// Neighbouring lanes are added in pairs.
inline float sum_of(const LaneVector<float>::type& v) {
  const LaneVector<float>::type pairs = v + __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
  const LaneVector<float>::type halves = pairs + __builtin_shufflevector(pairs, pairs, 2, 3, 0, 1, 6, 7, 4, 5);
  return halves[0] + halves[4];
}
inline double sum_of(const LaneVector<double>::type& v) {
  const LaneVector<double>::type pairs = v + __builtin_shufflevector(v, v, 1, 0, 3, 2);
  return pairs[0] + pairs[2];
}

// The sums of four vectors: their lanes added in pairs, twice; what is left are the halves of a float's.
inline void store_four(const LaneVector<float>::type* v, float* sums) {
  using V = LaneVector<float>::type;
  const auto pairs = [](const V& x, const V& y) {
    return __builtin_shufflevector(x, y, 0, 2, 8, 10, 4, 6, 12, 14) +
           __builtin_shufflevector(x, y, 1, 3, 9, 11, 5, 7, 13, 15);
  };
  const V halves = pairs(pairs(v[0], v[1]), pairs(v[2], v[3]));
  *reinterpret_cast<FourFloats*>(sums) =
      __builtin_shufflevector(halves, halves, 0, 1, 2, 3) + __builtin_shufflevector(halves, halves, 4, 5, 6, 7);
}
inline void store_four(const LaneVector<double>::type* v, double* sums) {
  using V = LaneVector<double>::type;
  const auto pairs = [](const V& x, const V& y) {
    return __builtin_shufflevector(x, y, 0, 4, 2, 6) + __builtin_shufflevector(x, y, 1, 5, 3, 7);
  };
  const V low = pairs(v[0], v[1]), high = pairs(v[2], v[3]);
  at(sums) = __builtin_shufflevector(low, high, 0, 1, 4, 5) + __builtin_shufflevector(low, high, 2, 3, 6, 7);
}

// Asks for the line that an element is in.
template <Asked Times>
inline void ask(const void* p) {
#pragma GCC unroll 4
  for (int t = 0; t < static_cast<int>(Times); ++t) __builtin_prefetch(p, 0, 2);
}

// `Own`: each row has a vector of its own, `step` apart.
template <class S, int Rows, bool Own, Asked Next>
void row_sums(const S* matrix, int64_t row, const SumOf<S>* vector, int64_t step, int64_t k, SumOf<S>* sums) {
  using T = SumOf<S>;
  using V = typename LaneVector<T>::type;
  V acc[Rows] = {};
  const auto add = [&](int64_t p) {
    V right = at(vector + p);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      if constexpr (Own) right = at(vector + r * step + p);
      acc[r] += load_run(matrix + r * row + p) * right;
    }
  };
  int64_t p = 0;
  if constexpr (Next != Asked::never) {
    constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(S));
    for (; p + line <= k; p += line) {
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) ask<Next>(matrix + (Rows + r) * row + p);  // the next rows, this far
#pragma GCC unroll 4
      for (int64_t q = p; q < p + line; q += lanes<T>) add(q);
    }
  }
  for (; p + lanes<T> <= k; p += lanes<T>) add(p);
  if (p < k) {
    const int64_t count = k - p;
    const typename LaneVector<T>::mask present = part_mask<T>(count);
    V right = load_some(vector + p, present, count);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      if constexpr (Own) right = load_some(vector + r * step + p, present, count);
      const V sum = acc[r] + load_some(matrix + r * row + p, present, count) * right;
      acc[r] = present ? sum : acc[r];
    }
  }
#pragma GCC unroll 2
  for (int r = 0; r + 4 <= Rows; r += 4) store_four(acc + r, sums + r);
  constexpr int rest = Rows % 4, first = Rows - rest;
  if constexpr (rest == 1) sums[first] = sum_of(acc[first]);
  if constexpr (rest > 1) {
    const V last[4] = {acc[first], acc[first + 1], rest == 3 ? acc[Rows - 1] : V{}, V{}};
    T found[4];
    store_four(last, found);
#pragma GCC unroll 3
    for (int r = 0; r < rest; ++r) sums[first + r] = found[r];
  }
}

template <class S, bool Own>
void rows_of(const S* matrix, int64_t row, int64_t rows, const SumOf<S>* vector, int64_t step, int64_t k, SumOf<S>* sums) {
  int64_t r = 0;
  for (; r + 8 <= rows; r += 8) row_sums<S, 8, Own, Asked::never>(matrix + r * row, row, vector + r * step, step, k, sums + r);
  for (; r + 4 <= rows; r += 4) row_sums<S, 4, Own, Asked::never>(matrix + r * row, row, vector + r * step, step, k, sums + r);
  for (; r < rows; ++r) row_sums<S, 1, Own, Asked::never>(matrix + r * row, row, vector + r * step, step, k, sums + r);
}

template <class S>
void along_rows(const S* matrix, int64_t row, int64_t rows, const SumOf<S>* vector, int64_t step, int64_t k, Asked next,
                SumOf<S>* sums) {
  if (step != 0)
    rows_of<S, true>(matrix, row, rows, vector, step, k, sums);
  else if (next == Asked::thrice && rows == far_row_group)
    row_sums<S, far_row_group, false, Asked::thrice>(matrix, row, vector, 0, k, sums);
  else if (next == Asked::once && rows == far_row_group)
    row_sums<S, far_row_group, false, Asked::once>(matrix, row, vector, 0, k, sums);
  else
    rows_of<S, false>(matrix, row, rows, vector, 0, k, sums);
}

// Adds `Rows` rows, `row` apart, to one lane of each column; n is at least a register's. Where it is no multiple, the last
// columns come once more, in sums of their own behind the others. `First`: the sums begin at zero. `coming`: as many rows that
// are asked for meanwhile.
template <class S, int Rows, Asked Next, bool First>
inline void add_rows(const S* matrix, const S* coming, int64_t row, int64_t n, const SumOf<S>* vector, SumOf<S>* sums) {
  using T = SumOf<S>;
  T left[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) left[r] = vector[r * lanes<T>];
  const auto column = [&](int64_t j, T* to) {
    typename LaneVector<T>::type sum{};
    if constexpr (!First) sum = at(to);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) sum += left[r] * load_run(matrix + r * row + j);
    at(to) = sum;
  };
  int64_t j = 0;
  for (; j + 2 * lanes<T> <= n; j += 2 * lanes<T>) {
    if constexpr (Next != Asked::never) {
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) ask<Next>(coming + r * row + j);
    }
    column(j, sums + j);
    column(j + lanes<T>, sums + j + lanes<T>);
  }
  for (; j + lanes<T> <= n; j += lanes<T>) column(j, sums + j);
  if (j < n) column(n - lanes<T>, sums + j);
}

// Lane after lane: the sums of one lane are few enough to stay in the nearest cache, and few rows are read at a time.
template <class S>
void down_columns(const S* matrix, int64_t row, int64_t n, const SumOf<S>* vector, int64_t k, Asked next,
                  SumOf<S>* sums) {
  using T = SumOf<S>;
  alignas(64) T lane[lanes<T>][lane_columns<T> + lanes<T>];
  for (int l = 0; l < lanes<T>; ++l) {
    T* to = lane[l];
    int64_t p = l;
    const auto left = [&] { return (k - p + lanes<T> - 1) / lanes<T>; };  // rows
    const auto add = [&]<int Rows, Asked Next, bool First>() {
      // A lane's last rows are followed by the first of the next lane, the last lane's by those of the next block.
      const int64_t coming = left() >= 2 * Rows ? p + Rows * lanes<T> : l + 1 < lanes<T> ? l + 1 : k;
      add_rows<S, Rows, Next, First>(matrix + p * row, matrix + coming * row, lanes<T> * row, n, vector + p, to);
      p += Rows * lanes<T>;
    };
    if (left() >= 4)
      next == Asked::never ? add.template operator()<4, Asked::never, true>() : add.template operator()<4, Asked::once, true>();
    else if (left() >= 2)
      add.template operator()<2, Asked::never, true>();
    else if (left() == 1)
      add.template operator()<1, Asked::never, true>();
    else
      for (int64_t j = 0; j < n + lanes<T>; ++j) to[j] = T{};
    if (next == Asked::thrice && sizeof(S) >= 4)  // those of 16 bits ask at each half of a line
      while (left() >= 4) add.template operator()<4, Asked::thrice, false>();
    if (next != Asked::never)
      while (left() >= 4) add.template operator()<4, Asked::once, false>();
    while (left() >= 8) add.template operator()<8, Asked::never, false>();
    while (left() >= 2) add.template operator()<2, Asked::never, false>();
    if (left() == 1) add.template operator()<1, Asked::never, false>();
  }
  const auto total = [&](int64_t j, T* to) {
    const auto four = [&](int l) {
      return (at(lane[l] + j) + at(lane[l + 1] + j)) + (at(lane[l + 2] + j) + at(lane[l + 3] + j));
    };
    if constexpr (lanes<T> == 8)
      at(to) = four(0) + four(4);
    else
      at(to) = four(0);
  };
  int64_t j = 0;
  for (; j + lanes<T> <= n; j += lanes<T>) total(j, sums + j);
  if (j < n) total(j, sums + n - lanes<T>);
}

// A few rows of each matrix.
template <class S, int Rows>
void along_each(const LaneBatch<S>& g, int64_t first) {
  const S* matrix = g.matrix + first * g.row;
  const SumOf<S>* vector = g.vector;
  SumOf<S>* sums = g.sums + first;
  for (int64_t i = 0; i < g.count; ++i, matrix += g.matrix_step, vector += g.vector_step, sums += g.sums_step)
    row_sums<S, Rows, false, Asked::never>(matrix, g.row, vector, 0, g.k, sums);
}

template <class S>
void along_batch(const LaneBatch<S>& g) {
  int64_t r = 0;
  for (; r + 8 <= g.n; r += 8) along_each<S, 8>(g, r);
  for (; r + 4 <= g.n; r += 4) along_each<S, 4>(g, r);
  if (g.n - r == 3) along_each<S, 3>(g, r);
  if (g.n - r == 2) along_each<S, 2>(g, r);
  if (g.n - r == 1) along_each<S, 1>(g, r);
}

// A register's columns of each matrix, or fewer: `columns` > 0.
template <class S, bool Whole>
void down_each(const LaneBatch<S>& g, int64_t first, int64_t columns) {
  using T = SumOf<S>;
  using V = typename LaneVector<T>::type;
  const typename LaneVector<T>::mask present = part_mask<T>(columns);
  const S* matrix = g.matrix + first;
  const T* vector = g.vector;
  T* sums = g.sums + first;
  for (int64_t i = 0; i < g.count; ++i, matrix += g.matrix_step, vector += g.vector_step, sums += g.sums_step) {
    V lane[lanes<T>] = {};
    const auto add = [&](int l, int64_t p) {
      const S* from = matrix + p * g.row;
      if constexpr (Whole)
        lane[l] += vector[p] * load_run(from);
      else
        lane[l] += vector[p] * load_some(from, present, columns);
    };
    int64_t p = 0;
    for (; p + lanes<T> <= g.k; p += lanes<T>) {
#pragma GCC unroll 8
      for (int l = 0; l < lanes<T>; ++l) add(l, p + l);
    }
#pragma GCC unroll 8
    for (int l = 0; l < lanes<T> - 1; ++l)
      if (p + l < g.k) add(l, p + l);
    const auto four = [&](int l) { return (lane[l] + lane[l + 1]) + (lane[l + 2] + lane[l + 3]); };
    V total = four(0);
    if constexpr (lanes<T> == 8) total += four(4);
    if constexpr (Whole)
      at(sums) = total;
    else
      store_part(sums, total, columns);
  }
}

template <class S>
void down_batch(const LaneBatch<S>& g) {
  int64_t j = 0;
  for (; j + lanes<SumOf<S>> <= g.n; j += lanes<SumOf<S>>) down_each<S, true>(g, j, lanes<SumOf<S>>);
  if (j < g.n) down_each<S, false>(g, j, g.n - j);
}

// Zeros that the compiler does not know for such. It takes the addition of a zero it knows away where the other side is `0 + x * y`,
// which is never -0; and then makes one multiply-add of that, which may be.
template <class Value>
inline Value unknown_zero() {
  Value zero{};
  asm("" : "+m"(zero));
  return zero;
}

// The sum of fewer terms than lanes, added as if the others were zeros. Of vectors or numbers.
template <class T, int K, class Value, class Term>
inline Value sum_of_terms(const Value& other, Term term) {
  Value lane[lanes<T>];
#pragma GCC unroll 8
  for (int p = 0; p < lanes<T>; ++p) lane[p] = p < K ? Value{} : other;
#pragma GCC unroll 4
  for (int p = 0; p < K; ++p) lane[p] += term(p);
  const Value low = (lane[0] + lane[1]) + (lane[2] + lane[3]);
  if constexpr (lanes<T> == 8) return low + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
  else return low;
}

template <class S>
inline SumOf<S> load_one(const S* p) {
  if constexpr (is_half<S>) return load_some(p, part_mask<float>(1), 1)[0];
  else return *p;
}

template <class S, int K>
void few_terms(const S* matrix, int64_t row, int64_t col, int64_t n, const SumOf<S>* vector, SumOf<S>* sums) {
  using T = SumOf<S>;
  T right[K];
#pragma GCC unroll 4
  for (int p = 0; p < K; ++p) right[p] = vector[p];
  int64_t j = 0;
  if (row == 1) {
    const auto others = unknown_zero<typename LaneVector<T>::type>();
    for (; j + lanes<T> <= n; j += lanes<T>)
      at(sums + j) = sum_of_terms<T, K>(others, [&](int p) { return right[p] * load_run(matrix + p * col + j); });
  }
  const auto other = unknown_zero<T>();
  for (; j < n; ++j)
    sums[j] = sum_of_terms<T, K>(other, [&](int p) { return right[p] * load_one(matrix + j * row + p * col); });
}

template <class S>
constexpr LaneKernels<S> lane_kernels_of() {
  return {along_rows<S>, down_columns<S>, along_batch<S>, down_batch<S>,
          {few_terms<S, 1>, few_terms<S, 2>, few_terms<S, 3>, few_terms<S, 4>}};
}

}  // namespace
}  // namespace weft
