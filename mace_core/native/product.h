// The B-basis: a sparse polynomial of A for each atom, and its derivative.
//
// A term is a head (an output and a few variables) times one more variable. Coefficients depend on
// element and channel; a vector of channels of all of them stays in the first-level cache.
#pragma once

#include "simd.h"
#include "tables.h"

namespace maceloop {

constexpr int kAtomsAtOnce = 4;

// Variables of N atoms: 0 is the constant 1.
template <class T, int N>
struct Variables {
  Vec<T> of[kMaxComponents + 1][N];
  void read(const T* A, int64_t atom_step, int64_t row, int n) {
    for (int i = 0; i < N; ++i) of[0][i] = splat<T>(1);
    for (int a = 0; a < n; ++a)
      for (int i = 0; i < N; ++i) of[a + 1][i] = load(A + i * atom_step + a * row);
  }
};

template <class T, int N, int K>
inline void product_forward(const LayerTables& layer, const T* coefficients, const T* A,
                            int64_t A_step, T* B, int64_t B_step, int64_t row, int n, int n_out) {
  constexpr int W = kLanes<T>;
  Variables<T, N> x;
  x.read(A, A_step, row, n);
  for (int o = 0; o < n_out; ++o) {
    Vec<T> total[N] = {};
    for (int32_t h = layer.output_start[o]; h < layer.output_start[o + 1]; ++h) {
      Vec<T> inner[N] = {};
      for (int32_t t = layer.head_start[h]; t < layer.head_start[h + 1]; ++t) {
        const Vec<T> w = load(coefficients + int64_t(t) * W);
        const Vec<T>* tail = x.of[layer.term_variable[t]];
        for (int i = 0; i < N; ++i) inner[i] += w * tail[i];
      }
      const int32_t* variables = layer.head_variables + h * K;
      for (int k = 1; k < K; ++k)
        for (int i = 0; i < N; ++i) inner[i] *= x.of[variables[k]][i];
      for (int i = 0; i < N; ++i)
        total[i] += K > 0 ? inner[i] * x.of[variables[0]][i] : inner[i];
    }
    for (int i = 0; i < N; ++i) store(B + i * B_step + o * row, total[i]);
  }
}

template <class T, int N, int K>
inline void product_backward(const LayerTables& layer, const T* coefficients, const T* A,
                             int64_t A_step, const T* gB, int64_t B_step, T* gA, int64_t row, int n,
                             int n_out) {
  constexpr int W = kLanes<T>;
  Variables<T, N> x;
  x.read(A, A_step, row, n);
  Vec<T> g[kMaxComponents + 1][N];
  for (int a = 0; a <= n; ++a)
    for (int i = 0; i < N; ++i) g[a][i] = Vec<T>{};
  for (int o = 0; o < n_out; ++o) {
    Vec<T> G[N];
    for (int i = 0; i < N; ++i) G[i] = load(gB + i * B_step + o * row);
    for (int32_t h = layer.output_start[o]; h < layer.output_start[o + 1]; ++h) {
      const int32_t* variables = layer.head_variables + h * K;
      Vec<T> outer[N], inner[N] = {};
      for (int i = 0; i < N; ++i) outer[i] = G[i];
      for (int k = 0; k < K; ++k)
        for (int i = 0; i < N; ++i) outer[i] *= x.of[variables[k]][i];
      for (int32_t t = layer.head_start[h]; t < layer.head_start[h + 1]; ++t) {
        const Vec<T> w = load(coefficients + int64_t(t) * W);
        const int32_t tail = layer.term_variable[t];
        for (int i = 0; i < N; ++i) {
          inner[i] += w * x.of[tail][i];
          g[tail][i] += w * outer[i];
        }
      }
      for (int i = 0; i < N; ++i) inner[i] *= G[i];
      for (int k = 0; k < K; ++k)
        for (int i = 0; i < N; ++i) {
          Vec<T> others = inner[i];
          for (int j = 0; j < K; ++j)
            if (j != k) others *= x.of[variables[j]][i];
          g[variables[k]][i] += others;
        }
    }
  }
  for (int i = 0; i < N; ++i)
    for (int a = 0; a < n; ++a) store(gA + i * A_step + a * row, g[a + 1][i]);
}

// All channels of n_atoms atoms of one element. Arrays are [atoms, components, C].
template <class T, int K>
void product_of_element(const LayerTables& layer, const T* coefficients, int64_t n_atoms, int n,
                        int n_out, int64_t C, const T* A, T* B, const T* gB, T* gA) {
  constexpr int W = kLanes<T>, N = kAtomsAtOnce;
  const int64_t A_step = n * C, B_step = n_out * C;
  for (int64_t c = 0; c < C; c += W, coefficients += layer.n_terms * W) {
    int64_t i = 0;
    for (; i + N <= n_atoms; i += N) {
      const int64_t a = i * A_step + c, b = i * B_step + c;
      if (gA)
        product_backward<T, N, K>(layer, coefficients, A + a, A_step, gB + b, B_step, gA + a, C, n, n_out);
      else
        product_forward<T, N, K>(layer, coefficients, A + a, A_step, B + b, B_step, C, n, n_out);
    }
    for (; i < n_atoms; ++i) {
      const int64_t a = i * A_step + c, b = i * B_step + c;
      if (gA)
        product_backward<T, 1, K>(layer, coefficients, A + a, A_step, gB + b, B_step, gA + a, C, n, n_out);
      else
        product_forward<T, 1, K>(layer, coefficients, A + a, A_step, B + b, B_step, C, n, n_out);
    }
  }
}

// B from A, or with gA the gradient gA from gB.
template <class T>
void product(const LayerTables& layer, const T* coefficients, int64_t n_atoms, int n, int n_out,
             int64_t C, const T* A, T* B, const T* gB, T* gA) {
  switch (layer.head_size) {
    case 0: product_of_element<T, 0>(layer, coefficients, n_atoms, n, n_out, C, A, B, gB, gA); break;
    case 1: product_of_element<T, 1>(layer, coefficients, n_atoms, n, n_out, C, A, B, gB, gA); break;
    case 2: product_of_element<T, 2>(layer, coefficients, n_atoms, n, n_out, C, A, B, gB, gA); break;
    default: product_of_element<T, 3>(layer, coefficients, n_atoms, n, n_out, C, A, B, gB, gA);
  }
}

}  // namespace maceloop
