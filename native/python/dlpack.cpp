// DLPack 1.x in both directions. The structures below are the protocol's, written down from its specification.
#include <cstring>
#include <memory>

#include "python/interop.h"

namespace weft {
namespace {

constexpr int32_t cpu_device = 1;
constexpr uint64_t readonly_flag = 1;

struct DLDevice {
  int32_t type, id;
};

struct DLDataType {
  uint8_t code, bits;
  uint16_t lanes;
};

struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; null: row-major
  uint64_t byte_offset;
};

struct Managed {  // before version 1.0
  static constexpr const char* name = "dltensor";
  static constexpr const char* used_name = "used_dltensor";
  DLTensor tensor;
  void* context;
  void (*deleter)(Managed*);
};

struct ManagedVersioned {
  static constexpr const char* name = "dltensor_versioned";
  static constexpr const char* used_name = "used_dltensor_versioned";
  struct {
    uint32_t major, minor;
  } version;
  void* context;
  void (*deleter)(ManagedVersioned*);
  uint64_t flags;
  DLTensor tensor;
};

enum TypeCode : uint8_t { signed_code = 0, unsigned_code = 1, float_code = 2, bfloat_code = 4, bool_code = 6 };

DLDataType to_dlpack(DType d) {
  const auto bits = static_cast<uint8_t>(8 * itemsize(d));
  const TypeCode code = d == DType::bool_      ? bool_code
                        : d == DType::bfloat16 ? bfloat_code
                        : is_floating(d)       ? float_code
                        : d >= DType::uint8    ? unsigned_code
                                               : signed_code;
  return {code, bits, 1};
}

DType from_dlpack(DLDataType type) {
  for (int code = 0; code < dtype_count; ++code) {
    const DLDataType known = to_dlpack(static_cast<DType>(code));
    if (known.code == type.code && known.bits == type.bits && type.lanes == 1) return static_cast<DType>(code);
  }
  raise(PyExc_BufferError, "Weft has no data type for DLPack elements of code %d with %d bits and %d lanes.",
        int{type.code}, int{type.bits}, int{type.lanes});
}

// Runs with the GIL, which consumers need not hold when they let go of a tensor.
template <class M>
void free_exported(M* managed) {
  if (!Py_IsInitialized()) return;
  const PyGILState_STATE gil = PyGILState_Ensure();
  release(static_cast<Storage*>(managed->context));
  delete[] managed->tensor.strides;
  delete managed;
  PyGILState_Release(gil);
}

template <class M>
void free_unused_capsule(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, M::name)) return;
  auto* managed = static_cast<M*>(PyCapsule_GetPointer(capsule, M::name));
  if (managed->deleter) managed->deleter(managed);
}

template <class M>
PyObject* export_as(TensorObject* t) {
  auto managed = std::make_unique<M>();
  const auto ndim = static_cast<size_t>(t->meta->ndim);
  auto strides = std::make_unique<int64_t[]>(ndim + 1);
  std::memcpy(strides.get(), t->meta->strides().data(), ndim * sizeof(int64_t));
  managed->tensor = {t->data(),           {cpu_device, 0}, t->meta->ndim, to_dlpack(t->meta->dtype),
                     const_cast<int64_t*>(t->meta->shape().data()), strides.get(), 0};
  managed->deleter = free_exported<M>;
  if constexpr (std::is_same_v<M, ManagedVersioned>) {
    managed->version = {1, 0};
    managed->flags = t->storage->readonly ? readonly_flag : 0;
  }
  Ref capsule = checked(PyCapsule_New(managed.get(), M::name, free_unused_capsule<M>));
  managed->context = retain(t->storage);
  t->storage->exported = true;
  static_cast<void>(strides.release());
  static_cast<void>(managed.release());
  return capsule.release();
}

template <class M>
void free_imported(PyObject* capsule) {
  auto* managed = static_cast<M*>(PyCapsule_GetPointer(capsule, "weft.memory"));
  if (managed && managed->deleter) managed->deleter(managed);
}

template <class M>
PyObject* import_from(PyObject* capsule, bool readonly) {
  auto* managed = static_cast<M*>(PyCapsule_GetPointer(capsule, M::name));
  const DLTensor& from = managed->tensor;
  if (from.device.type != cpu_device)
    raise(PyExc_BufferError, "from_dlpack: the memory is on a device of DLPack type %d; Weft takes the CPU's.",
          from.device.type);
  if (from.ndim < 0 || from.ndim > max_dims)
    raise(PyExc_BufferError, "from_dlpack: a tensor has at most %d dimensions, not %d.", max_dims, from.ndim);
  const DType dtype = from_dlpack(from.dtype);
  const std::span<const int64_t> shape{from.shape, static_cast<size_t>(from.ndim)};
  const Meta* meta = from.strides ? intern_meta(dtype, shape, {from.strides, shape.size()})
                                  : intern_contiguous(dtype, shape);
  if (meta->numel == 0) return checked(new_tensor(new_storage(0), intern_contiguous(dtype, shape), 0)).release();
  char* first = static_cast<char*>(from.data) + from.byte_offset;
  if (reinterpret_cast<uintptr_t>(first) % itemsize(dtype) != 0)
    raise(PyExc_BufferError, "from_dlpack: the memory is not aligned to its element size.");
  // From here the memory is ours to give back, through a capsule that the storage owns.
  Ref owner = checked(PyCapsule_New(managed, "weft.memory", free_imported<M>));
  PyCapsule_SetName(capsule, M::used_name);
  PyCapsule_SetDestructor(capsule, nullptr);
  char* lowest = first + meta->low * meta->itemsize();
  const auto nbytes = static_cast<size_t>((meta->high - meta->low + 1) * meta->itemsize());
  Storage* storage = foreign_storage(lowest, nbytes, owner.get(), readonly);
  owner.release();
  return checked(new_tensor(storage, meta, -meta->low)).release();
}

// Calls object.__dlpack__, offering version 1.0 to those that know of versions.
Ref request_capsule(PyObject* object) {
  if (PyCapsule_CheckExact(object)) return Ref::borrow(object);
  const Ref method = Ref::steal(PyObject_GetAttrString(object, "__dlpack__"));
  if (!method) {
    PyErr_Clear();
    raise(PyExc_TypeError, "from_dlpack takes an object with a __dlpack__ method, not %.100s.",
          Py_TYPE(object)->tp_name);
  }
  const Ref none = checked(PyTuple_New(0));
  const Ref keywords = checked(Py_BuildValue("{s(ii)}", "max_version", 1, 0));
  Ref capsule = Ref::steal(PyObject_Call(method.get(), none.get(), keywords.get()));
  if (!capsule && PyErr_ExceptionMatches(PyExc_TypeError)) {
    PyErr_Clear();
    capsule = Ref::steal(PyObject_CallNoArgs(method.get()));
  }
  if (!capsule) throw_python_error();
  return capsule;
}

}  // namespace

PyObject* tensor_dlpack(PyObject* self, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"stream", "max_version", "dl_device", "copy", nullptr};
  PyObject *stream = Py_None, *max_version = Py_None, *device = Py_None, *copy = Py_None;
  if (PyTuple_GET_SIZE(args) != 0) {
    PyErr_SetString(PyExc_TypeError, "__dlpack__ takes keyword arguments only.");
    return nullptr;
  }
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OOOO:__dlpack__", const_cast<char**>(names), &stream, &max_version,
                                   &device, &copy))
    return nullptr;
  return guarded([&] {
    TensorObject* t = as_tensor(self);
    long major = 0;
    int device_type = cpu_device, device_id = 0;
    if (max_version != Py_None) {
      const Ref version = checked(PySequence_Tuple(max_version));
      if (PyTuple_GET_SIZE(version.get()) < 1) raise(PyExc_ValueError, "__dlpack__: max_version is (major, minor).");
      major = PyLong_AsLong(PyTuple_GET_ITEM(version.get(), 0));
      if (PyErr_Occurred()) throw_python_error();
    }
    if (device != Py_None && !PyArg_ParseTuple(device, "ii", &device_type, &device_id)) throw_python_error();
    if (stream != Py_None) raise(PyExc_BufferError, "__dlpack__: memory of the CPU has no stream; pass stream=None.");
    if (device_type != cpu_device) raise(PyExc_BufferError, "__dlpack__: this tensor is in the CPU's memory.");
    if (t->requires_grad)
      raise(PyExc_BufferError, "This tensor requires a gradient, which DLPack would lose; export x.detach().");
    ensure_real(t, "__dlpack__");
    if (copy == Py_True) raise(PyExc_BufferError, "__dlpack__ does not copy; export x.clone().");
    if (major >= 1) return export_as<ManagedVersioned>(t);
    if (t->storage->readonly)
      raise(PyExc_BufferError, "A read-only tensor can be exported to DLPack 1.0 and later only.");
    return export_as<Managed>(t);
  });
}

PyObject* tensor_dlpack_device(PyObject*, PyObject*) { return Py_BuildValue("(ii)", cpu_device, 0); }

PyObject* tensor_from_dlpack(PyObject* object) {
  const Ref capsule = request_capsule(object);
  if (PyCapsule_IsValid(capsule.get(), ManagedVersioned::name)) {
    auto* managed = static_cast<ManagedVersioned*>(PyCapsule_GetPointer(capsule.get(), ManagedVersioned::name));
    if (managed->version.major != 1)
      raise(PyExc_BufferError, "from_dlpack: version %u of DLPack is not known; Weft reads version 1.",
            managed->version.major);
    return import_from<ManagedVersioned>(capsule.get(), (managed->flags & readonly_flag) != 0);
  }
  if (PyCapsule_IsValid(capsule.get(), Managed::name)) return import_from<Managed>(capsule.get(), false);
  raise(PyExc_ValueError, "from_dlpack: the capsule was used already, or is not of DLPack.");
}

}  // namespace weft
