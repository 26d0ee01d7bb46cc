// Running a Program under Python: the GIL, Ctrl-C, the exception of a fallible kernel, version counters.
#include "python/program_object.h"

#include <bit>

#include "base/names.h"
#include "base/short_array.h"
#include "python/gil.h"

namespace weft {
namespace {

// Keeps the inputs' memory while other threads may run Python.
class RetainedStorages {
 public:
  RetainedStorages(TensorObject* const* tensors, size_t count) : storages_(count), count_(count) {
    for (size_t i = 0; i < count; ++i) storages_[i] = retain(tensors[i]->storage);
  }
  RetainedStorages(const RetainedStorages&) = delete;
  RetainedStorages& operator=(const RetainedStorages&) = delete;
  ~RetainedStorages() {
    for (size_t i = 0; i < count_; ++i) release(storages_[i]);
  }
  void wrote(const Write& write) {
    Storage* s = storages_[static_cast<size_t>(write.input)];
    ++s->version;
    s->last_op = write.op_name;
  }

 private:
  ShortArray<Storage*, 16> storages_;
  size_t count_;
};

RunStatus run_without_gil(const Program& program, Run& run) {
  const ReleasedGil released;
  run.poll = released.poll();
  return run_program(program, run);
}

[[noreturn]] void raise_index_error(const ProgramObject& program, const Run& run) {
  const Ref& site = program.sites[static_cast<size_t>(run.failed_instruction)];
  const char* name = program.core.instructions[static_cast<size_t>(run.failed_instruction)].name;
  if (!hooks.index_error) raise(PyExc_IndexError, "An index is out of range in the kernel %s.", name);
  PyObject* site_object = site ? site.get() : Py_None;
  const Ref status = checked(PyLong_FromLongLong(run.failed_status));
  const Ref made = checked(PyObject_CallFunctionObjArgs(hooks.index_error, site_object, status.get(), nullptr));
  if (!PyExceptionInstance_Check(made.get()))
    raise(PyExc_IndexError, "An index is out of range in the kernel %s.", name);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(made.get())), made.get());
  throw_python_error();
}

void check_inputs(const Program& program, TensorObject* const* inputs) {
  for (size_t i = 0; i < static_cast<size_t>(program.inputs); ++i) {
    if (!inputs[i]->storage->data)
      raise(PyExc_RuntimeError, "Input %zu of the program %s has not been computed yet.", i, program.name);
    if (!program.input_metas.empty() && program.input_metas[i] && inputs[i]->meta != program.input_metas[i]) {
      const Ref got = checked(layout_tuple(inputs[i]->meta)), want = checked(layout_tuple(program.input_metas[i]));
      raise(PyExc_ValueError, "Input %zu of the program %s has the layout %R; the program was built for %R.", i,
            program.name, got.get(), want.get());
    }
  }
  for (const Write& w : program.writes)
    if (inputs[w.input]->storage->readonly)
      raise(PyExc_ValueError, "%s cannot change a tensor whose memory is read-only; use x.clone() first.",
            name_of(w.op_name));
}

}  // namespace

int64_t scalar_bits(PyObject* number, char kind, const char* program) {
  if (kind == 'f') {
    if (PyFloat_Check(number)) return std::bit_cast<int64_t>(PyFloat_AS_DOUBLE(number));
    if (PyLong_Check(number)) {
      const double value = PyLong_AsDouble(number);
      if (value == -1.0 && PyErr_Occurred()) {
        PyErr_Clear();
        raise(PyExc_OverflowError, "%s: a Python integer is too large for a float.", program);
      }
      return std::bit_cast<int64_t>(value);
    }
  } else if (PyLong_Check(number)) {
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow == 0) return value;
    if (overflow > 0) {
      const unsigned long long large = PyLong_AsUnsignedLongLong(number);
      if (!PyErr_Occurred()) return static_cast<int64_t>(large);
      PyErr_Clear();
    }
    raise(PyExc_OverflowError, "%s: the Python integer %R does not fit in 64 bits.", program, number);
  }
  raise(PyExc_TypeError, "%s takes a Python %s here, not %.100s.", program, kind == 'f' ? "float" : "int",
        Py_TYPE(number)->tp_name);
}

void execute(const ProgramObject& object, TensorObject* const* inputs, const int64_t* scalars, Storage** fresh) {
  const Program& program = object.core;
  const auto count = static_cast<size_t>(program.inputs);
  check_inputs(program, inputs);
  ShortArray<void*, 16> data(count);
  for (size_t i = 0; i < count; ++i) data[i] = inputs[i]->data();
  Run run{.inputs = data.get(), .scalars = scalars, .fresh = fresh};
  if (!program.release_gil) {
    const RunStatus status = run_program(program, run);
    if (status == RunStatus::failed) raise_index_error(object, run);
    for (const Write& w : program.writes) {
      Storage* s = inputs[w.input]->storage;
      ++s->version;
      s->last_op = w.op_name;
    }
    return;
  }
  RetainedStorages retained(inputs, count);
  const RunStatus status = run_without_gil(program, run);
  if (status == RunStatus::interrupted) throw_python_error();
  if (status == RunStatus::failed) raise_index_error(object, run);
  for (const Write& w : program.writes) retained.wrote(w);
}

void make_outputs(const Program& program, TensorObject* const* inputs, Storage** fresh, PyObject** outputs) {
  size_t made = 0;
  for (const Output& o : program.outputs) {
    PyObject* result = nullptr;
    switch (o.kind) {
      case Output::same_input: result = Py_NewRef(reinterpret_cast<PyObject*>(inputs[o.index])); break;
      case Output::view_of_input: {
        const TensorObject* t = inputs[o.index];
        if (o.meta->fits(t->offset + o.offset, t->storage->nbytes))
          result = new_alias(t, o.meta, t->offset + o.offset);
        else
          PyErr_Format(PyExc_ValueError, "An output of the program %s reaches outside the memory of its input.",
                       program.name);
        break;
      }
      case Output::fresh: {
        Storage* s = o.last_use ? std::exchange(fresh[o.index], nullptr) : retain(fresh[o.index]);
        result = new_tensor(s, o.meta, o.offset);
        break;
      }
    }
    if (!result) break;
    outputs[made++] = result;
  }
  for (size_t i = 0; i < program.fresh_bytes.size(); ++i)
    if (fresh[i]) release(fresh[i]);
  if (made == program.outputs.size()) return;
  while (made) Py_DECREF(outputs[--made]);
  throw_python_error();
}

nb::list run_from_python(const ProgramObject& object, nb::handle inputs, nb::handle scalars, nb::handle into) {
  const Program& program = object.core;
  if (!into.is_none() && !PyList_Check(into.ptr()))
    raise(PyExc_TypeError, "Program.run appends its results to a list, not to %R.", into.ptr());
  // Tuples of our own, so that another thread cannot change the lists meanwhile.
  const Ref given = checked(PySequence_Tuple(inputs.ptr()));
  const Ref numbers = scalars.is_none() ? checked(PyTuple_New(0)) : checked(PySequence_Tuple(scalars.ptr()));
  const auto count = static_cast<size_t>(program.inputs);
  if (static_cast<size_t>(PyTuple_GET_SIZE(given.get())) != count)
    raise(PyExc_ValueError, "The program %s takes %zu inputs, not %zd.", program.name, count,
          PyTuple_GET_SIZE(given.get()));
  if (static_cast<size_t>(PyTuple_GET_SIZE(numbers.get())) != program.scalar_kinds.size())
    raise(PyExc_ValueError, "The program %s takes %zu scalars, not %zd.", program.name, program.scalar_kinds.size(),
          PyTuple_GET_SIZE(numbers.get()));
  ShortArray<TensorObject*, 16> tensors(count);
  for (size_t i = 0; i < count; ++i)
    tensors[i] = expect_tensor(PyTuple_GET_ITEM(given.get(), static_cast<Py_ssize_t>(i)), "Program.run", "input");
  ShortArray<int64_t, 16> bits(program.scalar_kinds.size());
  for (size_t i = 0; i < program.scalar_kinds.size(); ++i)
    bits[i] = scalar_bits(PyTuple_GET_ITEM(numbers.get(), static_cast<Py_ssize_t>(i)), program.scalar_kinds[i],
                          program.name);
  ShortArray<Storage*, 16> fresh(program.fresh_bytes.size());
  ShortArray<PyObject*, 16> outputs(program.outputs.size());
  execute(object, tensors.get(), bits.get(), fresh.get());
  make_outputs(program, tensors.get(), fresh.get(), outputs.get());
  const auto n = static_cast<Py_ssize_t>(program.outputs.size());
  PyObject* list = PyList_New(n);
  for (Py_ssize_t i = 0; i < n; ++i) {
    if (list)
      PyList_SET_ITEM(list, i, outputs[static_cast<size_t>(i)]);
    else
      Py_DECREF(outputs[static_cast<size_t>(i)]);
  }
  if (!list) throw_python_error();
  nb::list result = nb::steal<nb::list>(list);
  if (!into.is_none() && PyList_Append(into.ptr(), list) < 0) throw_python_error();
  return result;
}

}  // namespace weft
