// The attributes of a GradNode that are computed when read. Saved values are stored flat and shown as tuples.
#pragma once

#include "python/pyutil.h"

namespace weft {

extern PyGetSetDef grad_node_attributes[];
PyObject* grad_node_stale(PyObject* self, PyObject*);
PyObject* grad_node_repr(PyObject* self);

}  // namespace weft
