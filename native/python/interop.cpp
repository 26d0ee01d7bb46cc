// The buffer protocol in both directions, and NumPy through it.
#include "python/interop.h"

#include <cstring>

namespace weft {
namespace {

// struct-module letters, as NumPy uses them on a machine with 64-bit longs; bfloat16 has none.
constexpr const char* formats[dtype_count] = {"?", "b", "h", "i", "l", "B", "H", "I", "L", "e", nullptr, "f", "d"};

// The dtype of a buffer's format. Throws TypeError if Weft has no such type.
DType dtype_of_format(const char* format, Py_ssize_t size) {
  const char* f = format ? format : "B";
  const bool native = *f != '>' && *f != '!';
  if (*f == '@' || *f == '=' || *f == '<') ++f;
  if (native && *f && !f[1]) {
    for (int code = 0; code < dtype_count; ++code) {
      const auto d = static_cast<DType>(code);
      if (static_cast<Py_ssize_t>(itemsize(d)) != size || !formats[code]) continue;
      // Several letters stand for integers of one size.
      const char* same = d == DType::bool_ || is_floating(d) ? formats[code] : d >= DType::uint8 ? "BHILQN" : "bhilqn";
      if (std::strchr(same, *f)) return d;
    }
  }
  raise(PyExc_TypeError, "Weft has no data type for elements of the format '%s'; convert the array first.", format);
}

void refuse_gradient(const TensorObject* t, PyObject* type) {
  if (t->requires_grad)
    raise(type, "This tensor requires a gradient, which its NumPy view would lose; use x.detach().numpy().");
}

int fill_view(PyObject* self, Py_buffer* view, int flags) {
  TensorObject* t = as_tensor(self);
  refuse_gradient(t, PyExc_BufferError);
  const Meta* meta = t->meta;
  const char* format = formats[static_cast<int>(meta->dtype)];
  if (!format) raise(PyExc_BufferError, "The buffer protocol has no bfloat16 type; cast to float32 first.");
  ensure_real(t, "The buffer protocol");
  if ((flags & PyBUF_WRITABLE) && t->storage->readonly)
    raise(PyExc_BufferError, "The tensor's memory is read-only.");
  const auto ndim = static_cast<size_t>(meta->ndim);
  auto* strides = new Py_ssize_t[ndim + 1];
  for (size_t d = 0; d < ndim; ++d) strides[d] = meta->strides()[d] * meta->itemsize();
  view->buf = t->data();
  view->len = meta->nbytes();
  view->readonly = t->storage->readonly;
  view->itemsize = meta->itemsize();
  view->format = const_cast<char*>(format);
  view->ndim = meta->ndim;
  view->shape = const_cast<Py_ssize_t*>(meta->shape().data());
  view->strides = strides;
  view->suboffsets = nullptr;
  view->internal = strides;
  const auto wants = [&](int flag) { return (flags & flag) == flag; };
  const bool row_major = meta->contiguous;
  const bool fits = wants(PyBUF_C_CONTIGUOUS)   ? row_major
                    : wants(PyBUF_F_CONTIGUOUS) ? PyBuffer_IsContiguous(view, 'F') != 0
                    : wants(PyBUF_ANY_CONTIGUOUS) ? row_major || PyBuffer_IsContiguous(view, 'F')
                                                  : row_major || wants(PyBUF_STRIDES);
  if (!fits) {
    delete[] strides;
    raise(PyExc_BufferError, "The tensor's elements do not lie in the order that was asked for.");
  }
  if (!wants(PyBUF_FORMAT)) view->format = nullptr;
  if (!wants(PyBUF_ND)) view->shape = nullptr;
  if (!wants(PyBUF_STRIDES)) view->strides = nullptr;
  t->storage->exported = true;
  view->obj = Py_NewRef(self);
  return 0;
}

PyObject* as_array() {
  static PyObject* function = nullptr;
  if (!function) {
    const Ref numpy = checked(PyImport_ImportModule("numpy"));
    function = checked(PyObject_GetAttrString(numpy.get(), "asarray")).release();
  }
  return function;
}

PyObject* make_numpy(PyObject* self) {
  TensorObject* t = as_tensor(self);
  refuse_gradient(t, PyExc_RuntimeError);
  if (t->meta->dtype == DType::bfloat16)
    raise(PyExc_TypeError, "NumPy has no bfloat16 type; cast the tensor to float32 first, with x.to(weft.float32).");
  ensure_real(t, "numpy()");
  // Through an alias, so that the array keeps the memory alive and not what the tensor refers to.
  const Ref alias = checked(new_alias(t, t->meta, t->offset));
  return checked(PyObject_CallOneArg(as_array(), alias.get())).release();
}

}  // namespace

int tensor_getbuffer(PyObject* self, Py_buffer* view, int flags) {
  view->obj = nullptr;
  try {
    return fill_view(self, view, flags);
  } catch (...) {
    set_error_from_exception();
    return -1;
  }
}

void tensor_releasebuffer(PyObject*, Py_buffer* view) { delete[] static_cast<Py_ssize_t*>(view->internal); }

PyObject* tensor_numpy(PyObject* self, PyObject*) {
  return guarded([&] { return make_numpy(self); });
}

PyObject* tensor_array(PyObject* self, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"dtype", "copy", nullptr};
  PyObject *dtype = Py_None, *copy = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:__array__", const_cast<char**>(names), &dtype, &copy))
    return nullptr;
  return guarded([&] {
    Ref array = checked(make_numpy(self));
    if (dtype != Py_None) {
      const Ref method = checked(PyObject_GetAttrString(array.get(), "astype"));
      const Ref positional = checked(PyTuple_Pack(1, dtype));
      const Ref keywords = checked(Py_BuildValue("{sO}", "copy", copy == Py_True ? Py_True : Py_False));
      Ref cast = checked(PyObject_Call(method.get(), positional.get(), keywords.get()));
      if (copy == Py_False && cast.get() != array.get())
        raise(PyExc_ValueError, "The tensor cannot be given as an array of type %R without a copy.", dtype);
      return cast.release();
    }
    if (copy == Py_True) return checked(PyObject_CallMethod(array.get(), "copy", nullptr)).release();
    return array.release();
  });
}

PyObject* tensor_from_buffer(PyObject* object) {
  Ref view = Ref::steal(PyMemoryView_FromObject(object));
  if (!view) {
    PyErr_Clear();
    raise(PyExc_TypeError, "%.100s does not share its memory, or has elements of a type that Weft does not know.",
          Py_TYPE(object)->tp_name);
  }
  const Py_buffer* buffer = PyMemoryView_GET_BUFFER(view.get());
  const DType dtype = dtype_of_format(buffer->format, buffer->itemsize);
  if (buffer->suboffsets) raise(PyExc_ValueError, "A buffer of pointers to rows cannot be shared; copy it first.");
  const auto size = static_cast<int64_t>(itemsize(dtype));
  const auto ndim = static_cast<size_t>(buffer->ndim);
  if (ndim > max_dims) raise(PyExc_ValueError, "A tensor has at most %d dimensions, not %zu.", max_dims, ndim);
  int64_t shape[max_dims], strides[max_dims];
  for (size_t d = 0; d < ndim; ++d) {
    shape[d] = buffer->shape[d];
    if (shape[d] > 1 && buffer->strides[d] % size != 0)
      raise(PyExc_ValueError, "The array's strides are not multiples of its element size; copy it first.");
    strides[d] = buffer->strides[d] / size;
  }
  const Meta* meta = intern_meta(dtype, {shape, ndim}, {strides, ndim});
  if (meta->numel == 0) return checked(new_tensor(new_storage(0), intern_contiguous(dtype, {shape, ndim}), 0)).release();
  if (reinterpret_cast<uintptr_t>(buffer->buf) % static_cast<uintptr_t>(size) != 0)
    raise(PyExc_ValueError, "The array's memory is not aligned to its element size; copy it first.");
  char* lowest = static_cast<char*>(buffer->buf) + meta->low * size;
  const auto nbytes = static_cast<size_t>((meta->high - meta->low + 1) * size);
  const bool readonly = buffer->readonly != 0;
  Storage* storage = foreign_storage(lowest, nbytes, view.get(), readonly);
  view.release();
  return checked(new_tensor(storage, meta, -meta->low)).release();
}

}  // namespace weft
