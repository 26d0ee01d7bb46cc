// An array whose length is known at run time and that lives on the stack unless it is long.
#pragma once

#include <cstddef>
#include <memory>

namespace weft {

template <class T, size_t inline_size>
class ShortArray {
 public:
  explicit ShortArray(size_t n) : data_(inline_) {
    if (n > inline_size) heap_.reset(new T[n]), data_ = heap_.get();
  }
  ShortArray(const ShortArray&) = delete;
  ShortArray& operator=(const ShortArray&) = delete;
  T* get() { return data_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  T inline_[inline_size];
  std::unique_ptr<T[]> heap_;
  T* data_;
};

}  // namespace weft
