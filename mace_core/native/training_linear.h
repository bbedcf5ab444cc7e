// Equivariant linear maps: a matrix for each l, applied to each of its 2 l + 1 rows alike; with
// groups of atoms (elements) that have matrices of their own, or one group.
//
//   y[i, (l m), :] = f_l Σ_path x[i, (l m path), :] W[group, l][path, :, :]
//
// trilinear in x, W and the cotangent g of y; the three functions are its partial derivatives.
#pragma once

#include "training_gemm.h"

namespace maceloop::training {

struct LinearShape {
  int64_t n_groups, n_l, channels_in, channels_out;
  int64_t rows_in, rows_out;      // of an atom
  int64_t sparse_in, sparse_out;  // whether x has rows that are not read, and y rows that are zero
  int64_t atoms, size;            // in all groups; of W
  const int64_t* counts;      // [n_groups] atoms
  const int64_t* paths;       // [n_l]
  const int64_t* place;       // [n_groups, n_l] where a matrix begins in W
  const double* factors;      // [n_l] that multiply the matrices
};

// Calls f(atom, atoms, place of W, its factor, inner dimension, first row of x, of y, 2 l + 1).
template <class F>
void over_matrices(const LinearShape& s, F&& f) {
  int64_t atom = 0;
  for (int64_t group = 0; group < s.n_groups; atom += s.counts[group++]) {
    if (!s.counts[group]) continue;
    int64_t row_in = 0;
    for (int64_t l = 0; l < s.n_l; ++l) {
      if (s.paths[l])
        f(atom, s.counts[group], s.place[group * s.n_l + l], s.factors[l],
          s.paths[l] * s.channels_in, row_in, l * l, 2 * l + 1);
      row_in += s.paths[l] * (2 * l + 1);
    }
  }
}

// With `add`, results are added to what is there.
template <class T>
void linear_forward(const LinearShape& s, const T* x, const T* W, T* y, bool add = false) {
  if (s.sparse_out && !add) std::fill_n(y, s.atoms * s.rows_out * s.channels_out, T(0));
  over_matrices(s, [&](int64_t atom, int64_t n, int64_t place, double factor, int64_t K,
                       int64_t row_in, int64_t row_out, int64_t ms) {
    Packed<T> packed(K, s.channels_out);
    packed.fill(W + place, s.channels_out, 1, T(factor));
    const int64_t ldx = s.rows_in * s.channels_in, ldy = s.rows_out * s.channels_out;
    for (int64_t m = 0; m < ms; ++m)
      multiply<T>(n, x + atom * ldx + row_in * s.channels_in + m * K, ldx, packed,
                  y + atom * ldy + (row_out + m) * s.channels_out, ldy, add);
  });
}

// The gradient with respect to x.
template <class T>
void linear_backward(const LinearShape& s, const T* g, const T* W, T* of_x, bool add = false) {
  if (s.sparse_in && !add) std::fill_n(of_x, s.atoms * s.rows_in * s.channels_in, T(0));
  over_matrices(s, [&](int64_t atom, int64_t n, int64_t place, double factor, int64_t K,
                       int64_t row_in, int64_t row_out, int64_t ms) {
    Packed<T> packed(s.channels_out, K);
    packed.fill(W + place, 1, s.channels_out, T(factor));
    const int64_t ldx = s.rows_in * s.channels_in, ldy = s.rows_out * s.channels_out;
    for (int64_t m = 0; m < ms; ++m)
      multiply<T>(n, g + atom * ldy + (row_out + m) * s.channels_out, ldy, packed,
                  of_x + atom * ldx + row_in * s.channels_in + m * K, ldx, add);
  });
}

// The gradient with respect to W; of two such maps with the same W, if more_g is not null.
template <class T>
void linear_weights(const LinearShape& s, const T* x, const T* g, T* of_W,
                    const T* more_x = nullptr, const T* more_g = nullptr) {
  std::fill_n(of_W, s.size, T(0));
  over_matrices(s, [&](int64_t atom, int64_t n, int64_t place, double factor, int64_t K,
                       int64_t row_in, int64_t row_out, int64_t ms) {
    const int64_t ldx = s.rows_in * s.channels_in, ldy = s.rows_out * s.channels_out;
    const int64_t from = atom * ldx + row_in * s.channels_in;
    const int64_t to = atom * ldy + row_out * s.channels_out;
    for (int64_t m = 0; m < ms; ++m) {
      const int64_t row_x = from + m * K, row_g = to + m * s.channels_out;
      multiply_transposed<T>(n, K, s.channels_out, x + row_x, ldx, g + row_g, ldy, of_W + place,
                             s.channels_out);
      if (more_g)
        multiply_transposed<T>(n, K, s.channels_out, more_x + row_x, ldx, more_g + row_g, ldy,
                               of_W + place, s.channels_out);
    }
    for (int64_t i = 0; i < K * s.channels_out; ++i) of_W[place + i] *= T(factor);
  });
}

}  // namespace maceloop::training
