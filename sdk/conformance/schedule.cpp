#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "world.h"

namespace retort::conformance {

namespace {

const double* number(const Value& table, const char* key, double& storage) {
  const Value* value = table.find(key);
  if (value == nullptr) {
    return nullptr;
  }
  if (const auto* d = std::get_if<double>(&value->data)) {
    storage = *d;
    return &storage;
  }
  if (const auto* i = std::get_if<int64_t>(&value->data)) {
    storage = static_cast<double>(*i);
    return &storage;
  }
  return nullptr;
}

struct Grid {
  Process process;
  std::shared_ptr<Schedule> schedule;
  Tensor times;
};

// The grid on a process, or nothing where the process ends before the grid begins.
std::optional<Grid> grid_on(const Subject& subject, const std::string& name, const Table& more = {}) {
  Grid out{make_process(name), nullptr, {}};
  World world(out.process, {{1}}, subject.host);
  try {
    out.schedule = world.build<Schedule>(subject, more);
    out.times = out.schedule->times(out.process, 0);
  } catch (const RequestError&) {
    return {};
  }
  const bool endless = out.process.is_variance_exploding();
  const bool beyond = out.times[0].item<double>() > out.process.t_max() * (1 + 1e-9);
  // Levels beyond the process's last are clamped to it and repeat.
  const bool clamped = out.times.size(0) > 1 && out.times[0].item<double>() == out.times[1].item<double>();
  return !endless && (beyond || clamped) ? std::nullopt : std::optional(out);
}

void check_grid(const Grid& g, const std::string& name, Findings& out) {
  const Tensor& t = g.times;
  const bool shaped = t.dim() == 1 && t.size(0) >= 2 && t.scalar_type() == at::kDouble && t.is_cpu();
  out.add("times on " + name, shaped && all_finite(t),
          spell_shape(t.sizes()) + " " + c10::toString(t.scalar_type()) + (all_finite(t) ? "" : ", not finite"),
          "[2 or more] Double on the CPU, finite");
  if (!shaped) {
    return;
  }
  const double gap = (-t.diff()).min().item<double>();
  out.add("falls on " + name, gap > 0, "least step " + spell(gap), "strictly falling times");
  out.add("ends on " + name, t[-1].item<double>() >= 0,
          spell(t[0].item<double>()) + " to " + spell(t[-1].item<double>()), "within the process");
}

// The ends that the parameters name, by the names that the field gives them.
void check_ends(const Subject& subject, const Grid& g, Findings& out) {
  const Value table = parameters(subject);
  double wanted = 0;
  const auto compare = [&](const std::string& name, double measured) {
    out.add(name, std::abs(measured - wanted) <= 1e-6 * std::max(1.0, std::abs(wanted)), spell(measured),
            spell(wanted));
  };
  const Tensor levels = g.process.noise_level(g.times);
  const Tensor positive = levels.masked_select(levels > 0);
  if (number(table, "sigma_max", wanted) != nullptr) {
    compare("begins at sigma_max", levels[0].item<double>());
  }
  if (number(table, "sigma_min", wanted) != nullptr) {
    compare("least level above zero is sigma_min", positive[-1].item<double>());
  }
  if (number(table, "t_max", wanted) != nullptr && wanted > 0) {
    compare("begins at t_max", g.times[0].item<double>());
  }
  if (number(table, "t_min", wanted) != nullptr) {
    compare("ends at t_min", g.times[-1].item<double>());
  }
  if (const Value* times = table.find("times"); times != nullptr && std::holds_alternative<Array>(times->data)) {
    wanted = static_cast<double>(std::get<Array>(times->data).size());
    compare("as many times as listed", static_cast<double>(g.times.size(0)));
  }
}

void check_length(const Subject& subject, const std::string& name, const Grid& g, Findings& out) {
  const Value table = parameters(subject);
  const Value* steps = table.find("steps");
  if (steps == nullptr || !std::holds_alternative<int64_t>(steps->data)) {
    return;
  }
  const int64_t n = std::get<int64_t>(steps->data);
  const auto doubled = grid_on(subject, name, {{"steps", Value{2 * n, {}}}});
  if (doubled) {
    const int64_t more = doubled->times.size(0) - g.times.size(0);
    out.add(
        "length", more == n,
        "steps " + std::to_string(n) + " to " + std::to_string(2 * n) + " adds " + std::to_string(more) + " intervals",
        std::to_string(n));
  }
}

void check_draw(const Grid& g, Findings& out) {
  const int64_t intervals = g.times.size(0) - 1;
  const int64_t count = 200 * intervals;
  const Tensor index = g.schedule->draw(intervals, count, seeded(5, "draw"));
  const bool shaped = index.dim() == 1 && index.size(0) == count && index.scalar_type() == at::kLong;
  const bool inside = shaped && index.min().item<int64_t>() >= 0 && index.max().item<int64_t>() < intervals;
  out.add("draws intervals of the grid", inside,
          shaped ? std::to_string(index.min().item<int64_t>()) + " to " + std::to_string(index.max().item<int64_t>())
                 : spell_shape(index.sizes()),
          std::to_string(count) + " int64 within 0 to " + std::to_string(intervals - 1));
  const bool same = same_bits(index, g.schedule->draw(intervals, count, seeded(5, "draw")));
  out.add("draws reproducibly", same, same ? "equal draws" : "differs", "equal draws from equal random streams");
}

void check_curriculum(const Grid& g, Findings& out) {
  bool moved = false, fell = false;
  int64_t before = 0, first = 0, last = 0;
  for (int i = 0; i <= 20; ++i) {
    const Tensor t = g.schedule->times(g.process, i / 20.0);
    moved = moved || !same_bits(t, g.times);
    fell = fell || t.size(0) < before;
    before = last = t.size(0);
    first = i == 0 ? last : first;
  }
  const bool declared = g.schedule->changes();
  out.add("curriculum", moved == declared && !fell,
          moved ? std::to_string(first - 1) + " intervals at first, " + std::to_string(last - 1) + " at last" +
                      (fell ? ", fewer in between" : "")
                : "one grid throughout",
          declared ? "a grid that changes and never gets coarser" : "one grid throughout");
}

}  // namespace

void check_schedule(const Subject& subject, Findings& out) {
  std::string fits;
  for (const std::string& name : process_names) {
    out.run("times on " + name, [&] {
      const auto g = grid_on(subject, name);
      if (!g) {
        return;
      }
      const bool first = fits.empty();
      fits += (first ? "" : ", ") + name;
      check_grid(*g, name, out);
      if (first) {
        check_ends(subject, *g, out);
        check_length(subject, name, *g, out);
        check_draw(*g, out);
        check_curriculum(*g, out);
      }
    });
  }
  const auto count = std::count(fits.begin(), fits.end(), ',') + (fits.empty() ? 0 : 1);
  out.add("fits processes", count >= 2, fits.empty() ? "none" : fits,
          "two at least: times in one process's unit fit no other");
}

}  // namespace retort::conformance
