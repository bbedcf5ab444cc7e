// Memory of a call, kept between calls.
#pragma once

#include <cstdlib>
#include <new>

#include "simd.h"

namespace maceloop {

class Workspace {
 public:
  Workspace() = default;
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  // Room for n numbers, whatever was in it. Pointers of earlier calls with this slot are void.
  template <class T>
  T* get(int slot, int64_t n) {
    return static_cast<T*>(slots_[slot].get(std::size_t(n) * sizeof(T)));
  }

 private:
  struct Slot {
    void* data = nullptr;
    std::size_t size = 0;
    void* get(std::size_t bytes) {
      bytes = (bytes / kVectorBytes + 2) * kVectorBytes;
      if (bytes > size) {
        std::free(data);
        data = nullptr;
        size = 0;
        const std::size_t wanted = (bytes + bytes / 8) / kVectorBytes * kVectorBytes;
        if (posix_memalign(&data, 64, wanted) != 0) throw std::bad_alloc();
        size = wanted;
      }
      return data;
    }
    ~Slot() { std::free(data); }
  };
  Slot slots_[64];
};

}  // namespace maceloop
