// Parts of a vector of 32 bytes: the first elements of it, where memory has no more. See gemm_lanes_loops.h about where this is
// included.
#pragma once

#include <cstdint>

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace weft {
namespace {

// As many elements of ones as a vector has, and as many of zeros.
template <int Bytes>
struct Ones;
template <>
struct Ones<2> {
  typedef int16_t element;
  static constexpr element then_zeros[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
};
template <>
struct Ones<4> {
  typedef int32_t element;
  static constexpr element then_zeros[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
};
template <>
struct Ones<8> {
  typedef int64_t element;
  static constexpr element then_zeros[8] = {-1, -1, -1, -1};
};

template <class T>
struct PartVector {
  using element = typename Ones<sizeof(T)>::element;
  typedef T type __attribute__((vector_size(32), aligned(sizeof(T))));
  typedef element mask __attribute__((vector_size(32)));
};

template <class T>
inline typename PartVector<T>::type& part_at(const T* p) {
  return *reinterpret_cast<typename PartVector<T>::type*>(const_cast<T*>(p));
}

// All bits of the first `count` elements, at most a vector's. Loaded: what is put together goes through memory.
template <class T>
inline typename PartVector<T>::mask part_mask(int64_t count) {
  constexpr int width = 32 / static_cast<int>(sizeof(T));
  typename PartVector<T>::mask mask;
  __builtin_memcpy(&mask, Ones<sizeof(T)>::then_zeros + (width - count), 32);
  return mask;
}

// At most eight bytes, an even number of them, as one number; what is not there is zero.
inline uint64_t load_bytes(const void* from, int64_t bytes) {
  const char* p = static_cast<const char*>(from);
  if (bytes >= 8) {
    uint64_t all;
    __builtin_memcpy(&all, p, 8);
    return all;
  }
  uint64_t found = 0;
  int shift = 0;
  if (bytes & 4) {
    uint32_t some;
    __builtin_memcpy(&some, p, 4);
    found = some, shift = 32, p += 4;
  }
  if (bytes & 2) {
    uint16_t some;
    __builtin_memcpy(&some, p, 2);
    found |= static_cast<uint64_t>(some) << shift;
  }
  return found;
}

// The elements that the mask has; the others are zero and are not read.
template <class T>
inline typename PartVector<T>::type load_part(const T* p, typename PartVector<T>::mask mask) {
  using V = typename PartVector<T>::type;
#ifdef __AVX2__
  if constexpr (sizeof(T) == 4)
    return reinterpret_cast<V>(_mm256_maskload_epi32(reinterpret_cast<const int*>(p), reinterpret_cast<__m256i>(mask)));
  else if constexpr (sizeof(T) == 8)
    return reinterpret_cast<V>(_mm256_maskload_epi64(reinterpret_cast<const long long*>(p), reinterpret_cast<__m256i>(mask)));
#endif
  constexpr int width = 32 / static_cast<int>(sizeof(T));
  if (mask[width - 1]) return part_at(p);
  V v{};
  for (int l = 0; l < width; ++l)
    if (mask[l]) v[l] = p[l];
  return v;
}

// The first `count` elements, fewer than there are: halves, quarters and so on, because storing by a mask is slow.
template <class T>
inline void store_part(T* to, typename PartVector<T>::type v, int64_t count) {
  typedef uint64_t Words __attribute__((vector_size(32)));
  const Words words = reinterpret_cast<Words>(v);
  const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
  char* p = reinterpret_cast<char*>(to);
  uint64_t word = words[0], next = words[1];
  if (bytes & 16) {
    __builtin_memcpy(p, &v, 16);
    p += 16, word = words[2], next = words[3];
  }
  if (bytes & 8) {
    __builtin_memcpy(p, &word, 8);
    p += 8, word = next;
  }
  if (bytes & 4) {
    __builtin_memcpy(p, &word, 4);
    p += 4, word >>= 32;
  }
  if constexpr (sizeof(T) == 2)
    if (bytes & 2) __builtin_memcpy(p, &word, 2);
}

}  // namespace
}  // namespace weft
