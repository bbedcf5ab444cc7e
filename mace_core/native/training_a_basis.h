// The A-basis and its first and second derivatives.
//
// All of them are partial derivatives of one form, linear in each of h, Y, R and g:
//
//   F(h, Y, R, g) = Σ_e Σ_k C_k(Y_e) Σ_c R[e, p_k, c] h[s_e, a_k, c] g[r_e, o_k, c]
//
// A pair q = (path p, component a of h) meets a row o of the result in a coupling k, whose
// coefficient C_k is a short sum over components of Y. Edges are sorted by receiver.
#pragma once

#include "training_lanes.h"

namespace maceloop::training {

template <class T>
struct ATables {
  int64_t n_y, n_h, n_paths, n_rows, n_q, n_k;
  const int32_t* path_q;   // [n_paths + 1] first q of a path; they stand in order of a
  const int32_t* path_a;   // [n_paths] first a of a path
  const int32_t* row_k;    // [n_rows + 1] first k of a row
  const int32_t* k_q;      // [n_k]
  const int32_t* q_first;  // [n_q + 1] into q_k and q_row
  const int32_t* q_k;      // [n_k]
  const int32_t* q_row;    // [n_k]
  const int32_t* k_row;    // [n_k]
  const int32_t* k_first;  // [n_k + 1] into k_y and k_value
  const int32_t* k_y;
  const T* k_value;
  const int32_t* y_first;  // [n_y + 1] into y_k and y_value
  const int32_t* y_k;
  const T* y_value;
};

struct EdgeList {
  int64_t n_atoms, n_radial;  // receivers and senders; rows of R
  const int64_t* first;    // [n_atoms + 1]
  const int64_t* senders;  // [n_edges]
  const int64_t* radial;   // [n_edges] row of R, or null: the edge's own
  // [n_edges] whether it is the first with its row of R; null: rows are cleared and added to.
  const uint8_t* is_first = nullptr;
};

// Operands of F. With dh, dY and dR, all results are those of F's differential
// F(dh, Y, R, g) + F(h, dY, R, g) + F(h, Y, dR, g) instead; these three come together or not at all.
// g is null where only its gradient is wanted.
template <class T>
struct AOperands {
  const T *h, *Y, *R, *g;
  const T *dh, *dY, *dR;
};

// Gradients with respect to h, Y, R, g; null where not wanted. Those of h and Y, and of R, are added
// to what is there, or replace it.
template <class T>
struct AResults {
  T *h, *Y, *R, *g;
  bool add = false, add_R = false;
};

template <class T>
class ABasis {
 public:
  ABasis(const ATables<T>& tables, const EdgeList& edges, const AOperands<T>& in,
         const AResults<T>& out, int64_t channels)
      : t(tables), e(edges), C(channels), in(in), out(out),
        y_of_edges(t.n_y * E), c_Y(t.n_k * E), c_dY(t.n_k * E), rows(t.n_rows * 4 * E),
        products_Y(S * t.n_q * 4 * E), products_dY(S * t.n_q * 4 * E), dots(t.n_k * E) {
    // What is added up below.
    if (out.h && !out.add) std::fill_n(out.h, e.n_atoms * t.n_h * C, T(0));
    if (out.Y && !out.add) std::fill_n(out.Y, e.first[e.n_atoms] * t.n_y, T(0));
    if (out.R && e.radial && !e.is_first && !out.add_R)
      std::fill_n(out.R, e.n_radial * t.n_paths * C, T(0));
  }

  // N lanes from channel c on.
  template <class L, int N>
  void run(int64_t c) {
    if (in.dh)
      run_as<L, N, true>(c);
    else
      run_as<L, N, false>(c);
  }

 private:
  static constexpr int E = Wide<T>::width;  // edges whose coefficients are made together
  static constexpr int S = 4;               // edges that are added to a row together

  template <class L, int N, bool differential>
  void run_as(int64_t c) {
    for (int64_t i = 0; i < e.n_atoms; ++i) {
      if (out.g) std::fill_n((T*)rows, t.n_rows * N * L::width, T(0));
      for (int64_t first = e.first[i]; first < e.first[i + 1]; first += E) {
        const int64_t n = std::min<int64_t>(E, e.first[i + 1] - first);
        coefficients(in.Y, first, n, c_Y);
        if (differential) coefficients(in.dY, first, n, c_dY);
        for (int64_t part = 0; part < n; part += S) {
          const int64_t m = std::min<int64_t>(S, n - part);
          if (out.g || out.Y)
            for (int64_t j = 0; j < m; ++j) multiply<L, N, differential>(first + part + j, j, c);
          if (out.g) switch (m) {
              case 4: collect<L, N, differential, 4>(part); break;
              case 3: collect<L, N, differential, 3>(part); break;
              case 2: collect<L, N, differential, 2>(part); break;
              default: collect<L, N, differential, 1>(part);
            }
          for (int64_t j = 0; j < m; ++j) {
            if (out.h || out.R) spread<L, N, differential>(i, first + part + j, part + j, c);
            if (out.Y) contract<L, N>(i, first + part + j, j, c);
          }
        }
      }
      if (out.g)
        for (int64_t o = 0; o < t.n_rows; ++o)
          for (int n = 0; n < N; ++n)
            L::store(out.g + (i * t.n_rows + o) * C + c + n * L::width,
                     L::load(rows + (o * N + n) * L::width));
    }
  }

  // C_k of n edges, [n_k][E].
  void coefficients(const T* Y, int64_t first, int64_t n, T* result) {
    using L = Wide<T>;
    T* const of_edges = y_of_edges;
    for (int64_t y = 0; y < t.n_y; ++y) {
      for (int64_t j = 0; j < n; ++j) of_edges[y * E + j] = Y[(first + j) * t.n_y + y];
      for (int64_t j = n; j < E; ++j) of_edges[y * E + j] = 0;
    }
    const int32_t *const k_first = t.k_first, *const k_y = t.k_y;
    const T* const value = t.k_value;
    const int64_t n_k = t.n_k;
    for (int64_t k = 0; k < n_k; ++k) {
      typename L::V sum{};
      for (int32_t s = k_first[k]; s < k_first[k + 1]; ++s)
        sum += value[s] * L::load(of_edges + k_y[s] * E);
      L::store(result + k * E, sum);
    }
  }

  int64_t radial_row(int64_t edge) const { return e.radial ? e.radial[edge] : edge; }

  // What stands with C_k(Y), and in a differential with C_k(dY), in the gradient of g: R h, or
  // R dh + dR h and R h. For edge number j of those that are collected together.
  template <class L, int N, bool differential>
  void multiply(int64_t edge, int64_t j, int64_t c) {
    using V = typename L::V;
    constexpr int W = L::width;
    const int64_t sender = e.senders[edge] * t.n_h * C + c, n_paths = t.n_paths, C = this->C;
    const int64_t radial = radial_row(edge) * n_paths * C + c;
    const T *const h = in.h + sender, *const R = in.R + radial;
    const T* const dh = differential ? in.dh + sender : nullptr;
    const T* const dR = differential ? in.dR + radial : nullptr;
    const int32_t *const path_q = t.path_q, *const path_a = t.path_a;
    T* to_Y = products_Y + j * t.n_q * N * W;
    T* to_dY = products_dY + j * t.n_q * N * W;
    for (int64_t p = 0; p < n_paths; ++p) {
      V r[N], dr[N];
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {
        r[n] = L::load(R + p * C + n * W);
        if (differential) dr[n] = L::load(dR + p * C + n * W);
      }
      int64_t a = path_a[p] * C;
      for (int32_t q = path_q[p]; q < path_q[p + 1]; ++q, a += C) {
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) {
          const V x = L::load(h + a + n * W);
          if (differential) {
            L::store(to_Y + (q * N + n) * W, dr[n] * x + r[n] * L::load(dh + a + n * W));
            L::store(to_dY + (q * N + n) * W, r[n] * x);
          } else {
            L::store(to_Y + (q * N + n) * W, r[n] * x);
          }
        }
      }
    }
  }

  // Adds M edges to the gradient of g.
  template <class L, int N, bool differential, int M>
  void collect(int64_t part) {
    using V = typename L::V;
    constexpr int W = L::width;
    const int32_t *const row_k = t.row_k, *const k_q = t.k_q;
    const int64_t n_rows = t.n_rows, stride = t.n_q * N * W;
    const T *const y = c_Y + part, *const dy = c_dY + part;
    const T *const from_Y = products_Y, *const from_dY = products_dY;
    T* row = rows;
    for (int64_t o = 0; o < n_rows; ++o, row += N * W) {
      V sum[N];
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sum[n] = L::load(row + n * W);
      for (int32_t k = row_k[o]; k < row_k[o + 1]; ++k) {
        const T* x = from_Y + k_q[k] * N * W;
        const T* dx = from_dY + k_q[k] * N * W;
#pragma GCC unroll 4
        for (int j = 0; j < M; ++j) {
          const T factor = y[k * E + j];
#pragma GCC unroll 4
          for (int n = 0; n < N; ++n) sum[n] += factor * L::load(x + j * stride + n * W);
          if (differential) {
            const T other = dy[k * E + j];
#pragma GCC unroll 4
            for (int n = 0; n < N; ++n) sum[n] += other * L::load(dx + j * stride + n * W);
          }
        }
      }
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) L::store(row + n * W, sum[n]);
    }
  }

  // The gradients with respect to h and R of edge number `place` of its block.
  template <class L, int N, bool differential>
  void spread(int64_t i, int64_t edge, int64_t place, int64_t c) {
    using V = typename L::V;
    constexpr int W = L::width;
    const int64_t C = this->C, n_paths = t.n_paths;
    const T* const g = in.g + i * t.n_rows * C + c;
    const int64_t sender = e.senders[edge] * t.n_h * C + c;
    const int64_t radial = radial_row(edge) * n_paths * C + c;
    const T *const h = in.h + sender, *const R = in.R + radial;
    const T* const dh = differential ? in.dh + sender : nullptr;
    const T* const dR = differential ? in.dR + radial : nullptr;
    T* const of_h = out.h ? out.h + sender : nullptr;
    T* const of_R = out.R ? out.R + radial : nullptr;
    const bool add = out.add_R || (e.is_first ? !e.is_first[edge] : e.radial != nullptr);
    const T *const c_Y = this->c_Y + place, *const c_dY = this->c_dY + place;
    const int32_t *const path_q = t.path_q, *const path_a = t.path_a, *const q_first = t.q_first;
    const int32_t *const q_k = t.q_k, *const q_row = t.q_row;
    for (int64_t p = 0; p < n_paths; ++p) {
      V r[N], dr[N], of_r[N];
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {
        r[n] = L::load(R + p * C + n * W);
        if (differential) dr[n] = L::load(dR + p * C + n * W);
        of_r[n] = V{};
      }
      int64_t a = path_a[p] * C;
      for (int32_t q = path_q[p]; q < path_q[p + 1]; ++q, a += C) {
        // The gradient of the product R h, and in a differential what dY adds to it.
        V y[N], dy[N];
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) y[n] = dy[n] = V{};
        for (int32_t x = q_first[q]; x < q_first[q + 1]; ++x) {
          const T factor = c_Y[q_k[x] * E];
          const T other = differential ? c_dY[q_k[x] * E] : T(0);
          const T* row = g + q_row[x] * C;
#pragma GCC unroll 4
          for (int n = 0; n < N; ++n) {
            const V value = L::load(row + n * W);
            y[n] += factor * value;
            if (differential) dy[n] += other * value;
          }
        }
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) {
          const V x = L::load(h + a + n * W);
          if (differential)
            of_r[n] += L::load(dh + a + n * W) * y[n] + x * dy[n];
          else
            of_r[n] += x * y[n];
        }
        if (of_h)
#pragma GCC unroll 4
          for (int n = 0; n < N; ++n) {
            const V change = differential ? dr[n] * y[n] + r[n] * dy[n] : r[n] * y[n];
            L::store(of_h + a + n * W, L::load(of_h + a + n * W) + change);
          }
      }
      if (of_R)
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) {
          T* const to = of_R + p * C + n * W;
          L::store(to, add ? L::load(to) + of_r[n] : of_r[n]);
        }
    }
  }

  // The gradient with respect to Y of edge number j of those that are collected together.
  template <class L, int N>
  void contract(int64_t i, int64_t edge, int64_t j, int64_t c) {
    using V = typename L::V;
    constexpr int W = L::width;
    const int64_t C = this->C, n_k = t.n_k, n_y = t.n_y;
    const T* const g = in.g + i * t.n_rows * C + c;
    const T* const product = products_Y + j * t.n_q * N * W;
    const int32_t *const k_q = t.k_q, *const k_row = t.k_row;
    T* const dot = dots;
    for (int64_t k = 0; k < n_k; ++k) {
      const T *const x = product + k_q[k] * N * W, *const row = g + k_row[k] * C;
      V sum = L::load(x) * L::load(row);
#pragma GCC unroll 4
      for (int n = 1; n < N; ++n) sum += L::load(x + n * W) * L::load(row + n * W);
      L::store(dot + k * W, sum);
    }
    const int32_t *const y_first = t.y_first, *const y_k = t.y_k;
    const T* const value = t.y_value;
    T* const of_Y = out.Y + edge * n_y;
    for (int64_t y = 0; y < n_y; y += W) {
      V of_component[W];
      for (int64_t z = 0; z < W; ++z) {
        V sum{};
        if (y + z < n_y)
          for (int32_t x = y_first[y + z]; x < y_first[y + z + 1]; ++x)
            sum += value[x] * L::load(dot + y_k[x] * W);
        of_component[z] = sum;
      }
      alignas(64) T total[W];
      L::store(total, L::sums(of_component));
      for (int64_t z = 0; z < W && y + z < n_y; ++z) of_Y[y + z] += total[z];
    }
  }

  const ATables<T>& t;
  const EdgeList& e;
  const int64_t C;
  const AOperands<T> in;
  const AResults<T> out;
  Buffer<T> y_of_edges, c_Y, c_dY, rows, products_Y, products_dY, dots;
};

}  // namespace maceloop::training
