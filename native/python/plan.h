// Plans and the plan cache. A Plan says how one operation runs for operands of given layouts; it is found by a key made
// of the handle, the attributes' number and, for each operand, its Meta's address or the class of the Python number.
// Look-up: a small table in each thread, then the handle's own map behind a mutex.
#pragma once

#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "python/program_object.h"

namespace weft {

inline constexpr size_t max_operands = 8;  // more go the slow path

struct OpHandleObject;

// Class tags of Python numbers; no Meta has such an address.
inline constexpr uintptr_t bool_tag = 1, int_tag = 2, float_tag = 3;

struct Plan {
  enum Kind : uint8_t { program, inplace, view } kind;
  bool differentiable = false;
  bool grad_ready = false;     // set_saves was called
  // What the gradient of each operand reads: masks of saved operands and of saved outputs.
  struct Saves {
    uint64_t inputs = 0, outputs = 0;
  };
  Saves saves[max_operands];
  const ProgramObject* runs = nullptr;  // null for a view
  // What runs instead if the call is recorded: its results, and then what only the gradient sees. Null: the same.
  const ProgramObject* keeps = nullptr;
  const Meta* view_meta = nullptr;
  int64_t view_delta = 0;
  Ref program_object, keeping_object, payload;
  Ref op, attrs;               // of the handle it was added to

  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  Plan(const char* kind, nb::handle program, nb::handle outputs, bool differentiable, nb::handle payload);

  // What the gradient of each operand reads, and the program of recorded calls, or None.
  void set_saves(const std::vector<std::pair<uint64_t, uint64_t>>& masks, nb::handle keeping);
};

struct PlanKey {
  const OpHandleObject* op;
  uint32_t attrs_id;
  uint32_t count;
  uintptr_t operands[max_operands];

  bool operator==(const PlanKey& other) const {
    if (op != other.op || attrs_id != other.attrs_id || count != other.count) return false;
    for (uint32_t i = 0; i < count; ++i)
      if (operands[i] != other.operands[i]) return false;
    return true;
  }
  uint64_t hash() const {
    uint64_t h = (reinterpret_cast<uintptr_t>(op) >> 4) + attrs_id * 0x9e3779b97f4a7c15u + count;
    for (uint32_t i = 0; i < count; ++i) h = (h ^ operands[i]) * 0xff51afd7ed558ccdu, h ^= h >> 32;
    return h * 0x9e3779b97f4a7c15u;
  }
};

struct PlanKeyHash {
  size_t operator()(const PlanKey& key) const { return key.hash(); }
};

// An entry is never freed, because any thread's table may point to it; a dropped one has no plan.
struct PlanEntry {
  PlanKey key;
  PyObject* plan_object;  // null once dropped
  Plan* plan;
};

// Finds the key's entry, or null. Called with the GIL held.
PlanEntry* find_plan(const PlanKey& key);

// The plans of one handle.
class PlanTable {
 public:
  PlanEntry* find(const PlanKey& key);
  // Adds or replaces; drops all plans first when there are too many. Takes a new reference.
  void put(const PlanKey& key, PyObject* plan_object, Plan* plan);
  void drop_all();
  size_t size();
  int traverse(visitproc visit, void* arg);  // for the garbage collector

 private:
  std::mutex mutex_;
  std::unordered_map<PlanKey, PlanEntry*, PlanKeyHash> entries_;
};

}  // namespace weft
