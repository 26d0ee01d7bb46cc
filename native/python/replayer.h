// Replayer: the base class of static functions. It finds the replay of a call by what can be told of the arguments at a glance, and
// asks its subclass, which is Python, about all other calls.
#pragma once

#include "python/pyutil.h"

namespace weft {

// Adds `Replayer`, `Replay` and `unflatten` to the module.
void bind_replays(nb::module_& m);

}  // namespace weft
