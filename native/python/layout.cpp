// Dtypes, shapes and layouts between Python objects and Metas.
#include "python/tensor.h"

namespace weft {
namespace {

PyObject* dtype_objects[dtype_count];

// A tuple kept in a Meta from its first use on.
PyObject* cached_tuple(std::atomic<void*>& slot, std::span<const int64_t> values) {
  if (void* made = slot.load(std::memory_order_acquire)) return Py_NewRef(static_cast<PyObject*>(made));
  Ref tuple = Ref::steal(PyTuple_New(static_cast<Py_ssize_t>(values.size())));
  if (!tuple) return nullptr;
  for (size_t i = 0; i < values.size(); ++i) {
    PyObject* number = PyLong_FromLongLong(values[i]);
    if (!number) return nullptr;
    PyTuple_SET_ITEM(tuple.get(), static_cast<Py_ssize_t>(i), number);
  }
  void* expected = nullptr;
  if (slot.compare_exchange_strong(expected, tuple.get())) Py_INCREF(tuple.get());  // the Meta's own reference
  return tuple.release();
}

}  // namespace

PyObject* dtype_object(DType d) {
  PyObject* o = dtype_objects[static_cast<int>(d)];
  return o ? o : Py_None;
}

DType dtype_of(PyObject* o) {
  for (int code = 0; code < dtype_count; ++code)
    if (dtype_objects[code] == o && o != nullptr) return static_cast<DType>(code);
  raise(PyExc_TypeError, "%R is not a Weft data type.", o);
}

void set_dtypes(PyObject* list) {
  // A tuple of our own: attributes may run Python.
  const Ref items = checked(PySequence_Tuple(list));
  if (PyTuple_GET_SIZE(items.get()) != dtype_count)
    raise(PyExc_ValueError, "set_dtypes takes the 13 data types, not %zd.", PyTuple_GET_SIZE(items.get()));
  for (int code = 0; code < dtype_count; ++code) {
    PyObject* item = PyTuple_GET_ITEM(items.get(), code);
    const Ref number = checked(PyObject_GetAttrString(item, "code"));
    const Ref size = checked(PyObject_GetAttrString(item, "itemsize"));
    if (PyLong_AsLong(number.get()) != code ||
        PyLong_AsLong(size.get()) != static_cast<long>(itemsize(static_cast<DType>(code)))) {
      if (PyErr_Occurred()) throw_python_error();
      raise(PyExc_ValueError, "set_dtypes: %R is not the data type with code %d.", item, code);
    }
    Py_XSETREF(dtype_objects[code], Py_NewRef(item));
  }
}

Dims parse_dims(PyObject* o, const char* what) {
  const Ref items = Ref::steal(PySequence_Fast(o, ""));
  if (!items) {
    PyErr_Clear();
    raise(PyExc_TypeError, "A tensor's %s is a sequence of integers, not %.100s.", what, Py_TYPE(o)->tp_name);
  }
  Dims dims;
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(items.get());
  if (n > max_dims) raise(PyExc_ValueError, "A tensor has at most %d dimensions, not %zd.", max_dims, n);
  for (Py_ssize_t i = 0; i < n && i < PySequence_Fast_GET_SIZE(items.get()); ++i) {
    const Ref item = Ref::borrow(PySequence_Fast_GET_ITEM(items.get(), i));
    const Ref number = checked(PyNumber_Index(item.get()));
    const long long value = PyLong_AsLongLong(number.get());
    if (value == -1 && PyErr_Occurred()) {
      PyErr_Clear();
      raise(PyExc_ValueError, "A tensor's %s has a number that does not fit in 64 bits.", what);
    }
    dims.values[dims.count++] = value;
  }
  return dims;
}

PyObject* shape_tuple(const Meta* meta) { return cached_tuple(meta->python_shape, meta->shape()); }

PyObject* strides_tuple(const Meta* meta) { return cached_tuple(meta->python_strides, meta->strides()); }

PyObject* layout_tuple(const Meta* meta) {
  const Ref shape = Ref::steal(shape_tuple(meta)), strides = Ref::steal(strides_tuple(meta));
  if (!shape || !strides) return nullptr;
  return PyTuple_Pack(3, dtype_object(meta->dtype), shape.get(), strides.get());
}

const Meta* meta_from_layout(PyObject* o) {
  if (is_tensor(o)) return as_tensor(o)->meta;
  if (!PyTuple_Check(o) || PyTuple_GET_SIZE(o) != 3)
    raise(PyExc_TypeError, "A layout is a tuple (dtype, shape, strides), not %R.", o);
  PyObject* dtype = PyTuple_GET_ITEM(o, 0);
  DType d;
  if (PyLong_Check(dtype)) {
    const long code = PyLong_AsLong(dtype);
    if (code < 0 || code >= dtype_count) {
      PyErr_Clear();
      raise(PyExc_ValueError, "%R is not the code of a data type.", dtype);
    }
    d = static_cast<DType>(code);
  } else {
    d = dtype_of(dtype);
  }
  const Dims shape = parse_dims(PyTuple_GET_ITEM(o, 1), "shape");
  const Dims strides = parse_dims(PyTuple_GET_ITEM(o, 2), "strides");
  return intern_meta(d, shape.span(), strides.span());
}

}  // namespace weft
