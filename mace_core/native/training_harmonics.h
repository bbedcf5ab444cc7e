// Spherical harmonics of the directions of vectors: Y, the gradient of <g, Y> with respect to the
// vectors, and the differential of Y along a change of them.
#pragma once

#include <cmath>

#include "harmonics.h"
#include "training_lanes.h"

namespace maceloop::training {

// Some edges side by side: direction, length, and two directions perpendicular to it.
template <class T>
struct Directions {
  static constexpr int W = kLanes<T>;
  Vec<T> u[3], e1[3], e2[3], inverse_length;

  Directions(const T* vectors, int64_t n) {
    alignas(64) T parts[3][W], inverse[W];
    for (int64_t j = 0; j < W; ++j) {
      const T* v = vectors + 3 * std::min(j, n - 1);
      inverse[j] = 1 / std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
      for (int a = 0; a < 3; ++a) parts[a][j] = v[a] * inverse[j];
    }
    for (int a = 0; a < 3; ++a) u[a] = load(parts[a]);
    inverse_length = load(inverse);
    tangents<T>(u, e1, e2);
  }
};

template <class T>
Vec<T> dot(const Vec<T>* a, const Vec<T>* b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

// Y [n, D] of vectors [n, 3].
template <class T>
void harmonics_forward(int max_ell, int64_t n, const T* vectors, T* Y) {
  const HarmonicNorms norms;
  const int D = (max_ell + 1) * (max_ell + 1);
  Vec<T> values[kMaxComponents];
  for (int64_t i = 0; i < n; i += kLanes<T>) {
    const int64_t m = std::min<int64_t>(kLanes<T>, n - i);
    const Directions<T> d(vectors + 3 * i, m);
    harmonics<T, false>(max_ell, norms, d.u, d.e1, d.e2, values, nullptr, nullptr);
    for (int64_t j = 0; j < m; ++j)
      for (int y = 0; y < D; ++y) Y[(i + j) * D + y] = values[y][j];
  }
}

// of_vectors [n, 3] from the cotangent g [n, D] of Y, or, if u is given, of_g [n, D] from the
// cotangent u [n, 3] of that.
template <class T>
void harmonics_backward(int max_ell, int64_t n, const T* vectors, const T* g, T* of_vectors,
                        const T* u, T* of_g) {
  const HarmonicNorms norms;
  const int D = (max_ell + 1) * (max_ell + 1);
  Vec<T> Y[kMaxComponents], D1[kMaxComponents], D2[kMaxComponents];
  for (int64_t i = 0; i < n; i += kLanes<T>) {
    const int64_t m = std::min<int64_t>(kLanes<T>, n - i);
    const Directions<T> d(vectors + 3 * i, m);
    harmonics<T, true>(max_ell, norms, d.u, d.e1, d.e2, Y, D1, D2);
    if (g) {
      Vec<T> along1{}, along2{};
      for (int y = 0; y < D; ++y) {
        Vec<T> value{};
        for (int64_t j = 0; j < m; ++j) value[j] = g[(i + j) * D + y];
        along1 += value * D1[y];
        along2 += value * D2[y];
      }
      for (int a = 0; a < 3; ++a) {
        const Vec<T> result = (along1 * d.e1[a] + along2 * d.e2[a]) * d.inverse_length;
        for (int64_t j = 0; j < m; ++j) of_vectors[3 * (i + j) + a] = result[j];
      }
    }
    if (u) {
      Vec<T> change[3] = {};
      for (int64_t j = 0; j < m; ++j)
        for (int a = 0; a < 3; ++a) change[a][j] = u[3 * (i + j) + a];
      const Vec<T> along1 = dot<T>(change, d.e1) * d.inverse_length;
      const Vec<T> along2 = dot<T>(change, d.e2) * d.inverse_length;
      for (int y = 0; y < D; ++y) {
        const Vec<T> value = along1 * D1[y] + along2 * D2[y];
        for (int64_t j = 0; j < m; ++j) of_g[(i + j) * D + y] = value[j];
      }
    }
  }
}

}  // namespace maceloop::training
