// The C interface of the engine.
#include "engine.h"

using namespace maceloop;

namespace {

// 0, or 1 when memory ran out.
template <class T>
int evaluate(void* workspace, const Architecture* architecture, const Member<T>* members,
             int64_t n_members, const Frames* frames, const Results* results) {
  try {
    Evaluation<T> evaluation(*static_cast<Workspace*>(workspace), *architecture, *frames);
    for (int64_t m = 0; m < n_members; ++m)
      evaluation.run(members[m], results->node_energy + m * frames->n_atoms,
                     results->forces + m * 3 * frames->n_atoms,
                     results->virial + m * 9 * frames->n_frames);
  } catch (const std::bad_alloc&) {
    return 1;
  }
  return 0;
}

}  // namespace

MACELOOP_API void* maceloop_workspace_new() { return new (std::nothrow) Workspace; }

MACELOOP_API void maceloop_workspace_free(void* workspace) {
  delete static_cast<Workspace*>(workspace);
}

MACELOOP_API int maceloop_evaluate_float32(void* workspace, const Architecture* architecture,
                                           const Member<float>* members, int64_t n_members,
                                           const Frames* frames, const Results* results) {
  return evaluate<float>(workspace, architecture, members, n_members, frames, results);
}

MACELOOP_API int maceloop_evaluate_float64(void* workspace, const Architecture* architecture,
                                           const Member<double>* members, int64_t n_members,
                                           const Frames* frames, const Results* results) {
  return evaluate<double>(workspace, architecture, members, n_members, frames, results);
}
