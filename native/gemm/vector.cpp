// See vector.h. Memory limits these products, so the matrix is read where it is: along its rows where p is contiguous,
// whole rows at a time where the elements of the result are; anything else is gathered block by block first.
#include "gemm/vector.h"

#include <algorithm>
#include <optional>

#include "base/allocator.h"
#include "base/caches.h"
#include "gemm/vectors.h"

namespace weft {
namespace {

constexpr int64_t block_k = 512;             // part of every result's definition: see vector.h
constexpr int64_t group = row_group;         // rows, or blocks of one row, that are summed at once
constexpr int64_t many_rows = 16;            // for which a widened copy of the vector is little
constexpr int64_t few_columns = 32;          // whose sums had better stay in registers,
constexpr int64_t few_terms = 32;            // as those of so few terms had
constexpr int64_t shared_bytes = 512 << 10;  // to be read, for which waking another thread pays
constexpr int64_t farther_bytes = 48 << 20;  // of a matrix of which too little to matter is in a cache

// Some elements, `step` apart, to contiguous ones of the sums' type.
template <class S>
void widen_to(const S* from, int64_t step, int64_t count, SumOf<S>* to) {
  if constexpr (is_half<S>)
    if (step == 1) return converters<S>().widen(1, count, from, 0, to, 0);
  for (int64_t p = 0; p < count; ++p) to[p] = widened(from[p * step]);
}

// sums[block * n + j] = the sum of matrix[j * row + p * col] * vector[p] over the block's p.
template <class S>
struct Sums {
  using T = SumOf<S>;
  const LaneKernels<S>& run;
  const S* matrix;
  int64_t row, col;
  const T* vector;  // contiguous; null: blocks of `given`, `step` apart, are widened when they are used
  const S* given;
  int64_t step;
  int64_t n, k;
  T* sums;
  int64_t columns = lane_columns<SumOf<S>>;  // that one unit of work takes

  int64_t bytes() const { return (n * k + k) * static_cast<int64_t>(sizeof(S)); }
  Asked next() const {
    if (bytes() <= far_bytes) return Asked::never;
    const bool once = bytes() < farther_bytes || (vectors_are_lines() && processor_is_intels());
    return once ? Asked::once : Asked::thrice;
  }
  int64_t together() const { return next() == Asked::never ? group : far_row_group; }
  int64_t blocks() const { return parts(k, block_k); }
  int64_t length(int64_t block) const { return std::min(block_k, k - block * block_k); }

  // Some of the vector from p on, which `near` has room for.
  const T* with(int64_t p, int64_t count, T* near) const {
    if (vector) return vector + p;
    widen_to(given + p * step, step, count, near);
    return near;
  }

  // A group of rows, from end to end.
  void rows(int64_t unit) {
    const int64_t j = unit * together(), count = std::min(together(), n - j);
    alignas(line_bytes) T near[block_k];
    for (int64_t b = 0; b < blocks(); ++b)
      run.along_rows(matrix + j * row + b * block_k, row, count, with(b * block_k, length(b), near), 0, length(b), next(),
                     sums + b * n + j);
  }

  // A group of blocks of each row.
  void row_blocks(int64_t unit) {
    const int64_t first = unit * group, last = std::min(blocks(), first + group);
    const int64_t whole = std::min(last, k / block_k) - first;
    T found[group];
    alignas(line_bytes) T near[group * block_k];
    const T* right = with(first * block_k, std::min(k, last * block_k) - first * block_k, near);
    for (int64_t j = 0; j < n; ++j) {
      const S* at = matrix + j * row + first * block_k;
      run.along_rows(at, block_k, whole, right, block_k, block_k, Asked::never, found);
      if (first + whole < last)
        run.along_rows(at + whole * block_k, 0, 1, right + whole * block_k, 0, length(last - 1), Asked::never, found + whole);
      for (int64_t b = first; b < last; ++b) sums[b * n + j] = found[b - first];
    }
  }

  // Neighbouring columns of one block.
  void some_columns(int64_t unit) {
    const int64_t chunks = parts(n, columns), b = unit / chunks, j = unit % chunks * columns;
    const int64_t count = std::min(columns, n - j), terms = length(b);
    alignas(line_bytes) T near[block_k];
    const T* right = with(b * block_k, terms, near);
    const S* from = matrix + b * block_k * col;
    T* to = sums + b * n + j;
    if (count <= few_columns || terms <= few_terms)
      return run.down_batch({.count = 1, .n = count, .k = terms, .matrix = from + j, .matrix_step = 0, .row = col, .vector = right,
                             .vector_step = 0, .sums = to, .sums_step = 0});
    run.down_columns(from + j, col, count, right, terms, next(), to);
  }

  // Neighbouring sums of few terms.
  void few(int64_t unit) {
    const int64_t j = unit * columns;
    alignas(line_bytes) T near[most_few_terms];
    run.few_terms[k - 1](matrix + j * row, row, col, std::min(columns, n - j), with(0, k, near), sums + j);
  }

  // A group of rows of one block, made contiguous.
  void gathered(int64_t unit) {
    const int64_t groups = parts(n, group), b = unit / groups, j = unit % groups * group;
    const int64_t count = std::min(group, n - j), size = length(b);
    alignas(line_bytes) T near[group * block_k], beside[block_k];
    const S* from = matrix + j * row + b * block_k * col;
    for (int64_t p = 0; p < size; ++p)
      for (int64_t r = 0; r < count; ++r) near[r * block_k + p] = widened(from[r * row + p * col]);
    lane_kernels<T>().along_rows(near, block_k, count, with(b * block_k, size, beside), 0, size, Asked::never, sums + b * n + j);
  }

  template <void (Sums::*Unit)(int64_t)>
  void each(int64_t count, bool shared) {
    const auto units = [](void* context, int64_t begin, int64_t end) {
      auto& self = *static_cast<Sums*>(context);
      for (int64_t i = begin; i < end; ++i) (self.*Unit)(i);
    };
    if (!shared || count < 2 || bytes() < shared_bytes) return units(this, 0, count);
    parallel_for(count, std::max<int64_t>(1, shared_bytes / 8 * count / bytes()), units, this);
  }

  void all(bool shared) {
    if (k <= most_few_terms) return each<&Sums::few>(parts(n, columns), shared);
    if (row == 1 && n > 1 && col != 1) {
      if (shared && bytes() >= shared_bytes)
        while (columns > 64 && blocks() * parts(n, columns) < 4 * num_threads()) columns /= 2;
      return each<&Sums::some_columns>(blocks() * parts(n, columns), shared);
    }
    if (col != 1 && k > 1) return each<&Sums::gathered>(blocks() * parts(n, group), shared);
    if (n < 2 * group && blocks() > 1) return each<&Sums::row_blocks>(parts(blocks(), group), shared);
    each<&Sums::rows>(parts(n, together()), shared);
  }
};

}  // namespace

template <class S>
void vector_product(const Gemm& g, const S* a, const S* b, S* c, bool shared) {
  using T = SumOf<S>;
  const bool left = g.n == 1;  // the matrix is A
  const GemmOperand &of_matrix = left ? g.a : g.b, &of_vector = left ? g.b : g.a;
  const int64_t row = left ? of_matrix.row_stride : of_matrix.col_stride;
  const int64_t col = left ? of_matrix.col_stride : of_matrix.row_stride;
  const int64_t step = left ? of_vector.row_stride : of_vector.col_stride;
  const int64_t out_step = left ? g.c.row_stride : g.c.col_stride;
  const int64_t n = left ? g.m : g.n;
  const S* given = left ? b : a;
  const T* vector = nullptr;
  std::optional<Block> copied;
  if constexpr (!is_half<S>)
    if (step == 1 || g.k == 1) vector = given;
  if (!vector && (!is_half<S> || n >= many_rows)) {
    T* to = static_cast<T*>(copied.emplace(static_cast<size_t>(g.k) * sizeof(T)).data());
    widen_to(given, step, g.k, to);
    vector = to;
  }
  const int64_t blocks = parts(g.k, block_k);
  std::optional<Block> own;
  T* sums = nullptr;
  if constexpr (!is_half<S>)
    if (blocks == 1 && (out_step == 1 || n == 1)) sums = c;
  if (!sums) sums = static_cast<T*>(own.emplace(static_cast<size_t>(blocks * n) * sizeof(T)).data());
  Sums<S>{lane_kernels<S>(), left ? a : b, row, col, vector, given, step, n, g.k, sums}.all(shared);
  for (int64_t block = 1; block < blocks; ++block)
    for (int64_t j = 0; j < n; ++j) sums[j] += sums[block * n + j];
  if (!own) return;
  if constexpr (is_half<S>)
    if (out_step == 1) return converters<S>().narrow(1, n, sums, 0, c, 0);
  for (int64_t j = 0; j < n; ++j) narrow(sums[j], c[j * out_step]);
}

template void vector_product<float>(const Gemm&, const float*, const float*, float*, bool);
template void vector_product<double>(const Gemm&, const double*, const double*, double*, bool);
template void vector_product<Float16>(const Gemm&, const Float16*, const Float16*, Float16*, bool);
template void vector_product<BFloat16>(const Gemm&, const BFloat16*, const BFloat16*, BFloat16*, bool);

}  // namespace weft
