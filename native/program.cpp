// The executor: resolve buffers to addresses, then run the instructions in order.
#include "program.h"

#include <algorithm>
#include <atomic>
#include <optional>

#include "allocator.h"
#include "profile.h"
#include "short_array.h"
#include "thread_state.h"

namespace weft {
namespace {

struct KernelCall {
  KernelFn function;
  void** buffers;
  const int64_t* params;
};

void run_chunk(void* context, int64_t begin, int64_t end) {
  const auto& call = *static_cast<const KernelCall*>(context);
  call.function(call.buffers, call.params, begin, end);
}

// False: interrupted.
bool run_kernel(const Instruction& instr, char* const* base, const int64_t* scalars, const Poll* poll,
                int64_t& status) {
  ShortArray<void*, 16> buffers(instr.buffers.size() + 1);
  size_t count = 0;
  for (const BufferAt& b : instr.buffers) buffers[count++] = base[b.buffer] + b.byte_offset;
  if (instr.fallible) buffers[count++] = &status;
  const int64_t* params = instr.params.data();
  ShortArray<int64_t, 32> patched(instr.patches.empty() ? 0 : instr.params.size());
  if (!instr.patches.empty()) {
    std::copy(instr.params.begin(), instr.params.end(), patched.get());
    for (const Patch& p : instr.patches) patched[static_cast<size_t>(p.param)] = scalars[p.scalar];
    params = patched.get();
  }
  for (const Phase& phase : instr.phases) {
    if (phase.total <= 0) continue;
    if (phase.total <= phase.grain) {
      phase.function(buffers.get(), params, 0, phase.total);
      continue;
    }
    KernelCall call{phase.function, buffers.get(), params};
    if (!parallel_for(phase.total, phase.grain, run_chunk, &call, poll)) return false;
  }
  return true;
}

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

RunStatus run_instruction(const Program& program, size_t index, char* const* base, Run& run) {
  const Instruction& instr = program.instructions[index];
  const Poll* poll = static_cast<int32_t>(index) < program.first_write ? run.poll : nullptr;
  ThreadState& ts = thread_state();
  if (instr.is_gemm) {
    ts.gemm_launches.add(1);
    const auto at = [&](size_t i) { return base[instr.buffers[i].buffer] + instr.buffers[i].byte_offset; };
    if (!run_gemm(instr.gemm, at(0), at(1), at(2), poll)) return RunStatus::interrupted;
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
    int64_t status = 0;
    if (!run_kernel(instr, base, run.scalars, poll, status)) return RunStatus::interrupted;
    if (status != 0) {
      run.failed_instruction = static_cast<int32_t>(index);
      run.failed_status = status;
      return RunStatus::failed;
    }
  }
  if (poll && index + 1 < program.instructions.size() && poll->ask(poll->context)) return RunStatus::interrupted;
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
  for (size_t i = 0; i < program.instructions.size(); ++i) {
    const int64_t start = profile ? now_ns() : 0;
    const RunStatus status = run_instruction(program, i, base.get(), run);
    if (profile) record_event(program.name, program.instructions[i].name, start, now_ns());
    if (status != RunStatus::ok) return status;
  }
  fresh.hand_out();
  return RunStatus::ok;
}

}  // namespace weft
