// Muon: the step of a stack of matrices is its momentum made orthogonal.
// K. Jordan et al. 2024 (kellerjordan.github.io/posts/muon); step size of arXiv 2502.16982, eq. 4.
#pragma once

#include <algorithm>
#include <cmath>

#include "training_gemm.h"

namespace maceloop::training {

// What holds for all matrices of a group.
struct MuonSettings {
  double lr, momentum, decay;
};

// Matrices X [r, c], r ≤ c, moved towards the orthogonal factor of their polar decomposition by
// steps of Newton and Schulz, which need products only.
template <class T>
class Orthogonal {
 public:
  Orthogonal(int64_t r, int64_t c)
      : r_(r), c_(c), X_(r * c), Y_(r * c), A_(r * r), B_(r * r),
        transposed_(c, r), square_(r, r), rows_(r, c) {}

  T* X() const { return X_; }

  // X's singular vectors with singular values near 1.
  void run() {
    double sum = 0;
    for (int64_t i = 0; i < r_ * c_; ++i) sum += double(X_[i]) * double(X_[i]);
    const T scale = T(1 / (std::sqrt(sum) + 1e-12));
    for (int64_t i = 0; i < r_ * c_; ++i) X_[i] *= scale;
    for (int k = 0; k < 5; ++k) step();
  }

 private:
  // X ← (a + b A + c A²) X with A = X Xᵀ.
  void step() {
    constexpr double a = 3.4445, b = -4.7750, c = 2.0315;
    transposed_.fill(X_, 1, c_);
    multiply<T>(r_, X_, c_, transposed_, A_, r_);
    square_.fill(A_, r_, 1, T(c));
    for (int64_t i = 0; i < r_ * r_; ++i) B_[i] = T(b) * A_[i];
    multiply<T>(r_, A_, r_, square_, B_, r_, true);
    for (int64_t i = 0; i < r_; ++i) B_[i * r_ + i] += T(a);
    rows_.fill(X_, c_, 1);
    multiply<T>(r_, B_, r_, rows_, Y_, c_);
    std::copy_n(static_cast<T*>(Y_), r_ * c_, static_cast<T*>(X_));
  }

  const int64_t r_, c_;
  Buffer<T> X_, Y_, A_, B_;
  Packed<T> transposed_, square_, rows_;
};

// value [n / (rows columns), rows, columns] moves against its momentum (Nesterov's) made orthogonal.
template <class T>
void muon(int64_t n, int64_t rows, int64_t columns, T* value, const T* gradient, T* momentum,
          const MuonSettings& s, double scale) {
  const bool tall = rows > columns;
  Orthogonal<T> matrix(std::min(rows, columns), std::max(rows, columns));
  const T factor = T(scale), old = T(s.momentum), fresh = T(1 - s.momentum);
  const T shrink = T(s.lr * s.decay);
  const T length = T(s.lr * 0.2 * std::sqrt(double(std::max(rows, columns))));
  const int64_t size = rows * columns;
  // Of element (i, j) in X.
  const int64_t down = tall ? 1 : columns, right = tall ? rows : 1;
  T* X = matrix.X();
  for (int64_t k = 0; k < n; k += size, value += size, gradient += size, momentum += size) {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) {
        const int64_t e = i * columns + j;
        const T g = factor * gradient[e];
        momentum[e] += fresh * (g - momentum[e]);
        X[i * down + j * right] = g + old * (momentum[e] - g);
      }
    matrix.run();
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) {
        T& w = value[i * columns + j];
        w -= shrink * w + length * X[i * down + j * right];
      }
  }
}

}  // namespace maceloop::training
