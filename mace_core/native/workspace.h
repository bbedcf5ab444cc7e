// Memory of a thread, kept between calls.
#pragma once

#include <cstdlib>
#include <deque>
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

  // A new call begins: it is given the same memory again where it asks for no more.
  void rewind() { used_ = 0; }

  // Room for n numbers, whatever was in it; void when it is asked for again after rewind.
  template <class T>
  T* next(int64_t n) {
    if (used_ == slots_.size()) slots_.emplace_back();
    return static_cast<T*>(slots_[used_++].get(std::size_t(n) * sizeof(T)));
  }

 private:
  struct Slot {
    Slot() = default;
    Slot(const Slot&) = delete;
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
  std::deque<Slot> slots_;
  std::size_t used_ = 0;
};

}  // namespace maceloop
