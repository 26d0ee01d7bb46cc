// Where workers may run: off one CPU at a time, and where others allow it.
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/placement.h"
#include "check.h"

using namespace weft;

namespace {

cpu_set_t allowed(std::thread& thread) {
  cpu_set_t set;
  CHECK(pthread_getaffinity_np(thread.native_handle(), sizeof set, &set) == 0);
  return set;
}

cpu_set_t without(cpu_set_t set, size_t cpu) {
  CPU_CLR(cpu, &set);
  return set;
}

// Lets a thread run on one CPU only.
cpu_set_t hold(std::thread& thread, size_t cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  CHECK(pthread_setaffinity_np(thread.native_handle(), sizeof one, &one) == 0);
  return one;
}

size_t nth(const cpu_set_t& set, int n) {
  for (size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set) && n-- == 0) return cpu;
  return CPU_SETSIZE;
}

bool same(const cpu_set_t& a, const cpu_set_t& b) { return CPU_EQUAL(&a, &b); }

// Threads that do nothing, until this goes.
struct Idle {
  explicit Idle(int n) {
    for (int i = 0; i < n; ++i) threads.emplace_back([this] { go_on.wait(true); });
  }
  ~Idle() {
    go_on = false;
    go_on.notify_all();
    for (std::thread& t : threads) t.join();
  }
  std::atomic<bool> go_on{true};
  std::vector<std::thread> threads;
};

}  // namespace

TEST(workers_are_kept_off_the_callers_cpu_only) {
  Idle idle(3);
  const cpu_set_t all = allowed(idle.threads[0]);
  if (CPU_COUNT(&all) < 2) return;
  const size_t first = nth(all, 0), second = nth(all, 1);
  Placement placement;
  for (const size_t cpu : {first, second, second, first}) {
    placement.keep_off(static_cast<int>(cpu), idle.threads);
    for (std::thread& t : idle.threads) CHECK(same(allowed(t), without(all, cpu)));
  }
}

TEST(a_worker_with_one_cpu_keeps_it) {
  Idle idle(1);
  const cpu_set_t all = allowed(idle.threads[0]);
  const size_t cpu = nth(all, 0);
  const cpu_set_t one = hold(idle.threads[0], cpu);
  Placement placement;
  placement.keep_off(static_cast<int>(cpu), idle.threads);
  CHECK(same(allowed(idle.threads[0]), one));
}

TEST(what_others_say_of_a_worker_is_kept_to) {
  Idle idle(1);
  const cpu_set_t all = allowed(idle.threads[0]);
  if (CPU_COUNT(&all) < 2) return;
  const size_t first = nth(all, 0), second = nth(all, 1);
  Placement placement;
  placement.keep_off(static_cast<int>(first), idle.threads);
  const cpu_set_t one = hold(idle.threads[0], first);
  placement.keep_off(static_cast<int>(second), idle.threads);
  CHECK(same(allowed(idle.threads[0]), one));
}

TEST(a_cpu_that_cannot_be_told_changes_nothing) {
  Idle idle(1);
  const cpu_set_t all = allowed(idle.threads[0]);
  Placement placement;
  for (const int cpu : {-1, CPU_SETSIZE}) placement.keep_off(cpu, idle.threads);
  CHECK(same(allowed(idle.threads[0]), all));
}

TEST(the_caller_may_go_where_it_could) {
  cpu_set_t before, after;
  CHECK(sched_getaffinity(0, sizeof before, &before) == 0);
  Idle idle(2);
  Placement placement;
  placement.keep_off(current_cpu(), idle.threads);
  CHECK(sched_getaffinity(0, sizeof after, &after) == 0);
  CHECK(same(before, after));
}
