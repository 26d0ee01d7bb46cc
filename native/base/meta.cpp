// The intern table of layouts: one hash map behind a mutex. It is used when a layout is new to its caller, not per call.
#include "base/meta.h"

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <unordered_map>
#include <vector>

#include "base/fork.h"

namespace weft {
namespace {

struct Table {
  std::mutex mutex;
  std::unordered_multimap<uint64_t, const Meta*> metas;
  Table() { lock_over_fork(mutex); }
};

Table& table() {
  static Table* const instance = new Table;  // outlives every thread that may still intern at exit
  return *instance;
}

uint64_t hash_layout(DType dtype, std::span<const int64_t> shape, std::span<const int64_t> strides) {
  uint64_t h = static_cast<uint64_t>(dtype) + 0x9e3779b97f4a7c15u;
  for (auto part : {shape, strides})
    for (int64_t v : part) h = (h ^ static_cast<uint64_t>(v)) * 0xff51afd7ed558ccdu, h ^= h >> 32;
  return h;
}

[[noreturn]] void too_large() { throw std::invalid_argument("The tensor's size does not fit in 63 bits."); }

int64_t checked_multiply(int64_t a, int64_t b) {
  int64_t result;
  if (__builtin_mul_overflow(a, b, &result)) too_large();
  return result;
}

int64_t checked_add(int64_t a, int64_t b) {
  int64_t result;
  if (__builtin_add_overflow(a, b, &result)) too_large();
  return result;
}

Meta* make_meta(DType dtype, std::span<const int64_t> shape, std::span<const int64_t> strides) {
  if (shape.size() != strides.size()) throw std::invalid_argument("A shape and its strides have different lengths.");
  if (shape.size() > max_dims) throw std::invalid_argument("A tensor has at most 64 dimensions.");
  int64_t numel = 1, low = 0, high = 0, expected = 1;
  bool contiguous = true;
  const bool empty = std::any_of(shape.begin(), shape.end(), [](int64_t s) { return s == 0; });
  for (size_t d = shape.size(); d-- > 0;) {
    if (shape[d] < 0) throw std::invalid_argument("A tensor's shape has a negative size.");
    if (empty) continue;
    const int64_t reach = checked_multiply(shape[d] - 1, strides[d]);
    (reach < 0 ? low : high) = checked_add(reach < 0 ? low : high, reach);
    if (shape[d] != 1 && strides[d] != expected) contiguous = false;
    expected = checked_multiply(expected, shape[d]);
    numel = expected;
  }
  const auto size = static_cast<int64_t>(itemsize(dtype));
  checked_multiply(numel, size);
  checked_multiply(checked_add(high, 1), size);
  checked_multiply(checked_add(low, -1), size);  // so that -low exists as well
  auto* dims = new int64_t[2 * shape.size() + 1];
  std::copy(shape.begin(), shape.end(), dims);
  std::copy(strides.begin(), strides.end(), dims + shape.size());
  auto* meta = new Meta{};
  meta->dtype = dtype;
  meta->contiguous = contiguous || empty;
  meta->ndim = static_cast<int32_t>(shape.size());
  meta->numel = empty ? 0 : numel;
  meta->low = low;
  meta->high = empty ? -1 : high;
  meta->dims = dims;
  return meta;
}

}  // namespace

int64_t Meta::span_bytes(int64_t offset) const {
  return numel == 0 ? 0 : checked_multiply(checked_add(checked_add(offset, high), 1), itemsize());
}

const Meta* intern_meta(DType dtype, std::span<const int64_t> shape, std::span<const int64_t> strides) {
  const uint64_t hash = hash_layout(dtype, shape, strides);
  Table& t = table();
  std::lock_guard lock(t.mutex);
  auto [first, last] = t.metas.equal_range(hash);
  for (; first != last; ++first) {
    const Meta* m = first->second;
    if (m->dtype == dtype && std::ranges::equal(m->shape(), shape) && std::ranges::equal(m->strides(), strides))
      return m;
  }
  const Meta* made = make_meta(dtype, shape, strides);
  t.metas.emplace(hash, made);
  return made;
}

const Meta* intern_contiguous(DType dtype, std::span<const int64_t> shape) {
  if (shape.size() > max_dims) throw std::invalid_argument("A tensor has at most 64 dimensions.");
  int64_t strides[max_dims];
  int64_t step = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    strides[d] = step;
    step = checked_multiply(step, std::max<int64_t>(shape[d], 1));
  }
  return intern_meta(dtype, shape, {strides, shape.size()});
}

}  // namespace weft
