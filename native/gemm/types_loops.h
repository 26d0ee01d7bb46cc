// The loops of types.h; see lanes_loops.h about where they are included.
#pragma once

#include "gemm/types.h"

#ifdef __F16C__
#include <immintrin.h>
#else
#include "base/dtype.h"
#endif

namespace weft {
namespace {

// Conversions of eight elements at once. What is not there comes and goes through arrays of eight.
template <class S>
struct Eight;

typedef float FloatEight __attribute__((vector_size(32), aligned(4), may_alias));
typedef uint32_t WordEight __attribute__((vector_size(32), aligned(4), may_alias));
typedef uint16_t ShortEight __attribute__((vector_size(16), aligned(2), may_alias));
typedef uint8_t ByteEight __attribute__((vector_size(8), aligned(1), may_alias));

template <>
struct Eight<BFloat16> {
  static FloatEight value(ShortEight bits) {
#ifdef __AVX2__  // one instruction, which the compiler does not find
    const WordEight wide = reinterpret_cast<WordEight>(_mm256_cvtepu16_epi32(reinterpret_cast<__m128i>(bits)));
#else
    const WordEight wide = __builtin_convertvector(bits, WordEight);
#endif
    return reinterpret_cast<FloatEight>(wide << 16);
  }
  static void widen(const BFloat16* from, float* to) {
    *reinterpret_cast<FloatEight*>(to) = value(*reinterpret_cast<const ShortEight*>(from));
  }
  static void narrow(const float* from, BFloat16* to) {
    const WordEight bits = reinterpret_cast<WordEight>(*reinterpret_cast<const FloatEight*>(from));
    const WordEight rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16, quiet = (bits >> 16) | 0x40u;
    const WordEight result = (bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded;
    *reinterpret_cast<ShortEight*>(to) = __builtin_convertvector(result, ShortEight);
  }
};

template <>
struct Eight<Float16> {
#ifdef __F16C__
  static FloatEight value(ShortEight bits) {
    return reinterpret_cast<FloatEight>(_mm256_cvtph_ps(reinterpret_cast<__m128i>(bits)));
  }
  static void narrow(const float* from, Float16* to) {
    const __m128i found = _mm256_cvtps_ph(_mm256_loadu_ps(from), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), found);
  }
#else
  static FloatEight value(ShortEight bits) {
    FloatEight found;
    for (int i = 0; i < 8; ++i) found[i] = half_to_float(bits[i]);
    return found;
  }
  static void narrow(const float* from, Float16* to) {
    for (int i = 0; i < 8; ++i) to[i].bits = float_to_half(from[i]);
  }
#endif
  static void widen(const Float16* from, float* to) {
    *reinterpret_cast<FloatEight*>(to) = value(*reinterpret_cast<const ShortEight*>(from));
  }
};

template <>
struct Eight<uint8_t> {
  static void widen(const uint8_t* from, uint16_t* to) {
    *reinterpret_cast<ShortEight*>(to) = __builtin_convertvector(*reinterpret_cast<const ByteEight*>(from), ShortEight);
  }
  static void narrow(const uint16_t* from, uint8_t* to) {
    *reinterpret_cast<ByteEight*>(to) = __builtin_convertvector(*reinterpret_cast<const ShortEight*>(from), ByteEight);
  }
};

// The conversion of every row, eight elements at a time; the last few through arrays of eight.
template <class From, class To, void (*Convert)(const From*, To*)>
void convert_rows(int64_t rows, int64_t n, const From* from, int64_t from_row, To* to, int64_t to_row) {
  for (int64_t i = 0; i < rows; ++i, from += from_row, to += to_row) {
    int64_t j = 0;
    for (; j + 8 <= n; j += 8) Convert(from + j, to + j);
    if (j == n) continue;
    From some[8] = {};
    To found[8];
    for (int64_t q = j; q < n; ++q) some[q - j] = from[q];
    Convert(some, found);
    for (int64_t q = j; q < n; ++q) to[q] = found[q - j];
  }
}

template <class S>
constexpr Converters<S> converters_of() {
  return {convert_rows<S, SumOf<S>, Eight<S>::widen>, convert_rows<SumOf<S>, S, Eight<S>::narrow>};
}

}  // namespace
}  // namespace weft
