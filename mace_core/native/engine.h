// Energies, forces and virials of a committee: the order of the work, and where its arrays stand.
//
// Arrays are [atoms, rows, C], atoms sorted by element. Atoms go through a layer in chunks that fit the caches;
// of a layer only what its derivative needs is kept for all atoms. The last layer is differentiated
// chunk by chunk, right after its energy. Everything runs in a fixed order on one thread.
#pragma once

#include <algorithm>
#include <cmath>

#include "edges.h"
#include "gemm.h"
#include "product.h"
#include "repulsion.h"
#include "workspace.h"

namespace maceloop {

constexpr int64_t kChunk = 32;

template <class T>
class Evaluation {
 public:
  Evaluation(Workspace& memory, const Architecture& arch, const Frames& frames)
      : memory_(memory), arch_(arch), frames_(frames), C_(arch.channels), N_(frames.n_atoms) {
    build_edges();
    allocate();
  }

  void run(const Member<T>& member, double* node_energy, double* forces, double* virial) {
    member_ = &member;
    virial_ = virial;
    std::fill(virial, virial + 9 * frames_.n_frames, 0.0);
    std::fill(site_, site_ + N_, 0.0);
    std::fill(forces_, forces_ + 3 * N_, 0.0);
    if (member.repulsion) repel();
    const int64_t last = arch_.n_layers - 1;
    for (int64_t t = 0; t <= last; ++t) {
      if (t > 0) std::fill(gx_[t], gx_[t] + N_ * components(arch_.layers[t].lmax_in) * C_, T(0));
      for (int64_t a = 0; a < N_; a += kChunk) {
        const int64_t b = std::min(a + kChunk, N_);
        forward(t, a, b);
        if (t == last) {
          read_out(t, a, b, true);
          backward(t, a, b);
        } else {
          read_out(t, a, b, false);
        }
      }
    }
    for (int64_t t = last - 1; t >= 0; --t)
      for (int64_t a = 0; a < N_; a += kChunk) {
        const int64_t b = std::min(a + kChunk, N_);
        output_gradient(t, a, b);
        backward(t, a, b);
      }
    for (int64_t i = 0; i < N_; ++i) {
      const int64_t to = frames_.order[i];
      node_energy[to] = member.E0[frames_.species[i]] + member.scale * site_[i] + member.shift;
      for (int k = 0; k < 3; ++k) forces[3 * to + k] = forces_[3 * i + k];
    }
  }

 private:
  static constexpr int W = kLanes<T>;
  static constexpr int64_t kLayers = 8;

  static int64_t components(int64_t lmax) { return (lmax + 1) * (lmax + 1); }
  T per_distance() const { return T(1 / arch_.knot_distance); }

  // Pairs within the cutoff, with what all layers and members need of them.
  void build_edges() {
    const int64_t room = frames_.n_pairs + W;
    edges_.first = memory_.get<int64_t>(0, N_ + 1);
    edges_.sender = memory_.get<int32_t>(1, room);
    edges_.knot = memory_.get<int32_t>(2, room);
    for (int k = 0; k < 3; ++k) edges_.u[k] = memory_.get<T>(3 + k, room);
    edges_.r = memory_.get<T>(6, room);
    edges_.s = memory_.get<T>(7, room);
    double* x = memory_.get<double>(8, 3 * N_);
    for (int64_t i = 0; i < N_; ++i)
      for (int k = 0; k < 3; ++k) x[3 * i + k] = frames_.positions[3 * frames_.order[i] + k];
    const double limit = arch_.r_max * arch_.r_max;
    const int64_t Z = arch_.n_elements, K = arch_.n_knots;
    int64_t n = 0, widest = 0;
    for (int64_t i = 0; i < N_; ++i) {
      edges_.first[i] = n;
      const int32_t* tables = arch_.table_of_pair + frames_.species[i] * Z;
      for (int64_t q = frames_.first[i]; q < frames_.first[i + 1]; ++q) {
        const int64_t j = frames_.sender[q];
        double d[3], r2 = 0;
        for (int k = 0; k < 3; ++k) {
          d[k] = x[3 * j + k] - x[3 * i + k] + frames_.shift[3 * q + k];
          r2 += d[k] * d[k];
        }
        if (r2 >= limit) continue;
        const double r = std::sqrt(r2), place = (r - arch_.first_knot) / arch_.knot_distance;
        const int64_t knot = std::clamp<int64_t>(int64_t(place), 0, K - 2);
        for (int k = 0; k < 3; ++k) edges_.u[k][n] = T(d[k] / r);
        edges_.r[n] = T(r);
        edges_.s[n] = T(place - double(knot));
        edges_.knot[n] = int32_t(tables[frames_.species[j]] * K + knot);
        edges_.sender[n++] = int32_t(j);
      }
      widest = std::max(widest, n - edges_.first[i]);
    }
    edges_.first[N_] = n;
    for (int64_t e = n; e < n + W; ++e) {  // read with the last edges, never used
      edges_.u[0][e] = edges_.u[2][e] = T(0);
      edges_.u[1][e] = edges_.r[e] = T(1);
      edges_.s[e] = T(0);
    }
    groups_ = (widest + W - 1) / W;
  }

  void allocate() {
    int64_t rows = 0, entries = 0, outputs = 0;
    const int64_t D = components(arch_.max_ell);
    for (int64_t t = 0; t < arch_.n_layers; ++t) {
      const LayerTables& layer = arch_.layers[t];
      rows = std::max(rows, layer.n_rows);
      entries = std::max(entries, layer.n_entries);
      outputs = std::max(outputs, components(layer.lmax_out));
      const bool last = t == arch_.n_layers - 1;
      const int64_t n = last ? std::min(kChunk, N_) : N_, D_out = components(layer.lmax_out);
      A_[t] = memory_.get<T>(20 + int(t), n * D * C_);
      h_[t] = memory_.get<T>(28 + int(t), n * D_out * C_);
      gh_[t] = memory_.get<T>(52 + int(t), n * D_out * C_);
      if (t > 0) {
        const int64_t D_in = components(layer.lmax_in);
        x_[t] = memory_.get<T>(36 + int(t), N_ * D_in * C_);
        gx_[t] = memory_.get<T>(44 + int(t), N_ * D_in * C_);
      }
    }
    density_ = memory_.get<T>(60, arch_.n_layers * N_);
    const int64_t n = std::min(kChunk, N_);
    raw_ = memory_.get<T>(9, n * rows * C_);
    B_ = memory_.get<T>(10, n * outputs * C_);
    gA_ = memory_.get<T>(11, n * D * C_);
    receiver_.weights = memory_.get<T>(12, groups_ * 2 * kSplineWeights * W);
    for (int d = 0; d < 3; ++d)
      receiver_.coupled[d] = memory_.get<T>(13 + d, groups_ * entries * W);
    receiver_.knot_at = memory_.get<int64_t>(61, groups_ * W);
    receiver_.x_at = memory_.get<int64_t>(62, groups_ * W);
    receiver_.frame = memory_.get<T>(16, groups_ * 10 * W);
    receiver_.gradient = memory_.get<T>(17, groups_ * W * 3 * W);
    site_ = memory_.get<double>(18, N_);
    forces_ = memory_.get<double>(19, 3 * N_);
  }

  // Arrays of the last layer hold one chunk, the others all atoms.
  T* of_atom(T* const* arrays, int64_t t, int64_t atom, int64_t rows) const {
    return arrays[t] + (t == arch_.n_layers - 1 ? 0 : atom * rows * C_);
  }

  // Calls work(element, first, last) for each run of equal atoms.
  template <class Work>
  void by_element(int64_t a, int64_t b, Work work) const {
    while (a < b) {
      int64_t end = a + 1;
      while (end < b && frames_.species[end] == frames_.species[a]) ++end;
      work(int64_t(frames_.species[a]), a, end);
      a = end;
    }
  }

  Block<T> block_of(int64_t t, int64_t c) const {
    const LayerWeights<T>& w = member_->layers[t];
    const LayerTables& layer = arch_.layers[t];
    Block<T> block;
    block.x = (t == 0 ? w.senders : x_[t]) + c;
    block.x_row = C_;
    block.knot_step = layer.n_paths * kSplineValues * W;
    block.radial = w.radial + c / W * arch_.n_tables * arch_.n_knots * block.knot_step;
    return block;
  }

  // In the first layer the features depend on the sender's element only.
  template <bool kDerivatives>
  void prepare_receiver(int64_t t, int64_t i) {
    const LayerTables& layer = arch_.layers[t];
    prepare<T, kDerivatives>(receiver_, edges_, i, int(arch_.max_ell), norms_, layer,
                             per_distance());
    const int64_t x_step = components(layer.lmax_in) * C_;
    const int64_t knot_step = layer.n_paths * kSplineValues * W;
    for (int64_t k = 0, e = edges_.first[i]; k < receiver_.n; ++k, ++e) {
      receiver_.knot_at[k] = edges_.knot[e] * knot_step;
      receiver_.x_at[k] =
          t == 0 ? frames_.species[edges_.sender[e]] * C_ : edges_.sender[e] * x_step;
    }
  }

  void forward(int64_t t, int64_t a, int64_t b) {
    const LayerTables& layer = arch_.layers[t];
    const LayerWeights<T>& w = member_->layers[t];
    const int64_t D = components(arch_.max_ell), D_out = components(layer.lmax_out);
    const int64_t raw_step = layer.n_rows * C_;
    T* A = of_atom(A_, t, a, D);
    T* h = of_atom(h_, t, a, D_out);
    T* normal = density_ + t * N_;
    for (int64_t i = a; i < b; ++i) {
      prepare_receiver<false>(t, i);
      if (w.density) normal[i] = T(1) / (T(1) + density(w.density, i));
      for (int64_t c = 0; c < C_; c += W)
        edges_forward(receiver_, block_of(t, c), layer, raw_ + (i - a) * raw_step + c, C_);
    }
    linear_map(t, a, b, w.linear, {raw_, raw_step}, {A, D * C_}, false);
    if (w.density)
      for (int64_t i = a; i < b; ++i)
        for (int64_t k = 0; k < D * C_; ++k) A[(i - a) * D * C_ + k] *= normal[i];
    by_element(a, b, [&](int64_t z, int64_t first, int64_t end) {
      product<T>(layer, w.product + z * layer.n_terms * C_, end - first, int(D), int(D_out), C_,
                 A + (first - a) * D * C_, B_ + (first - a) * D_out * C_, nullptr, nullptr);
    });
    for (int64_t l = 0; l <= layer.lmax_out; ++l)
      map_l(l, b - a, B_, D_out, w.mix + l * C_ * C_, h, D_out, false);
    skip_forward(t, a, b, h);
    if (t + 1 < arch_.n_layers)
      for (int64_t l = 0; l <= layer.lmax_out; ++l)
        map_l(l, b - a, h, D_out, member_->layers[t + 1].up + l * C_ * C_,
              x_[t + 1] + a * D_out * C_, D_out, false);
  }

  // gh_ [chunk] holds the gradient of what the layer gives.
  void backward(int64_t t, int64_t a, int64_t b) {
    const LayerTables& layer = arch_.layers[t];
    const LayerWeights<T>& w = member_->layers[t];
    const int64_t D = components(arch_.max_ell), D_out = components(layer.lmax_out);
    const int64_t raw_step = layer.n_rows * C_;
    const T* A = of_atom(A_, t, a, D);
    const T* gh = of_atom(gh_, t, a, D_out);
    for (int64_t l = 0; l <= layer.lmax_out; ++l)
      map_l(l, b - a, gh, D_out, w.mix_t + l * C_ * C_, B_, D_out, false);
    by_element(a, b, [&](int64_t z, int64_t first, int64_t end) {
      product<T>(layer, w.product + z * layer.n_terms * C_, end - first, int(D), int(D_out), C_,
                 A + (first - a) * D * C_, nullptr, B_ + (first - a) * D_out * C_,
                 gA_ + (first - a) * D * C_);
    });
    T density_gradient[kChunk];
    if (w.density) {
      for (int64_t i = a; i < b; ++i) {
        // A = n A', n = 1 / (1 + ρ): ∂E/∂ρ = −n Σ A gA.
        const T n = density_[t * N_ + i];
        T* g = gA_ + (i - a) * D * C_;
        const T* of_atom = A + (i - a) * D * C_;
        Vec<T> total{};
        for (int64_t k = 0; k < D * C_; k += W) {
          total += load(of_atom + k) * load(g + k);
          store(g + k, load(g + k) * n);
        }
        density_gradient[i - a] = -n * sum<T>(total);
      }
    }
    linear_map(t, a, b, w.linear_t, {raw_, raw_step}, {gA_, D * C_}, true);
    skip_backward(t, a, b, gh);
    for (int64_t i = a; i < b; ++i) {
      prepare_receiver<true>(t, i);
      for (int64_t c = 0; c < C_; c += W)
        edges_backward(receiver_, block_of(t, c), layer, raw_ + (i - a) * raw_step + c, C_,
                       t > 0 ? gx_[t] + c : nullptr, c == 0);
      add_forces(i, w.density, w.density ? density_gradient[i - a] : T(0));
    }
  }

  struct Array {
    T* base;
    int64_t step;  // from atom to atom
  };

  // The linear map from the rows of the A-basis to A, or back (transposed).
  void linear_map(int64_t t, int64_t a, int64_t b, const T* matrices, Array raw, Array A, bool back) {
    const LayerTables& layer = arch_.layers[t];
    const int64_t step = member_->layers[t].linear_step;
    auto map = [&](int64_t z, int64_t first, int64_t end) {
      const T* matrix = matrices + z * step;
      for (int64_t l = 0; l <= arch_.max_ell; ++l) {
        const int64_t n = layer.paths_of_l[l] * C_, m = 2 * l + 1;
        T* r = raw.base + (first - a) * raw.step + layer.row_of_l[l] * C_;
        T* o = A.base + (first - a) * A.step + l * l * C_;
        if (n > 0 && back)
          gemm<T>({o, m, A.step, C_}, {r, m, raw.step, n}, (end - first) * m, C_, matrix, n, false);
        else if (n > 0)
          gemm<T>({r, m, raw.step, n}, {o, m, A.step, C_}, (end - first) * m, n, matrix, C_, false);
        else if (!back)
          for (int64_t i = first; i < end; ++i)
            std::fill(o + (i - first) * A.step, o + (i - first) * A.step + m * C_, T(0));
        matrix += n * C_;
      }
    };
    if (step)
      by_element(a, b, map);
    else
      map(0, a, b);
  }

  // Rows of one l of n atoms, times a matrix.
  void map_l(int64_t l, int64_t n, const T* x, int64_t x_rows, const T* matrix, T* y,
             int64_t y_rows, bool add) const {
    const int64_t m = 2 * l + 1;
    gemm<T>({x + l * l * C_, m, x_rows * C_, C_}, {y + l * l * C_, m, y_rows * C_, C_}, n * m, C_,
            matrix, C_, add);
  }

  void skip_forward(int64_t t, int64_t a, int64_t b, T* h) {
    const LayerWeights<T>& w = member_->layers[t];
    const int64_t D_out = components(arch_.layers[t].lmax_out);
    const int64_t D_in = components(arch_.layers[t].lmax_in);
    if (w.lmax_skip < 0) return;
    if (t == 0) {
      for (int64_t i = a; i < b; ++i)
        for (int64_t c = 0; c < C_; ++c)
          h[(i - a) * D_out * C_ + c] += w.skip[frames_.species[i] * C_ + c];
      return;
    }
    by_element(a, b, [&](int64_t z, int64_t first, int64_t end) {
      for (int64_t l = 0; l <= w.lmax_skip; ++l)
        map_l(l, end - first, h_[t - 1] + first * D_in * C_, D_in,
              w.skip + (z * (w.lmax_skip + 1) + l) * C_ * C_, h + (first - a) * D_out * C_, D_out,
              true);
    });
  }

  void skip_backward(int64_t t, int64_t a, int64_t b, const T* gh) {
    const LayerWeights<T>& w = member_->layers[t];
    const int64_t D_out = components(arch_.layers[t].lmax_out);
    const int64_t D_in = components(arch_.layers[t].lmax_in);
    if (w.lmax_skip < 0 || t == 0) return;
    by_element(a, b, [&](int64_t z, int64_t first, int64_t end) {
      for (int64_t l = 0; l <= w.lmax_skip; ++l)
        map_l(l, end - first, gh + (first - a) * D_out * C_, D_out,
              w.skip_t + (z * (w.lmax_skip + 1) + l) * C_ * C_, gh_[t - 1] + first * D_in * C_,
              D_in, false);
    });
  }

  // The gradient of what layer t gives, when layer t + 1 is done.
  void output_gradient(int64_t t, int64_t a, int64_t b) {
    const int64_t lmax = arch_.layers[t].lmax_out, D_out = components(lmax);
    const LayerWeights<T>& next = member_->layers[t + 1];
    T* gh = gh_[t] + a * D_out * C_;
    for (int64_t l = 0; l <= lmax; ++l)
      map_l(l, b - a, gx_[t + 1] + a * D_out * C_, D_out, next.up_t + l * C_ * C_, gh, D_out,
            l <= next.lmax_skip);
    const LayerWeights<T>& w = member_->layers[t];
    for (int64_t i = a; i < b; ++i) readout_gradient(w, h_[t] + i * D_out * C_, gh + (i - a) * D_out * C_);
  }

  // Site energies; with gradient also gh_, which nothing else adds to.
  void read_out(int64_t t, int64_t a, int64_t b, bool gradient) {
    const LayerWeights<T>& w = member_->layers[t];
    const int64_t D_out = components(arch_.layers[t].lmax_out);
    const T* h = of_atom(h_, t, a, D_out);
    T* gh = of_atom(gh_, t, a, D_out);
    if (gradient) std::fill(gh, gh + (b - a) * D_out * C_, T(0));
    for (int64_t i = a; i < b; ++i) {
      const T* of_i = h + (i - a) * D_out * C_;
      double energy = 0;
      if (w.readout) energy = dot(w.readout, of_i);
      for (int64_t k = 0; k < w.hidden; ++k) {
        const T x = dot(w.readout_1 + k * C_, of_i);
        energy += w.readout_2[k] * (x / (1 + std::exp(-x)));
      }
      site_[i] += energy;
      if (gradient) readout_gradient(w, of_i, gh + (i - a) * D_out * C_);
    }
  }

  void readout_gradient(const LayerWeights<T>& w, const T* h, T* gh) const {
    const T scale = T(member_->scale);
    if (w.readout) add_scaled(scale, w.readout, gh);
    for (int64_t k = 0; k < w.hidden; ++k) {
      const T x = dot(w.readout_1 + k * C_, h), y = 1 / (1 + std::exp(-x));
      add_scaled(scale * w.readout_2[k] * y * (1 + x * (1 - y)), w.readout_1 + k * C_, gh);
    }
  }

  T dot(const T* x, const T* y) const {
    Vec<T> total{};
    for (int64_t c = 0; c < C_; c += W) total += load(x + c) * load(y + c);
    return sum<T>(total);
  }

  void add_scaled(T factor, const T* x, T* y) const {
    for (int64_t c = 0; c < C_; c += W) store(y + c, load(y + c) + load(x + c) * factor);
  }

  // Value or slope of the density's spline at edge e of receiver i.
  T density_at(const T* table, int64_t i, int64_t e, int slope) const {
    const T* w = receiver_.weights + ((e / W) * 2 + slope) * kSplineWeights * W + e % W;
    const T* f = table + int64_t(edges_.knot[edges_.first[i] + e]) * kSplineValues;
    T total = 0;
    for (int k = 0; k < kSplineWeights; ++k) total += w[k * W] * f[k];
    return total;
  }

  T density(const T* table, int64_t i) const {
    T total = 0;
    for (int64_t e = 0; e < receiver_.n; ++e) total += density_at(table, i, e, 0);
    return total;
  }

  // Sums the receiver's edge gradients over channels; D = ∂E/∂r_ij acts on both atoms.
  void add_forces(int64_t i, const T* density_table, T density_gradient) {
    double* virial = virial_ + 9 * frames_.frame[i];
    double* own = forces_ + 3 * i;
    for (int64_t e = 0; e < receiver_.n; ++e) {
      const T* g = receiver_.gradient + e * 3 * W;
      const T* f = receiver_.frame + (e / W) * 10 * W + e % W;
      T radial = sum_lanes<T, W>(g);
      if (density_table) radial += density_gradient * density_at(density_table, i, e, 1);
      const T along1 = sum_lanes<T, W>(g + W) * f[9 * W];
      const T along2 = sum_lanes<T, W>(g + 2 * W) * f[9 * W];
      const double r = edges_.r[edges_.first[i] + e];
      double* other = forces_ + 3 * edges_.sender[edges_.first[i] + e];
      double D[3];
      for (int k = 0; k < 3; ++k) {
        D[k] = f[k * W] * radial + f[(3 + k) * W] * along1 + f[(6 + k) * W] * along2;
        own[k] += D[k];
        other[k] -= D[k];
      }
      for (int p = 0; p < 3; ++p)
        for (int q = 0; q < 3; ++q) virial[3 * p + q] += r * f[p * W] * D[q];
    }
  }

  void repel() {
    for (int64_t i = 0; i < N_; ++i) {
      const double* of_i = member_->repulsion + frames_.species[i] * arch_.n_elements * kRepulsion;
      double* virial = virial_ + 9 * frames_.frame[i];
      for (int64_t e = edges_.first[i]; e < edges_.first[i + 1]; ++e) {
        const int64_t j = edges_.sender[e];
        const double r = edges_.r[e];
        const Repulsion found = repulsion(of_i + frames_.species[j] * kRepulsion, r);
        site_[i] += found.energy;
        for (int k = 0; k < 3; ++k) {
          const double D = member_->scale * found.slope * edges_.u[k][e];
          forces_[3 * i + k] += D;
          forces_[3 * j + k] -= D;
          for (int p = 0; p < 3; ++p) virial[3 * p + k] += r * edges_.u[p][e] * D;
        }
      }
    }
  }

  Workspace& memory_;
  const Architecture& arch_;
  const Frames& frames_;
  const int64_t C_, N_;
  const HarmonicNorms norms_;
  const Member<T>* member_ = nullptr;
  Edges<T> edges_;
  Receiver<T> receiver_;
  int64_t groups_ = 0;
  T *A_[kLayers], *h_[kLayers], *gh_[kLayers], *x_[kLayers], *gx_[kLayers];
  T *raw_, *B_, *gA_, *density_;
  double *site_, *forces_, *virial_ = nullptr;
};

}  // namespace maceloop
