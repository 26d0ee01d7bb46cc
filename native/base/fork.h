// Keeping the runtime usable in both processes after fork(): mutexes that are held across the fork, so that the child
// never inherits one locked by a thread that it does not have, and actions that the child takes.
#pragma once

#include <mutex>

namespace weft {

// Hold this mutex over every later fork. Such mutexes are never held together by other code, so any order is safe.
void lock_over_fork(std::mutex& mutex);
// Call this in the child after every later fork, when all mutexes are free again.
void after_fork_in_child(void (*action)());

}  // namespace weft
