// Bessel functions of the distance with a polynomial cutoff, and their slopes.
#pragma once

#include <cmath>
#include <cstdint>

namespace maceloop::training {

// values, slopes [n, m] of √(2/R) sin(k π r/R)/r f(r/R), k = 1 … m, for r = |vectors|; directions
// [n, 3]. f(x) = 1 − x^p ((p+1)(p+2)/2 − p (p+2) x + p (p+1)/2 x²), and 0 from 1 on. In double:
// sines and cosines of multiples come by the recurrence for them.
template <class T>
void bessel(int64_t n, int64_t m, double r_max, int64_t order, const T* vectors, T* values,
            T* slopes, T* directions) {
  const double p = double(order), pi = 3.14159265358979323846;
  const double prefactor = std::sqrt(2 / r_max);
  const double a = (p + 1) * (p + 2) / 2, b = p * (p + 2), c = p * (p + 1) / 2;
  for (int64_t i = 0; i < n; ++i) {
    const double v[3] = {double(vectors[3 * i]), double(vectors[3 * i + 1]),
                         double(vectors[3 * i + 2])};
    const double r = std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]), inverse = 1 / r;
    for (int k = 0; k < 3; ++k) directions[3 * i + k] = T(v[k] * inverse);
    const double x = r / r_max;
    double f = 0, df = 0;
    if (x < 1) {
      double power = 1;  // x^(p − 1)
      for (int64_t k = 1; k < order; ++k) power *= x;
      f = 1 - power * x * (a - b * x + c * x * x);
      df = -power * (p * a - (p + 1) * b * x + (p + 2) * c * x * x) / r_max;
    }
    const double sine = std::sin(pi * x), cosine = std::cos(pi * x);
    double s = sine, co = cosine;
    for (int64_t k = 0; k < m; ++k) {
      const double wave = prefactor * s * inverse;
      values[i * m + k] = T(wave * f);
      slopes[i * m + k] =
          T(prefactor * double(k + 1) * pi / r_max * co * inverse * f + wave * (df - inverse * f));
      const double next = s * cosine + co * sine;
      co = co * cosine - s * sine;
      s = next;
    }
  }
}

}  // namespace maceloop::training
