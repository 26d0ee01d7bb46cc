// Work that threads share. `Shares`: units of which each thread has a share of its own: the same in every run of as many units, so
// that their memory is often still in its cache; who has done its share takes units of the others. `Tasks`: whoever comes first.
// `Unfinished`: who has done the last of some units. Few counts are part of the object: products would else ask for memory each time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include "base/caches.h"
#include "base/pool.h"

namespace weft {

class Shares {
 public:
  // Before any thread takes one. Throws std::bad_alloc.
  void begin(int64_t units, int64_t threads) {
    units_ = units, threads_ = threads;
    if (threads > few) many_ = std::make_unique<Counter[]>(static_cast<size_t>(threads));
  }

  // Calls run(unit), on behalf of a thread, for units that nobody has taken, until there are none or the work is given up.
  template <class Run>
  void take(int64_t thread, const Stop& stop, Run run) {
    for (int64_t i = 0; i < threads_; ++i) {
      const int64_t owner = (thread + i) % threads_;
      const int64_t begin = units_ * owner / threads_, end = units_ * (owner + 1) / threads_;
      std::atomic<int64_t>& taken = (many_ ? many_.get() : few_)[owner].count;
      for (int64_t unit; !stop.stopped() && (unit = begin + taken.fetch_add(1, std::memory_order_relaxed)) < end;) run(unit);
    }
  }

 private:
  static constexpr int64_t few = 8;
  struct alignas(line_bytes) Counter {  // a cache line each
    std::atomic<int64_t> count{0};
  };
  int64_t units_ = 0, threads_ = 0;
  std::unique_ptr<Counter[]> many_;
  Counter few_[few];
};

// Of each of some ranges, the units that are not done yet.
class Unfinished {
 public:
  Unfinished() = default;
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;

  // So many units of each. Before any is done. Throws std::bad_alloc.
  void begin(int64_t ranges, int64_t units) {
    if (ranges > few) many_ = std::make_unique<std::atomic<int64_t>[]>(static_cast<size_t>(ranges));
    counts_ = many_ ? many_.get() : few_;
    for (int64_t range = 0; range < ranges; ++range) counts_[range].store(units, std::memory_order_relaxed);
  }
  explicit operator bool() const { return counts_ != nullptr; }  // whether they are counted
  // One more, before the last is done.
  void add(int64_t range) { counts_[range].fetch_add(1, std::memory_order_relaxed); }
  // One is done. Whether it was the last: then all that the others wrote is seen.
  bool done(int64_t range) { return counts_[range].fetch_sub(1, std::memory_order_acq_rel) == 1; }
  // Whether some are not done yet; if none is, whether the caller is the first to claim the range. All that was written is seen then.
  bool some_left(int64_t range) const { return counts_[range].load(std::memory_order_relaxed) > 0; }
  bool claim(int64_t range) {
    int64_t none = 0;
    return counts_[range].compare_exchange_strong(none, -1, std::memory_order_acquire, std::memory_order_relaxed);
  }

 private:
  static constexpr int64_t few = 16;
  std::atomic<int64_t>* counts_ = nullptr;
  std::unique_ptr<std::atomic<int64_t>[]> many_;
  std::atomic<int64_t> few_[few];
};

// Tasks that threads take one by one until none is left, and whose results others wait for.
class Tasks {
 public:
  // Calls task(number) for those of `count` tasks that nobody has taken, unless the work is given up.
  template <class Task>
  void some(int64_t count, Stop& stop, Task task) {
    for (int64_t t; !stop.asked() && (t = next_.fetch_add(1, std::memory_order_relaxed)) < count;) {
      task(t);
      done_.fetch_add(1, std::memory_order_release);
    }
  }
  bool done(int64_t count) const { return done_.load(std::memory_order_acquire) >= count; }
  // Until all are done, or the work is given up. Those that are not are being done: call `some` before.
  void wait(int64_t count, const Stop& stop) const {
    for (int64_t waited = 0; !done(count) && !stop.stopped(); ++waited)
      if (waited > 1000) std::this_thread::yield();
  }

 private:
  alignas(line_bytes) std::atomic<int64_t> next_{0};
  alignas(line_bytes) std::atomic<int64_t> done_{0};
};

}  // namespace weft
