#include "sample/sampler.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "interrupt.h"
#include "log.h"
#include "sample/conditions.h"

namespace retort {

void require_finite(const Tensor& x, const std::string& what) {
  if (!x.defined() || !x.is_floating_point() || x.numel() == 0) {
    return;
  }
  const Tensor bad = x.isfinite().flatten(1).all(1).logical_not();
  if (const int64_t count = bad.sum().item<int64_t>(); count > 0) {
    throw Error(what + " are not finite: " + std::to_string(count) + " of " + std::to_string(x.size(0)) +
                ", the first in row " + std::to_string(at::nonzero(bad)[0].item<int64_t>()) + " (counted from 0)");
  }
}

double middle_guidance(const Experiment& experiment) {
  const auto range = experiment.teacher ? experiment.teacher->guidance() : std::nullopt;
  return range ? (range->first + range->second) / 2 : 1;
}

namespace {

// Standard normal noise [n, …] float32 whose row i depends on the seed, the stream and first + i alone.
Tensor noise_rows(at::IntArrayRef shape, int64_t seed, const char* stream, int64_t first) {
  const Tensor out = at::empty(shape, at::TensorOptions().dtype(at::kFloat));
  for (int64_t i = 0; i < out.size(0); ++i) {
    out[i].normal_(0, 1, seeded(static_cast<uint64_t>(seed), stream, static_cast<uint64_t>(first + i)));
  }
  return out;
}

}  // namespace

Batch starting_noise(const Experiment& experiment, const Tensor& grid, int64_t n, int64_t seed, double guidance) {
  const Backend& backend = experiment.backend();
  std::vector<int64_t> shape = experiment.spec().shape;
  shape.insert(shape.begin(), n);
  Batch out;
  out.x = noise_rows(shape, seed, "start", 0).to(backend.device(), backend.dtype());
  out.x = out.x * experiment.process().sigma(grid[0].view({1})).item<double>();
  out.condition = sample_conditions(experiment, n, seed, guidance);
  return out;
}

namespace {

// Applies `f` to the rows first, first + batch, … and joins the results.
template <class F>
Tensor in_chunks(const std::string& label, const Batch& start, int64_t batch, F f) {
  const int64_t n = start.x.size(0);
  log::Progress progress(label, n);
  std::vector<Tensor> parts;
  for (int64_t first = 0; first < n; first += batch) {
    if (stop_requested()) {
      throw Error("interrupted; what was trained is kept, and the same command goes on from there");
    }
    const int64_t count = std::min(batch, n - first);
    const Tensor rows = at::arange(first, first + count, at::kLong).to(start.x.device());
    parts.push_back(f(first, start.x.narrow(0, first, count), start.condition.select(rows)));
    progress.advance(count);
  }
  return at::cat(parts);
}

// f gives samples at the end of the grid, which need not be clean: from there to t the signal is scaled by
// alpha_t / alpha_end, and only the variance that is missing is added.
Tensor renoised(const Process& process, const Tensor& x, const Tensor& noise, const Tensor& end, const Tensor& t) {
  const Tensor scale = process.alpha(t) / process.alpha(end);
  const Tensor there = scale * process.sigma(end);
  const Tensor missing = (process.sigma(t).square() - there.square()).clamp_min(0).sqrt();
  return rows(scale, x) * x + rows(missing, x) * noise;
}

}  // namespace

namespace {

// Where the sampler's k-th step begins, for each row.
Tensor time_of_step(const Tensor& times, int64_t k, int64_t rows) { return times[k].expand({rows}).contiguous(); }

// The noise before the sampler's k-th step.
Tensor noise_of_step(const Tensor& like, int64_t k, int64_t seed, int64_t first) {
  const std::string stream = "multistep " + std::to_string(k);
  return noise_rows(like.sizes(), seed, stream.c_str(), first).to(like.options());
}

// The end of the way, noised to the next time, and again.
Tensor by_endpoints(const Model& model, const Tensor& times, const Tensor& start, int64_t seed, int64_t first,
                    const Conditioning& condition) {
  const Tensor end = times[-1].view({1});
  Tensor x = start, clean;
  for (int64_t k = 0; k + 1 < times.size(0); ++k) {
    const Tensor t = time_of_step(times, k, x.size(0));
    if (k > 0) {
      x = renoised(model.process(), clean, noise_of_step(x, k, seed, first), end, t);
    }
    clean = model.endpoint(x, t, condition);
  }
  return clean;
}

// Whether it leads from one time to another by itself.
bool jumps(const Model& model) { return model.makes() == Makes::flow_map || model.makes() == Makes::policy; }

// A move below the next time, noise up to it, and again; the last move is to the end.
Tensor by_moves(const Model& model, const Tensor& times, const Tensor& start, double gamma, int64_t seed, int64_t first,
                const Conditioning& condition) {
  const Process& process = model.process();
  Tensor x = start;
  for (int64_t k = 0; k + 1 < times.size(0); ++k) {
    const Tensor t = time_of_step(times, k, x.size(0)), next = time_of_step(times, k + 1, x.size(0));
    const bool last = k + 2 == times.size(0);
    const Tensor below = last ? next : at::maximum((1 - gamma) * next, times[-1].expand_as(next));
    if (jumps(model)) {
      x = model.jump(x, t, below, condition);
    } else {
      const Tensor end = model.endpoint(x, t, condition);
      x = last ? end : ddim_step(Times(process, t), Times(process, below), x, end);
    }
    if (!last && gamma > 0) {
      x = renoised(process, x, noise_of_step(x, k + 1, seed, first), below, next);
    }
  }
  return x;
}

}  // namespace

Tensor sampler_times(const Tensor& grid, int64_t steps, const std::vector<std::vector<double>>& chosen) {
  for (const std::vector<double>& between : chosen) {
    if (static_cast<int64_t>(between.size()) + 1 == steps) {
      return at::cat({grid.narrow(0, 0, 1), at::tensor(between, grid.options()), grid.narrow(0, -1, 1)});
    }
  }
  const int64_t intervals = grid.size(0) - 1;
  if (steps > intervals) {
    throw RequestError(std::to_string(steps) + " sampler steps are more than the " + std::to_string(intervals) +
                       " interval(s) of the grid; expected " + std::to_string(intervals) + " at most");
  }
  std::vector<Tensor> out;
  for (int64_t k = 0; k <= steps; ++k) {
    out.push_back(grid[part_of_grid(k, intervals, steps)]);
  }
  return at::stack(out);
}

Tensor sample_student(const Model& model, const Tensor& times, const Batch& start, int64_t batch, int64_t seed,
                      std::optional<double> gamma) {
  const at::NoGradGuard no_grad;
  const int64_t steps = times.size(0) - 1;
  if (model.makes() == Makes::generator && steps > 1) {
    throw RequestError(std::to_string(steps) + " sampler steps of what makes samples in one; expected 1");
  }
  const std::string in_steps = " in " + std::to_string(steps) + (steps == 1 ? " step" : " steps");
  const Tensor out = in_chunks("sampling" + in_steps, start, batch,
                               [&](int64_t first, const Tensor& noise, const Conditioning& condition) {
                                 return jumps(model) || (gamma && model.makes() != Makes::generator)
                                            ? by_moves(model, times, noise, gamma.value_or(0), seed, first, condition)
                                            : by_endpoints(model, times, noise, seed, first, condition);
                               });
  require_finite(out, "the student's samples" + in_steps);
  return out;
}

Tensor sample_teacher(const Ode& ode, const Solver& solver, const Tensor& grid, const Batch& start, int64_t batch,
                      int64_t seed) {
  const at::NoGradGuard no_grad;
  const Tensor out = in_chunks(
      "solving the teacher's ODE", start, batch, [&](int64_t first, const Tensor& x, const Conditioning& condition) {
        const Noise noise(static_cast<uint64_t>(seed), at::arange(first, first + x.size(0), at::kLong));
        return solve(ode.with(condition), solver, grid, x, {}, {}, noise);
      });
  require_finite(out, "the teacher's samples");
  return out;
}

}  // namespace retort
