// See shortcut.h.
#include "python/shortcut.h"

#include <Python.h>
#include <structmember.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "base/thread_state.h"
#include "python/tensor.h"

namespace weft {

void CallWatch::note(OpHandleObject* called, PyObject* called_attrs, PyObject* const* given, size_t given_count,
                     PyObject* made) {
  if (++calls > 1 || given_count > max_operands) {
    calls = 2;
    return;
  }
  op = Ref::borrow(reinterpret_cast<PyObject*>(called));
  attrs = Ref::borrow(called_attrs);
  result = Ref::borrow(made);
  count = given_count;
  for (size_t i = 0; i < count; ++i) operands[i] = Ref::borrow(given[i]);
}

void note_look() noexcept {
  if (auto* watch = static_cast<CallWatch*>(thread_state().call_watch)) watch->looked = true;
}

namespace {

constexpr size_t most_words = 40, most_tensors = max_operands;
constexpr size_t slots = 64, ways = 4;  // of the table, and of a set, in one of which a key is: powers of two

// In a key, tensors are the addresses of their Metas, and objects of which equal ones are identical their own, all of which are
// greater than any tag. A tag says how many words follow it.
enum Tag : uintptr_t { int_value = 1, float_value, any_float, any_int, tuple_of, list_of, slice_of, keywords };

struct Key {
  uintptr_t words[most_words];
  size_t count = 0;
  TensorObject* tensors[most_tensors];
  size_t n_tensors = 0;
  PyObject* numbers[most_tensors];  // those of which the key has the class only
  size_t n_numbers = 0;

  bool add(uintptr_t word) {
    if (count == most_words) return false;
    words[count++] = word;
    return true;
  }
  bool add_object(PyObject* o) { return add(reinterpret_cast<uintptr_t>(o)); }
  uint64_t hash() const {
    uint64_t h = count;
    for (size_t i = 0; i < count; ++i) h = (h ^ words[i]) * 0xff51afd7ed558ccdu, h ^= h >> 32;
    return h;
  }
};

// What a call came down to: an operation, or, where there is none, one of the arguments as it is.
struct Entry {
  uint64_t hash;
  std::vector<uintptr_t> words;
  std::vector<Ref> kept;  // objects whose addresses are words
  Ref op, attrs;
  const PlanEntry* plan = nullptr;  // of the last call
  // Each operand: a number of the function's own, or the argument with this number, tensors first.
  Ref own[max_operands];
  uint8_t from[max_operands];
  size_t count = 0;
  uint32_t users = 1;  // the table, and calls that run
};

struct ShortcutObject {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  PyObject* function;
  PyObject* dict;
  PyObject* weakrefs;
  Entry** table;  // `slots` of them, made with the first entry; guarded by the GIL
  bool by_class;  // numbers are operands, whose values the function does not look at
};

ShortcutObject* as_shortcut(PyObject* o) { return reinterpret_cast<ShortcutObject*>(o); }

void drop(Entry* entry) {
  if (entry && --entry->users == 0) delete entry;
}

bool is_dtype(PyObject* o) { return Py_TYPE(o) == Py_TYPE(dtype_object(DType::bool_)); }

// False: the argument is none that is remembered.
bool add_argument(Key& key, PyObject* o, bool by_class, int depth) {
  if (is_tensor(o)) {
    TensorObject* t = as_tensor(o);
    if (!t->plain() || t->behind() || key.n_tensors == most_tensors) return false;
    for (size_t i = 0; i < key.n_tensors; ++i)
      if (key.tensors[i] == t) return false;  // which of them is an operand could not be told
    key.tensors[key.n_tensors++] = t;
    return key.add(reinterpret_cast<uintptr_t>(t->meta));
  }
  const bool number = PyFloat_CheckExact(o) || PyLong_CheckExact(o);
  if (number && by_class && depth == 0) {
    if (key.n_numbers == most_tensors) return false;
    for (size_t i = 0; i < key.n_numbers; ++i)
      if (key.numbers[i] == o) return false;
    key.numbers[key.n_numbers++] = o;
    return key.add(PyFloat_CheckExact(o) ? any_float : any_int);
  }
  if (PyLong_CheckExact(o)) {
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(o, &overflow);
    return !overflow && key.add(int_value) && key.add(static_cast<uintptr_t>(value));
  }
  if (PyFloat_CheckExact(o)) return key.add(float_value) && key.add(std::bit_cast<uintptr_t>(PyFloat_AS_DOUBLE(o)));
  if (o == Py_None || PyBool_Check(o) || o == Py_Ellipsis || PyType_Check(o) || is_dtype(o)) return key.add_object(o);
  if (PyUnicode_CheckExact(o)) return PyUnicode_CHECK_INTERNED(o) && key.add_object(o);
  if (depth == 2) return false;
  if (PyTuple_CheckExact(o) || PyList_CheckExact(o)) {
    const bool tuple = PyTuple_CheckExact(o);
    const Py_ssize_t n = tuple ? PyTuple_GET_SIZE(o) : PyList_GET_SIZE(o);
    if (!key.add(tuple ? tuple_of : list_of) || !key.add(static_cast<uintptr_t>(n))) return false;
    for (Py_ssize_t i = 0; i < n; ++i)
      if (!add_argument(key, tuple ? PyTuple_GET_ITEM(o, i) : PyList_GET_ITEM(o, i), by_class, depth + 1)) return false;
    return true;
  }
  if (PySlice_Check(o)) {
    auto* s = reinterpret_cast<PySliceObject*>(o);
    return key.add(slice_of) && add_argument(key, s->start, false, 2) && add_argument(key, s->stop, false, 2) &&
           add_argument(key, s->step, false, 2);
  }
  return false;
}

bool read_key(Key& key, PyObject* const* args, size_t count, PyObject* names, bool by_class) {
  const auto named = static_cast<size_t>(names ? PyTuple_GET_SIZE(names) : 0);
  for (size_t i = 0; i < count + named; ++i) {
    if (i == count && !key.add(keywords)) return false;
    if (i >= count) {
      PyObject* name = PyTuple_GET_ITEM(names, static_cast<Py_ssize_t>(i - count));
      if (!PyUnicode_CHECK_INTERNED(name) || !key.add_object(name)) return false;
    }
    if (!add_argument(key, args[i], by_class, 0)) return false;
  }
  return true;
}

Entry** set_of(const ShortcutObject* self, uint64_t hash) { return self->table + (hash & (slots - ways)); }

Entry* find(const ShortcutObject* self, const Key& key, uint64_t hash) {
  if (!self->table) return nullptr;
  Entry** set = set_of(self, hash);
  for (size_t way = 0; way < ways; ++way) {
    Entry* e = set[way];
    if (e && e->hash == hash && e->words.size() == key.count &&
        std::memcmp(e->words.data(), key.words, key.count * sizeof key.words[0]) == 0)
      return e;
  }
  return nullptr;
}

// Keeps what addresses in the key belong to: dtypes, names, classes. Metas and Python's own constants are never freed.
void keep_objects(Entry& entry, PyObject* o) {
  if (PyUnicode_CheckExact(o) || PyType_Check(o) || is_dtype(o)) entry.kept.push_back(Ref::borrow(o));
  else if (PyTuple_CheckExact(o))
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(o); ++i) keep_objects(entry, PyTuple_GET_ITEM(o, i));
  else if (PyList_CheckExact(o))
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(o); ++i) keep_objects(entry, PyList_GET_ITEM(o, i));
}

// Where an operand of the operation comes from. False: it is not to be remembered.
bool trace_operand(Entry& entry, size_t i, PyObject* o, const Key& key) {
  if (is_tensor(o)) {
    for (size_t k = 0; k < key.n_tensors; ++k) {
      if (reinterpret_cast<PyObject*>(key.tensors[k]) != o) continue;
      entry.from[i] = static_cast<uint8_t>(k);
      return true;
    }
    return false;
  }
  for (size_t k = 0; k < key.n_numbers; ++k) {
    if (key.numbers[k] != o) continue;
    entry.from[i] = static_cast<uint8_t>(key.n_tensors + k);
    return true;
  }
  if (!PyFloat_CheckExact(o) && !PyLong_CheckExact(o) && !PyBool_Check(o)) return false;
  entry.own[i] = Ref::borrow(o);
  return true;
}

void remember(ShortcutObject* self, const Key& key, uint64_t hash, const CallWatch& watch, PyObject* result,
              PyObject* const* args, size_t count) {
  if (watch.looked || watch.calls > 1 || !is_tensor(result)) return;
  auto entry = std::make_unique<Entry>();
  uint64_t used = 0;
  if (watch.calls == 1) {
    if (watch.result.get() != result) return;
    for (size_t i = 0; i < watch.count; ++i) {
      if (!trace_operand(*entry, i, watch.operands[i].get(), key)) return;
      if (!entry->own[i]) used |= uint64_t{1} << entry->from[i];
    }
    entry->op = Ref::borrow(watch.op.get());
    entry->attrs = Ref::borrow(watch.attrs.get());
    entry->count = watch.count;
  } else {
    if (!key.n_tensors || reinterpret_cast<PyObject*>(key.tensors[0]) != result) return;
    used = 1;
    entry->from[0] = 0;
  }
  // What is no operand may have had its value looked at.
  if (used != (uint64_t{1} << (key.n_tensors + key.n_numbers)) - 1) return;
  entry->hash = hash;
  entry->words.assign(key.words, key.words + key.count);
  for (size_t i = 0; i < count; ++i) keep_objects(*entry, args[i]);
  if (!self->table) self->table = new Entry*[slots]{};
  // The last to be remembered comes first, and the first of them goes.
  Entry** set = set_of(self, hash);
  Entry* gone = set[ways - 1];
  std::move_backward(set, set + ways - 1, set + ways);
  set[0] = entry.release();
  drop(gone);
}

PyObject* run_entry(Entry* entry, const Key& key) {
  if (!entry->op) return Py_NewRef(reinterpret_cast<PyObject*>(key.tensors[entry->from[0]]));
  PyObject* operands[max_operands];
  for (size_t i = 0; i < entry->count; ++i) {
    const size_t from = entry->from[i];
    operands[i] = entry->own[i]           ? entry->own[i].get()
                  : from < key.n_tensors ? reinterpret_cast<PyObject*>(key.tensors[from])
                                         : key.numbers[from - key.n_tensors];
  }
  ++entry->users;
  PyObject* result = call_op(as_op(entry->op.get()), entry->attrs.get(), operands, entry->count, &entry->plan);
  drop(entry);
  return result;
}

// Runs the function, and remembers what it came down to.
PyObject* run_function(ShortcutObject* self, const Key& key, uint64_t hash, PyObject* const* args, size_t flagged_count,
                       PyObject* names) {
  ThreadState& ts = thread_state();
  CallWatch watch;
  watch.outer = static_cast<CallWatch*>(ts.call_watch);
  ts.call_watch = &watch;
  PyObject* result = PyObject_Vectorcall(self->function, args, flagged_count, names);
  ts.call_watch = watch.outer;
  if (CallWatch* outer = watch.outer) {
    outer->looked |= watch.looked;
    if (watch.calls > 1) {
      outer->calls = 2;
    } else if (watch.calls == 1) {
      PyObject* operands[max_operands];
      for (size_t i = 0; i < watch.count; ++i) operands[i] = watch.operands[i].get();
      outer->note(as_op(watch.op.get()), watch.attrs.get(), operands, watch.count, watch.result.get());
    }
  }
  if (!result) return nullptr;
  const Ref made = Ref::steal(result);
  const auto all = static_cast<size_t>(PyVectorcall_NARGS(flagged_count)) +
                   static_cast<size_t>(names ? PyTuple_GET_SIZE(names) : 0);
  return guarded([&] {
    remember(self, key, hash, watch, made.get(), args, all);
    return Py_NewRef(made.get());
  });
}

PyObject* vectorcall(PyObject* callable, PyObject* const* args, size_t flagged_count, PyObject* names) {
  ShortcutObject* self = as_shortcut(callable);
  Key key;
#ifdef Py_GIL_DISABLED
  const bool known = false;  // tables are guarded by the GIL
#else
  const bool known = !thread_state().recording &&
                     read_key(key, args, static_cast<size_t>(PyVectorcall_NARGS(flagged_count)), names, self->by_class);
#endif
  if (!known) return PyObject_Vectorcall(self->function, args, flagged_count, names);
  const uint64_t hash = key.hash();
  Entry* entry = find(self, key, hash);
  if (!entry) return run_function(self, key, hash, args, flagged_count, names);
  PyObject* result = run_entry(entry, key);
  if (result || !PyErr_ExceptionMatches(PyExc_Exception)) return result;
  // The function words errors. Run again, it makes them again: an operation that fails has written nothing.
  PyErr_Clear();
  return PyObject_Vectorcall(self->function, args, flagged_count, names);
}

PyObject* make(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"function", "by_class", nullptr};
  PyObject* function;
  int by_class = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|p:Shortcut", const_cast<char**>(names), &function, &by_class))
    return nullptr;
  if (!PyCallable_Check(function)) {
    PyErr_Format(PyExc_TypeError, "Shortcut takes a callable, not %R.", function);
    return nullptr;
  }
  PyObject* self = type->tp_alloc(type, 0);
  if (!self) return nullptr;
  ShortcutObject* s = as_shortcut(self);
  s->vectorcall = vectorcall;
  s->function = Py_NewRef(function);
  s->by_class = by_class != 0;
  return self;
}

void drop_table(ShortcutObject* s) {
  Entry** table = std::exchange(s->table, nullptr);
  if (!table) return;
  for (size_t i = 0; i < slots; ++i) drop(table[i]);
  delete[] table;
}

int clear(PyObject* self) {
  ShortcutObject* s = as_shortcut(self);
  drop_table(s);
  Py_CLEAR(s->function);
  Py_CLEAR(s->dict);
  return 0;
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (as_shortcut(self)->weakrefs) PyObject_ClearWeakRefs(self);
  clear(self);
  type->tp_free(self);
  Py_DECREF(type);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  const ShortcutObject* s = as_shortcut(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(s->function);
  Py_VISIT(s->dict);
  return 0;
}

PyObject* get_bound(PyObject* self, PyObject* instance, PyObject*) {
  return instance && instance != Py_None ? PyMethod_New(self, instance) : Py_NewRef(self);
}

PyObject* repr(PyObject* self) {
  const Ref name = Ref::steal(PyObject_GetAttrString(self, "__qualname__"));
  return name ? PyUnicode_FromFormat("<function %U>", name.get()) : nullptr;
}

// Pickled as a function is: by its name.
PyObject* reduce(PyObject* self, PyObject*) { return PyObject_GetAttrString(self, "__qualname__"); }

PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(ShortcutObject, vectorcall), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ShortcutObject, weakrefs), READONLY, nullptr},
    {"__dictoffset__", T_PYSSIZET, offsetof(ShortcutObject, dict), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyGetSetDef attributes[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMethodDef methods[] = {
    {"__reduce__", reduce, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

void make_shortcut_type(PyObject* module) {
  PyType_Slot type_slots[] = {
      {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
      {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
      {Py_tp_clear, reinterpret_cast<void*>(clear)},
      {Py_tp_new, reinterpret_cast<void*>(make)},
      {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
      {Py_tp_descr_get, reinterpret_cast<void*>(get_bound)},
      {Py_tp_repr, reinterpret_cast<void*>(repr)},
      {Py_tp_members, members},
      {Py_tp_getset, attributes},
      {Py_tp_methods, methods},
      {0, nullptr},
  };
  PyType_Spec spec = {"weft._native.Shortcut", sizeof(ShortcutObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR,
                      type_slots};
  const Ref type = checked(PyType_FromSpec(&spec));
  if (PyModule_AddObjectRef(module, "Shortcut", type.get()) < 0) throw_python_error();
}

}  // namespace weft
