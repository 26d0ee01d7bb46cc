// All loops, as the file that includes this is compiled.
#pragma once

#include "gemm_far_rows_loops.h"
#include "gemm_few_rows_loops.h"
#include "gemm_integers_loops.h"
#include "gemm_lanes_loops.h"
#include "gemm_rows_loops.h"
#include "gemm_tiny_loops.h"
#include "gemm_types_loops.h"
#include "gemm_vectors.h"

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
