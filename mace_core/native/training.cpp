// The operations of training with their first and second derivatives, for float and double.
// mace_core/ops/backend.py opens them; arrays are C-contiguous, null stands for None. Functions
// return 0, or a code of `Failure`.
#include "training_groups.h"
#include "training_step.h"

namespace t = maceloop::training;

// To be counted up with every change of a function's arguments; mace_core/ops/backend.py knows it.
MACELOOP_API int maceloop_training_interface() { return 7; }

namespace {

enum Failure { kNoMemory = 1, kNoThread = 2 };

template <class Work>
int guarded(Work work) {
  try {
    work();
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  } catch (const std::system_error&) {
    return kNoThread;
  }
  return 0;
}

}  // namespace

#define MACELOOP_TRAINING(T, NAME)                                                                 \
  MACELOOP_API int maceloop_a_basis_##NAME(                                                        \
      const t::ATables<T>* tables, int64_t n_atoms, int64_t n_radial, const int64_t* first,        \
      const int64_t* senders, const int64_t* radial, int64_t channels, const T* h, const T* Y,     \
      const T* R, const T* g, const T* dh, const T* dY, const T* dR, T* of_h, T* of_Y, T* of_R,    \
      T* of_g) {                                                                                   \
    return guarded([&] {                                                                           \
      t::a_basis<T>(*tables, {n_atoms, n_radial, first, senders, radial}, channels,                \
                    {h, Y, R, g, dh, dY, dR}, {of_h, of_Y, of_R, of_g});                           \
    });                                                                                            \
  }                                                                                                \
  MACELOOP_API int maceloop_b_basis_##NAME(                                                        \
      const t::BTables* tables, int64_t n_elements, const int64_t* counts, int64_t channels,       \
      const T* A, const T* W, const T* g, const T* v, T* of_A, T* of_W, T* of_g) {                 \
    return guarded([&] {                                                                           \
      t::any_b_basis<T>(*tables, n_elements, counts, channels, {A, W, g, v}, {of_A, of_W, of_g});  \
    });                                                                                            \
  }                                                                                                \
  MACELOOP_API int maceloop_bessel_##NAME(int64_t n, int64_t m, double r_max, int64_t order,       \
                                          const T* vectors, T* values, T* slopes,                  \
                                          T* directions) {                                         \
    return guarded([&] {                                                                           \
      t::bessel<T>(n, m, r_max, order, vectors, values, slopes, directions);                       \
    });                                                                                            \
  }                                                                                                \
  MACELOOP_API int maceloop_mlp_forward_##NAME(const t::MLPShape<T>* shape, int64_t n,             \
                                               const T* x, T* z, T* sigma, T* result) {            \
    return guarded([&] {                                                                           \
      t::mlp_forward<T>(*shape, n, x, z, sigma, result);                                           \
    });                                                                                            \
  }                                                                                                \
  MACELOOP_API int maceloop_mlp_backward_##NAME(const t::MLPShape<T>* shape, int64_t n,            \
                                                const T* x, const T* z, const T* sigma,            \
                                                const T* g, const T* of_z, T* b, T* of_x,          \
                                                T* const* of_weights) {                            \
    return guarded([&] {                                                                           \
      t::mlp_backward<T>(*shape, n, x, z, sigma, g, of_z, b, of_x, of_weights);                    \
    });                                                                                            \
  }                                                                                                \
  MACELOOP_API int maceloop_mlp_double_backward_##NAME(                                            \
      const t::MLPShape<T>* shape, int64_t n, const T* x, const T* z, const T* sigma,              \
      const T* g, const T* b, const T* u, const T* const* Q, T* of_g, T* of_x, T* of_z,            \
      T* const* of_weights) {                                                                      \
    return guarded([&] {                                                                           \
      t::mlp_double_backward<T>(*shape, n, x, z, sigma, g, b, u, Q, of_g, of_x, of_z, of_weights); \
    });                                                                                            \
  }                                                                                                \
  MACELOOP_API int maceloop_harmonics_forward_##NAME(int64_t max_ell, int64_t n,                   \
                                                      const T* vectors, T* Y) {                    \
    return guarded([&] {                                                                           \
      t::harmonics_forward<T>(int(max_ell), n, vectors, Y);                                        \
    });                                                                                            \
  }                                                                                                \
  MACELOOP_API int maceloop_harmonics_backward_##NAME(int64_t max_ell, int64_t n,                  \
                                                       const T* vectors, const T* g,               \
                                                       T* of_vectors, const T* u, T* of_g) {       \
    return guarded([&] {                                                                           \
      t::harmonics_backward<T>(int(max_ell), n, vectors, g, of_vectors, u, of_g);                  \
    });                                                                                            \
  }                                                                                                \
  MACELOOP_API int maceloop_linear_forward_##NAME(const t::LinearShape* shape, const T* x,         \
                                                  const T* W, T* y) {                              \
    return guarded([&] {                                                                           \
      t::linear_forward<T>(*shape, x, W, y);                                                       \
    });                                                                                            \
  }                                                                                                \
  MACELOOP_API int maceloop_linear_backward_##NAME(const t::LinearShape* shape, const T* g,        \
                                                   const T* W, T* of_x) {                          \
    return guarded([&] {                                                                           \
      t::linear_backward<T>(*shape, g, W, of_x);                                                   \
    });                                                                                            \
  }                                                                                                \
  MACELOOP_API int maceloop_linear_weights_##NAME(const t::LinearShape* shape, const T* x,         \
                                                  const T* g, T* of_W) {                           \
    return guarded([&] {                                                                           \
      t::linear_weights<T>(*shape, x, g, of_W);                                                    \
    });                                                                                            \
  }                                                                                                \
  MACELOOP_API int maceloop_weight_step_##NAME(                                                    \
      int64_t n_groups, const int64_t* groups, const t::StepSettings* settings,                    \
      const t::Weight<T>* weights, double max_norm, double follow) {                               \
    return guarded([&] {                                                                           \
      t::weight_step<T>(n_groups, groups, settings, weights, max_norm, follow);                    \
    });                                                                                            \
  }                                                                                                \
  MACELOOP_API int maceloop_model_forward_##NAME(                                                  \
      const t::ModelShape<T>* shape, const t::Frames<T>* frames, const T* const* weights,          \
      const double* E0, double scale, double shift, double* energy, double* node_energy,           \
      T* forces, T* virial, int64_t threads, t::Groups<T>** keep) {                                \
    return guarded([&] {                                                                           \
      auto groups = std::make_unique<t::Groups<T>>(*shape, *frames, threads);                      \
      groups->forward(*frames, weights, {E0, scale, shift},                                        \
                      {energy, node_energy, forces, virial});                                      \
      if (keep) *keep = groups.release();                                                          \
    });                                                                                            \
  }                                                                                                \
  MACELOOP_API int maceloop_model_backward_##NAME(                                                 \
      const t::Groups<T>* groups, const double* of_energy, const double* of_node_energy,           \
      const T* of_forces, const T* of_virial, T* const* of_weights) {                              \
    return guarded([&] {                                                                           \
      groups->backward({of_energy, of_node_energy, of_forces, of_virial}, of_weights);             \
    });                                                                                            \
  }                                                                                                \
  MACELOOP_API int maceloop_model_free_##NAME(t::Groups<T>* groups) {                              \
    delete groups;                                                                                 \
    return 0;                                                                                      \
  }

MACELOOP_TRAINING(float, f32)
MACELOOP_TRAINING(double, f64)
