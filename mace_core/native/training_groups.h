// A training step on several threads.
//
// Frames do not depend on each other: each thread takes some that follow each other through a pass
// of its own. Gradients of weights are the sum of the groups', in their order, so one number of
// threads always gives the same bits, whichever thread is faster; with one there is one pass.
#pragma once

#include <memory>
#include <vector>

#include "threads.h"
#include "training_model.h"

namespace maceloop::training {

// Numbers of a first frame, of its first atom and of its first edge.
struct Start {
  int64_t frame = 0, atom = 0, edge = 0;
};

// Where each frame starts, and what would be the next one. Empty if atoms or edges are not in the
// order of their frames, or an edge joins two.
template <class T>
std::vector<Start> starts_of_frames(const Frames<T>& in) {
  std::vector<Start> starts(in.n_frames + 1);
  for (int64_t i = 0; i < in.n_atoms; ++i) {
    if (i && in.frame[i] < in.frame[i - 1]) return {};
    ++starts[in.frame[i] + 1].atom;
  }
  int64_t last = 0;
  for (int64_t e = 0; e < in.n_edges; ++e) {
    const int64_t f = in.frame[in.receivers[e]];
    if (f < last || in.frame[in.senders[e]] != f) return {};
    if (in.reverse && in.frame[in.receivers[in.reverse[e]]] != f) return {};
    ++starts[f + 1].edge;
    last = f;
  }
  for (int64_t f = 0; f < in.n_frames; ++f)
    starts[f + 1] = {f + 1, starts[f].atom + starts[f + 1].atom,
                     starts[f].edge + starts[f + 1].edge};
  return starts;
}

// Where at most `n` groups start, and where the last one ends. The dearest of them is as cheap as
// frames in this order allow.
inline std::vector<Start> balanced(const std::vector<Start>& frames, int64_t n) {
  constexpr int64_t kEdgesOfAtom = 10;  // that take as long as what is done once an atom
  const std::size_t n_frames = frames.size() - 1;
  const auto cost = [&](std::size_t from, std::size_t to) {
    return frames[to].edge - frames[from].edge +
           kEdgesOfAtom * (frames[to].atom - frames[from].atom);
  };
  const auto groups_up_to = [&](int64_t most) {
    std::vector<Start> groups{frames[0]};
    for (std::size_t f = 1, first = 0; f < n_frames; ++f)
      if (cost(first, f + 1) > most) groups.push_back(frames[first = f]);
    groups.push_back(frames.back());
    return groups;
  };
  int64_t low = 0, high = cost(0, n_frames);
  for (std::size_t f = 0; f < n_frames; ++f) low = std::max(low, cost(f, f + 1));
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (int64_t(groups_up_to(middle).size()) <= n + 1)
      high = middle;
    else
      low = middle + 1;
  }
  return groups_up_to(low);
}

// What a model says of frames, or its cotangents: E is double, F is T, or both are const. Any may
// be null.
template <class E, class F>
struct Outputs {
  E* energy;       // [n_frames] eV
  E* node_energy;  // [n_atoms] eV
  F* forces;       // [n_atoms, 3] eV/Å
  F* virial;       // [n_frames, 3, 3] eV

  Outputs from(const Start& start) const {
    const auto further = [](auto* p, int64_t n) { return p ? p + n : nullptr; };
    return {further(energy, start.frame), further(node_energy, start.atom),
            further(forces, 3 * start.atom), further(virial, 9 * start.frame)};
  }
};

// Frames that follow each other in a batch, numbered from zero.
template <class T>
class Group {
 public:
  Group(const ModelShape<T>& shape, const Frames<T>& all, const T* const* weights, const Zero& zero,
        const Start& start, const Start& end)
      : pass_(shape, part(all, start, end), weights, zero) {}

  void forward(const Outputs<double, T>& out) {
    pass_.energies(out.energy, out.node_energy);
    if (out.forces || out.virial) pass_.gradient(out.forces, out.virial);
  }

  void backward(const Outputs<const double, const T>& of, T* const* of_weights) const {
    pass_.backward(of.energy, of.node_energy, of.forces, of.virial, of_weights);
  }

 private:
  Frames<T> part(const Frames<T>& all, const Start& start, const Start& end) {
    Frames<T> in = all;
    in.n_atoms = end.atom - start.atom;
    in.n_edges = end.edge - start.edge;
    in.n_frames = end.frame - start.frame;
    in.positions += 3 * start.atom;
    in.species += start.atom;
    in.receivers = renumbered(in.receivers + start.edge, in.n_edges, start.atom);
    in.senders = renumbered(in.senders + start.edge, in.n_edges, start.atom);
    in.shifts += 3 * start.edge;
    in.cells += 9 * start.frame;
    in.frame = renumbered(in.frame + start.atom, in.n_atoms, start.frame);
    if (in.reverse) in.reverse = renumbered(in.reverse + start.edge, in.n_edges, start.edge);
    return in;
  }

  const int64_t* renumbered(const int64_t* numbers, int64_t n, int64_t first) {
    if (!first) return numbers;
    int64_t* const found = numbers_.get<int64_t>(n);
    for (int64_t i = 0; i < n; ++i) found[i] = numbers[i] - first;
    return found;
  }

  Arena numbers_;
  Pass<T> pass_;
};

template <class T>
class Groups {
 public:
  // On as many threads, or fewer if there are fewer frames.
  Groups(const ModelShape<T>& shape, const Frames<T>& frames, int64_t threads)
      : shape_(shape), starts_{{}, {frames.n_frames, frames.n_atoms, frames.n_edges}} {
    if (threads > 1 && frames.n_frames > 1) {
      const std::vector<Start> of_frames = starts_of_frames(frames);
      if (!of_frames.empty()) starts_ = balanced(of_frames, threads);
    }
    groups_.resize(starts_.size() - 1);
  }

  void forward(const Frames<T>& frames, const T* const* weights, const Zero& zero,
               const Outputs<double, T>& out) {
    on_threads(int(groups_.size()), [&](int k, Barrier&) {
      groups_[k] = std::make_unique<Group<T>>(shape_, frames, weights, zero, starts_[k],
                                              starts_[k + 1]);
      groups_[k]->forward(out.from(starts_[k]));
    });
  }

  // After forward(). Gradients are written where they are not null.
  void backward(const Outputs<const double, const T>& of, T* const* of_weights) const {
    const int n = int(groups_.size());
    const std::vector<int64_t> sizes = weight_sizes(shape_);
    std::vector<Arena> memory(n);
    std::vector<std::vector<T*>> found(n);
    found[0].assign(of_weights, of_weights + sizes.size());
    on_threads(n, [&](int k, Barrier& barrier) {
      for (std::size_t w = 0; k && w < sizes.size(); ++w)
        found[k].push_back(of_weights[w] ? memory[k].template get<T>(sizes[w]) : nullptr);
      groups_[k]->backward(of.from(starts_[k]), found[k].data());
      barrier.wait();
      for (std::size_t w = 0; w < sizes.size(); ++w) {
        if (!of_weights[w]) continue;
        const int64_t from = share(sizes[w], k, n), to = share(sizes[w], k + 1, n);
        for (int other = 1; other < n; ++other)
          for (int64_t i = from; i < to; ++i) of_weights[w][i] += found[other][w][i];
      }
    });
  }

 private:
  const ModelShape<T>& shape_;
  std::vector<Start> starts_;  // of groups, and the end of the last
  std::vector<std::unique_ptr<Group<T>>> groups_;
};

}  // namespace maceloop::training
