// The matrix unit of a CPU, which multiplies small matrices of bfloat16 and adds the products in float32, sixteen times as many at
// once as its vectors do of float32: AMX, of Intel's CPUs from 2023 on. split.h makes products of float32 and float16 of its, too.
//
// A number x of float32 is the sum of three bfloat16: h, x rounded to eight bits; m, x - h rounded to eight; and what is left, l, which
// has no more. One of float16 is h + m, unless the unit multiplies float16 too, and one of bfloat16 h. What is multiplied is packed in
// panels of 32 rows of A or 32 columns of B; a panel has, for every 32 steps of k, the h of all its elements, then the m, then the l.
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>

#include "gemm/types.h"

namespace weft {

constexpr int64_t panel_lines = 32;  // rows of A, or columns of B
constexpr int64_t step_depth = 32;   // of k
constexpr int64_t part_bytes = panel_lines * step_depth * 2;  // of a panel, in one step: the h, the m, or the l

// Numbers are multiplied by this before they are split, so that no part of theirs, nor a product of parts that counts, is less than
// the least normal number, below which the unit finds zero. No float16 is so small.
template <class S>
constexpr float split_scale = std::is_same_v<S, Float16> ? 1 : 1 << 24;

// Of numbers that have been scaled and rounded to bfloat16: bits of the largest magnitude; and of the least that is not zero, less one.
struct Magnitudes {
  uint16_t largest = 0, least = UINT16_MAX;
};

// Which operand's panels are made.
enum class PanelOf { a, b };

// What a unit does with numbers of one type.
template <class S>
struct SplitKernels {
  int64_t parts;  // of a number
  // Splits up to 32 lines of k numbers, which lie at from + line * i + step * p, into a panel; lines and steps that are missing are
  // zeros there. Adds to the magnitudes.
  void (*split)(PanelOf operand, int64_t lines, int64_t k, const S* from, int64_t line, int64_t step, char* panel, Magnitudes& found);
  // The sums of 32 x 32 elements of C, or, where `add`, what they are more. Brings what is at `ahead` near: bytes_ahead() with each step.
  void (*multiply)(int64_t steps, const char* a, const char* b, float* sums, bool add, const char* ahead);
  // Some rows and columns of such sums, which are scaled back, to C, or, where `add`, added to it: to floats alone, which lose nothing.
  void (*store)(const float* sums, int64_t rows, int64_t columns, S* c, int64_t row_stride, int64_t col_stride, bool add);

  int64_t step_bytes() const { return parts * part_bytes; }  // of a panel
  int64_t bytes_ahead() const { return step_bytes() / 4; }
};

struct MatrixUnit {
  // Around all use by a thread: until `end`, the system keeps the unit's registers for it.
  void (*begin)();
  void (*end)();
  SplitKernels<float> float32;
  SplitKernels<Float16> float16;
  SplitKernels<BFloat16> bfloat16;

  template <class S>
  const SplitKernels<S>& kernels() const {
    if constexpr (std::is_same_v<S, float>) return float32;
    else if constexpr (std::is_same_v<S, Float16>) return float16;
    else return bfloat16;
  }
};

// What this CPU's unit can be used as, if it has one that the system lets the process use: the best first.
std::span<const MatrixUnit* const> cpu_matrix_units();

inline const MatrixUnit* cpu_matrix_unit() { return cpu_matrix_units().empty() ? nullptr : cpu_matrix_units().front(); }

// The unit that products are made by: the CPU's, unless another one, or none (null), is to be used from now on. Returns which was.
const MatrixUnit* matrix_unit();
const MatrixUnit* use_matrix_unit(const MatrixUnit* unit);

#ifdef WEFT_AMX
extern const MatrixUnit amx_unit;
#endif
#ifdef WEFT_AMX_FLOAT16
extern const MatrixUnit amx_float16_unit;  // of later CPUs, which multiplies float16 too
#endif

}  // namespace weft
