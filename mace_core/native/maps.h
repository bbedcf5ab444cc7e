// Linear maps of channels, one matrix for each l and where needed for each element.
//
// Arrays are [atoms, rows, C]; those of a range of atoms start with the first of them.
#pragma once

#include <algorithm>

#include "gemm.h"
#include "tables.h"

namespace maceloop {

// Calls work(element, first, end) for each run of equal atoms.
template <class Work>
void by_element(const int32_t* species, int64_t a, int64_t b, Work work) {
  while (a < b) {
    int64_t end = a + 1;
    while (end < b && species[end] == species[a]) ++end;
    work(int64_t(species[a]), a, end);
    a = end;
  }
}

// Rows of one l of n atoms, times a matrix.
template <class T>
void map_l(int64_t C, int64_t l, int64_t n, const T* x, int64_t x_rows, const T* matrix, T* y,
           int64_t y_rows, bool add) {
  const int64_t m = 2 * l + 1;
  gemm<T>({x + l * l * C, m, x_rows * C, C}, {y + l * l * C, m, y_rows * C, C}, n * m, C, matrix, C,
          add);
}

template <class T>
struct Array {
  T* base;
  int64_t step;  // from atom to atom
};

// The linear map of atoms a … b − 1 from the rows of the A-basis to A, or back (transposed).
template <class T>
void linear_map(const Architecture& arch, const LayerTables& layer, const int32_t* species,
                int64_t a, int64_t b, const T* matrices, int64_t matrices_step, Array<T> raw,
                Array<T> A, bool back) {
  const int64_t C = arch.channels;
  auto map = [&](int64_t z, int64_t first, int64_t end) {
    const T* matrix = matrices + z * matrices_step;
    for (int64_t l = 0; l <= arch.max_ell; ++l) {
      const int64_t n = layer.paths_of_l[l] * C, m = 2 * l + 1;
      T* r = raw.base + (first - a) * raw.step + layer.row_of_l[l] * C;
      T* o = A.base + (first - a) * A.step + l * l * C;
      if (n > 0 && back)
        gemm<T>({o, m, A.step, C}, {r, m, raw.step, n}, (end - first) * m, C, matrix, n, false);
      else if (n > 0)
        gemm<T>({r, m, raw.step, n}, {o, m, A.step, C}, (end - first) * m, n, matrix, C, false);
      else if (!back)
        for (int64_t i = first; i < end; ++i)
          std::fill(o + (i - first) * A.step, o + (i - first) * A.step + m * C, T(0));
      matrix += n * C;
    }
  };
  if (matrices_step)
    by_element(species, a, b, map);
  else
    map(0, a, b);
}

}  // namespace maceloop
