// Site energies from a layer's scalars h [C], linear or by a network with one hidden layer of SiLU.
#pragma once

#include <cmath>

#include "simd.h"
#include "tables.h"

namespace maceloop {

template <class T>
T dot(int64_t C, const T* x, const T* y) {
  Vec<T> total{};
  for (int64_t c = 0; c < C; c += kLanes<T>) total += load(x + c) * load(y + c);
  return sum<T>(total);
}

template <class T>
void add_scaled(int64_t C, T factor, const T* x, T* y) {
  for (int64_t c = 0; c < C; c += kLanes<T>) store(y + c, load(y + c) + load(x + c) * factor);
}

template <class T>
double site_energy(const LayerWeights<T>& w, int64_t C, const T* h) {
  double energy = 0;
  if (w.readout) energy = dot(C, w.readout, h);
  for (int64_t k = 0; k < w.hidden; ++k) {
    const T x = dot(C, w.readout_1 + k * C, h);
    energy += w.readout_2[k] * (x / (1 + std::exp(-x)));
  }
  return energy;
}

// Adds scale · ∂(site energy)/∂h to gh.
template <class T>
void readout_gradient(const LayerWeights<T>& w, int64_t C, T scale, const T* h, T* gh) {
  if (w.readout) add_scaled(C, scale, w.readout, gh);
  for (int64_t k = 0; k < w.hidden; ++k) {
    const T x = dot(C, w.readout_1 + k * C, h), y = 1 / (1 + std::exp(-x));
    add_scaled(C, scale * w.readout_2[k] * y * (1 + x * (1 - y)), w.readout_1 + k * C, gh);
  }
}

}  // namespace maceloop
