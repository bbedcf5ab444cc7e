// What the loader asks before it chooses a variant.
#include "simd.h"

// 2, 3 or 4: the x86-64 level of this processor that has a variant; 0 elsewhere.
MACELOOP_API int maceloop_cpu_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  return v4 ? 4 : v3 ? 3 : 2;
#else
  return 0;
#endif
}

// Bytes of a vector: channels are padded to a multiple of it, arrays are aligned to it.
MACELOOP_API int maceloop_vector_bytes() { return maceloop::kVectorBytes; }

// The hash of tables.h when this was compiled, from setup.py; empty when compiled by hand.
#ifndef MACELOOP_INTERFACE
#define MACELOOP_INTERFACE ""
#endif
MACELOOP_API const char* maceloop_interface() { return MACELOOP_INTERFACE; }
