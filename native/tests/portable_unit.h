// A matrix unit for any CPU, in whose panels numbers are whole: what divides products among panels is tested with it everywhere.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "gemm/matrix_unit.h"

namespace portable_unit {

using namespace weft;

constexpr int64_t step_numbers = panel_lines * step_depth;

inline void split(PanelOf, int64_t lines, int64_t k, const float* from, int64_t line, int64_t step, char* panel, Magnitudes& found) {
  for (int64_t p = 0; p < k; p += step_depth, panel += step_bytes) {
    float numbers[step_numbers] = {};
    for (int64_t i = 0; i < lines; ++i)
      for (int64_t q = 0; q < std::min(step_depth, k - p); ++q) {
        const float x = from[i * line + (p + q) * step];
        numbers[q * panel_lines + i] = x;
        const auto bits = static_cast<uint16_t>((std::bit_cast<uint32_t>(std::fabs(x * split_scale)) + 0x8000) >> 16);
        found.largest = std::max(found.largest, bits);
        found.least = std::min(found.least, static_cast<uint16_t>(bits - 1));
      }
    std::memcpy(panel, numbers, sizeof numbers);
  }
}

inline void multiply(int64_t steps, const char* a, const char* b, float* sums, bool add, const char*) {
  if (!add) std::fill(sums, sums + panel_lines * panel_lines, 0.0f);
  float left[step_numbers], right[step_numbers];
  for (int64_t s = 0; s < steps; ++s, a += step_bytes, b += step_bytes) {
    std::memcpy(left, a, sizeof left);
    std::memcpy(right, b, sizeof right);
    for (int64_t p = 0; p < step_depth; ++p)
      for (int64_t i = 0; i < panel_lines; ++i)
        for (int64_t j = 0; j < panel_lines; ++j) sums[i * panel_lines + j] += left[p * panel_lines + i] * right[p * panel_lines + j];
  }
}

inline void store(const float* sums, int64_t rows, int64_t columns, float* c, int64_t row_stride, int64_t col_stride, bool add) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      float& element = c[i * row_stride + j * col_stride];
      element = add ? element + sums[i * panel_lines + j] : sums[i * panel_lines + j];
    }
}

inline constexpr MatrixUnit unit = {[] {}, [] {}, split, multiply, store};

}  // namespace portable_unit
