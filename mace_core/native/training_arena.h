// Memory that a training step keeps from its forward to its backward pass.
#pragma once

#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace maceloop::training {

// Large blocks, kept for the next step: fresh pages would cost more than what is computed in them.
class Chunks {
 public:
  static constexpr std::size_t kUnit = std::size_t(2) << 20;  // a huge page

  struct Chunk {
    char* data;
    std::size_t size;
  };

  // Never destroyed: passes may be let go as late as at the end of the process.
  static Chunks& all() {
    static Chunks* chunks = new Chunks;
    return *chunks;
  }

  Chunk take(std::size_t size) {
    size = (size + kUnit - 1) / kUnit * kUnit;
    const std::lock_guard<std::mutex> guard(mutex_);
    for (std::size_t i = free_.size(); i-- > 0;)
      if (free_[i].size >= size && free_[i].size <= 2 * size) {
        const Chunk found = free_[i];
        free_[i] = free_.back();
        free_.pop_back();
        kept_ -= found.size;
        return found;
      }
    void* data = nullptr;
    if (posix_memalign(&data, kUnit, size) != 0) throw std::bad_alloc();
#if defined(__linux__)
    madvise(data, size, MADV_HUGEPAGE);  // only advice
#endif
    return {static_cast<char*>(data), size};
  }

  void give(Chunk chunk) {
    const std::lock_guard<std::mutex> guard(mutex_);
    free_.push_back(chunk);
    kept_ += chunk.size;
    while (kept_ > kMostKept) {
      kept_ -= free_.front().size;
      std::free(free_.front().data);
      free_.erase(free_.begin());
    }
  }

 private:
  static constexpr std::size_t kMostKept = std::size_t(64) << 20;

  Chunks() { free_.reserve(kMostKept / kUnit + 1); }  // so that giving back cannot fail

  std::mutex mutex_;
  std::vector<Chunk> free_;
  std::size_t kept_ = 0;
};

// Arrays that are let go together.
class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() {
    for (const Chunks::Chunk& chunk : chunks_) Chunks::all().give(chunk);
  }

  // Room for n numbers and for a vector that begins in the last one, aligned to vectors; whatever
  // was in it.
  template <class T>
  T* get(int64_t n) {
    const std::size_t bytes = (std::size_t(n) * sizeof(T) + kBeyond + 63) / 64 * 64;
    if (chunks_.empty() || used_ + bytes > chunks_.back().size) {
      chunks_.push_back(Chunks::all().take(bytes));
      used_ = 0;
    }
    char* const found = chunks_.back().data + used_;
    used_ += bytes;
    return reinterpret_cast<T*>(found);
  }

  template <class T>
  T* zeros(int64_t n) {
    T* const found = get<T>(n);
    std::fill_n(found, n, T(0));
    return found;
  }

 private:
  static constexpr std::size_t kBeyond = 512;
  std::vector<Chunks::Chunk> chunks_;
  std::size_t used_ = 0;
};

}  // namespace maceloop::training
