// See slots.h. The conversions to bool, int and float read the only element themselves where it is there.
#include "python/slots.h"

#include <cstring>
#include <utility>

#include "base/thread_state.h"
#include "python/op.h"
#include "python/subscript.h"
#include "python/tensor.h"

namespace weft {
namespace {

enum Operator : size_t {
  add, subtract, multiply, true_divide, floor_divide, remainder, divmod, power, matmul, lshift, rshift, and_, or_, xor_,
  iadd, isubtract, imultiply, itrue_divide, ifloor_divide, iremainder, ipower, imatmul, ilshift, irshift, iand, ior,
  ixor, negative, positive, absolute, invert, less, less_equal, equal, not_equal, greater, greater_equal, get_item,
  set_item, item, to_bool, to_int, to_float, to_index, length, operator_count
};

constexpr const char* names[operator_count] = {
    "__add__",       "__sub__",      "__mul__",     "__truediv__", "__floordiv__",  "__mod__",   "__divmod__",
    "__pow__",       "__matmul__",   "__lshift__",  "__rshift__",  "__and__",       "__or__",    "__xor__",
    "__iadd__",      "__isub__",     "__imul__",    "__itruediv__", "__ifloordiv__", "__imod__", "__ipow__",
    "__imatmul__",   "__ilshift__",  "__irshift__", "__iand__",    "__ior__",       "__ixor__",  "__neg__",
    "__pos__",       "__abs__",      "__invert__",  "__lt__",      "__le__",        "__eq__",    "__ne__",
    "__gt__",        "__ge__",       "__getitem__", "__setitem__", "item",      "__bool__",
    "__int__",       "__float__",    "__index__",   "__len__",
};

PyObject* callables[operator_count];
PyObject* matrix_product;  // an OpHandle, or null
PyObject* copying;         // the OpHandle that copies its second operand into its first, or null

PyObject* call_operator(Operator which, PyObject* const* args, size_t count) {
  PyObject* callable = callables[which];
  if (!callable) Py_RETURN_NOTIMPLEMENTED;
  if (is_op_handle(callable)) return call_op(as_op(callable), Py_None, args, count);
  const Ref keep = Ref::borrow(callable);
  return PyObject_Vectorcall(callable, args, count, nullptr);
}

// For operators where NotImplemented has no meaning.
PyObject* required(Operator which, PyObject* result) {
  if (result != Py_NotImplemented) return result;
  Py_DECREF(result);
  PyErr_Format(PyExc_TypeError, "A tensor does not support %s with these operands.", names[which]);
  return nullptr;
}

template <Operator which>
PyObject* unary(PyObject* a) {
  return required(which, call_operator(which, &a, 1));
}

template <Operator which>
PyObject* binary(PyObject* a, PyObject* b) {
  PyObject* args[] = {a, b};
  return call_operator(which, args, 2);
}

bool is_matrix(PyObject* o) { return is_tensor(o) && as_tensor(o)->meta->ndim >= 2; }

PyObject* matrix_multiply(PyObject* a, PyObject* b) {
  if (!matrix_product || !is_matrix(a) || !is_matrix(b)) return binary<matmul>(a, b);
  PyObject* args[] = {a, b};
  return call_op(as_op(matrix_product), Py_None, args, 2);
}

template <Operator which>
PyObject* ternary(PyObject* a, PyObject* b, PyObject* modulus) {
  if (modulus != Py_None) {
    PyErr_SetString(PyExc_TypeError, "pow() of a tensor takes no third argument.");
    return nullptr;
  }
  return binary<which>(a, b);
}

PyObject* compare(PyObject* a, PyObject* b, int op) {
  constexpr Operator by_code[] = {less, less_equal, equal, not_equal, greater, greater_equal};
  static_assert(Py_LT == 0 && Py_LE == 1 && Py_EQ == 2 && Py_NE == 3 && Py_GT == 4 && Py_GE == 5);
  PyObject* args[] = {a, b};
  return call_operator(by_code[op], args, 2);
}

PyObject* subscript(PyObject* self, PyObject* key) {
  if (copying && callables[get_item]) {
    PyObject* view = guarded([&] { return simple_view(as_tensor(self), key); });
    if (view || PyErr_Occurred()) return view;
  }
  return required(get_item, binary<get_item>(self, key));
}

// Copies a number or a tensor into a view. False: it is to be done, or its error to be worded, by the callable.
bool assign_simply(PyObject* self, PyObject* key, PyObject* value) {
  const Ref view = Ref::steal(guarded([&] { return simple_view(as_tensor(self), key); }));
  if (view && simple_value(as_tensor(view.get()), value)) {
    PyObject* args[] = {view.get(), value};
    const Ref result = Ref::steal(call_op(as_op(copying), Py_None, args, 2));
    if (result.get() == view.get()) return true;
    if (!result && !PyErr_ExceptionMatches(PyExc_Exception)) return false;
  }
  PyErr_Clear();
  return false;
}

int assign_subscript(PyObject* self, PyObject* key, PyObject* value) {
  if (!value) {
    PyErr_SetString(PyExc_TypeError, "Elements of a tensor cannot be deleted.");
    return -1;
  }
  if (copying && callables[set_item] && assign_simply(self, key, value)) return 0;
  if (PyErr_Occurred()) return -1;
  PyObject* args[] = {self, key, value};
  const Ref result = Ref::steal(required(set_item, call_operator(set_item, args, 3)));
  return result ? 0 : -1;
}

// What the callable of a conversion gives, which raises where the tensor is none that can be converted.
PyObject* convert(Operator which, PyObject* self) { return required(which, call_operator(which, &self, 1)); }

Py_ssize_t get_length(PyObject* self) {
  const Meta* meta = as_tensor(self)->meta;
  if (meta->ndim > 0) return meta->shape()[0];
  const Ref number = Ref::steal(convert(length, self));
  return number ? PyNumber_AsSsize_t(number.get(), PyExc_OverflowError) : -1;
}

// The only element as a Python number, or what the callable makes of a tensor that has several, or no value yet.
PyObject* convert_element(Operator which, PyObject* self) {
  TensorObject* t = as_tensor(self);
  const bool there = !thread_state().recording && t->meta->numel == 1 && t->plain() && t->storage->data;
  if (!there && callables[which]) return convert(which, self);
  return guarded([&] { return only_element(t); });
}

int get_bool(PyObject* self) {
  const Ref number = Ref::steal(convert_element(to_bool, self));
  return number ? PyObject_IsTrue(number.get()) : -1;
}

PyObject* get_int(PyObject* self) {
  const Ref number = Ref::steal(convert_element(to_int, self));
  return number ? PyNumber_Long(number.get()) : nullptr;
}

PyObject* get_float(PyObject* self) {
  const Ref number = Ref::steal(convert_element(to_float, self));
  return number ? PyNumber_Float(number.get()) : nullptr;
}

PyObject* get_index(PyObject* self) {
  const DType d = as_tensor(self)->meta->dtype;
  const bool integer = d != DType::bool_ && !is_floating(d);
  return integer || !callables[to_index] ? convert_element(to_index, self) : convert(to_index, self);
}

template <class F>
PyType_Slot slot(int id, F* function) {
  return {id, reinterpret_cast<void*>(function)};
}

}  // namespace

void append_operator_slots(std::vector<PyType_Slot>& slots) {
  const PyType_Slot own[] = {
      slot(Py_nb_add, binary<add>),
      slot(Py_nb_subtract, binary<subtract>),
      slot(Py_nb_multiply, binary<multiply>),
      slot(Py_nb_true_divide, binary<true_divide>),
      slot(Py_nb_floor_divide, binary<floor_divide>),
      slot(Py_nb_remainder, binary<remainder>),
      slot(Py_nb_divmod, binary<divmod>),
      slot(Py_nb_power, ternary<power>),
      slot(Py_nb_matrix_multiply, matrix_multiply),
      slot(Py_nb_lshift, binary<lshift>),
      slot(Py_nb_rshift, binary<rshift>),
      slot(Py_nb_and, binary<and_>),
      slot(Py_nb_or, binary<or_>),
      slot(Py_nb_xor, binary<xor_>),
      slot(Py_nb_inplace_add, binary<iadd>),
      slot(Py_nb_inplace_subtract, binary<isubtract>),
      slot(Py_nb_inplace_multiply, binary<imultiply>),
      slot(Py_nb_inplace_true_divide, binary<itrue_divide>),
      slot(Py_nb_inplace_floor_divide, binary<ifloor_divide>),
      slot(Py_nb_inplace_remainder, binary<iremainder>),
      slot(Py_nb_inplace_power, ternary<ipower>),
      slot(Py_nb_inplace_matrix_multiply, binary<imatmul>),
      slot(Py_nb_inplace_lshift, binary<ilshift>),
      slot(Py_nb_inplace_rshift, binary<irshift>),
      slot(Py_nb_inplace_and, binary<iand>),
      slot(Py_nb_inplace_or, binary<ior>),
      slot(Py_nb_inplace_xor, binary<ixor>),
      slot(Py_nb_negative, unary<negative>),
      slot(Py_nb_positive, unary<positive>),
      slot(Py_nb_absolute, unary<absolute>),
      slot(Py_nb_invert, unary<invert>),
      slot(Py_nb_bool, get_bool),
      slot(Py_nb_int, get_int),
      slot(Py_nb_float, get_float),
      slot(Py_nb_index, get_index),
      slot(Py_tp_richcompare, compare),
      slot(Py_mp_length, get_length),
      slot(Py_mp_subscript, subscript),
      slot(Py_mp_ass_subscript, assign_subscript),
  };
  slots.insert(slots.end(), std::begin(own), std::end(own));
}

PyObject* set_slot(const char* name, PyObject* callable) {
  if (callable != Py_None && !PyCallable_Check(callable))
    raise(PyExc_TypeError, "set_slot: %R cannot be called.", callable);
  for (size_t i = 0; i < operator_count; ++i) {
    if (std::strcmp(names[i], name) != 0) continue;
    PyObject* old = std::exchange(callables[i], callable == Py_None ? nullptr : Py_NewRef(callable));
    return old ? old : Py_NewRef(Py_None);
  }
  raise(PyExc_ValueError, "set_slot: '%s' is not an operator of a tensor.", name);
}

namespace {

PyObject* set_handle(PyObject*& handle, PyObject* given, const char* function) {
  if (given != Py_None && !is_op_handle(given))
    raise(PyExc_TypeError, "%s takes an OpHandle or None, not %R.", function, given);
  PyObject* old = std::exchange(handle, given == Py_None ? nullptr : Py_NewRef(given));
  return old ? old : Py_NewRef(Py_None);
}

}  // namespace

PyObject* set_matrix_product(PyObject* handle) { return set_handle(matrix_product, handle, "set_matrix_product"); }

PyObject* set_copying(PyObject* handle) { return set_handle(copying, handle, "set_copying"); }

PyObject* tensor_item(PyObject* self, PyObject* const*, Py_ssize_t count) {
  if (count == 0) return convert_element(item, self);
  PyErr_SetString(PyExc_TypeError, "item takes no arguments; for one element of several, pick it first: x[i].item().");
  return nullptr;
}

}  // namespace weft
