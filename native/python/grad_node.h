// GradNode: one operation on the autograd tape. It holds what the backward pass reads (operands, outputs, with the
// versions they had) and the edges to the nodes and leaves that the operands came from. Operand and output slots lie in
// the object itself, so recording an operation is one allocation.
#pragma once

#include <cstdint>

#include "python/tensor.h"

namespace weft {

struct OperandSlot {
  PyObject* saved;    // a tensor, a Python number, or null
  PyObject* edge;     // a node or, for a leaf, the tensor whose .grad receives; null if no gradient is needed
  uint32_t version;   // of the saved tensor
  uint32_t edge_nr;   // which output of the node
};

struct OutputSlot {
  Storage* saved;     // null if not saved; not the tensor itself, which refers to this node
  const Meta* meta;
  int64_t offset;
  uint32_t version;
};

struct GradNodeObject {
  PyObject_VAR_HEAD
  PyObject* op;
  PyObject* attrs;
  PyObject* plan;
  PyObject* extra;
  PyObject* weakrefs;
  uint64_t seq;
  uint32_t n_operands, n_outputs;
  uint32_t n_kept;  // values that nobody but the gradient sees; their slots follow those of the outputs
  bool released;

  OperandSlot* operands() { return reinterpret_cast<OperandSlot*>(this + 1); }
  OutputSlot* outputs() { return reinterpret_cast<OutputSlot*>(operands() + n_operands); }
  OutputSlot* kept() { return outputs() + n_outputs; }
};

extern PyTypeObject* grad_node_type;

inline GradNodeObject* as_grad_node(PyObject* o) { return reinterpret_cast<GradNodeObject*>(o); }

// A node with empty slots, not yet tracked by the collector; null with an error set on failure. The caller fills the
// slots and calls PyObject_GC_Track.
GradNodeObject* new_grad_node(PyObject* op, PyObject* attrs, PyObject* plan, uint32_t operands, uint32_t outputs,
                              uint32_t kept = 0);

inline void save_operand(OperandSlot& slot, PyObject* value) {
  slot.saved = Py_NewRef(value);
  if (is_tensor(value)) slot.version = as_tensor(value)->storage->version;
}

// The edge that gradients with respect to this tensor leave along.
inline void set_edge(OperandSlot& slot, TensorObject* t) {
  slot.edge = Py_NewRef(t->grad_fn ? t->grad_fn : reinterpret_cast<PyObject*>(t));
  slot.edge_nr = t->output_nr;
}

inline void save_output(OutputSlot& slot, const TensorObject* t) {
  slot.saved = retain(t->storage);
  slot.offset = t->offset;
  slot.version = t->storage->version;
}

// Makes `node` the origin of output number `index`.
inline void attach(TensorObject* output, GradNodeObject* node, uint32_t index) {
  output->grad_fn = Py_NewRef(reinterpret_cast<PyObject*>(node));
  output->output_nr = index;
  output->requires_grad = true;
  track(output);
}

// The next number in the order of the tape's entries.
uint64_t take_seq();

void make_grad_node_type(PyObject* module);

}  // namespace weft
