// The loops that are compiled once for each instruction set, and the choice of the best that this CPU runs.
#pragma once

#include "gemm/far_rows.h"
#include "gemm/few_rows.h"
#include "gemm/integers.h"
#include "gemm/lanes.h"
#include "gemm/rows.h"
#include "gemm/tiny.h"
#include "gemm/types.h"

namespace weft {

template <class T>  // float, double
const RowKernels<T>& row_kernels();
template <class S>  // float, double, Float16, BFloat16
const LaneKernels<S>& lane_kernels();
template <class S>  // Float16, BFloat16, uint8_t
const Converters<S>& converters();
template <class T>  // float, double
const FewRowKernels<T>& few_row_kernels();
template <class T>  // float, double
const FarRowKernels<T>& far_row_kernels();
template <class T>  // uint16_t, uint32_t, uint64_t
const IntegerTiles<T>& integer_tiles();
template <class S>  // uint8_t ... uint64_t
const IntegerLoops<S>& integer_loops();
template <class T>  // float, double, uint16_t, uint32_t, uint64_t
const TinyKernels<T>& tiny_kernels();

// Whether a vector is a whole cache line (AVX-512).
bool vectors_are_lines();

// Whether the processor is one of Intel's, which load vectors of that length otherwise than AMD's.
bool processor_is_intels();

// Those that this CPU runs, the best last: how many there are. Kernels: TinyKernels, FewRowKernels or FarRowKernels of float or double.
constexpr int most_instruction_sets = 3;
template <class Kernels>
int runnable_kernels(const Kernels* (&found)[most_instruction_sets]);

// What gains from AVX-512: the loops that multiply what they load several times. Lanes of a sum are part of its definition, and 32 bytes.
struct WideLoops {
  TinyKernels<float> tiny_float;
  TinyKernels<double> tiny_double;
  FewRowKernels<float> few_float;
  FewRowKernels<double> few_double;
  FarRowKernels<float> far_float;
  FarRowKernels<double> far_double;
};

struct AllVectorLoops {
  RowKernels<float> rows_float;
  RowKernels<double> rows_double;
  LaneKernels<float> lanes_float;
  LaneKernels<double> lanes_double;
  LaneKernels<Float16> lanes_float16;
  LaneKernels<BFloat16> lanes_bfloat16;
  Converters<Float16> convert_float16;
  Converters<BFloat16> convert_bfloat16;
  Converters<uint8_t> convert_bytes;
  IntegerTiles<uint16_t> tiles16;
  IntegerTiles<uint32_t> tiles32;
  IntegerTiles<uint64_t> tiles64;
  IntegerLoops<uint8_t> loops8;
  IntegerLoops<uint16_t> loops16;
  IntegerLoops<uint32_t> loops32;
  IntegerLoops<uint64_t> loops64;
  TinyKernels<uint16_t> tiny16;
  TinyKernels<uint32_t> tiny32;
  TinyKernels<uint64_t> tiny64;
  WideLoops wide;
};

extern const AllVectorLoops portable_loops;
#ifdef WEFT_AVX2_LOOPS
extern const AllVectorLoops avx2_loops;
extern const WideLoops avx512_loops;
#endif

}  // namespace weft
