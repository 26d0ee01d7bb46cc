// Choosing how a matrix product runs, by its type and sizes, and sharing batches and rows over the pool.
#include "gemm/gemm.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <type_traits>

#include "base/allocator.h"
#include "base/caches.h"
#include "base/thread_state.h"
#include "gemm/batch.h"
#include "gemm/far.h"
#include "gemm/few.h"
#include "gemm/float.h"
#include "gemm/integer_vector.h"
#include "gemm/pieces.h"
#include "gemm/small.h"
#include "gemm/split.h"
#include "gemm/tile.h"
#include "gemm/vector.h"
#include "gemm/vectors.h"
#include "gemm/zeros.h"

namespace weft {
namespace {

constexpr int64_t few_columns = 8;  // of tiles that had better have as many rows

// Whether the transposed product is sooner done: its C has rows whose elements follow one another; or this one's tiles
// would have few columns, and those of A follow one another.
bool better_transposed(const Gemm& g) {
  constexpr int64_t shallow = 32;
  if (g.c.col_stride != 1 && g.c.row_stride == 1) return true;
  return g.n <= few_columns && g.m > few_columns && g.k >= shallow && g.a.row_stride == 1 && g.a.col_stride != 1;
}

// What tiles of so many columns of a matrix take, beside full ones whose vectors begin with a cache line, as measured: a tile of one
// vector, or some, has too few sums; the last vector may have few elements; and more than half of vectors as long as a line are split
// between two where not all rows begin alike.
template <class T>
double cost_of_columns(int64_t columns, int64_t row_stride) {
  const TileSet<T>& set = *tile_set<T>();
  const int64_t lanes = set.lanes(), bytes = lanes * static_cast<int64_t>(sizeof(T)), in_tile = set.nr / lanes;
  const int64_t left = parts(columns % set.nr, lanes);
  const double edge = left == 0 ? 0 : left == 1 ? 1.25 : static_cast<double>(left) + 0.2 * static_cast<double>(in_tile - left);
  const double split = row_stride % lanes == 0 ? 1 : 1 + static_cast<double>(bytes) / (8 * line_bytes);
  return (static_cast<double>(columns / set.nr * in_tile) + edge) * split * static_cast<double>(lanes) / static_cast<double>(columns);
}

// Whether the transposed product is sooner done, and its result turned, if A is transposed, as in the gradient of a layer's weights: A's
// columns then make the vectors, of which few columns of B may fill but part, and A is read along its lines. That counts most where it
// comes from far away, unless the product of so few columns is made transposed anyway.
template <class T>
bool better_along_a(const Gemm& g) {
  constexpr int64_t most_bytes = 768;  // of a row of B: more columns would be more than one unit's rows
  constexpr double turned = 5 * sizeof(T), far = 20, farthest = 60, worth = 0.88;
  const int64_t size = sizeof(T), a_bytes = g.m * g.k * size;
  if (g.a.row_stride != 1 || g.a.col_stride == 1 || g.n * size > most_bytes || multiply_adds(g) <= small_product_work) return false;
  const double away = g.n <= few_columns ? 0 : a_bytes > far_bytes ? farthest : a_bytes > second_cache_bytes() ? far : 0;
  const double direct = cost_of_columns<T>(g.n, g.b.col_stride == 1 ? g.b.row_stride : 0) + away / static_cast<double>(g.n);
  return cost_of_columns<T>(g.m, g.a.col_stride) + turned / static_cast<double>(g.k) < worth * direct;
}

// The same, if all of a transposed B would have to be packed: C has few rows, k is much longer, and A need not be packed instead, or is
// the smaller.
bool packs_less_turned(const Gemm& g) {
  constexpr int64_t most_rows = 128, longer = 4;
  if (g.b.row_stride != 1 || g.b.col_stride == 1 || g.m > most_rows || g.k <= deepest_small || g.k < longer * g.m) return false;
  return g.a.row_stride == 1 ? g.m <= g.n : 3 * g.m <= 2 * g.n;
}

// Whether it is for any of these reasons, where C lies row after row and has rows enough to fill vectors.
template <class T>
bool better_turned(const Gemm& g) {
  if (g.c.col_stride != 1 || g.c.row_stride != g.n) return false;
  return (packs_less_turned(g) || better_along_a<T>(g)) && g.m >= tile_set<T>()->lanes();
}

template <class T>
bool tiled_product(const Gemm& g, const T* a, const T* b, T* c, bool shared, const Prologue& prologue, const Epilogue& epilogue,
                   const Poll* poll, Spare spare) {
  if (small_product<T>(g, a, b, c, shared, prologue, epilogue)) return true;
  if (!prologue)
    if (const auto completed = skipping_product<T>(g, a, b, c, shared, epilogue, poll, spare)) return *completed;
  if (long_product(g, shared)) return piece_product<T>(g, a, b, c, shared, prologue, epilogue, poll, spare);
  return float_product<T>(g, a, b, c, shared, prologue, epilogue, poll, spare);
}

// The transposed product, to memory of its own, whose rows then become columns. False: interrupted.
template <class T>
bool turned_product(const Gemm& g, const T* a, const T* b, T* c, bool shared, const Poll* poll, Spare spare) {
  const Block memory(static_cast<size_t>(g.m * g.n) * sizeof(T));
  T* const turned = static_cast<T*>(memory.data());
  Gemm other = transposed(g);
  other.c.row_stride = g.m, other.c.col_stride = 1;
  if (!tiled_product<T>(other, b, a, turned, shared, Prologue(nullptr, 0, g.n), Epilogue(nullptr, 0, g.n, g.m), poll, spare)) return false;
  struct Job {
    const Gemm& g;
    const T* from;
    T* to;
  } job{g, turned, c};
  const auto rows = [](void* context, int64_t begin, int64_t end) {
    const Job& j = *static_cast<const Job*>(context);
    tiny_kernels<T>().turn(1, j.g.n, end - begin, j.from + begin, 0, j.g.m, j.to + begin * j.g.n);
  };
  constexpr int64_t chunk = 1 << 14;  // elements for which waking another thread pays
  if (!shared || g.m * g.n < 2 * chunk) rows(&job, 0, g.m);
  else parallel_for(g.m, chunk / g.n + 1, rows, &job);
  return true;
}

// One product of matrices without a matrix unit. False: interrupted.
template <class S>
bool product_by_vectors(const Gemm& g, const S* a, const S* b, S* c, bool shared, const Prologue& prologue, const Epilogue& epilogue,
                        const Poll* poll, Spare spare) {
  if constexpr (!std::is_floating_point_v<S>)
    return piece_product<S>(g, a, b, c, shared, prologue, epilogue, poll, spare);
  else if (const bool far = far_product_pays<S>(g), few = !far && few_rows_pay<S>(g); far || few || better_turned<S>(g)) {
    prologue.all(shared);
    if (!(far   ? far_product<S>(g, a, b, c, shared, poll)
          : few ? few_rows_product<S>(g, a, b, c, shared, poll)
                : turned_product<S>(g, a, b, c, shared, poll, spare)))
      return false;
    epilogue.all(shared);
    return true;
  } else if (!prologue && !epilogue && better_transposed(g))
    return tiled_product<S>(transposed(g), b, a, c, shared, prologue, epilogue, poll, spare);
  else
    return tiled_product<S>(g, a, b, c, shared, prologue, epilogue, poll, spare);
}

// The matrix unit that all products of a batch are made by, or null: goes by sizes, and by whether an operand is the same for all of them,
// which are then as one product, however they are run. Tiny and narrow ones are better off without.
template <class S>
const MatrixUnit* unit_for(const Gemm& g) {
  if constexpr (std::is_same_v<SumOf<S>, float>) {
    if (g.k == 0 || g.m < 2 || g.n < 2) return nullptr;
    Gemm all = g;
    all.batch.clear();
    int64_t count = 1;
    bool same_a = true, same_b = true;
    for (size_t d = 0; d < g.batch.size(); ++d) {
      count *= g.batch[d];
      same_a = same_a && (g.batch[d] == 1 || g.a.batch_strides[d] == 0);
      same_b = same_b && (g.batch[d] == 1 || g.b.batch_strides[d] == 0);
    }
    if (count > 1 && tiny_products<S>(g)) return nullptr;
    if (same_b) all.m *= count;
    else if (same_a) all.n *= count;
    if constexpr (is_half<S>)
      if (narrow_product<S>(all)) return nullptr;
    return split_pays<S>(all);
  } else {
    return nullptr;
  }
}

// One product, over the pool where `shared`. False: interrupted.
template <class S>
bool product(const Gemm& g, const MatrixUnit* unit, const S* a, const S* b, S* c, bool shared, const Prologue& prologue,
             const Epilogue& epilogue, const Poll* poll, Spare spare) {
  const bool vector = g.m == 1 || g.n == 1;
  if (g.k == 0 || vector) {
    prologue.all(shared);
    if (g.k == 0)
      for (int64_t i = 0; i < g.m; ++i)
        for (int64_t j = 0; j < g.n; ++j) c[i * g.c.row_stride + j * g.c.col_stride] = S{};
    else if constexpr (std::is_integral_v<S>)
      integer_vector_product<S>(g, a, b, c, shared);
    else
      vector_product<S>(g, a, b, c, shared);
    epilogue.all(shared);
    return true;
  }
  if constexpr (std::is_same_v<SumOf<S>, float>)
    if (unit) {
      prologue.all(shared);
      bool zeros = false;  // which vectors skip
      if constexpr (std::is_same_v<S, float>) zeros = mostly_zeros(g, a, b);
      const SplitResult result =
          zeros ? SplitResult::unfit : split_product<S>(*unit, g, a, b, c, shared, epilogue, poll);
      if (result == SplitResult::completed) thread_state().gemms_by_matrix_unit.add(1);
      if (result != SplitResult::unfit) return result == SplitResult::completed;
      return product_by_vectors<S>(g, a, b, c, shared, Prologue(nullptr, 0, g.m), epilogue, poll, spare);
    }
  return product_by_vectors<S>(g, a, b, c, shared, prologue, epilogue, poll, spare);
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

// How many of the matrices had better each be one thread's than be shared by threads that wait for each other: those that are little work,
// or stay in a core's own cache, as far as all threads get as many, or about as many.
template <class T>
int64_t matrices_apart(const Gemm& g, int64_t count, double work) {
  if (count == 1) return 0;
  if (work <= small_product_work) return count;
  const auto m = static_cast<double>(g.m), n = static_cast<double>(g.n), k = static_cast<double>(g.k);
  if (2 * (m * k + k * n + m * n) * sizeof(T) > static_cast<double>(second_cache_bytes())) return 0;
  const int64_t threads = num_threads();
  return count >= units_per_thread * threads ? count : count - count % threads;
}

// What the workers share: the job, and the first exception.
template <class T>
struct Job {
  const Gemm& g;
  const MatrixUnit* unit;
  const T* a;
  const T* b;
  T* c;
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

  // On the calling thread or, where `shared`, over the pool. False: interrupted.
  bool matrix(int64_t i, bool shared, const Poll* poll) {
    return product<T>(g, unit, a + batch_offset(g, g.a, i), b + batch_offset(g, g.b, i), c + batch_offset(g, g.c, i), shared,
        prologue(i), epilogue(i), poll, shared ? spare : Spare{});
  }
};

template <class T>
bool run_batch(const Gemm& g, const MatrixUnit* unit, const void* a, const void* b, void* c, const Poll* poll, const GemmHooks* hooks, Spare spare) {
  int64_t count = 1;
  for (int64_t size : g.batch) count *= size;
  if (count == 0 || g.m == 0 || g.n == 0) return true;
  if (count > 1 && g.k > 0 && g.batch.size() <= Batch::most_dims) {
    const Batch batch(g);
    if (Gemm whole; whole_product(g, batch, hooks != nullptr, whole)) {
      GemmHooks of_all = hooks ? *hooks : GemmHooks{};
      of_all.prepare_work *= static_cast<double>(count), of_all.work *= static_cast<double>(count);
      return run_batch<T>(whole, unit, a, b, c, poll, hooks ? &of_all : nullptr, spare);
    }
    if (tiny_products<T>(g))
      return run_tiny_products<T>(g, batch, static_cast<const T*>(a), static_cast<const T*>(b), static_cast<T*>(c), poll, hooks);
  }
  if constexpr (!std::is_floating_point_v<T>)
    if (count == 1 && !hooks && !unit && narrow_product<T>(g))
      return run_narrow_product<T>(g, static_cast<const T*>(a), static_cast<const T*>(b), static_cast<T*>(c), poll);
  Job<T> job{.g = g, .unit = unit, .a = static_cast<const T*>(a), .b = static_cast<const T*>(b), .c = static_cast<T*>(c), .hooks = hooks,
             .spare = spare};
  const double work = multiply_adds(g) + job.prologue(0).work() + job.epilogue(0).work();
  bool completed = true;
  const int64_t apart = matrices_apart<T>(g, count, work);
  if (apart > 0) {
    const auto grain = std::max<int64_t>(1, static_cast<int64_t>(small_product_work / (work + 1)));
    const auto matrices = [](void* context, int64_t begin, int64_t end) {
      auto& j = *static_cast<Job<T>*>(context);
      j.guarded([&] {
        for (int64_t i = begin; i < end; ++i) j.matrix(i, false, nullptr);
      });
    };
    completed = parallel_for(apart, std::min(grain, apart), matrices, &job, poll);
  }
  for (int64_t i = apart; i < count && completed; ++i) {
    if (i > 0 && poll && poll->ask(poll->context)) completed = false;
    else job.guarded([&] { completed = job.matrix(i, true, poll); });
  }
  if (job.failure) std::rethrow_exception(job.failure);
  return completed;
}

}  // namespace

void Epilogue::all(bool shared) const { all_rows(*this, m_, shared); }
void Prologue::all(bool shared) const { all_rows(*this, m_, shared); }

bool run_gemm(const Gemm& g, const void* a, const void* b, void* c, const Poll* poll, const GemmHooks* hooks, Spare spare) {
  const auto run = [&]<class T>(T) { return run_batch<T>(g, unit_for<T>(g), a, b, c, poll, hooks, spare); };
  switch (g.dtype) {
    case DType::float32: return run(float{});
    case DType::float64: return run(double{});
    case DType::float16: return run(Float16{});
    case DType::bfloat16: return run(BFloat16{});
    // Wrapping arithmetic has the same bits signed and unsigned.
    case DType::int8:
    case DType::uint8: return run(uint8_t{});
    case DType::int16:
    case DType::uint16: return run(uint16_t{});
    case DType::int32:
    case DType::uint32: return run(uint32_t{});
    case DType::int64:
    case DType::uint64: return run(uint64_t{});
    case DType::bool_: break;
  }
  return true;
}

}  // namespace weft
