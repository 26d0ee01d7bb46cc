// Matrix products C = A @ B over a batch. Most are made of register tiles: float32 and float64 by the driver of float.h,
// the 16-bit floats, which are widened to float32 piece by piece, and the integers by that of pieces.h; large ones of float32 and
// most of 16-bit floats by the CPU's matrix unit, where it has one (split.h). The result depends on the values and sizes only, never on
// layouts or the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/dtype.h"
#include "base/pool.h"

namespace weft {

// Multiply-adds of some milliseconds, below which nothing is asked while a product runs.
constexpr double polled_work = 1 << 27;

// Threads among which so many multiply-adds are shared: 2^16 of them pay for waking another one.
inline int64_t useful_threads(double work) {
  return std::clamp<int64_t>(static_cast<int64_t>(std::min(work / (1 << 16), 1e6)), 1, num_threads());
}

// Of work that threads share: no two cores are equally fast.
constexpr int64_t units_per_thread = 4;

// How many parts of a size it takes.
constexpr int64_t parts(int64_t total, int64_t size) { return (total + size - 1) / size; }

// What as many parts have together: the least multiple of the size that is no less.
constexpr int64_t rounded_up(int64_t total, int64_t size) { return parts(total, size) * size; }

struct GemmOperand {
  std::vector<int64_t> batch_strides;  // in elements, one per batch dimension
  int64_t row_stride, col_stride;
};

struct Gemm {
  DType dtype;  // of all three operands; not bool
  std::vector<int64_t> batch;
  int64_t m, n, k;
  GemmOperand a, b, c;
};

// The product of the transposes of one matrix of the batch, whose result is the transpose.
inline Gemm transposed(const Gemm& g) {
  const auto turned = [](const GemmOperand& o) { return GemmOperand{{}, o.col_stride, o.row_stride}; };
  return {g.dtype, {}, g.n, g.m, g.k, turned(g.b), turned(g.a), turned(g.c)};
}

// Of one matrix of the batch.
inline double multiply_adds(const Gemm& g) {
  return static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k);
}

// Memory that a product may use while it runs, so that it need not allocate what it packs.
struct Spare {
  char* data = nullptr;
  int64_t nbytes = 0;
};

// What runs along with a product, while what it works on is in a cache. Both functions are called by whichever thread is
// there, several at once, and must not throw. A product that is interrupted leaves calls out. Rows may run on into the
// matrices that follow in the batch: row m of a matrix is row 0 of the next.
struct GemmHooks {
  void* context = nullptr;
  // A prologue: makes the rows [i0, i1) of A's matrix number `matrix` (of the batch), which are read only then. Every row is
  // made once.
  void (*prepare)(void* context, int64_t matrix, int64_t i0, int64_t i1) = nullptr;
  double prepare_work = 0;  // what it costs for one matrix, in multiply-adds: counts where threads are shared out
  // An epilogue: the elements [i0, i1) x [j0, j1) of C's matrix number `matrix` are final. Every element is reported
  // once, and nothing of the product reads it any more, nor the rows [i0, i1) of A where these are whole rows.
  void (*done)(void* context, int64_t matrix, int64_t i0, int64_t i1, int64_t j0, int64_t j1) = nullptr;
  bool whole_rows = false;  // `done` wants whole rows: j0 = 0 and j1 = n
  double work = 0;          // what `done` costs for one matrix, in multiply-adds: counts where threads are shared out
  // Other work for one thread, which the product need not wait for. It may be asked for any number of times, and may not be at
  // all; whoever is first does it. Asked for by the thread that has the least to do otherwise, or has nothing left to do.
  void (*aside)(void* context) = nullptr;
};

// The epilogue of one matrix of the batch. What a path of the product calls when elements are final: `rows` fits always,
// `block` only where the epilogue does not want whole rows.
class Epilogue {
 public:
  Epilogue(const GemmHooks* given, int64_t matrix, int64_t m, int64_t n)
      : hooks_(given), matrix_(matrix), m_(m), n_(n) {}
  explicit operator bool() const { return hooks_ && hooks_->done; }
  void aside() const {
    if (hooks_ && hooks_->aside) hooks_->aside(hooks_->context);
  }
  bool whole_rows() const { return *this && hooks_->whole_rows; }
  double work() const { return *this ? hooks_->work : 0; }  // of this matrix
  void rows(int64_t i0, int64_t i1) const { block(i0, i1, 0, n_); }
  void block(int64_t i0, int64_t i1, int64_t j0, int64_t j1) const {
    if (*this && i0 < i1) hooks_->done(hooks_->context, matrix_, i0, i1, j0, j1);
  }
  // All rows at once, for paths that know no better: over the pool where `shared`.
  void all(bool shared) const;

 private:
  const GemmHooks* hooks_;
  int64_t matrix_, m_, n_;
};

// The prologue of one matrix of the batch. A path of the product calls `rows` for some rows of A before any thread reads
// these, or `all` before it begins.
class Prologue {
 public:
  Prologue(const GemmHooks* given, int64_t matrix, int64_t m)
      : hooks_(given && given->prepare ? given : nullptr), matrix_(matrix), m_(m) {}
  explicit operator bool() const { return hooks_ != nullptr; }
  double work() const { return hooks_ ? hooks_->prepare_work : 0; }
  void rows(int64_t i0, int64_t i1) const {
    if (hooks_ && i0 < i1) hooks_->prepare(hooks_->context, matrix_, i0, i1);
  }
  void all(bool shared) const;  // over the pool where `shared`

 private:
  const GemmHooks* hooks_;
  int64_t matrix_, m_;
};

// Runs the product. k = 0 gives zeros. False: the poll asked to stop, and C is not complete.
// Throws std::bad_alloc.
bool run_gemm(const Gemm& gemm, const void* a, const void* b, void* c, const Poll* poll = nullptr,
              const GemmHooks* hooks = nullptr, Spare spare = {});

}  // namespace weft
