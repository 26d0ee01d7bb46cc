// The life of a Tensor object: allocation, garbage collection, and the type itself.
#include "python/tensor.h"

#include <Python.h>
#include <structmember.h>

#include "base/thread_state.h"
#include "python/interop.h"
#include "python/shortcut.h"
#include "python/slots.h"

namespace weft {

PyTypeObject* tensor_type = nullptr;
Hooks hooks{};

namespace {

#ifndef Py_GIL_DISABLED
constexpr int kept_objects = 128;
TensorObject* free_objects[kept_objects];  // memory of dead tensors of the exact type; guarded by the GIL
int free_object_count = 0;
#endif

void set_fields(TensorObject* t, Storage* storage, const Meta* meta, int64_t offset) {
  t->storage = storage;
  t->meta = meta;
  t->offset = offset;
  t->grad = t->grad_fn = t->base = t->symbol = t->weakrefs = nullptr;
  t->output_nr = 0;
  t->epoch = storage->epoch;
  t->requires_grad = false;
}

void tensor_dealloc(PyObject* self) {
  TensorObject* t = as_tensor(self);
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (t->weakrefs) PyObject_ClearWeakRefs(self);
  // A chain of graph nodes is freed without recursion by the nodes (grad_node.cpp).
  Py_XDECREF(t->grad);
  Py_XDECREF(t->grad_fn);
  Py_XDECREF(t->base);
  Py_XDECREF(t->symbol);
  if (t->storage) release(t->storage);
#ifndef Py_GIL_DISABLED
  if (type == tensor_type && free_object_count < kept_objects) {
    free_objects[free_object_count++] = t;
    Py_DECREF(type);
    return;
  }
#endif
  type->tp_free(self);
  Py_DECREF(type);
}

int tensor_traverse(PyObject* self, visitproc visit, void* arg) {
  const TensorObject* t = as_tensor(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(t->grad);
  Py_VISIT(t->grad_fn);
  Py_VISIT(t->base);
  Py_VISIT(t->symbol);
  // The storage holds one reference to its recorded value; it may be counted once only, so not where it is shared.
  if (t->storage && t->storage->refs.load(std::memory_order_relaxed) == 1)
    Py_VISIT(static_cast<PyObject*>(t->storage->pending));
  return 0;
}

int tensor_clear(PyObject* self) {
  TensorObject* t = as_tensor(self);
  Py_CLEAR(t->grad);
  Py_CLEAR(t->grad_fn);
  Py_CLEAR(t->base);
  Py_CLEAR(t->symbol);
  if (t->storage && t->storage->refs.load(std::memory_order_relaxed) == 1) {
    auto* pending = static_cast<PyObject*>(std::exchange(t->storage->pending, nullptr));
    Py_XDECREF(pending);
  }
  return 0;
}

// Tensor(source): a tensor of this class over the memory of another one. Subclasses may take more arguments in __init__.
PyObject* tensor_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  const bool extra = PyTuple_GET_SIZE(args) > 1 || (kwargs && PyDict_GET_SIZE(kwargs) > 0);
  PyObject* source = PyTuple_GET_SIZE(args) > 0 ? PyTuple_GET_ITEM(args, 0) : nullptr;
  if (!source || !is_tensor(source) || (extra && type == tensor_type)) {
    PyErr_SetString(PyExc_TypeError,
                    "Tensor() takes one tensor, whose memory the result shares; to make a tensor from other data use "
                    "weft.tensor(data).");
    return nullptr;
  }
  PyObject* self = type->tp_alloc(type, 0);
  if (!self) return nullptr;
  const TensorObject* from = as_tensor(source);
  set_fields(as_tensor(self), retain(from->storage), from->meta, from->offset);
  return self;
}

Py_hash_t tensor_hash(PyObject* self) {
  const auto address = reinterpret_cast<uintptr_t>(self);
  return static_cast<Py_hash_t>((address >> 4) | (address << (8 * sizeof(address) - 4)) >> 1);
}

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(TensorObject, weakrefs), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyObject* tensor_data_ptr(PyObject* self, PyObject*) {
  return guarded([&] {
    ensure_real(as_tensor(self), "data_ptr");
    return PyLong_FromVoidPtr(as_tensor(self)->data());
  });
}

PyObject* tensor_is_contiguous(PyObject* self, PyObject*) { return PyBool_FromLong(as_tensor(self)->meta->contiguous); }

template <class F>
PyCFunction method(F* f) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f));
}

PyMethodDef methods[] = {
    {"item", method(tensor_item), METH_FASTCALL,
     R"(The value of a tensor of one element, as a Python number.

Raises:
    ValueError: for any other number of elements.
    TraceError: while a static function is traced.

Example:
    >>> weft.tensor([2.5]).item()
    2.5
)"},
    {"tolist", tensor_tolist, METH_NOARGS, "The elements as nested lists of Python numbers."},
    {"data_ptr", tensor_data_ptr, METH_NOARGS, "The address of the first element."},
    {"is_contiguous", tensor_is_contiguous, METH_NOARGS, "Whether the elements lie row-major without gaps."},
    {"numpy", tensor_numpy, METH_NOARGS, "A NumPy array over the same memory."},
    {"__array__", method(tensor_array), METH_VARARGS | METH_KEYWORDS, "What numpy.asarray calls."},
    {"__dlpack__", method(tensor_dlpack), METH_VARARGS | METH_KEYWORDS, "A DLPack capsule over the same memory."},
    {"__dlpack_device__", tensor_dlpack_device, METH_NOARGS, "(1, 0): the CPU, as DLPack numbers it."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyObject* new_tensor(Storage* storage, const Meta* meta, int64_t offset) noexcept {
  TensorObject* t;
#ifndef Py_GIL_DISABLED
  if (free_object_count) {
    t = free_objects[--free_object_count];
    PyObject_Init(reinterpret_cast<PyObject*>(t), tensor_type);
  } else
#endif
  {
    t = PyObject_GC_New(TensorObject, tensor_type);
    if (!t) {
      release(storage);
      return nullptr;
    }
  }
  set_fields(t, storage, meta, offset);
  return reinterpret_cast<PyObject*>(t);
}

PyObject* new_alias(const TensorObject* t, const Meta* meta, int64_t offset) noexcept {
  PyObject* made = new_tensor(retain(t->storage), meta, offset);
  if (made && t->storage->pending) track(as_tensor(made));
  return made;
}

PyObject* new_view(const TensorObject* t, const Meta* meta, int64_t delta) noexcept {
  int64_t offset;
  if (!__builtin_add_overflow(t->offset, delta, &offset) && meta->fits(offset, t->storage->nbytes))
    return new_alias(t, meta, offset);
  PyErr_SetString(PyExc_ValueError, "strided: the view reaches outside the tensor's memory.");
  return nullptr;
}

TensorObject* expect_tensor(PyObject* o, const char* function, const char* what) {
  if (!is_tensor(o))
    raise(PyExc_TypeError, "%s takes a weft.Tensor as %s, not %.100s.", function, what, Py_TYPE(o)->tp_name);
  return as_tensor(o);
}

void ensure_real(TensorObject* t, const char* what) {
  note_look();
  if (t->plain() && t->storage->data) return;
  if (hooks.realize) {
    const Ref keep = Ref::borrow(reinterpret_cast<PyObject*>(t));
    checked(PyObject_CallOneArg(hooks.realize, keep.get()));
    if (t->storage->data) return;  // though another thread may have begun to record with it since
  }
  if (t->storage->pending || !t->storage->data)
    raise(PyExc_RuntimeError, "%s needs the tensor's values, which have not been computed.", what);
}

void make_tensor_type(PyObject* module) {
  std::vector<PyType_Slot> slots = {
      {Py_tp_dealloc, reinterpret_cast<void*>(tensor_dealloc)},
      {Py_tp_traverse, reinterpret_cast<void*>(tensor_traverse)},
      {Py_tp_clear, reinterpret_cast<void*>(tensor_clear)},
      {Py_tp_new, reinterpret_cast<void*>(tensor_new)},
      {Py_tp_hash, reinterpret_cast<void*>(tensor_hash)},
      {Py_tp_getset, tensor_attributes},
      {Py_tp_members, members},
      {Py_tp_methods, methods},
      {Py_bf_getbuffer, reinterpret_cast<void*>(tensor_getbuffer)},
      {Py_bf_releasebuffer, reinterpret_cast<void*>(tensor_releasebuffer)},
      {Py_tp_doc, const_cast<char*>("An array of elements of one type.")},
  };
  append_operator_slots(slots);
  slots.push_back({0, nullptr});
  PyType_Spec spec = {"weft.Tensor", sizeof(TensorObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots.data()};
  tensor_type = reinterpret_cast<PyTypeObject*>(checked(PyType_FromSpec(&spec)).release());
  if (PyModule_AddObjectRef(module, "Tensor", reinterpret_cast<PyObject*>(tensor_type)) < 0) throw_python_error();
}

}  // namespace weft
