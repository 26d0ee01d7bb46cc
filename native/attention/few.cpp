// Attention of a query or two, as when a text is written word by word. Memory limits it: keys and values are read once, where
// they are, and nothing is packed. See parts.h; the products are those of gemm/vector.h.
#include <algorithm>
#include <exception>
#include <mutex>

#include "attention/parts.h"
#include "base/allocator.h"
#include "gemm/vector.h"

namespace weft {
namespace {

constexpr int64_t unit_bytes = 256 << 10;  // of keys and values, for which waking another thread pays

// row @ matrix, or matrix @ row where the matrix is given across: k terms of each of n elements.
template <class T>
void row_product(const T* row, int64_t step, const Matrix<T>& matrix, int64_t k, int64_t n, T* to, bool shared) {
  if (n == 0) return;
  if (k == 0) {
    std::fill_n(to, n, T{});
    return;
  }
  const Gemm product{.dtype = DType::float32, .batch = {}, .m = 1, .n = n, .k = k, .a = {{}, k * step, step},
                     .b = {{}, matrix.row, matrix.col}, .c = {{}, n, 1}};
  vector_product<T>(product, row, matrix.data, to, shared);
}

template <class T>
struct FewRows {
  const Attention& at;
  const AttentionMemory& memory;
  bool shared;  // the products, among all threads; else heads are
  std::mutex mutex{};
  std::exception_ptr failure{};

  void head(int64_t number) const {
    const Matrix<T> q = matrix_of<T>(at, memory.q, at.q, number), k = matrix_of<T>(at, memory.k, at.k, number),
                    v = matrix_of<T>(at, memory.v, at.v, number);
    const Block block(static_cast<size_t>(at.pitch * at.rows) * sizeof(T));
    T* weights = static_cast<T*>(block.data());
    const auto seen_by = [&](int64_t i) { return at.causal ? std::min(at.keys, i + 1) : at.keys; };
    for (int64_t i = 0; i < at.rows; ++i)
      row_product(q.at(i), q.col, Matrix<T>{k.data, k.col, k.row}, at.width, seen_by(i), weights + i * at.pitch, shared);
    T factors[few_rows];
    run_rows(at, at.weights, 0, at.rows, weights, const_cast<char*>(mask_of(at, memory.mask, number, 0)), factors);
    T* out = static_cast<T*>(memory.out) + number * at.rows * at.value_width;
    const Sight sight = sight_of(at, memory.mask, number);
    Seen<T> seen(v, at.keys, at.value_width);
    for (int64_t i = 0; i < at.rows; ++i, out += at.value_width) {
      row_product(weights + i * at.pitch, 1, v, seen_by(i), at.value_width, out, shared);
      if (sight && !all_finite(out, 1, at.value_width))
        if (const T* values = seen.by(i, sight))
          row_product(weights + i * at.pitch, 1, Matrix<T>{values, at.value_width, 1}, seen_by(i), at.value_width, out, shared);
      for (int64_t j = 0; j < at.value_width; ++j) out[j] *= factors[i];
    }
  }

  static void heads(void* context, int64_t begin, int64_t end) {
    auto& self = *static_cast<FewRows*>(context);
    try {
      for (int64_t i = begin; i < end; ++i) self.head(i);
    } catch (...) {
      std::lock_guard lock(self.mutex);
      if (!self.failure) self.failure = std::current_exception();
    }
  }
};

}  // namespace

template <class T>
bool run_few_rows(const Attention& at, const AttentionMemory& memory, const Poll* poll) {
  int64_t heads = 1;
  for (int64_t size : at.batch) heads *= size;
  FewRows<T> work{.at = at, .memory = memory, .shared = heads < 2 * num_threads()};
  const int64_t bytes = at.keys * (at.width + at.value_width) * static_cast<int64_t>(sizeof(T));
  bool completed = true;
  if (work.shared)
    for (int64_t i = 0; i < heads && completed; ++i) {
      work.head(i);
      completed = !poll || i + 1 == heads || !poll->ask(poll->context);
    }
  else
    completed = parallel_for(heads, std::clamp<int64_t>(unit_bytes / std::max<int64_t>(bytes, 1), 1, heads),
                             FewRows<T>::heads, &work, poll);
  if (work.failure) std::rethrow_exception(work.failure);
  return completed;
}

template bool run_few_rows<float>(const Attention&, const AttentionMemory&, const Poll*);
template bool run_few_rows<double>(const Attention&, const AttentionMemory&, const Poll*);

}  // namespace weft
