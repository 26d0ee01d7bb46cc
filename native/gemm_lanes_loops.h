// The loops of gemm_lanes.h. Included by one source file for each instruction set, which is compiled for it; those files use
// nothing of the standard library, so that no code for a newer CPU can stand in for the portable copy of a shared function.
//
// Where p is contiguous in the matrix a register holds the lanes of one or two elements; where the elements are, it holds one
// lane of eight or four of them.
//
// They are C++ and not generated because memory limits them: there is nothing to choose for a CPU, and the first product of a
// process waits for no compilation.
#pragma once

#include "gemm_lanes.h"
#include "gemm_types_loops.h"

namespace weft {
namespace {

template <class T>
struct LaneVector;
template <>
struct LaneVector<float> {
  typedef float type __attribute__((vector_size(32), aligned(4)));
  typedef float half __attribute__((vector_size(16), aligned(4)));
  typedef int32_t mask __attribute__((vector_size(32)));
};
template <>
struct LaneVector<double> {
  typedef double type __attribute__((vector_size(32), aligned(8)));
  typedef int64_t mask __attribute__((vector_size(32)));
};

template <class T>
constexpr int width = 32 / static_cast<int>(sizeof(T));
template <class T>
constexpr int rows_held = width<T> / lanes;  // rows whose lanes fill a register

template <class T>
inline typename LaneVector<T>::type& at(const T* p) {
  return *reinterpret_cast<typename LaneVector<T>::type*>(const_cast<T*>(p));
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

// Four elements of each row that a register holds, `row` apart.
inline LaneVector<float>::type load_lanes(const float* p, int64_t row) {
  using Half = LaneVector<float>::half;
  const Half first = *reinterpret_cast<const Half*>(p), second = *reinterpret_cast<const Half*>(p + row);
  return __builtin_shufflevector(first, second, 0, 1, 2, 3, 4, 5, 6, 7);
}
inline LaneVector<double>::type load_lanes(const double* p, int64_t) { return at(p); }
template <class S, std::enable_if_t<is_half<S>, int> = 0>
inline LaneVector<float>::type load_lanes(const S* p, int64_t row) {
  typedef uint16_t Half __attribute__((vector_size(8), aligned(2), may_alias));
  const Half first = *reinterpret_cast<const Half*>(p), second = *reinterpret_cast<const Half*>(p + row);
  return Eight<S>::value(__builtin_shufflevector(first, second, 0, 1, 2, 3, 4, 5, 6, 7));
}

// The same, of which only the first `count` < 4 exist. The others are zero and are not read.
inline LaneVector<float>::type load_some(const float* p, int64_t row, int64_t count) {
  LaneVector<float>::type v{};
  for (int64_t i = 0; i < count; ++i) v[i] = p[i], v[i + lanes] = p[row + i];
  return v;
}
inline LaneVector<double>::type load_some(const double* p, int64_t, int64_t count) {
  LaneVector<double>::type v{};
  for (int64_t i = 0; i < count; ++i) v[i] = p[i];
  return v;
}

template <class S, std::enable_if_t<is_half<S>, int> = 0>
inline LaneVector<float>::type load_some(const S* p, int64_t row, int64_t count) {
  ShortEight v{};
  for (int64_t i = 0; i < count; ++i) v[i] = p[i].bits, v[i + lanes] = p[row + i].bits;
  return Eight<S>::value(v);
}

template <int Rows>
inline void store_sums(const LaneVector<float>::type* v, float* sums) {
  using V = LaneVector<float>::type;
  if constexpr (Rows == 8) {
    const auto pairs = [](const V& x, const V& y) {
      return __builtin_shufflevector(x, y, 0, 2, 8, 10, 4, 6, 12, 14) +
             __builtin_shufflevector(x, y, 1, 3, 9, 11, 5, 7, 13, 15);
    };
    const V found = pairs(pairs(v[0], v[1]), pairs(v[2], v[3]));
    at(sums) = __builtin_shufflevector(found, found, 0, 4, 1, 5, 2, 6, 3, 7);
  } else {
    for (int r = 0; r < Rows; ++r) {
      const int l = r % 2 * lanes;
      sums[r] = (v[r / 2][l] + v[r / 2][l + 1]) + (v[r / 2][l + 2] + v[r / 2][l + 3]);
    }
  }
}

template <int Rows>
inline void store_sums(const LaneVector<double>::type* v, double* sums) {
  using V = LaneVector<double>::type;
  if constexpr (Rows % 4 == 0) {
    const auto pairs = [](const V& x, const V& y) {
      return __builtin_shufflevector(x, y, 0, 4, 2, 6) + __builtin_shufflevector(x, y, 1, 5, 3, 7);
    };
    for (int r = 0; r < Rows; r += 4) {
      const V low = pairs(v[r], v[r + 1]), high = pairs(v[r + 2], v[r + 3]);
      at(sums + r) = __builtin_shufflevector(low, high, 0, 1, 4, 5) + __builtin_shufflevector(low, high, 2, 3, 6, 7);
    }
  } else {
    for (int r = 0; r < Rows; ++r) sums[r] = (v[r][0] + v[r][1]) + (v[r][2] + v[r][3]);
  }
}

// `Own`: each row has a vector of its own, `step` apart.
template <class S, int Rows, bool Own, bool Far>
void row_sums(const S* matrix, int64_t row, const SumOf<S>* vector, int64_t step, int64_t k, SumOf<S>* sums) {
  using T = SumOf<S>;
  using V = typename LaneVector<T>::type;
  constexpr int registers = Rows / rows_held<T>;
  V acc[registers] = {};
  const auto add = [&](auto load, int64_t p) {
    V right = load(vector + p, 0);
#pragma GCC unroll 8
    for (int i = 0; i < registers; ++i) {
      const int64_t r = i * rows_held<T>;
      if constexpr (Own) right = load(vector + r * step + p, step);
      acc[i] += load(matrix + r * row + p, row) * right;
    }
  };
  // As many whole steps as there are. Of a 16-bit row eight elements are widened together; two rows then exchange halves.
  const auto add_run = [&](int64_t from, int64_t to) {
    int64_t p = from;
    if constexpr (is_half<S>) {
      for (; p + 2 * lanes <= to; p += 2 * lanes) {
        V right[2] = {load_lanes(vector + p, 0), load_lanes(vector + p + lanes, 0)};
#pragma GCC unroll 4
        for (int i = 0; i < registers; ++i) {
          const int64_t r = i * rows_held<T>;
          if constexpr (Own)
            for (int h = 0; h < 2; ++h) right[h] = load_lanes(vector + r * step + p + h * lanes, step);
          const V one = load_run(matrix + r * row + p), other = load_run(matrix + (r + 1) * row + p);
          acc[i] += __builtin_shufflevector(one, other, 0, 1, 2, 3, 8, 9, 10, 11) * right[0];
          acc[i] += __builtin_shufflevector(one, other, 4, 5, 6, 7, 12, 13, 14, 15) * right[1];
        }
      }
    }
#pragma GCC unroll 4
    for (; p + lanes <= to; p += lanes)
      add([](const auto* from_, int64_t apart) { return load_lanes(from_, apart); }, p);
    return p;
  };
  int64_t p = 0;
  if constexpr (Far) {
    constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(S));
    for (; p + line <= k; p += line) {
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) __builtin_prefetch(matrix + (Rows + r) * row + p, 0, 2);  // the next rows, this far
      add_run(p, p + line);
    }
  }
  p = add_run(p, k);
  if (p < k) {
    const int64_t count = k - p;
    typename LaneVector<T>::mask present;
    for (int l = 0; l < width<T>; ++l) present[l] = l % lanes < count ? -1 : 0;
    V before[registers];
    for (int i = 0; i < registers; ++i) before[i] = acc[i];
    add([=](const auto* from, int64_t apart) { return load_some(from, apart, count); }, p);
    for (int i = 0; i < registers; ++i) acc[i] = present ? acc[i] : before[i];
  }
  store_sums<Rows>(acc, sums);
}

template <class S, bool Own>
void rows_of(const S* matrix, int64_t row, int64_t rows, const SumOf<S>* vector, int64_t step, int64_t k, SumOf<S>* sums) {
  int64_t r = 0;
  for (; r + 8 <= rows; r += 8) row_sums<S, 8, Own, false>(matrix + r * row, row, vector + r * step, step, k, sums + r);
  for (; r + 2 <= rows; r += 2) row_sums<S, 2, Own, false>(matrix + r * row, row, vector + r * step, step, k, sums + r);
  if (r == rows) return;
  SumOf<S> twice[2];  // the last one fills a register with itself
  row_sums<S, 2, Own, false>(matrix + r * row, 0, vector + r * step, 0, k, twice);
  sums[r] = twice[0];
}

template <class S>
void along_rows(const S* matrix, int64_t row, int64_t rows, const SumOf<S>* vector, int64_t step, int64_t k, bool far,
                SumOf<S>* sums) {
  if (step != 0)
    rows_of<S, true>(matrix, row, rows, vector, step, k, sums);
  else if (far && rows == far_row_group)
    row_sums<S, far_row_group, false, true>(matrix, row, vector, 0, k, sums);
  else
    rows_of<S, false>(matrix, row, rows, vector, 0, k, sums);
}

// Adds `Rows` rows, `row` apart, to one lane of each column; n is at least the width of a register. Where it is no multiple,
// the last columns come once more, in sums of their own behind the others.
template <class S, int Rows, bool Far>
inline void add_rows(const S* matrix, int64_t row, int64_t n, const SumOf<S>* vector, SumOf<S>* sums) {
  using T = SumOf<S>;
  T left[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) left[r] = vector[r * lanes];
  const auto column = [&](int64_t j, T* to) {
    typename LaneVector<T>::type sum = at(to);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) sum += left[r] * load_run(matrix + r * row + j);
    at(to) = sum;
  };
  int64_t j = 0;
  for (; j + 2 * width<T> <= n; j += 2 * width<T>) {
    if constexpr (Far) {
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) __builtin_prefetch(matrix + (Rows + r) * row + j, 0, 2);  // the next rows, this far
    }
    column(j, sums + j);
    column(j + width<T>, sums + j + width<T>);
  }
  for (; j + width<T> <= n; j += width<T>) column(j, sums + j);
  if (j < n) column(n - width<T>, sums + j);
}

// Lane after lane: the sums of one lane are few enough to stay in the nearest cache, and few rows are read at a time.
template <class S>
void down_columns(const S* matrix, int64_t row, int64_t n, const SumOf<S>* vector, int64_t k, bool far, SumOf<S>* sums) {
  using T = SumOf<S>;
  alignas(64) T lane[lanes][lane_columns<T> + width<T>];
  for (int l = 0; l < lanes; ++l) {
    T* to = lane[l];
    for (int64_t j = 0; j < n + width<T>; ++j) to[j] = T{};
    int64_t p = l;
    if (far)
      for (; p + 3 * lanes < k; p += 4 * lanes) add_rows<S, 4, true>(matrix + p * row, lanes * row, n, vector + p, to);
    for (; p + 7 * lanes < k; p += 8 * lanes) add_rows<S, 8, false>(matrix + p * row, lanes * row, n, vector + p, to);
    for (; p + lanes < k; p += 2 * lanes) add_rows<S, 2, false>(matrix + p * row, lanes * row, n, vector + p, to);
    if (p < k) add_rows<S, 1, false>(matrix + p * row, lanes * row, n, vector + p, to);
  }
  const auto total = [&](int64_t j, T* to) {
    at(to) = (at(lane[0] + j) + at(lane[1] + j)) + (at(lane[2] + j) + at(lane[3] + j));
  };
  int64_t j = 0;
  for (; j + width<T> <= n; j += width<T>) total(j, sums + j);
  if (j < n) total(j, sums + n - width<T>);
}

template <class S>
constexpr LaneKernels<S> lane_kernels_of() {
  return {along_rows<S>, down_columns<S>};
}

}  // namespace
}  // namespace weft
