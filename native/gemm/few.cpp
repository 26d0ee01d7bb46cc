// See few.h.
#include "gemm/few.h"

#include <algorithm>
#include <optional>

#include "base/allocator.h"
#include "base/caches.h"
#include "base/shares.h"
#include "gemm/float.h"
#include "gemm/vectors.h"

namespace weft {
namespace {

constexpr int64_t transposing = 7;  // an element of a line: what it costs, in multiply-adds
constexpr int64_t shallow = 64;     // fewer terms are sooner added by tiles,
constexpr int64_t deep = 4096;      // and so many by threads that divide them, unless there are lines enough for most of the threads

// Whether B is the lines and A the few rows, if it is not the other way round.
bool lines_are_columns(const Gemm& g) { return g.m <= g.n; }

// One product. Threads share the lines; each makes its own columns of rows that lie as such, because lines that another core has written
// come slowly.
template <class T>
class FewRowsProduct {
 public:
  FewRowsProduct(const Gemm& g, const T* a, const T* b, T* c, bool shared, const Poll* poll)
      : rows_(std::min(g.m, g.n)), stop_(work(g) < polled_work ? nullptr : poll) {
    const Chains chains(g.k);
    if (lines_are_columns(g)) {
      x_row_ = g.a.row_stride;
      all_ = {g.n, g.k, chains.first, chains.rest, a, g.a.col_stride, b, g.b.col_stride, c, g.c.row_stride, g.c.col_stride};
    } else {
      x_row_ = g.b.col_stride;
      all_ = {g.m, g.k, chains.first, chains.rest, b, g.b.row_stride, a, g.a.row_stride, c, g.c.col_stride, g.c.row_stride};
    }
    groups_ = parts(all_.lines, kernels_.width);
    threads_ = shared ? std::min(useful_threads(work(g)), groups_) : 1;
    units_ = threads_ == 1 && work(g) < polled_work ? 1 : std::min(groups_, units_per_thread * threads_);
    if (x_row_ == 1) return;
    copy_ = rounded_up(rows_ * g.k, line_elements<T>);
    memory_.emplace(static_cast<size_t>(threads_ * copy_) * sizeof(T));
  }

  // False: interrupted.
  bool run() {
    if (threads_ == 1) {
      const T* const own = columns(0);
      for (int64_t i = 0; i < units_; ++i) unit(i, own);
    } else {
      shares_.begin(units_, threads_);
      const auto slots = [](void* context, int64_t begin, int64_t end) {
        for (int64_t slot = begin; slot < end; ++slot) static_cast<FewRowsProduct*>(context)->share(slot);
      };
      parallel_for(threads_, 1, slots, this);
    }
    return !stop_.stopped();
  }

 private:
  double work(const Gemm& g) const {
    return static_cast<double>(g.m + g.n - rows_) * static_cast<double>(g.k) * static_cast<double>(rows_ + transposing);
  }

  // The rows as columns, one after another; null where they lie so.
  const T* columns(int64_t slot) {
    if (!memory_) return nullptr;
    T* const to = static_cast<T*>(memory_->data()) + slot * copy_;
    if (all_.x_k == 1) {
      tiny_kernels<T>().turn(1, rows_, all_.k, all_.x, 0, x_row_, to);
    } else {
      for (int64_t p = 0; p < all_.k; ++p)
        for (int64_t r = 0; r < rows_; ++r) to[p * rows_ + r] = all_.x[r * x_row_ + p * all_.x_k];
    }
    return to;
  }

  void share(int64_t slot) {
    const T* own = nullptr;
    bool made = false;
    shares_.take(slot, stop_, [&](int64_t number) {
      if (!made) own = columns(slot), made = true;
      unit(number, own);
    });
  }

  // Some groups of as many lines as a vector has elements. In several passes over one group after the other, which is then in a cache.
  void unit(int64_t number, const T* own) {
    const int64_t begin = groups_ * number / units_, end = groups_ * (number + 1) / units_;
    const int64_t passes = parts(rows_, kernels_.most), at_once = passes == 1 ? end - begin : 1;
    for (int64_t group = begin; group < end && !stop_.asked(); group += at_once)
      for (int64_t pass = 0; pass < passes; ++pass) {
        const int64_t first = rows_ * pass / passes, count = rows_ * (pass + 1) / passes - first, line = group * kernels_.width;
        FewRows<T> part = all_;
        part.lines = std::min(kernels_.width * at_once, all_.lines - line);
        if (own) part.x = own, part.x_k = rows_;
        part.x += first, part.l += line * part.line, part.c += first * part.c_row + line * part.c_line;
        kernels_.of_rows[count - 1](part);
      }
  }

  const FewRowKernels<T>& kernels_ = few_row_kernels<T>();
  int64_t rows_, x_row_;  // the few rows' number, and their distance
  FewRows<T> all_;
  int64_t groups_, units_, threads_;
  int64_t copy_ = 0;  // elements of columns that are made
  std::optional<Block> memory_;
  Stop stop_;
  Shares shares_;
};

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
  return FewRowsProduct<T>(g, a, b, c, shared, poll).run();
}

template bool few_rows_pay<float>(const Gemm&);
template bool few_rows_pay<double>(const Gemm&);
template bool few_rows_product<float>(const Gemm&, const float*, const float*, float*, bool, const Poll*);
template bool few_rows_product<double>(const Gemm&, const double*, const double*, double*, bool, const Poll*);

}  // namespace weft
