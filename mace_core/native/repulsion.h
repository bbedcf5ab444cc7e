// Screened repulsion of two nuclei, K / r · Σ_k c_k exp(−d_k r) times the polynomial cutoff at r_end.
#pragma once

#include <cmath>

namespace maceloop {

// Of a pair of elements: K (eV Å), r_end (Å), p of the cutoff, c (4), d (4, 1/Å).
constexpr int kRepulsion = 11;

struct Repulsion {
  double energy, slope;  // eV, eV/Å
};

inline Repulsion repulsion(const double* pair, double r) {
  const double x = r / pair[1], p = pair[2];
  if (x >= 1) return {0, 0};
  double screened = 0, d_screened = 0;
  for (int k = 0; k < 4; ++k) {
    const double term = pair[3 + k] * std::exp(-pair[7 + k] * r);
    screened += term;
    d_screened -= pair[7 + k] * term;
  }
  const double power = std::pow(x, p - 1);
  const double cutoff = 1 - power * x * ((p + 1) * (p + 2) / 2 - p * (p + 2) * x + p * (p + 1) / 2 * x * x);
  const double d_cutoff = -p * (p + 1) * (p + 2) / 2 * power * (1 - x) * (1 - x) / pair[1];
  const double bare = pair[0] / r;
  return {bare * screened * cutoff,
          bare * (d_screened * cutoff + screened * d_cutoff - screened * cutoff / r)};
}

}  // namespace maceloop
