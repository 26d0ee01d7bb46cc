// See call_key.h.
#include "call_key.h"

#include "tensor.h"
#include "thread_state.h"

namespace weft {
namespace {

constexpr Py_ssize_t most = 32;  // comparing each tensor with each stays cheap

// Bytes that are equal for calls of equal signature: the arguments' layouts, whether each requires a gradient, and whether
// gradients are recorded. None for a call that needs a closer look: while recording, or with an argument that is not a
// tensor, waits for its value, or shares its memory with another.
nb::object call_key(nb::handle args) {
  const ThreadState& ts = thread_state();
  if (ts.recording || !PyTuple_Check(args.ptr())) return nb::none();
  const Py_ssize_t count = PyTuple_GET_SIZE(args.ptr());
  if (count > most) return nb::none();
  uintptr_t words[most + 1];
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* o = PyTuple_GET_ITEM(args.ptr(), i);
    if (!is_tensor(o)) return nb::none();
    const TensorObject* t = as_tensor(o);
    if (!t->plain()) return nb::none();
    for (Py_ssize_t j = 0; j < i; ++j)
      if (as_tensor(PyTuple_GET_ITEM(args.ptr(), j))->storage == t->storage) return nb::none();
    words[i] = reinterpret_cast<uintptr_t>(t->meta) | static_cast<uintptr_t>(t->requires_grad);
  }
  words[count] = ts.grad_enabled;
  const auto bytes = static_cast<Py_ssize_t>(sizeof words[0]) * (count + 1);
  return nb::steal(checked(PyBytes_FromStringAndSize(reinterpret_cast<const char*>(words), bytes)).release());
}

// Whether two of the tensors in a list use the same memory.
bool share_memory(nb::handle tensors) {
  const Ref items = checked(PySequence_Tuple(tensors.ptr()));
  const Py_ssize_t count = PyTuple_GET_SIZE(items.get());
  for (Py_ssize_t i = 0; i < count; ++i) {
    const Storage* storage = expect_tensor(PyTuple_GET_ITEM(items.get(), i), "share_memory", "element")->storage;
    for (Py_ssize_t j = 0; j < i; ++j)
      if (as_tensor(PyTuple_GET_ITEM(items.get(), j))->storage == storage) return true;
  }
  return false;
}

}  // namespace

void bind_call_key(nb::module_& m) {
  m.def("call_key", call_key, nb::arg("args"));
  m.def("share_memory", share_memory, nb::arg("tensors"));
}

}  // namespace weft
