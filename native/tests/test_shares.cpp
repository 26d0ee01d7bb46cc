// Work that threads share: every unit once, and who has done the last of some.
#include <atomic>
#include <thread>
#include <vector>

#include "base/shares.h"
#include "check.h"

using namespace weft;

TEST(every_unit_is_taken_once_by_few_threads_and_by_many) {
  for (const int64_t threads : {1, 3, 8, 9, 20})
    for (const int64_t units : {0, 1, 7, 1000}) {
      Shares shares;
      shares.begin(units, threads);
      const Stop stop(nullptr);
      std::vector<std::atomic<int>> taken(static_cast<size_t>(units));
      std::vector<std::thread> running;
      for (int64_t t = 0; t < threads; ++t)
        running.emplace_back([&, t] { shares.take(t, stop, [&](int64_t unit) { ++taken[static_cast<size_t>(unit)]; }); });
      for (std::thread& t : running) t.join();
      for (const auto& times : taken) CHECK(times == 1);
    }
}

TEST(the_last_unit_of_a_range_is_known_and_the_range_claimed_once) {
  for (const int64_t ranges : {1, 16, 17, 50}) {
    constexpr int64_t units = 5, threads = 4;
    Unfinished unfinished;
    CHECK(!unfinished);
    unfinished.begin(ranges, units);
    CHECK(unfinished);
    for (int64_t r = 0; r < ranges; ++r) unfinished.add(r);  // six of each now
    std::vector<std::atomic<int>> last(static_cast<size_t>(ranges)), claimed(static_cast<size_t>(ranges));
    std::vector<int> written(static_cast<size_t>(ranges * (units + 1)));  // by whoever does the unit
    std::atomic<int64_t> next{0};
    std::vector<std::thread> running;
    for (int64_t t = 0; t < threads; ++t)
      running.emplace_back([&] {
        for (int64_t i; (i = next++) < ranges * (units + 1);) {
          const int64_t r = i % ranges;
          CHECK(unfinished.some_left(r) && !unfinished.claim(r));
          written[static_cast<size_t>(i)] = 1;
          last[static_cast<size_t>(r)] += unfinished.done(r);
        }
        for (int64_t r = 0; r < ranges; ++r) {
          while (unfinished.some_left(r)) std::this_thread::yield();
          if (!unfinished.claim(r)) continue;
          ++claimed[static_cast<size_t>(r)];
          for (int64_t i = r; i < ranges * (units + 1); i += ranges) CHECK(written[static_cast<size_t>(i)] == 1);
        }
      });
    for (std::thread& t : running) t.join();
    for (int64_t r = 0; r < ranges; ++r) CHECK(last[static_cast<size_t>(r)] == 1 && claimed[static_cast<size_t>(r)] == 1);
  }
}
