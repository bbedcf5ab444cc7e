// The coefficients of a product's terms, W[z, t, :] = Σ_η U[t, η] w[z, η, :], with U sparse.
#pragma once

#include <algorithm>
#include <cstdint>

namespace maceloop::training {

template <class T>
struct Mixture {
  int64_t n_terms, n_blocks;
  const int64_t* paths;   // [n_blocks] η of each block of weights [n_elements, paths, C]
  const int64_t* first;   // [n_terms + 1] into block, path and value
  const int64_t* block;
  const int64_t* path;
  const T* value;         // of U
};

// W [n, n_terms, C] of the n elements that are present.
template <class T>
void mix(const Mixture<T>& m, int64_t n, const int64_t* present, int64_t C, const T* const* weights,
         T* W) {
  for (int64_t k = 0; k < n; ++k)
    for (int64_t t = 0; t < m.n_terms; ++t, W += C) {
      std::fill_n(W, C, T(0));
      for (int64_t s = m.first[t]; s < m.first[t + 1]; ++s) {
        const T* const w = weights[m.block[s]] + (present[k] * m.paths[m.block[s]] + m.path[s]) * C;
        for (int64_t c = 0; c < C; ++c) W[c] += m.value[s] * w[c];
      }
    }
}

// The gradients of the weights, where not null, from those of W.
template <class T>
void mix_backward(const Mixture<T>& m, int64_t n, const int64_t* present, int64_t n_elements,
                  int64_t C, const T* g, T* const* of_weights) {
  for (int64_t b = 0; b < m.n_blocks; ++b)
    if (of_weights[b]) std::fill_n(of_weights[b], n_elements * m.paths[b] * C, T(0));
  for (int64_t k = 0; k < n; ++k)
    for (int64_t t = 0; t < m.n_terms; ++t, g += C)
      for (int64_t s = m.first[t]; s < m.first[t + 1]; ++s) {
        T* const block = of_weights[m.block[s]];
        if (!block) continue;
        T* const w = block + (present[k] * m.paths[m.block[s]] + m.path[s]) * C;
        for (int64_t c = 0; c < C; ++c) w[c] += m.value[s] * g[c];
      }
}

}  // namespace maceloop::training
