// Energies, forces and virials of a whole model, and the gradients of a loss on them with respect to
// its weights, each in one call: the operations of a training step one after the other.
//
// The energies E depend on the edge vectors r and the weights. The first call computes E and
// D = ∂E/∂r by a backward pass, whose cotangents b it keeps. For a loss with cotangents a of E and u
// of D, Σ a E + Σ u D = Σ a E + Ė, where Ė is the derivative of E along u. So the second call takes
// the tangents of all values along u through the layers, and then goes backwards once: Ė's cotangent
// of a tangent is b, of a value it is that of the second-order terms which the operations' second
// derivatives give.
#pragma once

#include "training_a_basis.h"
#include "training_b_basis.h"
#include "training_bessel.h"
#include "training_graph.h"
#include "training_harmonics.h"
#include "training_shape.h"

namespace maceloop::training {

template <class T>
void a_basis(const ATables<T>& tables, const EdgeList& edges, int64_t channels,
             const AOperands<T>& in, const AResults<T>& out) {
  ABasis<T> kernel(tables, edges, in, out, channels);
  over_channels<T>(channels, kernel);
}

template <class T, int H>
void b_basis(const BTables& tables, int64_t n_elements, const int64_t* counts, int64_t channels,
             const BOperands<T>& in, const BResults<T>& out) {
  BBasis<T, H> kernel(tables, n_elements, counts, channels, in, out);
  over_channels<T>(channels, kernel);
}

template <class T>
void any_b_basis(const BTables& tables, int64_t n_elements, const int64_t* counts,
                 int64_t channels, const BOperands<T>& in, const BResults<T>& out) {
  switch (tables.n_head_variables) {
    case 0: return b_basis<T, 0>(tables, n_elements, counts, channels, in, out);
    case 1: return b_basis<T, 1>(tables, n_elements, counts, channels, in, out);
    case 2: return b_basis<T, 2>(tables, n_elements, counts, channels, in, out);
    case 3: return b_basis<T, 3>(tables, n_elements, counts, channels, in, out);
  }
}

template <class T>
class Pass {
 public:
  Pass(const ModelShape<T>& shape, const Frames<T>& frames, const T* const* weights,
       const Zero& zero)
      : s(shape), graph(frames, shape.n_elements, arena), w(shape, weights), zero(zero),
        n(frames.n_atoms), C(shape.channels), D((s.max_ell + 1) * (s.max_ell + 1)),
        edges{n, graph.n_pairs, graph.first, graph.senders, graph.pair, graph.is_first},
        layers(s.n_layers) {
    for (int64_t z = 0; z < s.n_elements; ++z)
      if (graph.counts[z]) {
        present.push_back(z);
        counts.push_back(graph.counts[z]);
      }
  }

  // Energies of frames and of atoms.
  void energies(double* energy, double* node_energy) {
    const int64_t n_edges = graph.in.n_edges, n_pairs = graph.n_pairs;
    Y = arena.get<T>(n_edges * D);
    harmonics_forward<T>(int(s.max_ell), n_edges, graph.sorted_vectors, Y);
    x = arena.get<T>(n_pairs * s.n_bessel);
    slopes = arena.get<T>(n_pairs * s.n_bessel);
    directions = arena.get<T>(n_pairs * 3);
    bessel<T>(n_pairs, s.n_bessel, *s.r_max, s.cutoff_order, graph.pair_vectors, x, slopes,
              directions);
    T* h = arena.get<T>(n * C);
    const T factor = T(1) / std::sqrt(T(s.n_elements));
    for (int64_t i = 0; i < n; ++i) {
      const T* const own = w.embedding + graph.in.species[graph.order[i]] * C;
      for (int64_t c = 0; c < C; ++c) h[i * C + c] = own[c] * factor;
    }
    T *const sites = arena.zeros<T>(n), *const of_readout = arena.get<T>(n);
    for (int64_t t = 0; t < s.n_layers; ++t) {
      h = forward(t, h, of_readout);
      for (int64_t i = 0; i < n; ++i) sites[i] += of_readout[i];
    }
    std::fill_n(energy, graph.in.n_frames, 0.0);
    for (int64_t i = 0; i < n; ++i) {
      const T interaction = T(zero.scale) * sites[graph.place[i]] + T(zero.shift);
      node_energy[i] = zero.E0[graph.in.species[i]] + double(interaction);
      energy[graph.in.frame[i]] += node_energy[i];
    }
  }

  // Forces and virials, by Neighbourhood::forces; what backward() needs of them is kept.
  void gradient(T* forces, T* virial) {
    const int64_t n_edges = graph.in.n_edges, n_pairs = graph.n_pairs;
    T* const of_Y = arena.zeros<T>(n_edges * D);
    T* const of_x = arena.zeros<T>(n_pairs * s.n_bessel);
    ones = arena.get<T>(n);
    std::fill_n(ones, n, T(zero.scale));
    T* b_h = nullptr;
    for (int64_t t = s.n_layers - 1; t >= 0; --t) b_h = forces_of(t, b_h, of_Y, of_x);
    T *const D_edges = arena.get<T>(3 * n_edges), *const D_pairs = arena.get<T>(3 * n_pairs);
    harmonics_backward<T>(int(s.max_ell), n_edges, graph.sorted_vectors, of_Y, D_edges, nullptr,
                          nullptr);
    for (int64_t p = 0; p < n_pairs; ++p) {
      T slope = 0;
      for (int64_t k = p * s.n_bessel; k < (p + 1) * s.n_bessel; ++k) slope += of_x[k] * slopes[k];
      for (int a = 0; a < 3; ++a) D_pairs[3 * p + a] = slope * directions[3 * p + a];
    }
    graph.forces(D_edges, D_pairs, forces, virial);
  }

  // The gradients of the weights, from the cotangents of what was computed; any may be null, those
  // of forces and virials together where there was no gradient().
  void backward(const double* of_energy, const double* of_node_energy, const T* of_forces,
                const T* of_virial, T* const* of_weights) const {
    Arena work;
    Weights<T, T*> of_w(s, of_weights);
    Tangents along(s.n_layers);
    if (of_forces || of_virial) tangents(of_forces, of_virial, of_w, along, work);
    T* const a = work.get<T>(n);
    for (int64_t i = 0; i < n; ++i) {
      double sum = of_node_energy ? of_node_energy[i] : 0;
      if (of_energy) sum += of_energy[graph.in.frame[i]];
      a[graph.place[i]] = T(sum) * T(zero.scale);
    }
    T* g = nullptr;
    for (int64_t t = s.n_layers - 1; t >= 0; --t) g = backward(t, g, a, of_w, along, work);
    if (!of_w.embedding) return;
    std::fill_n(of_w.embedding, s.n_elements * C, T(0));
    const T factor = T(1) / std::sqrt(T(s.n_elements));
    for (int64_t i = 0; i < n; ++i) {
      T* const own = of_w.embedding + graph.in.species[graph.order[i]] * C;
      for (int64_t c = 0; c < C; ++c) own[c] += g[i * C + c] * factor;
    }
  }

 private:
  // Of a layer: values as they are computed, and the cotangents b of the sum of all energies.
  struct Layer {
    T *h, *up, *z, *sigma, *R, *m, *A, *mixed, *W, *B, *out, *scalars, *readout_z, *readout_sigma;
    T *b_out, *b_readout, *b_B, *b_mixed, *b_A, *b_m, *b_R, *b_z, *b_up;
    LinearShape up_map, linear_map, skip_map, product_map;
  };

  // Tangents of a layer's values, and the cotangents of the second-order terms; null where there
  // are none. `readout` of the readout's hidden values.
  struct Tangent {
    T *h = nullptr, *m = nullptr, *A = nullptr, *B = nullptr;
    T *of_up = nullptr, *of_R = nullptr, *of_z = nullptr, *of_A = nullptr, *of_W = nullptr;
    T* readout = nullptr;
  };
  using Tangents = std::vector<Tangent>;

  MLPShape<T> radial(int64_t t) const {
    const LayerShape<T>& l = *s.layers[t];
    return {l.n_radial, l.radial_widths, w.layers[t].radial, l.radial_factors};
  }

  MLPShape<T> readout(int64_t t) const {
    const LayerShape<T>& l = *s.layers[t];
    return {l.n_readout, l.readout_widths, w.layers[t].readout, l.readout_factors};
  }

  static int64_t hidden(const MLPShape<T>& net) {
    int64_t sum = 0;
    for (int64_t l = 1; l < net.n_layers; ++l) sum += net.widths[l];
    return sum;
  }

  // A map for all atoms, or for those of each element.
  LinearShape of_atoms(const LinearShape* map) const {
    LinearShape filled = *map;
    filled.counts = &n;
    filled.atoms = n;
    return filled;
  }

  LinearShape of_elements(const LinearShape* map) const {
    LinearShape filled = *map;
    filled.counts = graph.counts.data();
    filled.atoms = n;
    return filled;
  }

  void product_basis(int64_t t, const BOperands<T>& in, const BResults<T>& out) const {
    any_b_basis<T>(*s.layers[t]->b_basis, int64_t(counts.size()), counts.data(), C, in, out);
  }

  // The rows l = 0 of features with `rows` rows, one after the other.
  void invariants(const T* h, int64_t rows, T* scalars) const {
    for (int64_t i = 0; i < n; ++i) std::copy_n(h + i * rows * C, C, scalars + i * C);
  }

  void add_invariants(const T* scalars, int64_t rows, T* h) const {
    for (int64_t i = 0; i < n; ++i)
      for (int64_t c = 0; c < C; ++c) h[i * rows * C + c] += scalars[i * C + c];
  }

  // The features of the next layer, [n, rows_out, C], and the readout [n] of these.
  T* forward(int64_t t, T* h, T* energies) {
    const LayerShape<T>& l = *s.layers[t];
    const LayerWeights<const T*>& v = w.layers[t];
    Layer& k = layers[t];
    k.up_map = of_atoms(l.up);
    k.linear_map = of_atoms(l.linear);
    k.skip_map = of_elements(l.skip);
    k.product_map = of_atoms(l.product);
    const MLPShape<T> net = radial(t), last = readout(t);
    const int64_t n_pairs = graph.n_pairs;

    k.h = h;
    k.up = arena.get<T>(n * l.rows_in * C);
    linear_forward<T>(k.up_map, h, v.up, k.up);
    k.z = arena.get<T>(n_pairs * hidden(net));
    k.sigma = arena.get<T>(n_pairs * hidden(net));
    k.R = arena.get<T>(n_pairs * net.widths[net.n_layers]);
    mlp_forward<T>(net, n_pairs, x, k.z, k.sigma, k.R);
    k.m = arena.get<T>(n * l.a_basis->n_rows * C);
    a_basis<T>(*l.a_basis, edges, C, {k.up, Y, k.R}, {nullptr, nullptr, nullptr, k.m});
    k.A = arena.get<T>(n * l.rows_A * C);
    linear_forward<T>(k.linear_map, k.m, v.linear, k.A);
    k.mixed = k.A;
    k.out = arena.get<T>(n * l.rows_out * C);
    if (l.residual) {
      linear_forward<T>(k.skip_map, h, v.skip, k.out);
    } else {
      k.mixed = arena.get<T>(n * l.rows_A * C);
      linear_forward<T>(k.skip_map, k.A, v.skip, k.mixed);
    }
    k.W = arena.get<T>(int64_t(present.size()) * l.mixture->n_terms * C);
    mix<T>(*l.mixture, int64_t(present.size()), present.data(), C, v.mixture, k.W);
    k.B = arena.get<T>(n * l.rows_out * C);
    product_basis(t, {k.mixed, k.W}, {nullptr, nullptr, k.B});
    linear_forward<T>(k.product_map, k.B, v.product, k.out, l.residual);

    k.scalars = k.out;
    if (l.rows_out > 1) {
      k.scalars = arena.get<T>(n * C);
      invariants(k.out, l.rows_out, k.scalars);
    }
    k.readout_z = arena.get<T>(n * hidden(last));
    k.readout_sigma = arena.get<T>(n * hidden(last));
    mlp_forward<T>(last, n, k.scalars, k.readout_z, k.readout_sigma, energies);
    return k.out;
  }

  // Adds to the cotangents of Y and x, and gives that of h, null for the first layer's. From that of
  // the layer's features by the layers above, null for the last.
  T* forces_of(int64_t t, T* b_out, T* of_Y, T* of_x) {
    const LayerShape<T>& l = *s.layers[t];
    const LayerWeights<const T*>& v = w.layers[t];
    Layer& k = layers[t];
    const MLPShape<T> net = radial(t), last = readout(t);
    const int64_t n_pairs = graph.n_pairs;

    k.b_out = b_out ? b_out : arena.zeros<T>(n * l.rows_out * C);
    k.b_readout = arena.get<T>(n * hidden(last));
    T* const of_scalars = arena.get<T>(n * C);
    mlp_backward<T>(last, n, k.scalars, k.readout_z, k.readout_sigma, ones, nullptr, k.b_readout,
                    of_scalars, nullptr);
    add_invariants(of_scalars, l.rows_out, k.b_out);
    k.b_B = arena.get<T>(n * l.rows_out * C);
    linear_backward<T>(k.product_map, k.b_out, v.product, k.b_B);
    k.b_mixed = arena.get<T>(n * l.rows_A * C);
    product_basis(t, {k.mixed, k.W, k.b_B}, {k.b_mixed});
    k.b_A = k.b_mixed;
    if (!l.residual) {
      k.b_A = arena.get<T>(n * l.rows_A * C);
      linear_backward<T>(k.skip_map, k.b_mixed, v.skip, k.b_A);
    }
    k.b_m = arena.get<T>(n * l.a_basis->n_rows * C);
    linear_backward<T>(k.linear_map, k.b_A, v.linear, k.b_m);
    k.b_up = t ? arena.zeros<T>(n * l.rows_in * C) : nullptr;
    k.b_R = arena.get<T>(n_pairs * net.widths[net.n_layers]);
    a_basis<T>(*l.a_basis, edges, C, {k.up, Y, k.R, k.b_m}, {k.b_up, of_Y, k.b_R, nullptr, true});
    k.b_z = arena.get<T>(n_pairs * hidden(net));
    T* const own = arena.get<T>(n_pairs * s.n_bessel);
    mlp_backward<T>(net, n_pairs, x, k.z, k.sigma, k.b_R, nullptr, k.b_z, own, nullptr);
    for (int64_t i = 0; i < n_pairs * s.n_bessel; ++i) of_x[i] += own[i];
    if (!t) return nullptr;
    T* const b_h = arena.get<T>(n * l.rows_in * C);
    linear_backward<T>(k.up_map, k.b_up, v.up, b_h);
    if (l.residual) linear_backward<T>(k.skip_map, k.b_out, v.skip, b_h, true);
    return b_h;
  }

  // Tangents of all layers along the cotangents of forces and virials.
  void tangents(const T* of_forces, const T* of_virial, const Weights<T, T*>& of_w, Tangents& along,
                Arena& work) const {
    const int64_t n_edges = graph.in.n_edges, n_pairs = graph.n_pairs;
    T *const u = work.get<T>(3 * n_edges), *const u_pairs = work.get<T>(3 * n_pairs);
    graph.forces_backward(of_forces, of_virial, u, u_pairs);
    T* const dY = work.get<T>(n_edges * D);
    harmonics_backward<T>(int(s.max_ell), n_edges, graph.sorted_vectors, nullptr, nullptr, u, dY);
    T* const dx = work.get<T>(n_pairs * s.n_bessel);
    for (int64_t p = 0; p < n_pairs; ++p) {
      T change = 0;
      for (int a = 0; a < 3; ++a) change += u_pairs[3 * p + a] * directions[3 * p + a];
      for (int64_t k = p * s.n_bessel; k < (p + 1) * s.n_bessel; ++k) dx[k] = change * slopes[k];
    }
    T* dh = nullptr;
    for (int64_t t = 0; t < s.n_layers; ++t)
      dh = tangent(t, dh, dY, dx, of_w.layers[t], along[t], work);
  }

  // That of the layer's features; dh is null in the first layer, whose h does not depend on r.
  T* tangent(int64_t t, T* dh, const T* dY, const T* dx, const LayerWeights<T*>& of_w, Tangent& d,
             Arena& work) const {
    const LayerShape<T>& l = *s.layers[t];
    const LayerWeights<const T*>& v = w.layers[t];
    const Layer& k = layers[t];
    const MLPShape<T> net = radial(t), last = readout(t);
    const int64_t n_pairs = graph.n_pairs, width = net.widths[net.n_layers];

    d.h = dh;
    T* const up = work.zeros<T>(n * l.rows_in * C);
    if (dh) linear_forward<T>(k.up_map, dh, v.up, up);
    T* const dR = work.get<T>(n_pairs * width);
    d.of_z = work.get<T>(n_pairs * hidden(net));
    mlp_double_backward<T>(net, n_pairs, x, k.z, k.sigma, k.b_R, k.b_z, dx, nullptr, dR, nullptr,
                           d.of_z, of_w.radial[0] ? of_w.radial : nullptr, true);
    d.m = work.get<T>(n * l.a_basis->n_rows * C);
    d.of_up = work.zeros<T>(n * l.rows_in * C);
    d.of_R = work.get<T>(n_pairs * width);
    a_basis<T>(*l.a_basis, edges, C, {k.up, Y, k.R, k.b_m, up, dY, dR},
               {d.of_up, nullptr, d.of_R, d.m, true});
    d.A = work.get<T>(n * l.rows_A * C);
    linear_forward<T>(k.linear_map, d.m, v.linear, d.A);
    T* mixed = d.A;
    T* const out = work.get<T>(n * l.rows_out * C);
    const bool by_pass = l.residual && dh;
    if (by_pass) {
      linear_forward<T>(k.skip_map, dh, v.skip, out);
    } else if (!l.residual) {
      mixed = work.get<T>(n * l.rows_A * C);
      linear_forward<T>(k.skip_map, d.A, v.skip, mixed);
    }
    d.B = work.get<T>(n * l.rows_out * C);
    d.of_A = work.get<T>(n * l.rows_A * C);
    d.of_W = work.get<T>(int64_t(present.size()) * l.mixture->n_terms * C);
    product_basis(t, {k.mixed, k.W, k.b_B, mixed}, {d.of_A, d.of_W, d.B});
    linear_forward<T>(k.product_map, d.B, v.product, out, by_pass);

    T* scalars = out;
    if (l.rows_out > 1) {
      scalars = work.get<T>(n * C);
      invariants(out, l.rows_out, scalars);
    }
    d.readout = work.get<T>(n * hidden(last));
    mlp_double_backward<T>(last, n, k.scalars, k.readout_z, k.readout_sigma, ones, k.b_readout,
                           scalars, nullptr, work.get<T>(n), nullptr, d.readout,
                           of_w.readout[0] ? of_w.readout : nullptr, true);
    return out;
  }

  // The gradients of a layer's weights, and the cotangent of its h. From that of its features by the
  // layers above, null for the last, and those of the site energies.
  T* backward(int64_t t, T* g, const T* a, const Weights<T, T*>& all, const Tangents& along,
              Arena& work) const {
    const LayerShape<T>& l = *s.layers[t];
    const LayerWeights<const T*>& v = w.layers[t];
    const LayerWeights<T*>& of_w = all.layers[t];
    const Layer& k = layers[t];
    const Tangent& d = along[t];
    const MLPShape<T> net = radial(t), last = readout(t);
    const int64_t n_pairs = graph.n_pairs, width = net.widths[net.n_layers];
    const bool second = d.m;  // whether there are second-order terms

    T* const of_out = g ? g : work.zeros<T>(n * l.rows_out * C);
    T* const of_scalars = work.get<T>(n * C);
    mlp_backward<T>(last, n, k.scalars, k.readout_z, k.readout_sigma, a, d.readout,
                    work.get<T>(n * hidden(last)), of_scalars,
                    of_w.readout[0] ? of_w.readout : nullptr, second);
    add_invariants(of_scalars, l.rows_out, of_out);
    if (of_w.product)
      linear_weights<T>(k.product_map, k.B, of_out, of_w.product, d.B, second ? k.b_out : nullptr);
    T* const of_B = work.get<T>(n * l.rows_out * C);
    linear_backward<T>(k.product_map, of_out, v.product, of_B);
    T* const of_mixed = second ? d.of_A : work.get<T>(n * l.rows_A * C);
    T* const of_W = second ? d.of_W : work.get<T>(int64_t(present.size()) * l.mixture->n_terms * C);
    product_basis(t, {k.mixed, k.W, of_B}, {of_mixed, of_W, nullptr, second});
    mix_backward<T>(*l.mixture, int64_t(present.size()), present.data(), s.n_elements, C, of_W,
                    of_w.mixture);
    T* of_A = of_mixed;
    if (!l.residual) {
      if (of_w.skip)
        linear_weights<T>(k.skip_map, k.A, of_mixed, of_w.skip, d.A, second ? k.b_mixed : nullptr);
      of_A = work.get<T>(n * l.rows_A * C);
      linear_backward<T>(k.skip_map, of_mixed, v.skip, of_A);
    } else if (of_w.skip) {
      linear_weights<T>(k.skip_map, k.h, of_out, of_w.skip, d.h, d.h ? k.b_out : nullptr);
    }
    if (of_w.linear)
      linear_weights<T>(k.linear_map, k.m, of_A, of_w.linear, d.m, second ? k.b_A : nullptr);
    T* const of_m = work.get<T>(n * l.a_basis->n_rows * C);
    linear_backward<T>(k.linear_map, of_A, v.linear, of_m);
    T* const of_up = second ? d.of_up : work.zeros<T>(n * l.rows_in * C);
    T* const of_R = second ? d.of_R : work.get<T>(n_pairs * width);
    a_basis<T>(*l.a_basis, edges, C, {k.up, Y, k.R, of_m},
               {of_up, nullptr, of_R, nullptr, true, second});
    if (of_w.radial[0])
      mlp_backward<T>(net, n_pairs, x, k.z, k.sigma, of_R, d.of_z,
                      work.get<T>(n_pairs * hidden(net)), nullptr, of_w.radial, second);
    if (of_w.up) linear_weights<T>(k.up_map, k.h, of_up, of_w.up, d.h, d.h ? k.b_up : nullptr);
    T* const of_h = work.get<T>(n * l.rows_in * C);
    linear_backward<T>(k.up_map, of_up, v.up, of_h);
    if (l.residual) linear_backward<T>(k.skip_map, of_out, v.skip, of_h, true);
    return of_h;
  }

  Arena arena;
  const ModelShape<T>& s;
  const Neighbourhood<T> graph;
  const Weights<T, const T*> w;
  const Zero zero;
  const int64_t n, C, D;
  const EdgeList edges;
  std::vector<int64_t> present, counts;  // elements that there are, and how many atoms
  std::vector<Layer> layers;
  T *Y, *x, *slopes, *directions, *ones = nullptr;
};

}  // namespace maceloop::training
