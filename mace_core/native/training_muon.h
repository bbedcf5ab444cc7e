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

// a, b, c of each polynomial; mace_core/train/muon.py says where they are from.
constexpr int kPolynomials = 4;
constexpr double kPolynomial[kPolynomials][3] = {
    {8.3837, -24.7659, 18.3571},
    {4.0434, -3.0114, 0.5695},
    {3.5056, -2.6267, 0.5257},
    {2.4901, -1.8343, 0.4368},
};

// Matrices X [r, c], r ≤ c, moved towards the orthogonal factor of their polar decomposition by
// products only: X → Q X with Q a product of polynomials P = a + b A + c A² in A = X Xᵀ, which is
// P A P after each. All of them are [r, r], symmetric, and commute.
template <class T>
class Orthogonal {
 public:
  Orthogonal(int64_t r, int64_t c)
      : r_(r), c_(c), X_(r * c), found_(r * c), A_(r * r), S_(r * r), P_(r * r), Q_(r * r),
        M_(r * r), transposed_(c, r), square_(r, r), rows_(r, c) {}

  T* X() const { return X_; }

  // [r, c]: X's singular vectors with singular values near 1.
  const T* run() {
    const double largest = begin();
    for (int k = 0; k < kPolynomials; ++k) {
      const auto [a, b, c] = kPolynomial[k];
      for (int64_t i = 0; i < r_ * r_; ++i) P_[i] = T(b) * A_[i] + T(c) * S_[i];
      for (int64_t i = 0; i < r_; ++i) P_[i * r_ + i] += T(a);
      if (k) product(Q_, P_, M_);
      std::copy_n(static_cast<T*>(k ? M_ : P_), r_ * r_, static_cast<T*>(Q_));
      if (k + 1 == kPolynomials) break;
      product(A_, P_, M_);
      product(M_, P_, A_);
      product(A_, A_, S_);
    }
    rows_.fill(X_, c_, 1, T(1 / largest));
    multiply<T>(r_, Q_, r_, rows_, found_, c_);
    return found_;
  }

 private:
  // A = X Xᵀ and S = A² of the X that has singular values up to 1; by what X_ is still larger.
  double begin() {
    const T scale = T(1 / (norm(X_, r_ * c_) + 1e-12));  // lest squares leave the range of T
    for (int64_t i = 0; i < r_ * c_; ++i) X_[i] *= scale;
    transposed_.fill(X_, 1, c_);
    multiply_symmetric<T>(r_, X_, c_, transposed_, A_);
    product(A_, A_, S_);
    // Bounds the fourth power of the largest singular value, from above and closely.
    const double fourth = norm(S_, r_ * r_) + 1e-30, second = std::sqrt(fourth);
    for (int64_t i = 0; i < r_ * r_; ++i) {
      A_[i] *= T(1 / second);
      S_[i] *= T(1 / fourth);
    }
    return std::sqrt(second);
  }

  static double norm(const T* values, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += double(values[i]) * double(values[i]);
    return std::sqrt(sum);
  }

  void product(const T* left, const T* right, T* out) {
    square_.fill(right, r_, 1);
    multiply_symmetric<T>(r_, left, r_, square_, out);
  }

  const int64_t r_, c_;
  Buffer<T> X_, found_, A_, S_, P_, Q_, M_;
  Packed<T> transposed_, square_, rows_;
};

// value [n / (rows columns), rows, columns] moves against its momentum (Nesterov's) made orthogonal.
template <class T>
void muon(int64_t n, int64_t rows, int64_t columns, T* value, const T* gradient, T* momentum,
          const MuonSettings& s, double scale) {
  const bool tall = rows > columns;
  Orthogonal<T> matrix(std::min(rows, columns), std::max(rows, columns));
  const T factor = T(scale), decay = T(s.decay);
  const T old = T(s.momentum), fresh = T(1 - s.momentum);
  const T length = T(s.lr * 0.2 * std::sqrt(double(std::max(rows, columns))));
  const int64_t size = rows * columns;
  // Of element (i, j) in X.
  const int64_t down = tall ? 1 : columns, right = tall ? rows : 1;
  T* X = matrix.X();
  for (int64_t k = 0; k < n; k += size, value += size, gradient += size, momentum += size) {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) {
        const int64_t e = i * columns + j;
        const T g = factor * gradient[e] + decay * value[e];
        momentum[e] += fresh * (g - momentum[e]);
        X[i * down + j * right] = g + old * (momentum[e] - g);
      }
    const T* found = matrix.run();
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j)
        value[i * columns + j] -= length * found[i * down + j * right];
  }
}

}  // namespace maceloop::training
