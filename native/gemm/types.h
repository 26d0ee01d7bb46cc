// How the elements of a product are stored and in what type they are summed: 16-bit floats in float32, 8-bit integers in 16
// bits (whose low half is the wrapped sum), all others in their own type. Converting whole rows is compiled once for each
// instruction set (vectors.h).
#pragma once

#include <cstdint>
#include <type_traits>

#include "base/dtype.h"

namespace weft {

struct Float16 {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

template <class S>
inline constexpr bool is_half = std::is_same_v<S, Float16> || std::is_same_v<S, BFloat16>;

// Integers are unsigned here: wrapping arithmetic has the same bits signed and unsigned.
template <class S>
using SumOf = std::conditional_t<is_half<S>, float, std::conditional_t<sizeof(S) == 1, uint16_t, S>>;

// One element. (Not for the files compiled for an instruction set, whose shared functions these are not.)
inline float widened(Float16 x) { return half_to_float(x.bits); }
inline float widened(BFloat16 x) { return bfloat16_to_float(x.bits); }
inline uint16_t widened(uint8_t x) { return x; }
template <class T>
inline T widened(T x) {
  return x;
}
inline void narrow(float x, Float16& to) { to.bits = float_to_half(x); }
inline void narrow(float x, BFloat16& to) { to.bits = float_to_bfloat16(x); }
inline void narrow(uint16_t x, uint8_t& to) { to = static_cast<uint8_t>(x); }
template <class T>
inline void narrow(T x, T& to) {
  to = x;
}

// Matrices of `rows` rows of n contiguous elements, from_row and to_row apart.
template <class S>
struct Converters {
  void (*widen)(int64_t rows, int64_t n, const S* from, int64_t from_row, SumOf<S>* to, int64_t to_row);
  // Floats round to nearest even; integers keep their low bits.
  void (*narrow)(int64_t rows, int64_t n, const SumOf<S>* from, int64_t from_row, S* to, int64_t to_row);
};

}  // namespace weft
