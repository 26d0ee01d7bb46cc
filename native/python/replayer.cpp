// See replayer.h.
#include "python/replayer.h"

#include <Python.h>
#include <structmember.h>

#include <bit>
#include <cstring>
#include <memory>
#include <unordered_map>

#include "base/short_array.h"
#include "base/thread_state.h"
#include "python/containers.h"
#include "python/replay.h"

namespace weft {
namespace {

constexpr Py_ssize_t most_arguments = 32;  // comparing each tensor with each stays cheap
constexpr size_t most_calls = 512;         // of one function that are known at once

// In a key, a tensor is its layout's address and whether it requires a gradient; None and booleans are their own addresses, which
// are greater than any tag.
enum Tag : uintptr_t { float_argument = 2, int_argument = 4 };

// A call, as far as its signature can be told at a glance.
struct Call {
  uintptr_t words[2 * most_arguments + 1];
  size_t count = 0;
  TensorObject* tensors[most_arguments];
  size_t n_tensors = 0;
  PyObject* numbers[most_arguments];  // those whose values the signature leaves open
  size_t n_numbers = 0;

  // False: it takes a closer look. Some argument is a container or an object, waits for its value, has a history that is out of
  // date, or shares memory with another.
  bool read(PyObject* args, PyObject* kwargs, const ThreadState& ts) {
    if ((kwargs && PyDict_GET_SIZE(kwargs) > 0) || PyTuple_GET_SIZE(args) > most_arguments) return false;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i)
      if (!add(PyTuple_GET_ITEM(args, i))) return false;
    words[count++] = ts.grad_enabled;
    return true;
  }

  uint64_t hash() const {
    uint64_t h = count;
    for (size_t i = 0; i < count; ++i) h = (h ^ words[i]) * 0xff51afd7ed558ccdu, h ^= h >> 32;
    return h;
  }

 private:
  bool add(PyObject* o) {
    if (is_tensor(o)) {
      TensorObject* t = as_tensor(o);
      if (!t->plain() || t->behind()) return false;
      for (size_t i = 0; i < n_tensors; ++i)
        if (tensors[i]->storage == t->storage) return false;
      tensors[n_tensors++] = t;
      words[count++] = reinterpret_cast<uintptr_t>(t->meta) | static_cast<uintptr_t>(t->requires_grad);
      return true;
    }
    if (PyFloat_CheckExact(o)) {
      numbers[n_numbers++] = o;
      words[count++] = float_argument;
      return true;
    }
    if (PyLong_CheckExact(o)) {
      int overflow = 0;
      const long long value = PyLong_AsLongLongAndOverflow(o, &overflow);
      words[count++] = int_argument;
      words[count++] = static_cast<uintptr_t>(value);
      return !overflow;
    }
    if (o != Py_None && !PyBool_Check(o)) return false;
    words[count++] = reinterpret_cast<uintptr_t>(o);
    return true;
  }
};

struct Known {
  std::unique_ptr<uintptr_t[]> words;
  size_t count;
  Ref replay;

  bool is(const Call& call) const {
    return count == call.count && std::memcmp(words.get(), call.words, count * sizeof call.words[0]) == 0;
  }
};

// The calls that are known. Guarded by the GIL.
class Calls {
 public:
  // Null: none.
  PyObject* find(const Call& call) {
    if (last_ && last_->is(call)) return last_->replay.get();
    const auto found = by_hash_.find(call.hash());
    if (found == by_hash_.end() || !found->second.is(call)) return nullptr;
    last_ = &found->second;
    return last_->replay.get();
  }

  void put(const Call& call, PyObject* replay) {
    std::unordered_map<uint64_t, Known> dropped;  // last of all, because that may run any code
    if (by_hash_.size() >= most_calls) dropped = forget();
    auto words = std::make_unique<uintptr_t[]>(call.count);
    std::memcpy(words.get(), call.words, call.count * sizeof call.words[0]);
    Known& known = by_hash_[call.hash()];
    Known old = std::exchange(known, Known{std::move(words), call.count, Ref::borrow(replay)});
    last_ = &known;
  }

  std::unordered_map<uint64_t, Known> forget() {
    last_ = nullptr;
    return std::exchange(by_hash_, {});
  }

  int traverse(visitproc visit, void* arg) const {
    for (const auto& [hash, known] : by_hash_) Py_VISIT(known.replay.get());
    return 0;
  }

  size_t size() const { return by_hash_.size(); }

 private:
  std::unordered_map<uint64_t, Known> by_hash_;
  const Known* last_ = nullptr;
};

struct ReplayerObject {
  PyObject_HEAD
  Calls* calls;  // made with the first
};

Calls*& calls_of(PyObject* self) { return reinterpret_cast<ReplayerObject*>(self)->calls; }

const Replay& replay_of(PyObject* o) {
  if (!nb::isinstance<Replay>(o)) raise(PyExc_TypeError, "A Replay was expected, not %R.", o);
  return *nb::inst_ptr<Replay>(o);
}

// The tensors of a call, from Python. A list of them is kept as a tuple.
class Given {
 public:
  Given(const Replay& replay, PyObject* tensors, const char* what)
      : kept_(checked(PySequence_Tuple(tensors))), tensors_(static_cast<size_t>(PyTuple_GET_SIZE(kept_.get()))) {
    const auto count = static_cast<size_t>(PyTuple_GET_SIZE(kept_.get()));
    if (count != replay.arguments()) raise(PyExc_ValueError, "%s takes %zu tensors, not %zu.", what, replay.arguments(), count);
    for (size_t i = 0; i < count; ++i)
      tensors_[i] = expect_tensor(PyTuple_GET_ITEM(kept_.get(), static_cast<Py_ssize_t>(i)), what, "argument");
  }
  TensorObject* const* get() { return tensors_.get(); }

 private:
  Ref kept_;
  ShortArray<TensorObject*, 16> tensors_;
};

// Replay.run(tensors, numbers)
PyObject* run_replay(const Replay& replay, PyObject* tensors, PyObject* numbers) {
  Given arguments(replay, tensors, "Replay.run");
  const Ref scalars = checked(PySequence_Tuple(numbers));
  return replay.run(arguments.get(), reinterpret_cast<PyTupleObject*>(scalars.get())->ob_item,
                    static_cast<size_t>(PyTuple_GET_SIZE(scalars.get())));
}

PyObject* call(PyObject* self, PyObject* args, PyObject* kwargs) {
  return guarded([&] {
    const ThreadState& ts = thread_state();
    if (ts.recording) {
      const Ref function = checked(PyObject_GetAttrString(self, "function"));
      return PyObject_Call(function.get(), args, kwargs);
    }
    Call c;
#ifdef Py_GIL_DISABLED
    const bool quick = false;  // the calls that are known are guarded by the GIL
#else
    const bool quick = c.read(args, kwargs, ts);
#endif
    if (quick && calls_of(self)) {
      if (const Ref found = Ref::borrow(calls_of(self)->find(c))) {
        const Replay& replay = *nb::inst_ptr<Replay>(found.get());
        if (replay.holds(c.tensors)) return replay.run(c.tensors, c.numbers, c.n_numbers);
      }
    }
    const Ref name = checked(PyUnicode_InternFromString("replay_of"));
    PyObject* given[] = {self, args, kwargs ? kwargs : Py_None};
    const Ref found = checked(PyObject_VectorcallMethod(name.get(), given, 3, nullptr));
    PyObject *object, *tensors, *numbers;
    if (!PyTuple_Check(found.get())) raise(PyExc_TypeError, "replay_of gives a tuple, not %R.", found.get());
    if (!PyArg_ParseTuple(found.get(), "OOO:replay_of", &object, &tensors, &numbers)) throw_python_error();
    const Replay& replay = replay_of(object);
    if (quick) {
      if (replay.arguments() != c.n_tensors) raise(PyExc_ValueError, "replay_of: the replay is of another call.");
      if (!calls_of(self)) calls_of(self) = new Calls;
      calls_of(self)->put(c, object);
    }
    return run_replay(replay, tensors, numbers);
  });
}

PyObject* known_calls(PyObject* self, void*) { return PyLong_FromSize_t(calls_of(self) ? calls_of(self)->size() : 0); }

int clear(PyObject* self) {
  if (calls_of(self)) calls_of(self)->forget();
  return 0;
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  delete std::exchange(calls_of(self), nullptr);
  type->tp_free(self);
  Py_DECREF(type);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return calls_of(self) ? calls_of(self)->traverse(visit, arg) : 0;
}

PyGetSetDef attributes[] = {
    {"_known_calls", known_calls, nullptr, "How many calls are found without Python.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

void make_replayer_type(PyObject* module) {
  PyType_Slot slots[] = {
      {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
      {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
      {Py_tp_clear, reinterpret_cast<void*>(clear)},
      {Py_tp_new, reinterpret_cast<void*>(PyType_GenericNew)},
      {Py_tp_call, reinterpret_cast<void*>(call)},
      {Py_tp_getset, attributes},
      {0, nullptr},
  };
  PyType_Spec spec = {"weft._native.Replayer", sizeof(ReplayerObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};
  const Ref type = checked(PyType_FromSpec(&spec));
  if (PyModule_AddObjectRef(module, "Replayer", type.get()) < 0) throw_python_error();
}

int traverse_replay(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return nb::inst_ready(self) ? nb::inst_ptr<Replay>(self)->traverse(visit, arg) : 0;
}

int clear_replay(PyObject* self) {
  nb::inst_ptr<Replay>(self)->clear();
  return 0;
}

PyType_Slot replay_slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(traverse_replay)},
                              {Py_tp_clear, reinterpret_cast<void*>(clear_replay)},
                              {0, nullptr}};

nb::object unflatten_from_python(nb::handle structure, nb::handle values) {
  const Ref given = checked(PySequence_Tuple(values.ptr()));
  const auto count = static_cast<size_t>(PyTuple_GET_SIZE(given.get()));
  ShortArray<Ref, 8> items(count);
  for (size_t i = 0; i < count; ++i) items[i] = Ref::borrow(PyTuple_GET_ITEM(given.get(), static_cast<Py_ssize_t>(i)));
  return nb::steal(unflatten(structure.ptr(), items.get(), count));
}

}  // namespace

void bind_replays(nb::module_& m) {
  using H = nb::handle;
  nb::class_<Replay>(m, "Replay", nb::type_slots(replay_slots), "What a call of a static function does once it was traced.")
      .def(nb::init<H, size_t, H, H, size_t, H, H, H, H, H, H, H, H, H, H>(), nb::arg("program"), nb::kw_only(), nb::arg("arguments"),
           nb::arg("inputs"), nb::arg("outputs"), nb::arg("hidden"), nb::arg("structure").none(), nb::arg("grads"), nb::arg("replaced"),
           nb::arg("attributes"), nb::arg("grads_read"), nb::arg("host"), nb::arg("apart").none(), nb::arg("shared").none(), nb::arg("failed").none(),
           nb::arg("attach").none())
      .def("holds", [](const Replay& replay, H tensors) { return replay.holds(Given(replay, tensors.ptr(), "Replay.holds").get()); },
           nb::arg("tensors"))
      .def("inputs", &Replay::inputs, nb::arg("tensors"));
  m.def("unflatten", unflatten_from_python, nb::arg("structure").none(), nb::arg("values"));
  make_replayer_type(m.ptr());
}

}  // namespace weft
