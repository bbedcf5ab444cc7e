// A network of SiLU layers without bias, its gradients, and the gradients of its gradients.
//
//   z_l = y_{l-1} W_l,  y_l = silu(z_l) for l < L,  result z_L;  y_0 = x
//
// Rows (edges) are taken through all layers some at a time, so that what lies between the layers
// stays in cache. For gradients z_l and b_l, the cotangent of y_l, are kept of the hidden layers,
// [n, Σ widths].
#pragma once

#include <vector>

#include "training_gemm.h"

namespace maceloop::training {

// y = silu(z) and its first and second derivative, elementwise.
template <class T>
void silu(const T* z, int64_t n, T* y, T* first, T* second) {
  using L = Wide<T>;
  for (int64_t i = 0; i < n; i += L::width) {
    const Vec<T> x = L::load(z + i);
    const Vec<T> s = T(1) / (T(1) + exp<T>(-x));
    const Vec<T> rest = T(1) - s;
    if (y) L::store(y + i, x * s);
    if (first) L::store(first + i, s * (T(1) + x * rest));
    if (second) L::store(second + i, s * rest * (T(2) + x * (rest - s)));
  }
}

template <class T>
struct MLPShape {
  int64_t n_layers;
  const int64_t* widths;   // [n_layers + 1]
  const T* const* weights;  // [n_layers] each [from, to]
  const T* factors;        // [n_layers] that multiply the weights
};

template <class T>
class MLP {
 public:
  MLP(const MLPShape<T>& shape, int64_t n, const T* const* weights, bool transposed)
      : s(shape), n(n), L(shape.n_layers) {
    int64_t offset = 0;
    for (int64_t l = 0; l < L; ++l) {
      const int64_t from = s.widths[l], to = s.widths[l + 1];
      offsets.push_back(offset);
      if (l < L - 1) offset += to;
      widest = std::max({widest, from, l < L - 1 ? to : 0});
      if (transposed) {
        packed.emplace_back(to, from);
        packed.back().fill(weights[l], 1, to, s.factors[l]);
      } else {
        packed.emplace_back(from, to);
        packed.back().fill(weights[l], to, 1, s.factors[l]);
      }
    }
    hidden = offset;
  }

  const MLPShape<T>& s;
  const int64_t n, L;
  int64_t hidden = 0, widest = 0;
  std::vector<int64_t> offsets;  // of a hidden layer among all
  std::vector<Packed<T>> packed;
};

// Rows that are taken together.
constexpr int64_t kMLPRows = 96;

// Copies between [m] rows with a leading dimension and contiguous rows.
template <class T>
void gather(const T* from, int64_t ld, int64_t m, int64_t width, T* to) {
  for (int64_t i = 0; i < m; ++i) std::memcpy(to + i * width, from + i * ld, width * sizeof(T));
}
template <class T>
void scatter(const T* from, int64_t m, int64_t width, T* to, int64_t ld) {
  for (int64_t i = 0; i < m; ++i) std::memcpy(to + i * ld, from + i * width, width * sizeof(T));
}

// z [n, hidden] may be null; result [n, widths[L]].
template <class T>
void mlp_forward(const MLPShape<T>& s, int64_t n, const T* x, T* z, T* result) {
  MLP<T> net(s, n, s.weights, false);
  Buffer<T> a(kMLPRows * net.widest + 64), b(kMLPRows * net.widest + 64);
  for (int64_t row = 0; row < n; row += kMLPRows) {
    const int64_t m = std::min(kMLPRows, n - row);
    const T* y = x + row * s.widths[0];
    int64_t width = s.widths[0];
    for (int64_t l = 0; l < net.L - 1; ++l) {
      const int64_t to = s.widths[l + 1];
      multiply<T>(m, y, width, net.packed[l], a, to);
      if (z) scatter<T>(a, m, to, z + row * net.hidden + net.offsets[l], net.hidden);
      silu<T>(a, m * to, b, nullptr, nullptr);
      y = b;
      width = to;
    }
    multiply<T>(m, y, width, net.packed[net.L - 1], result + row * s.widths[net.L],
                s.widths[net.L]);
  }
}

// From the cotangent g of the result: b [n, hidden] and, where not null, the gradients with
// respect to x (written) and to the weights (added).
template <class T>
void mlp_backward(const MLPShape<T>& s, int64_t n, const T* x, const T* z, const T* g, T* b,
                  T* of_x, T* const* of_weights) {
  MLP<T> net(s, n, s.weights, true);
  const int64_t size = kMLPRows * net.widest + 64, L = net.L, out = s.widths[L];
  Buffer<T> cotangent(size), of_z(size), pre(size), y(size), slope(size);
  for (int64_t row = 0; row < n; row += kMLPRows) {
    const int64_t m = std::min(kMLPRows, n - row);
    const T* up = g + row * out;  // cotangent of z_l
    int64_t up_width = out;
    for (int64_t l = L - 1; l >= 0; --l) {
      const int64_t width = s.widths[l];
      if (l) {
        const int64_t place = row * net.hidden + net.offsets[l - 1];
        gather<T>(z + place, net.hidden, m, width, pre);
        silu<T>(pre, m * width, y, slope, nullptr);
        multiply<T>(m, up, up_width, net.packed[l], cotangent, width);
        scatter<T>(cotangent, m, width, b + place, net.hidden);
      } else if (of_x) {
        multiply<T>(m, up, up_width, net.packed[0], of_x + row * width, width);
      }
      if (of_weights)
        multiply_transposed<T>(m, width, up_width, l ? (const T*)y : x + row * width, width, up,
                               up_width, of_weights[l], up_width);
      if (l) {
        for (int64_t i = 0; i < m * width; ++i) of_z[i] = slope[i] * cotangent[i];
        up = of_z;
        up_width = width;
      }
    }
  }
  if (of_weights)
    for (int64_t l = 0; l < L; ++l)
      for (int64_t i = 0; i < s.widths[l] * s.widths[l + 1]; ++i) of_weights[l][i] *= s.factors[l];
}

// The gradients of Σ u · of_x + Σ_l Q_l · of_weights_l, for of_x and of_weights as mlp_backward
// gives them: with respect to g (written, the differential of the result), to x (written) and to
// the weights (added). u, Q and the last two results may be null.
template <class T>
void mlp_double_backward(const MLPShape<T>& s, int64_t n, const T* x, const T* z, const T* g,
                         const T* b, const T* u, const T* const* Q, T* of_g, T* of_x,
                         T* const* of_weights) {
  MLP<T> net(s, n, s.weights, false), back(s, n, s.weights, true);
  std::unique_ptr<MLP<T>> net_Q, back_Q;
  if (Q) {
    net_Q = std::make_unique<MLP<T>>(s, n, Q, false);
    back_Q = std::make_unique<MLP<T>>(s, n, Q, true);
  }
  const int64_t size = kMLPRows * net.widest + 64, L = net.L, out = s.widths[L];
  // Of each hidden layer: y, z̄ (cotangent of z), t (differential of y), s'' dz ȳ.
  std::vector<Buffer<T>> y, of_z, t, bend, slope;
  for (int64_t l = 0; l < L - 1; ++l)
    for (auto* list : {&y, &of_z, &t, &bend, &slope})
      list->emplace_back(kMLPRows * s.widths[l + 1] + 64);
  Buffer<T> pre(size), dz(size), curve(size), cotangent(size), e(size), zero(size);
  for (int64_t i = 0; i < size; ++i) zero[i] = 0;

  for (int64_t row = 0; row < n; row += kMLPRows) {
    const int64_t m = std::min(kMLPRows, n - row);
    const T* x_rows = x + row * s.widths[0];
    const T* g_rows = g + row * out;
    const T* u_rows = u ? u + row * s.widths[0] : (const T*)zero;
    // Forward: values and differentials.
    for (int64_t l = 0; l < L; ++l) {
      const int64_t from = s.widths[l], to = s.widths[l + 1];
      T* target = l < L - 1 ? (T*)dz : of_g + row * out;
      multiply<T>(m, l ? (const T*)t[l - 1] : u_rows, from, net.packed[l], target, to);
      if (Q)
        multiply<T>(m, l ? (const T*)y[l - 1] : x_rows, from, net_Q->packed[l], target, to, true);
      if (l == L - 1) break;
      const int64_t place = row * net.hidden + net.offsets[l];
      gather<T>(z + place, net.hidden, m, to, pre);
      gather<T>(b + place, net.hidden, m, to, cotangent);
      silu<T>(pre, m * to, y[l], slope[l], curve);
      for (int64_t i = 0; i < m * to; ++i) {
        of_z[l][i] = slope[l][i] * cotangent[i];
        t[l][i] = slope[l][i] * dz[i];
        bend[l][i] = curve[i] * dz[i] * cotangent[i];
      }
    }
    // Back: e is the cotangent of z_l through the values.
    for (int64_t l = L - 1; l >= 0; --l) {
      const int64_t from = s.widths[l], to = s.widths[l + 1];
      const T* up = l < L - 1 ? (const T*)of_z[l] : g_rows;
      if (of_weights) {
        multiply_transposed<T>(m, from, to, l ? (const T*)t[l - 1] : u_rows, from, up, to,
                               of_weights[l], to);
        if (l < L - 1)
          multiply_transposed<T>(m, from, to, l ? (const T*)y[l - 1] : x_rows, from, e, to,
                                 of_weights[l], to);
      }
      if (l == 0 && !of_x) break;
      T* down = l ? (T*)cotangent : of_x + row * from;
      if (l < L - 1)
        multiply<T>(m, e, to, back.packed[l], down, from);
      else
        for (int64_t i = 0; i < m * from; ++i) down[i] = 0;
      if (Q) multiply<T>(m, up, to, back_Q->packed[l], down, from, true);
      if (l)
        for (int64_t i = 0; i < m * from; ++i)
          e[i] = bend[l - 1][i] + slope[l - 1][i] * cotangent[i];
    }
  }
  if (of_weights)
    for (int64_t l = 0; l < L; ++l)
      for (int64_t i = 0; i < s.widths[l] * s.widths[l + 1]; ++i) of_weights[l][i] *= s.factors[l];
}

}  // namespace maceloop::training
