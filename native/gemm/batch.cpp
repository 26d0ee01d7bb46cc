// See batch.h. What a loop cannot read where it lies (16-bit floats, bytes, columns that are apart) comes to the stack first, a
// block of matrices at a time.
#include "gemm/batch.h"

#include <algorithm>
#include <type_traits>

#include "base/caches.h"
#include "gemm/float.h"
#include "gemm/vectors.h"

namespace weft {
namespace {

constexpr int64_t most_work = 32 * 32 * 32;   // multiply-adds of a matrix
constexpr int64_t stack_elements = 4096;      // that a block may copy, and of one matrix at most
constexpr int64_t stack_padding = 16;         // elements that may be read behind them: see tiny.h
constexpr int64_t block_bytes = 32 << 10;     // of all operands, which then stay in the nearest cache
constexpr int64_t least_turned = 16;          // elements of a matrix that is turned by vectors
constexpr int64_t chunk_work = 1 << 17;       // multiply-adds for which waking another thread pays
constexpr int64_t deepest_narrow = 64;        // terms of a narrow product
constexpr int64_t fewest_narrow_rows = 32;    // of one
constexpr int64_t narrow_rows_of_two = 6;     // at once, if they are longer than a vector of AVX2
constexpr int64_t deepest_vector = 512;       // terms that are summed in one block: see vector.cpp

template <class S>
constexpr bool in_lanes = std::is_floating_point_v<S> || is_half<S>;  // a product with a vector has an order of its own

// Matrices of one size.
template <class T>
struct Matrices {
  const T* data;
  int64_t matrix, row, col;
};

// Element (i, j) of each to `to`, row by row.
template <class From, class To>
void gather(int64_t count, int64_t rows, int64_t columns, const Matrices<From>& from, To* to) {
  for (int64_t m = 0; m < count; ++m)
    for (int64_t i = 0; i < rows; ++i) {
      const From* at = from.data + m * from.matrix + i * from.row;
      for (int64_t j = 0; j < columns; ++j, at += from.col) *to++ = widened(*at);
    }
}

// The matrices in the type of the sums: where they are, or as a copy.
template <class S, class T = SumOf<S>>
Matrices<T> wide(int64_t count, int64_t rows, int64_t columns, const Matrices<S>& given, T*& memory) {
  if constexpr (std::is_same_v<S, T>) {
    return given;
  } else {
    const bool by_rows = (given.col == 1 || columns == 1) && (given.row == columns || rows == 1);
    const bool by_columns = (given.row == 1 || rows == 1) && (given.col == rows || columns == 1);
    T* const to = memory;
    if (given.matrix == 0) count = 1;
    memory += count * rows * columns;
    if ((by_rows || by_columns) && (given.matrix == rows * columns || count == 1)) {
      converters<S>().widen(1, count * rows * columns, given.data, 0, to, 0);
      return {to, given.matrix, given.row, given.col};
    }
    gather(count, rows, columns, given, to);
    return {to, given.matrix ? rows * columns : 0, columns, 1};
  }
}

// The matrices with rows whose elements follow one another; always a copy if they are 16-bit integers.
template <class T>
Matrices<T> by_rows(int64_t count, int64_t rows, int64_t columns, const Matrices<T>& given, T*& memory) {
  if (sizeof(T) != 2 && (given.col == 1 || columns == 1)) return given;
  T* const to = memory;
  if (given.matrix == 0) count = 1;
  memory += count * rows * columns;
  if (sizeof(T) != 2 && given.row == 1 && rows * columns >= least_turned)
    tiny_kernels<T>().turn(count, columns, rows, given.data, given.matrix, given.col, to);
  else
    gather(count, rows, columns, given, to);
  return {to, given.matrix ? rows * columns : 0, columns, 1};
}

// Sums of each matrix, row by row, to where they belong.
template <class S>
void scatter(int64_t count, int64_t rows, int64_t columns, const SumOf<S>* from, S* to, int64_t matrix, int64_t row,
             int64_t col) {
  if constexpr (!std::is_same_v<S, SumOf<S>>)
    if ((col == 1 || columns == 1) && (row == columns || rows == 1) && (matrix == rows * columns || count == 1))
      return converters<S>().narrow(1, count * rows * columns, from, 0, to, 0);
  for (int64_t m = 0; m < count; ++m)
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) narrow(*from++, to[m * matrix + i * row + j * col]);
}

// A block of matrix products. Copies use up to (m k + 2 k n + m n) elements of memory a matrix.
template <class S, class T = SumOf<S>>
void multiply(int64_t count, const Gemm& g, const Batch::Dim& step, const S* a, const S* b, S* c, T* memory) {
  const Matrices<T> left = wide<S>(count, g.m, g.k, {a, step.a, g.a.row_stride, g.a.col_stride}, memory);
  const Matrices<T> given = wide<S>(count, g.k, g.n, {b, step.b, g.b.row_stride, g.b.col_stride}, memory);
  const Matrices<T> right = by_rows(count, g.k, g.n, given, memory);
  T* sums = memory;
  int64_t sums_matrix = g.m * g.n, sums_row = g.n;
  bool direct = false;
  if constexpr (std::is_same_v<S, T>) {
    direct = g.c.col_stride == 1 || g.n == 1;
    if (direct) sums = c, sums_matrix = step.c, sums_row = g.c.row_stride;
  }
  const TinyKernels<T>& kernels = tiny_kernels<T>();
  const Chains chains(std::is_integral_v<T> ? 1 : g.k);
  TinyProducts<T> run{.count = count, .columns = 0, .k = g.k, .first = std::is_integral_v<T> ? g.k : chains.first,
                      .rest = chains.rest, .a = nullptr, .a_matrix = left.matrix, .a_row = left.row, .a_k = left.col,
                      .b = nullptr, .b_matrix = right.matrix, .b_k = right.row, .c = nullptr, .c_matrix = sums_matrix,
                      .c_row = sums_row};
  for (int64_t j = 0; j < g.n; j += run.columns) {
    const bool two = kernels.most_of_two > 0 && g.n - j > kernels.width;
    run.columns = std::min(g.n - j, two ? 2 * kernels.width : kernels.width);
    const int64_t tiles = parts(g.m, two ? kernels.most_of_two : kernels.most_of_one);
    for (int64_t t = 0, i = 0; t < tiles; ++t) {
      // Even heights, but for the last: with 7 rows of two vectors the compiler keeps rows of B in memory for want of registers.
      const int64_t next = std::min(g.m, 2 * ((g.m * (t + 1) + tiles) / (2 * tiles)));
      run.a = left.data + i * left.row, run.b = right.data + j, run.c = sums + i * sums_row + j;
      (two ? kernels.of_two : kernels.of_one)[next - i - 1](run);
      i = next;
    }
  }
  if (!direct) scatter<S>(count, g.m, g.n, sums, c, step.c, g.c.row_stride, g.c.col_stride);
}

// A block of products with a vector each. `terms` has memory for the matrices' elements as they are.
template <class S, class T = SumOf<S>>
void multiply_vectors(int64_t count, const Gemm& g, const Batch::Dim& step, const S* a, const S* b, S* c, T* memory,
                      S* terms) {
  const bool left = g.n == 1;  // the matrix is A
  const int64_t n = left ? g.m : g.n, out_step = left ? g.c.row_stride : g.c.col_stride;
  Matrices<S> matrix = left ? Matrices<S>{a, step.a, g.a.row_stride, g.a.col_stride}
                            : Matrices<S>{b, step.b, g.b.col_stride, g.b.row_stride};
  const Matrices<S> vectors = left ? Matrices<S>{b, step.b, 0, g.b.row_stride} : Matrices<S>{a, step.a, 0, g.a.col_stride};
  const bool along = matrix.col == 1 || g.k == 1, down = !along && matrix.row == 1 && n > 1;
  if (!along && !down) {
    const int64_t different = matrix.matrix ? count : 1;
    for (int64_t m = 0; m < different; ++m)
      for (int64_t j = 0; j < n; ++j)
        for (int64_t p = 0; p < g.k; ++p)
          terms[(m * n + j) * g.k + p] = matrix.data[m * matrix.matrix + j * matrix.row + p * matrix.col];
    matrix = {terms, matrix.matrix ? n * g.k : 0, g.k, 1};
  }
  const Matrices<T> wide_vectors = wide<S>(count, 1, g.k, vectors, memory);
  const Matrices<T> vector = by_rows(count, 1, g.k, wide_vectors, memory);
  T* sums = memory;
  int64_t sums_step = n;
  bool direct = false;
  if constexpr (std::is_same_v<S, T>) {
    direct = n == 1 ? step.c == 1 : out_step == 1;
    if (direct) sums = c, sums_step = step.c;
  }
  const LaneKernels<S>& kernels = lane_kernels<S>();
  if (n == 1)
    kernels.along_rows(matrix.data, matrix.matrix, count, vector.data, vector.matrix, g.k, Asked::never, sums);
  else
    (down ? kernels.down_batch : kernels.along_batch)({.count = count, .n = n, .k = g.k, .matrix = matrix.data,
        .matrix_step = matrix.matrix, .row = down ? matrix.col : matrix.row, .vector = vector.data,
        .vector_step = vector.matrix, .sums = sums, .sums_step = sums_step});
  if (!direct) scatter<S>(count, 1, n, sums, c, step.c, 0, out_step);
}

template <class S>
struct Job {
  const Gemm& g;
  const Batch& batch;
  const S* a;
  const S* b;
  S* c;
  const GemmHooks* hooks;
  int64_t block;  // the most matrices at once

  void run(int64_t begin, int64_t end) const {
    using T = SumOf<S>;
    const Batch::Dim& step = batch.dims[batch.count - 1];
    const Prologue prologue(hooks, 0, g.m);
    const Epilogue epilogue(hooks, 0, g.m, g.n);
    alignas(line_bytes) T memory[stack_elements + stack_padding];
    for (int64_t i = begin, count; i < end; i += count) {
      count = std::min({end - i, step.size - i % step.size, block});
      const Batch::Offsets at = batch.at(i);
      prologue.rows(i * g.m, (i + count) * g.m);
      if constexpr (in_lanes<S>) {
        if (g.m == 1 || g.n == 1) {
          alignas(line_bytes) S terms[stack_elements];
          multiply_vectors<S>(count, g, step, a + at.a, b + at.b, c + at.c, memory, terms);
          epilogue.rows(i * g.m, (i + count) * g.m);
          continue;
        }
      }
      multiply<S>(count, g, step, a + at.a, b + at.b, c + at.c, memory);
      epilogue.rows(i * g.m, (i + count) * g.m);
    }
  }
};

int64_t elements(const Gemm& g) { return g.m * g.k + 2 * g.k * g.n + g.m * g.n; }

}  // namespace

Batch::Batch(const Gemm& g) {
  // From the innermost outwards; turned round at the end.
  for (size_t d = g.batch.size(); d-- > 0;) {
    const Dim dim{g.batch[d], g.a.batch_strides[d], g.b.batch_strides[d], g.c.batch_strides[d]};
    if (dim.size == 1) continue;
    if (count) {
      Dim& inner = dims[count - 1];
      if (dim.a == inner.a * inner.size && dim.b == inner.b * inner.size && dim.c == inner.c * inner.size) {
        inner.size *= dim.size;
        continue;
      }
    }
    dims[count++] = dim;
  }
  std::reverse(dims, dims + count);
}

Batch::Offsets Batch::at(int64_t index) const {
  Offsets found{0, 0, 0};
  for (int d = count - 1; d >= 0; --d) {
    const int64_t i = d ? index % dims[d].size : index;
    found.a += i * dims[d].a, found.b += i * dims[d].b, found.c += i * dims[d].c;
    index /= dims[d].size;
  }
  return found;
}

bool whole_product(const Gemm& g, const Batch& batch, bool rows_only, Gemm& whole) {
  if (batch.count != 1) return false;
  const Batch::Dim& dim = batch.dims[0];
  // The stride of a single row or column is free; but a product with a vector must stay one, and others must not become one.
  const auto rows = [&] {
    if (dim.b != 0) return false;
    if (g.m == 1) return g.n == 1;
    return dim.a == g.m * g.a.row_stride && dim.c == g.m * g.c.row_stride;
  };
  const auto columns = [&] {
    if (rows_only || dim.a != 0) return false;
    if (g.n == 1) return g.m == 1;
    return dim.b == g.n * g.b.col_stride && dim.c == g.n * g.c.col_stride;
  };
  if (rows()) {
    whole = {g.dtype, {}, g.m * dim.size, g.n, g.k, {{}, g.m == 1 ? dim.a : g.a.row_stride, g.a.col_stride},
             {{}, g.b.row_stride, g.b.col_stride}, {{}, g.m == 1 ? dim.c : g.c.row_stride, g.c.col_stride}};
    return true;
  }
  if (columns()) {
    whole = {g.dtype, {}, g.m, g.n * dim.size, g.k, {{}, g.a.row_stride, g.a.col_stride},
             {{}, g.b.row_stride, g.n == 1 ? dim.b : g.b.col_stride}, {{}, g.c.row_stride, g.n == 1 ? dim.c : g.c.col_stride}};
    return true;
  }
  return false;
}

template <class S>
bool tiny_products(const Gemm& g) {
  if (elements(g) > stack_elements) return false;
  if (in_lanes<S> && (g.m == 1 || g.n == 1)) return g.k <= deepest_vector;
  return g.m * g.n * g.k <= most_work;
}

template <class S>
bool run_tiny_products(const Gemm& g, const Batch& batch, const S* a, const S* b, S* c, const Poll* poll,
                       const GemmHooks* hooks) {
  int64_t count = 1;
  for (int d = 0; d < batch.count; ++d) count *= batch.dims[d].size;
  const int64_t bytes = elements(g) * static_cast<int64_t>(sizeof(SumOf<S>));
  Job<S> job{g, batch, a, b, c, hooks, std::max<int64_t>(1, std::min(block_bytes / bytes, stack_elements / elements(g)))};
  // Besides the multiply-adds, of which a vector takes some that do not count: loading, storing, going on to the next matrix.
  const double columns = static_cast<double>(std::max(g.n, tiny_width<SumOf<S>>));
  const double work = static_cast<double>(g.m * g.k) * columns + 4 * static_cast<double>(elements(g)) + 100 +
                      Prologue(hooks, 0, g.m).work() + Epilogue(hooks, 0, g.m, g.n).work();
  const auto some = [](void* context, int64_t begin, int64_t end) { static_cast<const Job<S>*>(context)->run(begin, end); };
  return parallel_for(count, std::min(count, static_cast<int64_t>(chunk_work / work) + 1), some, &job, poll);
}

template <class T>
constexpr int64_t rows_in_step(int64_t columns) {
  return columns > tiny_width<T> ? narrow_rows_of_two : tiny_rows_of_one;
}

template <class S>
bool narrow_product(const Gemm& g) {
  using T = SumOf<S>;
  if (g.m < fewest_narrow_rows || g.n < 2 || g.n > 2 * tiny_width<T> || g.k < 1 || g.k > deepest_narrow) return false;
  Gemm rows = g;
  rows.m = rows_in_step<T>(g.n);
  return tiny_products<S>(rows);
}

template <class S>
bool run_narrow_product(const Gemm& g, const S* a, const S* b, S* c, const Poll* poll) {
  const int64_t step = rows_in_step<SumOf<S>>(g.n), groups = g.m / step;
  const auto run = [&](int64_t first, int64_t count) {
    const Gemm rows{g.dtype, {count}, step, g.n, g.k, {{step * g.a.row_stride}, g.a.row_stride, g.a.col_stride},
                    {{0}, g.b.row_stride, g.b.col_stride}, {{step * g.c.row_stride}, g.c.row_stride, g.c.col_stride}};
    return run_tiny_products<S>(rows, Batch(rows), a + first * g.a.row_stride, b, c + first * g.c.row_stride, poll, nullptr);
  };
  // The last rows, if they are no group, come with others before them, which are made once more.
  return run(0, groups) && (groups * step == g.m || run(g.m - 2 * step, 2));
}

#define WEFT_TINY(S)                      \
  template bool tiny_products<S>(const Gemm&); \
  template bool run_tiny_products<S>(const Gemm&, const Batch&, const S*, const S*, S*, const Poll*, const GemmHooks*);
WEFT_TINY(float)
WEFT_TINY(double)
WEFT_TINY(Float16)
WEFT_TINY(BFloat16)
WEFT_TINY(uint8_t)
WEFT_TINY(uint16_t)
WEFT_TINY(uint32_t)
WEFT_TINY(uint64_t)
#undef WEFT_TINY

#define WEFT_NARROW(S)                      \
  template bool narrow_product<S>(const Gemm&); \
  template bool run_narrow_product<S>(const Gemm&, const S*, const S*, S*, const Poll*);
WEFT_NARROW(Float16)
WEFT_NARROW(BFloat16)
WEFT_NARROW(uint8_t)
WEFT_NARROW(uint16_t)
WEFT_NARROW(uint32_t)
WEFT_NARROW(uint64_t)
#undef WEFT_NARROW

}  // namespace weft
