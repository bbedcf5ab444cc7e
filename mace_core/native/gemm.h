// Y (+)= X · B for the small dense matrices of channels.
#pragma once

#include <algorithm>

#include "simd.h"

namespace maceloop {

// Row r stands at base + (r / per) · group + (r % per) · row: the (l, m) rows of one l, atom by atom.
template <class T>
struct Rows {
  T* base;
  int64_t per, group, row;
};

template <class T>
class RowCursor {
 public:
  explicit RowCursor(const Rows<T>& rows) : rows_(rows), group_(rows.base) {}
  T* next() {
    T* p = group_ + m_ * rows_.row;
    if (++m_ == rows_.per) {
      m_ = 0;
      group_ += rows_.group;
    }
    return p;
  }

 private:
  Rows<T> rows_;
  T* group_;
  int64_t m_ = 0;
};

template <class T, int M, int V>
inline void gemm_tile(const T* const* x, T* const* y, int64_t k_end, const T* b, int64_t ldb,
                      int64_t column, bool add) {
  constexpr int W = kLanes<T>;
  Vec<T> acc[M][V];
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < V; ++v) acc[m][v] = add ? load(y[m] + column + v * W) : Vec<T>{};
  b += column;
  for (int64_t k = 0; k < k_end; ++k, b += ldb) {
    Vec<T> row[V];
    for (int v = 0; v < V; ++v) row[v] = load(b + v * W);
    for (int m = 0; m < M; ++m)
      for (int v = 0; v < V; ++v) acc[m][v] += row[v] * x[m][k];
  }
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < V; ++v) store(y[m] + column + v * W, acc[m][v]);
}

constexpr int kTileRows = 6;
constexpr int kTileVectors = kRegisters >= 32 ? 4 : 2;

template <class T, int M>
inline void gemm_rows(const T* const* x, T* const* y, int64_t k_end, const T* b, int64_t n,
                      bool add) {
  constexpr int W = kLanes<T>;
  int64_t column = 0;
  for (; column + kTileVectors * W <= n; column += kTileVectors * W)
    gemm_tile<T, M, kTileVectors>(x, y, k_end, b, n, column, add);
  if constexpr (kTileVectors > 2)
    for (; column + 2 * W <= n; column += 2 * W)
      gemm_tile<T, M, 2>(x, y, k_end, b, n, column, add);
  for (; column < n; column += W) gemm_tile<T, M, 1>(x, y, k_end, b, n, column, add);
}

// n_rows of k numbers, times b [k, n], to n_rows of n; n is a multiple of the lanes.
template <class T>
void gemm(const Rows<const T>& x, const Rows<T>& y, int64_t n_rows, int64_t k, const T* b,
          int64_t n, bool add) {
  RowCursor<const T> from(x);
  RowCursor<T> to(y);
  const T* xs[kTileRows];
  T* ys[kTileRows];
  for (int64_t r = 0; r < n_rows; r += kTileRows) {
    const int m = int(std::min<int64_t>(kTileRows, n_rows - r));
    for (int i = 0; i < m; ++i) {
      xs[i] = from.next();
      ys[i] = to.next();
    }
    switch (m) {
      case 6: gemm_rows<T, 6>(xs, ys, k, b, n, add); break;
      case 5: gemm_rows<T, 5>(xs, ys, k, b, n, add); break;
      case 4: gemm_rows<T, 4>(xs, ys, k, b, n, add); break;
      case 3: gemm_rows<T, 3>(xs, ys, k, b, n, add); break;
      case 2: gemm_rows<T, 2>(xs, ys, k, b, n, add); break;
      default: gemm_rows<T, 1>(xs, ys, k, b, n, add);
    }
  }
}

}  // namespace maceloop
