// The path of an eager call.
#include "python/op.h"

#include "base/names.h"
#include "base/short_array.h"
#include "base/thread_state.h"
#include "python/grad_node.h"
#include "python/shortcut.h"

namespace weft {
namespace {

PyObject* none_if_null(PyObject* o) { return o ? o : Py_None; }

PyObject* call_slow_path(OpHandleObject* op, PyObject* attrs, PyObject* const* operands, size_t count) {
  if (!hooks.slow_path)
    raise(PyExc_RuntimeError, "%U: there is no plan for these operands and no slow path was set.", op->name);
  const Ref tuple = checked(PyTuple_New(static_cast<Py_ssize_t>(count)));
  for (size_t i = 0; i < count; ++i) PyTuple_SET_ITEM(tuple.get(), static_cast<Py_ssize_t>(i), Py_NewRef(operands[i]));
  PyObject* args[] = {reinterpret_cast<PyObject*>(op), attrs, tuple.get()};
  return PyObject_Vectorcall(hooks.slow_path, args, 3, nullptr);
}

// What the fast path needs to know about a call besides its key.
struct Call {
  PlanKey key;
  bool requires_grad = false;
};

// False: an operand is recorded, or is neither a tensor nor a Python number.
bool read_operands(PyObject* const* operands, size_t count, bool plain_only, Call& call) {
  for (size_t i = 0; i < count; ++i) {
    PyObject* o = operands[i];
    if (is_tensor(o)) {
      const TensorObject* t = as_tensor(o);
      if (plain_only && (!t->plain() || t->behind())) return false;
      call.key.operands[i] = reinterpret_cast<uintptr_t>(t->meta);
      call.requires_grad |= t->requires_grad;
    } else if (PyFloat_CheckExact(o)) {
      call.key.operands[i] = float_tag;
    } else if (PyBool_Check(o)) {
      call.key.operands[i] = bool_tag;
    } else if (PyLong_CheckExact(o)) {
      call.key.operands[i] = int_tag;
    } else {
      return false;
    }
  }
  return true;
}

bool any_requires_grad(PyObject* const* operands, size_t count) {
  for (size_t i = 0; i < count; ++i)
    if (is_tensor(operands[i]) && as_tensor(operands[i])->requires_grad) return true;
  return false;
}

// Whether writing operand 0 may change another operand while it is still being read.
bool overlaps(PyObject* const* operands, size_t count) {
  const TensorObject* target = as_tensor(operands[0]);
  for (size_t i = 1; i < count; ++i) {
    if (!is_tensor(operands[i])) continue;
    const TensorObject* t = as_tensor(operands[i]);
    if (t->storage == target->storage && (t->meta != target->meta || t->offset != target->offset)) return true;
  }
  return false;
}

// Whether a tensor is a view of one that requires grad, of which it may not know.
bool is_part(PyObject* o) {
  PyObject* base = as_tensor(o)->base;
  return base && as_tensor(base)->requires_grad;
}

// Records the call on the tape, if any output can carry a gradient. `outputs` go on with what is kept for it.
void record_node(PyObject* plan_object, const Plan& plan, OpHandleObject* op, PyObject* attrs,
                 PyObject* const* operands, size_t count, PyObject* const* outputs, size_t n_outputs, size_t n_kept) {
  bool floating = false;
  for (size_t i = 0; i < n_outputs; ++i) floating |= is_floating(as_tensor(outputs[i])->meta->dtype);
  if (!floating) return;
  GradNodeObject* node = new_grad_node(reinterpret_cast<PyObject*>(op), attrs == Py_None ? nullptr : attrs, plan_object,
                                       static_cast<uint32_t>(count), static_cast<uint32_t>(n_outputs),
                                       static_cast<uint32_t>(n_kept));
  if (!node) throw_python_error();
  const Ref made = Ref::steal(reinterpret_cast<PyObject*>(node));
  Plan::Saves saves;
  for (size_t i = 0; i < count; ++i)
    if (is_tensor(operands[i]) && as_tensor(operands[i])->requires_grad) {
      saves.inputs |= plan.saves[i].inputs;
      saves.outputs |= plan.saves[i].outputs;
    }
  for (size_t i = 0; i < count; ++i) {
    OperandSlot& slot = node->operands()[i];
    PyObject* o = operands[i];
    const bool tensor = is_tensor(o);
    if (!tensor || (saves.inputs >> i & 1)) save_operand(slot, o);
    if (tensor && as_tensor(o)->requires_grad) set_edge(slot, as_tensor(o));
  }
  for (size_t i = 0; i < n_outputs + n_kept; ++i) {
    TensorObject* t = as_tensor(outputs[i]);
    OutputSlot& slot = node->outputs()[i];
    slot.meta = t->meta;
    if (saves.outputs >> i & 1) save_output(slot, t);
    // An output that is an operand itself keeps its own history.
    if (i < n_outputs && is_floating(t->meta->dtype) && !t->grad_fn && !t->requires_grad) attach(t, node, static_cast<uint32_t>(i));
  }
  PyObject_GC_Track(made.get());
}

// A single output as itself, several as a tuple. Takes over the references.
PyObject* result_of(PyObject** outputs, size_t count) {
  if (count == 1) return outputs[0];
  PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(count));
  for (size_t i = 0; i < count; ++i) {
    if (tuple)
      PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(i), outputs[i]);
    else
      Py_DECREF(outputs[i]);
  }
  return tuple;
}

// Splits operands into the program's tensors and the bits of its scalars, and runs it.
void execute_plan(const ProgramObject& object, PyObject* const* operands, size_t count, TensorObject** tensors,
                  Storage** fresh, PyObject** outputs) {
  const Program& program = object.core;
  int64_t scalars[max_operands];
  size_t n_tensors = 0, n_scalars = 0;
  for (size_t i = 0; i < count; ++i) {
    if (is_tensor(operands[i])) {
      tensors[n_tensors++] = as_tensor(operands[i]);
    } else if (n_scalars < program.scalar_kinds.size()) {
      scalars[n_scalars] = scalar_bits(operands[i], program.scalar_kinds[n_scalars], program.name);
      ++n_scalars;
    } else {
      raise(PyExc_ValueError, "The program %s takes %zu scalars; the operands have more.", program.name,
            program.scalar_kinds.size());
    }
  }
  if (n_tensors != static_cast<size_t>(program.inputs) || n_scalars != program.scalar_kinds.size())
    raise(PyExc_ValueError, "The program %s takes %d tensors and %zu scalars, not %zu and %zu.", program.name,
          program.inputs, program.scalar_kinds.size(), n_tensors, n_scalars);
  execute(object, tensors, scalars, fresh);
  make_outputs(program, tensors, fresh, outputs);
}

PyObject* run_view(const Plan& plan, PyObject* operand) {
  TensorObject* t = as_tensor(operand);
  const int64_t offset = t->offset + plan.view_delta;
  if (!plan.view_meta->fits(offset, t->storage->nbytes))
    raise(PyExc_ValueError, "A view reaches outside the memory of the tensor it is taken of.");
  PyObject* made = new_alias(t, plan.view_meta, offset);
  if (!made) throw_python_error();
  as_tensor(made)->base = Py_NewRef(t->base ? t->base : operand);
  track(as_tensor(made));
  return made;
}

PyObject* run_inplace(const Plan& plan, OpHandleObject* op, PyObject* const* operands, size_t count) {
  TensorObject* tensors[max_operands];
  ShortArray<Storage*, 8> fresh(plan.runs->core.fresh_bytes.size());
  ShortArray<PyObject*, 8> outputs(plan.runs->core.outputs.size());
  const Ref target = Ref::borrow(operands[0]);
  Storage* storage = as_tensor(operands[0])->storage;
  execute_plan(*plan.runs, operands, count, tensors, fresh.get(), outputs.get());
  for (size_t i = 0; i < plan.runs->core.outputs.size(); ++i) Py_DECREF(outputs[i]);
  if (plan.runs->core.writes.empty()) {
    ++storage->version;
    if (op) storage->last_op = op->name_number;
  }
  return Py_NewRef(target.get());
}

PyObject* run_computing(PyObject* plan_object, const Plan& plan, OpHandleObject* op, PyObject* attrs,
                        PyObject* const* operands, size_t count, bool record) {
  const ProgramObject& runs = record && plan.keeps ? *plan.keeps : *plan.runs;
  TensorObject* tensors[max_operands];
  const size_t n_outputs = plan.runs->core.outputs.size(), n_made = runs.core.outputs.size();
  ShortArray<Storage*, 8> fresh(runs.core.fresh_bytes.size());
  ShortArray<PyObject*, 8> outputs(n_made);
  execute_plan(runs, operands, count, tensors, fresh.get(), outputs.get());
  if (record) {
    try {
      record_node(plan_object, plan, op, attrs, operands, count, outputs.get(), n_outputs, n_made - n_outputs);
    } catch (...) {
      for (size_t i = 0; i < n_made; ++i) Py_DECREF(outputs[i]);
      throw;
    }
    for (size_t i = n_outputs; i < n_made; ++i) Py_DECREF(outputs[i]);
  }
  return result_of(outputs.get(), n_outputs);
}

PyObject* run_any(PyObject* plan_object, Plan& plan, OpHandleObject* op, PyObject* attrs, PyObject* const* operands,
                  size_t count, bool record) {
  // The plan may be dropped from the cache while it runs.
  const Ref keep = Ref::borrow(plan_object);
  switch (plan.kind) {
    case Plan::program: return run_computing(plan_object, plan, op, attrs, operands, count, record);
    case Plan::inplace: return run_inplace(plan, op, operands, count);
    case Plan::view: break;
  }
  PyObject* made = run_view(plan, operands[0]);
  if (record) {
    try {
      record_node(plan_object, plan, op, attrs, operands, count, &made, 1, 0);
    } catch (...) {
      Py_DECREF(made);
      throw;
    }
  }
  return made;
}

PyObject* call(OpHandleObject* op, PyObject* attrs, PyObject* const* operands, size_t count, const PlanEntry** known) {
  if (op->n_operands >= 0 && count != static_cast<size_t>(op->n_operands))
    raise(PyExc_TypeError, "%U takes %d operands, not %zu.", op->name, op->n_operands, count);
  const ThreadState& ts = thread_state();
  Call c;
  if (ts.recording || count == 0 || count > max_operands || !read_operands(operands, count, true, c))
    return call_slow_path(op, attrs, operands, count);
  const PlanEntry* entry = known ? *known : nullptr;
  if (!entry || !entry->plan) {  // or a plan that was dropped meanwhile
    c.key.op = op;
    c.key.attrs_id = attrs_id(op, attrs);
    c.key.count = static_cast<uint32_t>(count);
    entry = c.key.attrs_id == UINT32_MAX ? nullptr : find_plan(c.key);
    if (!entry) return call_slow_path(op, attrs, operands, count);
    if (known) *known = entry;
  }
  Plan& plan = *entry->plan;
  bool record = false;
  if (c.requires_grad && ts.grad_enabled) {
    if (plan.kind == Plan::inplace || (plan.differentiable && !plan.grad_ready))
      return call_slow_path(op, attrs, operands, count);
    record = plan.differentiable;
  }
  if (plan.kind == Plan::inplace &&
      (as_tensor(operands[0])->storage->readonly || overlaps(operands, count) || (ts.grad_enabled && is_part(operands[0]))))
    return call_slow_path(op, attrs, operands, count);
  return run_any(entry->plan_object, plan, op, attrs, operands, count, record);
}

}  // namespace

uint32_t attrs_id(OpHandleObject* op, PyObject* attrs) {
  if (attrs == Py_None) return 0;
  PyObject* found = PyDict_GetItemWithError(op->attrs_ids, attrs);
  if (found) return static_cast<uint32_t>(PyLong_AsUnsignedLong(found));
  if (PyErr_Occurred()) {
    PyErr_Clear();
    raise(PyExc_TypeError, "%U: the attributes %R cannot be hashed.", op->name, attrs);
  }
  return UINT32_MAX;
}

PlanKey key_of(OpHandleObject* op, PyObject* attrs, PyObject* tuple) {
  if (!PyTuple_Check(tuple)) raise(PyExc_TypeError, "%U: operands are given as a tuple, not %R.", op->name, tuple);
  const auto count = static_cast<size_t>(PyTuple_GET_SIZE(tuple));
  if (count == 0 || count > max_operands)
    raise(PyExc_ValueError, "%U: a plan is for 1 to 8 operands, not %zu.", op->name, count);
  Call c;
  // Not only plain ones: another thread may have begun to record with a tensor since it was settled, which leaves its data.
  if (!read_operands(reinterpret_cast<PyTupleObject*>(tuple)->ob_item, count, false, c))
    raise(PyExc_TypeError, "%U: a plan is for tensors and Python numbers.", op->name);
  c.key.op = op;
  c.key.attrs_id = attrs_id(op, attrs);
  c.key.count = static_cast<uint32_t>(count);
  return c.key;
}

PyObject* call_op(OpHandleObject* op, PyObject* attrs, PyObject* const* operands, size_t count,
                  const PlanEntry** known) noexcept {
  ThreadState& ts = thread_state();
  auto* watch = static_cast<CallWatch*>(ts.call_watch);
  if (!watch) [[likely]]
    return guarded([&] { return call(op, attrs, operands, count, known); });
  ts.call_watch = nullptr;  // what the call itself does is nobody's business
  PyObject* result = guarded([&] { return call(op, attrs, operands, count, known); });
  ts.call_watch = watch;
  if (result) watch->note(op, attrs, operands, count, result);
  return result;
}

nb::object run_plan_from_python(nb::handle plan_handle, nb::handle operands) {
  Plan& plan = *nb::inst_ptr<Plan>(plan_handle);
  const Ref tuple = checked(PySequence_Tuple(operands.ptr()));
  PyObject* const* items = reinterpret_cast<PyTupleObject*>(tuple.get())->ob_item;
  const auto count = static_cast<size_t>(PyTuple_GET_SIZE(tuple.get()));
  if (count == 0 || count > max_operands)
    raise(PyExc_ValueError, "Plan.run takes 1 to 8 operands, not %zu.", count);
  auto* op = reinterpret_cast<OpHandleObject*>(plan.op.get());
  const char* name = op ? name_of(op->name_number) : plan.runs ? plan.runs->core.name : "Plan.run";
  if (plan.kind != Plan::program) expect_tensor(items[0], name, "first operand");
  if (plan.kind == Plan::inplace && overlaps(items, count))
    raise(PyExc_RuntimeError, "%s: an operand overlaps the tensor that is changed in place.", name);
  bool record = false;
  if (plan.differentiable && plan.kind != Plan::inplace && thread_state().grad_enabled &&
      any_requires_grad(items, count)) {
    if (!op || !plan.grad_ready)
      raise(PyExc_RuntimeError, "%s: the plan was not told what to save for its gradient.", name);
    record = true;
  }
  PyObject* attrs = none_if_null(plan.attrs.get());
  return nb::steal(run_any(plan_handle.ptr(), plan, op, attrs, items, count, record));
}

}  // namespace weft
