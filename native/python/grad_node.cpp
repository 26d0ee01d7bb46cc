// The GradNode type: making nodes, from C++ and from Python, and freeing long chains of them.
#include "python/grad_node.h"

#include <Python.h>
#include <structmember.h>

#include <atomic>
#include <cstring>
#include <vector>

#include "python/grad_node_attributes.h"

namespace weft {

PyTypeObject* grad_node_type = nullptr;

namespace {

std::atomic<uint64_t> next_seq{1};

// Freeing a node may free the last reference to the node before it, and so on for a million operations. So a node puts
// what it held on this list, and only the outermost call works the list off.
struct Graveyard {
  std::vector<PyObject*> objects;
  bool draining = false;
};
thread_local Graveyard graveyard;

void drop_saved(GradNodeObject* node, std::vector<PyObject*>& objects) {
  for (uint32_t i = 0; i < node->n_operands; ++i)
    if (PyObject* o = std::exchange(node->operands()[i].saved, nullptr)) objects.push_back(o);
}

void release_saved_outputs(GradNodeObject* node) {
  for (uint32_t i = 0; i < node->n_outputs + node->n_kept; ++i)
    if (Storage* s = std::exchange(node->outputs()[i].saved, nullptr)) release(s);
}

void bury(GradNodeObject* node) {
  std::vector<PyObject*>& objects = graveyard.objects;
  drop_saved(node, objects);
  for (uint32_t i = 0; i < node->n_operands; ++i)
    if (PyObject* o = std::exchange(node->operands()[i].edge, nullptr)) objects.push_back(o);
  for (PyObject** field : {&node->op, &node->attrs, &node->plan, &node->extra})
    if (PyObject* o = std::exchange(*field, nullptr)) objects.push_back(o);
  release_saved_outputs(node);
  if (graveyard.draining) return;
  graveyard.draining = true;
  while (!objects.empty()) {
    PyObject* o = objects.back();
    objects.pop_back();
    Py_DECREF(o);
  }
  graveyard.draining = false;
  if (objects.capacity() > 1024) objects.shrink_to_fit();
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (as_grad_node(self)->weakrefs) PyObject_ClearWeakRefs(self);
  bury(as_grad_node(self));
  type->tp_free(self);
  Py_DECREF(type);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  GradNodeObject* node = as_grad_node(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(node->op);
  Py_VISIT(node->attrs);
  Py_VISIT(node->plan);
  Py_VISIT(node->extra);
  for (uint32_t i = 0; i < node->n_operands; ++i) {
    Py_VISIT(node->operands()[i].saved);
    Py_VISIT(node->operands()[i].edge);
  }
  return 0;
}

int clear(PyObject* self) {
  bury(as_grad_node(self));
  return 0;
}

PyObject* release_method(PyObject* self, PyObject*) {
  GradNodeObject* node = as_grad_node(self);
  node->released = true;
  std::vector<PyObject*> objects;
  drop_saved(node, objects);
  release_saved_outputs(node);
  for (PyObject* o : objects) Py_DECREF(o);
  Py_RETURN_NONE;
}

void read_edge(OperandSlot& slot, PyObject* edge) {
  if (edge == Py_None) return;
  if (is_tensor(edge)) {
    slot.edge = Py_NewRef(edge);
    return;
  }
  if (!PyTuple_Check(edge) || PyTuple_GET_SIZE(edge) != 2)
    raise(PyExc_TypeError, "An edge of a GradNode is None, a leaf tensor, or (node, output number), not %R.", edge);
  const unsigned long number = PyLong_AsUnsignedLong(PyTuple_GET_ITEM(edge, 1));
  if (PyErr_Occurred()) throw_python_error();
  slot.edge = Py_NewRef(PyTuple_GET_ITEM(edge, 0));
  slot.edge_nr = static_cast<uint32_t>(number);
}

uint32_t read_version(PyObject* versions, Py_ssize_t index, uint32_t otherwise) {
  if (!versions) return otherwise;
  PyObject* version = PyTuple_GET_ITEM(versions, index);
  if (version == Py_None) return otherwise;
  const unsigned long value = PyLong_AsUnsignedLong(version);
  if (PyErr_Occurred()) throw_python_error();
  return static_cast<uint32_t>(value);
}

// The items of an optional sequence argument, as a tuple; empty for None.
Ref tuple_of(PyObject* o) { return o && o != Py_None ? checked(PySequence_Tuple(o)) : checked(PyTuple_New(0)); }

void fill(GradNodeObject* node, PyObject* operands, PyObject* edges, PyObject* saved_outputs, PyObject* versions,
          PyObject* metas) {
  if (versions && PyTuple_GET_SIZE(versions) != static_cast<Py_ssize_t>(node->n_operands + node->n_outputs))
    raise(PyExc_ValueError, "GradNode: versions has one entry for each operand and each output.");
  const auto count = static_cast<Py_ssize_t>(node->n_operands);
  for (Py_ssize_t i = 0; i < count; ++i) {
    OperandSlot& slot = node->operands()[i];
    if (i < PyTuple_GET_SIZE(operands) && PyTuple_GET_ITEM(operands, i) != Py_None)
      save_operand(slot, PyTuple_GET_ITEM(operands, i));
    slot.version = read_version(versions, i, slot.version);
    if (i < PyTuple_GET_SIZE(edges)) read_edge(slot, PyTuple_GET_ITEM(edges, i));
  }
  for (Py_ssize_t i = 0; i < static_cast<Py_ssize_t>(node->n_outputs); ++i) {
    OutputSlot& slot = node->outputs()[i];
    PyObject* saved = i < PyTuple_GET_SIZE(saved_outputs) ? PyTuple_GET_ITEM(saved_outputs, i) : Py_None;
    if (saved != Py_None) {
      const TensorObject* t = expect_tensor(saved, "GradNode", "saved output");
      save_output(slot, t);
      slot.meta = t->meta;
    }
    slot.version = read_version(versions, count + i, slot.version);
    if (i >= PyTuple_GET_SIZE(metas) || PyTuple_GET_ITEM(metas, i) == Py_None) continue;
    const Meta* meta = meta_from_layout(PyTuple_GET_ITEM(metas, i));
    if (slot.saved && meta != slot.meta)
      raise(PyExc_ValueError, "GradNode: output %zd has another layout than its saved tensor.", i);
    slot.meta = meta;
  }
}

PyObject* make(PyTypeObject*, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"op",       "attrs",     "plan",         "operands", "edges", "saved_outputs",
                                "versions", "n_outputs", "output_metas", "extra",    nullptr};
  PyObject *op, *attrs = nullptr, *plan = nullptr, *operands = nullptr, *edges = nullptr, *saved = nullptr;
  PyObject *versions = nullptr, *metas = nullptr, *extra = nullptr;
  int n_outputs = 1;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OOOOOOiOO:GradNode", const_cast<char**>(names), &op, &attrs, &plan,
                                   &operands, &edges, &saved, &versions, &n_outputs, &metas, &extra))
    return nullptr;
  return guarded([&] {
    const Ref operand_tuple = tuple_of(operands), edge_tuple = tuple_of(edges), saved_tuple = tuple_of(saved);
    const Ref meta_tuple = tuple_of(metas);
    const Ref version_tuple = versions && versions != Py_None ? checked(PySequence_Tuple(versions)) : Ref();
    if (n_outputs < 0 || n_outputs > 1 << 20) raise(PyExc_ValueError, "GradNode: %d outputs are not possible.", n_outputs);
    const auto count = std::max(PyTuple_GET_SIZE(operand_tuple.get()), PyTuple_GET_SIZE(edge_tuple.get()));
    if (count > 1 << 20) raise(PyExc_ValueError, "GradNode: %zd operands are not possible.", count);
    GradNodeObject* node = new_grad_node(op, attrs == Py_None ? nullptr : attrs, plan == Py_None ? nullptr : plan,
                                         static_cast<uint32_t>(count), static_cast<uint32_t>(n_outputs));
    if (!node) throw_python_error();
    Ref made = Ref::steal(reinterpret_cast<PyObject*>(node));
    if (extra && extra != Py_None) node->extra = Py_NewRef(extra);
    fill(node, operand_tuple.get(), edge_tuple.get(), saved_tuple.get(), version_tuple.get(), meta_tuple.get());
    PyObject_GC_Track(made.get());
    return made.release();
  });
}

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(GradNodeObject, weakrefs), READONLY, nullptr},
    {"op", T_OBJECT, offsetof(GradNodeObject, op), READONLY, "The operation."},
    {"attrs", T_OBJECT, offsetof(GradNodeObject, attrs), READONLY, "Its attributes, or None."},
    {"plan", T_OBJECT, offsetof(GradNodeObject, plan), READONLY, "The plan that ran it, or None."},
    {"extra", T_OBJECT, offsetof(GradNodeObject, extra), 0, "Any object kept with the node."},
    {"seq", T_ULONGLONG, offsetof(GradNodeObject, seq), READONLY, "Increases with every node of the process."},
    {"n_outputs", T_UINT, offsetof(GradNodeObject, n_outputs), READONLY, "The number of outputs."},
    {"released", T_BOOL, offsetof(GradNodeObject, released), READONLY, "Whether release() was called."},
    {nullptr, 0, 0, 0, nullptr},
};

PyMethodDef methods[] = {
    {"release", release_method, METH_NOARGS, "Drops the saved operands and outputs."},
    {"stale", grad_node_stale, METH_NOARGS,
     "The position (operands, then outputs) of the first saved tensor changed in place since; None if all are intact."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

uint64_t take_seq() { return next_seq.fetch_add(1, std::memory_order_relaxed); }

GradNodeObject* new_grad_node(PyObject* op, PyObject* attrs, PyObject* plan, uint32_t operands, uint32_t outputs,
                              uint32_t kept) {
  const size_t bytes = operands * sizeof(OperandSlot) + (outputs + kept) * sizeof(OutputSlot);
  GradNodeObject* node =
      PyObject_GC_NewVar(GradNodeObject, grad_node_type, static_cast<Py_ssize_t>(bytes / sizeof(void*)));
  if (!node) return nullptr;
  node->op = Py_NewRef(op);
  node->attrs = Py_XNewRef(attrs);
  node->plan = Py_XNewRef(plan);
  node->extra = node->weakrefs = nullptr;
  node->seq = take_seq();
  node->n_operands = operands;
  node->n_outputs = outputs;
  node->n_kept = kept;
  node->released = false;
  std::memset(node->operands(), 0, bytes);
  return node;
}

void make_grad_node_type(PyObject* module) {
  PyType_Slot slots[] = {
      {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
      {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
      {Py_tp_clear, reinterpret_cast<void*>(clear)},
      {Py_tp_new, reinterpret_cast<void*>(make)},
      {Py_tp_repr, reinterpret_cast<void*>(grad_node_repr)},
      {Py_tp_members, members},
      {Py_tp_getset, grad_node_attributes},
      {Py_tp_methods, methods},
      {Py_tp_doc, const_cast<char*>("One recorded operation: what its backward pass needs.")},
      {0, nullptr},
  };
  PyType_Spec spec = {"weft._native.GradNode", sizeof(GradNodeObject), sizeof(void*),
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slots};
  grad_node_type = reinterpret_cast<PyTypeObject*>(checked(PyType_FromSpec(&spec)).release());
  if (PyModule_AddObjectRef(module, "GradNode", reinterpret_cast<PyObject*>(grad_node_type)) < 0) throw_python_error();
}

}  // namespace weft
