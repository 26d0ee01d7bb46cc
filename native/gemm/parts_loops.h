// Parts of a vector of 32 bytes, or of 64: the first elements of it, where memory has no more. See lanes_loops.h about where this is
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

// What loops over vectors of either size are written with. `side_by_side` joins what the pointers from(0), from(1), ... have in
// 16 bytes each, `transpose` the squares in such parts.
template <class T>
struct Part32 : PartVector<T> {
  using element = T;
  using typename PartVector<T>::type;
  static constexpr int width = 32 / static_cast<int>(sizeof(T));
  static type& at(const T* p) { return part_at(p); }
  static auto mask_of(int64_t count) { return part_mask<T>(count); }
  static type load(const T* p, const typename PartVector<T>::mask& mask) { return load_part(p, mask); }
  static void store(T* to, const type& v, int64_t count) { store_part(to, v, count); }
  template <class From>
  static type side_by_side(From from) {
    type v;
    __builtin_memcpy(&v, from(0), 16);
    __builtin_memcpy(reinterpret_cast<char*>(&v) + 16, from(1), 16);
    return v;
  }
  static void transpose(type (&v)[16 / sizeof(T)]) {
    if constexpr (sizeof(T) == 8) {
      const type x = v[0], y = v[1];
      v[0] = __builtin_shufflevector(x, y, 0, 4, 2, 6), v[1] = __builtin_shufflevector(x, y, 1, 5, 3, 7);
    } else if constexpr (sizeof(T) == 4) {
      const auto low = [](const type& x, const type& y) { return __builtin_shufflevector(x, y, 0, 8, 1, 9, 4, 12, 5, 13); };
      const auto high = [](const type& x, const type& y) { return __builtin_shufflevector(x, y, 2, 10, 3, 11, 6, 14, 7, 15); };
      const type a = low(v[0], v[2]), b = high(v[0], v[2]), c = low(v[1], v[3]), d = high(v[1], v[3]);
      v[0] = low(a, c), v[1] = high(a, c), v[2] = low(b, d), v[3] = high(b, d);
    }
  }
};

#ifdef __AVX512F__
// float and double. Here a mask costs nothing.
template <class T>
struct Part64 {
  using element = T;
  typedef T type __attribute__((vector_size(64), aligned(sizeof(T))));
  static constexpr int width = 64 / static_cast<int>(sizeof(T));
  static type& at(const T* p) { return *reinterpret_cast<type*>(const_cast<T*>(p)); }
  static uint32_t mask_of(int64_t count) { return (uint32_t{1} << count) - 1; }
  static type load(const T* p, uint32_t mask) {
    if constexpr (sizeof(T) == 4) return reinterpret_cast<type>(_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), p));
    else return reinterpret_cast<type>(_mm512_maskz_loadu_pd(static_cast<__mmask8>(mask), p));
  }
  static void store(T* to, const type& v, int64_t count) {
    const uint32_t mask = mask_of(count);
    if constexpr (sizeof(T) == 4) _mm512_mask_storeu_ps(to, static_cast<__mmask16>(mask), reinterpret_cast<__m512>(v));
    else _mm512_mask_storeu_pd(to, static_cast<__mmask8>(mask), reinterpret_cast<__m512d>(v));
  }
  template <class From>
  static type side_by_side(From from) {
    const auto part = [&](int l) { return _mm_loadu_ps(reinterpret_cast<const float*>(from(l))); };
    __m512 v = _mm512_castps128_ps512(part(0));
    v = _mm512_insertf32x4(v, part(1), 1);
    v = _mm512_insertf32x4(v, part(2), 2);
    return reinterpret_cast<type>(_mm512_insertf32x4(v, part(3), 3));
  }
  static void transpose(type (&v)[16 / sizeof(T)]) {
    if constexpr (sizeof(T) == 8) {
      const __m512d x = reinterpret_cast<__m512d>(v[0]), y = reinterpret_cast<__m512d>(v[1]);
      v[0] = reinterpret_cast<type>(_mm512_unpacklo_pd(x, y)), v[1] = reinterpret_cast<type>(_mm512_unpackhi_pd(x, y));
    } else {
      const auto low = [](const type& x, const type& y) {
        return reinterpret_cast<type>(_mm512_unpacklo_ps(reinterpret_cast<__m512>(x), reinterpret_cast<__m512>(y)));
      };
      const auto high = [](const type& x, const type& y) {
        return reinterpret_cast<type>(_mm512_unpackhi_ps(reinterpret_cast<__m512>(x), reinterpret_cast<__m512>(y)));
      };
      const type a = low(v[0], v[2]), b = high(v[0], v[2]), c = low(v[1], v[3]), d = high(v[1], v[3]);
      v[0] = low(a, c), v[1] = high(a, c), v[2] = low(b, d), v[3] = high(b, d);
    }
  }
};
#endif

}  // namespace
}  // namespace weft
