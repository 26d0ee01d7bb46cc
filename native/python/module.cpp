// The module weft._native: its functions, and the two classes bound through nanobind.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/allocator.h"
#include "base/names.h"
#include "base/pool.h"
#include "base/profile.h"
#include "base/thread_state.h"
#include "gemm/matrix_unit.h"
#include "gemm/small.h"
#include "gemm/tile.h"
#include "program/program.h"
#include "python/gil.h"
#include "python/grad_node.h"
#include "python/interop.h"
#include "python/op.h"
#include "python/program_object.h"
#include "python/replayer.h"
#include "python/scopes.h"
#include "python/shortcut.h"
#include "python/slots.h"

namespace weft {
namespace {

nb::object own(PyObject* o) { return nb::steal(checked(o).release()); }

// ---- hooks ----

// Each setter returns the callable that was there before, or None.
nb::object set_hook(PyObject*& hook, nb::handle callable, const char* name) {
  if (!callable.is_none() && !PyCallable_Check(callable.ptr()))
    raise(PyExc_TypeError, "%s takes a callable or None, not %R.", name, callable.ptr());
  PyObject* old = std::exchange(hook, callable.is_none() ? nullptr : Py_NewRef(callable.ptr()));
  return old ? nb::steal(old) : nb::none();
}

// ---- making tensors ----

nb::object empty(nb::handle shape, nb::handle dtype) {
  const Dims dims = parse_dims(shape.ptr(), "shape");
  const Meta* meta = intern_contiguous(dtype_of(dtype.ptr()), dims.span());
  return own(new_tensor(new_storage(static_cast<size_t>(meta->nbytes())), meta, 0));
}

nb::object from_bytes(nb::handle bytes, nb::handle dtype, nb::handle shape) {
  const Dims dims = parse_dims(shape.ptr(), "shape");
  const Meta* meta = intern_contiguous(dtype_of(dtype.ptr()), dims.span());
  Py_buffer view;
  if (PyObject_GetBuffer(bytes.ptr(), &view, PyBUF_SIMPLE) < 0) throw_python_error();
  const Py_ssize_t given = view.len;
  if (given != meta->nbytes()) {
    PyBuffer_Release(&view);
    raise(PyExc_ValueError, "from_bytes: a tensor of this shape has %lld bytes; %zd were given.",
          static_cast<long long>(meta->nbytes()), given);
  }
  PyObject* made = guarded([&] {
    Storage* storage = new_storage(static_cast<size_t>(given));
    if (given) std::memcpy(storage->data, view.buf, static_cast<size_t>(given));
    return new_tensor(storage, meta, 0);
  });
  PyBuffer_Release(&view);
  return own(made);
}

// A tensor over the same storage with another layout; `delta` elements further on.
nb::object strided(nb::handle tensor, nb::handle shape, nb::handle strides, int64_t delta) {
  const TensorObject* t = expect_tensor(tensor.ptr(), "strided", "first argument");
  const Dims dims = parse_dims(shape.ptr(), "shape"), steps = parse_dims(strides.ptr(), "strides");
  return own(new_view(t, intern_meta(t->meta->dtype, dims.span(), steps.span()), delta));
}

// A tensor over a storage, for as long as that lives.
class WeakStorage {
 public:
  explicit WeakStorage(const TensorObject* t) : watch_(watch(t->storage)), meta_(t->meta), offset_(t->offset) {}
  WeakStorage(const WeakStorage&) = delete;
  WeakStorage& operator=(const WeakStorage&) = delete;
  ~WeakStorage() { unwatch(watch_); }

  nb::object tensor() const {
    if (!watch_->storage) return nb::none();
    return own(new_tensor(retain(watch_->storage), meta_, offset_));
  }

 private:
  StorageWatch* watch_;
  const Meta* meta_;
  int64_t offset_;
};

WeakStorage* weak_storage(nb::handle tensor) {
  return new WeakStorage(expect_tensor(tensor.ptr(), "weak_storage", "argument"));
}

nb::object alias(nb::handle tensor) {
  const TensorObject* t = expect_tensor(tensor.ptr(), "alias", "argument");
  return own(new_alias(t, t->meta, t->offset));
}

nb::object reinterpret(nb::handle tensor, nb::handle dtype) {
  const TensorObject* t = expect_tensor(tensor.ptr(), "reinterpret", "first argument");
  const DType d = dtype_of(dtype.ptr());
  if (itemsize(d) != itemsize(t->meta->dtype))
    raise(PyExc_ValueError, "reinterpret: elements of %s and %s differ in size.", dtype_name(t->meta->dtype),
          dtype_name(d));
  return own(new_alias(t, intern_meta(d, t->meta->shape(), t->meta->strides()), t->offset));
}

nb::object make_virtual(nb::handle dtype, nb::handle shape, nb::handle strides) {
  const Dims dims = parse_dims(shape.ptr(), "shape");
  const DType d = dtype_of(dtype.ptr());
  const Meta* meta = nullptr;
  if (strides.is_none()) {
    meta = intern_contiguous(d, dims.span());
  } else {
    const Dims steps = parse_dims(strides.ptr(), "strides");
    meta = intern_meta(d, dims.span(), steps.span());
  }
  if (meta->low < 0) raise(PyExc_ValueError, "virtual: a tensor without data has no negative strides.");
  return own(new_tensor(virtual_storage(static_cast<size_t>(meta->span_bytes(0))), meta, 0));
}

// Gives a virtual tensor's storage the values of `source`, which has the same layout, and ends its pending state.
void resolve(nb::handle tensor, nb::handle source) {
  TensorObject* t = expect_tensor(tensor.ptr(), "resolve", "first argument");
  TensorObject* from = expect_tensor(source.ptr(), "resolve", "second argument");
  if (t->storage->data) raise(PyExc_ValueError, "resolve: the tensor has data already.");
  if (!from->storage->data) raise(PyExc_ValueError, "resolve: the source has no data.");
  const int64_t bytes = static_cast<int64_t>(t->storage->nbytes), begin = from->offset * from->meta->itemsize();
  if (from->meta->dtype != t->meta->dtype || static_cast<int64_t>(from->storage->nbytes) - begin < bytes)
    raise(PyExc_ValueError, "resolve: the source has another type or fewer bytes than the tensor.");
  if (begin != 0 || !take_over(t->storage, from->storage)) {
    // Somebody else uses the memory too: keep it alive through an alias of our own.
    PyObject* owner = checked(new_alias(from, from->meta, from->offset)).release();
    t->storage->owner = owner;
    t->storage->data = from->data();
    t->storage->readonly = from->storage->readonly;
  }
  Py_XDECREF(static_cast<PyObject*>(std::exchange(t->storage->pending, nullptr)));
}

// Makes the tensor refer to another one's storage and layout.
void set_storage(nb::handle tensor, nb::handle source) {
  TensorObject* t = expect_tensor(tensor.ptr(), "set_storage", "first argument");
  const TensorObject* from = expect_tensor(source.ptr(), "set_storage", "second argument");
  Storage* old = std::exchange(t->storage, retain(from->storage));
  t->meta = from->meta;
  t->offset = from->offset;
  t->epoch = from->storage->epoch;
  if (t->storage->pending) track(t);
  release(old);
}

void bump_version(nb::handle tensor, const std::string& op) {
  Storage* s = expect_tensor(tensor.ptr(), "bump_version", "first argument")->storage;
  ++s->version;
  s->last_op = name_id(op);
}

bool is_plain(nb::handle o) { return is_tensor(o.ptr()) && as_tensor(o.ptr())->plain() && as_tensor(o.ptr())->storage->data; }

// ---- matrix products ----

template <class T>
void take_tiles(int rows, int columns, int packed_rows, int lanes, int turned, const std::vector<uintptr_t>& addresses) {
  constexpr size_t others = 12;
  std::vector<int> edges(static_cast<size_t>(std::clamp(rows, 0, most_tile_rows)));
  std::iota(edges.begin(), edges.end(), 1);
  for (int tall : tall_edges)
    if (tall > rows) edges.push_back(tall);
  if (rows < 1 || rows > most_tile_rows || columns < 1 || columns > most_tile_columns || packed_rows < rows || lanes < 1 ||
      lanes > columns || turned < 1 || turned > most_turned || addresses.size() != static_cast<size_t>(rows) + edges.size() + others)
    raise(PyExc_ValueError, "set_tiles: tiles of at most %d x %d elements need two functions for each height, one for each higher edge, and "
          "%zu others, not %d x %d elements and %zu functions.",
          most_tile_rows, most_tile_columns, others, rows, columns, addresses.size());
  TileSet<T> set{};
  set.mr = rows, set.nr = columns, set.packed_rows = packed_rows, set.narrow = lanes;
  set.wide = panel_vectors * lanes, set.turned = turned;
  const auto* next = addresses.data();
  for (int i = 0; i < rows; ++i) set.of_rows[i] = reinterpret_cast<Tile<T>>(*next++);
  for (int height : edges) set.edges[height - 1] = reinterpret_cast<Edge<T>>(*next++);
  set.column = reinterpret_cast<Column<T>>(*next++);
  set.opening = reinterpret_cast<Opening<T>>(*next++);
  set.pack_a = reinterpret_cast<Pack<T>>(*next++);
  set.pack_b = reinterpret_cast<Pack<T>>(*next++);
  set.pack_wide = reinterpret_cast<Pack<T>>(*next++);
  set.stream_b = reinterpret_cast<Pack<T>>(*next++);
  set.turn = reinterpret_cast<Turn<T>>(*next++);
  set.skip = reinterpret_cast<Skip<T>>(*next++);
  set.nonzero = reinterpret_cast<Nonzero<T>>(*next++);
  set.extent = reinterpret_cast<Extent<T>>(*next++);
  set.nonzero_across = reinterpret_cast<NonzeroAcross<T>>(*next++);
  set.copy_wide = reinterpret_cast<CopyWide<T>>(*next);
  set_tiles(set);
}

void set_tiles_of(int code, int rows, int columns, int packed_rows, int lanes, int turned, const std::vector<uintptr_t>& addresses) {
  if (code == static_cast<int>(DType::float32))
    take_tiles<float>(rows, columns, packed_rows, lanes, turned, addresses);
  else if (code == static_cast<int>(DType::float64))
    take_tiles<double>(rows, columns, packed_rows, lanes, turned, addresses);
  else
    raise(PyExc_ValueError, "set_tiles: there are tiles of float32 and float64 only, not of the type with code %d.", code);
}

// ---- counters, memory, profile ----

nb::dict counters() {
  nb::dict d;
  d["kernel_launches"] = total_over_threads(&ThreadState::kernel_launches);
  d["gemm_launches"] = total_over_threads(&ThreadState::gemm_launches);
  d["gemms_skipping_zeros"] = total_over_threads(&ThreadState::gemms_skipping_zeros);
  d["gemms_by_matrix_unit"] = total_over_threads(&ThreadState::gemms_by_matrix_unit);
  d["program_runs"] = total_over_threads(&ThreadState::program_runs);
  return d;
}

nb::dict memory() {
  const MemoryStats stats = memory_stats();
  nb::dict d;
  d["live_bytes"] = stats.live_bytes;
  d["cached_bytes"] = stats.cached_bytes;
  d["peak_bytes"] = stats.peak_bytes;
  d["allocations"] = stats.allocations;
  return d;
}

nb::list take_profile() {
  nb::list list;
  for (const ProfileEvent& e : take_events())
    list.append(nb::make_tuple(e.program, e.instruction, e.start_ns, e.end_ns, e.thread));
  return list;
}

// ---- garbage collection of the nanobind classes ----

int traverse_plan(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (!nb::inst_ready(self)) return 0;
  const Plan* plan = nb::inst_ptr<Plan>(self);
  for (const Ref* field : {&plan->program_object, &plan->keeping_object, &plan->payload, &plan->op, &plan->attrs})
    Py_VISIT(field->get());
  return 0;
}

int clear_plan(PyObject* self) {
  Plan* plan = nb::inst_ptr<Plan>(self);
  for (Ref* field : {&plan->payload, &plan->op}) *field = Ref();
  return 0;
}

int traverse_program(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (!nb::inst_ready(self)) return 0;
  const ProgramObject* program = nb::inst_ptr<ProgramObject>(self);
  for (const Ref& site : program->sites) Py_VISIT(site.get());
  return 0;
}

int clear_program(PyObject* self) {
  for (Ref& site : nb::inst_ptr<ProgramObject>(self)->sites) site = Ref();
  return 0;
}

PyType_Slot plan_slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(traverse_plan)},
                            {Py_tp_clear, reinterpret_cast<void*>(clear_plan)},
                            {0, nullptr}};
PyType_Slot program_slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(traverse_program)},
                               {Py_tp_clear, reinterpret_cast<void*>(clear_program)},
                               {0, nullptr}};

nb::object or_none(const Ref& ref) { return nb::borrow(ref ? ref.get() : Py_None); }

void bind_classes(nb::module_& m) {
  nb::class_<ProgramObject>(m, "Program", nb::type_slots(program_slots), "Kernel calls over planned buffers.")
      .def(nb::init<nb::handle>(), nb::arg("spec"))
      .def("run", run_from_python, nb::arg("inputs"), nb::arg("scalars") = nb::none(), nb::arg("into") = nb::none(),
           "The list of results; it is also appended to the list `into`, which a signal's exception cannot prevent.")
      .def_prop_ro("name", [](const ProgramObject& p) { return p.core.name; })
      .def_prop_ro("inputs", [](const ProgramObject& p) { return p.core.inputs; })
      .def_prop_ro("instructions",
                   [](const ProgramObject& p) {
                     nb::list list;
                     for (const Instruction& i : p.core.instructions) list.append(i.name);
                     return list;
                   })
      .def_prop_ro("arena_bytes", [](const ProgramObject& p) { return p.core.arena_bytes; });
  nb::class_<Plan>(m, "Plan", nb::type_slots(plan_slots), "How an operation runs for operands of given layouts.")
      .def(nb::init<const char*, nb::handle, nb::handle, bool, nb::handle>(), nb::arg("kind"),
           nb::arg("program").none(), nb::arg("outputs").none() = nb::none(), nb::arg("differentiable") = false,
           nb::arg("payload").none() = nb::none())
      .def("run", run_plan_from_python, nb::arg("operands"))
      .def("set_saves", &Plan::set_saves, nb::arg("masks"), nb::arg("keeping").none() = nb::none(),
           "For each operand the masks of the operands and results that its gradient reads; results include those "
           "beyond the plan's own of `keeping`, a program that runs instead where a call is recorded.")
      .def_prop_rw("payload", [](const Plan& p) { return or_none(p.payload); },
                   [](Plan& p, nb::handle value) { p.payload = Ref::borrow(value.ptr()); }, nb::arg("value").none())
      .def_prop_ro("kind",
                   [](const Plan& p) {
                     return p.kind == Plan::program ? "program" : p.kind == Plan::inplace ? "inplace" : "view";
                   })
      .def_prop_ro("program", [](const Plan& p) { return or_none(p.program_object); })
      .def_prop_ro("op", [](const Plan& p) { return or_none(p.op); })
      .def_prop_ro("attrs", [](const Plan& p) { return or_none(p.attrs); })
      .def_prop_ro("differentiable", [](const Plan& p) { return p.differentiable; })
      .def_prop_ro("grad_ready", [](const Plan& p) { return p.grad_ready; });
}

void bind_functions(nb::module_& m) {
  m.def("set_dtypes", [](nb::handle list) { set_dtypes(list.ptr()); }, nb::arg("dtypes"));
  m.def("set_slot", [](const char* name, nb::handle callable) { return nb::steal(set_slot(name, callable.ptr())); }, nb::arg("name"),
        nb::arg("callable").none());
  m.def("set_matrix_product", [](nb::handle handle) { return nb::steal(set_matrix_product(handle.ptr())); },
        nb::arg("handle").none());
  m.def("set_copying", [](nb::handle handle) { return nb::steal(set_copying(handle.ptr())); }, nb::arg("handle").none());
  m.def("set_slow_path", [](nb::handle f) { return set_hook(hooks.slow_path, f, "set_slow_path"); }, nb::arg("callable").none());
  m.def("set_realize", [](nb::handle f) { return set_hook(hooks.realize, f, "set_realize"); }, nb::arg("callable").none());
  m.def("set_tiles", set_tiles_of, nb::arg("dtype_code"), nb::arg("rows"), nb::arg("columns"), nb::arg("packed_rows"),
        nb::arg("lanes"), nb::arg("turned"), nb::arg("addresses"));
  m.def("use_matrix_unit", [](bool wanted) { return use_matrix_unit(wanted ? cpu_matrix_unit() : nullptr) != nullptr; },
        nb::arg("wanted"), "Whether products may be made by the CPU's matrix unit; returns what was.");
  m.def("has_matrix_unit", [] { return matrix_unit() != nullptr; }, "Whether there is a matrix unit that products may be made by.");
  m.def("set_index_error", [](nb::handle f) { return set_hook(hooks.index_error, f, "set_index_error"); },
        nb::arg("callable").none());
  m.def(
      "set_grad_hook",
      [](nb::handle get, nb::handle set) {
        nb::object old_get = set_hook(hooks.grad_get, get, "set_grad_hook");
        return nb::make_tuple(old_get, set_hook(hooks.grad_set, set, "set_grad_hook"));
      },
      nb::arg("get").none(), nb::arg("set").none());

  m.def("empty", empty, nb::arg("shape"), nb::arg("dtype"));
  m.def("from_bytes", from_bytes, nb::arg("data"), nb::arg("dtype"), nb::arg("shape"));
  m.def("from_numpy", [](nb::handle o) { return nb::steal(tensor_from_buffer(o.ptr())); }, nb::arg("array"));
  m.def("from_buffer", [](nb::handle o) { return nb::steal(tensor_from_buffer(o.ptr())); }, nb::arg("buffer"));
  m.def("from_dlpack", [](nb::handle o) { return nb::steal(tensor_from_dlpack(o.ptr())); }, nb::arg("object"));
  m.def("strided", strided, nb::arg("tensor"), nb::arg("shape"), nb::arg("strides"), nb::arg("offset_delta") = 0);
  nb::class_<WeakStorage>(m, "WeakStorage", "Calling it gives a tensor over the storage, or None once that is gone.")
      .def("__call__", &WeakStorage::tensor);
  m.def("weak_storage", weak_storage, nb::arg("tensor"));
  m.def("next_seq", take_seq);
  m.def("element", [](nb::handle t) { return nb::steal(only_element(expect_tensor(t.ptr(), "element", "argument"))); },
        nb::arg("tensor"));
  m.def("alias", alias, nb::arg("tensor"));
  m.def("reinterpret", reinterpret, nb::arg("tensor"), nb::arg("dtype"));
  m.def("virtual", make_virtual, nb::arg("dtype"), nb::arg("shape"), nb::arg("strides").none() = nb::none());
  m.def("resolve", resolve, nb::arg("tensor"), nb::arg("source"));
  m.def("set_storage", set_storage, nb::arg("tensor"), nb::arg("source"));
  m.def("bump_version", bump_version, nb::arg("tensor"), nb::arg("op"));
  m.def("is_plain", is_plain, nb::arg("object").none());

  m.def(
      "set_num_threads",
      [](nb::handle given) {
        if (!PyIndex_Check(given.ptr()))
          raise(PyExc_TypeError, "set_num_threads takes a whole number, not %.100s.", Py_TYPE(given.ptr())->tp_name);
        const Py_ssize_t n = PyNumber_AsSsize_t(given.ptr(), nullptr);  // clipped
        if (n == -1 && PyErr_Occurred()) throw nb::python_error();
        const ReleasedGil released;
        set_num_threads(static_cast<int>(std::clamp<Py_ssize_t>(n, 0, 1 << 30)));
      },
      nb::sig("def set_num_threads(n: int) -> None"), nb::arg("n").none());
  m.def("get_num_threads", num_threads);
  m.def("counters", counters);
  m.def("memory_stats", memory);
  m.def("reset_peak_memory", reset_peak_memory);
  m.def("empty_cache", empty_cache);
  m.def("set_cache_limit", set_cache_limit, nb::arg("nbytes"));
  m.attr("small_product_work") = small_product_work;
  m.attr("deepest_small") = deepest_small;
  m.attr("most_beside") = most_beside;
  m.attr("most_followers") = most_followers;
  m.def("profile", [](bool on) { profiling.store(on); }, nb::arg("on"));
  m.def("take_profile", take_profile);
}

}  // namespace
}  // namespace weft

NB_MODULE(_native, m) {
  using namespace weft;
  // Plans and handles live as long as the process; that they are still there at exit is no leak.
  nb::set_leak_warnings(false);
  release_object = [](void* object) { Py_DECREF(static_cast<PyObject*>(object)); };
  remember_main_thread();
  make_tensor_type(m.ptr());
  make_grad_node_type(m.ptr());
  make_op_handle_type(m.ptr());
  make_shortcut_type(m.ptr());
  bind_classes(m);
  bind_functions(m);
  bind_scopes(m);
  bind_replays(m);
}
