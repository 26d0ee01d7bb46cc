// What Python set for the current thread: what it records, and whether gradients are recorded.
#pragma once

#include "python/pyutil.h"

namespace weft {

// Adds the functions and the context managers of this state to the module.
void bind_scopes(nb::module_& m);

}  // namespace weft
