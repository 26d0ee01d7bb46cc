// The matrix unit of x86 CPUs: AMX, whose eight registers are tiles of 16 rows of 64 bytes. A product of tiles takes rows of A whose
// elements are pairs of steps of k, and rows of pairs of steps, one pair for each column of B. A pair is any two steps, as long as both
// operands pair them alike: here step p and p + 16 of 32, so that two vectors become one without a shuffle.
#include <immintrin.h>

#include "gemm/matrix_unit.h"

namespace weft {
namespace {

constexpr int64_t tile_rows = 16, tile_bytes = 1024, tile_elements = 256;
constexpr int64_t part_bytes = 2 * tile_bytes;  // of a panel: two tiles

struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

void begin() {
  static constexpr TileShapes shapes;
  _tile_loadconfig(&shapes);
}

void end() { _tile_release(); }

// What the compiler does not know that tiles read and write.
inline void memory_barrier() { asm volatile("" ::: "memory"); }

// The products of parts are added from the least to the greatest. Left out are m * l, l * m and l * l: see split.h. A tile is
// loaded as soon as its register has been read for the last time.
void multiply(int64_t steps, const char* a, const char* b, float* sums, bool add, const char* ahead) {
  memory_barrier();
  if (add) {
    _tile_loadd(0, sums, 64);
    _tile_loadd(1, sums + tile_elements, 64);
    _tile_loadd(2, sums + 2 * tile_elements, 64);
    _tile_loadd(3, sums + 3 * tile_elements, 64);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const auto near = [&](int lines) {
#pragma GCC unroll 8
    for (int i = 0; i < lines; ++i, ahead += 64) _mm_prefetch(ahead, _MM_HINT_T1);
  };
  // The products of what is loaded, while tiles of another part of A, or of B, are.
  const auto then_a = [&](const char* next) {
    near(4);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(4, next, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    _tile_loadd(5, next + tile_bytes, 64);
  };
  const auto then_b = [&](const char* next) {
    near(4);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(2, 5, 6);
    _tile_loadd(6, next, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(3, 5, 7);
    _tile_loadd(7, next + tile_bytes, 64);
  };
  for (int64_t s = 0; s < steps; ++s, a += step_bytes, b += step_bytes) {
    const char *am = a + part_bytes, *al = a + 2 * part_bytes, *bm = b + part_bytes, *bl = b + 2 * part_bytes;
    _tile_loadd(6, b, 64);
    _tile_loadd(4, al, 64);
    _tile_loadd(7, b + tile_bytes, 64);
    _tile_loadd(5, al + tile_bytes, 64);
    then_a(am);  // l * h
    then_b(bm);  // m * h
    then_a(a);  // m * m
    then_b(bl);  // h * m
    then_b(b);  // h * l
    near(4);
    _tile_dpbf16ps(0, 4, 6);  // h * h
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + tile_elements, 64);
  _tile_stored(2, sums + 2 * tile_elements, 64);
  _tile_stored(3, sums + 3 * tile_elements, 64);
  memory_barrier();
}

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

// One row of a tile, in all three parts: the first numbers of its pairs and the second ones.
inline void put(__m512 one, __m512 other, char* row, Extents& extents) {
  const __m512i half = _mm512_set1_epi32(0x8000), upper = _mm512_set1_epi32(static_cast<int>(0xffff0000));
  const __m512 scale = _mm512_set1_ps(split_scale);
  const auto rounded = [&](__m512 x) { return _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(x), half), upper); };
  const auto pairs = [&](__m512i x, __m512i y, int64_t part) {
    const __m512i both = _mm512_or_si512(_mm512_srli_epi32(x, 16), y);
    _mm512_store_si512(row + part * part_bytes, both);
    return both;
  };
  const __m512 x = _mm512_mul_ps(one, scale), y = _mm512_mul_ps(other, scale);
  const __m512i xh = rounded(x), yh = rounded(y);
  extents.take(pairs(xh, yh, 0));
  const __m512 x_left = _mm512_sub_ps(x, _mm512_castsi512_ps(xh)), y_left = _mm512_sub_ps(y, _mm512_castsi512_ps(yh));
  const __m512i xm = rounded(x_left), ym = rounded(y_left);
  pairs(xm, ym, 1);
  pairs(_mm512_castps_si512(_mm512_sub_ps(x_left, _mm512_castsi512_ps(xm))),
        _mm512_castps_si512(_mm512_sub_ps(y_left, _mm512_castsi512_ps(ym))), 2);
}

// Reads along k where its steps follow one another, else along the lines. The rows of A's tiles run along k, those of B's along columns.
template <PanelOf operand, bool along_k>
void split_panel(int64_t lines, int64_t k, const float* from, int64_t line, int64_t step, char* panel, Extents& extents) {
  for (int64_t p = 0; p < k; p += step_depth, from += step_depth * step, panel += step_bytes) {
    const int64_t depth = k - p;
    for (int64_t t = 0; t < 2; ++t) {
      char* const tile = panel + t * tile_bytes;
      // Of half the numbers of a tile: row r, of which there may be fewer, and may be fewer rows.
      const int64_t i = lines - t * tile_rows, fewer = along_k ? i : depth;
      const __mmask16 masks[2] = {first(along_k ? depth : i), first(along_k ? depth - tile_rows : i)};
      const int64_t apart = along_k ? line : step;
      const float* const starts[2] = {from + t * tile_rows * line, from + t * tile_rows * line + tile_rows * step};
      const auto row = [&](int half, int64_t r) {
        const float* const at = starts[half] + r * apart;
        _mm_prefetch(at + step_depth * step, _MM_HINT_T0);  // the next steps
        return _mm512_maskz_loadu_ps(r + (along_k ? 0 : half * tile_rows) < fewer ? masks[half] : 0, at);
      };
      if constexpr ((operand == PanelOf::a) == along_k) {
        for (int64_t r = 0; r < tile_rows; ++r) put(row(0, r), row(1, r), tile + r * 64, extents);
      } else {
        __m512 one[16], other[16];
#pragma GCC unroll 16
        for (int64_t r = 0; r < tile_rows; ++r) one[r] = row(0, r);
        transpose(one);
#pragma GCC unroll 16
        for (int64_t r = 0; r < tile_rows; ++r) other[r] = row(1, r);
        transpose(other);
        for (int64_t r = 0; r < tile_rows; ++r) put(one[r], other[r], tile + r * 64, extents);
      }
    }
  }
}

template <PanelOf operand>
void split_operand(int64_t lines, int64_t k, const float* from, int64_t line, int64_t step, char* panel, Extents& extents) {
  if (step == 1) return split_panel<operand, true>(lines, k, from, line, step, panel, extents);
  if (line == 1) return split_panel<operand, false>(lines, k, from, line, step, panel, extents);
  alignas(64) float gathered[panel_lines * step_depth];
  for (int64_t p = 0; p < k; p += step_depth, from += step_depth * step, panel += step_bytes) {
    const int64_t depth = k - p < step_depth ? k - p : step_depth;
    for (int64_t i = 0; i < lines; ++i)
      for (int64_t q = 0; q < depth; ++q) gathered[i * step_depth + q] = from[i * line + q * step];
    split_panel<operand, true>(lines, depth, gathered, step_depth, 1, panel, extents);
  }
}

void split(PanelOf operand, int64_t lines, int64_t k, const float* from, int64_t line, int64_t step, char* panel, Magnitudes& found) {
  Extents extents;
  if (operand == PanelOf::a) split_operand<PanelOf::a>(lines, k, from, line, step, panel, extents);
  else split_operand<PanelOf::b>(lines, k, from, line, step, panel, extents);
  extents.give(found);
}

void store(const float* sums, int64_t rows, int64_t columns, float* c, int64_t row_stride, int64_t col_stride, bool add) {
  const __m512 scale = _mm512_set1_ps(1 / (split_scale * split_scale));
  for (int64_t t = 0; t < 4; ++t, sums += tile_elements) {
    const int64_t i = t / 2 * tile_rows, j = t % 2 * tile_rows, down = rows - i, across = columns - j;
    if (down <= 0 || across <= 0) continue;
    float* const to = c + i * row_stride + j * col_stride;
    const auto put_line = [&](__m512 line, __mmask16 mask, float* at) {
      const __m512 value = _mm512_mul_ps(line, scale);
      _mm512_mask_storeu_ps(at, mask, add ? _mm512_add_ps(_mm512_maskz_loadu_ps(mask, at), value) : value);
    };
    if (col_stride == 1) {
      for (int64_t r = 0; r < tile_rows && r < down; ++r) put_line(_mm512_load_ps(sums + r * 16), first(across), to + r * row_stride);
      continue;
    }
    __m512 turned[16];
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) turned[r] = _mm512_load_ps(sums + r * 16);
    transpose(turned);
    for (int64_t r = 0; r < tile_rows && r < across; ++r) {
      if (row_stride == 1) {
        put_line(turned[r], first(down), to + r * col_stride);
        continue;
      }
      alignas(64) float line[16];
      _mm512_store_ps(line, _mm512_mul_ps(turned[r], scale));
      for (int64_t q = 0; q < tile_rows && q < down; ++q) {
        float& element = to[q * row_stride + r * col_stride];
        element = add ? element + line[q] : line[q];
      }
    }
  }
}

}  // namespace

constinit const MatrixUnit amx_unit = {begin, end, split, multiply, store};

}  // namespace weft
