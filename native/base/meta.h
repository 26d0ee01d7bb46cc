// Meta: the dtype, shape and strides of a tensor, interned, so that two tensors of the same layout hold the same pointer
// and a plan cache can compare layouts by address. A Meta is never freed: a program meets few layouts, each is a few
// hundred bytes, and so a pointer to one may be kept anywhere without counting.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "base/dtype.h"

namespace weft {

inline constexpr int max_dims = 64;

// What an offset, in elements, stays below in either direction: such offsets and those of tensors can be added up.
constexpr int64_t farthest_offset = int64_t{1} << 60;

struct Meta {
  DType dtype;
  bool contiguous;  // row-major without gaps (axes of size 1 do not count)
  int32_t ndim;
  int64_t numel;
  // The lowest and the highest element the layout touches, relative to the tensor's offset. An empty one has high = -1.
  int64_t low, high;
  const int64_t* dims;   // shape, then strides
  mutable std::atomic<void*> python_shape, python_strides;  // tuples made on first use by the bindings

  std::span<const int64_t> shape() const { return {dims, static_cast<size_t>(ndim)}; }
  std::span<const int64_t> strides() const { return {dims + ndim, static_cast<size_t>(ndim)}; }
  int64_t itemsize() const { return static_cast<int64_t>(weft::itemsize(dtype)); }
  int64_t nbytes() const { return numel * itemsize(); }
  // Bytes of storage needed by a tensor of this layout at `offset`. Throws std::invalid_argument past 63 bits.
  int64_t span_bytes(int64_t offset) const;
  // Whether the layout at `offset` stays inside a storage of `nbytes`.
  bool fits(int64_t offset, size_t nbytes) const {
    return numel == 0 || (offset >= -low && offset <= static_cast<int64_t>(nbytes) / itemsize() - 1 - high);
  }
};

// The Meta of this layout. Throws std::invalid_argument for a negative size, more than 64 dimensions, or a size that
// does not fit in 63 bits.
const Meta* intern_meta(DType dtype, std::span<const int64_t> shape, std::span<const int64_t> strides);
// The same with row-major strides.
const Meta* intern_contiguous(DType dtype, std::span<const int64_t> shape);

}  // namespace weft
