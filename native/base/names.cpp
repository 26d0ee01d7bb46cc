// The table behind names.h.
#include "base/names.h"

#include <deque>
#include <mutex>
#include <string>
#include <unordered_map>

#include "base/fork.h"

namespace weft {
namespace {

struct Names {
  std::mutex mutex;
  std::deque<std::string> by_id{""};  // a deque never moves its elements
  std::unordered_map<std::string_view, uint32_t> ids;
  Names() { lock_over_fork(mutex); }
};

Names& names() {
  static Names* const instance = new Names;
  return *instance;
}

}  // namespace

uint32_t name_id(std::string_view name) {
  Names& n = names();
  std::lock_guard lock(n.mutex);
  if (auto found = n.ids.find(name); found != n.ids.end()) return found->second;
  const auto id = static_cast<uint32_t>(n.by_id.size());
  n.by_id.emplace_back(name);
  n.ids.emplace(n.by_id.back(), id);
  return id;
}

const char* name_of(uint32_t id) {
  Names& n = names();
  std::lock_guard lock(n.mutex);
  return id < n.by_id.size() ? n.by_id[id].c_str() : "";
}

}  // namespace weft
