// What the kernels know of a model: its layers' sizes and tables, and where its weights are.
#pragma once

#include <vector>

#include "training_a_basis.h"
#include "training_b_basis.h"
#include "training_linear.h"
#include "training_mixture.h"
#include "training_mlp.h"

namespace maceloop::training {

// One layer; mace_core/ops/whole_model.py fills it. The maps stand for any number of atoms.
template <class T>
struct LayerShape {
  int64_t rows_in, rows_A, rows_out;  // of h, A, h'
  int64_t residual;                   // W_z acts on h and by-passes the product; else on A
  const ATables<T>* a_basis;
  const BTables* b_basis;
  const Mixture<T>* mixture;
  const LinearShape *up, *linear, *skip, *product;
  int64_t n_radial, n_readout;        // layers of the two networks
  const int64_t *radial_widths, *readout_widths;
  const T *radial_factors, *readout_factors;
};

template <class T>
struct ModelShape {
  int64_t n_layers, n_elements, channels, max_ell, n_bessel, cutoff_order;
  const LayerShape<T>* const* layers;
  const double* r_max;  // Å
};

// The weights of a layer, or where their gradients are to be written.
template <class P>
struct LayerWeights {
  P up, linear, skip, product;
  const P *radial, *readout, *mixture;
};

// In the order of mace_core/ops/whole_model.py. Networks want all gradients or none.
template <class T, class P>
struct Weights {
  P embedding;
  std::vector<LayerWeights<P>> layers;

  Weights(const ModelShape<T>& shape, const P* next) : embedding(*next++) {
    for (int64_t t = 0; t < shape.n_layers; ++t) {
      const LayerShape<T>& s = *shape.layers[t];
      LayerWeights<P> w{next[0], next[1], next[2], next[3], next + 4, nullptr, nullptr};
      w.readout = w.radial + s.n_radial;
      w.mixture = w.readout + s.n_readout;
      next = w.mixture + s.mixture->n_blocks;
      layers.push_back(w);
    }
  }
};

// How many numbers each weight has, in the same order.
template <class T>
std::vector<int64_t> weight_sizes(const ModelShape<T>& shape) {
  std::vector<int64_t> sizes{shape.n_elements * shape.channels};
  const auto add_network = [&](int64_t n, const int64_t* widths) {
    for (int64_t l = 0; l < n; ++l) sizes.push_back(widths[l] * widths[l + 1]);
  };
  for (int64_t t = 0; t < shape.n_layers; ++t) {
    const LayerShape<T>& s = *shape.layers[t];
    for (const LinearShape* map : {s.up, s.linear, s.skip, s.product}) sizes.push_back(map->size);
    add_network(s.n_radial, s.radial_widths);
    add_network(s.n_readout, s.readout_widths);
    for (int64_t b = 0; b < s.mixture->n_blocks; ++b)
      sizes.push_back(shape.n_elements * s.mixture->paths[b] * shape.channels);
  }
  return sizes;
}

// Energies are scale · x + shift + E0 of the element, in eV.
struct Zero {
  const double* E0;  // [n_elements]
  double scale, shift;
};

}  // namespace maceloop::training
