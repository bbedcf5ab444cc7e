// A network of SiLU layers without bias, its gradients, and the gradients of its gradients.
//
//   z_l = y_{l-1} W_l,  y_l = silu(z_l) for l < L,  result z_L;  y_0 = x
//
// Rows (edges) are taken through all layers some at a time, so that what lies between the layers
// stays in cache. For gradients z_l, σ(z_l) and b_l, the cotangent of y_l, are kept of the hidden
// layers.
#pragma once

#include <vector>

#include "training_gemm.h"

namespace maceloop::training {

// y = silu(z) = z σ(z) elementwise; also σ, if asked for.
template <class T>
void silu(const T* z, int64_t n, T* y, T* sigma) {
  using L = Wide<T>;
  for (int64_t i = 0; i < n; i += L::width) {
    const Vec<T> x = L::load(z + i);
    const Vec<T> s = T(1) / (T(1) + exp<T>(-x));
    if (sigma) L::store(sigma + i, s);
    L::store(y + i, x * s);
  }
}

// silu'(z), from z and σ(z).
template <class T>
MACELOOP_INLINE Vec<T> silu_slope(Vec<T> z, Vec<T> s) {
  return s * (T(1) + z * (T(1) - s));
}

// The cotangent of z from that of silu(z), plus another one if there is; and silu(z), if asked for.
template <class T>
void silu_backward(const T* z, const T* sigma, const T* g, const T* more, int64_t n, T* of_z, T* y) {
  using L = Wide<T>;
  for (int64_t i = 0; i < n; i += L::width) {
    const Vec<T> x = L::load(z + i), s = L::load(sigma + i);
    Vec<T> result = silu_slope<T>(x, s) * L::load(g + i);
    if (more) result += L::load(more + i);
    L::store(of_z + i, result);
    if (y) L::store(y + i, x * s);
  }
}

// What a differential dz makes of y = silu(z) and of its backward pass from the cotangent g: dy, the
// cotangent of z, and the gradient of <that cotangent, dz> with respect to z; also y, if asked for.
template <class T>
void silu_differential(const T* z, const T* sigma, const T* g, const T* dz, int64_t n, T* dy,
                       T* cotangent, T* of_z, T* y) {
  using L = Wide<T>;
  for (int64_t i = 0; i < n; i += L::width) {
    const Vec<T> x = L::load(z + i), s = L::load(sigma + i), of_y = L::load(g + i);
    const Vec<T> change = L::load(dz + i), rest = T(1) - s;
    const Vec<T> first = silu_slope<T>(x, s), second = s * rest * (T(2) + x * (rest - s));
    L::store(dy + i, first * change);
    L::store(cotangent + i, first * of_y);
    L::store(of_z + i, second * change * of_y);
    if (y) L::store(y + i, x * s);
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

// z and sigma may be null.
template <class T>
void mlp_forward(const MLPShape<T>& s, int64_t n, const T* x, T* z, T* sigma, T* result) {
  MLP<T> net(s, n, s.weights, false);
  const Hidden<T> kept{z, net.hidden}, sigmas{sigma, net.hidden};
  Buffer<T> other(kMLPRows * net.widest + 64), activation(kMLPRows * net.widest + 64);
  for (int64_t row = 0; row < n; row += kMLPRows) {
    const int64_t m = std::min(kMLPRows, n - row);
    const T* y = x + row * s.widths[0];
    for (int64_t l = 0; l < net.L - 1; ++l) {
      const int64_t to = s.widths[l + 1];
      T* pre = z ? kept.block(row, m, net.offsets[l]) : (T*)other;
      multiply<T>(m, y, s.widths[l], net.packed[l], pre, to);
      silu<T>(pre, m * to, activation, sigmas.block(row, m, net.offsets[l]));
      y = activation;
    }
    multiply<T>(m, y, s.widths[net.L - 1], net.packed[net.L - 1], result + row * s.widths[net.L],
                s.widths[net.L]);
  }
}

// From the cotangent g of the result, and that of z where the hidden values are used elsewhere: b
// and, where not null, the gradients with respect to x and to the weights. g or of_z may be null.
// With `begun`, the gradients of the weights go on from an mlp_double_backward that `goes_on`.
template <class T>
void mlp_backward(const MLPShape<T>& s, int64_t n, const T* x, const T* z, const T* sigma,
                  const T* g, const T* of_z, T* b, T* of_x, T* const* of_weights,
                  bool begun = false) {
  MLP<T> net(s, n, s.weights, true);
  const Hidden<const T> values{z, net.hidden}, sigmas{sigma, net.hidden}, others{of_z, net.hidden};
  const Hidden<T> kept{b, net.hidden};
  const int64_t size = kMLPRows * net.widest + 64, L = net.L, out = s.widths[L];
  Buffer<T> pre_0(size), pre_1(size), y(size);
  if (!begun) clear_weights(s, of_weights);
  for (int64_t row = 0; row < n; row += kMLPRows) {
    const int64_t m = std::min(kMLPRows, n - row);
    const T* up = g ? g + row * out : nullptr;  // cotangent of z_l
    int64_t up_width = out;
    for (int64_t l = L - 1; l >= 0; --l) {
      const int64_t width = s.widths[l], offset = l ? net.offsets[l - 1] : 0;
      T* const below = l ? kept.block(row, m, offset) : of_x ? of_x + row * width : nullptr;
      T* const next = l % 2 ? pre_1 : pre_0;
      if (below && up)
        multiply<T>(m, up, up_width, net.packed[l], below, width);
      else if (below)
        std::fill_n(below, m * width, T(0));
      if (l)
        silu_backward<T>(values.block(row, m, offset), sigmas.block(row, m, offset), below,
                         others.block(row, m, offset), m * width, next,
                         of_weights ? (T*)y : nullptr);
      if (of_weights && up)
        multiply_transposed<T>(m, width, up_width, l ? (const T*)y : x + row * width, width, up,
                               up_width, of_weights[l], up_width);
      up = next;
      up_width = width;
    }
  }
  scale_weights(s, of_weights);
}

// The gradients of S = Σ u · of_x + Σ_l Q_l · of_weights_l, for of_x and of_weights as mlp_backward
// gives them from g. S = <g, dz_L>, the differential of the result when x changes by u and the
// weights by Q, depends on
//
// * g: of_g is that differential,
// * the weights that the differential passes through: of_weights; and Q's factors y: of_y below,
// * z, by the slopes silu'(z_l) and the values y_l: of_z, from which mlp_backward goes on.
//
// u or Q may be null. x's own gradient is that of Q's first factor: of_x, written if Q is given.
template <class T>
void mlp_double_backward(const MLPShape<T>& s, int64_t n, const T* x, const T* z, const T* sigma,
                         const T* g, const T* b, const T* u, const T* const* Q, T* of_g, T* of_x,
                         T* of_z, T* const* of_weights, bool goes_on = false) {
  MLP<T> net(s, n, s.weights, false);
  std::unique_ptr<MLP<T>> net_Q, back_Q;
  if (Q) {
    net_Q = std::make_unique<MLP<T>>(s, n, Q, false);
    back_Q = std::make_unique<MLP<T>>(s, n, Q, true);
  }
  const Hidden<const T> values{z, net.hidden}, sigmas{sigma, net.hidden}, cotangents{b, net.hidden};
  const Hidden<T> result{of_z, net.hidden};
  const int64_t size = kMLPRows * net.widest + 64, L = net.L, out = s.widths[L];
  // Of the hidden layer below and at hand: y and its differential.
  Buffer<T> y_0(size), y_1(size), dy_0(size), dy_1(size);
  Buffer<T> dz(size), up(size), of_y(size), zero(size);
  std::fill_n((T*)zero, size, T(0));
  clear_weights(s, of_weights);

  for (int64_t row = 0; row < n; row += kMLPRows) {
    const int64_t m = std::min(kMLPRows, n - row);
    const T* below = x + row * s.widths[0];
    const T* dbelow = u ? u + row * s.widths[0] : (const T*)zero;
    for (int64_t l = 0; l < L; ++l) {
      const int64_t from = s.widths[l], to = s.widths[l + 1];
      const bool last = l == L - 1;
      T *const y = l % 2 ? y_1 : y_0, *const dy = l % 2 ? dy_1 : dy_0;
      T* const target = last ? of_g + row * out : (T*)dz;
      multiply<T>(m, dbelow, from, net.packed[l], target, to);
      if (Q) multiply<T>(m, below, from, net_Q->packed[l], target, to, true);

      const T* cotangent = g + row * out;  // of z_l
      if (!last) {
        const int64_t offset = net.offsets[l];
        silu_differential<T>(values.block(row, m, offset), sigmas.block(row, m, offset),
                             cotangents.block(row, m, offset), dz, m * to, dy, up,
                             result.block(row, m, offset), Q ? y : nullptr);
        cotangent = up;
      }
      if (of_weights)
        multiply_transposed<T>(m, from, to, dbelow, from, cotangent, to, of_weights[l], to);
      if (Q && l) {  // y_{l-1} as a factor of Q_l
        multiply<T>(m, cotangent, to, back_Q->packed[l], of_y, from);
        const int64_t offset = net.offsets[l - 1];
        silu_backward<T>(values.block(row, m, offset), sigmas.block(row, m, offset), of_y, nullptr,
                         m * from, of_y, nullptr);
        T* const bend = result.block(row, m, offset);
        const T* const change = of_y;
        for (int64_t i = 0; i < m * from; ++i) bend[i] += change[i];
      } else if (Q && of_x) {
        multiply<T>(m, cotangent, to, back_Q->packed[0], of_x + row * from, from);
      }
      below = y;
      dbelow = dy;
    }
  }
  if (!goes_on) scale_weights(s, of_weights);
}

}  // namespace maceloop::training
