// Choosing how a matrix product runs, by its type and sizes, and sharing batches and rows over the pool.
#include "gemm.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <new>
#include <type_traits>

#include "allocator.h"
#include "gemm_float.h"
#include "gemm_loops.h"
#include "gemm_small.h"
#include "gemm_vector.h"

namespace weft {
namespace {

template <class From, class To>
void copy_matrix(const From* from, int64_t rows, int64_t cols, int64_t rs, int64_t cs, To* to, int64_t to_rs,
                 int64_t to_cs, To (*convert)(From)) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j) to[i * to_rs + j * to_cs] = convert(from[i * rs + j * cs]);
}

size_t bytes_for(int64_t rows, int64_t cols, size_t size) {
  int64_t elements, bytes;
  if (__builtin_mul_overflow(rows, cols, &elements) ||
      __builtin_mul_overflow(elements, static_cast<int64_t>(size), &bytes))
    throw std::bad_alloc();
  return static_cast<size_t>(bytes);
}

template <class T>
void loop_rows(const Gemm& g, const T* a, const T* b, T* c, int64_t begin, int64_t end) {
  gemm_rows<T>({a, g.a.row_stride, g.a.col_stride}, {b, g.b.row_stride, g.b.col_stride},
               {c, g.c.row_stride, g.c.col_stride}, g.n, g.k, begin, end);
}

// The product of the transposes, whose result is the transpose.
Gemm transposed(const Gemm& g) {
  const auto turned = [](const GemmOperand& o) { return GemmOperand{{}, o.col_stride, o.row_stride}; };
  return {g.dtype, {}, g.n, g.m, g.k, turned(g.b), turned(g.a), turned(g.c)};
}

// Whether the transposed product is sooner done: its C has rows whose elements follow one another; or this one's tiles
// would have few columns, and those of A follow one another.
bool better_transposed(const Gemm& g) {
  constexpr int64_t few_columns = 8, shallow = 32;
  if (g.c.col_stride != 1 && g.c.row_stride == 1) return true;
  return g.n <= few_columns && g.m > few_columns && g.k >= shallow && g.a.row_stride == 1 && g.a.col_stride != 1;
}

// One product, over the pool where `shared`.
template <class T>
void product(const Gemm& g, const T* a, const T* b, T* c, bool shared, const Prologue& prologue,
             const Epilogue& epilogue, Spare spare) {
  if constexpr (std::is_integral_v<T>) {
    prologue.all(shared);
    loop_rows(g, a, b, c, 0, g.m);
    epilogue.all(shared);
  } else if ((g.m == 1 || g.n == 1) && g.k > 0) {
    prologue.all(shared);
    vector_product<T>(g, a, b, c, shared);
    epilogue.all(shared);
  } else if (!prologue && !epilogue && better_transposed(g)) {
    const Gemm other = transposed(g);
    if (g.k == 0 || !small_product<T>(other, b, a, c, shared, prologue, epilogue))
      float_product<T>(other, b, a, c, shared, prologue, epilogue, spare);
  } else if (g.k == 0 || !small_product<T>(g, a, b, c, shared, prologue, epilogue)) {
    float_product<T>(g, a, b, c, shared, prologue, epilogue, spare);
  }
}

// A 16-bit product: widen both operands, multiply in float32, round the result once.
template <float (*widen)(uint16_t), uint16_t (*narrow)(float)>
void half_product(const Gemm& g, const uint16_t* a, const uint16_t* b, uint16_t* c, bool shared,
                  const Prologue& prologue, const Epilogue& epilogue, Spare spare) {
  prologue.all(shared);
  const Block wide_a(bytes_for(g.m, g.k, 4)), wide_b(bytes_for(g.k, g.n, 4)), wide_c(bytes_for(g.m, g.n, 4));
  auto *fa = static_cast<float*>(wide_a.data()), *fb = static_cast<float*>(wide_b.data()),
       *fc = static_cast<float*>(wide_c.data());
  copy_matrix<uint16_t, float>(a, g.m, g.k, g.a.row_stride, g.a.col_stride, fa, g.k, 1, widen);
  copy_matrix<uint16_t, float>(b, g.k, g.n, g.b.row_stride, g.b.col_stride, fb, g.n, 1, widen);
  const Gemm wide{DType::float32, {}, g.m, g.n, g.k, {{}, g.k, 1}, {{}, g.n, 1}, {{}, g.n, 1}};
  product<float>(wide, fa, fb, fc, shared, Prologue(nullptr, 0, g.m), Epilogue(nullptr, 0, g.m, g.n),
                 spare);
  copy_matrix<float, uint16_t>(fc, g.m, g.n, g.n, 1, c, g.c.row_stride, g.c.col_stride, narrow);
  epilogue.all(shared);
}

// All rows of what runs along with a product at once.
template <class Along>
void all_rows(const Along& along, int64_t m, bool shared) {
  constexpr double chunk_work = 1 << 16;
  if (!along) return;
  if (!shared || along.work() < 2 * chunk_work) {
    along.rows(0, m);
    return;
  }
  const auto grain = static_cast<int64_t>(chunk_work / along.work() * static_cast<double>(m)) + 1;
  const auto some = [](void* context, int64_t begin, int64_t end) {
    static_cast<const Along*>(context)->rows(begin, end);
  };
  parallel_for(m, grain, some, const_cast<Along*>(&along));
}

// Element offset of matrix number `index` of the batch.
int64_t batch_offset(const Gemm& g, const GemmOperand& operand, int64_t index) {
  int64_t offset = 0;
  for (size_t d = g.batch.size(); d-- > 1;) {
    offset += index % g.batch[d] * operand.batch_strides[d];
    index /= g.batch[d];
  }
  return g.batch.empty() ? 0 : offset + index * operand.batch_strides[0];
}

template <class T>
using Matrices = void (*)(const Gemm&, const T*, const T*, T*, bool, const Prologue&, const Epilogue&, Spare);

// What the workers share: the job, and the first exception.
template <class T>
struct Job {
  const Gemm& g;
  const T* a;
  const T* b;
  T* c;
  Matrices<T> one;
  const GemmHooks* hooks;
  Spare spare;
  std::mutex mutex{};
  std::exception_ptr failure{};

  template <class Body>
  void guarded(Body body) {
    try {
      body();
    } catch (...) {
      std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  }

  Prologue prologue(int64_t matrix) const { return {hooks, matrix, g.m}; }
  Epilogue epilogue(int64_t matrix) const { return {hooks, matrix, g.m, g.n}; }

  void matrix(int64_t i, bool shared) {
    one(g, a + batch_offset(g, g.a, i), b + batch_offset(g, g.b, i), c + batch_offset(g, g.c, i), shared, prologue(i),
        epilogue(i), shared ? spare : Spare{});
  }
};

template <class T>
bool run_batch(const Gemm& g, const void* a, const void* b, void* c, Matrices<T> one, bool own_loops, const Poll* poll,
               const GemmHooks* hooks, Spare spare) {
  int64_t count = 1;
  for (int64_t size : g.batch) count *= size;
  if (count == 0 || g.m == 0 || g.n == 0) return true;
  Job<T> job{.g = g, .a = static_cast<const T*>(a), .b = static_cast<const T*>(b), .c = static_cast<T*>(c), .one = one,
             .hooks = hooks, .spare = spare};
  const double work = static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k) +
                      job.prologue(0).work() + job.epilogue(0).work();
  bool completed = true;
  if (count == 1 && own_loops && work > small_product_work) {
    // A chunk of rows packs all of B, so it should have enough rows to pay for that.
    const auto rows = [](void* context, int64_t begin, int64_t end) {
      auto& j = *static_cast<Job<T>*>(context);
      j.guarded([&] {
        j.prologue(0).rows(begin, end);
        loop_rows(j.g, j.a, j.b, j.c, begin, end);
        j.epilogue(0).rows(begin, end);
      });
    };
    completed = parallel_for(g.m, 32, rows, &job, poll);
  } else if (count > 1 && (own_loops || work <= small_product_work)) {
    const auto grain = std::max<int64_t>(1, static_cast<int64_t>(small_product_work / (work + 1)));
    const auto matrices = [](void* context, int64_t begin, int64_t end) {
      auto& j = *static_cast<Job<T>*>(context);
      j.guarded([&] {
        for (int64_t i = begin; i < end; ++i) j.matrix(i, false);
      });
    };
    completed = parallel_for(count, std::min(grain, count), matrices, &job, poll);
  } else {
    for (int64_t i = 0; i < count && completed; ++i) {
      job.guarded([&] { job.matrix(i, true); });
      if (poll && i + 1 < count && poll->ask(poll->context)) completed = false;
    }
  }
  if (job.failure) std::rethrow_exception(job.failure);
  return completed;
}

template <class T>
bool run_typed(const Gemm& g, const void* a, const void* b, void* c, const Poll* poll, const GemmHooks* hooks, Spare spare) {
  return run_batch<T>(g, a, b, c, product<T>, std::is_integral_v<T>, poll, hooks, spare);
}

}  // namespace

void Epilogue::all(bool shared) const { all_rows(*this, m_, shared); }
void Prologue::all(bool shared) const { all_rows(*this, m_, shared); }

bool run_gemm(const Gemm& g, const void* a, const void* b, void* c, const Poll* poll, const GemmHooks* hooks, Spare spare) {
  switch (g.dtype) {
    case DType::float32: return run_typed<float>(g, a, b, c, poll, hooks, spare);
    case DType::float64: return run_typed<double>(g, a, b, c, poll, hooks, spare);
    case DType::float16:
      return run_batch<uint16_t>(g, a, b, c, half_product<half_to_float, float_to_half>, false, poll, hooks, spare);
    case DType::bfloat16:
      return run_batch<uint16_t>(g, a, b, c, half_product<bfloat16_to_float, float_to_bfloat16>, false, poll, hooks, spare);
    // Wrapping arithmetic has the same bits signed and unsigned.
    case DType::int8:
    case DType::uint8: return run_typed<uint8_t>(g, a, b, c, poll, hooks, spare);
    case DType::int16:
    case DType::uint16: return run_typed<uint16_t>(g, a, b, c, poll, hooks, spare);
    case DType::int32:
    case DType::uint32: return run_typed<uint32_t>(g, a, b, c, poll, hooks, spare);
    case DType::int64:
    case DType::uint64: return run_typed<uint64_t>(g, a, b, c, poll, hooks, spare);
    case DType::bool_: break;
  }
  return true;
}

}  // namespace weft
