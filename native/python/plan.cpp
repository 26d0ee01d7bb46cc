// See plan.h.
#include "python/plan.h"

#include <cstring>

#include "base/thread_state.h"
#include "python/op.h"

namespace weft {
namespace {

constexpr int table_bits = 10;
constexpr size_t most_plans = 8192;  // per handle; a program with more layouts than that plans some of them again

}  // namespace

Plan::Plan(const char* kind_name, nb::handle program_handle, nb::handle outputs, bool is_differentiable,
           nb::handle payload_handle)
    : differentiable(is_differentiable), payload(Ref::borrow(payload_handle.ptr())) {
  if (std::strcmp(kind_name, "view") == 0) {
    kind = view;
    const Ref list = checked(PySequence_Tuple(outputs.ptr()));
    if (PyTuple_GET_SIZE(list.get()) != 1) raise(PyExc_ValueError, "Plan: a view has one output.");
    const Ref pair = checked(PySequence_Tuple(PyTuple_GET_ITEM(list.get(), 0)));
    if (PyTuple_GET_SIZE(pair.get()) != 2)
      raise(PyExc_ValueError, "Plan: the output of a view is ((dtype, shape, strides), offset), not %R.", pair.get());
    view_meta = meta_from_layout(PyTuple_GET_ITEM(pair.get(), 0));
    view_delta = PyLong_AsLongLong(PyTuple_GET_ITEM(pair.get(), 1));
    if (PyErr_Occurred()) throw_python_error();
    if (view_delta <= -farthest_offset || view_delta >= farthest_offset)
      raise(PyExc_ValueError, "Plan: a view cannot begin %lld elements from its base.", static_cast<long long>(view_delta));
    return;
  }
  if (std::strcmp(kind_name, "program") == 0)
    kind = program;
  else if (std::strcmp(kind_name, "inplace") == 0)
    kind = inplace;
  else
    raise(PyExc_ValueError, "Plan: the kind is 'program', 'inplace' or 'view', not '%s'.", kind_name);
  if (!nb::isinstance<ProgramObject>(program_handle))
    raise(PyExc_TypeError, "Plan: a plan of the kind '%s' has a Program, not %R.", kind_name, program_handle.ptr());
  program_object = Ref::borrow(program_handle.ptr());
  runs = nb::inst_ptr<ProgramObject>(program_handle);
}

void Plan::set_saves(const std::vector<std::pair<uint64_t, uint64_t>>& masks, nb::handle keeping) {
  if (masks.size() > max_operands)
    raise(PyExc_ValueError, "Plan.set_saves takes a pair of masks for each of at most 8 operands.");
  if (!keeping.is_none()) {
    if (kind != program || !nb::isinstance<ProgramObject>(keeping))
      raise(PyExc_TypeError, "Plan.set_saves: a plan of the kind 'program' may keep values, by a Program, not %R.",
            keeping.ptr());
    const auto* object = nb::inst_ptr<ProgramObject>(keeping);
    if (object->core.outputs.size() < runs->core.outputs.size())
      raise(PyExc_ValueError, "Plan.set_saves: the program that keeps values has fewer results than the plan's own.");
    keeping_object = Ref::borrow(keeping.ptr());
    keeps = object;
  }
  for (size_t i = 0; i < masks.size(); ++i) saves[i] = {masks[i].first, masks[i].second};
  grad_ready = true;
}

PlanEntry* find_plan(const PlanKey& key) {
  ThreadState& ts = thread_state();
  if (!ts.plan_cache) ts.plan_cache = new void*[size_t{1} << table_bits]{};
  void*& slot = ts.plan_cache[key.hash() >> (64 - table_bits)];
  auto* cached = static_cast<PlanEntry*>(slot);
  if (cached && cached->plan && cached->key == key) return cached;
  PlanEntry* found = key.op->plans->find(key);
  if (found) slot = found;
  return found;
}

PlanEntry* PlanTable::find(const PlanKey& key) {
  std::lock_guard lock(mutex_);
  auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : found->second;
}

void PlanTable::put(const PlanKey& key, PyObject* plan_object, Plan* plan) {
  if (size() >= most_plans) drop_all();
  PyObject* old = nullptr;
  {
    std::lock_guard lock(mutex_);
    PlanEntry*& entry = entries_[key];
    if (!entry) entry = new PlanEntry{key, nullptr, nullptr};
    old = std::exchange(entry->plan_object, Py_NewRef(plan_object));
    entry->plan = plan;
  }
  Py_XDECREF(old);
}

void PlanTable::drop_all() {
  std::vector<PyObject*> dropped;
  {
    std::lock_guard lock(mutex_);
    for (auto& [key, entry] : entries_) {
      if (entry->plan_object) dropped.push_back(std::exchange(entry->plan_object, nullptr));
      entry->plan = nullptr;
    }
    entries_.clear();
  }
  for (PyObject* o : dropped) Py_DECREF(o);
}

size_t PlanTable::size() {
  std::lock_guard lock(mutex_);
  return entries_.size();
}

int PlanTable::traverse(visitproc visit, void* arg) {
  for (auto& [key, entry] : entries_) Py_VISIT(entry->plan_object);
  return 0;
}

}  // namespace weft
