// See containers.h.
#include "python/containers.h"

namespace weft {
namespace {

class Builder {
 public:
  Builder(const Ref* values, size_t count) : values_(values), count_(count) {}

  Ref build(PyObject* structure) {
    if (structure == Py_None) {
      if (next_ == count_) raise(PyExc_ValueError, "unflatten: the structure has more places than the %zu values.", count_);
      return Ref::borrow(values_[next_++].get());
    }
    if (!PyTuple_Check(structure) || PyTuple_GET_SIZE(structure) != 2 || !PyTuple_Check(PyTuple_GET_ITEM(structure, 1)))
      raise(PyExc_TypeError, "unflatten: a structure is None or (class, parts), not %R.", structure);
    if (Py_EnterRecursiveCall(" while containers are made")) throw_python_error();
    const Leave leave;
    PyObject *kind = PyTuple_GET_ITEM(structure, 0), *parts = PyTuple_GET_ITEM(structure, 1);
    const auto is = [&](PyTypeObject& type) { return kind == reinterpret_cast<PyObject*>(&type); };
    if (is(PyDict_Type)) return dict(parts);
    if (is(PyList_Type)) return list(parts);
    Ref items = tuple(parts);
    return is(PyTuple_Type) ? std::move(items) : checked(PyObject_Call(kind, items.get(), nullptr));
  }

  bool all_used() const { return next_ == count_; }

 private:
  struct Leave {
    ~Leave() { Py_LeaveRecursiveCall(); }
  };

  Ref tuple(PyObject* parts) {
    const Py_ssize_t n = PyTuple_GET_SIZE(parts);
    Ref made = checked(PyTuple_New(n));
    for (Py_ssize_t i = 0; i < n; ++i) PyTuple_SET_ITEM(made.get(), i, build(PyTuple_GET_ITEM(parts, i)).release());
    return made;
  }

  Ref list(PyObject* parts) {
    const Py_ssize_t n = PyTuple_GET_SIZE(parts);
    Ref made = checked(PyList_New(n));
    for (Py_ssize_t i = 0; i < n; ++i) PyList_SET_ITEM(made.get(), i, build(PyTuple_GET_ITEM(parts, i)).release());
    return made;
  }

  Ref dict(PyObject* parts) {
    Ref made = checked(PyDict_New());
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(parts); ++i) {
      PyObject* part = PyTuple_GET_ITEM(parts, i);
      if (!PyTuple_Check(part) || PyTuple_GET_SIZE(part) != 2)
        raise(PyExc_TypeError, "unflatten: a part of a dict is (key, structure), not %R.", part);
      const Ref value = build(PyTuple_GET_ITEM(part, 1));
      if (PyDict_SetItem(made.get(), PyTuple_GET_ITEM(part, 0), value.get()) < 0) throw_python_error();
    }
    return made;
  }

  const Ref* values_;
  size_t count_, next_ = 0;
};

}  // namespace

PyObject* unflatten(PyObject* structure, const Ref* values, size_t count) {
  Builder builder(values, count);
  Ref made = builder.build(structure);
  if (!builder.all_used()) raise(PyExc_ValueError, "unflatten: the structure has fewer places than the %zu values.", count);
  return made.release();
}

}  // namespace weft
