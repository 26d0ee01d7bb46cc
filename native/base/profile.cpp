// The shared list of events behind profile.h.
#include "base/profile.h"

#include <pthread.h>
#include <time.h>

#include <mutex>
#include <utility>

#include "base/fork.h"

namespace weft {

std::atomic<bool> profiling{false};

namespace {

struct Events {
  std::mutex mutex;
  std::vector<ProfileEvent> list;
  Events() { lock_over_fork(mutex); }
};

Events& events() {
  static Events* const instance = new Events;
  return *instance;
}

}  // namespace

int64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

void record_event(const char* program, const char* instruction, int64_t start_ns, int64_t end_ns) {
  Events& e = events();
  std::lock_guard lock(e.mutex);
  e.list.push_back({program, instruction, start_ns, end_ns, static_cast<uint64_t>(pthread_self())});
}

std::vector<ProfileEvent> take_events() {
  Events& e = events();
  std::lock_guard lock(e.mutex);
  return std::exchange(e.list, {});
}

}  // namespace weft
