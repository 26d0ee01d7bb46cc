// Letting go of the GIL for a while.
#pragma once

#include <cstdint>

#include "base/pool.h"
#include "python/pyutil.h"

namespace weft {

// The GIL is released from construction to destruction, which a thread does not survive while the interpreter shuts down:
// see unwind.cpp.
class ReleasedGil {
 public:
  ReleasedGil();
  ReleasedGil(const ReleasedGil&) = delete;
  ReleasedGil& operator=(const ReleasedGil&) = delete;
  ~ReleasedGil() { PyEval_RestoreThread(state_); }

  // For long runs on the main thread: runs Python's signal handlers every 50 ms, and asks to stop once one has raised
  // (its exception is then set). Null on other threads, where Python handles no signals.
  const Poll* poll() const { return poll_.ask ? &poll_ : nullptr; }

 private:
  static bool ask(void* self);
  PyThreadState* state_;
  int64_t next_;
  Poll poll_;
};

// Called once, when the module is imported.
void remember_main_thread();

}  // namespace weft
