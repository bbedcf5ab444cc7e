// A batch of frames as the kernels want it, and what is made of the gradient D = ∂E/∂r_ij.
//
// Atoms are sorted by element, so that the elements' weights act on rows that stand together; edges
// by receiver, so that their sum is one. Both directions of a pair of atoms share radial functions.
#pragma once

#include <cmath>

#include "training_arena.h"

namespace maceloop::training {

// mace_core.model.graph.Graph, with frames that follow each other.
template <class T>
struct Frames {
  int64_t n_atoms, n_edges, n_frames;
  const T* positions;        // [n_atoms, 3]
  const int64_t* species;    // [n_atoms]
  const int64_t* receivers;  // [n_edges]
  const int64_t* senders;    // [n_edges]
  const T* shifts;           // [n_edges, 3]
  const T* cells;            // [n_frames, 3, 3]
  const int64_t* frame;      // [n_atoms]
  const int64_t* reverse;    // [n_edges] or null
};

template <class T>
class Neighbourhood {
 public:
  Neighbourhood(const Frames<T>& frames, int64_t n_elements, Arena& arena)
      : in(frames), n_pairs(in.n_edges) {
    sort_atoms(n_elements, arena);
    make_vectors(arena);
    share_pairs(arena);
    sort_edges(arena);
  }

  const Frames<T> in;
  int64_t n_pairs;
  std::vector<int64_t> counts;           // atoms of each element
  int64_t *order, *place;                // the atom that comes k-th; where an atom comes
  int64_t *first, *senders, *pair;       // of sorted edges, as in EdgeList, and the next one too
  uint8_t* is_first;
  int64_t* edge;                         // of sorted edges: number before sorting
  int64_t* first_edge;                   // [n_pairs] an edge of each pair, not sorted
  T *sorted_vectors, *pair_vectors;      // [n_edges, 3], [n_pairs, 3] Å

  // F_i = Σ_j D_ij − Σ_j D_ji, [n_atoms, 3], and Σ_ij r_ij ⊗ D_ij of each frame, [n_frames, 3, 3];
  // each may be null. D of sorted edges, and what the radial functions of pairs add to it.
  void forces(const T* D, const T* D_pairs, T* forces, T* virial) const {
    if (forces) std::fill_n(forces, 3 * in.n_atoms, T(0));
    if (virial) std::fill_n(virial, 9 * in.n_frames, T(0));
    const auto add = [&](int64_t e, const T* d, const T* r) {
      const int64_t i = in.receivers[e], j = in.senders[e];
      if (forces)
        for (int a = 0; a < 3; ++a) {
          forces[3 * i + a] += d[a];
          forces[3 * j + a] -= d[a];
        }
      if (virial) {
        T* const of_frame = virial + 9 * in.frame[i];
        for (int a = 0; a < 3; ++a)
          for (int b = 0; b < 3; ++b) of_frame[3 * a + b] += r[a] * d[b];
      }
    };
    for (int64_t k = 0; k < in.n_edges; ++k) add(edge[k], D + 3 * k, sorted_vectors + 3 * k);
    for (int64_t p = 0; p < n_pairs; ++p)
      add(first_edge[p], D_pairs + 3 * p, pair_vectors + 3 * p);
  }

  // The gradients of Σ u · F + Σ w · virial with respect to D and D_pairs; u or w may be null.
  void forces_backward(const T* u, const T* w, T* of_D, T* of_pairs) const {
    const auto set = [&](int64_t e, const T* r, T* result) {
      const int64_t i = in.receivers[e], j = in.senders[e];
      const T* const of_frame = w ? w + 9 * in.frame[i] : nullptr;
      for (int b = 0; b < 3; ++b) {
        T sum = u ? u[3 * i + b] - u[3 * j + b] : T(0);
        if (w)
          for (int a = 0; a < 3; ++a) sum += r[a] * of_frame[3 * a + b];
        result[b] = sum;
      }
    };
    for (int64_t k = 0; k < in.n_edges; ++k) set(edge[k], sorted_vectors + 3 * k, of_D + 3 * k);
    for (int64_t p = 0; p < n_pairs; ++p)
      set(first_edge[p], pair_vectors + 3 * p, of_pairs + 3 * p);
  }

 private:
  void sort_atoms(int64_t n_elements, Arena& arena) {
    const int64_t n = in.n_atoms;
    order = arena.get<int64_t>(n);
    place = arena.get<int64_t>(n);
    counts.assign(n_elements, 0);
    for (int64_t i = 0; i < n; ++i) ++counts[in.species[i]];
    std::vector<int64_t> next(n_elements, 0);
    for (int64_t z = 1; z < n_elements; ++z) next[z] = next[z - 1] + counts[z - 1];
    for (int64_t i = 0; i < n; ++i) {
      place[i] = next[in.species[i]]++;
      order[place[i]] = i;
    }
  }

  void make_vectors(Arena& arena) {
    vectors = arena.get<T>(3 * in.n_edges);
    for (int64_t e = 0; e < in.n_edges; ++e) {
      const int64_t i = in.receivers[e], j = in.senders[e];
      const T *const S = in.shifts + 3 * e, *const cell = in.cells + 9 * in.frame[i];
      for (int a = 0; a < 3; ++a)
        vectors[3 * e + a] = in.positions[3 * j + a] - in.positions[3 * i + a] +
                             (S[0] * cell[a] + S[1] * cell[3 + a] + S[2] * cell[6 + a]);
    }
  }

  // Numbers the pairs in the order of their first edges; without `reverse` each edge is one.
  void share_pairs(Arena& arena) {
    const int64_t n = in.n_edges;
    pair_of_edge = arena.get<int64_t>(n);
    first_edge = arena.get<int64_t>(n);
    n_pairs = 0;
    for (int64_t e = 0; e < n; ++e)
      if (!in.reverse || e < in.reverse[e]) {
        first_edge[n_pairs] = e;
        pair_of_edge[e] = n_pairs++;
      } else {
        pair_of_edge[e] = pair_of_edge[in.reverse[e]];
      }
    pair_vectors = arena.get<T>(3 * n_pairs);
    for (int64_t p = 0; p < n_pairs; ++p)
      std::copy_n(vectors + 3 * first_edge[p], 3, pair_vectors + 3 * p);
  }

  void sort_edges(Arena& arena) {
    const int64_t n = in.n_edges, n_atoms = in.n_atoms;
    first = arena.zeros<int64_t>(n_atoms + 1);
    for (int64_t e = 0; e < n; ++e) ++first[place[in.receivers[e]] + 1];
    for (int64_t i = 0; i < n_atoms; ++i) first[i + 1] += first[i];
    std::vector<int64_t> next(first, first + n_atoms);
    senders = arena.get<int64_t>(n);
    edge = arena.get<int64_t>(n);
    pair = arena.get<int64_t>(n);
    is_first = arena.get<uint8_t>(n);
    sorted_vectors = arena.get<T>(3 * n);
    for (int64_t e = 0; e < n; ++e) {
      const int64_t k = next[place[in.receivers[e]]]++;
      edge[k] = e;
      senders[k] = place[in.senders[e]];
      pair[k] = pair_of_edge[e];
      std::copy_n(vectors + 3 * e, 3, sorted_vectors + 3 * k);
    }
    std::vector<uint8_t> seen(n_pairs, 0);
    for (int64_t k = 0; k < n; ++k) {
      is_first[k] = !seen[pair[k]];
      seen[pair[k]] = 1;
    }
  }

  T* vectors;
  int64_t* pair_of_edge;
};

}  // namespace maceloop::training
