// A network of SiLU layers without bias, its gradients, and the gradients of its gradients.
//
//   z_l = y_{l-1} W_l,  y_l = silu(z_l) for l < L,  result z_L;  y_0 = x
//
// Rows (edges) are taken through all layers some at a time, so that what lies between the layers
// stays in cache. For gradients z_l and b_l, the cotangent of y_l, are kept of the hidden layers.
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

template <class T>
void clear_weights(const MLPShape<T>& s, T* const* of_weights) {
  if (!of_weights) return;
  for (int64_t l = 0; l < s.n_layers; ++l)
    std::fill_n(of_weights[l], s.widths[l] * s.widths[l + 1], T(0));
}

// The gradients of the weights from those of the weights times their factors.
template <class T>
void scale_weights(const MLPShape<T>& s, T* const* of_weights) {
  if (!of_weights) return;
  for (int64_t l = 0; l < s.n_layers; ++l)
    for (int64_t i = 0; i < s.widths[l] * s.widths[l + 1]; ++i) of_weights[l][i] *= s.factors[l];
}

// Rows that are taken together.
constexpr int64_t kMLPRows = 96;

// Numbers of z and b for n rows: the blocks of rows one after the other, in each the layers one
// after the other; and as many more as a vector that begins in the last block can reach beyond it.
template <class T>
struct Hidden {
  T* data;
  int64_t width;  // Σ widths of hidden layers
  T* block(int64_t row, int64_t m, int64_t offset) const {
    return data ? data + row * width + m * offset : nullptr;
  }
};

// z may be null.
template <class T>
void mlp_forward(const MLPShape<T>& s, int64_t n, const T* x, T* z, T* result) {
  MLP<T> net(s, n, s.weights, false);
  const Hidden<T> kept{z, net.hidden};
  Buffer<T> other(kMLPRows * net.widest + 64), activation(kMLPRows * net.widest + 64);
  for (int64_t row = 0; row < n; row += kMLPRows) {
    const int64_t m = std::min(kMLPRows, n - row);
    const T* y = x + row * s.widths[0];
    for (int64_t l = 0; l < net.L - 1; ++l) {
      const int64_t to = s.widths[l + 1];
      T* pre = z ? kept.block(row, m, net.offsets[l]) : (T*)other;
      multiply<T>(m, y, s.widths[l], net.packed[l], pre, to);
      silu<T>(pre, m * to, activation, nullptr, nullptr);
      y = activation;
    }
    multiply<T>(m, y, s.widths[net.L - 1], net.packed[net.L - 1], result + row * s.widths[net.L],
                s.widths[net.L]);
  }
}

// From the cotangent g of the result: b and, where not null, the gradients with respect to x
// and to the weights.
template <class T>
void mlp_backward(const MLPShape<T>& s, int64_t n, const T* x, const T* z, const T* g, T* b,
                  T* of_x, T* const* of_weights) {
  MLP<T> net(s, n, s.weights, true);
  const Hidden<const T> values{z, net.hidden};
  const Hidden<T> kept{b, net.hidden};
  const int64_t size = kMLPRows * net.widest + 64, L = net.L, out = s.widths[L];
  Buffer<T> of_z(size), y(size), slope(size);
  clear_weights(s, of_weights);
  for (int64_t row = 0; row < n; row += kMLPRows) {
    const int64_t m = std::min(kMLPRows, n - row);
    const T* up = g + row * out;  // cotangent of z_l
    int64_t up_width = out;
    for (int64_t l = L - 1; l >= 0; --l) {
      const int64_t width = s.widths[l];
      T* cotangent = nullptr;
      if (l) {
        silu<T>(values.block(row, m, net.offsets[l - 1]), m * width, of_weights ? (T*)y : nullptr,
                slope, nullptr);
        cotangent = kept.block(row, m, net.offsets[l - 1]);
        multiply<T>(m, up, up_width, net.packed[l], cotangent, width);
      } else if (of_x) {
        multiply<T>(m, up, up_width, net.packed[0], of_x + row * width, width);
      }
      if (of_weights)
        multiply_transposed<T>(m, width, up_width, l ? (const T*)y : x + row * width, width, up,
                               up_width, of_weights[l], up_width);
      if (l) {
        T *const to = of_z, *const d = slope;
        for (int64_t i = 0; i < m * width; ++i) to[i] = d[i] * cotangent[i];
        up = of_z;
        up_width = width;
      }
    }
  }
  scale_weights(s, of_weights);
}

// The gradients of Σ u · of_x + Σ_l Q_l · of_weights_l, for of_x and of_weights as mlp_backward
// gives them: with respect to g (the differential of the result), x and the weights. u, Q and the
// last two results may be null.
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
  const Hidden<const T> values{z, net.hidden}, cotangents{b, net.hidden};
  Buffer<T> dz(size), curve(size), below(size), e(size), zero(size);
  std::fill_n((T*)zero, size, T(0));
  clear_weights(s, of_weights);

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
      silu<T>(values.block(row, m, net.offsets[l]), m * to, y[l], slope[l], curve);
      const T *const up = cotangents.block(row, m, net.offsets[l]), *const first = slope[l],
              *const second = curve, *const change = dz;
      T *const to_z = of_z[l], *const to_t = t[l], *const to_bend = bend[l];
      for (int64_t i = 0; i < m * to; ++i) {
        to_z[i] = first[i] * up[i];
        to_t[i] = first[i] * change[i];
        to_bend[i] = second[i] * change[i] * up[i];
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
      T* down = l ? (T*)below : of_x + row * from;
      if (l < L - 1)
        multiply<T>(m, e, to, back.packed[l], down, from);
      else
        for (int64_t i = 0; i < m * from; ++i) down[i] = 0;
      if (Q) multiply<T>(m, up, to, back_Q->packed[l], down, from, true);
      if (l) {
        const T *const first = bend[l - 1], *const factor = slope[l - 1], *const b = below;
        T* const to_e = e;
        for (int64_t i = 0; i < m * from; ++i) to_e[i] = first[i] + factor[i] * b[i];
      }
    }
  }
  scale_weights(s, of_weights);
}

}  // namespace maceloop::training
