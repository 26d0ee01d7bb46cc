// What the processor's caches hold.
#pragma once

#include <unistd.h>

#include <cstdint>

namespace weft {

// Bytes of a cache line. No vector is longer: those of memory that begins with a line are not split between two.
inline constexpr int64_t line_bytes = 64;
template <class T>
inline constexpr int64_t line_elements = line_bytes / static_cast<int64_t>(sizeof(T));

// Bytes of the second cache, which most often belongs to one core: what the system tells, else 1 MiB.
inline int64_t second_cache_bytes() {
#ifdef _SC_LEVEL2_CACHE_SIZE
  static const int64_t told = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (told > 0) return told;
#endif
  return 1 << 20;
}

// Of more bytes than this, most come from memory or from a part of a shared cache that is hardly quicker.
constexpr int64_t far_bytes = 16 << 20;

}  // namespace weft
