// Vectors as wide as the instruction set of this variant, by the compilers' vector extension.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#define MACELOOP_API extern "C" __attribute__((visibility("default")))
#define MACELOOP_INLINE inline __attribute__((always_inline))

namespace maceloop {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kRegisters = 32;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
constexpr int kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16;
constexpr int kRegisters = 32;
#else
constexpr int kVectorBytes = 16;
constexpr int kRegisters = 16;
#endif

template <class T>
constexpr int kLanes = kVectorBytes / int(sizeof(T));

template <class T, int N>
struct VectorOf;
template <int N>
struct VectorOf<float, N> {
  typedef float type __attribute__((vector_size(N * sizeof(float)), may_alias));
};
template <int N>
struct VectorOf<double, N> {
  typedef double type __attribute__((vector_size(N * sizeof(double)), may_alias));
};
template <class T>
using Vec = typename VectorOf<T, kLanes<T>>::type;

// p is aligned to kVectorBytes.
template <class T>
MACELOOP_INLINE Vec<T> load(const T* p) {
  return *reinterpret_cast<const Vec<T>*>(p);
}
template <class T>
MACELOOP_INLINE void store(T* p, Vec<T> v) {
  *reinterpret_cast<Vec<T>*>(p) = v;
}
template <class T>
MACELOOP_INLINE Vec<T> load_unaligned(const T* p) {
  Vec<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
MACELOOP_INLINE Vec<T> splat(T x) {
  return Vec<T>{} + x;
}

// Sum of N lanes at p, by halves, so that the order does not depend on the compiler.
template <class T, int N>
MACELOOP_INLINE T sum_lanes(const T* p) {
  if constexpr (N == 1) {
    return p[0];
  } else {
    using Half = typename VectorOf<T, (N > 1 ? N / 2 : 1)>::type;
    Half low, high;
    std::memcpy(&low, p, sizeof low);
    std::memcpy(&high, p + N / 2, sizeof high);
    low += high;
    T halves[N / 2];
    std::memcpy(halves, &low, sizeof low);
    return sum_lanes<T, N / 2>(halves);
  }
}
template <class T>
MACELOOP_INLINE T sum(Vec<T> v) {
  T lanes[kLanes<T>];
  std::memcpy(lanes, &v, sizeof v);
  return sum_lanes<T, kLanes<T>>(lanes);
}

}  // namespace maceloop
