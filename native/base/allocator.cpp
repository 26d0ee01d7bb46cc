// Size classes, the shared cache and the accounting behind allocator.h.
#include "base/allocator.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#include "base/fork.h"
#include "base/thread_state.h"

namespace weft {
namespace {

constexpr size_t linear_limit = 1024, linear_step = 64;
constexpr int linear_classes = linear_limit / linear_step;
constexpr int class_count = linear_classes + 8 * 38;  // up to 2^48 bytes
constexpr size_t largest_block = size_t{1} << 48;
constexpr size_t huge_threshold = size_t{1} << 20, huge_page = size_t{2} << 20;
constexpr int64_t flush_bytes = 256 << 10;  // a thread's share of the live total that may wait before it is added
constexpr size_t thread_bytes_per_class = 128 << 10;
constexpr uint32_t refill = 8;

int class_of(size_t nbytes) {
  if (nbytes <= linear_limit) return nbytes == 0 ? 0 : static_cast<int>((nbytes - 1) / linear_step);
  const int top = std::bit_width(nbytes - 1) - 1;  // >= 10
  const int eighth = static_cast<int>((nbytes - 1) >> (top - 3)) & 7;
  return linear_classes + (top - 10) * 8 + eighth;
}

constexpr size_t class_bytes(int cls) {
  if (cls < linear_classes) return static_cast<size_t>(cls + 1) * linear_step;
  const int top = 10 + (cls - linear_classes) / 8, eighth = (cls - linear_classes) % 8;
  return static_cast<size_t>(9 + eighth) << (top - 3);
}

static_assert(class_bytes(thread_cached_classes - 1) == 32 << 10);

uint32_t thread_limit(int cls) {
  return static_cast<uint32_t>(std::clamp<size_t>(thread_bytes_per_class / class_bytes(cls), 4, 64));
}

void* from_system(size_t bytes) {
  const size_t alignment = bytes >= huge_page ? huge_page : bytes >= huge_threshold ? 4096 : 64;
  void* block = nullptr;
  if (posix_memalign(&block, alignment, bytes) != 0) return nullptr;
  if (bytes >= huge_threshold) madvise(block, bytes, MADV_HUGEPAGE);
  return block;
}

struct SharedCache {
  std::mutex mutex;
  std::vector<void*> blocks[class_count];
  uint64_t last_used[class_count] = {};
  uint64_t clock = 0;
  size_t bytes = 0;
  size_t limit;

  SharedCache() {
    const auto memory = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
    limit = std::min(memory / 4, size_t{8} << 30);
    lock_over_fork(mutex);
  }

  void* take(int cls) {
    if (blocks[cls].empty()) return nullptr;
    void* block = blocks[cls].back();
    blocks[cls].pop_back();
    bytes -= class_bytes(cls);
    last_used[cls] = ++clock;
    return block;
  }

  void put(int cls, void* block) {
    blocks[cls].push_back(block);
    bytes += class_bytes(cls);
    last_used[cls] = ++clock;
    if (bytes > limit) shrink(limit);
  }

  // Frees whole classes, the least recently used first, until at most `target` bytes are kept.
  void shrink(size_t target) {
    while (bytes > target) {
      int oldest = -1;
      for (int c = 0; c < class_count; ++c)
        if (!blocks[c].empty() && (oldest < 0 || last_used[c] < last_used[oldest])) oldest = c;
      while (bytes > target && !blocks[oldest].empty()) {
        std::free(blocks[oldest].back());
        blocks[oldest].pop_back();
        bytes -= class_bytes(oldest);
      }
    }
  }
};

SharedCache& shared() {
  static SharedCache* const instance = new SharedCache;
  return *instance;
}

void* pop(BlockList& list) {
  void* block = list.head;
  list.head = *static_cast<void**>(block);
  --list.count;
  return block;
}

void push(BlockList& list, void* block) {
  *static_cast<void**>(block) = list.head;
  list.head = block;
  ++list.count;
}

std::atomic<int64_t> global_live{0}, global_peak{0};

void flush_accounts(ThreadState& ts) {
  const int64_t before = global_live.fetch_add(ts.live_bytes.get(), std::memory_order_relaxed);
  const int64_t candidate = before + ts.peak_bytes.get();
  ts.live_bytes.set(0);
  ts.peak_bytes.set(0);
  int64_t peak = global_peak.load(std::memory_order_relaxed);
  while (candidate > peak && !global_peak.compare_exchange_weak(peak, candidate, std::memory_order_relaxed)) {
  }
}

inline void account(ThreadState& ts, int64_t bytes) {
  const int64_t live = ts.live_bytes.get() + bytes;
  ts.live_bytes.set(live);
  if (live > ts.peak_bytes.get()) ts.peak_bytes.set(live);
  if (live > flush_bytes || live < -flush_bytes) flush_accounts(ts);
}

// The shared cache's block of this class, else a new one from the system; also restocks a thread's list.
[[gnu::noinline]] void* allocate_slowly(ThreadState& ts, int cls) {
  SharedCache& cache = shared();
  {
    std::lock_guard lock(cache.mutex);
    if (void* block = cache.take(cls)) {
      if (cls < thread_cached_classes) {
        for (uint32_t i = 1; i < refill; ++i) {
          void* extra = cache.take(cls);
          if (!extra) break;
          push(ts.blocks[cls], extra);
          ts.cached_bytes.add(static_cast<int64_t>(class_bytes(cls)));
        }
      }
      return block;
    }
  }
  if (void* block = from_system(class_bytes(cls))) return block;
  empty_cache();
  if (void* block = from_system(class_bytes(cls))) return block;
  throw OutOfMemory(class_bytes(cls));
}

// Moves half of a thread's list to the shared cache.
[[gnu::noinline]] void spill(ThreadState& ts, int cls, uint32_t keep) noexcept {
  SharedCache& cache = shared();
  std::lock_guard lock(cache.mutex);
  while (ts.blocks[cls].count > keep) {
    cache.put(cls, pop(ts.blocks[cls]));
    ts.cached_bytes.add(-static_cast<int64_t>(class_bytes(cls)));
  }
}

}  // namespace

OutOfMemory::OutOfMemory(size_t nbytes) noexcept {
  std::snprintf(text_, sizeof text_, "A block of %zu bytes (%.3g GiB) cannot be allocated.", nbytes,
                static_cast<double>(nbytes) / (1 << 30));
}

void* allocate(size_t nbytes) {
  if (nbytes > largest_block) throw OutOfMemory(nbytes);
  ThreadState& ts = thread_state();
  const int cls = class_of(nbytes);
  void* block;
  if (cls < thread_cached_classes && ts.blocks[cls].head) {
    block = pop(ts.blocks[cls]);
    ts.cached_bytes.add(-static_cast<int64_t>(class_bytes(cls)));
  } else {
    block = allocate_slowly(ts, cls);
  }
  ts.allocations.add(1);
  account(ts, static_cast<int64_t>(nbytes));
  return block;
}

void deallocate(void* block, size_t nbytes) noexcept {
  ThreadState& ts = thread_state();
  const int cls = class_of(nbytes);
  account(ts, -static_cast<int64_t>(nbytes));
  if (cls < thread_cached_classes) {
    push(ts.blocks[cls], block);
    ts.cached_bytes.add(static_cast<int64_t>(class_bytes(cls)));
    const uint32_t limit = thread_limit(cls);
    if (ts.blocks[cls].count > limit) spill(ts, cls, limit / 2);
    return;
  }
  SharedCache& cache = shared();
  std::lock_guard lock(cache.mutex);
  cache.put(cls, block);
}

MemoryStats memory_stats() {
  flush_accounts(thread_state());
  const int64_t live = global_live.load() + total_over_threads(&ThreadState::live_bytes);
  const int64_t peak = global_peak.load() + greatest_over_threads(&ThreadState::peak_bytes);
  const int64_t in_threads = total_over_threads(&ThreadState::cached_bytes);
  const int64_t allocations = total_over_threads(&ThreadState::allocations);
  SharedCache& cache = shared();
  std::lock_guard lock(cache.mutex);
  return {.live_bytes = live,
          .cached_bytes = static_cast<int64_t>(cache.bytes) + in_threads,
          .peak_bytes = std::max(live, peak),
          .allocations = allocations};
}

void reset_peak_memory() {
  flush_accounts(thread_state());
  global_peak.store(global_live.load());
}

void empty_cache() {
  release_thread_blocks(thread_state());
  SharedCache& cache = shared();
  std::lock_guard lock(cache.mutex);
  cache.shrink(0);
}

void set_cache_limit(size_t nbytes) {
  SharedCache& cache = shared();
  std::lock_guard lock(cache.mutex);
  cache.limit = nbytes;
  cache.shrink(nbytes);
}

void release_thread_blocks(ThreadState& state) {
  for (int cls = 0; cls < thread_cached_classes; ++cls)
    if (state.blocks[cls].count) spill(state, cls, 0);
}

}  // namespace weft
