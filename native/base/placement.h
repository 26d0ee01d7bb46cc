// Where the pool's workers may run: on any CPU that is theirs but the caller's. On a virtual machine Linux takes a CPU that sleeps
// for one that the host has taken away (both are "preempted" to it), so it wakes a worker on the CPU of the thread that wakes it,
// and does so again for as long as the worker sleeps between ranges: all of them then run on one CPU.
#pragma once

#include <sched.h>

#include <thread>
#include <vector>

namespace weft {

// The number of the CPU this thread runs on; negative if it cannot be told.
inline int current_cpu() { return sched_getcpu(); }

class Placement {
 public:
  // Before workers are woken: from now on they may run where they might before, but not on `cpu`, which was once kept free of them
  // and is theirs again if another was kept free since. A worker that has no other CPU keeps it. What somebody else says of where a
  // worker may run is kept to. Only for whoever holds the pool.
  void keep_off(int cpu, std::vector<std::thread>& workers);

  void forget() {
    masks_.clear();
    cpu_ = -1;
  }

 private:
  struct Masks {
    cpu_set_t own, given;  // where a worker may run as far as others are concerned; what it was last told
  };

  std::vector<Masks> masks_;
  int cpu_ = -1;  // the one that is kept free
};

}  // namespace weft
