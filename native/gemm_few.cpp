// See gemm_few.h.
#include "gemm_few.h"

#include <algorithm>
#include <optional>

#include "allocator.h"
#include "gemm_float.h"
#include "gemm_vectors.h"

namespace weft {
namespace {

constexpr int64_t transposing = 7;  // an element of a line: what it costs, in multiply-adds
constexpr int64_t shallow = 64;     // fewer terms are sooner added by tiles,
constexpr int64_t deep = 4096;      // and so many by threads that divide them, unless there are lines enough for most of the threads

// Whether B is the lines and A the few rows, if it is not the other way round.
bool lines_are_columns(const Gemm& g) { return g.m <= g.n; }

}  // namespace

// As many rows as a vector has elements, or twice as many, are better the columns of tiles.
template <class T>
bool few_rows_pay(const Gemm& g) {
  const bool columns = lines_are_columns(g);
  if (columns ? g.b.row_stride != 1 || g.b.col_stride == 1 : g.a.col_stride != 1 || g.a.row_stride == 1) return false;
  const int64_t rows = std::min(g.m, g.n), lines = std::max(g.m, g.n), width = few_row_kernels<T>().width;
  if (rows < 2 || g.k < shallow || lines < width || (g.k >= deep && 2 * parts(lines, width) <= num_threads())) return false;
  return rows < width || (columns && rows > width && 2 * rows <= 3 * width);
}

template <class T>
bool few_rows_product(const Gemm& g, const T* a, const T* b, T* c, bool shared, const Poll* poll) {
  const bool columns = lines_are_columns(g);
  const int64_t rows = std::min(g.m, g.n), lines = std::max(g.m, g.n);
  const T* x = columns ? a : b;
  int64_t x_row = columns ? g.a.row_stride : g.b.col_stride, x_k = columns ? g.a.col_stride : g.b.row_stride;
  std::optional<Block> copied;
  if (x_row != 1) {  // rows become columns
    T* const to = static_cast<T*>(copied.emplace(static_cast<size_t>(rows * g.k) * sizeof(T)).data());
    if (x_k == 1) {
      tiny_kernels<T>().turn(1, rows, g.k, x, 0, x_row, to);
    } else {
      for (int64_t p = 0; p < g.k; ++p)
        for (int64_t r = 0; r < rows; ++r) to[p * rows + r] = x[r * x_row + p * x_k];
    }
    x = to, x_k = rows;
  }
  const FewRowKernels<T>& kernels = few_row_kernels<T>();
  const Chains chains(g.k);
  struct Job {
    const FewRowKernels<T>& kernels;
    FewRows<T> all;
    int64_t rows;
  } job{kernels,
        {lines, g.k, chains.first, chains.rest, x, x_k, columns ? b : a, columns ? g.b.col_stride : g.a.row_stride, c,
         columns ? g.c.row_stride : g.c.col_stride, columns ? g.c.col_stride : g.c.row_stride},
        rows};
  const auto some = [](void* context, int64_t begin, int64_t end) {
    const Job& j = *static_cast<const Job*>(context);
    const int64_t width = j.kernels.width, passes = parts(j.rows, j.kernels.most);
    // Several passes over a few lines each, which are then in a cache.
    for (int64_t group = begin, groups = passes == 1 ? end - begin : 1; group < end; group += groups)
      for (int64_t pass = 0; pass < passes; ++pass) {
        const int64_t first = j.rows * pass / passes, count = j.rows * (pass + 1) / passes - first, line = group * width;
        FewRows<T> part = j.all;
        part.lines = std::min(width * groups, j.all.lines - line);
        part.x += first, part.l += line * part.line, part.c += first * part.c_row + line * part.c_line;
        j.kernels.of_rows[count - 1](part);
      }
  };
  const int64_t groups = parts(lines, kernels.width);
  const double work = static_cast<double>(lines) * static_cast<double>(g.k) * static_cast<double>(rows + transposing);
  const int64_t threads = shared ? useful_threads(work) : 1;
  if (threads > 1 || work >= polled_work)
    return parallel_for(groups, parts(groups, units_per_thread * threads), some, &job, work < polled_work ? nullptr : poll);
  some(&job, 0, groups);
  return true;
}

template bool few_rows_pay<float>(const Gemm&);
template bool few_rows_pay<double>(const Gemm&);
template bool few_rows_product<float>(const Gemm&, const float*, const float*, float*, bool, const Poll*);
template bool few_rows_product<double>(const Gemm&, const double*, const double*, double*, bool, const Poll*);

}  // namespace weft
