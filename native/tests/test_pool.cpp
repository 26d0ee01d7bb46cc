// The pool: every element once, callers in many threads, offers, stopping early, resizing, and fork.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/pool.h"
#include "check.h"

using namespace weft;

#if defined(__SANITIZE_THREAD__)
constexpr bool under_tsan = true;  // it does not support threads made in the child of a process with threads
#else
constexpr bool under_tsan = false;
#endif

static void mark(void* context, int64_t begin, int64_t end) {
  auto* hits = static_cast<int*>(context);
  for (int64_t i = begin; i < end; ++i) ++hits[i];
}

static bool covers(int64_t total, int64_t grain) {
  std::vector<int> hits(static_cast<size_t>(total) + 1);
  if (!parallel_for(total, grain, mark, hits.data())) return false;
  for (int64_t i = 0; i < total; ++i)
    if (hits[static_cast<size_t>(i)] != 1) return false;
  return hits[static_cast<size_t>(total)] == 0;
}

TEST(every_element_is_visited_once) {
  for (int threads : {1, 2, 3, 8}) {
    set_num_threads(threads);
    CHECK(num_threads() == threads);
    for (int64_t total : {0, 1, 2, 63, 64, 65, 1000, 100003})
      for (int64_t grain : {0, 1, 7, 64, 4096, 1000000}) CHECK(covers(total, grain));
  }
}

TEST(chunks_have_at_least_the_grain) {
  set_num_threads(4);
  static std::atomic<int64_t> smallest;
  smallest = 1 << 30;
  const auto measure = [](void*, int64_t begin, int64_t end) {
    if (end == 10000) return;
    int64_t seen = smallest.load();
    while (end - begin < seen && !smallest.compare_exchange_weak(seen, end - begin)) {
    }
  };
  parallel_for(10000, 300, measure, nullptr);
  CHECK(smallest >= 300);
}

TEST(callers_in_many_threads_do_not_wait_for_one_another) {
  set_num_threads(4);
  std::atomic<int> failures{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 8; ++c)
    callers.emplace_back([&failures] {
      for (int i = 0; i < 200; ++i) failures += !covers(5000, 100);
    });
  for (auto& c : callers) c.join();
  CHECK(failures == 0);
}

TEST(workers_wake_after_sleeping) {
  set_num_threads(3);
  for (int i = 0; i < 5; ++i) {
    CHECK(covers(10000, 10));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

TEST(a_poll_stops_the_range) {
  for (int threads : {1, 4}) {
    set_num_threads(threads);
    std::atomic<int64_t> done{0};
    const auto count = [](void* context, int64_t begin, int64_t end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(end - begin));
      *static_cast<std::atomic<int64_t>*>(context) += end - begin;
    };
    const Poll stop{[](void*) { return true; }, nullptr};
    CHECK(!parallel_for(100000, 1, count, &done, &stop));
    CHECK(done < 1000);  // a chunk is 1563 or more
    CHECK(covers(1000, 1));
  }
}

TEST(a_poll_may_use_the_pool_but_not_resize_it) {
  set_num_threads(3);
  static int asked;
  asked = 0;
  const Poll busy{[](void*) {
                    CHECK(covers(5000, 10));
                    CHECK_THROWS(set_num_threads(2), std::logic_error);
                    ++asked;
                    return false;
                  },
                  nullptr};
  std::vector<int> hits(5000);
  CHECK(parallel_for(5000, 10, mark, hits.data(), &busy));
  for (int h : hits) CHECK(h == 1);
  CHECK(asked > 0);
  set_num_threads(2);
}

// Work that is offered, as `Beside` of program.cpp does it: begun by whoever comes first.
struct Offered {
  std::atomic<bool> begun{false};
  std::thread::id by{};
  int times = 0;
  static void run(void* context) {
    auto& self = *static_cast<Offered*>(context);
    if (self.begun.exchange(true)) return;
    CHECK(covers(5000, 10));  // a thread of the pool does all of it
    ++self.times;
    self.by = std::this_thread::get_id();
  }
};

TEST(offers_are_accepted_once_or_withdrawn) {
  for (int threads : {1, 2, 4}) {
    set_num_threads(threads);
    for (int i = 0; i < 500; ++i) {
      CHECK(covers(1000, 10));  // the pool's threads watch for the next range then
      Offered first, second;
      {
        Offer of_first(Offered::run, &first), of_second(Offered::run, &second);  // for one there is no room, unless the other is taken
        if (i % 2) CHECK(covers(1000, 10));
        of_first.withdraw();
        of_first.withdraw();
      }
      for (Offered* each : {&first, &second}) {
        const bool done = each->begun;
        CHECK(each->times == done);
        if (done) CHECK(each->by != std::this_thread::get_id());
        Offered::run(each);
        CHECK(each->times == 1);
      }
      if (threads == 1) CHECK(first.by == std::this_thread::get_id());
    }
  }
}

TEST(threads_that_watch_accept_an_offer) {
  if (std::thread::hardware_concurrency() < 2) return;  // on the caller's CPU none watches
  set_num_threads(4);
  bool accepted = false;
  for (int i = 0; i < 1000 && !accepted; ++i) {
    CHECK(covers(1000, 10));
    Offered offered;
    Offer offer(Offered::run, &offered);
    for (int waited = 0; waited < 100 && !offered.begun; ++waited) std::this_thread::sleep_for(std::chrono::microseconds(10));
    offer.withdraw();
    accepted = offered.begun;
  }
  CHECK(accepted);
}

TEST(offers_of_many_threads) {
  set_num_threads(3);
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t)
    callers.emplace_back([] {
      for (int i = 0; i < 300; ++i) {
        Offered offered;
        Offer offer(Offered::run, &offered);
        CHECK(covers(1000, 10));
        offer.withdraw();
        Offered::run(&offered);
        CHECK(offered.times == 1);
      }
    });
  for (auto& t : callers) t.join();
}

TEST(resizing_while_others_run) {
  std::atomic<bool> stop{false};
  std::atomic<int> failures{0};
  std::thread caller([&] {
    while (!stop) failures += !covers(3000, 100);
  });
  for (int i = 0; i < 20; ++i) set_num_threads(1 + i % 4);
  stop = true;
  caller.join();
  CHECK(failures == 0);
  CHECK_THROWS(set_num_threads(0), std::invalid_argument);
  CHECK_THROWS(set_num_threads(5000), std::invalid_argument);
}

TEST(both_processes_work_after_a_fork) {
  if (under_tsan) return;
  set_num_threads(3);
  CHECK(covers(10000, 10));
  const pid_t child = fork();
  if (child == 0) _exit(covers(10000, 10) && num_threads() == 3 ? 0 : 1);
  CHECK(covers(10000, 10));
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(a_fork_while_another_thread_runs_a_range) {
  if (under_tsan) return;
  set_num_threads(3);
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) covers(20000, 50);
  });
  for (int i = 0; i < 10; ++i) {
    const pid_t child = fork();
    if (child == 0) _exit(covers(10000, 10) ? 0 : 1);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  stop = true;
  busy.join();
}
