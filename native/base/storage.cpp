// Making and destroying storages. The small structs themselves are kept on a list in each thread.
#include "base/storage.h"

#include <new>
#include <utility>

#include "base/allocator.h"
#include "base/thread_state.h"

namespace weft {

void (*release_object)(void* object) = nullptr;

namespace {

constexpr uint32_t kept_storages = 256;

Storage* bare_storage(void* data, size_t nbytes, void* owner, bool readonly) {
  ThreadState& ts = thread_state();
  Storage* s = ts.free_storages;
  if (s) {
    ts.free_storages = reinterpret_cast<Storage*>(s->data);
    --ts.free_storage_count;
  } else {
    s = new Storage{};
  }
  s->refs.store(1, std::memory_order_relaxed);
  s->data = static_cast<char*>(data);
  s->nbytes = nbytes;
  s->owner = owner;
  s->pending = nullptr;
  s->version = 0;
  s->last_op = 0;
  s->epoch = 0;
  s->watch = nullptr;
  s->exported = false;
  s->readonly = readonly;
  return s;
}

}  // namespace

Storage* new_storage(size_t nbytes) {
  void* data = allocate(nbytes);
  try {
    return bare_storage(data, nbytes, nullptr, false);
  } catch (...) {
    deallocate(data, nbytes);
    throw;
  }
}

Storage* foreign_storage(void* data, size_t nbytes, void* owner, bool readonly) {
  return bare_storage(data, nbytes, owner, readonly);
}

Storage* virtual_storage(size_t nbytes) { return bare_storage(nullptr, nbytes, nullptr, false); }

void destroy_storage(Storage* s) noexcept {
  void* owner = s->owner;
  void* pending = s->pending;
  if (s->watch) s->watch->storage = nullptr;
  if (!owner && s->data) deallocate(s->data, s->nbytes);
  ThreadState& ts = thread_state();
  if (ts.free_storage_count < kept_storages) {
    s->data = reinterpret_cast<char*>(ts.free_storages);  // the list is linked through `data`
    ts.free_storages = s;
    ++ts.free_storage_count;
  } else {
    delete s;
  }
  // Last, because dropping an object may run any code.
  if (owner) release_object(owner);
  if (pending) release_object(pending);
}

StorageWatch* watch(Storage* storage) {
  if (!storage->watch) storage->watch = new StorageWatch{storage, 0};
  ++storage->watch->watchers;
  return storage->watch;
}

void unwatch(StorageWatch* watch) noexcept {
  if (--watch->watchers > 0) return;
  if (watch->storage) watch->storage->watch = nullptr;
  delete watch;
}

bool take_over(Storage* target, Storage* source) {
  const bool sole = source->refs.load(std::memory_order_acquire) == 1;
  if (!sole || source->owner || source->exported || source->nbytes != target->nbytes || target->data) return false;
  std::swap(target->data, source->data);
  return true;
}

void release_thread_storages(ThreadState& state) {
  while (Storage* s = state.free_storages) {
    state.free_storages = reinterpret_cast<Storage*>(s->data);
    delete s;
  }
  state.free_storage_count = 0;
}

}  // namespace weft
