// Forces and virial from gradients of edges: D = ∂E/∂r_ij acts on both atoms.
#pragma once

#include "repulsion.h"
#include "shared.h"

namespace maceloop {

// Value or slope of the density's spline at edge e of the receiver.
template <class T>
T density_at(const Receiver<T>& receiver, const int32_t* knots, const T* table, int64_t e,
             int slope) {
  constexpr int W = kLanes<T>;
  const T* w = receiver.weights + ((e / W) * 2 + slope) * kSplineWeights * W + e % W;
  const T* f = table + int64_t(knots[e]) * kSplineValues;
  T total = 0;
  for (int k = 0; k < kSplineWeights; ++k) total += w[k * W] * f[k];
  return total;
}

// Σ over the receiver's edges.
template <class T>
T density(const Receiver<T>& receiver, const int32_t* knots, const T* table) {
  T total = 0;
  for (int64_t e = 0; e < receiver.n; ++e) total += density_at(receiver, knots, table, e, 0);
  return total;
}

// Sums the receiver's edge gradients over channels; density_gradient is ∂E/∂ρ where there is a table of ρ.
template <class T>
void add_forces(const Shared<T>& shared, const Receiver<T>& receiver, int64_t i,
                const T* density_table, T density_gradient, Sums<T>& sums) {
  constexpr int W = kLanes<T>;
  const int64_t start = shared.edges.first[i];
  double* virial = sums.virial + 9 * shared.frames.frame[i];
  double* own = sums.forces + 3 * i;
  for (int64_t e = 0; e < receiver.n; ++e) {
    const T* g = receiver.gradient + e * 3 * W;
    const T* f = receiver.frame + (e / W) * 10 * W + e % W;
    T radial = sum_lanes<T, W>(g);
    if (density_table)
      radial += density_gradient *
                density_at(receiver, shared.edges.knot + start, density_table, e, 1);
    const T along1 = sum_lanes<T, W>(g + W) * f[9 * W];
    const T along2 = sum_lanes<T, W>(g + 2 * W) * f[9 * W];
    const double r = shared.edges.r[start + e];
    double* other = sums.forces + 3 * shared.edges.sender[start + e];
    double D[3];
    for (int k = 0; k < 3; ++k) {
      D[k] = f[k * W] * radial + f[(3 + k) * W] * along1 + f[(6 + k) * W] * along2;
      own[k] += D[k];
      other[k] -= D[k];
    }
    for (int p = 0; p < 3; ++p)
      for (int q = 0; q < 3; ++q) virial[3 * p + q] += r * f[p * W] * D[q];
  }
}

// The repulsion of receivers a … b − 1; site energies [b − a].
template <class T>
void repel(const Shared<T>& shared, const Member<T>& member, int64_t a, int64_t b, double* site,
           Sums<T>& sums) {
  const Edges<T>& edges = shared.edges;
  const int32_t* species = shared.frames.species;
  for (int64_t i = a; i < b; ++i) {
    const double* of_i = member.repulsion + species[i] * shared.arch.n_elements * kRepulsion;
    double* virial = sums.virial + 9 * shared.frames.frame[i];
    for (int64_t e = edges.first[i]; e < edges.end[i]; ++e) {
      const int64_t j = edges.sender[e];
      const double r = edges.r[e];
      const Repulsion found = repulsion(of_i + species[j] * kRepulsion, r);
      site[i - a] += found.energy;
      for (int k = 0; k < 3; ++k) {
        const double D = member.scale * found.slope * edges.u[k][e];
        sums.forces[3 * i + k] += D;
        sums.forces[3 * j + k] -= D;
        for (int p = 0; p < 3; ++p) virial[3 * p + k] += r * edges.u[p][e] * D;
      }
    }
  }
}

}  // namespace maceloop
