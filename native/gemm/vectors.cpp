// Loops for any CPU, and the choice of the best.
#include "gemm/vectors_loops.h"

namespace weft {

constinit const AllVectorLoops portable_loops = vector_loops;

namespace {

const AllVectorLoops& best_loops() {
#ifdef WEFT_AVX2_LOOPS
  static const AllVectorLoops& best = []() -> const AllVectorLoops& {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")
               ? avx2_loops
               : portable_loops;
  }();
  return best;
#else
  return portable_loops;
#endif
}

// Where kernels of a kind stand.
template <class Kernels>
constexpr Kernels WideLoops::*place = nullptr;
template <>
constexpr auto place<TinyKernels<float>> = &WideLoops::tiny_float;
template <>
constexpr auto place<TinyKernels<double>> = &WideLoops::tiny_double;
template <>
constexpr auto place<FewRowKernels<float>> = &WideLoops::few_float;
template <>
constexpr auto place<FewRowKernels<double>> = &WideLoops::few_double;
template <>
constexpr auto place<FarRowKernels<float>> = &WideLoops::far_float;
template <>
constexpr auto place<FarRowKernels<double>> = &WideLoops::far_double;

template <class Kernels>
const Kernels& best_kernels() {
  static const Kernels& best = []() -> const Kernels& {
    const Kernels* found[most_instruction_sets];
    const int count = runnable_kernels(found);
    return *found[count - 1];
  }();
  return best;
}

}  // namespace

bool vectors_are_lines() {
#ifdef WEFT_AVX2_LOOPS
  static const bool are = &best_loops() == &avx2_loops && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
  return are;
#else
  return false;
#endif
}

bool processor_is_intels() {
#if defined(__x86_64__)
  static const bool is = (__builtin_cpu_init(), __builtin_cpu_is("intel"));
  return is;
#else
  return false;
#endif
}

template <class Kernels>
int runnable_kernels(const Kernels* (&found)[most_instruction_sets]) {
  int count = 0;
  found[count++] = &(portable_loops.wide.*place<Kernels>);
#ifdef WEFT_AVX2_LOOPS
  if (&best_loops() == &avx2_loops) found[count++] = &(avx2_loops.wide.*place<Kernels>);
  if (vectors_are_lines()) found[count++] = &(avx512_loops.*place<Kernels>);
#endif
  return count;
}

template int runnable_kernels(const TinyKernels<float>* (&)[most_instruction_sets]);
template int runnable_kernels(const TinyKernels<double>* (&)[most_instruction_sets]);
template int runnable_kernels(const FewRowKernels<float>* (&)[most_instruction_sets]);
template int runnable_kernels(const FewRowKernels<double>* (&)[most_instruction_sets]);
template int runnable_kernels(const FarRowKernels<float>* (&)[most_instruction_sets]);
template int runnable_kernels(const FarRowKernels<double>* (&)[most_instruction_sets]);

template <>
const RowKernels<float>& row_kernels() {
  return best_loops().rows_float;
}
template <>
const RowKernels<double>& row_kernels() {
  return best_loops().rows_double;
}
template <>
const LaneKernels<float>& lane_kernels() {
  return best_loops().lanes_float;
}
template <>
const LaneKernels<double>& lane_kernels() {
  return best_loops().lanes_double;
}
template <>
const LaneKernels<Float16>& lane_kernels() {
  return best_loops().lanes_float16;
}
template <>
const LaneKernels<BFloat16>& lane_kernels() {
  return best_loops().lanes_bfloat16;
}
template <>
const Converters<Float16>& converters() {
  return best_loops().convert_float16;
}
template <>
const Converters<BFloat16>& converters() {
  return best_loops().convert_bfloat16;
}
template <>
const Converters<uint8_t>& converters() {
  return best_loops().convert_bytes;
}
template <class T>
const FarRowKernels<T>& far_row_kernels() {
  return best_kernels<FarRowKernels<T>>();
}
template const FarRowKernels<float>& far_row_kernels();
template const FarRowKernels<double>& far_row_kernels();
template <class T>
const FewRowKernels<T>& few_row_kernels() {
  return best_kernels<FewRowKernels<T>>();
}
template const FewRowKernels<float>& few_row_kernels();
template const FewRowKernels<double>& few_row_kernels();
template <>
const IntegerTiles<uint16_t>& integer_tiles() {
  return best_loops().tiles16;
}
template <>
const IntegerTiles<uint32_t>& integer_tiles() {
  return best_loops().tiles32;
}
template <>
const IntegerTiles<uint64_t>& integer_tiles() {
  return best_loops().tiles64;
}
template <>
const IntegerLoops<uint8_t>& integer_loops() {
  return best_loops().loops8;
}
template <>
const IntegerLoops<uint16_t>& integer_loops() {
  return best_loops().loops16;
}
template <>
const IntegerLoops<uint32_t>& integer_loops() {
  return best_loops().loops32;
}
template <>
const IntegerLoops<uint64_t>& integer_loops() {
  return best_loops().loops64;
}
template <>
const TinyKernels<float>& tiny_kernels() {
  return best_kernels<TinyKernels<float>>();
}
template <>
const TinyKernels<double>& tiny_kernels() {
  return best_kernels<TinyKernels<double>>();
}
template <>
const TinyKernels<uint16_t>& tiny_kernels() {
  return best_loops().tiny16;
}
template <>
const TinyKernels<uint32_t>& tiny_kernels() {
  return best_loops().tiny32;
}
template <>
const TinyKernels<uint64_t>& tiny_kernels() {
  return best_loops().tiny64;
}

}  // namespace weft
