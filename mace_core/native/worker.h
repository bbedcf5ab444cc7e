// One thread's part of the work: the layers, forward and backward, for a range of receivers.
//
// Atoms go through a layer in chunks that fit the caches; of a layer only what its derivative needs is kept for
// all of them. The last layer is differentiated chunk by chunk, right after its energy.
#pragma once

#include "forces.h"
#include "maps.h"
#include "product.h"
#include "readout.h"

namespace maceloop {

constexpr int64_t kChunk = 32;

template <class T>
class Worker {
 public:
  // When all edges are found.
  Worker(Shared<T>& shared, Workspace& memory, int thread)
      : shared_(shared),
        arch_(shared.arch),
        species_(shared.frames.species),
        C_(shared.C),
        a_(shared.first_atom(thread)),
        b_(shared.first_atom(thread + 1)),
        thread_(thread),
        sums_(shared.sums[std::size_t(thread)]) {
    allocate(memory);
  }

  // Energies and forces of the thread's atoms, virials by the first thread. All threads have to call it.
  void run(const Member<T>& member, Barrier& barrier, double* node_energy, double* forces,
           double* virial) {
    member_ = &member;
    const int64_t last = arch_.n_layers - 1;
    std::fill(sums_.virial, sums_.virial + 9 * shared_.frames.n_frames, 0.0);
    std::fill(sums_.forces, sums_.forces + 3 * shared_.N, 0.0);
    std::fill(site_, site_ + (b_ - a_), 0.0);
    if (member.repulsion) repel(shared_, member, a_, b_, site_, sums_);
    for (int64_t t = 0; t <= last; ++t) {
      clear_feature_sums(t);
      by_chunk([&](int64_t a, int64_t b) {
        forward(t, a, b);
        read_out(t, a, b, t == last);
        if (t == last) backward(t, a, b);
      });
      barrier.wait();  // the features of the next layer, or the gradients of the last one's
    }
    for (int64_t t = last - 1; t >= 0; --t) {
      by_chunk([&](int64_t a, int64_t b) {
        output_gradient(t, a, b);
        backward(t, a, b);
      });
      barrier.wait();
    }
    for (int64_t i = a_; i < b_; ++i) {
      const int64_t to = shared_.frames.order[i];
      node_energy[to] = member.E0[species_[i]] + member.scale * site_[i - a_] + member.shift;
      for (int k = 0; k < 3; ++k)
        forces[3 * to + k] = total([&](const Sums<T>& s) { return s.forces[3 * i + k]; });
    }
    if (thread_ == 0)
      for (int64_t k = 0; k < 9 * shared_.frames.n_frames; ++k)
        virial[k] = total([&](const Sums<T>& s) { return s.virial[k]; });
    barrier.wait();  // the next member clears the sums
  }

 private:
  static constexpr int W = kLanes<T>;

  void allocate(Workspace& memory) {
    memory.rewind();
    int64_t rows = 0, entries = 0, outputs = 0, widest = 0;
    const int64_t D = components(arch_.max_ell);
    const int64_t chunk = std::min(kChunk, b_ - a_);
    for (int64_t t = 0; t < arch_.n_layers; ++t) {
      const LayerTables& layer = arch_.layers[t];
      rows = std::max(rows, layer.n_rows);
      entries = std::max(entries, layer.n_entries);
      outputs = std::max(outputs, components(layer.lmax_out));
      const bool last = t == arch_.n_layers - 1;
      const int64_t n = last ? chunk : b_ - a_, D_out = components(layer.lmax_out);
      A_[t] = memory.next<T>(n * D * C_);
      h_[t] = memory.next<T>(n * D_out * C_);
      gh_[t] = memory.next<T>(n * D_out * C_);
      if (t > 0) sums_.features[t] = memory.next<T>(shared_.N * components(layer.lmax_in) * C_);
    }
    density_ = memory.next<T>(arch_.n_layers * (b_ - a_));
    raw_ = memory.next<T>(chunk * rows * C_);
    B_ = memory.next<T>(chunk * outputs * C_);
    gA_ = memory.next<T>(chunk * D * C_);
    for (int64_t i = a_; i < b_; ++i)
      widest = std::max(widest, shared_.edges.end[i] - shared_.edges.first[i]);
    const int64_t groups = (widest + W - 1) / W;
    receiver_.weights = memory.next<T>(groups * 2 * kSplineWeights * W);
    for (int d = 0; d < 3; ++d) receiver_.coupled[d] = memory.next<T>(groups * entries * W);
    receiver_.knot_at = memory.next<int64_t>(groups * W);
    receiver_.x_at = memory.next<int64_t>(groups * W);
    receiver_.frame = memory.next<T>(groups * 10 * W);
    receiver_.gradient = memory.next<T>(groups * W * 3 * W);
    site_ = memory.next<double>(b_ - a_);
    sums_.forces = memory.next<double>(3 * shared_.N);
    sums_.virial = memory.next<double>(9 * shared_.frames.n_frames);
  }

  void clear_feature_sums(int64_t t) {
    if (t == 0) return;
    const int64_t n = shared_.N * components(arch_.layers[t].lmax_in) * C_;
    std::fill(sums_.features[t], sums_.features[t] + n, T(0));
  }

  template <class Work>
  void by_chunk(Work work) const {
    for (int64_t a = a_; a < b_; a += kChunk) work(a, std::min(a + kChunk, b_));
  }

  // What all threads have added up, in their order.
  template <class Of>
  double total(Of of) const {
    double sum = of(shared_.sums[0]);
    for (int k = 1; k < shared_.n_threads; ++k) sum += of(shared_.sums[std::size_t(k)]);
    return sum;
  }

  // Arrays of the last layer hold one chunk, the others all atoms of the thread.
  T* of_atom(T* const* arrays, int64_t t, int64_t atom, int64_t rows) const {
    return arrays[t] + (t == arch_.n_layers - 1 ? 0 : (atom - a_) * rows * C_);
  }

  Block<T> block_of(int64_t t, int64_t c) const {
    const LayerWeights<T>& w = member_->layers[t];
    const LayerTables& layer = arch_.layers[t];
    Block<T> block;
    block.x = (t == 0 ? w.senders : shared_.x[t]) + c;
    block.x_row = C_;
    block.knot_step = layer.n_paths * kSplineValues * W;
    block.radial = w.radial + c / W * arch_.n_tables * arch_.n_knots * block.knot_step;
    return block;
  }

  // In the first layer the features depend on the sender's element only.
  template <bool kDerivatives>
  void prepare_receiver(int64_t t, int64_t i) {
    const LayerTables& layer = arch_.layers[t];
    const Edges<T>& edges = shared_.edges;
    prepare<T, kDerivatives>(receiver_, edges, i, int(arch_.max_ell), shared_.norms, layer,
                             T(1 / arch_.knot_distance));
    const int64_t x_step = components(layer.lmax_in) * C_;
    const int64_t knot_step = layer.n_paths * kSplineValues * W;
    for (int64_t k = 0, e = edges.first[i]; k < receiver_.n; ++k, ++e) {
      receiver_.knot_at[k] = edges.knot[e] * knot_step;
      receiver_.x_at[k] = t == 0 ? species_[edges.sender[e]] * C_ : edges.sender[e] * x_step;
    }
  }

  const int32_t* knots_of(int64_t i) const { return shared_.edges.knot + shared_.edges.first[i]; }

  void forward(int64_t t, int64_t a, int64_t b) {
    const LayerTables& layer = arch_.layers[t];
    const LayerWeights<T>& w = member_->layers[t];
    const int64_t D = components(arch_.max_ell), D_out = components(layer.lmax_out);
    const int64_t raw_step = layer.n_rows * C_;
    T* A = of_atom(A_, t, a, D);
    T* h = of_atom(h_, t, a, D_out);
    T* normal = density_ + t * (b_ - a_) - a_;
    for (int64_t i = a; i < b; ++i) {
      prepare_receiver<false>(t, i);
      if (w.density) normal[i] = T(1) / (T(1) + density(receiver_, knots_of(i), w.density));
      for (int64_t c = 0; c < C_; c += W)
        edges_forward(receiver_, block_of(t, c), layer, raw_ + (i - a) * raw_step + c, C_);
    }
    linear_map<T>(arch_, layer, species_, a, b, w.linear, w.linear_step, {raw_, raw_step},
                  {A, D * C_}, false);
    if (w.density)
      for (int64_t i = a; i < b; ++i)
        for (int64_t k = 0; k < D * C_; ++k) A[(i - a) * D * C_ + k] *= normal[i];
    by_element(species_, a, b, [&](int64_t z, int64_t first, int64_t end) {
      product<T>(layer, w.product + z * layer.n_terms * C_, end - first, int(D), int(D_out), C_,
                 A + (first - a) * D * C_, B_ + (first - a) * D_out * C_, nullptr, nullptr);
    });
    for (int64_t l = 0; l <= layer.lmax_out; ++l)
      map_l(C_, l, b - a, B_, D_out, w.mix + l * C_ * C_, h, D_out, false);
    skip_forward(t, a, b, h);
    if (t + 1 < arch_.n_layers)
      for (int64_t l = 0; l <= layer.lmax_out; ++l)
        map_l(C_, l, b - a, h, D_out, member_->layers[t + 1].up + l * C_ * C_,
              shared_.x[t + 1] + a * D_out * C_, D_out, false);
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
      map_l(C_, l, b - a, gh, D_out, w.mix_t + l * C_ * C_, B_, D_out, false);
    by_element(species_, a, b, [&](int64_t z, int64_t first, int64_t end) {
      product<T>(layer, w.product + z * layer.n_terms * C_, end - first, int(D), int(D_out), C_,
                 A + (first - a) * D * C_, nullptr, B_ + (first - a) * D_out * C_,
                 gA_ + (first - a) * D * C_);
    });
    T density_gradient[kChunk];
    if (w.density) {
      const T* normal = density_ + t * (b_ - a_) - a_;
      for (int64_t i = a; i < b; ++i) {
        // A = n A', n = 1 / (1 + ρ): ∂E/∂ρ = −n Σ A gA.
        const T n = normal[i];
        T* g = gA_ + (i - a) * D * C_;
        const T* A_of_i = A + (i - a) * D * C_;
        Vec<T> total{};
        for (int64_t k = 0; k < D * C_; k += W) {
          total += load(A_of_i + k) * load(g + k);
          store(g + k, load(g + k) * n);
        }
        density_gradient[i - a] = -n * sum<T>(total);
      }
    }
    linear_map<T>(arch_, layer, species_, a, b, w.linear_t, w.linear_step, {raw_, raw_step},
                  {gA_, D * C_}, true);
    skip_backward(t, a, b, gh);
    for (int64_t i = a; i < b; ++i) {
      prepare_receiver<true>(t, i);
      for (int64_t c = 0; c < C_; c += W)
        edges_backward(receiver_, block_of(t, c), layer, raw_ + (i - a) * raw_step + c, C_,
                       t > 0 ? sums_.features[t] + c : nullptr, c == 0);
      add_forces(shared_, receiver_, i, w.density, w.density ? density_gradient[i - a] : T(0),
                 sums_);
    }
  }

  void skip_forward(int64_t t, int64_t a, int64_t b, T* h) {
    const LayerWeights<T>& w = member_->layers[t];
    const int64_t D_out = components(arch_.layers[t].lmax_out);
    const int64_t D_in = components(arch_.layers[t].lmax_in);
    if (w.lmax_skip < 0) return;
    if (t == 0) {
      for (int64_t i = a; i < b; ++i)
        for (int64_t c = 0; c < C_; ++c) h[(i - a) * D_out * C_ + c] += w.skip[species_[i] * C_ + c];
      return;
    }
    by_element(species_, a, b, [&](int64_t z, int64_t first, int64_t end) {
      for (int64_t l = 0; l <= w.lmax_skip; ++l)
        map_l(C_, l, end - first, of_atom(h_, t - 1, first, D_in), D_in,
              w.skip + (z * (w.lmax_skip + 1) + l) * C_ * C_, h + (first - a) * D_out * C_, D_out,
              true);
    });
  }

  void skip_backward(int64_t t, int64_t a, int64_t b, const T* gh) {
    const LayerWeights<T>& w = member_->layers[t];
    const int64_t D_out = components(arch_.layers[t].lmax_out);
    const int64_t D_in = components(arch_.layers[t].lmax_in);
    if (w.lmax_skip < 0 || t == 0) return;
    by_element(species_, a, b, [&](int64_t z, int64_t first, int64_t end) {
      for (int64_t l = 0; l <= w.lmax_skip; ++l)
        map_l(C_, l, end - first, gh + (first - a) * D_out * C_, D_out,
              w.skip_t + (z * (w.lmax_skip + 1) + l) * C_ * C_, of_atom(gh_, t - 1, first, D_in),
              D_in, false);
    });
  }

  // The gradient of what layer t gives, when layer t + 1 is done by all threads.
  void output_gradient(int64_t t, int64_t a, int64_t b) {
    const int64_t lmax = arch_.layers[t].lmax_out, D_out = components(lmax);
    const LayerWeights<T>& next = member_->layers[t + 1];
    const LayerWeights<T>& w = member_->layers[t];
    add_feature_sums(t + 1, a * D_out * C_, b * D_out * C_);
    T* gh = of_atom(gh_, t, a, D_out);
    for (int64_t l = 0; l <= lmax; ++l)
      map_l(C_, l, b - a, sums_.features[t + 1] + a * D_out * C_, D_out, next.up_t + l * C_ * C_,
            gh, D_out, l <= next.lmax_skip);
    for (int64_t i = a; i < b; ++i)
      readout_gradient(w, C_, T(member_->scale), of_atom(h_, t, i, D_out),
                       gh + (i - a) * D_out * C_);
  }

  // Adds to the thread's own sums what the others have found about its atoms: numbers begin … end − 1.
  void add_feature_sums(int64_t t, int64_t begin, int64_t end) {
    T* to = sums_.features[t];
    for (int k = 0; k < shared_.n_threads; ++k) {
      if (k == thread_) continue;
      const T* from = shared_.sums[std::size_t(k)].features[t];
      for (int64_t i = begin; i < end; i += W) store(to + i, load(to + i) + load(from + i));
    }
  }

  // Site energies; with gradient also gh_, which nothing else adds to.
  void read_out(int64_t t, int64_t a, int64_t b, bool gradient) {
    const LayerWeights<T>& w = member_->layers[t];
    const int64_t D_out = components(arch_.layers[t].lmax_out);
    const T* h = of_atom(h_, t, a, D_out);
    T* gh = of_atom(gh_, t, a, D_out);
    if (gradient) std::fill(gh, gh + (b - a) * D_out * C_, T(0));
    for (int64_t i = a; i < b; ++i) {
      const int64_t at = (i - a) * D_out * C_;
      site_[i - a_] += site_energy(w, C_, h + at);
      if (gradient) readout_gradient(w, C_, T(member_->scale), h + at, gh + at);
    }
  }

  Shared<T>& shared_;
  const Architecture& arch_;
  const int32_t* const species_;
  const int64_t C_, a_, b_;  // atoms a … b − 1
  const int thread_;
  Sums<T>& sums_;
  const Member<T>* member_ = nullptr;
  Receiver<T> receiver_;
  T *A_[kMaxLayers], *h_[kMaxLayers], *gh_[kMaxLayers];
  T *raw_, *B_, *gA_, *density_;
  double* site_;
};

}  // namespace maceloop
