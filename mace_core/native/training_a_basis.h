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
  int64_t n_atoms;
  const int64_t* first;    // [n_atoms + 1]
  const int64_t* senders;  // [n_edges]
  const int64_t* radial;   // [n_edges] row of R, or null: the edge's own
};

// Operands of F and cotangents of its derivatives with respect to h, Y, R; null is zero.
template <class T>
struct AOperands {
  const T *h, *Y, *R, *g;
  const T *H, *U, *V;
};

// Results; null where not wanted. Those of h and Y are added to, and that of R where edges share
// its rows; else it is written, as is that of g.
template <class T>
struct AResults {
  T *h, *Y, *R, *g;
};

template <class T>
class ABasis {
 public:
  ABasis(const ATables<T>& tables, const EdgeList& edges, const AOperands<T>& in,
         const AResults<T>& out, int64_t channels)
      : t(tables), e(edges), C(channels), in(in), out(out),
        y_of_edges(t.n_y * E), c_Y(t.n_k * E), c_U(t.n_k * E),
        rows(t.n_rows * 4 * E), products_Y(S * t.n_q * 4 * E), products_U(S * t.n_q * 4 * E),
        m_Y(t.n_q * 4 * E), m_U(t.n_q * 4 * E), dots(t.n_k * E) {}

  // N lanes from channel c on.
  template <class L, int N>
  void run(int64_t c) {
    for (int64_t i = 0; i < e.n_atoms; ++i) {
      if (out.g) zero<L, N>();
      for (int64_t first = e.first[i]; first < e.first[i + 1]; first += E) {
        const int64_t n = std::min<int64_t>(E, e.first[i + 1] - first);
        coefficients(in.Y, first, n, c_Y);
        if (in.U) coefficients(in.U, first, n, c_U);
        for (int64_t part = 0; part < n; part += S) {
          const int64_t m = std::min<int64_t>(S, n - part);
          if (out.g || out.Y) multiply<L, N>(first + part, m, c);
          if (out.g) collect<L, N>(part, m);
          if (in.g)
            for (int64_t j = 0; j < m; ++j) spread<L, N>(i, first + part + j, part + j, j, c);
        }
      }
      if (out.g) write<L, N>(i, c);
    }
  }

 private:
  static constexpr int E = Wide<T>::width;  // edges whose coefficients are made together
  static constexpr int S = 4;               // edges that are added to a row together

  // C_k of n edges, [n_k][E].
  void coefficients(const T* Y, int64_t first, int64_t n, T* result) {
    using L = Wide<T>;
    for (int64_t y = 0; y < t.n_y; ++y) {
      T* of_edges = y_of_edges + y * E;
      for (int64_t j = 0; j < n; ++j) of_edges[j] = Y[(first + j) * t.n_y + y];
      for (int64_t j = n; j < E; ++j) of_edges[j] = 0;
    }
    for (int64_t k = 0; k < t.n_k; ++k) {
      typename L::V sum{};
      for (int32_t s = t.k_first[k]; s < t.k_first[k + 1]; ++s)
        sum += t.k_value[s] * L::load(y_of_edges + t.k_y[s] * E);
      L::store(result + k * E, sum);
    }
  }

  template <class L, int N>
  void zero() {
    for (int64_t x = 0; x < t.n_rows * N; ++x) L::store(rows + x * L::width, typename L::V{});
  }

  template <class L, int N>
  void write(int64_t i, int64_t c) {
    for (int64_t o = 0; o < t.n_rows; ++o)
      for (int n = 0; n < N; ++n)
        L::store(out.g + (i * t.n_rows + o) * C + c + n * L::width,
                 L::load(rows + (o * N + n) * L::width));
  }

  int64_t radial_row(int64_t edge) const { return e.radial ? e.radial[edge] : edge; }

  // What stands with C_k(Y) and C_k(U) in the derivative with respect to g: products of the
  // operands (R h) of the plain form, or of its differential (R H + V h) and (R h).
  template <class L, int N>
  void multiply(int64_t edge, int64_t m, int64_t c) {
    const bool differential = in.H || in.U || in.V;
    for (int64_t j = 0; j < m; ++j) {
      const int64_t s = e.senders[edge + j] * t.n_h * C + c;
      const int64_t r = radial_row(edge + j) * t.n_paths * C + c;
      for (int64_t p = 0; p < t.n_paths; ++p) {
        for (int n = 0; n < N; ++n) {
          const int64_t rp = r + p * C + n * L::width;
          const typename L::V R = L::load(in.R + rp);
          typename L::V V{};
          if (in.V) V = L::load(in.V + rp);
          int64_t a = s + t.path_a[p] * C + n * L::width;
          for (int32_t q = t.path_q[p]; q < t.path_q[p + 1]; ++q, a += C) {
            const int64_t place = ((j * t.n_q + q) * N + n) * L::width;
            const typename L::V h = L::load(in.h + a);
            if (!differential) {
              L::store(products_Y + place, R * h);
            } else {
              typename L::V x = V * h;
              if (in.H) x += R * L::load(in.H + a);
              L::store(products_Y + place, x);
              if (in.U) L::store(products_U + place, R * h);
            }
          }
        }
      }
    }
  }

  // rows += the derivative with respect to g of m edges.
  template <class L, int N>
  void collect(int64_t part, int64_t m) {
    using V = typename L::V;
    for (int64_t o = 0; o < t.n_rows; ++o) {
      V sum[N];
      T* row = rows + o * N * L::width;
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sum[n] = L::load(row + n * L::width);
      for (int64_t j = 0; j < m; ++j)
        for (int32_t k = t.row_k[o]; k < t.row_k[o + 1]; ++k) {
          const int64_t place = (j * t.n_q + t.k_q[k]) * N * L::width;
          const T y = c_Y[k * E + part + j];
#pragma GCC unroll 4
          for (int n = 0; n < N; ++n) sum[n] += y * L::load(products_Y + place + n * L::width);
          if (in.U) {
            const T u = c_U[k * E + part + j];
#pragma GCC unroll 4
            for (int n = 0; n < N; ++n) sum[n] += u * L::load(products_U + place + n * L::width);
          }
        }
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) L::store(row + n * L::width, sum[n]);
    }
  }

  // m[q] = Σ_k C_k g[row]: the derivative with respect to the product R h of an edge.
  template <class L, int N>
  void couple(const T* coefficient, const T* g, T* m) {
    using V = typename L::V;
    for (int64_t q = 0; q < t.n_q; ++q) {
      V sum[N];
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sum[n] = V{};
      for (int32_t x = t.q_first[q]; x < t.q_first[q + 1]; ++x) {
        const T value = coefficient[t.q_k[x] * E];
        const T* row = g + t.q_row[x] * C;
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) sum[n] += value * L::load(row + n * L::width);
      }
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) L::store(m + (q * N + n) * L::width, sum[n]);
    }
  }

  // The derivatives with respect to h, R and Y of edge number `place` of its block.
  template <class L, int N>
  void spread(int64_t i, int64_t edge, int64_t place, int64_t j, int64_t c) {
    using V = typename L::V;
    const bool differential = in.H || in.U || in.V;
    const T* g = in.g + i * t.n_rows * C + c;
    const int64_t s = e.senders[edge] * t.n_h * C + c;
    const int64_t r = radial_row(edge) * t.n_paths * C + c;
    if (out.h || out.R) {
      couple<L, N>(c_Y + place, g, m_Y);
      if (in.U) couple<L, N>(c_U + place, g, m_U);
      for (int64_t p = 0; p < t.n_paths; ++p) {
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) {
          const int64_t rp = r + p * C + n * L::width;
          const V R = L::load(in.R + rp);
          V of_V{}, of_R{};
          if (in.V) of_V = L::load(in.V + rp);
          int64_t a = s + t.path_a[p] * C + n * L::width;
          for (int32_t q = t.path_q[p]; q < t.path_q[p + 1]; ++q, a += C) {
            const V y = L::load(m_Y + (q * N + n) * L::width);
            V of_h{};
            if (!differential) {
              of_h = R * y;
              of_R += L::load(in.h + a) * y;
            } else {
              of_h = of_V * y;
              if (in.H) of_R += L::load(in.H + a) * y;
              if (in.U) {
                const V u = L::load(m_U + (q * N + n) * L::width);
                of_h += R * u;
                of_R += L::load(in.h + a) * u;
              }
            }
            if (out.h) L::store(out.h + a, L::load(out.h + a) + of_h);
          }
          if (out.R) L::store(out.R + rp, e.radial ? L::load(out.R + rp) + of_R : of_R);
        }
      }
    }
    if (out.Y) {
      for (int64_t k = 0; k < t.n_k; ++k) {
        const T* product = products_Y + (j * t.n_q + t.k_q[k]) * N * L::width;
        const T* row = g + t.k_row[k] * C;
        V sum = L::load(product) * L::load(row);
#pragma GCC unroll 4
        for (int n = 1; n < N; ++n)
          sum += L::load(product + n * L::width) * L::load(row + n * L::width);
        L::store(dots + k * L::width, sum);
      }
      for (int64_t y = 0; y < t.n_y; ++y) {
        V sum{};
        for (int32_t x = t.y_first[y]; x < t.y_first[y + 1]; ++x)
          sum += t.y_value[x] * L::load(dots + t.y_k[x] * L::width);
        out.Y[edge * t.n_y + y] += L::sum(sum);
      }
    }
  }

  const ATables<T>& t;
  const EdgeList& e;
  const int64_t C;
  const AOperands<T> in;
  const AResults<T> out;
  Buffer<T> y_of_edges, c_Y, c_U, rows, products_Y, products_U, m_Y, m_U, dots;
};

}  // namespace maceloop::training
