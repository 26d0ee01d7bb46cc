// Operators of the Tensor type. Each calls what set_slot registered under its Python name: an OpHandle natively, any
// other callable through CPython.
#pragma once

#include <vector>

#include "python/pyutil.h"

namespace weft {

void append_operator_slots(std::vector<PyType_Slot>& slots);
// None takes the callable away again. Returns a new reference to the one before, or None. Throws ValueError for an
// unknown name, TypeError if it cannot be called.
PyObject* set_slot(const char* name, PyObject* callable);
// The OpHandle that `@` calls, before the callable of its slot is asked, where both operands are tensors of two axes or more.
// None takes it away again. Returns a new reference to the one before, or None. Throws TypeError for anything else.
PyObject* set_matrix_product(PyObject* handle);
// The OpHandle that copies its second operand into its first, in place. Where it is set, simple views, and assignments to them,
// are made before the callables of their slots are asked. As above.
PyObject* set_copying(PyObject* handle);
// Tensor.item.
PyObject* tensor_item(PyObject* self, PyObject* const* args, Py_ssize_t count);

}  // namespace weft
