// Energies, forces and virials of a committee, on one thread or several.
#pragma once

#include <memory>
#include <vector>

#include "find_edges.h"
#include "worker.h"

namespace maceloop {

// Memory of a call, kept between calls: what threads share, and what each has for itself.
struct Memory {
  Workspace shared;
  std::vector<std::unique_ptr<Workspace>> of_thread;
};

// One number of threads gives the same bits every time.
template <class T>
void evaluate(Memory& memory, const Architecture& arch, const Member<T>* members,
              int64_t n_members, const Frames& frames, const Results& results) {
  Shared<T> shared(memory.shared, arch, frames);
  while (memory.of_thread.size() < std::size_t(shared.n_threads))
    memory.of_thread.push_back(std::make_unique<Workspace>());
  on_threads(shared.n_threads, [&](int thread, Barrier& barrier) {
    sort_positions(shared, thread);
    barrier.wait();
    find_edges(shared, thread);
    barrier.wait();
    Worker<T> worker(shared, *memory.of_thread[std::size_t(thread)], thread);
    for (int64_t m = 0; m < n_members; ++m)
      worker.run(members[m], barrier, results.node_energy + m * frames.n_atoms,
                 results.forces + m * 3 * frames.n_atoms,
                 results.virial + m * 9 * frames.n_frames);
  });
}

}  // namespace maceloop
