// Nested tuples, lists and dicts, made again from their structure (modes/tree.py) and the values inside.
#pragma once

#include "python/pyutil.h"

namespace weft {

// The containers with the values in their places, left to right. A new reference. Throws TypeError for what is no structure, and
// ValueError where there are more or fewer places than values.
PyObject* unflatten(PyObject* structure, const Ref* values, size_t count);

}  // namespace weft
