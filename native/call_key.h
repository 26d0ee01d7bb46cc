// What a static function asks about the tensors of a call before it replays a trace.
#pragma once

#include "pyutil.h"

namespace weft {

// Adds `call_key` and `share_memory` to the module.
void bind_call_key(nb::module_& m);

}  // namespace weft
