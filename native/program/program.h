// A Program: a list of kernel calls, matrix products and attentions over planned buffers. It is built once, never changed, and may
// run in several threads at once. This file knows nothing of Python; bindings are in python/program_object.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "attention/attention.h"
#include "base/meta.h"
#include "base/pool.h"
#include "base/storage.h"
#include "gemm/gemm.h"

namespace weft {

using KernelFn = void (*)(void** buffers, const int64_t* params, int64_t begin, int64_t end);

// Where a buffer's memory comes from.
struct Buffer {
  enum Kind : uint8_t { input, fresh, temp, constant } kind;
  int64_t index;   // input: which; fresh: which new storage; temp: byte offset in the arena; constant: byte offset
  Storage* storage = nullptr;  // constant: kept alive by whoever made the Program
};

struct BufferAt {
  int32_t buffer;
  int64_t byte_offset;
};

// A range [0, total) a kernel function is called over, in chunks of at least `grain`.
struct Phase {
  KernelFn function;
  int64_t total, grain;
};

struct Patch {
  int32_t param, scalar;  // params[param] = scalars[scalar]
};

inline constexpr int32_t most_leaders = 1, most_followers = 8, most_beside = 8;  // of a product

struct Instruction {
  const char* name;  // interned
  bool is_gemm = false;
  // A kernel: its phases run one after another.
  std::vector<Phase> phases{};
  std::vector<BufferAt> buffers{};  // of a product: a, b, c; of an attention: as in AttentionMemory, -1 where there is none
  std::vector<int64_t> params{};
  std::vector<Patch> patches{};
  bool fallible = false;  // takes one more buffer: an int64, which the kernel sets when it finds an error
  Gemm gemm{};
  std::shared_ptr<const Attention> attention{};  // null: a kernel or a product
  // Of a product: the kernels of the `leaders` instructions before it are its prologue, the `followers` after it its epilogue.
  // Their ranges divide evenly among the rows of C (over all matrices of the batch). Each row's share of the
  // prologue runs before that row of A is read; each row's share of the epilogue runs as soon as that row of C is final, or,
  // unless `whole_rows`, each element's as soon as that element is. Where it is whole rows, products may follow too, of as many
  // rows: those of gemm/small.h, which never share out their rows.
  int32_t leaders = 0;
  double leader_work = 0;  // of all rows, in multiply-adds
  // Of a product: launches, right before its leaders, that one thread runs meanwhile. They and what is launched here neither need
  // each other nor touch what the other writes.
  std::vector<int32_t> beside{};
  int32_t followers = 0;
  bool whole_rows = true;
  // Of a product: a part of the arena that nothing else uses meanwhile.
  int32_t spare = -1;
  int64_t spare_bytes = 0;
  double follower_work = 0;
};

struct Output {
  enum Kind : uint8_t { fresh, same_input, view_of_input } kind;
  int32_t index;     // of the new storage, or of the input
  bool last_use;     // of that new storage among the outputs
  const Meta* meta;  // not for same_input
  int64_t offset;    // elements; for view_of_input, added to the input's own
};

struct Write {
  int32_t input;
  uint32_t op_name;
};

struct Program {
  const char* name;  // interned
  int32_t inputs = 0;
  std::string scalar_kinds{};                // 'f' or 'i' for each
  std::vector<const Meta*> input_metas{};    // empty: not checked
  std::vector<Buffer> buffers{};
  std::vector<int64_t> fresh_bytes{};        // of each new storage
  int64_t arena_bytes = 0;
  std::vector<Instruction> instructions{};
  std::vector<int32_t> launches{};         // the instructions that run by themselves: kernels, and products with theirs
  std::vector<Output> outputs{};
  std::vector<Write> writes{};
  int32_t first_write = 0;                 // the first instruction that changes an input: no interruption from there on
  bool release_gil = false;
};

struct Run {
  void* const* inputs;       // data of each input, at its offset
  const int64_t* scalars;    // their bits
  Storage** fresh;           // receives the new storages, one reference each
  const Poll* poll = nullptr;
  // After a failure of a fallible kernel.
  int32_t failed_instruction = -1;
  int64_t failed_status = 0;
};

enum class RunStatus { ok, failed, interrupted };

// Runs the program. Unless the answer is ok, no storage is handed out. Throws std::bad_alloc.
RunStatus run_program(const Program& program, Run& run);

}  // namespace weft
