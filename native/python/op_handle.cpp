// The OpHandle type: OpHandle(name, n_operands, flags), called as handle(attrs, *operands).
#include <Python.h>
#include <structmember.h>

#include "base/names.h"
#include "python/op.h"

namespace weft {

PyTypeObject* op_handle_type = nullptr;

namespace {

constexpr Py_ssize_t most_attrs = 16384;

PyObject* vectorcall(PyObject* self, PyObject* const* args, size_t flagged_count, PyObject* keywords) {
  const Py_ssize_t count = PyVectorcall_NARGS(flagged_count);
  if (count < 1 || (keywords && PyTuple_GET_SIZE(keywords) > 0)) {
    PyErr_Format(PyExc_TypeError, "%U is called as handle(attrs, *operands), without keywords.", as_op(self)->name);
    return nullptr;
  }
  return call_op(as_op(self), args[0], args + 1, static_cast<size_t>(count - 1));
}

PyObject* make(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"name", "n_operands", "flags", nullptr};
  PyObject* name;
  int n_operands = -1;
  long flags = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "U|il:OpHandle", const_cast<char**>(names), &name, &n_operands,
                                   &flags))
    return nullptr;
  return guarded([&] {
    const char* utf8 = PyUnicode_AsUTF8(name);
    if (!utf8) throw_python_error();
    const uint32_t number = name_id(utf8);
    Ref ids = checked(PyDict_New());
    PyObject* self = checked(type->tp_alloc(type, 0)).release();
    OpHandleObject* op = as_op(self);
    op->vectorcall = vectorcall;
    op->name = Py_NewRef(name);
    op->attrs_ids = ids.release();
    op->plans = new PlanTable;
    op->flags = flags;
    op->n_operands = n_operands;
    op->name_number = number;
    op->next_attrs_id = 1;
    return self;
  });
}

int clear(PyObject* self) {
  OpHandleObject* op = as_op(self);
  if (op->plans) op->plans->drop_all();
  Py_CLEAR(op->payload);
  return 0;
}

void dealloc(PyObject* self) {
  OpHandleObject* op = as_op(self);
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (op->weakrefs) PyObject_ClearWeakRefs(self);
  clear(self);
  delete op->plans;
  Py_XDECREF(op->attrs_ids);
  Py_XDECREF(op->name);
  type->tp_free(self);
  Py_DECREF(type);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  const OpHandleObject* op = as_op(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(op->payload);
  Py_VISIT(op->attrs_ids);
  return op->plans ? op->plans->traverse(visit, arg) : 0;
}

PyObject* repr(PyObject* self) { return PyUnicode_FromFormat("<OpHandle %U>", as_op(self)->name); }

PyObject* add_plan(PyObject* self, PyObject* args) {
  OpHandleObject* op = as_op(self);
  PyObject *attrs, *operands, *plan_object;
  if (!PyArg_ParseTuple(args, "OOO:add_plan", &attrs, &operands, &plan_object)) return nullptr;
  return guarded([&] {
    if (!nb::isinstance<Plan>(nb::handle(plan_object)))
      raise(PyExc_TypeError, "%U: add_plan takes a Plan, not %R.", op->name, plan_object);
    Plan* plan = nb::inst_ptr<Plan>(nb::handle(plan_object));
    PlanKey key = key_of(op, attrs, operands);
    if (plan->kind != Plan::program && key.operands[0] <= float_tag)
      raise(PyExc_ValueError, "%U: a plan that is in place or a view has a tensor as its first operand.", op->name);
    if (key.attrs_id == UINT32_MAX) {
      // An operation called with ever new attributes (positions, say) starts over rather than grow for ever.
      if (PyDict_GET_SIZE(op->attrs_ids) >= most_attrs) {
        PyDict_Clear(op->attrs_ids);
        op->plans->drop_all();
      }
      key.attrs_id = op->next_attrs_id++;
      const Ref number = checked(PyLong_FromUnsignedLong(key.attrs_id));
      if (PyDict_SetItem(op->attrs_ids, attrs, number.get()) < 0) throw_python_error();
    }
    plan->op = Ref::borrow(self);
    plan->attrs = Ref::borrow(attrs);
    op->plans->put(key, plan_object, plan);
    return Py_NewRef(Py_None);
  });
}

PyObject* find_plan_method(PyObject* self, PyObject* args) {
  OpHandleObject* op = as_op(self);
  PyObject *attrs, *operands;
  if (!PyArg_ParseTuple(args, "OO:find_plan", &attrs, &operands)) return nullptr;
  return guarded([&] {
    const PlanKey key = key_of(op, attrs, operands);
    const PlanEntry* entry = key.attrs_id == UINT32_MAX ? nullptr : op->plans->find(key);
    return Py_NewRef(entry ? entry->plan_object : Py_None);
  });
}

PyObject* clear_plans(PyObject* self, PyObject*) {
  as_op(self)->plans->drop_all();
  Py_RETURN_NONE;
}

PyObject* get_plan_count(PyObject* self, void*) { return PyLong_FromSize_t(as_op(self)->plans->size()); }

PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(OpHandleObject, vectorcall), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(OpHandleObject, weakrefs), READONLY, nullptr},
    {"name", T_OBJECT, offsetof(OpHandleObject, name), READONLY, "The operation's name."},
    {"payload", T_OBJECT, offsetof(OpHandleObject, payload), 0, "Any object kept with the handle."},
    {"n_operands", T_INT, offsetof(OpHandleObject, n_operands), READONLY, "The number of operands; -1 for any."},
    {"flags", T_LONG, offsetof(OpHandleObject, flags), READONLY, "The flags it was made with."},
    {nullptr, 0, 0, 0, nullptr},
};

PyGetSetDef attributes[] = {
    {"plan_count", get_plan_count, nullptr, "The number of plans.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMethodDef methods[] = {
    {"add_plan", add_plan, METH_VARARGS, "add_plan(attrs, operands, plan): use the plan for operands like these."},
    {"find_plan", find_plan_method, METH_VARARGS, "find_plan(attrs, operands): the plan for operands like these, or None."},
    {"clear_plans", clear_plans, METH_NOARGS, "Drops all plans."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

void make_op_handle_type(PyObject* module) {
  PyType_Slot slots[] = {
      {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
      {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
      {Py_tp_clear, reinterpret_cast<void*>(clear)},
      {Py_tp_new, reinterpret_cast<void*>(make)},
      {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
      {Py_tp_repr, reinterpret_cast<void*>(repr)},
      {Py_tp_members, members},
      {Py_tp_getset, attributes},
      {Py_tp_methods, methods},
      {Py_tp_doc, const_cast<char*>("The callable behind one operation.")},
      {0, nullptr},
  };
  PyType_Spec spec = {"weft._native.OpHandle", sizeof(OpHandleObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL, slots};
  op_handle_type = reinterpret_cast<PyTypeObject*>(checked(PyType_FromSpec(&spec)).release());
  if (PyModule_AddObjectRef(module, "OpHandle", reinterpret_cast<PyObject*>(op_handle_type)) < 0) throw_python_error();
}

}  // namespace weft
