// See matrix_unit.h.
#include "gemm/matrix_unit.h"

#include <atomic>

#ifdef WEFT_AMX
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace weft {
namespace {

// Linux keeps the registers of those processes only that have asked for it: once, for all threads.
const MatrixUnit* find_unit() {
#ifdef WEFT_AMX
  constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  __builtin_cpu_init();
  const bool vectors = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
  if (vectors && __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
      syscall(SYS_arch_prctl, request_permission, tile_data) == 0)
    return &amx_unit;
#endif
  return nullptr;
}

std::atomic<const MatrixUnit*>& used_unit() {
  static std::atomic<const MatrixUnit*> unit{cpu_matrix_unit()};
  return unit;
}

}  // namespace

const MatrixUnit* cpu_matrix_unit() {
  static const MatrixUnit* const unit = find_unit();
  return unit;
}

const MatrixUnit* matrix_unit() { return used_unit().load(std::memory_order_relaxed); }

const MatrixUnit* use_matrix_unit(const MatrixUnit* unit) { return used_unit().exchange(unit, std::memory_order_relaxed); }

}  // namespace weft
