// See integer_vector.h. The matrix's n rows or columns are summed over k: as dot products where k is contiguous, by adding
// rows where n is; else they are first copied in short runs. Threads share n and k: sums that wrap may be added in any order.
#include "gemm/integer_vector.h"

#include <algorithm>
#include <mutex>

#include "gemm/vectors.h"

namespace weft {
namespace {

constexpr int64_t columns_at_once = 512;     // whose sums stay in the nearest cache
constexpr int64_t run = 512;                 // elements that are made contiguous at once
constexpr int64_t shared_bytes = 256 << 10;  // to be read, for which waking another thread pays

// out[j] = the sum of matrix[j * row + p * col] * vector[p] over p < k.
template <class S>
struct Sums {
  const S* matrix;
  int64_t row, col;
  const S* vector;
  int64_t step;  // of the vector
  int64_t n, k;
  S* out;
  int64_t out_step;
  int64_t pieces_n, pieces_k;
  std::mutex mutex{};  // of `out`, where several pieces add to an element

  void piece(int64_t number) {
    const int64_t part = number % pieces_k, at = number / pieces_k;
    const int64_t j0 = n * at / pieces_n, j1 = n * (at + 1) / pieces_n;
    const int64_t p0 = k * part / pieces_k, p1 = k * (part + 1) / pieces_k;
    S sums[columns_at_once];
    for (int64_t j = j0; j < j1; j += columns_at_once) {
      const int64_t count = std::min(columns_at_once, j1 - j);
      std::fill_n(sums, count, S{});
      for (int64_t p = p0; p < p1; p += run) add(j, count, p, std::min(run, p1 - p), sums);
      if (pieces_k == 1) {
        for (int64_t q = 0; q < count; ++q) out[(j + q) * out_step] = sums[q];
      } else {
        std::lock_guard lock(mutex);
        for (int64_t q = 0; q < count; ++q) {
          S& to = out[(j + q) * out_step];
          to = static_cast<S>(to + sums[q]);
        }
      }
    }
  }

  void add(int64_t j, int64_t count, int64_t p, int64_t steps, S* sums) const {
    const IntegerLoops<S>& loops = integer_loops<S>();
    S some[run], gathered[run];
    const S* right = contiguous(vector + p * step, step, steps, some);
    const S* from = matrix + j * row + p * col;
    if (row == 1 && count > 1) return loops.add_rows(steps, count, right, from, col, sums);
    for (int64_t q = 0; q < count; ++q) {
      const S* left = contiguous(from + q * row, col, steps, gathered);
      sums[q] = static_cast<S>(sums[q] + loops.dot(steps, left, right));
    }
  }

  static const S* contiguous(const S* from, int64_t apart, int64_t count, S* to) {
    if (apart == 1) return from;
    for (int64_t i = 0; i < count; ++i) to[i] = from[i * apart];
    return to;
  }
};

}  // namespace

template <class S>
void integer_vector_product(const Gemm& g, const S* a, const S* b, S* c, bool shared) {
  const bool left = g.n == 1;  // the matrix is A
  const GemmOperand &of_matrix = left ? g.a : g.b, &of_vector = left ? g.b : g.a;
  Sums<S> sums{.matrix = left ? a : b,
               .row = left ? of_matrix.row_stride : of_matrix.col_stride,
               .col = left ? of_matrix.col_stride : of_matrix.row_stride,
               .vector = left ? b : a,
               .step = left ? of_vector.row_stride : of_vector.col_stride,
               .n = left ? g.m : g.n,
               .k = g.k,
               .out = c,
               .out_step = left ? g.c.row_stride : g.c.col_stride,
               .pieces_n = 1,
               .pieces_k = 1};
  const double bytes = static_cast<double>(sums.n) * static_cast<double>(sums.k) * sizeof(S);
  const auto worth = shared ? static_cast<int64_t>(std::min(4 * bytes / shared_bytes, 4.0 * num_threads())) : 1;
  if (worth > 1) {
    sums.pieces_n = std::clamp<int64_t>(sums.n / (sums.row == 1 ? 64 : 1), 1, worth);
    sums.pieces_k = std::clamp<int64_t>(sums.k / run, 1, parts(worth, sums.pieces_n));
  }
  if (sums.pieces_k > 1)
    for (int64_t j = 0; j < sums.n; ++j) c[j * sums.out_step] = S{};
  const auto some = [](void* context, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) static_cast<Sums<S>*>(context)->piece(i);
  };
  parallel_for(sums.pieces_n * sums.pieces_k, 1, some, &sums);
}

template void integer_vector_product<uint8_t>(const Gemm&, const uint8_t*, const uint8_t*, uint8_t*, bool);
template void integer_vector_product<uint16_t>(const Gemm&, const uint16_t*, const uint16_t*, uint16_t*, bool);
template void integer_vector_product<uint32_t>(const Gemm&, const uint32_t*, const uint32_t*, uint32_t*, bool);
template void integer_vector_product<uint64_t>(const Gemm&, const uint64_t*, const uint64_t*, uint64_t*, bool);

}  // namespace weft
