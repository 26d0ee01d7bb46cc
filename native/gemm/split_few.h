// 16-bit products of few rows by the matrix unit, up to 512: a number of B is used by few panels of A, so that it is packed, some steps at
// a time, by the thread that multiplies it by all of them, which finds it in its cache. (Those of float32 are as soon made by vectors.)
#pragma once

#include "gemm/split.h"

namespace weft {

// Whether a product is made so, if by the unit: goes by its sizes alone.
bool split_few_rows(const Gemm& g);

// As split_product, but nothing follows.
template <class S>
SplitResult split_few_product(const MatrixUnit& unit, const Gemm& g, const S* a, const S* b, S* c, int64_t threads, const Poll* poll);

}  // namespace weft
