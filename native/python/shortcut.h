// Shortcut: a public function that remembers which one operation its calls come down to. The Python function behind it sorts
// out arguments (axes, shapes, types) and calls an operation; for tensors of the same layouts and equal other arguments it calls
// the same one with the same attributes, and from the second time on that is called at once.
#pragma once

#include "python/op.h"

namespace weft {

// Watches what a function does, while it runs for the first time. The thread's innermost one is ThreadState::call_watch.
struct CallWatch {
  CallWatch* outer = nullptr;
  int calls = 0;         // of operations; more than one is as good as many
  bool looked = false;   // at something that is not in the key, or changed it: a tensor's values, its place on the tape
  Ref op, attrs, result;
  Ref operands[max_operands];
  size_t count = 0;

  // A call of an operation that succeeded.
  void note(OpHandleObject* called, PyObject* called_attrs, PyObject* const* given, size_t given_count, PyObject* made);
};

// To be called by whatever lets Python see more of a tensor than its layout.
void note_look() noexcept;

void make_shortcut_type(PyObject* module);

}  // namespace weft
