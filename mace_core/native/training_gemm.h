// Matrix products of the sizes that occur here: inner dimensions of some tens to hundreds, one
// factor small enough to be packed. All matrices are row-major with a leading dimension.
#pragma once

#include "training_lanes.h"

namespace maceloop::training {

// A matrix [K, N] as panels of a few vectors' columns, each panel contiguous: [panel][k][columns],
// padded with zeros.
template <class T>
class Packed {
 public:
  static constexpr int W = Wide<T>::width;
  static constexpr int vectors = kRegisters >= 32 ? 4 : 2;
  static constexpr int columns = vectors * W;

  Packed(int64_t rows, int64_t cols)
      : K(rows), N(cols), data_((cols + columns - 1) / columns * columns * rows) {}

  // scale · B, with B[k, n] at k * row_stride + n * column_stride.
  void fill(const T* B, int64_t row_stride, int64_t column_stride, T scale = 1) {
    for (int64_t n0 = 0; n0 < N; n0 += columns) {
      const int64_t width = std::min<int64_t>(columns, N - n0);
      T* out = panel(n0);
      for (int64_t k = 0; k < K; ++k, out += columns) {
        const T* row = B + k * row_stride + n0 * column_stride;
        for (int64_t n = 0; n < width; ++n) out[n] = scale * row[n * column_stride];
        for (int64_t n = width; n < columns; ++n) out[n] = 0;
      }
    }
  }

  T* panel(int64_t n0) const { return data_ + n0 * K; }

  const int64_t K, N;

 private:
  Buffer<T> data_;
};

// [MR, NV vectors] of C (+)= Σ_k A[i, k] B[k, :], A[i, k] at i * a_row + k * a_k, B's rows at k * b_k.
template <class T, int MR, int NV>
MACELOOP_INLINE void tile(int64_t K, const T* A, int64_t a_row, int64_t a_k, const T* B,
                          int64_t b_k, T* C, int64_t ldc, int64_t width, bool add) {
  using L = Wide<T>;
  using V = typename L::V;
  V sum[MR][NV];
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) sum[i][n] = V{};
  for (int64_t k = 0; k < K; ++k) {
    V b[NV];
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) b[n] = L::load(B + k * b_k + n * L::width);
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
      const T a = A[i * a_row + k * a_k];
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) sum[i][n] += a * b[n];
    }
  }
  if (width == NV * L::width) {
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) {
        T* c = C + i * ldc + n * L::width;
        L::store(c, add ? L::load(c) + sum[i][n] : sum[i][n]);
      }
  } else {
    for (int i = 0; i < MR; ++i) {
      alignas(64) T row[NV * L::width];
      for (int n = 0; n < NV; ++n) *(V*)(row + n * L::width) = sum[i][n];
      for (int64_t n = 0; n < width; ++n)
        C[i * ldc + n] = add ? C[i * ldc + n] + row[n] : row[n];
    }
  }
}

template <class T, int NV>
void panel_product(int64_t M, int64_t K, const T* A, int64_t a_row, int64_t a_k, const T* B,
                   int64_t b_k, T* C, int64_t ldc, int64_t width, bool add) {
  constexpr int MR = 6;
  int64_t i = 0;
  for (; i + MR <= M; i += MR)
    tile<T, MR, NV>(K, A + i * a_row, a_row, a_k, B, b_k, C + i * ldc, ldc, width, add);
  A += i * a_row;
  C += i * ldc;
  switch (M - i) {
    case 5: return tile<T, 5, NV>(K, A, a_row, a_k, B, b_k, C, ldc, width, add);
    case 4: return tile<T, 4, NV>(K, A, a_row, a_k, B, b_k, C, ldc, width, add);
    case 3: return tile<T, 3, NV>(K, A, a_row, a_k, B, b_k, C, ldc, width, add);
    case 2: return tile<T, 2, NV>(K, A, a_row, a_k, B, b_k, C, ldc, width, add);
    case 1: return tile<T, 1, NV>(K, A, a_row, a_k, B, b_k, C, ldc, width, add);
  }
}

template <class T>
void any_panel(int64_t M, int64_t K, const T* A, int64_t a_row, int64_t a_k, const T* B,
               int64_t b_k, T* C, int64_t ldc, int64_t width, bool add) {
  constexpr int W = Wide<T>::width;
  constexpr int all = Packed<T>::vectors;
  if (width > 2 * W)
    panel_product<T, all>(M, K, A, a_row, a_k, B, b_k, C, ldc, width, add);
  else if (width > W)
    panel_product<T, 2>(M, K, A, a_row, a_k, B, b_k, C, ldc, width, add);
  else
    panel_product<T, 1>(M, K, A, a_row, a_k, B, b_k, C, ldc, width, add);
}

// C[M, N] (+)= A[M, K] B[K, N].
template <class T>
void multiply(int64_t M, const T* A, int64_t lda, const Packed<T>& B, T* C, int64_t ldc,
              bool add = false) {
  for (int64_t n = 0; n < B.N; n += B.columns)
    any_panel(M, B.K, A, lda, 1, B.panel(n), B.columns, C + n, ldc,
              std::min<int64_t>(B.columns, B.N - n), add);
}

// The same where C [M, M] is known to be symmetric, with rows of M.
template <class T>
void multiply_symmetric(int64_t M, const T* A, int64_t lda, const Packed<T>& B, T* C) {
  for (int64_t n = 0; n < M; n += B.columns)
    any_panel(M - n, B.K, A + n * lda, lda, 1, B.panel(n), B.columns, C + n * M + n, M,
              std::min<int64_t>(B.columns, M - n), false);
  for (int64_t i = 0; i < M; ++i)
    for (int64_t j = i + 1; j < M; ++j) C[i * M + j] = C[j * M + i];
}

// C[K, N] += Σ_m A[m, K]^T B[m, N].
template <class T>
void multiply_transposed(int64_t M, int64_t K, int64_t N, const T* A, int64_t lda, const T* B,
                         int64_t ldb, T* C, int64_t ldc) {
  constexpr int64_t rows = 128, columns = Packed<T>::columns;
  for (int64_t m = 0; m < M; m += rows) {
    const int64_t n_rows = std::min(rows, M - m);
    const T *const a = A + m * lda, *const b = B + m * ldb;
    int64_t n = 0;
    // Whole panels are read where they are.
    for (; n + columns <= N; n += columns)
      any_panel(K, n_rows, a, 1, lda, b + n, ldb, C + n, ldc, columns, true);
    if (n == N) continue;
    Packed<T> rest(n_rows, N - n);
    rest.fill(b + n, ldb, 1);
    any_panel(K, n_rows, a, 1, lda, rest.panel(0), columns, C + n, ldc, N - n, true);
  }
}

}  // namespace maceloop::training
