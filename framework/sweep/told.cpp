#include "sweep/told.h"

#include <algorithm>
#include <boost/algorithm/string/join.hpp>
#include <chrono>
#include <thread>

#include "config/toml.h"
#include "io/files.h"
#include "io/json_file.h"
#include "retort/error.h"
#include "share/claim.h"
#include "sweep/cells.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

fs::path told_path(const fs::path& output) { return output / "told.json"; }

Value table_of(const Assignments& place) { return {Table(place.begin(), place.end()), {}}; }

// A place as optimizers take it: a value, or the text of several.
Json label(const Assignments& place) {
  return place.size() == 1 && !place[0].second.is_table() ? to_json(place[0].second) : Json(table_of(place).text());
}

std::vector<std::string> names_of(const std::vector<Axis>& axes) {
  std::vector<std::string> out;
  for (const Axis& axis : axes) {
    const auto before = std::count_if(out.begin(), out.end(), [&](const std::string& name) {
      return name == axis.key || name.starts_with(axis.key + " ");
    });
    out.push_back(before == 0 ? axis.key : axis.key + " " + std::to_string(before + 1));
  }
  return out;
}

[[noreturn]] void refuse(const std::string& name, const Json& value, const std::string& expected) {
  throw RequestError("--tell: \"" + name + "\" is " + spell(value) + "; expected " + expected);
}

Assignments place_named(const Axis& axis, const std::string& name, const Json& value) {
  if (!axis.range) {
    std::vector<std::string> known;
    for (const Assignments& place : axis.places) {
      if (label(place) == value) {
        return place;
      }
      known.push_back(spell(label(place)));
    }
    refuse(name, value, "one of " + boost::algorithm::join(known, ", "));
  }
  const ValueRange& range = *axis.range;
  const bool fits = value.is_number() && (!range.whole || value.is_number_integer());
  if (!fits || value.get<double>() < range.min || value.get<double>() > range.max) {
    refuse(name, value,
           std::string(range.whole ? "an integer" : "a number") + " from " + Value{range.min, {}}.text() + " to " +
               Value{range.max, {}}.text());
  }
  if (range.whole) {
    return {{axis.key, Value{value.get<int64_t>(), {}}}};
  }
  return {{axis.key, Value{value.get<double>(), {}}}};
}

}  // namespace

std::vector<Axis> searched_axes(const Value& sweep) {
  std::vector<Axis> axes = axes_of(flat_sweep(sweep));
  std::erase_if(axes, is_of_seeds);
  return axes;
}

Json space_of(const std::vector<Axis>& axes) {
  Json out = Json::object();
  const std::vector<std::string> names = names_of(axes);
  for (size_t i = 0; i < axes.size(); ++i) {
    if (const auto& range = axes[i].range) {
      out[names[i]] = {{"min", range->min}, {"max", range->max}, {"log", range->log}, {"integer", range->whole}};
      continue;
    }
    Json choices = Json::array();
    for (const Assignments& place : axes[i].places) {
      choices.push_back(label(place));
    }
    out[names[i]] = {{"choices", choices}};
  }
  return out;
}

Assignments told_place(const std::vector<Axis>& axes, const std::string& json) {
  const Json values = Json::parse(json, nullptr, false);
  const std::vector<std::string> names = names_of(axes);
  if (!values.is_object()) {
    throw RequestError("--tell: is no JSON object; expected {\"" + (names.empty() ? "KEY" : names[0]) + "\": …}");
  }
  for (const auto& [name, value] : values.items()) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      throw RequestError("--tell: \"" + name + "\" is not searched" + did_you_mean(name, names));
    }
  }
  Assignments out;
  for (size_t i = 0; i < axes.size(); ++i) {
    if (!values.contains(names[i])) {
      throw RequestError("--tell: \"" + names[i] + "\" is missing; expected a value for all that is searched");
    }
    const Assignments place = place_named(axes[i], names[i], values[names[i]]);
    out.insert(out.end(), place.begin(), place.end());
  }
  return out;
}

Json told_values(const std::vector<Axis>& axes, const Value& values) {
  Json out = Json::object();
  const std::vector<std::string> names = names_of(axes);
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i].range) {
      if (const Value* value = values.find(axes[i].key)) {
        out[names[i]] = to_json(*value);
      }
      continue;
    }
    const Assignments* best = nullptr;  // the one that says most of them
    for (const Assignments& place : axes[i].places) {
      const bool fits = std::all_of(place.begin(), place.end(), [&](const auto& wanted) {
        const Value* value = values.find(wanted.first);
        return value != nullptr && *value == wanted.second;
      });
      best = fits && (best == nullptr || place.size() > best->size()) ? &place : best;
    }
    if (best != nullptr) {
      out[names[i]] = label(*best);
    }
  }
  return out;
}

std::vector<Assignments> told_in(const fs::path& output) {
  std::vector<Assignments> out;
  const Json kept = read_json(told_path(output));
  if (kept.is_array()) {
    for (const Json& values : kept) {
      const Value table = from_json(values, "told.json");
      out.emplace_back(table.table().begin(), table.table().end());
    }
  }
  return out;
}

void keep_told(const fs::path& output, const Assignments& place) {
  make_folder(output);
  std::unique_ptr<Claim> claim;
  while (!(claim = Claim::take(told_path(output)))) {  // another process tells
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  Json all = Json::array();
  for (const Assignments& known : told_in(output)) {
    if (table_of(known) == table_of(place)) {
      return;
    }
    all.push_back(to_json(table_of(known)));
  }
  all.push_back(to_json(table_of(place)));
  write_text(told_path(output), spell(all, 1) + "\n");
}

}  // namespace retort
