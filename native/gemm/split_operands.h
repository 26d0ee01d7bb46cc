// What all ways by the matrix unit (split.h) share: operands whose lines become panels, and whether their numbers are fit.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>

#include "base/dtype.h"
#include "gemm/gemm.h"
#include "gemm/matrix_unit.h"

namespace weft {

// Steps whose panel of B stays in the nearest cache while panels of A go by.
template <class S>
int64_t split_steps_at_once(const MatrixUnit& unit) {
  constexpr int64_t of_parts[] = {8, 5, 4};  // of a number
  return of_parts[unit.kernels<S>().parts - 1];
}

// A or B.
template <class S>
struct SplitOperand {
  PanelOf which;
  const S* from;
  int64_t lines, line, step, k;

  int64_t panels() const { return parts(lines, panel_lines); }
  bool along_k() const { return step == 1; }

  // Packs some steps of some panels, which go to `to` and on, so many bytes apart.
  void pack(const SplitKernels<S>& kernels, int64_t panel, int64_t panel_end, int64_t first_step, int64_t last_step, char* to,
            int64_t panel_bytes, Magnitudes& found) const {
    const int64_t at_once = along_k() ? last_step - first_step : 1;  // else what lies side by side is read together
    for (int64_t s = first_step; s < last_step; s += at_once)
      for (int64_t j = panel; j < panel_end; ++j) {
        const int64_t p = s * step_depth, i = j * panel_lines;
        kernels.split(which, std::min(panel_lines, lines - i), std::min(at_once * step_depth, k - p), from + i * line + p * step, line,
                      step, to + (j - panel) * panel_bytes + (s - first_step) * kernels.step_bytes(), found);
      }
  }
};

// Magnitudes of all numbers of A and of B.
class Extremes {
 public:
  void add(PanelOf operand, const Magnitudes& found) {
    Found& all = found_[operand == PanelOf::a ? 0 : 1];
    for (uint16_t seen = all.largest.load(std::memory_order_relaxed); seen < found.largest;)
      if (all.largest.compare_exchange_weak(seen, found.largest, std::memory_order_relaxed)) break;
    for (uint16_t seen = all.least.load(std::memory_order_relaxed); seen > found.least;)
      if (all.least.compare_exchange_weak(seen, found.least, std::memory_order_relaxed)) break;
  }

  // Whether the parts of all numbers, and the sums of k products of these, can be held.
  bool fit(int64_t k) const {
    constexpr uint16_t infinite = 0x7f80;                              // bits of bfloat16
    constexpr double least_product = 0x1p-100, largest_sum = 0x1p126;  // of scaled numbers
    double largest[2], least[2];
    for (int i = 0; i < 2; ++i) {
      const uint16_t most = found_[i].largest.load(std::memory_order_relaxed), fewest = found_[i].least.load(std::memory_order_relaxed);
      largest[i] = most < infinite ? bfloat16_to_float(most) : HUGE_VAL;
      least[i] = fewest == UINT16_MAX ? HUGE_VAL : bfloat16_to_float(static_cast<uint16_t>(fewest + 1));
    }
    return largest[0] * largest[1] * static_cast<double>(k) <= largest_sum && least[0] * least[1] >= least_product;
  }

 private:
  struct Found {
    std::atomic<uint16_t> largest{0}, least{UINT16_MAX};
  };
  Found found_[2];
};

}  // namespace weft
