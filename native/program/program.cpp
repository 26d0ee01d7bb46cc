// The executor: resolve buffers to addresses, then run the instructions in order.
#include "program/program.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <optional>

#include "base/allocator.h"
#include "base/profile.h"
#include "base/short_array.h"
#include "base/thread_state.h"
#include "gemm/small.h"

namespace weft {
namespace {

// A kernel with the arguments of one run.
class KernelCall {
 public:
  KernelCall(const Instruction& instr, char* const* base, const int64_t* scalars, int64_t* status)
      : instr_(instr),
        buffers_(instr.buffers.size() + 1),
        patched_(instr.patches.empty() ? 0 : instr.params.size()),
        params_(instr.params.data()) {
    size_t count = 0;
    for (const BufferAt& b : instr.buffers) buffers_[count++] = base[b.buffer] + b.byte_offset;
    if (instr.fallible) buffers_[count++] = status;
    if (instr.patches.empty()) return;
    std::copy(instr.params.begin(), instr.params.end(), patched_.get());
    for (const Patch& p : instr.patches) patched_[static_cast<size_t>(p.param)] = scalars[p.scalar];
    params_ = patched_.get();
  }

  // All phases, over the pool. False: interrupted.
  bool run(const Poll* poll) {
    for (const Phase& phase : instr_.phases) {
      if (phase.total <= 0) continue;
      if (phase.total <= phase.grain) {
        phase.function(buffers_.get(), params_, 0, phase.total);
        continue;
      }
      Chunks chunks{*this, phase.function};
      if (!parallel_for(phase.total, phase.grain, Chunks::run, &chunks, poll)) return false;
    }
    return true;
  }

  // The share of rows [begin, end) out of `rows`, on this thread.
  void run_rows(int64_t rows, int64_t begin, int64_t end) {
    for (const Phase& phase : instr_.phases) {
      const int64_t units = phase.total / rows;
      phase.function(buffers_.get(), params_, begin * units, end * units);
    }
  }

  // Elements [begin, end) of a kernel of one phase.
  void run_elements(int64_t begin, int64_t end) {
    instr_.phases.front().function(buffers_.get(), params_, begin, end);
  }

 private:
  struct Chunks {
    KernelCall& call;
    KernelFn function;
    static void run(void* context, int64_t begin, int64_t end) {
      const auto& self = *static_cast<Chunks*>(context);
      self.function(self.call.buffers_.get(), self.call.params_, begin, end);
    }
  };

  const Instruction& instr_;
  ShortArray<void*, 16> buffers_;
  ShortArray<int64_t, 32> patched_;
  const int64_t* params_;
};

// A product of few terms that follows another, row by row.
class SmallProduct {
 public:
  SmallProduct(const Instruction& instr, char* const* base) : gemm_(instr.gemm) {
    for (size_t i = 0; i < 3; ++i) at_[i] = base[instr.buffers[i].buffer] + instr.buffers[i].byte_offset;
  }
  void run_rows(int64_t begin, int64_t end) const { small_rows(gemm_, at_[0], at_[1], at_[2], begin, end); }

 private:
  const Gemm& gemm_;
  char* at_[3];
};

bool run_product(const Instruction* product, const Instruction* all, char* const* base, const int64_t* scalars, const Poll* poll,
                 int64_t* statuses);

// What runs beside a product, with the arguments of one run: on whichever thread asks first, one of the pool's while it waits or one
// that shares the product.
class Beside {
 public:
  Beside(const Instruction* product, const Instruction* all, char* const* base, const int64_t* scalars)
      : product_(*product), all_(all), base_(base), scalars_(scalars) {}

  // Unless that has begun.
  void run() {
    if (product_.beside.empty() || begun_.exchange(true, std::memory_order_relaxed)) return;
    try {
      for (const int32_t index : product_.beside) run_launch(all_[index]);
    } catch (...) {
      failure_ = std::current_exception();
    }
  }
  // The same, when no other thread runs it any more. Throws what went wrong.
  void finish() {
    run();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void run_launch(const Instruction& instr) const {
    ThreadState& ts = thread_state();
    if (instr.is_gemm) {
      ts.gemm_launches.add(1);
      run_product(&instr, all_, base_, scalars_, nullptr, nullptr);
    } else {
      ts.kernel_launches.add(1);
      KernelCall(instr, base_, scalars_, nullptr).run(nullptr);
    }
  }

  const Instruction& product_;
  const Instruction* all_;
  char* const* base_;
  const int64_t* scalars_;
  std::atomic<bool> begun_{false};
  std::exception_ptr failure_{};
};

// What runs with a product, with the arguments of one run.
class Companions {
 public:
  // `product` points into the instructions of the program. `statuses` are those of the followers.
  Companions(const Instruction* product, char* const* base, const int64_t* scalars, int64_t* statuses, Beside& beside)
      : beside_(beside), m_(product->gemm.m), n_(product->gemm.n), rows_(product->gemm.m), leaders_(product->leaders),
        count_(product->leaders + product->followers) {
    for (int64_t size : product->gemm.batch) rows_ *= size;
    for (int32_t i = 0; i < leaders_; ++i) calls_[i].emplace(product[i - leaders_], base, scalars, nullptr);
    for (int32_t i = leaders_; i < count_; ++i) {
      const Instruction& instr = product[i - leaders_ + 1];
      if (instr.is_gemm) products_[i].emplace(instr, base);
      else calls_[i].emplace(instr, base, scalars, statuses ? statuses + i - leaders_ : nullptr);
    }
  }

  static void prepare(void* context, int64_t matrix, int64_t i0, int64_t i1) {
    auto& self = *static_cast<Companions*>(context);
    const int64_t first = matrix * self.m_;
    for (int32_t k = 0; k < self.leaders_; ++k) self.calls_[k]->run_rows(self.rows_, first + i0, first + i1);
  }

  static void done(void* context, int64_t matrix, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
    auto& self = *static_cast<Companions*>(context);
    const int64_t first = matrix * self.m_;
    for (int32_t k = self.leaders_; k < self.count_; ++k) {
      if (self.products_[k]) {
        self.products_[k]->run_rows(first + i0, first + i1);
        continue;
      }
      KernelCall& call = *self.calls_[k];
      if (j0 == 0 && j1 == self.n_)
        call.run_rows(self.rows_, first + i0, first + i1);
      else
        for (int64_t i = first + i0; i < first + i1; ++i) call.run_elements(i * self.n_ + j0, i * self.n_ + j1);
    }
  }

  static void aside(void* context) { static_cast<Companions*>(context)->beside_.run(); }

 private:
  Beside& beside_;
  int64_t m_, n_, rows_;
  int32_t leaders_, count_;
  std::optional<KernelCall> calls_[most_leaders + most_followers];
  std::optional<SmallProduct> products_[most_leaders + most_followers];  // where it is no kernel
};

// The new storages of a run; given up only if the run succeeds.
class FreshStorages {
 public:
  FreshStorages(const Program& program, Storage** slots) : slots_(slots) {
    try {
      for (int64_t bytes : program.fresh_bytes) slots_[count_] = new_storage(static_cast<size_t>(bytes)), ++count_;
    } catch (...) {
      drop();
      throw;
    }
  }
  FreshStorages(const FreshStorages&) = delete;
  FreshStorages& operator=(const FreshStorages&) = delete;
  ~FreshStorages() { drop(); }
  void hand_out() { count_ = 0; }

 private:
  void drop() {
    while (count_) release(slots_[--count_]);
  }
  Storage** slots_;
  size_t count_ = 0;
};

// A product with what runs along. False: interrupted.
bool run_product(const Instruction* product, const Instruction* all, char* const* base, const int64_t* scalars, const Poll* poll,
                 int64_t* statuses) {
  const Instruction& instr = *product;
  const auto at = [&](size_t i) { return base[instr.buffers[i].buffer] + instr.buffers[i].byte_offset; };
  const Spare spare = instr.spare_bytes ? Spare{base[instr.spare], instr.spare_bytes} : Spare{};
  if (!instr.leaders && !instr.followers && instr.beside.empty())
    return run_gemm(instr.gemm, at(0), at(1), at(2), poll, nullptr, spare);
  Beside beside(product, all, base, scalars);
  std::optional<Offer> offer;
  if (!instr.beside.empty()) offer.emplace([](void* context) { static_cast<Beside*>(context)->run(); }, &beside);
  Companions companions(product, base, scalars, statuses, beside);
  double matrices = 1;
  for (int64_t size : instr.gemm.batch) matrices *= static_cast<double>(size);
  GemmHooks hooks{.context = &companions};
  if (instr.leaders) hooks.prepare = Companions::prepare, hooks.prepare_work = instr.leader_work / matrices;
  if (instr.followers) {
    hooks.done = Companions::done, hooks.work = instr.follower_work / matrices;
    hooks.whole_rows = instr.whole_rows;
  }
  if (!instr.beside.empty()) hooks.aside = Companions::aside;
  const bool completed = run_gemm(instr.gemm, at(0), at(1), at(2), poll, &hooks, spare);
  offer.reset();
  beside.finish();
  return completed;
}

RunStatus run_instruction(const Program& program, size_t index, char* const* base, Run& run) {
  const Instruction& instr = program.instructions[index];
  const size_t next = index + 1 + static_cast<size_t>(instr.followers);
  const Poll* poll = static_cast<int32_t>(next) <= program.first_write ? run.poll : nullptr;
  ThreadState& ts = thread_state();
  int64_t statuses[most_followers] = {};
  if (instr.is_gemm) {
    ts.gemm_launches.add(1);
    if (!run_product(&instr, program.instructions.data(), base, run.scalars, poll, statuses)) return RunStatus::interrupted;
  } else if (instr.attention) {
    ts.kernel_launches.add(1);
    const auto at = [&](size_t i) -> char* {
      const BufferAt& b = instr.buffers[i];
      return b.buffer < 0 ? nullptr : base[b.buffer] + b.byte_offset;
    };
    const AttentionMemory memory{at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8)};
    if (!run_attention(*instr.attention, memory, poll)) return RunStatus::interrupted;
  } else {
    ts.kernel_launches.add(1);
    KernelCall call(instr, base, run.scalars, statuses);
    if (!call.run(poll)) return RunStatus::interrupted;
  }
  const size_t first = index + instr.is_gemm;  // that has a status
  for (size_t i = first; i < next; ++i) {
    if (statuses[i - first] == 0) continue;
    run.failed_instruction = static_cast<int32_t>(i);
    run.failed_status = statuses[i - first];
    return RunStatus::failed;
  }
  if (poll && next < program.instructions.size() && poll->ask(poll->context)) return RunStatus::interrupted;
  return RunStatus::ok;
}

}  // namespace

RunStatus run_program(const Program& program, Run& run) {
  thread_state().program_runs.add(1);
  FreshStorages fresh(program, run.fresh);
  std::optional<Block> arena;
  char* arena_data = nullptr;
  if (program.arena_bytes) arena_data = static_cast<char*>(arena.emplace(static_cast<size_t>(program.arena_bytes)).data());

  ShortArray<char*, 32> base(program.buffers.size());
  size_t count = 0;
  for (const Buffer& b : program.buffers) {
    char*& data = base[count++];
    switch (b.kind) {
      case Buffer::input: data = static_cast<char*>(run.inputs[b.index]); break;
      case Buffer::fresh: data = run.fresh[b.index]->data; break;
      case Buffer::temp: data = arena_data + b.index; break;
      case Buffer::constant: data = b.storage->data + b.index; break;
    }
  }

  const bool profile = profiling.load(std::memory_order_relaxed);
  for (const int32_t launch : program.launches) {
    const auto i = static_cast<size_t>(launch);
    const int64_t start = profile ? now_ns() : 0;
    const RunStatus status = run_instruction(program, i, base.get(), run);
    if (profile) record_event(program.name, program.instructions[i].name, start, now_ns());
    if (status != RunStatus::ok) return status;
  }
  fresh.hand_out();
  return RunStatus::ok;
}

}  // namespace weft
