// The allocator and storages: alignment, reuse, accounts, threads, foreign and virtual memory.
#include <cstring>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "base/allocator.h"
#include "base/storage.h"
#include "check.h"

using namespace weft;

TEST(blocks_are_aligned_and_large_enough) {
  for (size_t n : {0ul, 1ul, 63ul, 64ul, 65ul, 1024ul, 1025ul, 4097ul, 32768ul, 32769ul, 1048576ul, 5000000ul}) {
    void* block = allocate(n);
    CHECK(reinterpret_cast<uintptr_t>(block) % 64 == 0);
    std::memset(block, 1, n);
    deallocate(block, n);
  }
}

TEST(every_size_class_holds_its_sizes) {
  for (size_t n = 1; n < 200000; n += n < 3000 ? 1 : 997) {
    Block block(n);
    std::memset(block.data(), 2, n);
  }
}

TEST(a_freed_block_is_used_again) {
  for (size_t n : {100ul, 3ul << 20}) {
    void* first = allocate(n);
    deallocate(first, n);
    void* second = allocate(n);
    CHECK(first == second);
    deallocate(second, n);
  }
}

TEST(accounts_are_exact_in_one_thread) {
  empty_cache();
  reset_peak_memory();
  const MemoryStats before = memory_stats();
  CHECK(before.cached_bytes == 0 && before.peak_bytes == before.live_bytes);
  void* a = allocate(1000);
  void* b = allocate(10 << 20);
  CHECK(memory_stats().live_bytes == before.live_bytes + 1000 + (10 << 20));
  deallocate(b, 10 << 20);
  deallocate(a, 1000);
  const MemoryStats after = memory_stats();
  CHECK(after.live_bytes == before.live_bytes);
  CHECK(after.peak_bytes == before.live_bytes + 1000 + (10 << 20));
  CHECK(after.allocations == before.allocations + 2);
  CHECK(after.cached_bytes == 1024 + (10 << 20));
  empty_cache();
  CHECK(memory_stats().cached_bytes == 0);
}

TEST(the_cache_keeps_to_its_cap_and_drops_what_is_oldest) {
  empty_cache();
  set_cache_limit(8 << 20);
  void* old_block = allocate(2 << 20);
  void* recent = allocate(3 << 20);
  void* newest = allocate(5 << 20);
  deallocate(old_block, 2 << 20);
  deallocate(recent, 3 << 20);
  deallocate(newest, 5 << 20);
  CHECK(memory_stats().cached_bytes == 8 << 20);
  void* again = allocate(3 << 20);
  CHECK(again == recent);
  deallocate(again, 3 << 20);
  set_cache_limit(size_t{1} << 30);
  empty_cache();
}

TEST(impossible_sizes_throw) {
  CHECK_THROWS(allocate(size_t{1} << 62), std::bad_alloc);
}

TEST(blocks_may_be_freed_by_other_threads) {
  const int64_t live = memory_stats().live_bytes;
  constexpr int threads = 4, rounds = 300;
  std::vector<std::vector<std::pair<void*, size_t>>> passed(threads);
  for (int round = 0; round < 3; ++round) {
    std::vector<std::thread> workers;
    for (int t = 0; t < threads; ++t)
      workers.emplace_back([&, t] {
        auto& mine = passed[static_cast<size_t>(t)];
        for (int i = 0; i < rounds; ++i) {
          const size_t n = static_cast<size_t>(i * 131 + t * 17) % 50000;
          mine.emplace_back(allocate(n), n);
          std::memset(mine.back().first, t, n);
        }
      });
    for (auto& w : workers) w.join();
    workers.clear();
    for (int t = 0; t < threads; ++t)
      workers.emplace_back([&, t] {
        auto& theirs = passed[static_cast<size_t>((t + 1) % threads)];
        for (auto [block, n] : theirs) deallocate(block, n);
        theirs.clear();
      });
    for (auto& w : workers) w.join();
  }
  CHECK(memory_stats().live_bytes == live);
}

static int released = 0;

TEST(storages_count_and_let_go_of_their_owner) {
  release_object = [](void*) { ++released; };
  char memory[64];
  int owner = 0, pending = 0;
  Storage* s = foreign_storage(memory, sizeof memory, &owner, true);
  s->pending = &pending;
  retain(s);
  release(s);
  CHECK(released == 0 && s->readonly && s->version == 0);
  release(s);
  CHECK(released == 2);
}

TEST(a_virtual_storage_takes_over_memory_that_nobody_else_uses) {
  Storage* target = virtual_storage(400);
  CHECK(target->data == nullptr);
  Storage* source = new_storage(400);
  char* data = source->data;
  retain(source);
  CHECK(!take_over(target, source));
  release(source);
  CHECK(take_over(target, source) && target->data == data && source->data == nullptr);
  release(source);
  std::memset(target->data, 3, 400);
  release(target);
}

TEST(storages_survive_many_threads) {
  Storage* shared = new_storage(64);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([shared] {
      for (int i = 0; i < 2000; ++i) {
        retain(shared);
        Storage* own = new_storage(static_cast<size_t>(i));
        release(own);
        release(shared);
      }
    });
  for (auto& t : threads) t.join();
  CHECK(shared->refs.load() == 1);
  release(shared);
}
