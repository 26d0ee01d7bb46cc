// See replay.h.
#include "python/replay.h"

#include <cstring>

#include "base/short_array.h"
#include "base/thread_state.h"
#include "python/containers.h"
#include "python/shortcut.h"

namespace weft {
namespace {

Ref tuple_of(nb::handle given) { return checked(PySequence_Tuple(given.ptr())); }

template <class Function>
void for_each(nb::handle given, Function function) {
  const Ref items = tuple_of(given);
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(items.get()); ++i) function(PyTuple_GET_ITEM(items.get(), i));
}

Ref callable_or_null(nb::handle given, const char* what) {
  if (given.is_none()) return Ref();
  if (!PyCallable_Check(given.ptr())) raise(PyExc_TypeError, "Replay: %s is a callable or None, not %R.", what, given.ptr());
  return Ref::borrow(given.ptr());
}

// The owner of a gradient and what goes with it.
std::pair<PyObject*, PyObject*> pair_of(PyObject* given, const char* what) {
  PyObject *owner, *other;
  if (!PyTuple_Check(given)) raise(PyExc_TypeError, "Replay: %s is a tuple, not %R.", what, given);
  if (!PyArg_ParseTuple(given, "OO:Replay", &owner, &other)) throw_python_error();
  return {owner, other};
}

PyObject* object_of(TensorObject* t) { return reinterpret_cast<PyObject*>(t); }

// Raises the exception that a callable returns.
[[noreturn]] void raise_made(const Ref& made) {
  if (PyExceptionInstance_Check(made.get()))
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(made.get())), made.get());
  else
    PyErr_Format(PyExc_TypeError, "Replay: a callable was to make an exception, and made %R.", made.get());
  throw_python_error();
}

// The exception that is set, which is set no more.
Ref take_exception() {
#if PY_VERSION_HEX >= 0x030C0000
  return Ref::steal(PyErr_GetRaisedException());
#else
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  const Ref keep_type = Ref::steal(type), keep_traceback = Ref::steal(traceback);
  return Ref::steal(value);
#endif
}

// A list of what `element` gives for each index: references of the list's own.
template <class Element>
Ref list_of(size_t count, Element element) {
  Ref list = checked(PyList_New(static_cast<Py_ssize_t>(count)));
  for (size_t i = 0; i < count; ++i) PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(i), checked(element(i)).release());
  return list;
}

// Of a new view. A gradient that another thread has taken away meanwhile has no views.
void set_base(const Ref& view, PyObject* base) {
  if (!is_tensor(view.get()) || !is_tensor(base)) return;
  as_tensor(view.get())->base = Py_NewRef(base);
  track(as_tensor(view.get()));
}

Ref list_of(TensorObject* const* tensors, size_t count) {
  return list_of(count, [&](size_t i) { return Py_NewRef(object_of(tensors[i])); });
}

}  // namespace

// The program's outputs, held for the time of a call.
class Replay::Made {
 public:
  Made(const ProgramObject& program, TensorObject* const* inputs, const int64_t* scalars)
      : count_(program.core.outputs.size()), outputs_(count_) {
    ShortArray<Storage*, 16> fresh(program.core.fresh_bytes.size());
    execute(program, inputs, scalars, fresh.get());
    make_outputs(program.core, inputs, fresh.get(), outputs_.get());
  }
  Made(const Made&) = delete;
  Made& operator=(const Made&) = delete;
  ~Made() {
    for (size_t i = 0; i < count_; ++i) Py_DECREF(outputs_[i]);
  }
  PyObject* operator[](size_t i) const { return outputs_[i]; }

 private:
  size_t count_;
  ShortArray<PyObject*, 16> outputs_;
};

Replay::Replay(nb::handle program, size_t arguments, nb::handle inputs, nb::handle outputs, size_t hidden,
               nb::handle structure, nb::handle grads, nb::handle replaced, nb::handle attributes, nb::handle grads_read, nb::handle host,
               nb::handle apart, nb::handle shared, nb::handle failed, nb::handle attach)
    : arguments_(arguments),
      hidden_(hidden),
      structure_(Ref::borrow(structure.ptr())),
      differentiates_(!apart.is_none()),
      shared_(callable_or_null(shared, "shared")),
      failed_(callable_or_null(failed, "failed")),
      attach_(callable_or_null(attach, "attach")) {
  if (!nb::isinstance<ProgramObject>(program)) raise(PyExc_TypeError, "Replay takes a Program, not %R.", program.ptr());
  program_object_ = Ref::borrow(program.ptr());
  program_ = nb::inst_ptr<ProgramObject>(program);
  for_each(inputs, [&](PyObject* o) {
    inputs_.push_back(read_place(o, true, 0));
    input_gradients_ += inputs_.back().kind == Place::gradient;
  });
  if (inputs_.size() != static_cast<size_t>(program_->core.inputs))
    raise(PyExc_ValueError, "Replay: the program %s takes %d inputs, not %zu.", program_->core.name, program_->core.inputs,
          inputs_.size());
  const Ref results = tuple_of(outputs);
  for_each(outputs, [&](PyObject* o) {
    outputs_.push_back(read_place(o, false, static_cast<size_t>(PyTuple_GET_SIZE(results.get()))));
    const Place& last = outputs_.back();
    if (last.kind == Place::again && last.index + 1 >= outputs_.size())
      raise(PyExc_ValueError, "Replay: result %zu is not before result %zu.", last.index, outputs_.size() - 1);
  });
  if (hidden_ > outputs_.size())
    raise(PyExc_ValueError, "Replay: of %zu results, %zu cannot be hidden.", outputs_.size(), hidden_);
  for_each(grads, [&](PyObject* o) {
    const auto [owner, place] = pair_of(o, "a gradient");
    const bool none = place == Py_None;
    grads_.push_back({read_owner(owner, "a gradient"), none, none ? Place{} : read_place(place, false, outputs_.size())});
  });
  for_each(replaced, [&](PyObject* o) { replaced_.push_back(read_owner(o, "replaced")); });
  for_each(attributes, [&](PyObject* o) {
    PyObject *owner, *name, *value;
    if (!PyTuple_Check(o)) raise(PyExc_TypeError, "Replay: an attribute is (owner, name, value), not %R.", o);
    if (!PyArg_ParseTuple(o, "OUO:Replay", &owner, &name, &value)) throw_python_error();
    const bool of_tensor = is_tensor(owner) && PyBool_Check(value) && PyUnicode_CompareWithASCIIString(name, "requires_grad") == 0;
    attributes_.push_back({Ref::borrow(owner), Ref::borrow(name), Ref::borrow(value), of_tensor, value == Py_True});
  });
  for_each(grads_read, [&](PyObject* o) {
    const auto [owner, found] = pair_of(o, "a gradient that was read");
    grads_read_.push_back({read_owner(owner, "a gradient that was read"), found == Py_None ? nullptr : meta_from_layout(found)});
  });
  if (differentiates_)
    for_each(apart, [&](PyObject* o) { apart_.push_back(Ref::borrow(object_of(expect_tensor(o, "Replay", "apart")))); });
  for_each(host, [&](PyObject* o) {
    if (!PyCallable_Check(o)) raise(PyExc_TypeError, "Replay: a number is read by a callable, not %R.", o);
    host_.push_back(Ref::borrow(o));
  });
}

// A tensor, or the number of an argument.
Owner Replay::read_owner(PyObject* given, const char* what) const {
  if (!PyLong_CheckExact(given)) return {Ref::borrow(object_of(expect_tensor(given, "Replay", what)))};
  const size_t index = PyLong_AsSize_t(given);
  if (PyErr_Occurred()) throw_python_error();
  if (index >= arguments_) raise(PyExc_ValueError, "Replay: of %zu arguments, there is no number %zu.", arguments_, index);
  return {Ref(), index};
}

// (kind, what, layout or None, delta, base); see _native.pyi.
Place Replay::read_place(PyObject* given, bool input, size_t results) const {
  const char* kind;
  PyObject *what, *layout;
  long long delta, base;
  if (!PyTuple_Check(given)) raise(PyExc_TypeError, "Replay: a place is a tuple, not %R.", given);
  if (!PyArg_ParseTuple(given, "sOOLL:Replay", &kind, &what, &layout, &delta, &base)) throw_python_error();
  if (delta <= -farthest_offset || delta >= farthest_offset)
    raise(PyExc_ValueError, "Replay: a view cannot begin %lld elements from its source.", delta);
  Place place{};
  place.meta = layout == Py_None ? nullptr : meta_from_layout(layout);
  place.delta = delta;
  place.base = base;
  if (base < Place::source_base || base >= static_cast<long long>(results) || (base != Place::no_base && !place.meta))
    raise(PyExc_ValueError, "Replay: %R cannot have the base %lld.", given, base);
  const auto is = [&](const char* name) { return std::strcmp(kind, name) == 0; };
  const bool made = is("made"), again = is("again");
  if (made || again || is("argument")) {
    const size_t end = made ? program_->core.outputs.size() : again ? results : arguments_;
    place.kind = made ? Place::made : again ? Place::again : Place::argument;
    place.index = PyLong_AsSize_t(what);
    if (PyErr_Occurred()) throw_python_error();
    if (place.index >= end) raise(PyExc_ValueError, "Replay: there are %zu of the kind '%s', not more than %zu.", end, kind, place.index);
  } else if (is("gradient")) {
    place.kind = Place::gradient;
    place.owner = read_owner(what, "the owner of a gradient");
  } else if (is("fixed")) {
    place.kind = Place::fixed;
    if (input || place.meta) expect_tensor(what, "Replay", "a fixed source");
    place.object = Ref::borrow(what);
  } else {
    raise(PyExc_ValueError, "Replay: the kind of a place is 'made', 'argument', 'fixed', 'gradient' or 'again', not '%s'.", kind);
  }
  if (input && (made || (place.kind == Place::gradient) != (place.meta != nullptr)))
    raise(PyExc_ValueError, "Replay: %R cannot be an input.", given);
  return place;
}

bool Replay::holds(TensorObject* const* tensors) const {
  for (const Attribute& a : attributes_) {
    if (a.of_tensor) {
      const TensorObject* t = as_tensor(a.owner.get());
      if (t->requires_grad != a.required || (t->behind() && thread_state().grad_enabled)) return false;
      continue;
    }
    const Ref now = checked(PyObject_GetAttr(a.owner.get(), a.name.get()));
    const int differs = PyObject_RichCompareBool(now.get(), a.value.get(), Py_NE);
    if (differs < 0) throw_python_error();
    if (differs) return false;
  }
  for (const GradRead& g : grads_read_) {
    const PyObject* now = g.owner.of(tensors)->grad;
    if ((now ? as_tensor(const_cast<PyObject*>(now))->meta : nullptr) != g.found) return false;
  }
  return true;
}

// `kept` takes the inputs that only an attribute holds, which another thread may assign.
void Replay::collect(TensorObject* const* tensors, TensorObject** inputs, Ref* kept) const {
  for (const Place& place : inputs_) {
    PyObject* o = place.object.get();
    if (place.kind == Place::gradient) {
      o = place.owner.of(tensors)->grad;
      if (!o || as_tensor(o)->meta != place.meta)
        raise(PyExc_RuntimeError, "%s reads a gradient that another thread has replaced meanwhile.", program_->core.name);
      *kept++ = Ref::borrow(o);
    }
    *inputs++ = o ? as_tensor(o) : tensors[place.index];
  }
}

// Refuses a call in which a tensor that the program writes shares memory with another of its inputs.
void Replay::check_apart(TensorObject* const* inputs) const {
  for (const Write& write : program_->core.writes) {
    const TensorObject* target = inputs[write.input];
    for (size_t i = 0; i < inputs_.size(); ++i) {
      if (inputs[i]->storage != target->storage || static_cast<size_t>(write.input) == i) continue;
      if (!shared_) raise(PyExc_ValueError, "Inputs of the program %s share memory that it writes.", program_->core.name);
      raise_made(checked(PyObject_CallFunctionObjArgs(shared_.get(), target, inputs[i], nullptr)));
    }
  }
}

// Refuses a call that finds gradients with an argument that reaches the function in another way too, for each of the two would
// have its own gradient, without the other's part; and one that assigns the gradient of an argument that has a history, through
// which it would have to go on.
void Replay::check_gradients(TensorObject* const* tensors) const {
  if (!differentiates_) return;
  const auto refuse = [&](TensorObject* t) {
    if (!shared_) raise(PyExc_ValueError, "%s cannot find the gradient of one of its arguments.", program_->core.name);
    raise_made(checked(PyObject_CallFunctionObjArgs(shared_.get(), t, Py_None, nullptr)));
  };
  for (size_t i = 0; i < arguments_; ++i) {
    if (!tensors[i]->requires_grad) continue;
    for (size_t j = 0; j < i; ++j)
      if (tensors[j] == tensors[i]) refuse(tensors[i]);
    for (const Ref& other : apart_)
      if (other.get() == object_of(tensors[i])) refuse(tensors[i]);
  }
  for (const Grad& g : grads_)
    if (!g.owner.tensor && !g.none && tensors[g.owner.argument]->grad_fn) refuse(tensors[g.owner.argument]);
}

PyObject* Replay::run(TensorObject* const* tensors, PyObject* const* numbers, size_t n_numbers) const {
  if (!program_) raise(PyExc_RuntimeError, "This replay was cleared by the garbage collector.");
  note_look();
  const Program& core = program_->core;
  const size_t n_inputs = inputs_.size(), n_scalars = core.scalar_kinds.size();
  if (n_numbers + host_.size() != n_scalars)
    raise(PyExc_ValueError, "The program %s takes %zu scalars, not %zu.", core.name, n_scalars, n_numbers + host_.size());
  ShortArray<TensorObject*, 16> inputs(n_inputs);
  ShortArray<Ref, 4> kept(input_gradients_);
  collect(tensors, inputs.get(), kept.get());
  check_apart(inputs.get());
  check_gradients(tensors);
  ShortArray<Ref, 4> host_numbers(host_.size());
  ShortArray<int64_t, 16> scalars(n_scalars);
  for (size_t i = 0; i < n_numbers; ++i) scalars[i] = scalar_bits(numbers[i], core.scalar_kinds[i], core.name);
  for (size_t i = 0; i < host_.size(); ++i) {
    const Ref number = checked(PyObject_CallNoArgs(host_[i].get()));
    host_numbers[i] = checked(PyNumber_Float(number.get()));
    scalars[n_numbers + i] = scalar_bits(host_numbers[i].get(), core.scalar_kinds[n_numbers + i], core.name);
  }
  ShortArray<uint32_t, 16> versions(attach_ ? n_inputs : 0);
  if (attach_)
    for (size_t i = 0; i < n_inputs; ++i) versions[i] = inputs[i]->storage->version;
  for (const Owner& owner : replaced_)  // or old and new gradients would take memory at once
    if (set_gradient(object_of(owner.of(tensors)), Py_None) < 0) throw_python_error();

  ShortArray<Ref, 8> results(outputs_.size());
  try {
    const Made made(*program_, inputs.get(), scalars.get());
    try {
      for (size_t i = 0; i < outputs_.size(); ++i) {
        const Place& place = outputs_[i];
        results[i] = place.kind == Place::again ? Ref::borrow(results[place.index].get()) : give(place, made, tensors);
      }
      for (size_t i = 0; i < outputs_.size(); ++i)
        if (outputs_[i].base >= 0) set_base(results[i], results[static_cast<size_t>(outputs_[i].base)].get());
    } catch (...) {  // what the program wrote stays, so its gradients must be there too
      give_gradients(made, tensors, results.get());
      throw;
    }
    give_gradients(made, tensors, results.get());
  } catch (nb::python_error& error) {
    if (!failed_ || !error.matches(PyExc_IndexError)) throw;
    raise_located(error);
  }
  if (attach_ && thread_state().grad_enabled)
    record(tensors, inputs.get(), versions.get(), numbers, n_numbers, host_numbers.get(), results.get());
  return unflatten(structure_.get(), results.get(), outputs_.size() - hidden_);
}

Ref Replay::give(const Place& place, const Made& made, TensorObject* const* tensors) const {
  PyObject* source = place.object.get();
  switch (place.kind) {
    case Place::made: source = made[place.index]; break;
    case Place::argument: source = object_of(tensors[place.index]); break;
    case Place::gradient: source = place.owner.of(tensors)->grad; break;
    case Place::fixed:
    case Place::again: break;
  }
  if (!source || !place.meta) return Ref::borrow(source ? source : Py_None);
  const TensorObject* t = as_tensor(source);
  Ref view = checked(new_view(t, place.meta, place.delta));
  if (place.base == Place::source_base) set_base(view, t->base ? t->base : source);
  return view;
}

void Replay::give_gradients(const Made& made, TensorObject* const* tensors, const Ref* results) const {
  if (grads_.empty()) return;
  ShortArray<Ref, 16> found(grads_.size());
  for (size_t i = 0; i < grads_.size(); ++i) {
    const Place& place = grads_[i].place;
    if (grads_[i].none)
      found[i] = Ref::borrow(Py_None);
    else if (place.kind != Place::again)
      found[i] = give(place, made, tensors);
    else if (const Ref& result = results[place.index])
      found[i] = Ref::borrow(result.get());
    else  // which could not be given
      found[i] = give(outputs_[place.index], made, tensors);
  }
  for (size_t i = 0; i < grads_.size(); ++i)
    if (set_gradient(object_of(grads_[i].owner.of(tensors)), found[i].get()) < 0) throw_python_error();
}

// The error of an index out of range, with the lines that this function knows, as `raise ... from None`.
void Replay::raise_located(nb::python_error& error) const {
  error.restore();
  const Ref first = take_exception();
  const Ref located = checked(PyObject_CallOneArg(failed_.get(), first.get()));
  if (PyExceptionInstance_Check(located.get())) PyException_SetCause(located.get(), nullptr);
  raise_made(located);
}

// Hangs the results from the tape.
void Replay::record(TensorObject* const* tensors, TensorObject* const* inputs, const uint32_t* versions,
                    PyObject* const* numbers, size_t n_numbers, const Ref* host_numbers, const Ref* results) const {
  const Ref given = list_of(tensors, arguments_), read = list_of(inputs, inputs_.size());
  const Ref outs = list_of(outputs_.size(), [&](size_t i) { return Py_NewRef(results[i].get()); });
  const Ref before = list_of(inputs_.size(), [&](size_t i) { return PyLong_FromUnsignedLong(versions[i]); });
  const Ref scalars = list_of(n_numbers + host_.size(), [&](size_t i) {
    return Py_NewRef(i < n_numbers ? numbers[i] : host_numbers[i - n_numbers].get());
  });
  checked(PyObject_CallFunctionObjArgs(attach_.get(), outs.get(), read.get(), before.get(), scalars.get(), given.get(), nullptr));
}

nb::list Replay::inputs(nb::handle tensors) const {
  const Ref given = tuple_of(tensors);
  if (static_cast<size_t>(PyTuple_GET_SIZE(given.get())) != arguments_)
    raise(PyExc_ValueError, "Replay.inputs takes %zu tensors.", arguments_);
  ShortArray<TensorObject*, 16> arguments(arguments_), found(inputs_.size());
  for (size_t i = 0; i < arguments_; ++i)
    arguments[i] = expect_tensor(PyTuple_GET_ITEM(given.get(), static_cast<Py_ssize_t>(i)), "Replay.inputs", "argument");
  ShortArray<Ref, 4> kept(input_gradients_);
  collect(arguments.get(), found.get(), kept.get());
  return nb::steal<nb::list>(list_of(found.get(), inputs_.size()).release());
}

int Replay::traverse(visitproc visit, void* arg) const {
  for (const std::vector<Place>* places : {&inputs_, &outputs_})
    for (const Place& place : *places) {
      Py_VISIT(place.object.get());
      Py_VISIT(place.owner.tensor.get());
    }
  for (const Grad& g : grads_) {
    Py_VISIT(g.owner.tensor.get());
    Py_VISIT(g.place.object.get());
    Py_VISIT(g.place.owner.tensor.get());
  }
  for (const Owner& owner : replaced_) Py_VISIT(owner.tensor.get());
  for (const std::vector<Ref>* list : {&host_, &apart_})
    for (const Ref& o : *list) Py_VISIT(o.get());
  for (const Attribute& a : attributes_) {
    Py_VISIT(a.owner.get());
    Py_VISIT(a.value.get());
  }
  for (const GradRead& g : grads_read_) Py_VISIT(g.owner.tensor.get());
  for (const Ref* o : {&program_object_, &structure_, &shared_, &failed_, &attach_}) Py_VISIT(o->get());
  return 0;
}

void Replay::clear() {
  program_ = nullptr;
  // Taken away first, because dropping an object may run any code.
  const auto inputs = std::exchange(inputs_, {}), outputs = std::exchange(outputs_, {});
  const auto grads = std::exchange(grads_, {});
  const auto replaced = std::exchange(replaced_, {});
  const auto host = std::exchange(host_, {}), apart = std::exchange(apart_, {});
  const auto attributes = std::exchange(attributes_, {});
  const auto grads_read = std::exchange(grads_read_, {});
  for (Ref* o : {&program_object_, &structure_, &shared_, &failed_, &attach_}) *o = Ref();
}

}  // namespace weft
