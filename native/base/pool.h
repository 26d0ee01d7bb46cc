// The thread pool: fork-join over the chunks of a range. Threads start on first use, spin a short while for the next
// range and then sleep, and are made anew in the child of a fork. One range runs at a time: a caller that finds the pool
// busy runs its range itself, so that callers in many Python threads never wait for one another.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

namespace weft {

using ChunkFn = void (*)(void* context, int64_t begin, int64_t end);

// Asked now and then, on the calling thread, whether to stop early. Null: never.
struct Poll {
  bool (*ask)(void* context) = nullptr;
  void* context = nullptr;
};

// Whether what several threads do together is to be given up: the thread that made this asks the poll, all see the answer.
class Stop {
 public:
  explicit Stop(const Poll* poll) : poll_(poll) {}
  // Asked between two parts of the work, some 0.1 ms long.
  bool asked() {
    if (poll_ && !stopped() && std::this_thread::get_id() == caller_ && poll_->ask(poll_->context))
      stopped_.store(true, std::memory_order_relaxed);
    return stopped();
  }
  bool stopped() const { return stopped_.load(std::memory_order_relaxed); }

 private:
  const Poll* poll_;
  const std::thread::id caller_ = std::this_thread::get_id();
  std::atomic<bool> stopped_{false};
};

// Calls run(context, begin, end) over chunks that cover [0, total), each of at least `grain` (the last may be shorter),
// on the calling thread and the pool; returns when all are done. False: the poll asked to stop and chunks were left out.
bool parallel_for(int64_t total, int64_t grain, ChunkFn run, void* context, const Poll* poll = nullptr);

// Work that a thread of the pool may begin while it waits for a range: what is to run beside a range need not wait for that to be set
// up. Nobody is woken for it, and one offer is open at a time: whoever makes one must be ready to do the work.
class Offer {
 public:
  Offer(void (*run)(void* context), void* context);
  Offer(const Offer&) = delete;
  Offer& operator=(const Offer&) = delete;
  ~Offer() { withdraw(); }

  // From here on nobody begins. Waits for whoever has.
  void withdraw();
  // For the pool's threads, once: does it.
  void accept() {
    run_(context_);
    done_.store(true, std::memory_order_release);
  }

 private:
  void (*run_)(void* context);
  void* context_;
  std::atomic<Offer*>* place_;  // where the pool's threads look; null where there was no room, and after it is withdrawn
  std::atomic<bool> done_{false};
};

// The number of threads that share a range, the caller included. The default is the number of CPUs this process may use.
int num_threads();
// Throws std::invalid_argument unless 1 <= n <= 1024. Waits for a range that is running; throws std::logic_error if that is
// the caller's own (from a poll).
void set_num_threads(int n);

}  // namespace weft
