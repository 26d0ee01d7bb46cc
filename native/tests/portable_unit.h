// A matrix unit for any CPU, in whose panels numbers are whole: what divides products among panels is tested with it everywhere.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "check.h"
#include "gemm/matrix_unit.h"

namespace portable_unit {

using namespace weft;

constexpr int64_t step_numbers = panel_lines * step_depth;

// Of a number in a panel: one of bfloat16 is not split, and there is no room for more.
template <class S>
using Kept = std::conditional_t<std::is_same_v<S, BFloat16>, BFloat16, float>;

template <class S>
constexpr int64_t number_parts = std::is_same_v<S, float> ? 3 : sizeof(Kept<S>) / 2;  // as the CPU's, as the costs go by it

template <class S>
constexpr int64_t step_bytes = number_parts<S> * part_bytes;

template <class S>
void split(PanelOf, int64_t lines, int64_t k, const S* from, int64_t line, int64_t step, char* panel, Magnitudes& found) {
  for (int64_t p = 0; p < k; p += step_depth, panel += step_bytes<S>) {
    Kept<S> numbers[step_numbers] = {};
    static_assert(sizeof numbers <= step_bytes<S>);
    for (int64_t i = 0; i < lines; ++i)
      for (int64_t q = 0; q < std::min(step_depth, k - p); ++q) {
        const float x = widened(from[i * line + (p + q) * step]);
        narrow(x, numbers[q * panel_lines + i]);
        const auto bits = static_cast<uint16_t>((std::bit_cast<uint32_t>(std::fabs(x * split_scale<S>)) + 0x8000) >> 16);
        found.largest = std::max(found.largest, bits);
        found.least = std::min(found.least, static_cast<uint16_t>(bits - 1));
      }
    std::memcpy(panel, numbers, sizeof numbers);
  }
}

template <class S>
NOT_SANITIZED void multiply(int64_t steps, const char* a, const char* b, float* sums, bool add, const char*) {
  if (!add) std::fill(sums, sums + panel_lines * panel_lines, 0.0f);
  Kept<S> left[step_numbers], right[step_numbers];
  for (int64_t s = 0; s < steps; ++s, a += step_bytes<S>, b += step_bytes<S>) {
    std::memcpy(left, a, sizeof left);
    std::memcpy(right, b, sizeof right);
    for (int64_t p = 0; p < step_depth; ++p)
      for (int64_t i = 0; i < panel_lines; ++i)
        for (int64_t j = 0; j < panel_lines; ++j)
          sums[i * panel_lines + j] += widened(left[p * panel_lines + i]) * widened(right[p * panel_lines + j]);
  }
}

template <class S>
void store(const float* sums, int64_t rows, int64_t columns, S* c, int64_t row_stride, int64_t col_stride, bool add) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      S& element = c[i * row_stride + j * col_stride];
      const float sum = sums[i * panel_lines + j];
      narrow(add ? widened(element) + sum : sum, element);
    }
}

template <class S>
constexpr SplitKernels<S> kernels = {number_parts<S>, split<S>, multiply<S>, store<S>};

inline constexpr MatrixUnit unit = {[] {}, [] {}, kernels<float>, kernels<Float16>, kernels<BFloat16>};

}  // namespace portable_unit
