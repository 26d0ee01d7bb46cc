// The pthread_atfork handlers behind fork.h.
#include "base/fork.h"

#include <pthread.h>

#include <vector>

namespace weft {
namespace {

struct Registry {
  std::mutex mutex;
  std::vector<std::mutex*> held;
  std::vector<void (*)()> actions;
  Registry();
};

Registry& registry() {
  static Registry* const instance = new Registry;
  return *instance;
}

void prepare() {
  registry().mutex.lock();
  for (std::mutex* m : registry().held) m->lock();
}

void release() {
  for (std::mutex* m : registry().held) m->unlock();
  registry().mutex.unlock();
}

void in_child() {
  release();
  for (auto action : registry().actions) action();
}

Registry::Registry() { pthread_atfork(prepare, release, in_child); }

}  // namespace

void lock_over_fork(std::mutex& mutex) {
  Registry& r = registry();
  std::lock_guard lock(r.mutex);
  r.held.push_back(&mutex);
}

void after_fork_in_child(void (*action)()) {
  Registry& r = registry();
  std::lock_guard lock(r.mutex);
  r.actions.push_back(action);
}

}  // namespace weft
