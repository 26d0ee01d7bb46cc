// All loops, as the file that includes this is compiled.
#pragma once

#include "gemm/far_rows_loops.h"
#include "gemm/few_rows_loops.h"
#include "gemm/integers_loops.h"
#include "gemm/lanes_loops.h"
#include "gemm/rows_loops.h"
#include "gemm/tiny_loops.h"
#include "gemm/types_loops.h"
#include "gemm/vectors.h"

namespace weft {
namespace {

constexpr AllVectorLoops vector_loops = {
    row_kernels_of<float>(), row_kernels_of<double>(), lane_kernels_of<float>(), lane_kernels_of<double>(),
    lane_kernels_of<Float16>(), lane_kernels_of<BFloat16>(), converters_of<Float16>(), converters_of<BFloat16>(),
    converters_of<uint8_t>(), integer_tiles_of<uint16_t>(), integer_tiles_of<uint32_t>(), integer_tiles_of<uint64_t>(),
    integer_loops_of<uint8_t>(), integer_loops_of<uint16_t>(), integer_loops_of<uint32_t>(), integer_loops_of<uint64_t>(),
    tiny_kernels_of<uint16_t>(), tiny_kernels_of<uint32_t>(), tiny_kernels_of<uint64_t>(),
    {tiny_kernels_of<float>(), tiny_kernels_of<double>(), few_row_kernels_of<float>(), few_row_kernels_of<double>(),
     far_row_kernels_of<float>(), far_row_kernels_of<double>()}};

}  // namespace
}  // namespace weft
