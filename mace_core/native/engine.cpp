// The C interface of the engine.
#include "engine.h"

#include <system_error>

using namespace maceloop;

namespace {

// 0, or 1 when memory ran out or no thread could be started.
template <class T>
int guarded(void* memory, const Architecture* architecture, const Member<T>* members,
            int64_t n_members, const Frames* frames, const Results* results) {
  try {
    evaluate<T>(*static_cast<Memory*>(memory), *architecture, members, n_members, *frames,
                *results);
  } catch (const std::bad_alloc&) {
    return 1;
  } catch (const std::system_error&) {
    return 1;
  }
  return 0;
}

}  // namespace

MACELOOP_API void* maceloop_memory_new() { return new (std::nothrow) Memory; }

MACELOOP_API void maceloop_memory_free(void* memory) { delete static_cast<Memory*>(memory); }

MACELOOP_API int maceloop_evaluate_float32(void* memory, const Architecture* architecture,
                                           const Member<float>* members, int64_t n_members,
                                           const Frames* frames, const Results* results) {
  return guarded<float>(memory, architecture, members, n_members, frames, results);
}

MACELOOP_API int maceloop_evaluate_float64(void* memory, const Architecture* architecture,
                                           const Member<double>* members, int64_t n_members,
                                           const Frames* frames, const Results* results) {
  return guarded<double>(memory, architecture, members, n_members, frames, results);
}
