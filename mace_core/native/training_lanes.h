// What the training kernels need of vectors, beyond simd.h.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "simd.h"
#include "training_pool.h"

namespace maceloop::training {

template <class T>
Vec<T> sums(Vec<T>* v);

// Channels are independent of each other, so a kernel is written once for a lane: a whole vector
// of channels, or a single one where their number is not a multiple of a vector's.
template <class T>
struct Wide {
  using V = Vec<T>;
  static constexpr int width = kLanes<T>;
  static MACELOOP_INLINE V load(const T* p) { return load_unaligned(p); }
  static MACELOOP_INLINE void store(T* p, V v) { std::memcpy(p, &v, sizeof v); }
  static MACELOOP_INLINE V sums(V* v) { return training::sums<T>(v); }
};

template <class T>
struct Single {
  using V = T;
  static constexpr int width = 1;
  static MACELOOP_INLINE V load(const T* p) { return *p; }
  static MACELOOP_INLINE void store(T* p, V v) { *p = v; }
  static MACELOOP_INLINE V sums(V* v) { return *v; }
};

// Sums of neighbouring lanes, those of a first.
template <class T, int... I>
MACELOOP_INLINE Vec<T> neighbour_sums(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, 2 * I...) + __builtin_shufflevector(a, b, (2 * I + 1)...);
}

// The sums over lanes of as many vectors as there are lanes: v is overwritten.
template <class T>
MACELOOP_INLINE Vec<T> sums(Vec<T>* v) {
  for (int n = kLanes<T>; n > 1; n /= 2)
    for (int i = 0; i < n / 2; ++i)
      v[i] = neighbour_sums<T>(v[2 * i], v[2 * i + 1],
                               std::make_integer_sequence<int, kLanes<T>>{});
  return v[0];
}

// Calls kernel.run<Lane, N>(c), so that N lanes from channel c on cover all channels once.
template <class T, class Kernel>
void over_channels(int64_t channels, Kernel& kernel) {
  constexpr int W = Wide<T>::width;
  int64_t c = 0;
  for (; c + 4 * W <= channels; c += 4 * W) kernel.template run<Wide<T>, 4>(c);
  for (; c + 2 * W <= channels; c += 2 * W) kernel.template run<Wide<T>, 2>(c);
  for (; c + W <= channels; c += W) kernel.template run<Wide<T>, 1>(c);
  for (; c < channels; ++c) kernel.template run<Single<T>, 1>(c);
}

template <class T>
struct Exponential;

template <>
struct Exponential<float> {
  using Integer = int32_t;
  static constexpr int bias = 127, mantissa = 23, terms = 7;
  static constexpr float limit = 87, ln2_high = 0.693359375f, ln2_low = -2.12194440054690583e-4f;
};

template <>
struct Exponential<double> {
  using Integer = int64_t;
  static constexpr int bias = 1023, mantissa = 52, terms = 13;
  static constexpr double limit = 708, ln2_high = 6.93147180369123816490e-01,
                          ln2_low = 1.90821492927058770002e-10;
};

template <class T>
constexpr T inverse_factorial(int n) {
  double product = 1;
  for (int k = 2; k <= n; ++k) product *= k;
  return T(1 / product);
}

// exp by range reduction to |r| <= ln 2 / 2 and Taylor's series: right to a few units in the last
// place between the limits, constant beyond them. ln 2 stands in two parts, the first with so few
// digits that its product with an integer is exact.
template <class T>
MACELOOP_INLINE Vec<T> exp(Vec<T> x) {
  using E = Exponential<T>;
  typedef typename E::Integer Integers __attribute__((vector_size(kVectorBytes)));
  const Vec<T> limit = splat(E::limit);
  x = x > limit ? limit : x;
  x = x < -limit ? -limit : x;
  const Vec<T> scaled = x * T(1.44269504088896340736);
  const Vec<T> half = splat(T(0.5));
  const Integers n = __builtin_convertvector(scaled + (scaled < 0 ? -half : half), Integers);
  const Vec<T> whole = __builtin_convertvector(n, Vec<T>);
  const Vec<T> r = (x - whole * E::ln2_high) - whole * E::ln2_low;
  Vec<T> sum = splat(inverse_factorial<T>(E::terms));
#pragma GCC unroll 16
  for (int k = E::terms - 1; k >= 0; --k) sum = sum * r + inverse_factorial<T>(k);
  const Integers power = (n + E::bias) << E::mantissa;
  return sum * (Vec<T>)power;
}

}  // namespace maceloop::training
