// Work on several threads, and where they wait for each other.
//
// Threads last for one call: starting one takes some 20 µs, and a process that forks has none to lose.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace maceloop {

// What a barrier throws in the other threads after one has failed.
struct Abandoned {};

// Where n threads wait for each other. What they wrote before is seen by all behind it.
class Barrier {
 public:
  explicit Barrier(int n) : n_(n), missing_(n) {}

  void wait() {
    if (n_ == 1) return;
    const uint32_t round = round_.load(std::memory_order_acquire);
    if (missing_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      missing_.store(n_, std::memory_order_relaxed);
      announce([&] { round_.store(round + 1, std::memory_order_release); });
    } else {
      const auto over = [&] { return round_.load(std::memory_order_acquire) != round || failed(); };
      for (int k = 0; k < kSpins && !over(); ++k) pause();
      if (!over()) {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, over);
      }
    }
    if (failed()) throw Abandoned();
  }

  // Lets all go that wait here now or later.
  void abandon() {
    announce([&] { abandoned_.store(true, std::memory_order_release); });
  }

 private:
  // Some 50 µs. Then the core is left to others: there may be more threads than cores.
  static constexpr int kSpins = 1500;

  bool failed() const { return abandoned_.load(std::memory_order_acquire); }

  template <class Change>
  void announce(Change change) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      change();
    }
    changed_.notify_all();
  }

  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  const int n_;
  std::atomic<int> missing_;
  std::atomic<uint32_t> round_{0};
  std::atomic<bool> abandoned_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
};

// Calls work(k, barrier) for k = 0 … n − 1, each on its own thread; 0 is the caller's. An exception in
// one of them is thrown here when all have ended, those that wait at the barrier included.
// Throws std::system_error if a thread cannot be started.
template <class Work>
void on_threads(int n, Work work) {
  Barrier barrier(n);
  if (n == 1) return work(0, barrier);
  std::exception_ptr failure;
  std::mutex failing;
  const auto fail = [&] {
    {
      std::lock_guard<std::mutex> lock(failing);
      if (!failure) failure = std::current_exception();
    }
    barrier.abandon();
  };
  const auto guarded = [&](int k) {
    try {
      work(k, barrier);
    } catch (const Abandoned&) {
    } catch (...) {
      fail();
    }
  };
  std::vector<std::thread> others;
  others.reserve(std::size_t(n) - 1);
  try {
    for (int k = 1; k < n; ++k) others.emplace_back(guarded, k);
  } catch (...) {
    fail();
  }
  if (others.size() + 1 == std::size_t(n)) guarded(0);
  for (std::thread& other : others) other.join();
  if (failure) std::rethrow_exception(failure);
}

// Where part k of n things begins if they are shared out evenly among so many parts.
inline int64_t share(int64_t n, int k, int parts) { return n * k / parts; }

}  // namespace maceloop
