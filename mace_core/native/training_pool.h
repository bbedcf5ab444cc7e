// Memory of a kernel for the time of one call. A training step is thousands of calls with a few
// sizes, so blocks are kept for the next ones.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

namespace maceloop::training {

// Blocks that are used by one thread at a time.
class Pool {
 public:
  struct Block {
    void* data;
    std::size_t size;
  };

  Pool() { free_.reserve(kKept); }  // so that giving back cannot fail
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() {
    for (const Block& block : free_) std::free(block.data);
  }

  Block take(std::size_t size) {
    size = (size + 127) / 64 * 64;
    for (std::size_t i = free_.size(); i-- > 0;)
      if (free_[i].size >= size && free_[i].size <= 2 * size) {
        const Block found = free_[i];
        free_[i] = free_.back();
        free_.pop_back();
        return found;
      }
    void* data = std::aligned_alloc(64, size);
    if (!data) throw std::bad_alloc();
    return {data, size};
  }

  void give(Block block) {
    if (free_.size() >= kKept) {
      std::free(free_.front().data);
      free_.erase(free_.begin());
    }
    free_.push_back(block);
  }

  // That of this thread, from when it first asks until it ends.
  static Pool& of_thread();

 private:
  static constexpr std::size_t kKept = 64;
  std::vector<Block> free_;
};

// Pools of threads that have ended, for those to come: threads last for one call.
class Pools {
 public:
  // Never destroyed: threads may end as late as the process.
  static Pools& all() {
    static Pools* pools = new Pools;
    return *pools;
  }

  Pool* take() {
    const std::lock_guard<std::mutex> guard(mutex_);
    if (free_.empty()) return new Pool;
    Pool* const found = free_.back();
    free_.pop_back();
    return found;
  }

  void give(Pool* pool) noexcept {
    try {
      const std::lock_guard<std::mutex> guard(mutex_);
      free_.push_back(pool);
    } catch (...) {
      delete pool;
    }
  }

 private:
  std::mutex mutex_;
  std::vector<Pool*> free_;
};

inline Pool& Pool::of_thread() {
  struct Lent {
    Pool* pool = Pools::all().take();
    ~Lent() { Pools::all().give(pool); }
  };
  static thread_local Lent lent;
  return *lent.pool;
}

// Memory for the time of one call, aligned to vectors, not initialised.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t n) : block_(Pool::of_thread().take(n * sizeof(T))) {}
  Buffer(Buffer&& other) noexcept : block_(other.block_) { other.block_.data = nullptr; }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (block_.data) Pool::of_thread().give(block_);
  }
  operator T*() const { return static_cast<T*>(block_.data); }

 private:
  Pool::Block block_;
};

}  // namespace maceloop::training
