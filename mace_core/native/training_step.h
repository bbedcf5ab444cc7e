// A step of the weights, Adam's or Muon's, clipping and moving average included, in one call.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "training_muon.h"

namespace maceloop::training {

// One weight tensor of n numbers and its state. Muon's have rows and columns of their matrices, and
// of the state only mean; Adam's have neither. largest and average may be null; steps counts the
// steps so far.
template <class T>
struct Weight {
  int64_t n;
  T* value;
  const T* gradient;
  T* mean;
  T* square;
  T* largest;
  T* average;
  float* steps;
  int64_t rows, columns;
};

// What holds for all weights of a group.
struct StepSettings {
  double lr, beta1, beta2, epsilon, decay;
  double decoupled;  // 0 or 1: AdamW
  double momentum;   // Muon's
};

// ‖gradient‖² of one weight. In double, as the sum over all of them.
template <class T>
double square_norm(const Weight<T>& w) {
  double sum[8] = {};
  int64_t i = 0;
  for (; i + 8 <= w.n; i += 8)
    for (int k = 0; k < 8; ++k) sum[k] += double(w.gradient[i + k]) * double(w.gradient[i + k]);
  for (; i < w.n; ++i) sum[0] += double(w.gradient[i]) * double(w.gradient[i]);
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

// arXiv 1412.6980, algorithm 1; with `largest` the AMSGrad variant; decoupled decay is 1711.05101.
template <class T, bool LARGEST>
void adam(const Weight<T>& w, const StepSettings& s, double scale) {
  const double count = double(*w.steps += 1);
  const T step = T(s.lr / (1 - std::pow(s.beta1, count)));
  const T root = T(1 / std::sqrt(1 - std::pow(s.beta2, count)));
  const T b1 = T(1 - s.beta1), b2 = T(s.beta2), c2 = T(1 - s.beta2), epsilon = T(s.epsilon);
  const T coupled = T(s.decoupled ? 0 : s.decay), shrink = T(s.decoupled ? s.lr * s.decay : 0);
  T *__restrict value = w.value, *__restrict mean = w.mean, *__restrict square = w.square;
  T* __restrict largest = w.largest;
  const T* __restrict gradient = w.gradient;
  const T factor = T(scale);
  for (int64_t i = 0; i < w.n; ++i) {
    const T before = value[i] - shrink * value[i];
    const T g = factor * gradient[i] + coupled * before;
    mean[i] += b1 * (g - mean[i]);
    square[i] = b2 * square[i] + c2 * g * g;
    T bound = square[i];
    if (LARGEST) bound = largest[i] = std::max(largest[i], square[i]);
    value[i] = before - step * mean[i] / (std::sqrt(bound) * root + epsilon);
  }
}

// Gradients are scaled to a common norm of at most max_norm (if that is not negative); averages
// move by `follow` of the way. groups[i] is the number of weights in group i.
template <class T>
void weight_step(int64_t n_groups, const int64_t* groups, const StepSettings* settings,
                 const Weight<T>* weights, double max_norm, double follow) {
  const Weight<T>* w = weights;
  double sum = 0;
  for (int64_t group = 0; group < n_groups; ++group)
    for (int64_t k = 0; k < groups[group]; ++k) sum += square_norm(*w++);
  const double norm = std::sqrt(sum);
  // Written so that a norm that is no number makes weights that are none, and is noticed.
  const double scale = max_norm < 0 || norm + 1e-6 <= max_norm ? 1 : max_norm / (norm + 1e-6);
  w = weights;
  for (int64_t group = 0; group < n_groups; ++group)
    for (int64_t k = 0; k < groups[group]; ++k, ++w) {
      const StepSettings& s = settings[group];
      if (w->rows)
        muon<T>(w->n, w->rows, w->columns, w->value, w->gradient, w->mean,
                {s.lr, s.momentum, s.decay}, scale);
      else if (w->largest)
        adam<T, true>(*w, s, scale);
      else
        adam<T, false>(*w, s, scale);
      if (!w->average) continue;
      T* __restrict average = w->average;
      const T* __restrict value = w->value;
      const T part = T(follow);
      for (int64_t i = 0; i < w->n; ++i) average[i] += part * (value[i] - average[i]);
    }
}

}  // namespace maceloop::training
