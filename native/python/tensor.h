// The Tensor object: a raw CPython heap type, because making and reading one is on the path of every eager call. A plain
// result is not tracked by the garbage collector; a tensor is tracked from when it holds something that may refer back
// to it (a gradient, a grad_fn, the base of a view, a recorded value).
#pragma once

#include <cstdint>
#include <span>

#include "base/meta.h"
#include "base/storage.h"
#include "python/pyutil.h"

namespace weft {

struct TensorObject {
  PyObject_HEAD
  Storage* storage;
  const Meta* meta;
  int64_t offset;  // elements
  PyObject* grad;
  PyObject* grad_fn;  // null for a leaf
  PyObject* base;     // the tensor this one is a view of, in eager mode
  PyObject* symbol;   // set by recording modes on traced tensors
  PyObject* weakrefs;
  uint32_t output_nr;
  uint32_t epoch;  // of the storage when grad_fn was set; behind it, a view's history is out of date
  bool requires_grad;

  char* data() const { return storage->data + offset * meta->itemsize(); }
  // Neither recorded nor waiting to be computed: what the fast paths take.
  bool plain() const { return symbol == nullptr && storage->pending == nullptr; }
  // A view whose base was changed in place, under autograd, since the view got its place on the tape.
  bool behind() const {
    return base != nullptr && epoch != storage->epoch && reinterpret_cast<const TensorObject*>(base)->grad_fn != nullptr;
  }
};

extern PyTypeObject* tensor_type;

inline bool is_tensor(PyObject* o) { return PyObject_TypeCheck(o, tensor_type); }
inline TensorObject* as_tensor(PyObject* o) { return reinterpret_cast<TensorObject*>(o); }

// The tensor, or TypeError: "<function> takes a weft.Tensor as <what>, not <class>."
TensorObject* expect_tensor(PyObject* o, const char* function, const char* what);

// A new untracked tensor. Takes over the caller's reference to `storage`, also on failure (null).
PyObject* new_tensor(Storage* storage, const Meta* meta, int64_t offset) noexcept;
// A tensor over the same storage, without gradient, base or symbol. Null with an error set on failure.
PyObject* new_alias(const TensorObject* t, const Meta* meta, int64_t offset) noexcept;
// The same, of another layout `delta` elements further on. Null with ValueError set where that leaves the tensor's memory.
PyObject* new_view(const TensorObject* t, const Meta* meta, int64_t delta) noexcept;

// Assigns the gradient field, also while recording. -1 with an error set unless it is None or a tensor of the same shape.
int set_gradient(PyObject* tensor, PyObject* value) noexcept;

inline void track(TensorObject* t) {
  auto* o = reinterpret_cast<PyObject*>(t);
  if (!PyObject_GC_IsTracked(o)) PyObject_GC_Track(o);
}

// Makes sure the tensor's values are in memory, through set_realize's callable. Throws.
void ensure_real(TensorObject* t, const char* what);

// Dtype objects and layouts in both directions. The dtype_of and parse functions throw.
PyObject* dtype_object(DType d);  // borrowed
DType dtype_of(PyObject* o);
struct Dims {
  int64_t values[max_dims];
  size_t count = 0;
  std::span<const int64_t> span() const { return {values, count}; }
};
Dims parse_dims(PyObject* o, const char* what);
PyObject* layout_tuple(const Meta* meta);               // (dtype, shape, strides); new reference
const Meta* meta_from_layout(PyObject* o);              // (dtype, shape, strides) or a tensor
PyObject* shape_tuple(const Meta* meta);                // new reference
PyObject* strides_tuple(const Meta* meta);

PyObject* item_at(const TensorObject* t, const char* address);  // one element as a Python number; new reference
PyObject* only_element(TensorObject* t);                        // of a tensor that has one; throws
PyObject* tensor_tolist(PyObject* self, PyObject*);

// Hooks set from Python; null until set.
struct Hooks {
  PyObject* realize;
  PyObject* grad_get;
  PyObject* grad_set;
  PyObject* slow_path;
  PyObject* index_error;
};
extern Hooks hooks;

void make_tensor_type(PyObject* module);
void set_dtypes(PyObject* list);
extern PyGetSetDef tensor_attributes[];  // attributes.cpp

}  // namespace weft
