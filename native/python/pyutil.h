// Small helpers of the bindings: owned references, and exceptions that cross between C++ and CPython.
#pragma once

#include <Python.h>

#include <nanobind/nanobind.h>

#include <exception>
#include <new>
#include <stdexcept>
#include <utility>

namespace weft {

namespace nb = nanobind;

// An owned reference, possibly null.
class Ref {
 public:
  Ref() = default;
  static Ref steal(PyObject* o) { return Ref(o); }
  static Ref borrow(PyObject* o) { return Ref(Py_XNewRef(o)); }
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref&& other) noexcept {
    PyObject* old = std::exchange(object_, std::exchange(other.object_, nullptr));
    Py_XDECREF(old);
    return *this;
  }
  ~Ref() { Py_XDECREF(object_); }
  PyObject* get() const { return object_; }
  PyObject* release() { return std::exchange(object_, nullptr); }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  explicit Ref(PyObject* o) : object_(o) {}
  PyObject* object_ = nullptr;
};

// Throws the exception that CPython has set.
[[noreturn]] inline void throw_python_error() { throw nb::python_error(); }

template <class... Args>
[[noreturn]] void raise(PyObject* type, const char* format, Args... args) {
  PyErr_Format(type, format, args...);
  throw nb::python_error();
}

// The result of a CPython call that returns a new reference, or the exception it set.
inline Ref checked(PyObject* o) {
  if (!o) throw_python_error();
  return Ref::steal(o);
}

// Sets CPython's error from the C++ exception being handled. Call it in a catch block.
inline void set_error_from_exception() noexcept {
  try {
    throw;
  } catch (nb::python_error& e) {
    e.restore();
  } catch (const std::bad_alloc& e) {
    PyErr_SetString(PyExc_MemoryError, e.what());
  } catch (const std::invalid_argument& e) {
    PyErr_SetString(PyExc_ValueError, e.what());
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
}

// Runs a body that returns PyObject* and may throw; a throw becomes a CPython error and null.
template <class Body>
PyObject* guarded(Body&& body) noexcept {
  try {
    return body();
  } catch (...) {
    set_error_from_exception();
    return nullptr;
  }
}

}  // namespace weft
