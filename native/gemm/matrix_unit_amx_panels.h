// How numbers become panels of tiles of the matrix unit of x86 CPUs: for matrix_unit_amx.cpp alone, which says what a tile is. A pair of a
// tile is any two steps of k, as long as both operands pair them alike: of numbers that are split, step p and p + 16 of 32, so that two
// vectors become one without a shuffle; of those that are not, two that follow one another, as they lie.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <type_traits>

#include "gemm/matrix_unit.h"

namespace weft {
namespace {

constexpr int64_t tile_rows = 16, tile_bytes = 1024, tile_elements = 256;
static_assert(part_bytes == 2 * tile_bytes);

// Rows become columns.
inline void transpose(__m512 (&rows)[16]) {
  __m512 pairs[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 4) {
    const __m512 a = _mm512_unpacklo_ps(rows[i], rows[i + 1]), b = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    const __m512 c = _mm512_unpacklo_ps(rows[i + 2], rows[i + 3]), d = _mm512_unpackhi_ps(rows[i + 2], rows[i + 3]);
    const auto fours = [](__m512 low, __m512 high, auto unpack) {
      return _mm512_castpd_ps(unpack(_mm512_castps_pd(low), _mm512_castps_pd(high)));
    };
    const auto low = [](__m512d x, __m512d y) { return _mm512_unpacklo_pd(x, y); };
    const auto high = [](__m512d x, __m512d y) { return _mm512_unpackhi_pd(x, y); };
    pairs[i] = fours(a, c, low), pairs[i + 1] = fours(a, c, high);
    pairs[i + 2] = fours(b, d, low), pairs[i + 3] = fours(b, d, high);
  }
  // pairs[4 * i + j] has, in quarter q, the elements 4 * q + j of the rows 4 * i and the three that follow.
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512 a = _mm512_shuffle_f32x4(pairs[j], pairs[4 + j], 0x88), b = _mm512_shuffle_f32x4(pairs[j], pairs[4 + j], 0xdd);
    const __m512 c = _mm512_shuffle_f32x4(pairs[8 + j], pairs[12 + j], 0x88), d = _mm512_shuffle_f32x4(pairs[8 + j], pairs[12 + j], 0xdd);
    rows[j] = _mm512_shuffle_f32x4(a, c, 0x88), rows[8 + j] = _mm512_shuffle_f32x4(a, c, 0xdd);
    rows[4 + j] = _mm512_shuffle_f32x4(b, d, 0x88), rows[12 + j] = _mm512_shuffle_f32x4(b, d, 0xdd);
  }
}

inline __mmask16 first(int64_t count) {
  return static_cast<__mmask16>(count >= 16 ? 0xffff : count <= 0 ? 0 : (1 << count) - 1);
}

// Magnitudes of many numbers at once: bits of bfloat16, two to a lane.
struct Extents {
  __m512i largest = _mm512_setzero_si512(), least = _mm512_set1_epi16(-1);

  void take(__m512i pairs) {
    const __m512i bits = _mm512_and_si512(pairs, _mm512_set1_epi16(0x7fff));
    largest = _mm512_max_epu16(largest, bits);
    least = _mm512_min_epu16(least, _mm512_sub_epi16(bits, _mm512_set1_epi16(1)));
  }
  void give(Magnitudes& found) const {
    alignas(64) uint16_t most[32], fewest[32];
    _mm512_store_si512(most, largest);
    _mm512_store_si512(fewest, least);
    for (int i = 0; i < 32; ++i) {
      if (most[i] > found.largest) found.largest = most[i];
      if (fewest[i] < found.least) found.least = fewest[i];
    }
  }
};

// Some numbers, scaled.
template <class S>
__m512 scaled(__mmask16 mask, const S* from) {
  if constexpr (std::is_same_v<S, float>) return _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, from), _mm512_set1_ps(split_scale<float>));
  else return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, from));
}

// The upper halves of two vectors' numbers in pairs.
inline __m512i paired(__m512i one, __m512i other) { return _mm512_or_si512(_mm512_srli_epi32(one, 16), other); }

// A row of a tile before it is split: the first numbers of its pairs and the second ones.
template <class S, int64_t parts>
struct Row {
  __m512 one, other;

  // In all parts.
  void put(char* row, Extents& extents) const {
    const __m512i half = _mm512_set1_epi32(0x8000), upper = _mm512_set1_epi32(static_cast<int>(0xffff0000));
    const auto rounded = [&](__m512 x) { return _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(x), half), upper); };
    const auto less = [](__m512 x, __m512i part) { return _mm512_sub_ps(x, _mm512_castsi512_ps(part)); };
    const __m512i xh = rounded(one), yh = rounded(other), both = paired(xh, yh);
    _mm512_store_si512(row, both);
    extents.take(both);
    __m512 x = less(one, xh), y = less(other, yh);
    if constexpr (parts == 3) {
      const __m512i xm = rounded(x), ym = rounded(y);
      _mm512_store_si512(row + part_bytes, paired(xm, ym));
      x = less(x, xm), y = less(y, ym);
    }
    _mm512_store_si512(row + (parts - 1) * part_bytes, paired(_mm512_castps_si512(x), _mm512_castps_si512(y)));
  }
  static void turn(Row (&rows)[16]) {
    __m512 vectors[16];
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) vectors[r] = rows[r].one;
    transpose(vectors);
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) rows[r].one = vectors[r], vectors[r] = rows[r].other;
    transpose(vectors);
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) rows[r].other = vectors[r];
  }
};

// Reads along k where its steps follow one another, else along the lines. The rows of A's tiles run along k, those of B's along columns.
template <class S, int64_t parts, PanelOf operand, bool along_k>
void split_panel(int64_t lines, int64_t k, const S* from, int64_t line, int64_t step, char* panel, Extents& extents) {
  for (int64_t p = 0; p < k; p += step_depth, from += step_depth * step, panel += parts * part_bytes) {
    const int64_t depth = k - p;
    for (int64_t t = 0; t < 2; ++t) {
      char* const tile = panel + t * tile_bytes;
      // Of half the numbers of a tile: row r, of which there may be fewer, and may be fewer rows.
      const int64_t i = lines - t * tile_rows, fewer = along_k ? i : depth;
      const __mmask16 masks[2] = {first(along_k ? depth : i), first(along_k ? depth - tile_rows : i)};
      const int64_t apart = along_k ? line : step;
      const S* const starts[2] = {from + t * tile_rows * line, from + t * tile_rows * line + tile_rows * step};
      const auto half = [&](int which, int64_t r) {
        const S* const at = starts[which] + r * apart;
        _mm_prefetch(at + step_depth * step, _MM_HINT_T0);  // the next steps
        return scaled(r + (along_k ? 0 : which * tile_rows) < fewer ? masks[which] : static_cast<__mmask16>(0), at);
      };
      if constexpr ((operand == PanelOf::a) == along_k) {
        for (int64_t r = 0; r < tile_rows; ++r) Row<S, parts>{half(0, r), half(1, r)}.put(tile + r * 64, extents);
      } else {
        Row<S, parts> rows[16];
#pragma GCC unroll 16
        for (int64_t r = 0; r < tile_rows; ++r) rows[r] = {half(0, r), half(1, r)};
        Row<S, parts>::turn(rows);
        for (int64_t r = 0; r < tile_rows; ++r) rows[r].put(tile + r * 64, extents);
      }
    }
  }
}

inline __mmask32 first_of_32(int64_t count) {
  return static_cast<__mmask32>(count >= 32 ? 0xffffffff : count <= 0 ? 0 : (uint32_t{1} << count) - 1);
}

// Numbers of 16 bits that are not split.
template <class S>
struct Whole {
  static constexpr bool scales = std::is_same_v<S, BFloat16>;  // else all are fit as they are
  static constexpr uint16_t exponents = 24 << 7;               // the scale, in bits of bfloat16
  static constexpr uint16_t infinite = 0x7f80;
  static_assert(!scales || split_scale<S> == 1 << 24);
  Extents extents;  // of what is not scaled yet

  __m512i take(__mmask32 mask, const S* from) {
    const __m512i bits = _mm512_maskz_loadu_epi16(mask, from);
    if constexpr (!scales) return bits;
    extents.take(bits);
    const __mmask32 normal = _mm512_test_epi16_mask(bits, _mm512_set1_epi16(infinite));
    return _mm512_maskz_add_epi16(normal, bits, _mm512_set1_epi16(exponents));
  }
  // Numbers that are less than normal are not fit, as if one were infinite.
  void give(Magnitudes& found) const {
    if constexpr (!scales) return;
    Magnitudes here;
    extents.give(here);
    const bool unfit = here.least < 0x7f || here.largest >= infinite - exponents;
    const uint16_t largest = unfit ? infinite : here.largest ? here.largest + exponents : 0;
    if (largest > found.largest) found.largest = largest;
    if (here.least != UINT16_MAX && here.least + exponents < found.least) found.least = here.least + exponents;
  }
};

// As split_panel. A pair is two steps that follow one another.
template <class S, PanelOf operand, bool along_k>
void copy_panel(int64_t lines, int64_t k, const S* from, int64_t line, int64_t step, char* panel, Whole<S>& whole) {
  for (int64_t p = 0; p < k; p += step_depth, from += step_depth * step, panel += part_bytes) {
    const int64_t depth = k - p, fewer = along_k ? lines : depth, apart = along_k ? line : step;
    const __mmask32 all = first_of_32(along_k ? depth : lines);
    const auto run = [&](int64_t i) {
      const S* const at = from + i * apart;
      _mm_prefetch(at + step_depth * step, _MM_HINT_T0);  // the next steps
      return whole.take(i < fewer ? all : 0, at);
    };
    __m512 tiles[2][16];  // each line's pairs, or those of two steps of all 32 lines
    if constexpr (along_k) {
#pragma GCC unroll 32
      for (int64_t i = 0; i < 32; ++i) tiles[i / 16][i % 16] = _mm512_castsi512_ps(run(i));
    } else {
      const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4, 35,
                                           3, 34, 2, 33, 1, 32, 0);
      const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
#pragma GCC unroll 16
      for (int64_t q = 0; q < 16; ++q) {
        const __m512i one = run(2 * q), other = run(2 * q + 1);
        tiles[0][q] = _mm512_castsi512_ps(_mm512_permutex2var_epi16(one, low, other));
        tiles[1][q] = _mm512_castsi512_ps(_mm512_permutex2var_epi16(one, high, other));
      }
    }
    for (int64_t t = 0; t < 2; ++t) {
      if constexpr ((operand == PanelOf::a) != along_k) transpose(tiles[t]);
#pragma GCC unroll 16
      for (int64_t r = 0; r < tile_rows; ++r) _mm512_store_ps(panel + t * tile_bytes + r * 64, tiles[t][r]);
    }
  }
}

template <class S, int64_t parts, PanelOf operand, bool along_k, class Found>
void pack_panel(int64_t lines, int64_t k, const S* from, int64_t line, int64_t step, char* panel, Found& found) {
  if constexpr (parts > 1) split_panel<S, parts, operand, along_k>(lines, k, from, line, step, panel, found);
  else copy_panel<S, operand, along_k>(lines, k, from, line, step, panel, found);
}

template <class S, int64_t parts, PanelOf operand, class Found>
void pack_operand(int64_t lines, int64_t k, const S* from, int64_t line, int64_t step, char* panel, Found& found) {
  if (step == 1) return pack_panel<S, parts, operand, true>(lines, k, from, line, step, panel, found);
  if (line == 1) return pack_panel<S, parts, operand, false>(lines, k, from, line, step, panel, found);
  alignas(64) S gathered[panel_lines * step_depth];
  for (int64_t p = 0; p < k; p += step_depth, from += step_depth * step, panel += parts * part_bytes) {
    const int64_t depth = k - p < step_depth ? k - p : step_depth;
    for (int64_t i = 0; i < lines; ++i)
      for (int64_t q = 0; q < depth; ++q) gathered[i * step_depth + q] = from[i * line + q * step];
    pack_panel<S, parts, operand, true>(lines, depth, gathered, step_depth, 1, panel, found);
  }
}

template <class S, int64_t parts>
void split(PanelOf operand, int64_t lines, int64_t k, const S* from, int64_t line, int64_t step, char* panel, Magnitudes& found) {
  std::conditional_t<(parts > 1), Extents, Whole<S>> extents;
  if (operand == PanelOf::a) pack_operand<S, parts, PanelOf::a>(lines, k, from, line, step, panel, extents);
  else pack_operand<S, parts, PanelOf::b>(lines, k, from, line, step, panel, extents);
  extents.give(found);
}

}  // namespace
}  // namespace weft
