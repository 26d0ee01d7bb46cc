// See far.h.
#include "gemm/far.h"

#include <algorithm>

#include "base/allocator.h"
#include "base/caches.h"
#include "gemm/float.h"
#include "gemm/vectors.h"

namespace weft {
namespace {

constexpr int64_t least_run = 1 << 10;  // bytes of a row that are read in one go: fewer are not fetched ahead,
constexpr int64_t most_run = 4 << 10;   // and of more the sums do not stay near
constexpr int64_t shallow = 256;        // fewer terms are sooner added in registers, by tiles
constexpr int64_t far_caches = 3;       // L2 caches: what is larger comes from far away,
constexpr int64_t very_far = 48 << 20;  // or so many bytes for
constexpr int64_t fewest_rows = 4;      // fewer rows, for which tiles take little time beside what is fetched

// Whether B is the far matrix, if it is not A.
bool far_is_right(const Gemm& g) { return g.m <= g.n; }

// One product. Threads share the columns.
template <class T>
class FarProduct {
 public:
  FarProduct(const Gemm& g, const T* a, const T* b, T* c) : chains_(g.k), rows_(std::min(g.m, g.n)), c_(c) {
    if (far_is_right(g)) {
      all_ = {g.n, g.k, a, g.a.row_stride, g.a.col_stride, b, g.b.row_stride, nullptr, 0};
      c_row_ = g.c.row_stride, c_col_ = g.c.col_stride;
    } else {
      all_ = {g.m, g.k, b, g.b.col_stride, g.b.row_stride, a, g.a.col_stride, nullptr, 0};
      c_row_ = g.c.col_stride, c_col_ = g.c.row_stride;
    }
    constexpr int64_t size = sizeof(T);
    const int64_t wanted = parts(all_.columns, units_per_thread * num_threads());
    width_ = std::clamp(rounded_up(wanted, line_elements<T>), least_run / size, most_run / size);
    all_.sums_row = width_;
  }

  // False: interrupted.
  bool run(bool shared, const Poll* poll) {
    const int64_t units = parts(all_.columns, width_), room = rows_ * width_;
    const Block memory(static_cast<size_t>(units * room) * sizeof(T));
    all_.sums = static_cast<T*>(memory.data());
    const auto some = [](void* context, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) static_cast<FarProduct*>(context)->unit(i);
    };
    if (shared) return parallel_for(units, 1, some, this, poll);
    some(this, 0, units);
    return true;
  }

 private:
  // Some columns of C, chain after chain.
  void unit(int64_t number) const {
    FarRows<T> part = all_;
    const int64_t first = number * width_;
    part.columns = std::min(width_, all_.columns - first), part.sums += number * rows_ * width_;
    for (int64_t block = 0; block < chains_.count; ++block) {
      const int64_t begin = chains_.begin(block);
      part.k = chains_.length(block);
      part.x = all_.x + begin * all_.x_k, part.l = all_.l + begin * all_.line + first;
      far_row_kernels<T>().of_rows[rows_ - 1](part);
      for (int64_t r = 0; r < rows_; ++r) {
        T* const to = c_ + r * c_row_ + first * c_col_;
        const T* const sums = part.sums + r * width_;
        if (block == 0)
          for (int64_t j = 0; j < part.columns; ++j) to[j * c_col_] = sums[j];
        else
          for (int64_t j = 0; j < part.columns; ++j) to[j * c_col_] += sums[j];
      }
    }
  }

  const Chains chains_;
  int64_t rows_, width_;  // the few rows' number; columns of a unit
  FarRows<T> all_;
  T* c_;
  int64_t c_row_, c_col_;
};

}  // namespace

template <class T>
bool far_product_pays(const Gemm& g) {
  const bool right = far_is_right(g);
  const GemmOperand& far = right ? g.b : g.a;
  if ((right ? far.col_stride : far.row_stride) != 1 || (right ? far.row_stride : far.col_stride) == 1) return false;
  const int64_t rows = std::min(g.m, g.n), columns = std::max(g.m, g.n), size = sizeof(T);
  return rows >= 2 && rows <= most_far_rows && g.k >= shallow && columns * size >= 2 * num_threads() * least_run &&
         columns * size > (rows < fewest_rows ? very_far : far_caches * second_cache_bytes()) / g.k;
}

template <class T>
bool far_product(const Gemm& g, const T* a, const T* b, T* c, bool shared, const Poll* poll) {
  return FarProduct<T>(g, a, b, c).run(shared, poll);
}

template bool far_product_pays<float>(const Gemm&);
template bool far_product_pays<double>(const Gemm&);
template bool far_product<float>(const Gemm&, const float*, const float*, float*, bool, const Poll*);
template bool far_product<double>(const Gemm&, const double*, const double*, double*, bool, const Poll*);

}  // namespace weft
