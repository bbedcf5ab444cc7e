// Memory of a call, kept between calls.
#pragma once

#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "simd.h"

namespace maceloop {

constexpr std::size_t kHugePage = std::size_t(1) << 21;

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
        const bool huge = wanted >= 2 * kHugePage;
        if (posix_memalign(&data, huge ? kHugePage : 64, wanted) != 0) throw std::bad_alloc();
#if defined(__linux__)
        // What edges gather from large frames would miss the TLB with small pages. Only advice.
        if (huge) madvise(data, wanted, MADV_HUGEPAGE);
#endif
        size = wanted;
      }
      return data;
    }
    ~Slot() { std::free(data); }
  };
  Slot slots_[64];
};

}  // namespace maceloop
