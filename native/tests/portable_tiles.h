// Tiles in plain C++, so that products run without generated code. Any file of a test includes this, and has them.
#pragma once

#include <cmath>
#include <utility>

#include "gemm_tile.h"

namespace portable {

constexpr int rows = 4, columns = 6;

template <class T, int Rows>
void edge(int64_t k, const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_k, T* c, int64_t c_row, bool add,
          int64_t width) {
  for (int i = 0; i < Rows; ++i)
    for (int64_t j = 0; j < width; ++j) {
      T sum{};
      for (int64_t p = 0; p < k; ++p) sum = std::fma(a[i * a_row + p * a_k], b[p * b_k + j], sum);
      c[i * c_row + j] = add ? c[i * c_row + j] + sum : sum;
    }
}

template <class T, int Rows>
void tile(int64_t k, const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_k, T* c, int64_t c_row, bool add) {
  edge<T, Rows>(k, a, a_row, a_k, b, b_k, c, c_row, add, columns);
}

template <class T, int Width>
void pack(int64_t k, const T* from, int64_t line, int64_t step, T* to, int64_t lines) {
  for (int64_t p = 0; p < k; ++p)
    for (int64_t j = 0; j < Width; ++j) to[p * Width + j] = j < lines ? from[j * line + p * step] : T(1);
}

template <class T, size_t... Height, size_t... EdgeHeight>
bool use(std::index_sequence<Height...>, std::index_sequence<EdgeHeight...>) {
  weft::set_tiles<T>({rows, columns, rows + 1, {tile<T, Height + 1>...}, {edge<T, EdgeHeight + 1>...}, columns / 2,
                      pack<T, rows + 1>, pack<T, columns>});
  return true;
}

inline const std::make_index_sequence<rows> heights;
inline const std::make_index_sequence<weft::most_tile_rows> edge_heights;
inline const bool used = use<float>(heights, edge_heights) && use<double>(heights, edge_heights);

}  // namespace portable
