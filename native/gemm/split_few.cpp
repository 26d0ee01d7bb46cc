// See split_few.h. All of A is packed first, by all threads; then a thread takes some panels of B and makes all of their columns.
#include "gemm/split_few.h"

#include <algorithm>
#include <memory>

#include "base/allocator.h"
#include "base/shares.h"
#include "gemm/split_operands.h"

namespace weft {
namespace {

constexpr int64_t most_row_panels = 16;      // sums of so many, and of B's of a unit, fill half of an L2 cache of 1 MiB
constexpr int64_t least_column_panels = 16;  // so that threads have units enough,
constexpr int64_t times_columns = 2;         // and are more than rows
constexpr int64_t unit_panels = 8;  // of B, whose rows are read together

template <class S>
class FewRows {
  static_assert(is_half<S>);  // whose k is one part

 public:
  FewRows(const MatrixUnit& unit, const Gemm& g, const S* a, const S* b, S* c, int64_t threads, const Poll* poll)
      : unit_(unit), kernels_(unit.kernels<S>()), g_(g), a_{PanelOf::a, a, g.m, g.a.row_stride, g.a.col_stride, g.k},
        b_{PanelOf::b, b, g.n, g.b.col_stride, g.b.row_stride, g.k}, c_(c), stop_(poll), threads_(threads),
        steps_(parts(g.k, step_depth)), steps_at_once_(split_steps_at_once<S>(unit)),
        units_(std::max(parts(b_.panels(), unit_panels), std::min(b_.panels(), units_per_thread * threads))) {
    a_bytes_ = steps_ * kernels_.step_bytes();
    b_bytes_ = steps_at_once_ * kernels_.step_bytes();
    const int64_t widest = parts(b_.panels(), units_), sums = a_.panels() * widest * block_bytes;
    own_bytes_ = widest * b_bytes_ + sums;
    a_panels_ = std::make_unique<Block>(static_cast<size_t>(a_.panels() * a_bytes_));
    own_ = std::make_unique<Block>(static_cast<size_t>(threads * own_bytes_));
  }

  SplitResult run() {
    const auto slots = [](void* context, int64_t begin, int64_t end) {
      for (int64_t slot = begin; slot < end; ++slot) static_cast<FewRows*>(context)->work(slot);
    };
    parallel_for(threads_, 1, slots, this);
    if (stop_.stopped()) return SplitResult::interrupted;
    return extremes_.fit(g_.k) ? SplitResult::completed : SplitResult::unfit;
  }

 private:
  static constexpr int64_t block_elements = panel_lines * panel_lines, block_bytes = block_elements * 4;
  static constexpr int64_t steps_in_task = 8;  // of all panels of A

  // One thread's part.
  void work(int64_t slot) {
    unit_.begin();
    const int64_t tasks = parts(steps_, steps_in_task);
    packing_.some(tasks, stop_, [&](int64_t t) {
      Magnitudes found;
      const int64_t first = t * steps_in_task;
      a_.pack(kernels_, 0, a_.panels(), first, std::min(steps_, first + steps_in_task), a_panel(0) + first * kernels_.step_bytes(),
              a_bytes_, found);
      extremes_.add(PanelOf::a, found);
    });
    packing_.wait(tasks, stop_);
    if (extremes_.fit(g_.k)) multiplying_.some(units_, stop_, [&](int64_t u) { unit(u, slot); });
    unit_.end();
  }

  char* a_panel(int64_t i) const { return static_cast<char*>(a_panels_->data()) + i * a_bytes_; }

  void unit(int64_t number, int64_t slot) {
    const int64_t first = b_.panels() * number / units_, last = b_.panels() * (number + 1) / units_, rows = a_.panels();
    char* const panels = static_cast<char*>(own_->data()) + slot * own_bytes_;
    float* const sums = reinterpret_cast<float*>(panels + (last - first) * b_bytes_);
    const auto block = [&](int64_t i, int64_t j) { return sums + ((j - first) * rows + i) * block_elements; };
    Magnitudes found;
    for (int64_t s = 0, now; s < steps_; s += now) {
      now = std::min(steps_at_once_, steps_ - s);
      b_.pack(kernels_, first, last, s, s + now, panels, b_bytes_, found);
      for (int64_t j = first; j < last; ++j)
        for (int64_t i = 0; i < rows; ++i) {
          const char *left = a_panel(i) + s * kernels_.step_bytes(), *right = panels + (j - first) * b_bytes_;
          kernels_.multiply(now, left, right, block(i, j), s > 0, left);
        }
    }
    for (int64_t j = first; j < last; ++j)
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t row = i * panel_lines, column = j * panel_lines;
        kernels_.store(block(i, j), std::min(panel_lines, g_.m - row), std::min(panel_lines, g_.n - column),
                       c_ + row * g_.c.row_stride + column * g_.c.col_stride, g_.c.row_stride, g_.c.col_stride, false);
      }
    extremes_.add(PanelOf::b, found);
  }

  const MatrixUnit& unit_;
  const SplitKernels<S>& kernels_;
  const Gemm& g_;
  const SplitOperand<S> a_, b_;
  S* c_;
  Stop stop_;
  int64_t threads_, steps_, steps_at_once_, units_;
  int64_t a_bytes_, b_bytes_, own_bytes_;  // of a panel of A, of B's steps that are multiplied at once, and of a thread
  std::unique_ptr<Block> a_panels_, own_;
  Tasks packing_, multiplying_;
  Extremes extremes_;
};

}  // namespace

bool split_few_rows(const Gemm& g) {
  const int64_t rows = parts(g.m, panel_lines), columns = parts(g.n, panel_lines);
  return rows <= most_row_panels && columns >= std::max(least_column_panels, times_columns * rows);
}

template <class S>
SplitResult split_few_product(const MatrixUnit& unit, const Gemm& g, const S* a, const S* b, S* c, int64_t threads, const Poll* poll) {
  return FewRows<S>(unit, g, a, b, c, threads, poll).run();
}

#define WEFT_SPLIT_FEW(S) \
  template SplitResult split_few_product<S>(const MatrixUnit&, const Gemm&, const S*, const S*, S*, int64_t, const Poll*);
WEFT_SPLIT_FEW(Float16)
WEFT_SPLIT_FEW(BFloat16)

}  // namespace weft
