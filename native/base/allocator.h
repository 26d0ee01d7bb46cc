// The caching allocator. Blocks are 64-byte aligned and belong to size classes: multiples of 64 bytes up to 1 KiB, then
// eight classes to each doubling. Freed blocks of up to 32 KiB wait in the freeing thread (no lock), the others in one
// shared cache with a cap; over the cap, the classes unused for longest go back to the system. Blocks of 1 MiB and more
// ask the kernel for huge pages, because the page faults of a fresh large result cost more than computing it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

namespace weft {

struct ThreadState;

// The system has no more memory to give.
class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(size_t nbytes) noexcept;
  const char* what() const noexcept override { return text_; }

 private:
  char text_[96];
};

// At least nbytes (zero is allowed) of 64-byte aligned memory. Throws OutOfMemory.
void* allocate(size_t nbytes);
// Gives back a block that allocate(nbytes) returned. Any thread may call it.
void deallocate(void* block, size_t nbytes) noexcept;

struct MemoryStats {
  int64_t live_bytes;    // asked for and not yet freed
  int64_t cached_bytes;  // freed and kept for reuse
  int64_t peak_bytes;    // the highest live_bytes since the last reset; exact while one thread allocates
  int64_t allocations;   // calls of allocate
};

MemoryStats memory_stats();
void reset_peak_memory();
// Returns the cached blocks (the calling thread's and the shared ones) to the system.
void empty_cache();
// Sets the cap of the shared cache. The default is a quarter of the machine's memory, at most 8 GiB.
void set_cache_limit(size_t nbytes);

void release_thread_blocks(ThreadState& state);

// A block that is freed at the end of a scope.
class Block {
 public:
  explicit Block(size_t nbytes) : data_(allocate(nbytes)), nbytes_(nbytes) {}
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() { deallocate(data_, nbytes_); }
  void* data() const { return data_; }

 private:
  void* data_;
  size_t nbytes_;
};

}  // namespace weft
