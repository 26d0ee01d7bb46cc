// See subscript.h.
#include "python/subscript.h"

#include <algorithm>

#include "base/thread_state.h"

namespace weft {
namespace {

// The layout of a view while its key is read, one axis after the other.
struct View {
  Dims shape, strides;
  int64_t offset;
  bool none_taken = false;  // by a slice
  bool add(int64_t size, int64_t stride) {
    if (shape.count == max_dims) return false;
    shape.values[shape.count++] = size;
    strides.values[strides.count++] = stride;
    return true;
  }
};

bool plain_bound(PyObject* o) { return o == Py_None || PyLong_CheckExact(o); }

// An axis of size n taken by an integer or a slice of integers. False: another key, or one that is wrong.
bool take(View& view, PyObject* key, int64_t n, int64_t stride) {
  if (PyLong_CheckExact(key)) {
    int overflow = 0;
    const long long i = PyLong_AsLongLongAndOverflow(key, &overflow);
    if (overflow || i < -n || i >= n) return false;
    view.offset += (i < 0 ? i + n : i) * stride;
    return true;
  }
  if (!PySlice_Check(key)) return false;
  const auto* s = reinterpret_cast<PySliceObject*>(key);
  if (!plain_bound(s->start) || !plain_bound(s->stop) || !plain_bound(s->step)) return false;
  Py_ssize_t start, stop, step;
  if (PySlice_Unpack(key, &start, &stop, &step) < 0) {
    PyErr_Clear();
    return false;
  }
  const Py_ssize_t size = PySlice_AdjustIndices(n, &start, &stop, step);
  if (size) view.offset += start * stride;
  else view.none_taken = true;
  return view.add(size, size > 1 ? step * stride : stride);  // a step that is not taken may be of any size
}

// Row-major strides.
void make_contiguous(View& view) {
  int64_t step = 1;
  for (size_t d = view.shape.count; d-- > 0;) {
    view.strides.values[d] = step;
    step *= std::max<int64_t>(view.shape.values[d], 1);
  }
}

// Axes of size 1 get the strides that `reshape` gives them.
void restride_ones(View& view) {
  int64_t step = 1;
  for (size_t d = view.shape.count; d-- > 0;) {
    int64_t& stride = view.strides.values[d];
    if (view.shape.values[d] == 1) stride = step;
    step = std::max<int64_t>(stride, 1) * view.shape.values[d];
  }
}

bool read_key(View& view, const Meta* meta, PyObject* const* keys, size_t count) {
  size_t taken = 0, gap = count;
  bool reshaped = false;
  for (size_t i = 0; i < count; ++i) {
    if (keys[i] == Py_Ellipsis) {
      if (gap != count) return false;
      gap = i;
    }
    if (keys[i] == Py_Ellipsis || keys[i] == Py_None) reshaped = true;
    else ++taken;
  }
  const auto ndim = static_cast<size_t>(meta->ndim);
  if (taken > ndim) return false;
  const auto shape = meta->shape(), strides = meta->strides();
  size_t d = 0;
  const auto keep = [&](size_t n) {
    for (; n; --n, ++d)
      if (!view.add(shape[d], strides[d])) return false;
    return true;
  };
  for (size_t i = 0; i < count; ++i) {
    if (i == gap) {
      if (!keep(ndim - taken)) return false;
    } else if (keys[i] == Py_None) {
      if (!view.add(1, 0)) return false;
    } else {
      if (!take(view, keys[i], shape[d], strides[d])) return false;
      ++d;
    }
  }
  if (!keep(ndim - d)) return false;
  if (view.none_taken || (reshaped && meta->numel == 0)) make_contiguous(view);
  else if (reshaped) restride_ones(view);
  return true;
}

}  // namespace

PyObject* simple_view(TensorObject* t, PyObject* key) {
  const ThreadState& ts = thread_state();
  if (ts.recording || !t->plain() || (t->requires_grad && ts.grad_enabled)) return nullptr;
  View view;
  view.offset = t->offset;
  const bool tuple = PyTuple_CheckExact(key);
  PyObject* const* keys = tuple ? reinterpret_cast<PyTupleObject*>(key)->ob_item : &key;
  if (!read_key(view, t->meta, keys, tuple ? static_cast<size_t>(PyTuple_GET_SIZE(key)) : 1)) return nullptr;
  const Meta* meta = intern_meta(t->meta->dtype, view.shape.span(), view.strides.span());
  if (!meta->fits(view.offset, t->storage->nbytes))
    raise(PyExc_ValueError, "A view reaches outside the memory of the tensor it is taken of.");
  PyObject* made = checked(new_alias(t, meta, view.offset)).release();
  as_tensor(made)->base = Py_NewRef(t->base ? t->base : reinterpret_cast<PyObject*>(t));
  track(as_tensor(made));
  return made;
}

bool simple_value(const TensorObject* view, PyObject* value) {
  if (!is_tensor(value)) return PyFloat_CheckExact(value) || PyLong_CheckExact(value) || PyBool_Check(value);
  const TensorObject* t = as_tensor(value);
  if (t->storage == view->storage || t->meta->ndim > view->meta->ndim) return false;
  const auto own = t->meta->shape(), wanted = view->meta->shape().last(own.size());
  return std::ranges::equal(own, wanted, [](int64_t n, int64_t m) { return n == 1 || n == m; });
}

}  // namespace weft
