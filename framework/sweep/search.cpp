#include "sweep/search.h"

#include <ATen/ops/_sobol_engine_draw.h>
#include <ATen/ops/_sobol_engine_initialize_state.h>
#include <ATen/ops/_sobol_engine_scramble.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/tril.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "retort/error.h"
#include "retort/tensor.h"

namespace retort {

namespace {

// A number as people write it: four digits of what differs are more than a search can tell apart, and name its folder.
double rounded(double value, const ValueRange& range) {
  const double alike = std::max(std::abs(range.min), std::abs(range.max)) / (range.max - range.min);
  const int digits = std::min(16, 3 + static_cast<int>(std::log10(std::max(alike, 1.0))));
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%.*e", digits, value);
  return std::strtod(text.data(), nullptr);
}

// share: from 0 on, below 1.
Value at_share(const ValueRange& range, double share, const Origin& origin) {
  const double width = range.whole ? 1 : 0;  // of the last whole number
  const double low = range.min, high = range.max + width;
  const double value = range.log ? low * std::pow(high / low, share) : low + (high - low) * share;
  if (range.whole) {
    return {static_cast<int64_t>(std::clamp(std::floor(value), range.min, range.max)), origin};
  }
  return {std::clamp(rounded(value, range), range.min, range.max), origin};
}

Assignments place_at(const Axis& axis, double share) {
  if (axis.range) {
    return {{axis.key, at_share(*axis.range, share, axis.origin)}};
  }
  const auto count = static_cast<double>(axis.places.size());
  return axis.places[static_cast<size_t>(std::min(std::floor(share * count), count - 1))];
}

// Points of a unit cube, [count, dimensions], the first of which are the same for any count. Sobol's are scrambled as
// PyTorch's torch.quasirandom.SobolEngine does it (Matousek 1998), so that none lies on an edge.
Tensor points(const Search& search, int64_t count, int64_t dimensions) {
  const auto seed = static_cast<uint64_t>(search.seed);
  if (search.type == "random") {
    const Tensor out = at::empty({count, dimensions}, at::kDouble);
    for (int64_t i = 0; i < count; ++i) {
      out[i].copy_(at::rand({dimensions}, seeded(seed, "search", static_cast<uint64_t>(i)), at::kDouble));
    }
    return out;
  }
  constexpr int64_t bits = 30;
  at::Generator random = seeded(seed, "search");
  Tensor state = at::zeros({dimensions, bits}, at::kLong);
  at::_sobol_engine_initialize_state_(state, dimensions);
  const Tensor shift =
      at::mv(at::randint(2, {dimensions, bits}, random, at::kLong), at::pow(2, at::arange(bits, at::kLong)));
  at::_sobol_engine_scramble_(state, at::randint(2, {dimensions, bits, bits}, random, at::kLong).tril(), dimensions);
  const Tensor first = shift.to(at::kDouble).div_(std::exp2(bits)).unsqueeze(0);
  if (count == 1) {
    return first;
  }
  const Tensor rest = std::get<0>(at::_sobol_engine_draw(shift, count - 1, state, dimensions, 0, at::kDouble));
  return at::cat({first, rest});
}

}  // namespace

Search::Search(Params& p)
    : type(p.choice("type", "random", {"random", "sobol", "halving", "told"},
                    "draws that know nothing of each other; points that fill the space evenly; such points, of which "
                    "the best alone train on at each point of evaluate.at; or what `retort sweep --tell` says alone")),
      trials(p.get("trials", 20, "how many draws, each on all seeds", {1, static_cast<double>(most_cells)})),
      hours(p.get("hours", 0.0,
                  "no cell begins once cells have taken so many hours, those of all workers together; 0: no end", {0})),
      seed(p.get("seed", 0, "of the draws", {0})),
      by(p.get("by", "", "the metric whose smallest mean over seeds is the best; empty: none is named")),
      student_steps(p.get("student_steps", 0,
                          "steps of the sampler that counts for it; 0: the mean over evaluate.student_steps", {0})),
      keep(p.get("keep", 1.0 / 3, "halving: the share of the draws that trains on, at least one of them",
                 {0.001, 0.999})) {
  if (halves() && by.empty()) {
    throw p.error("by", "is missing; expected the metric by which halving chooses");
  }
}

std::optional<Search> search_of(const Value& sweep) {
  const Value* written = sweep.find("search");
  if (written == nullptr) {
    return std::nullopt;
  }
  Value table = *written;
  if (std::holds_alternative<std::string>(written->data)) {
    table.data = Table{{"type", *written}};
  } else if (!written->is_table()) {
    throw RequestError(to_string(written->origin) + ": sweep.search is " + written->type_name() +
                       R"(; expected a table, or one of "random", "sobol", "halving", "told")");
  }
  Params p(table, "sweep.search", nullptr);
  Search out(p);
  p.finish();
  return out;
}

std::vector<Assignments> draw(const Search& search, const std::vector<Axis>& axes,
                              const std::function<bool(const Value&)>& allowed) {
  if (!search.draws()) {
    return {};
  }
  // Of lists alone there may be fewer different draws than trials; this many more are tried.
  constexpr int64_t tries = 20;
  const int64_t most = search.trials * tries;
  std::vector<Assignments> out;
  std::set<std::string> seen;
  const Tensor all = points(search, most, static_cast<int64_t>(axes.size()));
  for (int64_t i = 0; i < most && static_cast<int64_t>(out.size()) < search.trials; ++i) {
    Assignments one;
    Value values;
    for (size_t d = 0; d < axes.size(); ++d) {
      for (auto& [key, value] : place_at(axes[d], all[i][static_cast<int64_t>(d)].item<double>())) {
        values[key] = value;
        one.emplace_back(key, value);
      }
    }
    if (allowed(values) && seen.insert(values.text()).second) {
      out.push_back(std::move(one));
    }
  }
  return out;
}

}  // namespace retort
