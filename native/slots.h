// Operators of the Tensor type. Each calls what set_slot registered under its Python name: an OpHandle natively, any
// other callable through CPython.
#pragma once

#include <vector>

#include "pyutil.h"

namespace weft {

void append_operator_slots(std::vector<PyType_Slot>& slots);
// None takes the callable away again. Returns a new reference to the one before, or None. Throws ValueError for an
// unknown name, TypeError if it cannot be called.
PyObject* set_slot(const char* name, PyObject* callable);

}  // namespace weft
