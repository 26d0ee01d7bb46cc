// The matrix unit of a CPU, which multiplies small matrices of bfloat16 and adds the products in float32, sixteen times as many at
// once as its vectors do of float32: AMX, of Intel's CPUs from 2023 on. split.h makes float32 products of its.
//
// A number x is the sum of three bfloat16: h, x rounded to eight bits; m, x - h rounded to eight; and what is left, l, which has no
// more. What is multiplied is packed in panels of 32 rows of A or 32 columns of B; a panel has, for every 32 steps of k, the h of all
// its elements, then the m, then the l.
#pragma once

#include <cstdint>

namespace weft {

constexpr int64_t panel_lines = 32;  // rows of A, or columns of B
constexpr int64_t step_depth = 32;   // of k
constexpr int64_t split_parts = 3;   // of a number
constexpr int64_t step_bytes = split_parts * panel_lines * step_depth * 2;  // of a panel

// Numbers are multiplied by this before they are split, so that no part of theirs, nor a product of parts that counts, is less than
// the least normal number, below which the unit finds zero.
constexpr float split_scale = 1 << 24;

// Of numbers that have been scaled and rounded to bfloat16: bits of the largest magnitude; and of the least that is not zero, less one.
struct Magnitudes {
  uint16_t largest = 0, least = UINT16_MAX;
};

// Which operand's panels are made.
enum class PanelOf { a, b };

struct MatrixUnit {
  // Around all use by a thread: until `end`, the system keeps the unit's registers for it.
  void (*begin)();
  void (*end)();
  // Splits up to 32 lines of k numbers, which lie at from + line * i + step * p, into a panel; lines and steps that are missing are
  // zeros there. Adds to the magnitudes.
  void (*split)(PanelOf operand, int64_t lines, int64_t k, const float* from, int64_t line, int64_t step, char* panel, Magnitudes& found);
  // The sums of 32 x 32 elements of C, or, where `add`, what they are more. Brings what is at `ahead` near: some bytes with each step.
  void (*multiply)(int64_t steps, const char* a, const char* b, float* sums, bool add, const char* ahead);
  // Some rows and columns of such sums, which are scaled back, to C, or added to it.
  void (*store)(const float* sums, int64_t rows, int64_t columns, float* c, int64_t row_stride, int64_t col_stride, bool add);
};

constexpr int64_t bytes_ahead = 24 * 64;  // with each step: a quarter of a panel's

// The unit of this CPU, if it has one that the system lets the process use; else null.
const MatrixUnit* cpu_matrix_unit();

// The unit that products are made by: the CPU's, unless another one, or none (null), is to be used from now on. Returns which was.
const MatrixUnit* matrix_unit();
const MatrixUnit* use_matrix_unit(const MatrixUnit* unit);

#ifdef WEFT_AMX
extern const MatrixUnit amx_unit;
#endif

}  // namespace weft
