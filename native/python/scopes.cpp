// The state itself, and context managers that change it for the length of a `with` block. They are native so that Ctrl-C
// cannot leave it changed: CPython runs signal handlers after a call returns and when a Python function begins, that is
// also before the first line of an `__exit__` written in Python, and never inside a call that is native.
#include "python/scopes.h"

#include <vector>

#include "base/thread_state.h"
#include "python/shortcut.h"

namespace weft {
namespace {

using Stack = std::vector<PyObject*>;  // owned references; None masks what is below

void recording_push(nb::handle recording) {
  ThreadState& ts = thread_state();
  if (!ts.recording_stack) ts.recording_stack = new Stack;
  static_cast<Stack*>(ts.recording_stack)->push_back(Py_NewRef(recording.ptr()));
  ts.recording = recording.is_none() ? nullptr : recording.ptr();
}

nb::object recording_pop() {
  ThreadState& ts = thread_state();
  auto* stack = static_cast<Stack*>(ts.recording_stack);
  if (!stack) raise(PyExc_RuntimeError, "recording_pop: nothing is being recorded in this thread.");
  PyObject* top = stack->back();
  stack->pop_back();
  PyObject* below = stack->empty() ? Py_None : stack->back();
  ts.recording = below == Py_None ? nullptr : below;
  if (stack->empty()) {
    delete stack;
    ts.recording_stack = nullptr;
  }
  return nb::steal(top);
}

nb::object recording() {
  auto* top = static_cast<PyObject*>(thread_state().recording);
  return nb::borrow(top ? top : Py_None);
}

// Makes a recorder the active one; None makes ops run although something is being recorded.
class RecordingScope {
 public:
  explicit RecordingScope(nb::handle recorder) : recorder_(nb::borrow(recorder)) {}
  void begin(nb::handle recorder) {
    recording_push(recorder);
    ++depth_;
  }
  void end() {
    if (depth_ == 0) return;
    --depth_;
    recording_pop();
  }
  nb::object enter() {
    begin(recorder_);
    return recorder_;
  }

 private:
  nb::object recorder_;
  int depth_ = 0;
};

// Sets whether gradients are recorded.
class GradScope {
 public:
  explicit GradScope(bool enabled) : enabled_(enabled) {}
  void enter() {
    note_look();
    before_.push_back(thread_state().grad_enabled);
    thread_state().grad_enabled = enabled_;
  }
  void exit() {
    if (before_.empty()) return;
    thread_state().grad_enabled = before_.back();
    before_.pop_back();
  }

 private:
  bool enabled_;
  std::vector<bool> before_;
};

}  // namespace

void bind_scopes(nb::module_& m) {
  m.def("recording_push", recording_push, nb::arg("recording").none());
  m.def("recording_pop", recording_pop);
  m.def("recording", recording);
  m.def("grad_enabled", [] {
    note_look();
    return thread_state().grad_enabled;
  });
  m.def("set_grad_enabled", [](bool on) { thread_state().grad_enabled = on; }, nb::arg("enabled"));
  nb::class_<RecordingScope>(m, "RecordingScope", "Makes a recorder the active one for a with block; None: none is.")
      .def(nb::init<nb::handle>(), nb::arg("recorder").none())
      .def("begin", &RecordingScope::begin, nb::arg("recorder").none(), "As __enter__, with another recorder.")
      .def("end", &RecordingScope::end, "As __exit__; nothing where nothing was begun.")
      .def("__enter__", &RecordingScope::enter)
      .def("__exit__", [](RecordingScope& scope, nb::args) { scope.end(); });
  nb::class_<GradScope>(m, "GradScope", "Sets whether gradients are recorded, for a with block.")
      .def(nb::init<bool>(), nb::arg("enabled"))
      .def("__enter__", &GradScope::enter)
      .def("__exit__", [](GradScope& scope, nb::args) { scope.exit(); });
}

}  // namespace weft
