// Memory that is going to be read, and that comes into a cache while something else is done.
#pragma once

#include <cstdint>

#include "base/caches.h"
#include "gemm/gemm.h"

namespace weft {

// Runs of some elements, so many elements apart.
template <class T>
struct Runs {
  const T* from = nullptr;
  int64_t count = 0, apart = 0, length = 0;

  bool exist() const { return count * length > 0; }
  // What of it comes in some of so many turns.
  Runs in(int64_t turn, int64_t end, int64_t turns) const {
    const auto cut = [=](int64_t total, int64_t i) { return total * i / turns; };
    if (count == 1) return {from + cut(length, turn), 1, 0, cut(length, end) - cut(length, turn)};
    return {from + cut(count, turn) * apart, cut(count, end) - cut(count, turn), apart, length};
  }
  int64_t lines() const { return parts(length, line_elements<T>); }  // of a run
};

// What is brought into a cache between tiles. Not into the nearest cache, which is full of what the tiles read, and where runs
// a page apart would compete for few places.
class Coming {
 public:
  template <class T>
  Coming(const Runs<T>& what, int64_t turns)
      : at_(reinterpret_cast<const char*>(what.from)), end_(at_ + what.length * static_cast<int64_t>(sizeof(T))),
        stride_(what.apart * static_cast<int64_t>(sizeof(T))), back_(what.lines() * line_bytes), left_(what.exist() ? what.count : 0),
        per_turn_(parts(what.count * what.lines(), turns)) {}

  // One of the turns.
  void some() {
    for (int64_t n = per_turn_; n > 0 && left_ > 0; --n) {
      __builtin_prefetch(at_, 0, 2);
      at_ += line_bytes;
      if (at_ >= end_) at_ += stride_ - back_, end_ += stride_, --left_;
    }
  }

 private:
  const char *at_, *end_;
  int64_t stride_, back_, left_, per_turn_;
};

}  // namespace weft
