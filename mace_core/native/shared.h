// What all threads of a call see, and how they share the work out.
//
// A thread has the receivers of a range of atoms. What it finds about senders (gradients of their features, forces on
// them) it adds up in arrays of its own, so that the order of a sum depends on the number of threads only.
#pragma once

#include <algorithm>
#include <vector>

#include "edges.h"
#include "threads.h"
#include "workspace.h"

namespace maceloop {

constexpr int64_t kMaxLayers = 8;
constexpr int64_t kAtomCost = 12;  // of an atom beside its edges, in edges

inline int64_t components(int64_t lmax) { return (lmax + 1) * (lmax + 1); }

// What one thread has added up for all atoms.
template <class T>
struct Sums {
  T* features[kMaxLayers];  // [n_atoms, rows, C] ∂E/∂x of a layer's senders; not of the first layer
  double* forces;           // [n_atoms, 3]
  double* virial;           // [n_frames, 3, 3]
};

template <class T>
struct Shared {
  Shared(Workspace& memory, const Architecture& arch, const Frames& frames)
      : arch(arch),
        frames(frames),
        C(arch.channels),
        N(frames.n_atoms),
        n_threads(int(frames.n_threads)),
        sums(std::size_t(n_threads)) {
    constexpr int W = kLanes<T>;
    memory.rewind();
    positions = memory.next<double>(3 * N);
    const int64_t room = frames.n_pairs + n_threads * W;
    edges.first = memory.next<int64_t>(N);
    edges.end = memory.next<int64_t>(N);
    edges.sender = memory.next<int32_t>(room);
    edges.knot = memory.next<int32_t>(room);
    for (int k = 0; k < 3; ++k) edges.u[k] = memory.next<T>(room);
    edges.r = memory.next<T>(room);
    edges.s = memory.next<T>(room);
    for (int64_t t = 1; t < arch.n_layers; ++t)
      x[t] = memory.next<T>(N * components(arch.layers[t].lmax_in) * C);
  }

  // The first atom of part k of those that have about the same work.
  int64_t first_atom(int k) const {
    if (k == 0 || k == n_threads) return k == 0 ? 0 : N;
    int64_t total = 0, before = 0, i = 0;
    for (int64_t j = 0; j < N; ++j) total += cost(j);
    while (i < N && before < share(total, k, n_threads)) before += cost(i++);
    return i;
  }

  int64_t cost(int64_t i) const { return edges.end[i] - edges.first[i] + kAtomCost; }

  const Architecture& arch;
  const Frames& frames;
  const int64_t C, N;
  const int n_threads;
  const HarmonicNorms norms;
  double* positions;  // [n_atoms, 3] sorted as species
  Edges<T> edges;
  T* x[kMaxLayers];  // [n_atoms, rows, C] features of a layer's senders; not of the first layer
  std::vector<Sums<T>> sums;  // of each thread
};

}  // namespace maceloop
