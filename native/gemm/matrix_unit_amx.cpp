// The matrix unit of x86 CPUs: AMX, whose eight registers are tiles of 16 rows of 64 bytes. A product of tiles takes rows of A whose
// elements are pairs of steps of k, and rows of pairs of steps, one pair for each column of B.
#include "gemm/matrix_unit.h"

#include <immintrin.h>

#include "gemm/matrix_unit_amx_panels.h"

namespace weft {
namespace {

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

// C += A @ B, of tiles. Not by intrinsics, as GCC 12 has none for float16.
template <bool float16, int c, int a, int b>
inline void multiply_tiles() {
#ifdef WEFT_AMX_FLOAT16
  if constexpr (float16) asm volatile("tdpfp16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
#else
  static_assert(!float16);
#endif
  if constexpr (!float16) asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
}

// The products of parts are added from the least to the greatest. Left out, of three, are m * l, l * m and l * l: see split.h. A tile
// is loaded as soon as its register has been read for the last time.
template <class S, int64_t parts>
void multiply(int64_t steps, const char* a, const char* b, float* sums, bool add, const char* ahead) {
  constexpr bool float16 = std::is_same_v<S, Float16> && parts == 1;
  constexpr int64_t products = parts == 3 ? 6 : parts * parts, step_bytes = parts * part_bytes, lines_ahead = step_bytes / 4 / 64;
  static_assert(lines_ahead % products == 0);
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
  const auto near = [&] {
#pragma GCC unroll 8
    for (int i = 0; i < lines_ahead / products; ++i, ahead += 64) _mm_prefetch(ahead, _MM_HINT_T1);
  };
  // The products of what is loaded, while tiles of another part of A, or of B, are.
  const auto then_a = [&](const char* next) {
    near();
    multiply_tiles<float16, 0, 4, 6>();
    multiply_tiles<float16, 1, 4, 7>();
    _tile_loadd(4, next, 64);
    multiply_tiles<float16, 2, 5, 6>();
    multiply_tiles<float16, 3, 5, 7>();
    _tile_loadd(5, next + tile_bytes, 64);
  };
  const auto then_b = [&](const char* next) {
    near();
    multiply_tiles<float16, 0, 4, 6>();
    multiply_tiles<float16, 2, 5, 6>();
    _tile_loadd(6, next, 64);
    multiply_tiles<float16, 1, 4, 7>();
    multiply_tiles<float16, 3, 5, 7>();
    _tile_loadd(7, next + tile_bytes, 64);
  };
  for (int64_t s = 0; s < steps; ++s, a += step_bytes, b += step_bytes) {
    const char *am = a + part_bytes, *al = a + 2 * part_bytes, *bm = b + part_bytes, *bl = b + 2 * part_bytes;
    const char* const first = parts == 3 ? al : parts == 2 ? am : a;
    _tile_loadd(6, b, 64);
    _tile_loadd(4, first, 64);
    _tile_loadd(7, b + tile_bytes, 64);
    _tile_loadd(5, first + tile_bytes, 64);
    if constexpr (parts == 3) {
      then_a(am);  // l * h
      then_b(bm);  // m * h
      then_a(a);   // m * m
      then_b(bl);  // h * m
      then_b(b);   // h * l
    } else if constexpr (parts == 2) {
      then_b(bm);  // m * h
      then_a(a);   // m * m
      then_b(b);   // h * m
    }
    near();
    multiply_tiles<float16, 0, 4, 6>();  // h * h
    multiply_tiles<float16, 2, 5, 6>();
    multiply_tiles<float16, 1, 4, 7>();
    multiply_tiles<float16, 3, 5, 7>();
  }
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + tile_elements, 64);
  _tile_stored(2, sums + 2 * tile_elements, 64);
  _tile_stored(3, sums + 3 * tile_elements, 64);
  memory_barrier();
}

// Up to 32 elements of C that follow one another, or more of what they are.
template <class S>
void put_elements(__m512 one, __m512 other, int64_t count, S* at, bool add) {
  if constexpr (std::is_same_v<S, float>) {
    const auto put = [&](__m512 value, __mmask16 mask, float* to) {
      _mm512_mask_storeu_ps(to, mask, add ? _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to), value) : value);
    };
    put(one, first(count), at);
    if (count > 16) put(other, first(count - 16), at + 16);
  } else {
    const auto narrowed = [](__m512 value) {
      if constexpr (std::is_same_v<S, Float16>) return _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT);
      const __m512i bits = _mm512_castps_si512(value), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
      const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);  // to nearest, ties to even
      return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
    };
    const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(narrowed(one)), narrowed(other), 1);
    _mm512_mask_storeu_epi16(at, first_of_32(count), both);
  }
}

template <class S>
void store(const float* sums, int64_t rows, int64_t columns, S* c, int64_t row_stride, int64_t col_stride, bool add) {
  const __m512 scale = _mm512_set1_ps(1 / (split_scale<S> * split_scale<S>));
  const bool by_rows = col_stride == 1;  // else columns are written
  const int64_t lines = by_rows ? rows : columns, length = by_rows ? columns : rows;
  const int64_t line = by_rows ? row_stride : col_stride, step = by_rows ? 1 : row_stride;
  for (int64_t t = 0; t < 2 && t * tile_rows < lines; ++t) {
    __m512 halves[2][16];  // of 16 lines
    for (int64_t h = 0; h < 2; ++h) {
      const float* const tile = sums + (by_rows ? 2 * t + h : 2 * h + t) * tile_elements;
#pragma GCC unroll 16
      for (int r = 0; r < 16; ++r) halves[h][r] = _mm512_mul_ps(_mm512_load_ps(tile + r * 16), scale);
      if (!by_rows) transpose(halves[h]);
    }
    for (int64_t r = 0; r < tile_rows && t * tile_rows + r < lines; ++r) {
      S* const to = c + (t * tile_rows + r) * line;
      if (step == 1) {
        put_elements(halves[0][r], halves[1][r], length, to, add);
        continue;
      }
      alignas(64) S elements[panel_lines];
      for (int64_t q = 0; add && q < length; ++q) elements[q] = to[q * step];
      put_elements(halves[0][r], halves[1][r], length, elements, add);
      for (int64_t q = 0; q < length; ++q) to[q * step] = elements[q];
    }
  }
}

template <class S, int64_t parts>
constexpr SplitKernels<S> kernels_of() {
  return {parts, split<S, parts>, multiply<S, parts>, store<S>};
}

template <int64_t parts_of_float16>
constexpr MatrixUnit unit = {begin, end, kernels_of<float, 3>(), kernels_of<Float16, parts_of_float16>(), kernels_of<BFloat16, 1>()};

}  // namespace

constinit const MatrixUnit amx_unit = unit<2>;
#ifdef WEFT_AMX_FLOAT16
constinit const MatrixUnit amx_float16_unit = unit<1>;
#endif

}  // namespace weft
