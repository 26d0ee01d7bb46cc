// See split.h. C is divided into regions, in each of which one thread, or some, pack what they multiply for themselves, a part of k after
// another, and then make units, of some rows by some columns, whose sums wait in the L2 cache until all of the part is added. Meanwhile
// what is multiplied next comes near. A thread that finds no unit left takes one of another region.
#include "gemm/split.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "base/allocator.h"
#include "base/caches.h"
#include "base/shares.h"
#include "gemm/matrix_unit.h"
#include "gemm/split_few.h"
#include "gemm/split_operands.h"

namespace weft {
namespace {

constexpr int64_t most_steps = 32;        // of a part of k, as long as C can hold sums: those of so many are added without another's
constexpr int64_t most_unit_panels = 8;   // rows, and columns, of a unit
constexpr int64_t least_unit_panels = 2;  // of units that are made smaller so that all threads have some
constexpr int64_t most_regions = 4;       // of C, each with panels of its own: what another core has packed is slow to read
constexpr int64_t block_elements = panel_lines * panel_lines;

// Of numbers of so many parts. In cycles, as measured with one thread and with two: what a multiply-add costs less than by vectors; what
// packing an element costs, and one that comes from far away, of which the second is that of products of few rows or columns, beside
// what vectors need to read it; storing one of C; and all around.
struct Costs {
  double saved, near_element[2], far_element[2], stored, around;
};
constexpr Costs costs_of_parts[] = {
    {0.042, {0.35, 0.2}, {1.1, 0.15}, 0.1, 1000}, {0.036, {0.6, 0.4}, {1.5, 0.3}, 0.1, 1000}, {0.015, {0.9}, {2}, 0.3, 20000}};
constexpr int64_t vector_columns = 16;      // of C, that vectors of 16-bit numbers make at least
constexpr int64_t deepest_half = 1 << 15;   // k of 16-bit products: all of it is packed at once, and summed in one chain
constexpr double half_work = 1.0 / 16;      // of a multiply-add of 16-bit numbers, beside those that threads are shared out for

// A task packs some panels in some steps: where lines lie side by side, long runs of these; else long runs of steps.
template <class S>
int64_t panels_in_task(const SplitOperand<S>& side) {
  return side.along_k() ? 1 : 4;
}
template <class S>
int64_t steps_in_task(const SplitOperand<S>& side) {
  return side.along_k() ? most_steps : 8;
}
template <class S>
int64_t tasks_of(const SplitOperand<S>& side, int64_t panels, int64_t steps) {
  return parts(panels, panels_in_task(side)) * parts(steps, steps_in_task(side));
}

template <class S>
class Product {
 public:
  Product(const MatrixUnit& unit, const Gemm& g, const S* a, const S* b, S* c, int64_t threads, const Epilogue& epilogue,
          const Poll* poll)
      : unit_(unit), kernels_(unit.kernels<S>()), g_(g), a_{PanelOf::a, a, g.m, g.a.row_stride, g.a.col_stride, g.k},
        b_{PanelOf::b, b, g.n, g.b.col_stride, g.b.row_stride, g.k}, c_(c), epilogue_(epilogue), stop_(poll), threads_(threads),
        steps_(parts(g.k, step_depth)), parts_(is_half<S> ? 1 : parts(steps_, most_steps)), deepest_(parts(steps_, parts_)),
        step_bytes_(kernels_.step_bytes()), steps_at_once_(split_steps_at_once<S>(unit)) {
    // Regions of C, the more square the less is packed.
    for (int64_t regions = 1; 2 * regions <= std::min(threads, most_regions); regions *= 2) {
      const int64_t rows = a_.panels() / down_, columns = b_.panels() / across_;
      if (std::max(rows, columns) < 2 * least_unit_panels) break;
      (rows >= columns ? down_ : across_) *= 2;
    }
    const int64_t rows = parts(a_.panels(), down_), columns = parts(b_.panels(), across_);
    row_units_ = parts(rows, most_unit_panels), column_units_ = parts(columns, most_unit_panels);
    while (threads > 1 && regions() * row_units_ * column_units_ < units_per_thread * threads) {
      const int64_t high = parts(rows, row_units_), wide = parts(columns, column_units_);
      if (std::max(high, wide) <= least_unit_panels) break;
      ++(high > wide ? row_units_ : column_units_);
    }
    const int64_t bytes = deepest_ * step_bytes_;
    packed_a_ = rows * bytes, packed_ = packed_a_ + columns * bytes;
    scratch_ = parts(rows, row_units_) * parts(columns, column_units_) * block_elements;
    panels_ = std::make_unique<Block>(static_cast<size_t>(regions() * packed_));
    sums_ = std::make_unique<Block>(static_cast<size_t>(threads * scratch_) * sizeof(float));
    phases_ = std::make_unique<Tasks[]>(static_cast<size_t>(2 * parts_ * regions()));
    if (epilogue_) waiting_.reserve(static_cast<size_t>(a_.panels() * across_ * column_units_));  // no thread of the pool may throw
    if (epilogue_.whole_rows() && across_ * column_units_ > 1) unfinished_.begin(a_.panels(), across_ * column_units_);
  }

  SplitResult run() {
    const auto slots = [](void* context, int64_t begin, int64_t end) {
      for (int64_t slot = begin; slot < end; ++slot) static_cast<Product*>(context)->work(slot);
    };
    parallel_for(threads_, 1, slots, this);
    if (stop_.stopped()) return SplitResult::interrupted;
    if (!fit()) return SplitResult::unfit;
    for (const Done& done : waiting_) report(done);
    return SplitResult::completed;
  }

 private:
  // Panels of A and of B whose products are a region, or a unit.
  struct Area {
    int64_t row, row_end, column, column_end;
    int64_t rows() const { return row_end - row; }
    int64_t columns() const { return column_end - column; }
  };
  // Elements of C that are final: some columns of the rows of a panel.
  struct Done {
    int64_t panel, j0, j1;
  };

  int64_t regions() const { return down_ * across_; }
  Area region(int64_t number) const {
    const int64_t r = number / across_, c = number % across_, rows = a_.panels(), columns = b_.panels();
    return {rows * r / down_, rows * (r + 1) / down_, columns * c / across_, columns * (c + 1) / across_};
  }
  int64_t units() const { return row_units_ * column_units_; }  // of a region
  int64_t first_step(int64_t part) const { return steps_ * part / parts_; }
  int64_t steps(int64_t part) const { return first_step(part + 1) - first_step(part); }
  Tasks& packing(int64_t region, int64_t part) { return phases_[static_cast<size_t>(2 * (region * parts_ + part))]; }
  Tasks& multiplying(int64_t region, int64_t part) { return phases_[static_cast<size_t>(2 * (region * parts_ + part) + 1)]; }
  int64_t pack_tasks(const Area& area, int64_t part) const {
    return tasks_of(a_, area.rows(), steps(part)) + tasks_of(b_, area.columns(), steps(part));
  }

  // One thread's part.
  void work(int64_t slot) {
    if (slot + 1 == threads_) epilogue_.aside();
    unit_.begin();
    const int64_t own = slot * regions() / threads_;
    bool going = true;
    for (int64_t part = 0; part < parts_; ++part) {
      const int64_t tasks = pack_tasks(region(own), part);
      packing(own, part).some(tasks, stop_, [&](int64_t t) { pack(own, t, part); });
      packing(own, part).wait(tasks, stop_);
      if (!(going = fit() && !stop_.stopped())) break;
      multiplying(own, part).some(units(), stop_, [&](int64_t u) { unit(own, u, part, slot); });
      if (part + 1 < parts_) multiplying(own, part).wait(units(), stop_);
    }
    // Then units of others, who do not pack any more.
    for (int64_t i = 1; i < regions() && going; ++i) {
      const int64_t other = (own + i) % regions();
      if (packed(other)) multiplying(other, parts_ - 1).some(units(), stop_, [&](int64_t u) { unit(other, u, parts_ - 1, slot); });
    }
    unit_.end();
  }

  // Whether all panels of a region's last part have been packed.
  bool packed(int64_t region_number) {
    return packing(region_number, parts_ - 1).done(pack_tasks(region(region_number), parts_ - 1));
  }

  char* panel_of_a(int64_t region_number, int64_t in_region) const {
    return static_cast<char*>(panels_->data()) + region_number * packed_ + in_region * deepest_ * step_bytes_;
  }
  char* panel_of_b(int64_t region_number, int64_t in_region) const { return panel_of_a(region_number, in_region) + packed_a_; }

  void pack(int64_t region_number, int64_t task, int64_t part) {
    const Area area = region(region_number);
    const int64_t of_b = tasks_of(b_, area.columns(), steps(part));
    if (task < of_b) pack(b_, area.column, area.columns(), panel_of_b(region_number, 0), task, part);
    else pack(a_, area.row, area.rows(), panel_of_a(region_number, 0), task - of_b, part);
  }

  void pack(const SplitOperand<S>& side, int64_t first_panel, int64_t panels, char* to, int64_t task, int64_t part) {
    const int64_t first = first_step(part), runs = parts(steps(part), steps_in_task(side));
    const int64_t begin = task % runs * steps_in_task(side), end = std::min(steps(part), begin + steps_in_task(side));
    const int64_t panel = task / runs * panels_in_task(side), last = std::min(panels, panel + panels_in_task(side));
    Magnitudes found;
    side.pack(kernels_, first_panel + panel, first_panel + last, first + begin, first + end,
              to + (panel * deepest_ + begin) * step_bytes_, deepest_ * step_bytes_, found);
    extremes_.add(side.which, found);
  }

  bool fit() const { return extremes_.fit(g_.k); }

  void unit(int64_t region_number, int64_t number, int64_t part, int64_t slot) {
    const Area all = region(region_number);
    const int64_t r = number / column_units_, c = number % column_units_;
    // Panels of the region.
    const Area area{all.rows() * r / row_units_, all.rows() * (r + 1) / row_units_, all.columns() * c / column_units_,
                    all.columns() * (c + 1) / column_units_};
    float* const sums = static_cast<float*>(sums_->data()) + slot * scratch_;
    const auto at = [&](int64_t i, int64_t j) { return (j - area.column) * area.rows() + i - area.row; };
    for (int64_t s = 0, now; s < steps(part); s += now) {
      now = std::min(steps_at_once_, steps(part) - s);
      const int64_t later = s + now, coming = std::min(now, steps(part) - later);  // steps that come near
      for (int64_t j = area.column; j < area.column_end; ++j)
        for (int64_t i = area.row; i < area.row_end; ++i) {
          const char *left = panel_of_a(region_number, i) + s * step_bytes_, *right = panel_of_b(region_number, j) + s * step_bytes_;
          const int64_t bytes = now * kernels_.bytes_ahead(), of_panel = step_bytes_ / kernels_.bytes_ahead(), panel = at(i, j) / of_panel;
          const char* ahead = left;  // what is near, where nothing comes
          if (coming == now && panel < area.rows() + area.columns())
            ahead = (panel < area.rows() ? panel_of_a(region_number, area.row + panel)
                                         : panel_of_b(region_number, area.column + panel - area.rows())) +
                    later * step_bytes_ + at(i, j) % of_panel * bytes;
          kernels_.multiply(now, left, right, sums + at(i, j) * block_elements, s > 0, ahead);
        }
    }
    const bool final = part + 1 == parts_;
    for (int64_t i = area.row; i < area.row_end; ++i) {
      const int64_t row = (all.row + i) * panel_lines, rows = std::min(panel_lines, g_.m - row);
      for (int64_t j = area.column; j < area.column_end; ++j) {
        const int64_t column = (all.column + j) * panel_lines;
        kernels_.store(sums + at(i, j) * block_elements, rows, std::min(panel_lines, g_.n - column),
                    c_ + row * g_.c.row_stride + column * g_.c.col_stride, g_.c.row_stride, g_.c.col_stride, part > 0);
      }
      if (final) follow({all.row + i, (all.column + area.column) * panel_lines,
                         std::min(g_.n, (all.column + area.column_end) * panel_lines)});
    }
  }

  // The epilogue runs while the rows are near, unless some numbers are not known yet: it may write over what they are read from.
  void follow(const Done& done) {
    if (!epilogue_) return;
    bool known = true;
    for (int64_t region_number = 0; region_number < regions() && known; ++region_number) known = packed(region_number);
    if (known && fit()) return report(done);
    std::lock_guard lock(mutex_);
    waiting_.push_back(done);
  }

  void report(const Done& done) {
    const int64_t i0 = done.panel * panel_lines, i1 = std::min(g_.m, i0 + panel_lines);
    if (!epilogue_.whole_rows()) epilogue_.block(i0, i1, done.j0, done.j1);
    else if (!unfinished_ || unfinished_.done(done.panel))
      epilogue_.rows(i0, i1);
  }

  const MatrixUnit& unit_;
  const SplitKernels<S>& kernels_;
  const Gemm& g_;
  const SplitOperand<S> a_, b_;
  S* c_;
  const Epilogue& epilogue_;
  Stop stop_;
  int64_t threads_, steps_, parts_, deepest_;  // parts: of k, of so many steps, at most `deepest_`
  int64_t step_bytes_, steps_at_once_;
  int64_t down_ = 1, across_ = 1;              // regions
  int64_t row_units_ = 1, column_units_ = 1;   // of a region
  int64_t packed_a_ = 0, packed_ = 0, scratch_ = 0;  // bytes of a region's panels of A, and of both; elements of a unit's sums
  Extremes extremes_;
  std::unique_ptr<Block> panels_, sums_;
  std::unique_ptr<Tasks[]> phases_;  // of each region and part: packing, multiplying
  Unfinished unfinished_;  // of each panel of rows, the units not made yet
  std::mutex mutex_;
  std::vector<Done> waiting_;  // for all numbers to be known
};

}  // namespace

template <class S>
const MatrixUnit* split_pays(const Gemm& g) {
  const MatrixUnit* const unit = matrix_unit();
  if (!unit) return nullptr;
  if (is_half<S> && g.k > deepest_half) return nullptr;
  const Costs& c = costs_of_parts[unit->kernels<S>().parts - 1];
  const auto m = static_cast<double>(g.m), n = static_cast<double>(g.n), k = static_cast<double>(g.k);
  const bool few = is_half<S> && (split_few_rows(g) || split_few_rows(transposed(g)));
  const auto packing = [&](double elements) {
    return elements * (elements * sizeof(S) > far_bytes ? c.far_element : c.near_element)[few];
  };
  const double by_vectors = m * k * (is_half<S> ? static_cast<double>(rounded_up(g.n, vector_columns)) : n);
  return c.saved * by_vectors > c.around + packing(m * k) + packing(k * n) + c.stored * m * n ? unit : nullptr;
}

template <class S>
SplitResult split_product(const MatrixUnit& unit, const Gemm& g, const S* a, const S* b, S* c, bool shared, const Epilogue& epilogue,
                          const Poll* poll) {
  const double work = multiply_adds(g) + epilogue.work();
  const int64_t threads = shared ? useful_threads(is_half<S> ? half_work * work : work) : 1;
  const Poll* const polled = work < polled_work ? nullptr : poll;
  if constexpr (is_half<S>) {
    const bool of_rows = split_few_rows(g);
    if (const Gemm turned = transposed(g); of_rows || split_few_rows(turned)) {
      const SplitResult result = of_rows ? split_few_product<S>(unit, g, a, b, c, threads, polled)
                                         : split_few_product<S>(unit, turned, b, a, c, threads, polled);
      if (result == SplitResult::completed) epilogue.all(shared);
      return result;
    }
  }
  return Product<S>(unit, g, a, b, c, threads, epilogue, polled).run();
}

#define WEFT_SPLIT(S)                                                                                                          \
  template const MatrixUnit* split_pays<S>(const Gemm&);                                                                       \
  template SplitResult split_product<S>(const MatrixUnit&, const Gemm&, const S*, const S*, S*, bool, const Epilogue&, const Poll*);
WEFT_SPLIT(float)
WEFT_SPLIT(Float16)
WEFT_SPLIT(BFloat16)

}  // namespace weft
