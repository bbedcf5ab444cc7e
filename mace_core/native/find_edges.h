// Pairs within the cutoff, with what all layers and members need of them.
#pragma once

#include <cmath>

#include "shared.h"

namespace maceloop {

template <class T>
void sort_positions(Shared<T>& shared, int thread) {
  const int64_t end = share(shared.N, thread + 1, shared.n_threads);
  for (int64_t i = share(shared.N, thread, shared.n_threads); i < end; ++i)
    for (int k = 0; k < 3; ++k)
      shared.positions[3 * i + k] = shared.frames.positions[3 * shared.frames.order[i] + k];
}

// Of a range of receivers, when all positions are sorted. Each thread has room for a vector more than its pairs.
template <class T>
void find_edges(Shared<T>& shared, int thread) {
  const Frames& frames = shared.frames;
  const Architecture& arch = shared.arch;
  Edges<T>& edges = shared.edges;
  const double* x = shared.positions;
  const double limit = arch.r_max * arch.r_max;
  const int64_t Z = arch.n_elements, K = arch.n_knots;
  const int64_t begin = share(shared.N, thread, shared.n_threads);
  const int64_t end = share(shared.N, thread + 1, shared.n_threads);
  int64_t n = frames.first[begin] + thread * kLanes<T>;
  for (int64_t i = begin; i < end; ++i) {
    edges.first[i] = n;
    const int32_t* tables = arch.table_of_pair + frames.species[i] * Z;
    for (int64_t q = frames.first[i]; q < frames.first[i + 1]; ++q) {
      const int64_t j = frames.sender[q];
      double d[3], r2 = 0;
      for (int k = 0; k < 3; ++k) {
        d[k] = x[3 * j + k] - x[3 * i + k] + frames.shift[3 * q + k];
        r2 += d[k] * d[k];
      }
      if (r2 >= limit) continue;
      const double r = std::sqrt(r2), place = (r - arch.first_knot) / arch.knot_distance;
      const int64_t knot = std::clamp<int64_t>(int64_t(place), 0, K - 2);
      for (int k = 0; k < 3; ++k) edges.u[k][n] = T(d[k] / r);
      edges.r[n] = T(r);
      edges.s[n] = T(place - double(knot));
      edges.knot[n] = int32_t(tables[frames.species[j]] * K + knot);
      edges.sender[n++] = int32_t(j);
    }
    edges.end[i] = n;
  }
  for (int64_t e = n; e < n + kLanes<T>; ++e) {  // read with the last edges, never used
    edges.u[0][e] = edges.u[2][e] = T(0);
    edges.u[1][e] = edges.r[e] = T(1);
    edges.s[e] = T(0);
  }
}

}  // namespace maceloop
