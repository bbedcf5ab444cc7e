// Real spherical harmonics of unit vectors and their tangential derivatives, many edges at a time.
//
// Order, axes and normalisation are e3nn's ("component": Σ_m Y² = 2 l + 1; l = 1 is √3 (x, y, z)).
// With z' = y, x' = z, y' = x: Y_lm = N_lm Π_l^m(z') · Re or Im (x' + i y')^|m|, Π_l^m the m-th derivative of
// the Legendre polynomial P_l; Π and the powers by their recurrences.
#pragma once

#include <cmath>

#include "simd.h"
#include "tables.h"

namespace maceloop {

struct HarmonicNorms {
  double of[kMaxEll + 1][kMaxEll + 1];
  HarmonicNorms() {
    for (int l = 0; l <= kMaxEll; ++l) {
      double ratio = 1;  // (l − m)! / (l + m)!
      for (int m = 0; m <= l; ++m) {
        if (m > 0) ratio /= double(l + m) * double(l - m + 1);
        of[l][m] = std::sqrt((2 * l + 1) * (m > 0 ? 2.0 : 1.0) * ratio);
      }
    }
  }
};

// Y[l² + l + m]; D1 and D2 its derivatives along e1 and e2 (9 numbers: u, e1, e2), if asked for.
template <class T, bool kDerivatives>
inline void harmonics(int max_ell, const HarmonicNorms& norms, const Vec<T>* u, const Vec<T>* e1,
                      const Vec<T>* e2, Vec<T>* Y, Vec<T>* D1, Vec<T>* D2) {
  const Vec<T> X = u[2], S = u[0], Z = u[1];
  Vec<T> P[kMaxEll + 2][kMaxEll + 2];  // P[l][m] = Π_l^m, 0 for m > l
  Vec<T> A[kMaxEll + 1], B[kMaxEll + 1];
  for (int m = 0; m <= max_ell + 1; ++m) {
    for (int l = 0; l < m && l <= max_ell; ++l) P[l][m] = Vec<T>{};
    if (m > max_ell) break;
    P[m][m] = m == 0 ? splat<T>(1) : P[m - 1][m - 1] * T(2 * m - 1);
    if (m < max_ell) P[m + 1][m] = Z * P[m][m] * T(2 * m + 1);
    for (int l = m + 2; l <= max_ell; ++l)
      P[l][m] =
          (Z * P[l - 1][m] * T(2 * l - 1) - P[l - 2][m] * T(l + m - 1)) * T(1.0 / (l - m));
  }
  A[0] = splat<T>(1);
  B[0] = Vec<T>{};
  for (int m = 1; m <= max_ell; ++m) {
    A[m] = X * A[m - 1] - S * B[m - 1];
    B[m] = X * B[m - 1] + S * A[m - 1];
  }
  for (int l = 0; l <= max_ell; ++l) {
    for (int m = 0; m <= l; ++m) {
      const T n = T(norms.of[l][m]);
      const Vec<T> p = P[l][m] * n;
      Y[l * l + l + m] = p * A[m];
      if (m > 0) Y[l * l + l - m] = p * B[m];
      if constexpr (kDerivatives) {
        const Vec<T> dz = P[l][m + 1] * n;
        const Vec<T> pm = p * T(m);
        const Vec<T> a = m > 0 ? A[m - 1] : Vec<T>{}, b = m > 0 ? B[m - 1] : Vec<T>{};
        const Vec<T> ax = pm * a, as = -(pm * b), az = dz * A[m];
        D1[l * l + l + m] = e1[2] * ax + e1[0] * as + e1[1] * az;
        D2[l * l + l + m] = e2[2] * ax + e2[0] * as + e2[1] * az;
        if (m > 0) {
          const Vec<T> bx = pm * b, bs = pm * a, bz = dz * B[m];
          D1[l * l + l - m] = e1[2] * bx + e1[0] * bs + e1[1] * bz;
          D2[l * l + l - m] = e2[2] * bx + e2[0] * bs + e2[1] * bz;
        }
      }
    }
  }
}

// Two unit vectors that make an orthonormal basis with u, without branches
// (Duff et al., Journal of Computer Graphics Techniques 6, 1 (2017)).
template <class T>
inline void tangents(const Vec<T>* u, Vec<T>* e1, Vec<T>* e2) {
  const Vec<T> one = splat<T>(1);
  const Vec<T> sign = u[2] < Vec<T>{} ? -one : one;
  const Vec<T> a = -one / (sign + u[2]);
  const Vec<T> b = u[0] * u[1] * a;
  e1[0] = one + sign * u[0] * u[0] * a;
  e1[1] = sign * b;
  e1[2] = -sign * u[0];
  e2[0] = b;
  e2[1] = sign + u[1] * u[1] * a;
  e2[2] = -u[1];
}

}  // namespace maceloop
