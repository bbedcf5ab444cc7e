// The B-basis and its first and second derivatives.
//
//   G(A, W, g) = Σ_n Σ_heads g[n, o] Π_ν A[n, head_ν] · Σ_terms W[z_n, t] A[n, tail]
//
// channel by channel; variable 0 is the constant 1. Atoms are sorted by element, so that a few
// atoms at a time use a coefficient that was loaded once.
#pragma once

#include "training_lanes.h"

namespace maceloop::training {

struct BTables {
  int64_t n_variables, n_outputs, n_heads, n_head_variables, n_terms;
  const int32_t* output_first;    // [n_outputs + 1] into the heads
  const int32_t* head_variables;  // [n_heads, n_head_variables]
  const int32_t* head_first;      // [n_heads + 1] into term_row and term_tail
  const int32_t* term_row;        // row of W
  const int32_t* term_tail;       // variable
};

template <class T>
struct BOperands {
  const T *A, *W, *g;
  const T* v;  // direction in which the derivative with respect to A is differentiated, or null
};

// Gradients; null where not wanted. Those of A and W are added to what is there, or replace it.
template <class T>
struct BResults {
  T *A, *W, *g;
  bool add = false;
};

template <class T, int H>
class BBasis {
 public:
  BBasis(const BTables& tables, int64_t n_elements, const int64_t* counts, int64_t channels,
         const BOperands<T>& in, const BResults<T>& out)
      : t(tables), n_elements(n_elements), counts(counts), C(channels), in(in), out(out),
        x(t.n_variables + 1), dx(t.n_variables + 1), of_x(t.n_variables + 1), g(t.n_outputs),
        of_g(t.n_outputs) {
    if (out.W && !out.add) std::fill_n(out.W, n_elements * t.n_terms * C, T(0));
  }

  template <class L, int N>
  void run(int64_t c) {
    for (int n = 0; n < N; ++n) {
      int64_t atom = 0;
      for (int64_t z = 0; z < n_elements; ++z)
        for (const int64_t end = atom + counts[z]; atom < end;) {
          const int64_t m = std::min<int64_t>(M, end - atom);
          if (in.v)
            block<L, true>(z, atom, m, c + n * L::width);
          else
            block<L, false>(z, atom, m, c + n * L::width);
          atom += m;
        }
    }
  }

 private:
  static constexpr int M = 4;  // atoms at a time
  struct Row {
    alignas(64) T values[M * Wide<T>::width];
  };

  class Rows {
   public:
    explicit Rows(int64_t n) : data(n) {}
    template <class L>
    MACELOOP_INLINE typename L::V get(int64_t row, int m) const {
      return L::load(data[row].values + m * L::width);
    }
    template <class L>
    MACELOOP_INLINE void set(int64_t row, int m, typename L::V value) {
      L::store(data[row].values + m * L::width, value);
    }
    template <class L>
    MACELOOP_INLINE void add(int64_t row, int m, typename L::V value) {
      set<L>(row, m, get<L>(row, m) + value);
    }

   private:
    Buffer<Row> data;
  };

  // `first` rows of zeros or ones before those of an array [atoms, rows, C].
  template <class L>
  void read(Rows& rows, const T* array, int64_t n_rows, int first, T constant, int64_t atom,
            int64_t m, int64_t c) {
    for (int j = 0; j < M; ++j) {
      if (first) rows.template set<L>(0, j, typename L::V{} + constant);
      for (int64_t v = 0; v < n_rows; ++v)
        rows.template set<L>(
            v + first, j,
            j < m ? L::load(array + ((atom + j) * n_rows + v) * C + c) : typename L::V{});
    }
  }

  template <class L>
  void write(const Rows& rows, T* array, int64_t n_rows, int first, int64_t atom, int64_t m,
             int64_t c) {
    for (int j = 0; j < m; ++j)
      for (int64_t v = 0; v < n_rows; ++v)
        L::store(array + ((atom + j) * n_rows + v) * C + c, rows.template get<L>(v + first, j));
  }

  template <class L, bool directional>
  void block(int64_t z, int64_t atom, int64_t m, int64_t c) {
    using V = typename L::V;
    const T* W = in.W + z * t.n_terms * C + c;
    T* of_W = out.W ? out.W + z * t.n_terms * C + c : nullptr;
    read<L>(x, in.A, t.n_variables, 1, 1, atom, m, c);
    if (directional) read<L>(dx, in.v, t.n_variables, 1, 0, atom, m, c);
    if (in.g) read<L>(g, in.g, t.n_outputs, 0, 0, atom, m, c);
    if (out.A && out.add)
      read<L>(of_x, out.A, t.n_variables, 1, 0, atom, m, c);
    else if (out.A)
      for (int64_t v = 0; v <= t.n_variables; ++v)
        for (int j = 0; j < M; ++j) of_x.template set<L>(v, j, V{});
    for (int64_t o = 0; o < t.n_outputs; ++o) output<L, directional>(o, W, of_W);
    if (out.A) write<L>(of_x, out.A, t.n_variables, 1, atom, m, c);
    if (out.g) write<L>(of_g, out.g, t.n_outputs, 0, atom, m, c);
  }

  // All heads of an output.
  template <class L, bool directional>
  void output(int64_t o, const T* const W, T* const of_W) {
    using V = typename L::V;
    const int64_t C = this->C;
    const bool of_A = out.A, backward = of_A || of_W, need_sums = of_A || out.g;
    const int32_t *const head_first = t.head_first, *const head_variables = t.head_variables;
    const int32_t *const term_row = t.term_row, *const term_tail = t.term_tail;
    const Rows &x = this->x, &dx = this->dx;
    V of_go[M], go[M];
#pragma GCC unroll 4
    for (int j = 0; j < M; ++j) {
      of_go[j] = V{};
      go[j] = in.g ? g.template get<L>(o, j) : V{};
    }
    const int32_t last = t.output_first[o + 1];
    for (int32_t head = t.output_first[o]; head < last; ++head) {
      const int32_t* const variables = head_variables + head * H;
      const int32_t begin = head_first[head], end = head_first[head + 1];

      V sum[M], dsum[M];
#pragma GCC unroll 4
      for (int j = 0; j < M; ++j) sum[j] = dsum[j] = V{};
      if (need_sums)
        for (int32_t k = begin; k < end; ++k) {
          const V w = L::load(W + term_row[k] * C);
          const int32_t tail = term_tail[k];
#pragma GCC unroll 4
          for (int j = 0; j < M; ++j) {
            sum[j] += w * x.template get<L>(tail, j);
            if (directional) dsum[j] += w * dx.template get<L>(tail, j);
          }
        }

      V q[M], dq[M];  // g times the product of the head's variables, and its differential
#pragma GCC unroll 4
      for (int j = 0; j < M; ++j) {
        V p = V{} + T(1), dp{};
        V before[H + 1], dbefore[H + 1];
        before[0] = p;
        dbefore[0] = dp;
#pragma GCC unroll 4
        for (int a = 0; a < H; ++a) {
          const V xa = x.template get<L>(variables[a], j);
          if (directional) dp = dp * xa + p * dx.template get<L>(variables[a], j);
          p = p * xa;
          before[a + 1] = p;
          dbefore[a + 1] = dp;
        }
        of_go[j] += directional ? dp * sum[j] + p * dsum[j] : p * sum[j];
        q[j] = go[j] * p;
        dq[j] = go[j] * dp;
        if (!of_A) continue;
        // Each variable of the head: the product of the others, times the sum over tails.
        V after = go[j], dafter{};
#pragma GCC unroll 4
        for (int a = H - 1; a >= 0; --a) {
          const V others = before[a] * after;
          if (directional) {
            const V dothers = dbefore[a] * after + before[a] * dafter;
            of_x.template add<L>(variables[a], j, others * dsum[j] + dothers * sum[j]);
            dafter = dafter * x.template get<L>(variables[a], j) +
                     after * dx.template get<L>(variables[a], j);
          } else {
            of_x.template add<L>(variables[a], j, others * sum[j]);
          }
          after = after * x.template get<L>(variables[a], j);
        }
      }
      if (!backward) continue;
      for (int32_t k = begin; k < end; ++k) {
        const int32_t tail = term_tail[k];
        if (of_A) {
          const V w = L::load(W + term_row[k] * C);
#pragma GCC unroll 4
          for (int j = 0; j < M; ++j)
            of_x.template add<L>(tail, j, w * (directional ? dq[j] : q[j]));
        }
        if (of_W) {
          T* const place = of_W + term_row[k] * C;
          V total = L::load(place);
#pragma GCC unroll 4
          for (int j = 0; j < M; ++j) {
            if (directional)
              total += dq[j] * x.template get<L>(tail, j) + q[j] * dx.template get<L>(tail, j);
            else
              total += q[j] * x.template get<L>(tail, j);
          }
          L::store(place, total);
        }
      }
    }
#pragma GCC unroll 4
    for (int j = 0; j < M; ++j) of_g.template set<L>(o, j, of_go[j]);
  }

  const BTables& t;
  const int64_t n_elements;
  const int64_t* counts;
  const int64_t C;
  const BOperands<T> in;
  const BResults<T> out;
  Rows x, dx, of_x, g, of_g;
};

}  // namespace maceloop::training
