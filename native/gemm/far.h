// Products of few rows and a large matrix whose rows come from far away, as where a small batch meets a layer's weights. A tile would read
// short pieces of rows that are far apart, for which nothing is fetched ahead: rows are read from end to end instead, once, and the
// sums wait in the nearest cache. The bits are those of float.h.
#pragma once

#include "gemm/gemm.h"

namespace weft {

// Whether that is how one matrix of the batch is sooner done. T: float, double.
template <class T>
bool far_product_pays(const Gemm& g);

// One matrix of the batch, on the calling thread or, where `shared`, over the pool. Only where it pays. False: interrupted. Throws
// std::bad_alloc.
template <class T>
bool far_product(const Gemm& g, const T* a, const T* b, T* c, bool shared, const Poll* poll);

}  // namespace weft
