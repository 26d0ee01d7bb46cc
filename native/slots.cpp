// See slots.h. The conversions to bool, int and float are here too; they read the only element.
#include "slots.h"

#include <cstring>

#include "op.h"
#include "tensor.h"

namespace weft {
namespace {

enum Operator : size_t {
  add, subtract, multiply, true_divide, floor_divide, remainder, divmod, power, matmul, lshift, rshift, and_, or_, xor_,
  iadd, isubtract, imultiply, itrue_divide, ifloor_divide, iremainder, ipower, imatmul, ilshift, irshift, iand, ior,
  ixor, negative, positive, absolute, invert, less, less_equal, equal, not_equal, greater, greater_equal, get_item,
  set_item, operator_count
};

constexpr const char* names[operator_count] = {
    "__add__",       "__sub__",      "__mul__",     "__truediv__", "__floordiv__",  "__mod__",   "__divmod__",
    "__pow__",       "__matmul__",   "__lshift__",  "__rshift__",  "__and__",       "__or__",    "__xor__",
    "__iadd__",      "__isub__",     "__imul__",    "__itruediv__", "__ifloordiv__", "__imod__", "__ipow__",
    "__imatmul__",   "__ilshift__",  "__irshift__", "__iand__",    "__ior__",       "__ixor__",  "__neg__",
    "__pos__",       "__abs__",      "__invert__",  "__lt__",      "__le__",        "__eq__",    "__ne__",
    "__gt__",        "__ge__",       "__getitem__", "__setitem__",
};

PyObject* callables[operator_count];
PyObject* matrix_product;  // an OpHandle, or null

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

PyObject* subscript(PyObject* self, PyObject* key) { return required(get_item, binary<get_item>(self, key)); }

int assign_subscript(PyObject* self, PyObject* key, PyObject* value) {
  if (!value) {
    PyErr_SetString(PyExc_TypeError, "Elements of a tensor cannot be deleted.");
    return -1;
  }
  PyObject* args[] = {self, key, value};
  const Ref result = Ref::steal(required(set_item, call_operator(set_item, args, 3)));
  return result ? 0 : -1;
}

Py_ssize_t length(PyObject* self) {
  const Meta* meta = as_tensor(self)->meta;
  if (meta->ndim == 0) {
    PyErr_SetString(PyExc_TypeError, "len() of a tensor without axes is not defined.");
    return -1;
  }
  return meta->shape()[0];
}

// The only element as a Python number, for `function`; null with an error set if there is not exactly one.
PyObject* only_element(PyObject* self, const char* function) {
  return guarded([&] {
    TensorObject* t = as_tensor(self);
    if (t->meta->numel != 1) {
      const Ref shape = checked(shape_tuple(t->meta));
      if (std::strcmp(function, "bool()") == 0)
        raise(PyExc_ValueError,
              "The truth value of a tensor of shape %R is ambiguous; use weft.any(x) or weft.all(x).", shape.get());
      raise(PyExc_TypeError, "%s takes a tensor of one element, not one of shape %R.", function, shape.get());
    }
    ensure_real(t, function);
    return item_at(t, t->data());
  });
}

int to_bool(PyObject* self) {
  const Ref number = Ref::steal(only_element(self, "bool()"));
  return number ? PyObject_IsTrue(number.get()) : -1;
}

PyObject* to_int(PyObject* self) {
  const Ref number = Ref::steal(only_element(self, "int()"));
  return number ? PyNumber_Long(number.get()) : nullptr;
}

PyObject* to_float(PyObject* self) {
  const Ref number = Ref::steal(only_element(self, "float()"));
  return number ? PyNumber_Float(number.get()) : nullptr;
}

PyObject* to_index(PyObject* self) {
  const DType d = as_tensor(self)->meta->dtype;
  if (d == DType::bool_ || is_floating(d)) {
    PyErr_Format(PyExc_TypeError, "A tensor of type %s cannot be used as an index; cast it to an integer type.",
                 dtype_name(d));
    return nullptr;
  }
  const Ref number = Ref::steal(only_element(self, "operator.index()"));
  return number ? PyNumber_Index(number.get()) : nullptr;
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
      slot(Py_nb_bool, to_bool),
      slot(Py_nb_int, to_int),
      slot(Py_nb_float, to_float),
      slot(Py_nb_index, to_index),
      slot(Py_tp_richcompare, compare),
      slot(Py_mp_length, length),
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

PyObject* set_matrix_product(PyObject* handle) {
  if (handle != Py_None && !is_op_handle(handle))
    raise(PyExc_TypeError, "set_matrix_product takes an OpHandle or None, not %R.", handle);
  PyObject* old = std::exchange(matrix_product, handle == Py_None ? nullptr : Py_NewRef(handle));
  return old ? old : Py_NewRef(Py_None);
}

}  // namespace weft
