// The innermost block of a matrix product: a tile of C held in vector registers while k runs. Included by one source file
// for each instruction set, which is compiled for it; those files use nothing of the standard library, so that no code for
// a newer CPU can stand in for the portable copy of a shared function.
#pragma once

#include <cstdint>

namespace weft {

// C[rows, nr] (rows of stride c_row) = A[rows, k] @ B[k, nr], or += where `add`. Element (i, p) of A is at i * a_row +
// p * a_k, row p of B at p * b_k. Every element is one chain of multiply-adds over p, begun at zero.
template <class T>
using Tile = void (*)(int64_t k, const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_k, T* c, int64_t c_row,
                      bool add);

constexpr int most_tile_rows = 12;

template <class T>
struct TileSet {
  int mr, nr;                        // the full tile: rows, and columns (elements)
  Tile<T> of_rows[most_tile_rows];   // the tile of 1, 2, ... mr rows
};

// The tiles of one instruction set, for float and double.
struct Tiles {
  TileSet<float> f32;
  TileSet<double> f64;
};

// The best that this CPU runs.
const Tiles& tiles();
extern const Tiles portable_tiles;
#ifdef WEFT_X86_TILES
extern const Tiles avx2_tiles, avx512_tiles;
#endif

namespace {

template <class T, int Bytes>
struct VectorOf;
template <>
struct VectorOf<float, 16> { typedef float type __attribute__((vector_size(16), aligned(4))); };
template <>
struct VectorOf<float, 32> { typedef float type __attribute__((vector_size(32), aligned(4))); };
template <>
struct VectorOf<float, 64> { typedef float type __attribute__((vector_size(64), aligned(4))); };
template <>
struct VectorOf<double, 16> { typedef double type __attribute__((vector_size(16), aligned(8))); };
template <>
struct VectorOf<double, 32> { typedef double type __attribute__((vector_size(32), aligned(8))); };
template <>
struct VectorOf<double, 64> { typedef double type __attribute__((vector_size(64), aligned(8))); };

template <class T, int Bytes, int Vectors, int Rows>
void tile(int64_t k, const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_k, T* c, int64_t c_row, bool add) {
  using V = typename VectorOf<T, Bytes>::type;
  constexpr int width = Bytes / static_cast<int>(sizeof(T));
  V sums[Rows][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sums[i][v] = V{};
  for (int64_t p = 0; p < k; ++p) {
    V right[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) right[v] = *reinterpret_cast<const V*>(b + v * width);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const T left = a[i * a_row];
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sums[i][v] += left * right[v];
    }
    a += a_k;
    b += b_k;
  }
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      V* at = reinterpret_cast<V*>(c + i * c_row + v * width);
      *at = add ? *at + sums[i][v] : sums[i][v];
    }
}

template <class T, int Bytes, int Vectors, int Rows>
constexpr void fill(TileSet<T>& set) {
  set.of_rows[Rows - 1] = tile<T, Bytes, Vectors, Rows>;
  if constexpr (Rows > 1) fill<T, Bytes, Vectors, Rows - 1>(set);
}

template <class T, int Bytes, int Vectors, int Rows>
constexpr TileSet<T> tile_set() {
  TileSet<T> set{Rows, Vectors * Bytes / static_cast<int>(sizeof(T)), {}};
  fill<T, Bytes, Vectors, Rows>(set);
  return set;
}

}  // namespace
}  // namespace weft
