// The attributes of a Tensor, and reading its elements as Python numbers.
#include <algorithm>
#include <cstring>

#include "base/names.h"
#include "base/thread_state.h"
#include "python/shortcut.h"
#include "python/tensor.h"

namespace weft {
namespace {

PyObject* get_shape(PyObject* self, void*) { return shape_tuple(as_tensor(self)->meta); }
PyObject* get_strides(PyObject* self, void*) { return strides_tuple(as_tensor(self)->meta); }
PyObject* get_dtype(PyObject* self, void*) { return Py_NewRef(dtype_object(as_tensor(self)->meta->dtype)); }
PyObject* get_ndim(PyObject* self, void*) { return PyLong_FromLong(as_tensor(self)->meta->ndim); }
PyObject* get_size(PyObject* self, void*) { return PyLong_FromLongLong(as_tensor(self)->meta->numel); }
PyObject* get_itemsize(PyObject* self, void*) { return PyLong_FromLongLong(as_tensor(self)->meta->itemsize()); }
PyObject* get_nbytes(PyObject* self, void*) { return PyLong_FromLongLong(as_tensor(self)->meta->nbytes()); }
PyObject* get_offset(PyObject* self, void*) { return PyLong_FromLongLong(as_tensor(self)->offset); }
PyObject* get_layout(PyObject* self, void*) { return layout_tuple(as_tensor(self)->meta); }
PyObject* get_device(PyObject*, void*) { return PyUnicode_InternFromString("cpu"); }
PyObject* get_version(PyObject* self, void*) { return PyLong_FromUnsignedLong(as_tensor(self)->storage->version); }
PyObject* get_last_op(PyObject* self, void*) {
  return PyUnicode_FromString(name_of(as_tensor(self)->storage->last_op));
}
PyObject* get_storage_id(PyObject* self, void*) { return PyLong_FromVoidPtr(as_tensor(self)->storage); }
PyObject* get_meta_id(PyObject* self, void*) { return PyLong_FromVoidPtr(const_cast<Meta*>(as_tensor(self)->meta)); }
PyObject* get_epoch(PyObject* self, void*) { return PyLong_FromUnsignedLong(as_tensor(self)->epoch); }
PyObject* get_storage_epoch(PyObject* self, void*) {
  return PyLong_FromUnsignedLong(as_tensor(self)->storage->epoch);
}
PyObject* get_storage_refs(PyObject* self, void*) {
  return PyLong_FromLongLong(as_tensor(self)->storage->refs.load(std::memory_order_relaxed));
}
PyObject* get_storage_nbytes(PyObject* self, void*) { return PyLong_FromSize_t(as_tensor(self)->storage->nbytes); }
PyObject* get_exported(PyObject* self, void*) { return PyBool_FromLong(as_tensor(self)->storage->exported); }
PyObject* get_readonly(PyObject* self, void*) { return PyBool_FromLong(as_tensor(self)->storage->readonly); }
PyObject* get_is_leaf(PyObject* self, void*) { return PyBool_FromLong(as_tensor(self)->grad_fn == nullptr); }
PyObject* get_output_nr(PyObject* self, void*) { return PyLong_FromUnsignedLong(as_tensor(self)->output_nr); }

int cannot_delete(const char* name) {
  PyErr_Format(PyExc_AttributeError, "The attribute %s of a tensor cannot be deleted; assign None to it.", name);
  return -1;
}

PyObject* or_none(PyObject* o) { return Py_NewRef(o ? o : Py_None); }

// Stores a reference (None as null) and tracks the tensor if there is one.
void assign(TensorObject* t, PyObject*& field, PyObject* value) {
  PyObject* old = std::exchange(field, value == Py_None ? nullptr : Py_NewRef(value));
  if (field) track(t);
  Py_XDECREF(old);
}

PyObject* get_requires_grad(PyObject* self, void*) { return PyBool_FromLong(as_tensor(self)->requires_grad); }

int set_requires_grad(PyObject* self, PyObject* value, void*) {
  TensorObject* t = as_tensor(self);
  note_look();
  if (!value) return cannot_delete("requires_grad");
  if (!PyBool_Check(value)) {
    PyErr_Format(PyExc_TypeError, "requires_grad must be True or False, not %R.", value);
    return -1;
  }
  const bool on = value == Py_True;
  if (on && !is_floating(t->meta->dtype)) {
    PyErr_Format(PyExc_RuntimeError, "Only floating-point tensors can require gradients; this one is %s.",
                 dtype_name(t->meta->dtype));
    return -1;
  }
  if (!on && t->grad_fn) {
    PyErr_SetString(PyExc_RuntimeError,
                    "requires_grad can be switched off for leaf tensors only; this one is the result of an operation. "
                    "Use x.detach() for a tensor without gradient.");
    return -1;
  }
  t->requires_grad = on;
  return 0;
}

PyObject* get_raw_grad(PyObject* self, void*) { return or_none(as_tensor(self)->grad); }

int set_raw_grad(PyObject* self, PyObject* value, void*) {
  return value ? set_gradient(self, value) : cannot_delete("grad");
}

PyObject* get_grad(PyObject* self, void*) {
  if (thread_state().recording && hooks.grad_get) return PyObject_CallOneArg(hooks.grad_get, self);
  return get_raw_grad(self, nullptr);
}

// False with an error set: not None, nor a tensor of the same shape.
bool may_be_gradient(const TensorObject* t, PyObject* value) {
  if (value == Py_None) return true;
  if (!is_tensor(value)) {
    PyErr_Format(PyExc_TypeError, "A gradient is a weft.Tensor or None, not %.100s.", Py_TYPE(value)->tp_name);
    return false;
  }
  const Meta* m = as_tensor(value)->meta;
  if (std::ranges::equal(m->shape(), t->meta->shape())) return true;
  const Ref mine = Ref::steal(shape_tuple(t->meta)), its = Ref::steal(shape_tuple(m));
  if (mine && its)
    PyErr_Format(PyExc_ValueError, "The gradient of a tensor of shape %R cannot have shape %R.", mine.get(), its.get());
  return false;
}

int set_grad(PyObject* self, PyObject* value, void*) {
  if (!value) return cannot_delete("grad");
  if (!may_be_gradient(as_tensor(self), value)) return -1;
  if (thread_state().recording && hooks.grad_set) {
    const Ref result = Ref::steal(PyObject_CallFunctionObjArgs(hooks.grad_set, self, value, nullptr));
    return result ? 0 : -1;
  }
  return set_raw_grad(self, value, nullptr);
}

PyObject* get_grad_fn(PyObject* self, void*) { return or_none(as_tensor(self)->grad_fn); }

int set_grad_fn(PyObject* self, PyObject* value, void*) {
  TensorObject* t = as_tensor(self);
  if (!value) return cannot_delete("grad_fn");
  if (value != Py_None) {
    if (!is_floating(t->meta->dtype)) {
      PyErr_Format(PyExc_RuntimeError, "Only floating-point tensors can require gradients; this one is %s.",
                   dtype_name(t->meta->dtype));
      return -1;
    }
    t->requires_grad = true;
  }
  assign(t, t->grad_fn, value);
  return 0;
}

int set_output_nr(PyObject* self, PyObject* value, void*) {
  if (!value) return cannot_delete("output_nr");
  const unsigned long n = PyLong_AsUnsignedLong(value);
  if (PyErr_Occurred()) return -1;
  as_tensor(self)->output_nr = static_cast<uint32_t>(n);
  return 0;
}

int set_counter(uint32_t& field, PyObject* value, const char* name) {
  if (!value) return cannot_delete(name);
  const unsigned long n = PyLong_AsUnsignedLong(value);
  if (PyErr_Occurred()) return -1;
  field = static_cast<uint32_t>(n);
  return 0;
}

int set_epoch(PyObject* self, PyObject* value, void*) { return set_counter(as_tensor(self)->epoch, value, "_epoch"); }

int set_storage_epoch(PyObject* self, PyObject* value, void*) {
  return set_counter(as_tensor(self)->storage->epoch, value, "_storage_epoch");
}

PyObject* get_base(PyObject* self, void*) { return or_none(as_tensor(self)->base); }

int set_base(PyObject* self, PyObject* value, void*) {
  if (!value) return cannot_delete("base");
  if (value != Py_None && !is_tensor(value)) {
    PyErr_Format(PyExc_TypeError, "The base of a view is a weft.Tensor or None, not %.100s.", Py_TYPE(value)->tp_name);
    return -1;
  }
  assign(as_tensor(self), as_tensor(self)->base, value);
  return 0;
}

PyObject* get_symbol(PyObject* self, void*) { return or_none(as_tensor(self)->symbol); }

int set_symbol(PyObject* self, PyObject* value, void*) {
  if (!value) return cannot_delete("symbol");
  assign(as_tensor(self), as_tensor(self)->symbol, value);
  return 0;
}

PyObject* get_pending(PyObject* self, void*) {
  return or_none(static_cast<PyObject*>(as_tensor(self)->storage->pending));
}

int set_pending(PyObject* self, PyObject* value, void*) {
  if (!value) return cannot_delete("_pending");
  TensorObject* t = as_tensor(self);
  auto* old = static_cast<PyObject*>(t->storage->pending);
  t->storage->pending = value == Py_None ? nullptr : Py_NewRef(value);
  if (t->storage->pending) track(t);
  Py_XDECREF(old);
  return 0;
}

template <class T>
T load(const char* address) {
  T value;
  std::memcpy(&value, address, sizeof value);
  return value;
}

PyObject* nested_list(const TensorObject* t, int axis, const char* address) {
  if (axis == t->meta->ndim) return item_at(t, address);
  const int64_t n = t->meta->shape()[static_cast<size_t>(axis)];
  const int64_t step = t->meta->strides()[static_cast<size_t>(axis)] * t->meta->itemsize();
  Ref list = Ref::steal(PyList_New(n));
  if (!list) return nullptr;
  for (int64_t i = 0; i < n; ++i) {
    PyObject* element = nested_list(t, axis + 1, address + i * step);
    if (!element) return nullptr;
    PyList_SET_ITEM(list.get(), i, element);
  }
  return list.release();
}

// An attribute that is more than the layout: what Python does with it, a shortcut cannot know.
template <getter get>
PyObject* looked(PyObject* self, void* closure) {
  note_look();
  return get(self, closure);
}

}  // namespace

int set_gradient(PyObject* self, PyObject* value) noexcept {
  if (!may_be_gradient(as_tensor(self), value)) return -1;
  assign(as_tensor(self), as_tensor(self)->grad, value);
  return 0;
}

PyObject* item_at(const TensorObject* t, const char* a) {
  switch (t->meta->dtype) {
    case DType::bool_: return PyBool_FromLong(*a != 0);
    case DType::int8: return PyLong_FromLong(load<int8_t>(a));
    case DType::int16: return PyLong_FromLong(load<int16_t>(a));
    case DType::int32: return PyLong_FromLong(load<int32_t>(a));
    case DType::int64: return PyLong_FromLongLong(load<int64_t>(a));
    case DType::uint8: return PyLong_FromLong(load<uint8_t>(a));
    case DType::uint16: return PyLong_FromLong(load<uint16_t>(a));
    case DType::uint32: return PyLong_FromUnsignedLong(load<uint32_t>(a));
    case DType::uint64: return PyLong_FromUnsignedLongLong(load<uint64_t>(a));
    case DType::float16: return PyFloat_FromDouble(half_to_float(load<uint16_t>(a)));
    case DType::bfloat16: return PyFloat_FromDouble(bfloat16_to_float(load<uint16_t>(a)));
    case DType::float32: return PyFloat_FromDouble(load<float>(a));
    case DType::float64: return PyFloat_FromDouble(load<double>(a));
  }
  Py_UNREACHABLE();
}

PyObject* only_element(TensorObject* t) {
  if (t->meta->numel != 1)
    raise(PyExc_ValueError, "The tensor has %lld elements, not one.", static_cast<long long>(t->meta->numel));
  ensure_real(t, "A number");
  return item_at(t, t->data());
}

PyObject* tensor_tolist(PyObject* self, PyObject*) {
  return guarded([&] {
    ensure_real(as_tensor(self), "tolist()");
    return nested_list(as_tensor(self), 0, as_tensor(self)->data());
  });
}

PyGetSetDef tensor_attributes[] = {
    {"shape", get_shape, nullptr, "The size of each axis.", nullptr},
    {"strides", get_strides, nullptr, "The step along each axis, in elements.", nullptr},
    {"dtype", get_dtype, nullptr, "The element type.", nullptr},
    {"ndim", get_ndim, nullptr, "The number of axes.", nullptr},
    {"size", get_size, nullptr, "The number of elements.", nullptr},
    {"itemsize", get_itemsize, nullptr, "Bytes per element.", nullptr},
    {"nbytes", get_nbytes, nullptr, "Bytes of all elements.", nullptr},
    {"offset", looked<get_offset>, nullptr, "The first element's position in the storage, in elements.", nullptr},
    {"device", get_device, nullptr, "Where the elements are.", nullptr},
    {"requires_grad", looked<get_requires_grad>, set_requires_grad, "Whether operations on this tensor are differentiated.",
     nullptr},
    {"grad", looked<get_grad>, set_grad, "The gradient that backward() accumulated, or None.", nullptr},
    {"grad_fn", looked<get_grad_fn>, set_grad_fn, "The node of the operation that made this tensor, or None.", nullptr},
    {"output_nr", looked<get_output_nr>, set_output_nr, "Which output of grad_fn this tensor is.", nullptr},
    {"is_leaf", looked<get_is_leaf>, nullptr, "Whether this tensor was made by the user rather than by an operation.", nullptr},
    {"base", looked<get_base>, set_base, "The tensor this one is a view of, or None.", nullptr},
    {"symbol", looked<get_symbol>, set_symbol, "What a recording mode knows this tensor as, or None.", nullptr},
    {"_version", looked<get_version>, nullptr, "How often the storage was changed in place.", nullptr},
    {"_last_op", looked<get_last_op>, nullptr, "The operation that last changed the storage in place.", nullptr},
    {"_grad", looked<get_raw_grad>, set_raw_grad, "The gradient field itself, also while recording.", nullptr},
    {"_pending", looked<get_pending>, set_pending, "The recorded value that the storage waits for, or None.", nullptr},
    {"_layout", get_layout, nullptr, "(dtype, shape, strides).", nullptr},
    {"_meta_id", get_meta_id, nullptr, "Identifies the layout: equal for equal dtype, shape and strides.", nullptr},
    {"_epoch", looked<get_epoch>, set_epoch, "The storage's epoch when the tensor got its place on the tape.", nullptr},
    {"_storage_epoch", looked<get_storage_epoch>, set_storage_epoch, "Counts in-place changes that moved histories.", nullptr},
    {"_storage_id", looked<get_storage_id>, nullptr, "Identifies the storage while it lives.", nullptr},
    {"_storage_refs", looked<get_storage_refs>, nullptr, "How many tensors and nodes hold the storage.", nullptr},
    {"_storage_nbytes", looked<get_storage_nbytes>, nullptr, "Bytes of the storage.", nullptr},
    {"_exported", looked<get_exported>, nullptr, "Whether a NumPy, DLPack or buffer view of the storage was made.", nullptr},
    {"_readonly", looked<get_readonly>, nullptr, "Whether the storage may not be written.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

}  // namespace weft
