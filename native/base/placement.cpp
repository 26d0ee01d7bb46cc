#include "base/placement.h"

#include <pthread.h>

namespace weft {

void Placement::keep_off(int cpu, std::vector<std::thread>& workers) {
  if (cpu == cpu_ || cpu < 0 || cpu >= CPU_SETSIZE) return;
  masks_.resize(workers.size());  // with no CPU in either mask, as no worker has
  for (size_t i = 0; i < workers.size(); ++i) {
    const pthread_t thread = workers[i].native_handle();
    Masks& masks = masks_[i];
    cpu_set_t now;
    if (pthread_getaffinity_np(thread, sizeof now, &now) != 0) continue;
    if (!CPU_EQUAL(&now, &masks.given)) masks.own = now;
    masks.given = masks.own;
    CPU_CLR(static_cast<size_t>(cpu), &masks.given);
    if (CPU_COUNT(&masks.given) == 0) masks.given = masks.own;
    if (!CPU_EQUAL(&now, &masks.given) && pthread_setaffinity_np(thread, sizeof masks.given, &masks.given) != 0) masks.given = now;
  }
  cpu_ = cpu;
}

}  // namespace weft
