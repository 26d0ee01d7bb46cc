// Storage: the counted memory behind one or more tensors. It owns a block of the allocator, or keeps alive the foreign
// object (a NumPy array, a DLPack capsule, another tensor) whose memory it uses, or has no memory yet: then `pending` is
// the recorded value that will fill it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weft {

struct Storage;

// What outlives a storage for those who refer to it weakly. Read and written with the GIL held.
struct StorageWatch {
  Storage* storage;  // null once it is gone
  uint32_t watchers;
};

struct Storage {
  std::atomic<int64_t> refs;
  char* data;       // null only while the storage is virtual
  size_t nbytes;
  void* owner;      // PyObject* that owns the memory; null if the allocator does
  void* pending;    // PyObject*: the recorded value of a lazy or traced tensor; null for real data
  uint32_t version; // counts in-place changes
  uint32_t epoch;   // counts in-place changes that moved the autograd history of the tensors over it
  StorageWatch* watch; // null while nobody refers to it weakly
  uint32_t last_op; // name id (names.h) of the last operation that changed it in place; 0 if none
  bool exported;    // a NumPy, DLPack or buffer view of the memory exists
  bool readonly;
};

// Each returns one reference. new_storage throws std::bad_alloc.
Storage* new_storage(size_t nbytes);
Storage* foreign_storage(void* data, size_t nbytes, void* owner, bool readonly);
Storage* virtual_storage(size_t nbytes);

// How to drop one reference to a PyObject; set once by the bindings. Called with the GIL held.
extern void (*release_object)(void* object);

void destroy_storage(Storage* storage) noexcept;

inline Storage* retain(Storage* storage) {
  storage->refs.fetch_add(1, std::memory_order_relaxed);
  return storage;
}

inline void release(Storage* storage) noexcept {
  // The last owner needs no atomic subtraction: nobody else can be counting.
  if (storage->refs.load(std::memory_order_acquire) == 1 ||
      storage->refs.fetch_sub(1, std::memory_order_acq_rel) == 1)
    destroy_storage(storage);
}

// One more watcher of a storage, and one less.
StorageWatch* watch(Storage* storage);
void unwatch(StorageWatch* watch) noexcept;

// Gives `target` (virtual) the memory of `source`: taken over where nobody else uses it; false if it cannot be.
bool take_over(Storage* target, Storage* source);

struct ThreadState;
void release_thread_storages(ThreadState& state);

}  // namespace weft
