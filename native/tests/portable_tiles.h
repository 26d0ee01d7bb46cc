// Tiles in plain C++, so that products run without generated code. Any file of a test includes this, and has them.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <type_traits>
#include <utility>

#include "gemm/tile.h"

namespace portable {

constexpr int rows = 4, columns = 6;

template <class T, int Rows>
void edge(int64_t k, int64_t first, const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_k, T* c, int64_t c_row, bool add,
          int64_t width) {
  for (int i = 0; i < Rows; ++i)
    for (int64_t j = 0; j < width; ++j) {
      const auto chain = [&](int64_t begin, int64_t end) {
        T sum{};
        for (int64_t p = begin; p < end; ++p) sum = std::fma(a[i * a_row + p * a_k], b[p * b_k + j], sum);
        return sum;
      };
      T& out = c[i * c_row + j];
      const T sum = chain(0, first ? first : k);
      out = add ? out + sum : sum;
      if (first) out += chain(first, k);
    }
}

template <class T, int Rows, int Columns>
void tile(int64_t k, int64_t first, const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_k, T* c, int64_t c_row, bool add) {
  edge<T, Rows>(k, first, a, a_row, a_k, b, b_k, c, c_row, add, Columns);
}

template <class T, int Columns>
void column(int64_t k, int64_t first, int64_t tiles, const T* a, const T* b, T* c, int64_t c_row, bool add, const void*, int64_t, int64_t,
            int64_t) {
  for (int64_t t = 0; t < tiles; ++t)
    tile<T, rows, Columns>(k, first, a + t * k * (rows + 1), 1, rows + 1, b, Columns, c + t * rows * c_row, c_row, add);
}

template <class T, int Width>
void pack(int64_t k, const T* from, int64_t line, int64_t step, T* to, int64_t lines) {
  for (int64_t p = 0; p < k; ++p)
    for (int64_t j = 0; j < Width; ++j) to[p * Width + j] = j < lines ? from[j * line + p * step] : T(1);
}

constexpr int wide = 24, turned = 2;

template <class T>
void turn(int64_t k, const T* from, int64_t line, int64_t step, T* to, int64_t first, int64_t last, int64_t width) {
  for (int64_t p = 0; p < k; ++p)
    for (int64_t j = 0; j < turned; ++j) to[p * width + j] = from[std::min(first + j, last) * line + p * step];
}

template <class T, int Columns>
void opening(int64_t k, int64_t first, const T* a, const T* b, int64_t b_k, T* to, T* c, int64_t c_row, bool add) {
  for (int64_t p = 0; p < k; ++p) std::copy_n(b + p * b_k, Columns, to + p * Columns);
  tile<T, rows, Columns>(k, first, a, 1, rows + 1, to, Columns, c, c_row, add);
}

template <class T>
void skip(int64_t count, const uint64_t* masks, uint64_t all, uint64_t cut, const T* values, int64_t value_row, int64_t value_step,
          const T* panel, const T* partial, bool resumed, T* to, int64_t to_row, bool add) {
  for (int64_t r = 0; r < count; ++r)
    for (int64_t j = 0; j < wide; ++j) {
      const auto chain = [&](uint64_t bits, T sum) {
        for (int64_t p = 0; p < 64; ++p)
          if (bits >> p & 1) sum = std::fma(values[r * value_row + p * value_step], panel[p * wide + j], sum);
        return sum;
      };
      const uint64_t bits = masks[r] | all;
      const T sum = chain(bits & cut, resumed ? partial[r * wide + j] : T{});
      T& out = to[r * to_row + j];
      out = (add ? out + sum : sum) + chain(bits & ~cut, T{});
    }
}

template <class T>
void nonzero(int64_t lines, int64_t count, const T* from, int64_t step, uint64_t* masks) {
  for (int64_t r = 0; r < lines; ++r) {
    masks[r] = 0;
    for (int64_t p = 0; p < count; ++p) masks[r] |= uint64_t{from[r * step + p] != 0} << p;
  }
}

template <class T>
void extent(int64_t lines, int64_t count, const T* from, int64_t step, uint64_t* out) {
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  Bits most = 0, least = static_cast<Bits>(-1);
  for (int64_t r = 0; r < lines; ++r)
    for (int64_t p = 0; p < count; ++p) {
      const Bits magnitude = std::bit_cast<Bits>(from[r * step + p]) & static_cast<Bits>(-1) >> 1;
      most = std::max(most, magnitude), least = std::min(least, static_cast<Bits>(magnitude - 1));
    }
  out[0] = most, out[1] = least;
}

template <class T>
void nonzero_across(int64_t lines, int64_t count, const T* from, int64_t step, uint64_t* masks, uint64_t* out) {
  for (int64_t r = 0; r < lines; ++r) {
    masks[r] = 0;
    for (int64_t p = 0; p < count; ++p) masks[r] |= uint64_t{from[r + p * step] != 0} << p;
  }
  extent(count, lines, from, step, out);
}

template <class T>
void copy_wide(int64_t lines, const T* from, int64_t step, T* to, uint64_t* out) {
  pack<T, wide>(lines, from, 1, step, to, wide);
  extent(lines, wide, from, step, out);
}

inline const std::make_index_sequence<rows> heights;
inline const std::make_index_sequence<weft::most_tile_rows> edge_heights;

// Tiles of so many columns, of which a vector has some.
template <class T, int Columns, int Lanes, size_t... Height, size_t... EdgeHeight>
weft::TileSet<T> tiles(std::index_sequence<Height...>, std::index_sequence<EdgeHeight...>) {
  return {rows, Columns, rows + 1, {tile<T, Height + 1, Columns>...}, {edge<T, EdgeHeight + 1>...}, Lanes,
          column<T, Columns>, opening<T, Columns>, pack<T, rows + 1>, pack<T, Columns>, pack<T, wide>, pack<T, Columns>, wide, turned,
          turn<T>, skip<T>, nonzero<T>, extent<T>, nonzero_across<T>, copy_wide<T>};
}

template <class T>
bool use() {
  weft::set_tiles<T>(tiles<T, columns, 3>(heights, edge_heights));
  return true;
}
inline const bool used = use<float>() && use<double>();

}  // namespace portable
