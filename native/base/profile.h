// The timeline: while it is on, every instruction of every program leaves its name and its start and end times.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace weft {

struct ProfileEvent {
  const char* program;      // interned (names.h)
  const char* instruction;
  int64_t start_ns, end_ns; // CLOCK_MONOTONIC, as Python's time.perf_counter_ns
  uint64_t thread;          // pthread_self, as Python's threading.get_ident
};

extern std::atomic<bool> profiling;

int64_t now_ns();
void record_event(const char* program, const char* instruction, int64_t start_ns, int64_t end_ns);
std::vector<ProfileEvent> take_events();

}  // namespace weft
