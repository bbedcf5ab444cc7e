// What Python hands over: sizes, tables and weights. mace_core/inference/structs.py mirrors it.
#pragma once

#include <cstdint>

namespace maceloop {

constexpr int kMaxEll = 4;       // of Y and A
constexpr int kMaxFeatureL = 3;  // of the features of senders
constexpr int kMaxComponents = (kMaxEll + 1) * (kMaxEll + 1);
constexpr int kSplineValues = 3;  // value, first and second derivative at a knot

// One path (l1, l2 → l3) of the A-basis.
struct Path {
  int32_t l1, l3;
  int32_t row, row_step;  // its rows of the A-basis before the linear map: row + m3 · row_step
  int32_t entry;          // its couplings, ordered (m3, m1)
};

// The same for all members of a committee.
struct LayerTables {
  int64_t lmax_in, lmax_out;
  int64_t n_paths, n_rows, n_entries;
  const Path* paths;              // sorted by l1, as the radial functions
  const int32_t* paths_from;      // [lmax_in + 2] range of paths of each l1
  const int32_t* entry_start;     // [n_entries + 1] each coupling is a short sum over Y
  const int32_t* entry_component;
  const double* entry_value;
  const int32_t* row_of_l;        // [max_ell + 1] first row of each l3
  const int32_t* paths_of_l;      // [max_ell + 1] number of paths into each l3
  int64_t n_heads, n_terms, head_size;
  const int32_t* output_start;    // [outputs + 1] range of heads of each output
  const int32_t* head_variables;  // [n_heads, head_size]; 0 is the constant 1
  const int32_t* head_start;      // [n_heads + 1] range of terms of each head
  const int32_t* term_variable;   // [n_terms]
};

// Matrices are [from, to]; a pointer ending in _t has them transposed. C is padded to full vectors.
template <class T>
struct LayerWeights {
  const T* senders;        // first layer: [Z, C] features of an element's atoms; else null
  const T* up;             // [lmax_in + 1, C, C]; not for the first layer
  const T* up_t;
  const T* radial;         // [C / lanes, tables, knots, paths, 3, lanes]
  const T* density;        // [tables, knots, 3] or null: messages are divided by 1 + Σ density
  const T* linear;         // [1 or Z] × for each l [paths_of_l · C, C]
  const T* linear_t;
  int64_t linear_step;     // between elements; 0 if all have the same
  const T* product;        // [Z, C / lanes, n_terms, lanes]
  const T* mix;            // [lmax_out + 1, C, C]
  const T* mix_t;
  int64_t lmax_skip;       // −1: nothing by-passes the product
  const T* skip;           // [Z, lmax_skip + 1, C, C]; first layer: [Z, C], what is added to l = 0
  const T* skip_t;
  const T* readout;        // [C], linear; null for the network
  const T* readout_1;      // [hidden, C]
  const T* readout_2;      // [hidden]
  int64_t hidden;
};

struct Architecture {
  int64_t n_layers, channels, n_elements, max_ell, n_tables, n_knots;
  double r_max, first_knot, knot_distance;
  const LayerTables* layers;
  const int32_t* table_of_pair;  // [Z, Z] receiver, sender
};

template <class T>
struct Member {
  const LayerWeights<T>* layers;
  const double* E0;  // [Z] eV
  double scale, shift;
  const double* repulsion;  // null, or for each pair of elements [Z, Z, 11]: see repulsion.h
};

// Atoms of one or several frames, sorted by element; pairs sorted by receiver, each both ways.
struct Frames {
  int64_t n_atoms, n_frames, n_pairs;
  int64_t n_threads;        // that may share them out
  const double* positions;  // [n_atoms, 3] in the caller's order
  const int64_t* order;     // [n_atoms] sorted → caller's
  const int32_t* species;   // sorted
  const int32_t* frame;     // sorted
  const int64_t* first;     // [n_atoms + 1] range of pairs of each receiver
  const int32_t* sender;    // [n_pairs] sorted index
  const double* shift;      // [n_pairs, 3] S · cell
};

// In the caller's order, one block a member.
struct Results {
  double* node_energy;  // [M, n_atoms] eV
  double* forces;       // [M, n_atoms, 3] eV/Å
  double* virial;       // [M, n_frames, 3, 3] Σ r ⊗ ∂E/∂r, eV
};

}  // namespace maceloop
