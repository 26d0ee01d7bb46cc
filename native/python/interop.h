// Sharing memory with NumPy and everything else that knows the buffer protocol (interop.cpp) or DLPack (dlpack.cpp).
#pragma once

#include "python/tensor.h"

namespace weft {

// Tensors over the memory of other objects. They throw.
PyObject* tensor_from_buffer(PyObject* object);
PyObject* tensor_from_dlpack(PyObject* object);

// Methods and buffer slots of Tensor.
PyObject* tensor_numpy(PyObject* self, PyObject*);
PyObject* tensor_array(PyObject* self, PyObject* args, PyObject* kwargs);
PyObject* tensor_dlpack(PyObject* self, PyObject* args, PyObject* kwargs);
PyObject* tensor_dlpack_device(PyObject* self, PyObject*);
int tensor_getbuffer(PyObject* self, Py_buffer* view, int flags);
void tensor_releasebuffer(PyObject* self, Py_buffer* view);

}  // namespace weft
