// See matrix_unit.h.
#include "gemm/matrix_unit.h"

#include <atomic>
#include <vector>

#ifdef WEFT_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace weft {
namespace {

#ifdef WEFT_AMX_FLOAT16
// Which compilers before GCC 13 cannot ask.
bool multiplies_float16() {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && eax >> 21 & 1;
}
#endif

// Linux keeps the registers of those processes only that have asked for it: once, for all threads.
std::vector<const MatrixUnit*> find_units() {
  std::vector<const MatrixUnit*> units;
#ifdef WEFT_AMX
  constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  __builtin_cpu_init();
  const bool vectors =
      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  if (!vectors || !__builtin_cpu_supports("amx-tile") || !__builtin_cpu_supports("amx-bf16") ||
      syscall(SYS_arch_prctl, request_permission, tile_data) != 0)
    return units;
#ifdef WEFT_AMX_FLOAT16
  if (multiplies_float16()) units.push_back(&amx_float16_unit);
#endif
  units.push_back(&amx_unit);
#endif
  return units;
}

std::atomic<const MatrixUnit*>& used_unit() {
  static std::atomic<const MatrixUnit*> unit{cpu_matrix_unit()};
  return unit;
}

}  // namespace

std::span<const MatrixUnit* const> cpu_matrix_units() {
  static const std::vector<const MatrixUnit*> units = find_units();
  return units;
}

const MatrixUnit* matrix_unit() { return used_unit().load(std::memory_order_relaxed); }

const MatrixUnit* use_matrix_unit(const MatrixUnit* unit) { return used_unit().exchange(unit, std::memory_order_relaxed); }

}  // namespace weft
