// x[key] and x[key] = value where that is a view by integers, slices, None and Ellipsis of a tensor that is neither recorded nor
// on the tape. Everything else is left to the callables of slots.h.
#pragma once

#include "python/tensor.h"

namespace weft {

// The view, or null without an error where the key is to be read by somebody else.
PyObject* simple_view(TensorObject* t, PyObject* key);

// Whether the number or tensor can be copied into a view of this layout as it is: it broadcasts to it, without axes to spare.
bool simple_value(const TensorObject* view, PyObject* value);

}  // namespace weft
