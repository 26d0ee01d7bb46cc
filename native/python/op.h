// OpHandle: the callable behind one operation, and the path of an eager call: key, plan, kernel, result, and the
// autograd node if one is needed. Whatever the fast path does not take goes to the callable of set_slow_path.
#pragma once

#include "python/plan.h"

namespace weft {

struct OpHandleObject {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  PyObject* name;
  PyObject* payload;
  PyObject* attrs_ids;  // dict: attributes -> number, from 1; None is 0
  PyObject* weakrefs;
  PlanTable* plans;
  long flags;
  int n_operands;       // -1: any number
  uint32_t name_number;
  uint32_t next_attrs_id;
};

extern PyTypeObject* op_handle_type;

inline bool is_op_handle(PyObject* o) { return Py_TYPE(o) == op_handle_type; }
inline OpHandleObject* as_op(PyObject* o) { return reinterpret_cast<OpHandleObject*>(o); }

// Calls the operation; attrs is borrowed, Py_None for none. Null with an error set on failure.
// `known`, if given, is where the caller keeps the plan that the last such call found, or null: it may be given for calls of one
// operation with the same attributes, of operands of the same layouts and classes.
PyObject* call_op(OpHandleObject* op, PyObject* attrs, PyObject* const* operands, size_t count,
                  const PlanEntry** known = nullptr) noexcept;

// Plan.run(operands): runs a plan on operands that have the layouts it was made for, recording a GradNode as an eager
// call would. Throws.
nb::object run_plan_from_python(nb::handle plan, nb::handle operands);

// The number of these attributes; 0 for None, UINT32_MAX if they are new. Throws TypeError if they cannot be hashed.
uint32_t attrs_id(OpHandleObject* op, PyObject* attrs);
// The key of a call with this tuple of operands. Throws if the fast path does not take them.
PlanKey key_of(OpHandleObject* op, PyObject* attrs, PyObject* operands);

void make_op_handle_type(PyObject* module);

}  // namespace weft
