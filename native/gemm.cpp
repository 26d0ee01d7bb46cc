// Choosing how a matrix product runs: packing operands whose layout the BLAS does not take, and sharing batches and rows
// over the pool.
#include "gemm.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <new>
#include <type_traits>

#include "allocator.h"
#include "gemm_loops.h"

namespace weft {
namespace {

template <class T>
using Cblas = void (*)(int order, int trans_a, int trans_b, int64_t m, int64_t n, int64_t k, T alpha, const T* a,
                       int64_t lda, const T* b, int64_t ldb, T beta, T* c, int64_t ldc);

constexpr int row_major = 101, no_trans = 111, trans = 112;
// Below this many multiply-adds OpenBLAS uses one thread, so a batch of such products is shared over our pool instead.
constexpr int64_t small_product = 64 * 64 * 64;

std::atomic<Cblas<float>> sgemm{nullptr};
std::atomic<Cblas<double>> dgemm{nullptr};

template <class T>
Cblas<T> blas() {
  if constexpr (std::is_same_v<T, float>) return sgemm.load(std::memory_order_relaxed);
  if constexpr (std::is_same_v<T, double>) return dgemm.load(std::memory_order_relaxed);
  return nullptr;
}

// How BLAS is to read a rows x cols matrix: transposed or not, and the leading dimension; ld = 0 if it cannot.
struct Layout {
  int transposed;
  int64_t ld;
};

Layout layout_of(int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride) {
  if (rows == 1 && (cols == 1 || col_stride == 1)) return {no_trans, cols};
  if (rows == 1) return {trans, std::max<int64_t>(col_stride, 0)};
  if (cols == 1) return {no_trans, std::max<int64_t>(row_stride, 0)};
  if (col_stride == 1 && row_stride >= cols) return {no_trans, row_stride};
  if (row_stride == 1 && col_stride >= rows) return {trans, col_stride};
  return {no_trans, 0};
}

template <class From, class To>
void copy_matrix(const From* from, int64_t rows, int64_t cols, int64_t rs, int64_t cs, To* to, int64_t to_rs,
                 int64_t to_cs, To (*convert)(From)) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j) to[i * to_rs + j * to_cs] = convert(from[i * rs + j * cs]);
}

template <class T>
T same(T value) {
  return value;
}

size_t bytes_for(int64_t rows, int64_t cols, size_t size) {
  int64_t elements, bytes;
  if (__builtin_mul_overflow(rows, cols, &elements) ||
      __builtin_mul_overflow(elements, static_cast<int64_t>(size), &bytes))
    throw std::bad_alloc();
  return static_cast<size_t>(bytes);
}

// One product by BLAS.
template <class T>
void blas_product(Cblas<T> product, const Gemm& g, const T* a, const T* b, T* c) {
  Layout la = layout_of(g.m, g.k, g.a.row_stride, g.a.col_stride);
  Layout lb = layout_of(g.k, g.n, g.b.row_stride, g.b.col_stride);
  Layout lc = layout_of(g.m, g.n, g.c.row_stride, g.c.col_stride);
  const Block packed_a(la.ld ? 0 : bytes_for(g.m, g.k, sizeof(T)));
  const Block packed_b(lb.ld ? 0 : bytes_for(g.k, g.n, sizeof(T)));
  const Block packed_c(lc.ld ? 0 : bytes_for(g.m, g.n, sizeof(T)));
  if (!la.ld) {
    copy_matrix(a, g.m, g.k, g.a.row_stride, g.a.col_stride, static_cast<T*>(packed_a.data()), g.k, 1, same<T>);
    a = static_cast<const T*>(packed_a.data()), la = {no_trans, g.k};
  }
  if (!lb.ld) {
    copy_matrix(b, g.k, g.n, g.b.row_stride, g.b.col_stride, static_cast<T*>(packed_b.data()), g.n, 1, same<T>);
    b = static_cast<const T*>(packed_b.data()), lb = {no_trans, g.n};
  }
  T* out = lc.ld ? c : static_cast<T*>(packed_c.data());
  const Layout lo = lc.ld ? lc : Layout{no_trans, g.n};
  if (lo.transposed == no_trans) {
    product(row_major, la.transposed, lb.transposed, g.m, g.n, g.k, T{1}, a, la.ld, b, lb.ld, T{0}, out, lo.ld);
  } else {  // a column-major result: C^T = B^T A^T
    const auto flip = [](int t) { return t == trans ? no_trans : trans; };
    product(row_major, flip(lb.transposed), flip(la.transposed), g.n, g.m, g.k, T{1}, b, lb.ld, a, la.ld, T{0}, out,
            lo.ld);
  }
  if (!lc.ld) copy_matrix<T, T>(out, g.m, g.n, g.n, 1, c, g.c.row_stride, g.c.col_stride, same<T>);
}

template <class T>
void loop_rows(const Gemm& g, const T* a, const T* b, T* c, int64_t begin, int64_t end) {
  gemm_rows<T>({a, g.a.row_stride, g.a.col_stride}, {b, g.b.row_stride, g.b.col_stride},
               {c, g.c.row_stride, g.c.col_stride}, g.n, g.k, begin, end);
}

// One product in the calling thread.
template <class T>
void product(const Gemm& g, const T* a, const T* b, T* c) {
  Cblas<T> routine = blas<T>();
  if (routine && g.k > 0)
    blas_product(routine, g, a, b, c);
  else
    loop_rows(g, a, b, c, 0, g.m);
}

// A 16-bit product: widen both operands, multiply in float32, round the result once.
template <float (*widen)(uint16_t), uint16_t (*narrow)(float)>
void half_product(const Gemm& g, const uint16_t* a, const uint16_t* b, uint16_t* c) {
  const Block wide_a(bytes_for(g.m, g.k, 4)), wide_b(bytes_for(g.k, g.n, 4)), wide_c(bytes_for(g.m, g.n, 4));
  auto *fa = static_cast<float*>(wide_a.data()), *fb = static_cast<float*>(wide_b.data()),
       *fc = static_cast<float*>(wide_c.data());
  copy_matrix<uint16_t, float>(a, g.m, g.k, g.a.row_stride, g.a.col_stride, fa, g.k, 1, widen);
  copy_matrix<uint16_t, float>(b, g.k, g.n, g.b.row_stride, g.b.col_stride, fb, g.n, 1, widen);
  const Gemm wide{DType::float32, {}, g.m, g.n, g.k, {{}, g.k, 1}, {{}, g.n, 1}, {{}, g.n, 1}};
  product<float>(wide, fa, fb, fc);
  copy_matrix<float, uint16_t>(fc, g.m, g.n, g.n, 1, c, g.c.row_stride, g.c.col_stride, narrow);
}

// Element offset of matrix number `index` of the batch.
int64_t batch_offset(const Gemm& g, const GemmOperand& operand, int64_t index) {
  int64_t offset = 0;
  for (size_t d = g.batch.size(); d-- > 0;) {
    offset += index % g.batch[d] * operand.batch_strides[d];
    index /= g.batch[d];
  }
  return offset;
}

// What the workers share: the job, and the first exception.
template <class T>
struct Job {
  const Gemm& g;
  const T* a;
  const T* b;
  T* c;
  void (*one)(const Gemm&, const T*, const T*, T*);
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

  void matrix(int64_t i) {
    one(g, a + batch_offset(g, g.a, i), b + batch_offset(g, g.b, i), c + batch_offset(g, g.c, i));
  }
};

template <class T>
bool run_batch(const Gemm& g, const void* a, const void* b, void* c, void (*one)(const Gemm&, const T*, const T*, T*),
               bool own_loops, const Poll* poll) {
  int64_t count = 1;
  for (int64_t size : g.batch) count *= size;
  if (count == 0 || g.m == 0 || g.n == 0) return true;
  Job<T> job{.g = g, .a = static_cast<const T*>(a), .b = static_cast<const T*>(b), .c = static_cast<T*>(c), .one = one};
  const double work = static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k);
  bool completed = true;
  if (count == 1 && own_loops && work > small_product) {
    // A chunk of rows packs all of B, so it should have enough rows to pay for that.
    const auto rows = [](void* context, int64_t begin, int64_t end) {
      auto& j = *static_cast<Job<T>*>(context);
      j.guarded([&] { loop_rows(j.g, j.a, j.b, j.c, begin, end); });
    };
    completed = parallel_for(g.m, 32, rows, &job, poll);
  } else if (count > 1 && (own_loops || work <= small_product)) {
    const auto grain = std::max<int64_t>(1, static_cast<int64_t>(small_product / (work + 1)));
    const auto matrices = [](void* context, int64_t begin, int64_t end) {
      auto& j = *static_cast<Job<T>*>(context);
      j.guarded([&] {
        for (int64_t i = begin; i < end; ++i) j.matrix(i);
      });
    };
    completed = parallel_for(count, std::min(grain, count), matrices, &job, poll);
  } else {
    for (int64_t i = 0; i < count && completed; ++i) {
      job.guarded([&] { job.matrix(i); });
      if (poll && i + 1 < count && poll->ask(poll->context)) completed = false;
    }
  }
  if (job.failure) std::rethrow_exception(job.failure);
  return completed;
}

template <class T>
bool run_typed(const Gemm& g, const void* a, const void* b, void* c, const Poll* poll) {
  return run_batch<T>(g, a, b, c, product<T>, blas<T>() == nullptr, poll);
}

}  // namespace

bool run_gemm(const Gemm& g, const void* a, const void* b, void* c, const Poll* poll) {
  switch (g.dtype) {
    case DType::float32: return run_typed<float>(g, a, b, c, poll);
    case DType::float64: return run_typed<double>(g, a, b, c, poll);
    case DType::float16:
      return run_batch<uint16_t>(g, a, b, c, half_product<half_to_float, float_to_half>, false, poll);
    case DType::bfloat16:
      return run_batch<uint16_t>(g, a, b, c, half_product<bfloat16_to_float, float_to_bfloat16>, false, poll);
    // Wrapping arithmetic has the same bits signed and unsigned.
    case DType::int8:
    case DType::uint8: return run_typed<uint8_t>(g, a, b, c, poll);
    case DType::int16:
    case DType::uint16: return run_typed<uint16_t>(g, a, b, c, poll);
    case DType::int32:
    case DType::uint32: return run_typed<uint32_t>(g, a, b, c, poll);
    case DType::int64:
    case DType::uint64: return run_typed<uint64_t>(g, a, b, c, poll);
    case DType::bool_: break;
  }
  return true;
}

void set_blas(void* s, void* d) {
  sgemm.store(reinterpret_cast<Cblas<float>>(s), std::memory_order_relaxed);
  dgemm.store(reinterpret_cast<Cblas<double>>(d), std::memory_order_relaxed);
}

}  // namespace weft
