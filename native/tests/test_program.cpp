// The executor: buffers of every kind, parameters, failure and interruption, threads, the timeline.
#include <cstring>
#include <thread>
#include <vector>

#include "base/allocator.h"
#include "base/names.h"
#include "base/profile.h"
#include "base/thread_state.h"
#include "check.h"
#include "portable_tiles.h"
#include "program/program.h"

using namespace weft;

static void add_floats(void** buffers, const int64_t*, int64_t begin, int64_t end) {
  auto *x = static_cast<float*>(buffers[0]), *y = static_cast<float*>(buffers[1]), *z = static_cast<float*>(buffers[2]);
  for (int64_t i = begin; i < end; ++i) z[i] = x[i] + y[i];
}

static void scale_floats(void** buffers, const int64_t* params, int64_t begin, int64_t end) {
  double factor;
  std::memcpy(&factor, &params[1], sizeof factor);
  auto *x = static_cast<float*>(buffers[0]), *z = static_cast<float*>(buffers[1]);
  for (int64_t i = begin; i < end; ++i) z[i] = x[i] * static_cast<float>(factor);
}

// Fails at the first negative element.
static void refuse_negative(void** buffers, const int64_t*, int64_t begin, int64_t end) {
  auto* x = static_cast<float*>(buffers[0]);
  for (int64_t i = begin; i < end; ++i)
    if (x[i] < 0) __atomic_store_n(static_cast<int64_t*>(buffers[1]), 7, __ATOMIC_RELAXED);
}

constexpr int64_t n = 5000;

// (x + y) into a temporary, times a scalar, plus a constant, into a new storage.
static Program three_steps(Storage* constant) {
  Program p{.name = "three_steps"};
  p.inputs = 2;
  p.scalar_kinds.push_back('f');
  p.arena_bytes = n * 4;
  p.buffers = {{Buffer::input, 0}, {Buffer::input, 1}, {Buffer::temp, 0}, {Buffer::fresh, 0}, {Buffer::constant, 0, constant}};
  p.fresh_bytes = {n * 4};
  p.instructions.push_back({.name = "add", .phases = {{add_floats, n, 100}}, .buffers = {{0, 0}, {1, 0}, {2, 0}}, .params = {n}});
  p.instructions.push_back({.name = "scale", .phases = {{scale_floats, n, 100}}, .buffers = {{2, 0}, {2, 0}},
                            .params = {n, 0}, .patches = {{1, 0}}});
  p.instructions.push_back({.name = "add", .phases = {{add_floats, n / 2, 100}, {add_floats, n, 100}},
                            .buffers = {{2, 0}, {4, 0}, {3, 0}}, .params = {n}});
  p.first_write = 3;
  p.launches = {0, 1, 2};
  return p;
}

struct Fixture {
  std::vector<float> x = std::vector<float>(n, 1), y = std::vector<float>(n, 2);
  Storage* constant = new_storage(n * 4);
  Program program;
  Fixture() {
    for (int64_t i = 0; i < n; ++i) reinterpret_cast<float*>(constant->data)[i] = static_cast<float>(i);
    program = three_steps(constant);
  }
  Fixture(const Fixture&) = delete;
  Fixture& operator=(const Fixture&) = delete;
  ~Fixture() { release(constant); }
  bool run_is_right(double factor) {
    void* inputs[] = {x.data(), y.data()};
    int64_t scalar;
    std::memcpy(&scalar, &factor, sizeof scalar);
    Storage* fresh = nullptr;
    Run run{.inputs = inputs, .scalars = &scalar, .fresh = &fresh};
    if (run_program(program, run) != RunStatus::ok) return false;
    bool right = true;
    const auto* z = reinterpret_cast<float*>(fresh->data);
    for (int64_t i = 0; i < n; ++i) right &= z[i] == 3.0f * static_cast<float>(factor) + static_cast<float>(i);
    release(fresh);
    return right;
  }
};

TEST(a_program_runs_its_instructions_in_order) {
  Fixture f;
  for (int threads : {1, 4}) {
    set_num_threads(threads);
    CHECK(f.run_is_right(2.0) && f.run_is_right(-0.5));
  }
}

TEST(counters_count) {
  Fixture f;
  const int64_t kernels = total_over_threads(&ThreadState::kernel_launches);
  const int64_t runs = total_over_threads(&ThreadState::program_runs);
  std::thread([&] { CHECK(f.run_is_right(2.0)); }).join();
  CHECK(total_over_threads(&ThreadState::kernel_launches) == kernels + 3);
  CHECK(total_over_threads(&ThreadState::program_runs) == runs + 1);
}

TEST(one_program_runs_in_many_threads_at_once) {
  set_num_threads(3);
  Fixture f;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&f, t] {
      for (int i = 0; i < 50; ++i) CHECK(f.run_is_right(t + i));
    });
  for (auto& t : threads) t.join();
}

TEST(a_failing_kernel_stops_the_program_and_frees_everything) {
  Fixture f;
  f.program.instructions.insert(f.program.instructions.begin() + 1,
                                {.name = "check", .phases = {{refuse_negative, n, 100}}, .buffers = {{1, 0}}, .fallible = true});
  f.program.launches = {0, 1, 2, 3};
  CHECK(f.run_is_right(2.0));
  f.y[n - 1] = -1;
  const int64_t live = memory_stats().live_bytes;
  void* inputs[] = {f.x.data(), f.y.data()};
  const int64_t scalar = 0;
  Storage* fresh = nullptr;
  Run run{.inputs = inputs, .scalars = &scalar, .fresh = &fresh};
  CHECK(run_program(f.program, run) == RunStatus::failed);
  CHECK(run.failed_instruction == 1 && run.failed_status == 7);
  CHECK(memory_stats().live_bytes == live);
}

TEST(an_interruption_stops_the_program_until_it_writes_an_input) {
  Fixture f;
  const int64_t live = memory_stats().live_bytes;
  void* inputs[] = {f.x.data(), f.y.data()};
  const int64_t scalar = 0;
  Storage* fresh = nullptr;
  const Poll stop{[](void*) { return true; }, nullptr};
  Run run{.inputs = inputs, .scalars = &scalar, .fresh = &fresh, .poll = &stop};
  CHECK(run_program(f.program, run) == RunStatus::interrupted);
  CHECK(memory_stats().live_bytes == live);
  f.program.first_write = 0;
  CHECK(run_program(f.program, run) == RunStatus::ok);
  release(fresh);
}

TEST(the_timeline_names_every_instruction) {
  Fixture f;
  take_events();
  profiling = true;
  CHECK(f.run_is_right(2.0));
  profiling = false;
  CHECK(f.run_is_right(2.0));
  const auto events = take_events();
  CHECK(events.size() == 3 && std::strcmp(events[1].instruction, "scale") == 0);
  for (const auto& e : events) CHECK(e.start_ns <= e.end_ns && std::strcmp(e.program, "three_steps") == 0);
  CHECK(take_events().empty());
}

static void double_numbers(void** buffers, const int64_t*, int64_t begin, int64_t end) {
  auto *x = static_cast<int32_t*>(buffers[0]), *y = static_cast<int32_t*>(buffers[1]);
  for (int64_t i = begin; i < end; ++i) y[i] = 2 * x[i];
}

static void refuse_large(void** buffers, const int64_t*, int64_t begin, int64_t end) {
  auto* x = static_cast<int32_t*>(buffers[0]);
  for (int64_t i = begin; i < end; ++i)
    if (x[i] > 1000) __atomic_store_n(static_cast<int64_t*>(buffers[1]), 5, __ATOMIC_RELAXED);
}

// 2 * (2 * x @ y) over three matrices of 40 x 20 by 20 x 10, which nobody may find larger than 1000.
TEST(kernels_run_with_a_product) {
  constexpr int64_t batch = 3, m = 40, k = 20, width = 10;
  std::vector<int32_t> x(batch * m * k, 1), y(batch * k * width, 3);
  Program p{.name = "along"};
  p.inputs = 2;
  p.arena_bytes = batch * m * k * 4;
  p.buffers = {{Buffer::input, 0}, {Buffer::input, 1}, {Buffer::temp, 0}, {Buffer::fresh, 0}};
  p.fresh_bytes = {batch * m * width * 4};
  p.instructions.push_back({.name = "before", .phases = {{double_numbers, batch * m * k, 1}}, .buffers = {{0, 0}, {2, 0}}});
  p.instructions.push_back({.name = "gemm", .is_gemm = true, .buffers = {{2, 0}, {1, 0}, {3, 0}},
                            .gemm = {DType::int32, {batch}, m, width, k, {{m * k}, k, 1}, {{k * width}, width, 1}, {{m * width}, width, 1}},
                            .leaders = 1, .leader_work = 1e6, .followers = 2, .whole_rows = false, .follower_work = 1e6});
  p.instructions.push_back({.name = "after", .phases = {{double_numbers, batch * m * width, 1}}, .buffers = {{3, 0}, {3, 0}}});
  p.instructions.push_back({.name = "check", .phases = {{refuse_large, batch * m * width, 1}}, .buffers = {{3, 0}}, .fallible = true});
  p.launches = {1};
  p.first_write = 4;
  void* inputs[] = {x.data(), y.data()};
  for (int threads : {1, 3})
    for (bool whole_rows : {false, true}) {
      set_num_threads(threads);
      p.instructions[1].whole_rows = whole_rows;
      Storage* fresh = nullptr;
      Run run{.inputs = inputs, .scalars = nullptr, .fresh = &fresh};
      CHECK(run_program(p, run) == RunStatus::ok);
      const auto* z = reinterpret_cast<int32_t*>(fresh->data);
      CHECK(std::vector<int32_t>(z, z + batch * m * width) == std::vector<int32_t>(batch * m * width, 240));
      release(fresh);
    }
  x[0] = 1000;
  Storage* fresh = nullptr;
  Run run{.inputs = inputs, .scalars = nullptr, .fresh = &fresh};
  CHECK(run_program(p, run) == RunStatus::failed && run.failed_instruction == 3 && run.failed_status == 5);
}

// (x @ y) @ z, of 300 x 40, 40 x 20 and 20 x 7, z transposed: in one launch the same bits as in two.
TEST(a_product_follows_another) {
  constexpr int64_t m = 300, k = 40, width = 20, last = 7;
  std::vector<float> x(m * k), y(k * width), z(last * width);
  for (std::vector<float>* given : {&x, &y, &z})
    for (size_t i = 0; i < given->size(); ++i) (*given)[i] = static_cast<float>(i % 83) / 64 - 0.6f;
  Program p{.name = "two layers"};
  p.inputs = 3;
  p.arena_bytes = m * width * 4;
  p.buffers = {{Buffer::input, 0}, {Buffer::input, 1}, {Buffer::input, 2}, {Buffer::temp, 0}, {Buffer::fresh, 0}};
  p.fresh_bytes = {m * last * 4};
  p.instructions.push_back({.name = "first", .is_gemm = true, .buffers = {{0, 0}, {1, 0}, {3, 0}},
                            .gemm = {DType::float32, {}, m, width, k, {{}, k, 1}, {{}, width, 1}, {{}, width, 1}}});
  p.instructions.push_back({.name = "second", .is_gemm = true, .buffers = {{3, 0}, {2, 0}, {4, 0}},
                            .gemm = {DType::float32, {}, m, last, width, {{}, width, 1}, {{}, 1, width}, {{}, last, 1}}});
  p.first_write = 2;
  void* inputs[] = {x.data(), y.data(), z.data()};
  std::vector<std::vector<float>> found;
  for (int32_t followers : {0, 1})
    for (int threads : {1, 3}) {
      set_num_threads(threads);
      p.instructions[0].followers = followers, p.instructions[0].follower_work = followers * 4.0 * m * width * last;
      p.launches = followers ? std::vector<int32_t>{0} : std::vector<int32_t>{0, 1};
      Storage* fresh = nullptr;
      Run run{.inputs = inputs, .scalars = nullptr, .fresh = &fresh};
      CHECK(run_program(p, run) == RunStatus::ok);
      const auto* result = reinterpret_cast<float*>(fresh->data);
      found.emplace_back(result, result + m * last);
      CHECK(found.back() == found.front());
      release(fresh);
    }
}

TEST(an_empty_program_and_empty_phases_are_fine) {
  Program p{.name = "nothing"};
  p.instructions.push_back({.name = "none", .phases = {{add_floats, 0, 1}}});
  p.launches = {0};
  Run run{.inputs = nullptr, .scalars = nullptr, .fresh = nullptr};
  CHECK(run_program(p, run) == RunStatus::ok);
}

TEST(names_keep_their_numbers) {
  CHECK(name_id("add_") == name_id("add_") && name_id("add_") != name_id("mul_"));
  CHECK(std::strcmp(name_of(name_id("add_")), "add_") == 0 && name_of(0)[0] == 0 && name_of(1u << 30)[0] == 0);
}
