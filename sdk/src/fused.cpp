#include "retort/fused.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <atomic>

#ifndef INTRA_OP_PARALLEL
#error "without OpenMP at::parallel_for runs on one thread"
#endif

namespace retort {

using arithmetic::Measure;

namespace {

constexpr int64_t grain = 1 << 14;  // numbers that are worth a thread

template <int n, class T>
void combine_terms(const T* c, const T* const* x, T* out, int64_t rows, int64_t columns) {
  at::parallel_for(0, rows, std::max<int64_t>(1, grain / columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      T own[n];  // of this row, so that the loop below reads them from registers
      for (int k = 0; k < n; ++k) {
        own[k] = c[k * rows + r];
      }
      for (int64_t i = r * columns; i < (r + 1) * columns; ++i) {
        out[i] = arithmetic::combine<n>(own, 1, x, i);
      }
    }
  });
}

template <class T>
void combine_loop(int terms, const T* c, const T* const* x, T* out, int64_t rows, int64_t columns) {
  static_assert(most_terms == 6);
  switch (terms) {
    case 1:
      return combine_terms<1>(c, x, out, rows, columns);
    case 2:
      return combine_terms<2>(c, x, out, rows, columns);
    case 3:
      return combine_terms<3>(c, x, out, rows, columns);
    case 4:
      return combine_terms<4>(c, x, out, rows, columns);
    case 5:
      return combine_terms<5>(c, x, out, rows, columns);
    default:
      return combine_terms<6>(c, x, out, rows, columns);
  }
}

template <class T>
void mean_measure_loop(Measure kind, const T* p, const T* q, T c, T* out, int64_t rows, int64_t columns) {
  at::parallel_for(0, rows, std::max<int64_t>(1, grain / columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      double sum = 0;
      for (int64_t i = r * columns; i < (r + 1) * columns; ++i) {
        sum += static_cast<double>(arithmetic::measure(kind, p[i] - q[i], c));
      }
      out[r] = static_cast<T>(sum / static_cast<double>(columns));
    }
  });
}

template <class T>
void slope_loop(Measure kind, const T* p, const T* q, T c, const T* factor, T* out, int64_t rows, int64_t columns) {
  at::parallel_for(0, rows, std::max<int64_t>(1, grain / columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      for (int64_t i = r * columns; i < (r + 1) * columns; ++i) {
        out[i] = factor[r] * arithmetic::slope(kind, p[i] - q[i], c);
      }
    }
  });
}

const FusedKernels on_processor = {combine_loop<float>, mean_measure_loop<float>, slope_loop<float>};

std::array<std::atomic<const FusedKernels*>, static_cast<size_t>(at::COMPILE_TIME_MAX_DEVICE_TYPES)>& registered() {
  static std::array<std::atomic<const FusedKernels*>, static_cast<size_t>(at::COMPILE_TIME_MAX_DEVICE_TYPES)> all{};
  return all;
}

const FusedKernels* kernels_of(const Tensor& x) {
  return x.is_cpu() ? &on_processor : registered()[static_cast<size_t>(x.device().type())].load();
}

// Whether two tensors can be walked as plain memory, in the same order.
bool are_dense(const Tensor& x, const Tensor& y) {
  return x.sizes() == y.sizes() && x.device() == y.device() && x.scalar_type() == y.scalar_type() &&
         x.is_contiguous() && y.is_contiguous() && x.numel() > 0;
}
bool fits(const Tensor& x, const Tensor& y) {
  const at::ScalarType type = x.scalar_type();
  return are_dense(x, y) && ((type == at::kFloat && kernels_of(x) != nullptr) || (type == at::kDouble && x.is_cpu()));
}

// Calls the loops or kernels with x's type.
template <class Loop, class Kernel>
void dispatch(const Tensor& x, Loop loop, Kernel kernel) {
  if (x.scalar_type() == at::kDouble) {
    loop(double{});
  } else {
    kernel(*kernels_of(x));
  }
}

Tensor mean_measure_forward(Measure kind, const Tensor& p, const Tensor& q, double c) {
  const int64_t rows = p.size(0), columns = p.numel() / rows;
  const Tensor out = at::empty({rows}, p.options());
  dispatch(
      p,
      [&](double) {
        mean_measure_loop(kind, p.const_data_ptr<double>(), q.const_data_ptr<double>(), c,
                          out.mutable_data_ptr<double>(), rows, columns);
      },
      [&](const FusedKernels& k) {
        k.mean_measure(kind, p.const_data_ptr<float>(), q.const_data_ptr<float>(), static_cast<float>(c),
                       out.mutable_data_ptr<float>(), rows, columns);
      });
  return out;
}

struct MeanMeasure : torch::autograd::Function<MeanMeasure> {
  static Tensor forward(torch::autograd::AutogradContext* context, int64_t kind, const Tensor& p, const Tensor& q,
                        double c) {
    context->save_for_backward({p, q});
    context->saved_data["kind"] = kind;
    context->saved_data["c"] = c;
    return mean_measure_forward(static_cast<Measure>(kind), p, q, c);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &p = saved[0], &q = saved[1];
    const auto kind = static_cast<Measure>(context->saved_data["kind"].toInt());
    const double c = context->saved_data["c"].toDouble();
    const int64_t rows = p.size(0), columns = p.numel() / rows;
    const Tensor factor = (gradients[0] / static_cast<double>(columns)).contiguous();
    const Tensor out = at::empty_like(p);
    dispatch(
        p,
        [&](double) {
          slope_loop(kind, p.const_data_ptr<double>(), q.const_data_ptr<double>(), c, factor.const_data_ptr<double>(),
                     out.mutable_data_ptr<double>(), rows, columns);
        },
        [&](const FusedKernels& k) {
          k.slope(kind, p.const_data_ptr<float>(), q.const_data_ptr<float>(), static_cast<float>(c),
                  factor.const_data_ptr<float>(), out.mutable_data_ptr<float>(), rows, columns);
        });
    return {Tensor(), out, context->needs_input_grad(1) ? -out : Tensor(), Tensor()};
  }
};

}  // namespace

void set_fused_kernels(c10::DeviceType device, const FusedKernels* kernels) {
  registered()[static_cast<size_t>(device)] = kernels;
}

Tensor combine(const std::vector<Term>& terms) {
  const Tensor& x = terms.front().value;
  const bool differentiates = at::GradMode::is_enabled() && std::any_of(terms.begin(), terms.end(), [](const Term& t) {
                                return t.value.requires_grad();
                              });
  if (differentiates || !std::all_of(terms.begin(), terms.end(), [&](const Term& t) { return fits(x, t.value); })) {
    Tensor sum = rows(terms.front().coefficient, x) * x;
    for (size_t k = 1; k < terms.size(); ++k) {
      sum = sum + rows(terms[k].coefficient, x) * terms[k].value;
    }
    return sum;
  }
  if (terms.size() > most_terms) {
    std::vector<Term> rest = {
        {at::ones_like(terms.front().coefficient), combine({terms.begin(), terms.begin() + most_terms})}};
    rest.insert(rest.end(), terms.begin() + most_terms, terms.end());
    return combine(rest);
  }
  const int count = static_cast<int>(terms.size());
  const int64_t batch = x.size(0), columns = x.numel() / batch;
  std::vector<Tensor> coefficients;
  for (const Term& term : terms) {
    coefficients.push_back(term.coefficient.to(at::kDouble));
  }
  const Tensor c = at::stack(coefficients).to(x.options()).contiguous();  // one transfer for all
  const Tensor out = at::empty_like(x);
  dispatch(
      x,
      [&](double) {
        std::array<const double*, most_terms> values{};
        std::transform(terms.begin(), terms.end(), values.begin(),
                       [](const Term& t) { return t.value.const_data_ptr<double>(); });
        combine_loop(count, c.const_data_ptr<double>(), values.data(), out.mutable_data_ptr<double>(), batch, columns);
      },
      [&](const FusedKernels& k) {
        std::array<const float*, most_terms> values{};
        std::transform(terms.begin(), terms.end(), values.begin(),
                       [](const Term& t) { return t.value.const_data_ptr<float>(); });
        k.combine(count, c.const_data_ptr<float>(), values.data(), out.mutable_data_ptr<float>(), batch, columns);
      });
  return out;
}

Tensor mean_measure(Measure kind, const Tensor& prediction, const Tensor& target, double c) {
  const Tensor p = prediction.contiguous(), q = target.contiguous();
  if (fits(p, q)) {
    return MeanMeasure::apply(static_cast<int64_t>(kind), p, q, c);
  }
  const Tensor d = (p - q).flatten(1);
  switch (kind) {
    case Measure::square:
      return d.square().mean(1);
    case Measure::absolute:
      return d.abs().mean(1);
    default:
      return (d.square() / ((d.square() + c * c).sqrt() + c)).mean(1);
  }
}

}  // namespace retort
