// Equivariant linear maps: a matrix for each l, applied to each of its 2 l + 1 rows alike; with
// groups of atoms (elements) that have matrices of their own, or one group.
//
//   y[i, (l m), :] = Σ_path x[i, (l m path), :] W[group, l][path, :, :]
//
// trilinear in x, W and the cotangent g of y; the three functions are its partial derivatives.
#pragma once

#include "training_gemm.h"

namespace maceloop::training {

struct LinearShape {
  int64_t n_groups, n_l, channels_in, channels_out;
  int64_t rows_in, rows_out;  // of an atom; rows of y beyond those of the l are zero
  const int64_t* counts;      // [n_groups] atoms
  const int64_t* paths;       // [n_l]
  const int64_t* place;       // [n_groups, n_l] where a matrix begins in W
};

// Calls f(atom, atoms, place of W, inner dimension, first row of x, first row of y, 2 l + 1).
template <class F>
void over_matrices(const LinearShape& s, F&& f) {
  int64_t atom = 0;
  for (int64_t group = 0; group < s.n_groups; atom += s.counts[group++]) {
    if (!s.counts[group]) continue;
    int64_t row_in = 0;
    for (int64_t l = 0; l < s.n_l; ++l) {
      if (s.paths[l])
        f(atom, s.counts[group], s.place[group * s.n_l + l], s.paths[l] * s.channels_in, row_in,
          l * l, 2 * l + 1);
      row_in += s.paths[l] * (2 * l + 1);
    }
  }
}

// Sets y, but for rows without a path.
template <class T>
void linear_forward(const LinearShape& s, const T* x, const T* W, T* y) {
  over_matrices(s, [&](int64_t atom, int64_t n, int64_t place, int64_t K, int64_t row_in,
                       int64_t row_out, int64_t ms) {
    Packed<T> packed(K, s.channels_out);
    packed.fill(W + place, s.channels_out, 1);
    const int64_t ldx = s.rows_in * s.channels_in, ldy = s.rows_out * s.channels_out;
    for (int64_t m = 0; m < ms; ++m)
      multiply<T>(n, x + atom * ldx + row_in * s.channels_in + m * K, ldx, packed,
                  y + atom * ldy + (row_out + m) * s.channels_out, ldy);
  });
}

// Sets the gradient with respect to x.
template <class T>
void linear_backward(const LinearShape& s, const T* g, const T* W, T* of_x) {
  over_matrices(s, [&](int64_t atom, int64_t n, int64_t place, int64_t K, int64_t row_in,
                       int64_t row_out, int64_t ms) {
    Packed<T> packed(s.channels_out, K);
    packed.fill(W + place, 1, s.channels_out);
    const int64_t ldx = s.rows_in * s.channels_in, ldy = s.rows_out * s.channels_out;
    for (int64_t m = 0; m < ms; ++m)
      multiply<T>(n, g + atom * ldy + (row_out + m) * s.channels_out, ldy, packed,
                  of_x + atom * ldx + row_in * s.channels_in + m * K, ldx);
  });
}

// Adds the gradient with respect to W.
template <class T>
void linear_weights(const LinearShape& s, const T* x, const T* g, T* of_W) {
  over_matrices(s, [&](int64_t atom, int64_t n, int64_t place, int64_t K, int64_t row_in,
                       int64_t row_out, int64_t ms) {
    const int64_t ldx = s.rows_in * s.channels_in, ldy = s.rows_out * s.channels_out;
    for (int64_t m = 0; m < ms; ++m)
      multiply_transposed<T>(n, K, s.channels_out,
                             x + atom * ldx + row_in * s.channels_in + m * K, ldx,
                             g + atom * ldy + (row_out + m) * s.channels_out, ldy, of_W + place,
                             s.channels_out);
  });
}

}  // namespace maceloop::training
