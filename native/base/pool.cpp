// How the pool hands out a range. Each thread has a share of it, always the same for ranges of the same size, and takes it
// chunk by chunk; whoever is done takes chunks of the others' shares. So what a thread has in its cache of an array, from
// writing it or from the last time it read it, is what it is given again, and memory is read in as few streams as there are
// threads. Reading 64 MiB again and again, 32 MiB of which a cache holds, takes 0.8 of the time that one common counter took.
//
// `gate` holds, in one word, the number of the current range, whether it may still be
// entered, and how many workers have entered. A worker enters by one compare-and-swap, so a worker that wakes late finds
// the gate closed (or the next range) and never touches a range that has been returned from; the caller waits only for
// the workers that did enter. Between two ranges it takes an offer, if there is one.
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/caches.h"
#include "base/fork.h"
#include "base/placement.h"
#include "base/profile.h"

namespace weft {
namespace {

constexpr uint64_t open_bit = uint64_t{1} << 31, entered_mask = open_bit - 1;
// How long a thread watches for what another does before it sleeps: as long as being woken takes where that is slow (on virtual
// machines 60 to 240 us), so that it never costs more than twice what the best choice would.
constexpr int64_t watching_ns = 300'000;
constexpr int chunks_per_thread = 32;

inline void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Watches until `seen()` says so (true), or for long enough, or until `in_vain()`, which is asked now and then.
template <class Seen, class InVain>
bool watch(Seen seen, InVain in_vain) {
  const int64_t start = now_ns();
  do {
    if (in_vain()) return false;
    for (int i = 0; i < 64; ++i) {
      if (seen()) return true;
      pause_cpu();
    }
  } while (now_ns() - start < watching_ns);
  return false;
}

int cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// Whether this thread is one of the pool's: what it is asked to share it does itself.
constinit thread_local bool is_worker = false;

// Whether this thread is the caller of the current range: a poll may run any code, this pool's own functions included.
constinit thread_local bool handing_out = false;

// How far a thread runs before it asks again whether to stop: what a chunk costs is not known before it has run, so the
// first piece is the least that is worth a call, and the next ones are twice as long for as long as they are quick.
class Pieces {
 public:
  Pieces(int64_t first, int64_t chunk) : size_(first), chunk_(chunk) {}

  // Runs [begin, end) until `stop()` says so; whether it did.
  template <class Stop>
  bool run(ChunkFn function, void* context, int64_t begin, int64_t end, Stop stop) {
    while (begin < end) {
      const int64_t piece_end = size_ < end - begin ? begin + size_ : end;
      const int64_t start = size_ < chunk_ ? now_ns() : 0;
      function(context, begin, piece_end);
      if (size_ < chunk_ && now_ns() - start < quick_ns) size_ *= 2;
      if (stop()) return true;
      begin = piece_end;
    }
    return false;
  }

 private:
  static constexpr int64_t quick_ns = 2'000'000;
  int64_t size_, chunk_;
};

// What is left of a thread's part of a range, in chunks but for the last.
struct alignas(line_bytes) Share {
  std::atomic<int64_t> next{0};
  int64_t end = 0;
};

class Pool {
 public:
  explicit Pool(int threads) : threads_(threads) {}

  // False: another range is running, or this pool cannot help; the caller runs the range itself.
  bool try_run(int64_t total, int64_t chunk, int64_t piece, ChunkFn run, void* context, const Poll* poll, bool& completed) {
    if (busy_.exchange(true, std::memory_order_acquire)) return false;
    if (workers_.empty() && !start()) {
      busy_.store(false, std::memory_order_release);
      return false;
    }
    run_ = run, context_ = context, chunk_ = chunk, piece_ = piece;
    stopped_.store(false, std::memory_order_relaxed);
    share_out(total);
    left_.store(0, std::memory_order_relaxed);
    const uint64_t range = (gate_.load(std::memory_order_relaxed) >> 32) + 1;
    gate_.store(range << 32 | open_bit, std::memory_order_seq_cst);
    const int cpu = current_cpu();
    if (caller_cpu_.load(std::memory_order_relaxed) != cpu) caller_cpu_.store(cpu, std::memory_order_relaxed);
    if (sleeping_.load(std::memory_order_seq_cst) > 0) {
      placement_.keep_off(cpu, workers_);
      // Not while it is locked: a worker would wake to find it so and sleep again.
      { std::lock_guard lock(mutex_); }
      wake_.notify_all();
    }
    handing_out = true;
    completed = work(0, poll);
    handing_out = false;
    const uint64_t entered = gate_.fetch_and(~open_bit, std::memory_order_acq_rel) & entered_mask;
    wait_for(entered);
    busy_.store(false, std::memory_order_release);
    return true;
  }

  void resize(int threads) {
    if (handing_out) throw std::logic_error("The number of threads cannot be changed while this thread runs a program.");
    while (busy_.exchange(true, std::memory_order_acquire)) std::this_thread::yield();
    stop();
    threads_.store(threads);
    busy_.store(false, std::memory_order_release);
  }

  // At exit: joins the workers, so that none runs while the process is torn down, and stays busy for ever, so that what
  // still runs in other threads runs there. A range that lasts longer than a second is left alone.
  void close() {
    for (int waited = 0; busy_.exchange(true, std::memory_order_acquire); ++waited) {
      if (waited == 1000) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    stop();
  }

  int threads() const { return threads_.load(std::memory_order_relaxed); }
  std::atomic<Offer*>& offered() { return offered_; }

 private:
  // Ends the threads. Only for whoever holds the pool (busy).
  void stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      wake_.notify_all();
    }
    for (std::thread& t : workers_) t.join();
    workers_.clear();
    placement_.forget();
    shares_.clear();
    stopping_ = false;
  }

  bool start() {
    // Signals are for Python's threads.
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    try {
      for (size_t i = 1; i < static_cast<size_t>(threads()); ++i) workers_.emplace_back([this, i] { serve(i); });
    } catch (const std::system_error&) {  // no more threads to be had: work with those there are
    }
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
    shares_ = std::vector<Share>(workers_.size() + 1);
    return !workers_.empty();
  }

  void share_out(int64_t total) {
    const auto threads = static_cast<int64_t>(shares_.size());
    const int64_t chunks = total / chunk_ + (total % chunk_ != 0), each = chunks / threads, more = chunks % threads;
    int64_t first = 0;
    for (int64_t i = 0; i < threads; ++i) {
      Share& share = shares_[static_cast<size_t>(i)];
      share.next.store(first * chunk_, std::memory_order_relaxed);
      first += each + (i < more);
      share.end = first == chunks ? total : first * chunk_;
    }
  }

  // Takes chunks until none is left, those of share `own` first. Only the caller polls; once told to stop it hands out no
  // more, and the others leave what they have begun.
  bool work(size_t own, const Poll* poll) {
    Pieces pieces(piece_, chunk_);
    const auto stop = [&] {
      if (!poll || !poll->ask(poll->context)) return stopped_.load(std::memory_order_relaxed);
      stopped_.store(true, std::memory_order_relaxed);
      return true;
    };
    for (size_t i = 0; i < shares_.size(); ++i) {
      Share& share = shares_[(own + i) % shares_.size()];
      for (;;) {
        const int64_t begin = share.next.fetch_add(chunk_, std::memory_order_relaxed);
        if (begin >= share.end) break;
        if (pieces.run(run_, context_, begin, std::min(begin + chunk_, share.end), stop)) return false;
      }
    }
    return true;
  }

  void wait_for(uint64_t entered) {
    const auto all_left = [&] { return left_.load(std::memory_order_acquire) == entered; };
    if (all_left() || watch(all_left, [] { return false; })) return;
    std::unique_lock lock(mutex_);
    caller_waits_.store(true, std::memory_order_seq_cst);
    done_.wait(lock, [&] { return left_.load(std::memory_order_seq_cst) == entered; });
    caller_waits_.store(false, std::memory_order_relaxed);
  }

  void serve(size_t own) {
    is_worker = true;
    uint64_t seen = 0;  // the last range this worker entered or found closed
    while (uint64_t gate = wait_for_range(seen)) {
      seen = gate >> 32;
      while (gate >> 32 == seen && (gate & open_bit)) {
        if (!gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acq_rel)) continue;
        work(own, nullptr);
        left_.fetch_add(1, std::memory_order_seq_cst);
        if (caller_waits_.load(std::memory_order_seq_cst)) {
          { std::lock_guard lock(mutex_); }
          done_.notify_one();
        }
        break;
      }
    }
  }

  // The gate of a range after `seen`; 0 when the pool stops. A worker that is woken when the range is already over watches for the
  // next one as if it had been in it: where waking takes longer than a range, it would else be late for each one that follows.
  uint64_t wait_for_range(uint64_t seen) {
    for (;;) {
      uint64_t gate = 0;
      const auto opened = [&] {
        gate = gate_.load(std::memory_order_acquire);
        return gate >> 32 != seen && (gate & open_bit);
      };
      const auto called = [&] { return opened() || offered_.load(std::memory_order_relaxed); };
      // On the caller's CPU it would only keep the caller from it: it sleeps, to be woken on another.
      const auto in_the_way = [&] { return current_cpu() == caller_cpu_.load(std::memory_order_relaxed); };
      if (watch(called, in_the_way)) {
        if (Offer* offer = offered_.load(std::memory_order_relaxed);
            offer && offered_.compare_exchange_strong(offer, nullptr, std::memory_order_acquire))
          offer->accept();
        if (opened()) return gate;
        continue;
      }
      std::unique_lock lock(mutex_);
      sleeping_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, [&] {
        gate = gate_.load(std::memory_order_seq_cst);
        return stopping_ || gate >> 32 != seen;
      });
      sleeping_.fetch_sub(1, std::memory_order_relaxed);
      if (stopping_) return 0;
      if (gate & open_bit) return gate;
      seen = gate >> 32;
    }
  }

  std::atomic<int> threads_;
  std::vector<std::thread> workers_;
  std::atomic<bool> busy_{false};

  // The current range; written only while the gate is closed and nobody is inside.
  ChunkFn run_ = nullptr;
  void* context_ = nullptr;
  int64_t chunk_ = 1, piece_ = 1;
  std::vector<Share> shares_;

  Placement placement_;
  alignas(line_bytes) std::atomic<uint64_t> gate_{0};
  std::atomic<Offer*> offered_{nullptr};
  std::atomic<int> caller_cpu_{-1};  // where the last range was handed out
  std::atomic<bool> stopped_{false};
  alignas(line_bytes) std::atomic<uint64_t> left_{0};
  alignas(line_bytes) std::atomic<int> sleeping_{0};
  std::atomic<bool> caller_waits_{false};
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  bool stopping_ = false;
};

std::atomic<Pool*> current_pool{nullptr};
std::mutex make_mutex;

// The child of a fork has no workers: it forgets the pool (its memory is lost, a few hundred bytes) and makes another.
void forget_pool() {
  Pool* old = current_pool.load();
  if (old) current_pool.store(new Pool(old->threads()));
}

struct ForkAndExit {
  ForkAndExit() {
    lock_over_fork(make_mutex);
    after_fork_in_child(forget_pool);
  }
  ~ForkAndExit() {
    if (Pool* p = current_pool.load()) p->close();
  }
};

Pool& pool() {
  if (Pool* p = current_pool.load(std::memory_order_acquire)) return *p;
  static ForkAndExit fork_and_exit;
  std::lock_guard lock(make_mutex);
  if (!current_pool.load()) current_pool.store(new Pool(cpus()), std::memory_order_release);
  return *current_pool.load();
}

}  // namespace

bool parallel_for(int64_t total, int64_t grain, ChunkFn run, void* context, const Poll* poll) {
  if (total <= 0) return true;
  grain = std::max<int64_t>(grain, 1);
  if (total <= grain) {
    run(context, 0, total);
    return true;
  }
  Pool& p = pool();
  const int threads = p.threads();
  const int64_t parts = static_cast<int64_t>(threads) * chunks_per_thread;
  int64_t chunk = std::max(grain, total / parts + (total % parts != 0));
  int64_t piece = poll ? grain : chunk;
  if (chunk > 1024) {  // neighbours then share no cache line
    chunk = (chunk + 63) & ~int64_t{63};
    piece = (piece + 63) & ~int64_t{63};
  }
  bool completed = true;
  if (threads > 1 && total > chunk && !is_worker && p.try_run(total, chunk, piece, run, context, poll, completed)) return completed;
  if (!poll) {
    run(context, 0, total);
    return true;
  }
  return !Pieces(piece, chunk).run(run, context, 0, total, [&] { return poll->ask(poll->context); });
}

Offer::Offer(void (*run)(void* context), void* context) : run_(run), context_(context), place_(&pool().offered()) {
  Offer* none = nullptr;
  if (!place_->compare_exchange_strong(none, this, std::memory_order_release, std::memory_order_relaxed)) place_ = nullptr;
}

void Offer::withdraw() {
  if (!place_) return;
  Offer* mine = this;
  if (std::exchange(place_, nullptr)->compare_exchange_strong(mine, nullptr, std::memory_order_relaxed)) return;
  for (int64_t waited = 0; !done_.load(std::memory_order_acquire); ++waited) {
    if (waited < 1000) pause_cpu();
    else std::this_thread::yield();
  }
}

int num_threads() { return pool().threads(); }

void set_num_threads(int n) {
  if (n < 1 || n > 1024) throw std::invalid_argument("The number of threads must be between 1 and 1024.");
  pool().resize(n);
}

}  // namespace weft
