// The A-basis of one receiver, and what it says about each edge when differentiated.
//
//   A[(l3 m3 p), k] = Σ_j R[p, k](r) Σ_m1 C[p, m3, m1](r̂) x_j[l1 m1, k],   C = Σ_m2 CG · Y
//
// Channels are done a vector at a time. R is a quintic Hermite spline in r, evaluated inside the loop over
// edges, so that nothing of size edges × paths × channels is ever made.
#pragma once

#include "harmonics.h"
#include "simd.h"
#include "tables.h"

namespace maceloop {

constexpr int kSplineWeights = 2 * kSplineValues;

// All edges of a call, sorted by receiver; shared by layers and members.
template <class T>
struct Edges {
  int64_t* first;   // [n_atoms]
  int64_t* end;     // [n_atoms]
  int32_t* sender;  // [E]
  int32_t* knot;    // [E] lower knot, counted through all tables
  T* u[3];          // unit vector from receiver to sender
  T* r;             // Å
  T* s;             // place between the two knots, 0 … 1
};

// Weights of the values at the two knots, for the function (6) and its derivative (6).
template <class T>
MACELOOP_INLINE void spline_weights(Vec<T> s, T per_distance, Vec<T>* value, Vec<T>* slope) {
  const Vec<T> s2 = s * s, s3 = s2 * s, s4 = s3 * s;
  const Vec<T> one = splat<T>(1);
  value[3] = s3 * (T(10) - s * (T(15) - T(6) * s));
  value[0] = one - value[3];
  value[1] = s - s3 * (T(6) - s * (T(8) - T(3) * s));
  value[2] = T(0.5) * s2 * (one - s * (T(3) - s * (T(3) - s)));
  value[4] = s3 * (T(-4) + s * (T(7) - T(3) * s));
  value[5] = T(0.5) * s3 * (one - s * (T(2) - s));
  const Vec<T> both = T(30) * (s2 - T(2) * s3 + s4);
  slope[3] = per_distance * both;
  slope[0] = -slope[3];
  slope[1] = per_distance * (one - T(18) * s2 + T(32) * s3 - T(15) * s4);
  slope[2] = per_distance * (s - T(4.5) * s2 + T(6) * s3 - T(2.5) * s4);
  slope[4] = per_distance * (T(-12) * s2 + T(28) * s3 - T(15) * s4);
  slope[5] = per_distance * (T(1.5) * s2 - T(4) * s3 + T(2.5) * s4);
}

// The edges of one receiver, prepared for the loops over channels. Arrays are [groups, what, lanes].
template <class T>
struct Receiver {
  int64_t n = 0;
  int64_t* knot_at;  // [n] where the lower knot's radial functions start
  int64_t* x_at;     // [n] where the sender's features start
  T* weights;        // [G, 12, W] of the spline's value, and of its slope
  T* coupled[3];     // [G, entries, W] C, and its derivatives along e1, e2
  T* frame;          // [G, 10, W] u, e1, e2, 1/r
  T* gradient;       // [n, 3, W] ∂E/∂r, and along e1 and e2, not yet summed over lanes
  int64_t coupled_step;  // entries · W
};

template <class T, bool kDerivatives>
void prepare(Receiver<T>& rec, const Edges<T>& edges, int64_t atom, int max_ell,
             const HarmonicNorms& norms, const LayerTables& layer, T per_distance) {
  constexpr int W = kLanes<T>;
  const int64_t start = edges.first[atom];
  rec.n = edges.end[atom] - start;
  rec.coupled_step = layer.n_entries * W;
  for (int64_t g = 0; g * W < rec.n; ++g) {
    Vec<T> basis[9], Y[3][kMaxComponents], w[2 * kSplineWeights];
    const int64_t e = start + g * W;
    for (int k = 0; k < 3; ++k) basis[k] = load_unaligned(edges.u[k] + e);
    if constexpr (kDerivatives) tangents<T>(basis, basis + 3, basis + 6);
    harmonics<T, kDerivatives>(max_ell, norms, basis, basis + 3, basis + 6, Y[0], Y[1], Y[2]);
    spline_weights<T>(load_unaligned(edges.s + e), per_distance, w, w + kSplineWeights);
    T* to = rec.weights + g * 2 * kSplineWeights * W;
    for (int k = 0; k < 2 * kSplineWeights; ++k) store(to + k * W, w[k]);
    if constexpr (kDerivatives) {
      to = rec.frame + g * 10 * W;
      for (int k = 0; k < 9; ++k) store(to + k * W, basis[k]);
      store(to + 9 * W, T(1) / load_unaligned(edges.r + e));
    }
    for (int64_t entry = 0; entry < layer.n_entries; ++entry) {
      Vec<T> c[3] = {};
      for (int32_t q = layer.entry_start[entry]; q < layer.entry_start[entry + 1]; ++q) {
        const T value = T(layer.entry_value[q]);
        const int32_t lm = layer.entry_component[q];
        for (int d = 0; d < (kDerivatives ? 3 : 1); ++d) c[d] += Y[d][lm] * value;
      }
      for (int d = 0; d < (kDerivatives ? 3 : 1); ++d)
        store(rec.coupled[d] + (g * layer.n_entries + entry) * W, c[d]);
    }
  }
}

// Where the features and radial functions of one vector of channels stand.
template <class T>
struct Block {
  const T* x;       // features of the first sender
  int64_t x_row;    // from row to row
  const T* radial;  // of the first knot, path 0
  int64_t knot_step;
};

template <class T>
MACELOOP_INLINE Vec<T> spline(const T* lower, int64_t knot_step, const T* w) {
  constexpr int W = kLanes<T>;
  const T* upper = lower + knot_step;
  return (load(lower) * w[0] + load(lower + W) * w[W] + load(lower + 2 * W) * w[2 * W]) +
         (load(upper) * w[3 * W] + load(upper + W) * w[4 * W] + load(upper + 2 * W) * w[5 * W]);
}

template <class T, int L1, int L3>
inline void path_forward(const Receiver<T>& rec, const Block<T>& block, const Path& path,
                         const T* table, T* out, int64_t out_row) {
  constexpr int W = kLanes<T>, N1 = 2 * L1 + 1, N3 = 2 * L3 + 1;
  Vec<T> acc[N3] = {};
  const T* features = block.x + L1 * L1 * block.x_row;
  const T* w = rec.weights;
  const T* c = rec.coupled[0] + path.entry * W;
  for (int64_t start = 0; start < rec.n; start += W) {
    const int lanes = int(rec.n - start < W ? rec.n - start : W);
    for (int k = 0; k < lanes; ++k) {
      const Vec<T> R = spline(table + rec.knot_at[start + k], block.knot_step, w + k);
      const T* x = features + rec.x_at[start + k];
      Vec<T> v[N1];
      for (int m1 = 0; m1 < N1; ++m1) v[m1] = R * load(x + m1 * block.x_row);
      for (int m3 = 0; m3 < N3; ++m3)
        for (int m1 = 0; m1 < N1; ++m1) acc[m3] += v[m1] * c[(m3 * N1 + m1) * W + k];
    }
    w += 2 * kSplineWeights * W;
    c += rec.coupled_step;
  }
  for (int m3 = 0; m3 < N3; ++m3) store(out + (path.row + m3 * path.row_step) * out_row, acc[m3]);
}

template <class T, int L1>
inline void paths_forward(const Receiver<T>& rec, const Block<T>& block, const LayerTables& layer,
                          T* out, int64_t out_row) {
  constexpr int W = kLanes<T>;
  for (int32_t p = layer.paths_from[L1]; p < layer.paths_from[L1 + 1]; ++p) {
    const Path& path = layer.paths[p];
    const T* table = block.radial + p * kSplineValues * W;
    switch (path.l3) {
      case 0: path_forward<T, L1, 0>(rec, block, path, table, out, out_row); break;
      case 1: path_forward<T, L1, 1>(rec, block, path, table, out, out_row); break;
      case 2: path_forward<T, L1, 2>(rec, block, path, table, out, out_row); break;
      case 3: path_forward<T, L1, 3>(rec, block, path, table, out, out_row); break;
      default: path_forward<T, L1, 4>(rec, block, path, table, out, out_row);
    }
  }
}

// The paths from l1 = 0 are (0, l → l) for l = 0 … kLmax: all their rows at once, without branches.
template <class T, int kLmax>
inline void scalars_forward(const Receiver<T>& rec, const Block<T>& block, const LayerTables& layer,
                            T* out, int64_t out_row) {
  constexpr int W = kLanes<T>, N = (kLmax + 1) * (kLmax + 1);
  Vec<T> acc[N] = {};
  const T* w = rec.weights;
  const T* c = rec.coupled[0];
  for (int64_t start = 0; start < rec.n; start += W) {
    const int lanes = int(rec.n - start < W ? rec.n - start : W);
    for (int k = 0; k < lanes; ++k) {
      const T* table = block.radial + rec.knot_at[start + k];
      const Vec<T> x = load(block.x + rec.x_at[start + k]);
#pragma GCC unroll 8
      for (int l = 0; l <= kLmax; ++l) {
        const Vec<T> Rx = x * spline(table + l * kSplineValues * W, block.knot_step, w + k);
        for (int lm = l * l; lm < (l + 1) * (l + 1); ++lm) acc[lm] += Rx * c[lm * W + k];
      }
    }
    w += 2 * kSplineWeights * W;
    c += rec.coupled_step;
  }
#pragma GCC unroll 8
  for (int l = 0; l <= kLmax; ++l) {
    const Path& path = layer.paths[l];
    for (int m = 0; m < 2 * l + 1; ++m)
      store(out + (path.row + m * path.row_step) * out_row, acc[l * l + m]);
  }
}

// One vector of channels of all rows of the A-basis, to out.
template <class T>
void edges_forward(const Receiver<T>& rec, const Block<T>& block, const LayerTables& layer, T* out,
                   int64_t out_row) {
  if (kRegisters < 32) {  // fewer accumulators at a time
    paths_forward<T, 0>(rec, block, layer, out, out_row);
  } else {
    switch (layer.paths_from[1]) {
      case 1: scalars_forward<T, 0>(rec, block, layer, out, out_row); break;
      case 2: scalars_forward<T, 1>(rec, block, layer, out, out_row); break;
      case 3: scalars_forward<T, 2>(rec, block, layer, out, out_row); break;
      case 4: scalars_forward<T, 3>(rec, block, layer, out, out_row); break;
      default: scalars_forward<T, 4>(rec, block, layer, out, out_row);
    }
  }
  if (layer.lmax_in >= 1) paths_forward<T, 1>(rec, block, layer, out, out_row);
  if (layer.lmax_in >= 2) paths_forward<T, 2>(rec, block, layer, out, out_row);
  if (layer.lmax_in >= 3) paths_forward<T, 3>(rec, block, layer, out, out_row);
}

// t[d][m1] = Σ_m3 g[m3] · C_d[m3, m1] for C and its two derivatives.
template <class T, int L1, int L3>
MACELOOP_INLINE void contract(const T* g, int64_t g_step, const T* const* c, Vec<T> t[3][2 * L1 + 1]) {
  constexpr int W = kLanes<T>, N1 = 2 * L1 + 1;
  for (int d = 0; d < 3; ++d)
    for (int m1 = 0; m1 < N1; ++m1) t[d][m1] = load(g) * c[d][m1 * W];
  for (int m3 = 1; m3 < 2 * L3 + 1; ++m3) {
    const Vec<T> row = load(g + m3 * g_step);
    for (int d = 0; d < 3; ++d)
      for (int m1 = 0; m1 < N1; ++m1) t[d][m1] += row * c[d][(m3 * N1 + m1) * W];
  }
}

// Adds to rec.gradient, and to the gradient of the senders' features (gx, laid out as block.x) if there is one.
template <class T, int L1>
inline void paths_backward(const Receiver<T>& rec, const Block<T>& block, const LayerTables& layer,
                           const T* g, int64_t g_row, T* gx) {
  constexpr int W = kLanes<T>, N1 = 2 * L1 + 1;
  for (int64_t e = 0; e < rec.n; ++e) {
    const int64_t group = e / W, lane = e % W;
    const int64_t at = rec.x_at[e] + L1 * L1 * block.x_row;
    const T* w = rec.weights + group * 2 * kSplineWeights * W + lane;
    const T* radial = block.radial + rec.knot_at[e];
    const T* coupled[3];
    for (int d = 0; d < 3; ++d) coupled[d] = rec.coupled[d] + group * rec.coupled_step + lane;
    Vec<T> x[N1], dx[N1] = {}, dE[3] = {};
    for (int m1 = 0; m1 < N1; ++m1) x[m1] = load(block.x + at + m1 * block.x_row);
    for (int32_t p = layer.paths_from[L1]; p < layer.paths_from[L1 + 1]; ++p) {
      const Path& path = layer.paths[p];
      const T* table = radial + p * kSplineValues * W;
      const Vec<T> R = spline(table, block.knot_step, w);
      const Vec<T> slope = spline(table, block.knot_step, w + kSplineWeights * W);
      const T* c[3];
      for (int d = 0; d < 3; ++d) c[d] = coupled[d] + path.entry * W;
      const T* rows = g + path.row * g_row;
      const int64_t step = path.row_step * g_row;
      Vec<T> t[3][N1];
      switch (path.l3) {
        case 0: contract<T, L1, 0>(rows, step, c, t); break;
        case 1: contract<T, L1, 1>(rows, step, c, t); break;
        case 2: contract<T, L1, 2>(rows, step, c, t); break;
        case 3: contract<T, L1, 3>(rows, step, c, t); break;
        default: contract<T, L1, 4>(rows, step, c, t);
      }
      Vec<T> q[3];
      for (int d = 0; d < 3; ++d) {
        q[d] = x[0] * t[d][0];
        for (int m1 = 1; m1 < N1; ++m1) q[d] += x[m1] * t[d][m1];
      }
      dE[0] += slope * q[0];
      dE[1] += R * q[1];
      dE[2] += R * q[2];
      for (int m1 = 0; m1 < N1; ++m1) dx[m1] += R * t[0][m1];
    }
    T* to = rec.gradient + e * 3 * W;
    for (int d = 0; d < 3; ++d) store(to + d * W, load(to + d * W) + dE[d]);
    if (gx)
      for (int m1 = 0; m1 < N1; ++m1) {
        T* row = gx + at + m1 * block.x_row;
        store(row, load(row) + dx[m1]);
      }
  }
}

// The same for l1 = 0, as scalars_forward.
template <class T, int kLmax>
inline void scalars_backward(const Receiver<T>& rec, const Block<T>& block,
                             const LayerTables& layer, const T* g, int64_t g_row, T* gx,
                             bool first) {
  constexpr int W = kLanes<T>;
  const T* rows[kLmax + 1];
  int64_t step[kLmax + 1];
  for (int l = 0; l <= kLmax; ++l) {
    rows[l] = g + layer.paths[l].row * g_row;
    step[l] = layer.paths[l].row_step * g_row;
  }
  const T* w = rec.weights;
  const T* c[3] = {rec.coupled[0], rec.coupled[1], rec.coupled[2]};
  T* to = rec.gradient;
  for (int64_t start = 0; start < rec.n; start += W) {
    const int lanes = int(rec.n - start < W ? rec.n - start : W);
    for (int k = 0; k < lanes; ++k, to += 3 * W) {
      const T* table = block.radial + rec.knot_at[start + k];
      const Vec<T> x = load(block.x + rec.x_at[start + k]);
      Vec<T> dx = {}, dE[3] = {};
#pragma GCC unroll 8
      for (int l = 0; l <= kLmax; ++l) {
        const T* of_l = table + l * kSplineValues * W;
        Vec<T> t[3];
        for (int m = 0; m < 2 * l + 1; ++m) {
          const Vec<T> row = load(rows[l] + m * step[l]);
          for (int d = 0; d < 3; ++d) {
            const T factor = c[d][(l * l + m) * W + k];
            t[d] = m == 0 ? row * factor : t[d] + row * factor;
          }
        }
        const Vec<T> R = spline(of_l, block.knot_step, w + k);
        const Vec<T> slope = spline(of_l, block.knot_step, w + kSplineWeights * W + k);
        dE[0] += slope * t[0];
        dE[1] += R * t[1];
        dE[2] += R * t[2];
        dx += R * t[0];
      }
      for (int d = 0; d < 3; ++d)
        store(to + d * W, first ? x * dE[d] : load(to + d * W) + x * dE[d]);
      if (gx) {
        T* row = gx + rec.x_at[start + k];
        store(row, load(row) + dx);
      }
    }
    w += 2 * kSplineWeights * W;
    for (int d = 0; d < 3; ++d) c[d] += rec.coupled_step;
  }
}

// Fills rec.gradient if this is the first vector of channels, else adds to it.
template <class T>
void edges_backward(const Receiver<T>& rec, const Block<T>& block, const LayerTables& layer,
                    const T* g, int64_t g_row, T* gx, bool first) {
  switch (layer.paths_from[1]) {
    case 1: scalars_backward<T, 0>(rec, block, layer, g, g_row, gx, first); break;
    case 2: scalars_backward<T, 1>(rec, block, layer, g, g_row, gx, first); break;
    case 3: scalars_backward<T, 2>(rec, block, layer, g, g_row, gx, first); break;
    case 4: scalars_backward<T, 3>(rec, block, layer, g, g_row, gx, first); break;
    default: scalars_backward<T, 4>(rec, block, layer, g, g_row, gx, first);
  }
  if (layer.lmax_in >= 1) paths_backward<T, 1>(rec, block, layer, g, g_row, gx);
  if (layer.lmax_in >= 2) paths_backward<T, 2>(rec, block, layer, g, g_row, gx);
  if (layer.lmax_in >= 3) paths_backward<T, 3>(rec, block, layer, g, g_row, gx);
}

}  // namespace maceloop
