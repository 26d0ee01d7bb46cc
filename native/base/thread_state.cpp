// The list of thread states, and what happens to one when its thread ends.
#include "base/thread_state.h"

#include <algorithm>
#include <mutex>
#include <type_traits>

#include "base/allocator.h"
#include "base/fork.h"
#include "base/storage.h"

namespace weft {

[[gnu::tls_model("initial-exec")]] constinit thread_local ThreadState* current_thread_state = nullptr;

namespace {

struct Registry {
  std::mutex mutex;
  ThreadState* first = nullptr;
  ThreadState retired;  // only its counters are used
  Registry() { lock_over_fork(mutex); }
};

Registry& registry() {
  static Registry* const instance = new Registry;
  return *instance;
}

constexpr Counter ThreadState::* counters[] = {
    &ThreadState::live_bytes,      &ThreadState::allocations,   &ThreadState::cached_bytes,
    &ThreadState::kernel_launches, &ThreadState::gemm_launches, &ThreadState::gemms_skipping_zeros,
    &ThreadState::gemms_by_matrix_unit, &ThreadState::program_runs,
};

// Hands everything a finished thread still holds back to the process.
struct AtThreadExit {
  ~AtThreadExit() {
    ThreadState* state = current_thread_state;
    if (!state) return;
    current_thread_state = nullptr;
    release_thread_storages(*state);
    release_thread_blocks(*state);
    Registry& r = registry();
    {
      std::lock_guard lock(r.mutex);
      for (auto counter : counters) (r.retired.*counter).add((state->*counter).get());
      ThreadState** link = &r.first;
      while (*link != state) link = &(*link)->next;
      *link = state->next;
    }
    delete[] state->plan_cache;
    delete state;
  }
};

}  // namespace

ThreadState& make_thread_state() {
  thread_local AtThreadExit at_exit;
  static_cast<void>(at_exit);
  auto* state = new ThreadState;
  Registry& r = registry();
  std::lock_guard lock(r.mutex);
  state->next = r.first;
  r.first = state;
  current_thread_state = state;
  return *state;
}

int64_t total_over_threads(Counter ThreadState::* counter) {
  Registry& r = registry();
  std::lock_guard lock(r.mutex);
  int64_t sum = (r.retired.*counter).get();
  for (ThreadState* s = r.first; s; s = s->next) sum += (s->*counter).get();
  return sum;
}

int64_t greatest_over_threads(Counter ThreadState::* counter) {
  Registry& r = registry();
  std::lock_guard lock(r.mutex);
  int64_t greatest = 0;
  for (ThreadState* s = r.first; s; s = s->next) greatest = std::max(greatest, (s->*counter).get());
  return greatest;
}

}  // namespace weft
