// The operations of training with their first and second derivatives, for float and double.
// mace_core/ops/backend.py opens them; arrays are C-contiguous, null stands for None.
#include "training_model.h"
#include "training_step.h"

namespace t = maceloop::training;

// To be counted up with every change of a function's arguments; mace_core/ops/backend.py knows it.
MACELOOP_API int maceloop_training_interface() { return 5; }

#define MACELOOP_TRAINING(T, NAME)                                                               \
  MACELOOP_API void maceloop_a_basis_##NAME(                                                     \
      const t::ATables<T>* tables, int64_t n_atoms, int64_t n_radial, const int64_t* first,      \
      const int64_t* senders, const int64_t* radial, int64_t channels, const T* h, const T* Y,   \
      const T* R, const T* g, const T* dh, const T* dY, const T* dR, T* of_h, T* of_Y, T* of_R,  \
      T* of_g) {                                                                                 \
    t::a_basis<T>(*tables, {n_atoms, n_radial, first, senders, radial}, channels,                \
                  {h, Y, R, g, dh, dY, dR}, {of_h, of_Y, of_R, of_g});                           \
  }                                                                                              \
  MACELOOP_API void maceloop_b_basis_##NAME(                                                     \
      const t::BTables* tables, int64_t n_elements, const int64_t* counts, int64_t channels,     \
      const T* A, const T* W, const T* g, const T* v, T* of_A, T* of_W, T* of_g) {               \
    t::any_b_basis<T>(*tables, n_elements, counts, channels, {A, W, g, v}, {of_A, of_W, of_g});  \
  }                                                                                              \
  MACELOOP_API void maceloop_bessel_##NAME(int64_t n, int64_t m, double r_max, int64_t order,    \
                                           const T* vectors, T* values, T* slopes,               \
                                           T* directions) {                                      \
    t::bessel<T>(n, m, r_max, order, vectors, values, slopes, directions);                       \
  }                                                                                              \
  MACELOOP_API void maceloop_mlp_forward_##NAME(const t::MLPShape<T>* shape, int64_t n,          \
                                                const T* x, T* z, T* sigma, T* result) {         \
    t::mlp_forward<T>(*shape, n, x, z, sigma, result);                                           \
  }                                                                                              \
  MACELOOP_API void maceloop_mlp_backward_##NAME(const t::MLPShape<T>* shape, int64_t n,         \
                                                 const T* x, const T* z, const T* sigma,         \
                                                 const T* g, const T* of_z, T* b, T* of_x,       \
                                                 T* const* of_weights) {                         \
    t::mlp_backward<T>(*shape, n, x, z, sigma, g, of_z, b, of_x, of_weights);                    \
  }                                                                                              \
  MACELOOP_API void maceloop_mlp_double_backward_##NAME(                                         \
      const t::MLPShape<T>* shape, int64_t n, const T* x, const T* z, const T* sigma,            \
      const T* g, const T* b, const T* u, const T* const* Q, T* of_g, T* of_x, T* of_z,          \
      T* const* of_weights) {                                                                    \
    t::mlp_double_backward<T>(*shape, n, x, z, sigma, g, b, u, Q, of_g, of_x, of_z, of_weights); \
  }                                                                                              \
  MACELOOP_API void maceloop_harmonics_forward_##NAME(int64_t max_ell, int64_t n,                \
                                                      const T* vectors, T* Y) {                  \
    t::harmonics_forward<T>(int(max_ell), n, vectors, Y);                                        \
  }                                                                                              \
  MACELOOP_API void maceloop_harmonics_backward_##NAME(int64_t max_ell, int64_t n,               \
                                                       const T* vectors, const T* g,             \
                                                       T* of_vectors, const T* u, T* of_g) {     \
    t::harmonics_backward<T>(int(max_ell), n, vectors, g, of_vectors, u, of_g);                  \
  }                                                                                              \
  MACELOOP_API void maceloop_linear_forward_##NAME(const t::LinearShape* shape, const T* x,      \
                                                   const T* W, T* y) {                           \
    t::linear_forward<T>(*shape, x, W, y);                                                       \
  }                                                                                              \
  MACELOOP_API void maceloop_linear_backward_##NAME(const t::LinearShape* shape, const T* g,     \
                                                    const T* W, T* of_x) {                       \
    t::linear_backward<T>(*shape, g, W, of_x);                                                   \
  }                                                                                              \
  MACELOOP_API void maceloop_linear_weights_##NAME(const t::LinearShape* shape, const T* x,      \
                                                   const T* g, T* of_W) {                        \
    t::linear_weights<T>(*shape, x, g, of_W);                                                    \
  }                                                                                              \
  MACELOOP_API void maceloop_weight_step_##NAME(                                                 \
      int64_t n_groups, const int64_t* groups, const t::AdamSettings* settings,                  \
      const t::Weight<T>* weights, double max_norm, double follow) {                             \
    t::weight_step<T>(n_groups, groups, settings, weights, max_norm, follow);                    \
  }                                                                                              \
  MACELOOP_API t::Pass<T>* maceloop_model_forward_##NAME(                                        \
      const t::ModelShape<T>* shape, const t::Frames<T>* frames, const T* const* weights,        \
      const double* E0, double scale, double shift, double* energy, double* node_energy,         \
      T* forces, T* virial, int64_t keep) {                                                      \
    auto pass = std::make_unique<t::Pass<T>>(*shape, *frames, weights,                           \
                                             t::Zero{E0, scale, shift});                         \
    pass->energies(energy, node_energy);                                                         \
    if (forces || virial) pass->gradient(forces, virial);                                        \
    return keep ? pass.release() : nullptr;                                                      \
  }                                                                                              \
  MACELOOP_API void maceloop_model_backward_##NAME(                                              \
      const t::Pass<T>* pass, const double* of_energy, const double* of_node_energy,             \
      const T* of_forces, const T* of_virial, T* const* of_weights) {                            \
    pass->backward(of_energy, of_node_energy, of_forces, of_virial, of_weights);                 \
  }                                                                                              \
  MACELOOP_API void maceloop_model_free_##NAME(t::Pass<T>* pass) { delete pass; }

MACELOOP_TRAINING(float, f32)
MACELOOP_TRAINING(double, f64)
