// What the runtime keeps for each thread: its block cache, its counters, and what Python set for it (recording, grad
// mode, plan cache). One look-up of one pointer gives all of it. A thread writes only its own; counters are summed on
// request, which is why they are atomics that are written without read-modify-write instructions.
#pragma once

#include <atomic>
#include <cstdint>

namespace weft {

struct Storage;

// A number that one thread writes and any thread may read.
class Counter {
 public:
  int64_t get() const { return value_.load(std::memory_order_relaxed); }
  void set(int64_t v) { value_.store(v, std::memory_order_relaxed); }
  void add(int64_t n) { set(get() + n); }

 private:
  std::atomic<int64_t> value_{0};
};

// Free blocks of one size class, linked through their first word.
struct BlockList {
  void* head = nullptr;
  uint32_t count = 0;
};

inline constexpr int thread_cached_classes = 56;  // blocks of at most 32 KiB, see allocator.h

struct ThreadState {
  BlockList blocks[thread_cached_classes];
  Storage* free_storages = nullptr;
  uint32_t free_storage_count = 0;
  // Bytes allocated minus bytes freed since the last flush to the process total, and the highest value of that.
  Counter live_bytes, peak_bytes, cached_bytes, allocations;
  Counter kernel_launches, gemm_launches, gemms_skipping_zeros, gemms_by_matrix_unit, program_runs;

  // Set by the bindings.
  bool grad_enabled = true;
  void* recording = nullptr;        // the innermost recording (a PyObject*), or null
  void* recording_stack = nullptr;  // std::vector<PyObject*>*
  void** plan_cache = nullptr;      // direct-mapped, see python/plan.h
  void* call_watch = nullptr;       // what a function does is watched (a CallWatch*, see python/shortcut.h), or null

  ThreadState* next = nullptr;  // list of all threads' states
};

ThreadState& make_thread_state();

// Initial-exec: one load from the thread pointer instead of a call. It needs eight bytes of the static TLS area, of which
// glibc keeps more than a thousand in reserve for libraries that are loaded later.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local ThreadState* current_thread_state;

inline ThreadState& thread_state() {
  ThreadState* state = current_thread_state;
  return state ? *state : make_thread_state();
}

// The sum of a counter over all threads, those that have ended included.
int64_t total_over_threads(Counter ThreadState::* counter);
// The greatest value of a counter over the running threads.
int64_t greatest_over_threads(Counter ThreadState::* counter);

}  // namespace weft
