// See grad_node_attributes.h.
#include "python/grad_node_attributes.h"

#include "python/grad_node.h"

namespace weft {
namespace {

// A tuple of `count` items, each a new reference made by item(i); null where one cannot be made.
template <class Item>
PyObject* tuple_from(uint32_t count, Item item) {
  Ref tuple = Ref::steal(PyTuple_New(count));
  if (!tuple) return nullptr;
  for (uint32_t i = 0; i < count; ++i) {
    PyObject* o = item(i);
    if (!o) return nullptr;
    PyTuple_SET_ITEM(tuple.get(), i, o);
  }
  return tuple.release();
}

PyObject* none() { return Py_NewRef(Py_None); }

PyObject* get_operands(PyObject* self, void*) {
  GradNodeObject* node = as_grad_node(self);
  return tuple_from(node->n_operands, [&](uint32_t i) {
    PyObject* saved = node->operands()[i].saved;
    return saved ? Py_NewRef(saved) : none();
  });
}

// Detached aliases of what slots hold; None where nothing was saved.
PyObject* tensors_of(const OutputSlot* slots, uint32_t count) {
  return tuple_from(count, [&](uint32_t i) {
    return slots[i].saved ? new_tensor(retain(slots[i].saved), slots[i].meta, slots[i].offset) : none();
  });
}

PyObject* get_saved_outputs(PyObject* self, void*) {
  return tensors_of(as_grad_node(self)->outputs(), as_grad_node(self)->n_outputs);
}

PyObject* get_kept(PyObject* self, void*) {
  return tensors_of(as_grad_node(self)->kept(), as_grad_node(self)->n_kept);
}

PyObject* get_kept_metas(PyObject* self, void*) {
  GradNodeObject* node = as_grad_node(self);
  return tuple_from(node->n_kept, [&](uint32_t i) { return layout_tuple(node->kept()[i].meta); });
}

PyObject* get_edges(PyObject* self, void*) {
  GradNodeObject* node = as_grad_node(self);
  return tuple_from(node->n_operands, [&](uint32_t i) -> PyObject* {
    const OperandSlot& slot = node->operands()[i];
    if (!slot.edge) return none();
    if (is_tensor(slot.edge)) return Py_NewRef(slot.edge);
    return Py_BuildValue("(OI)", slot.edge, slot.edge_nr);
  });
}

PyObject* get_versions(PyObject* self, void*) {
  GradNodeObject* node = as_grad_node(self);
  return tuple_from(node->n_operands + node->n_outputs, [&](uint32_t i) {
    if (i < node->n_operands) {
      const OperandSlot& slot = node->operands()[i];
      return slot.saved && is_tensor(slot.saved) ? PyLong_FromUnsignedLong(slot.version) : none();
    }
    const OutputSlot& slot = node->outputs()[i - node->n_operands];
    return slot.saved ? PyLong_FromUnsignedLong(slot.version) : none();
  });
}

PyObject* get_output_metas(PyObject* self, void*) {
  GradNodeObject* node = as_grad_node(self);
  return tuple_from(node->n_outputs, [&](uint32_t i) {
    const Meta* meta = node->outputs()[i].meta;
    return meta ? layout_tuple(meta) : none();
  });
}

PyObject* get_needs(PyObject* self, void*) {
  GradNodeObject* node = as_grad_node(self);
  return tuple_from(node->n_operands, [&](uint32_t i) { return PyBool_FromLong(node->operands()[i].edge != nullptr); });
}

PyObject* get_name(PyObject* self, void*) {
  PyObject* op = as_grad_node(self)->op;
  PyObject* name = op ? PyObject_GetAttrString(op, "name") : none();
  if (!name && PyErr_ExceptionMatches(PyExc_AttributeError)) {
    PyErr_Clear();
    return PyObject_Str(op);
  }
  return name;
}

}  // namespace

PyObject* grad_node_stale(PyObject* self, PyObject*) {
  GradNodeObject* node = as_grad_node(self);
  for (uint32_t i = 0; i < node->n_operands; ++i) {
    const OperandSlot& slot = node->operands()[i];
    if (slot.saved && is_tensor(slot.saved) && as_tensor(slot.saved)->storage->version != slot.version)
      return PyLong_FromUnsignedLong(i);
  }
  for (uint32_t i = 0; i < node->n_outputs; ++i) {
    const OutputSlot& slot = node->outputs()[i];
    if (slot.saved && slot.saved->version != slot.version) return PyLong_FromUnsignedLong(node->n_operands + i);
  }
  return none();
}

PyObject* grad_node_repr(PyObject* self) {
  const Ref name = Ref::steal(get_name(self, nullptr));
  return name ? PyUnicode_FromFormat("<GradNode %S>", name.get()) : nullptr;
}

PyGetSetDef grad_node_attributes[] = {
    {"name", get_name, nullptr, "The operation's name.", nullptr},
    {"operands", get_operands, nullptr, "The saved operands: a tensor, a number, or None where not saved.", nullptr},
    {"saved_outputs", get_saved_outputs, nullptr, "Detached aliases of the saved outputs, or None.", nullptr},
    {"kept", get_kept, nullptr, "What the plan computed for the gradient alone, or None where not saved.", nullptr},
    {"kept_metas", get_kept_metas, nullptr, "(dtype, shape, strides) of each of these.", nullptr},
    {"edges", get_edges, nullptr, "For each operand None, the leaf tensor, or (node, output number).", nullptr},
    {"versions", get_versions, nullptr, "Storage versions of the saved operands, then outputs.", nullptr},
    {"output_metas", get_output_metas, nullptr, "(dtype, shape, strides) of each output.", nullptr},
    {"needs", get_needs, nullptr, "For each operand whether its gradient is needed.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

}  // namespace weft
