// Means over seeds and paired differences: statistics_of.
#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_map>

#include "results/schema.h"
#include "sweep/gather.h"
#include "sweep/statistics.h"

namespace retort {

namespace {

// Equal for values that are equal, and for no others: what to look a value up by. 1 and 1.0 are equal.
void add_key(const Json& value, std::string& out) {
  constexpr double exact = 9007199254740992.0;
  if (value.is_object()) {
    out += '{';
    for (const auto& [key, item] : value.items()) {
      out += std::to_string(key.size()) + ':' + key;
      add_key(item, out);
    }
    out += '}';
  } else if (value.is_array()) {
    out += '[';
    for (const Json& item : value) {
      add_key(item, out);
    }
    out += ']';
  } else if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    out += '"' + std::to_string(text.size()) + ':' + text;
  } else if (const double v = value.is_number_float() ? value.get<double>() : 0.5;
             std::fabs(v) <= exact && v == std::trunc(v)) {
    out += std::to_string(static_cast<int64_t>(v)) + ';';
  } else {
    out += value.dump() + ';';
  }
}

std::string key_of(const Json& value) {
  std::string out;
  add_key(value, out);
  return out;
}

// `of`: how many values there should be. Seeds that failed, or gave no number, are told of.
Json interval_json(const Interval& i, size_t of) {
  Json out = {{"n", i.count}, {"of", of}, {"mean", i.count > 0 ? Json(i.mean) : Json()}};
  if (i.count > 1) {
    out["sd"] = i.deviation;
    out["low"] = i.low;
    out["high"] = i.high;
  }
  return out;
}

// What a row is of, less the seed and less one more key: rows with equal settings are comparable.
Json setting_of(const Row& row, const std::string& without) {
  Json out = Json::object();
  for (const auto& [key, value] : row.swept.items()) {
    if (key != "run.seed" && key != without) {
      out[key] = value;
    }
  }
  out.update(to_json(row, setting_columns()));
  return out;
}

int64_t seed_of(const Row& row) {
  const Json& seed = json_at(row.swept, "run.seed");
  return seed.is_number_integer() ? seed.get<int64_t>() : 0;
}

using Rows = std::vector<const Row*>;
using Samples = std::map<std::string, std::map<int64_t, double>>;  // metric to seed to value

// A metric that gave no number has a place here, but no value.
Samples collect(const Rows& rows) {
  Samples out;
  for (const Row* row : rows) {
    for (const auto& [name, value] : row->metrics) {
      auto& by_seed = out[name];
      if (std::isfinite(value)) {
        by_seed[seed_of(*row)] = value;
      }
    }
  }
  return out;
}

// Things gathered by a key, in order of appearance.
template <class T>
class Gathered {
 public:
  T& at(const Json& key) {
    const auto [found, is_new] = places_.try_emplace(key_of(key), all_.size());
    if (is_new) {
      all_.emplace_back(key, T{});
    }
    return all_[found->second].second;
  }
  const std::vector<std::pair<Json, T>>& all() const { return all_; }

 private:
  std::vector<std::pair<Json, T>> all_;
  std::unordered_map<std::string, size_t> places_;
};

// How many seeds a row's setting was to have: as many as there are cells of it, whatever became of them.
class Planned {
 public:
  explicit Planned(const Json& cells) {
    for (const Json& cell : cells) {
      counts_[less_seed(json_at(cell, "values"))] += 1;
    }
  }
  size_t of(const Row& row) const {
    const auto found = counts_.find(less_seed(row.swept));
    return found != counts_.end() ? found->second : 0;
  }

 private:
  static std::string less_seed(const Json& values) {
    Json out = Json::object();
    for (const auto& [key, value] : values.items()) {
      if (key != "run.seed") {
        out[key] = value;
      }
    }
    return key_of(out);
  }
  std::unordered_map<std::string, size_t> counts_;
};

// The metrics of some rows, in their own order.
std::vector<std::string> metrics_of(const Rows& rows) {
  std::vector<std::string> out;
  for (const Row* row : rows) {
    add_metrics(*row, out);
  }
  return out;
}

Json means_of(const std::vector<Row>& rows, const Planned& planned) {
  Gathered<Rows> groups;
  for (const Row& row : rows) {
    groups.at(setting_of(row, "")).push_back(&row);
  }
  Json out = Json::array();
  for (const auto& [setting, of_setting] : groups.all()) {
    const Samples samples = collect(of_setting);
    const auto n = static_cast<double>(of_setting.size());
    const size_t of = std::max(planned.of(*of_setting[0]), of_setting.size());
    Json metrics = Json::object();
    for (const std::string& name : metrics_of(of_setting)) {
      std::vector<double> values;
      for (const auto& [seed, v] : samples.at(name)) {
        values.push_back(v);
      }
      metrics[name] = interval_json(bootstrap_mean(values), of);
    }
    out.push_back(
        {{"setting", setting}, {columns::cell.key, of_setting[0]->cell}, {columns::metrics.key, std::move(metrics)}});
    for (const Column* cost : cost_columns()) {
      double sum = 0;
      for (const Row* row : of_setting) {
        sum += to_json(*row, {cost}).value(cost->key, 0.0);
      }
      out.back()[cost->key] = sum / n;
    }
  }
  return out;
}

// Of two values of the compared key, in one setting.
Json paired_differences(const Samples& first, const Samples& second, size_t of) {
  Json metrics = Json::object();
  for (const auto& [name, by_seed] : first) {
    const auto other = second.find(name);
    if (other == second.end()) {
      continue;
    }
    std::vector<double> paired;
    for (const auto& [seed, value] : by_seed) {
      if (const auto found = other->second.find(seed); found != other->second.end()) {
        paired.push_back(found->second - value);
      }
    }
    const Interval interval = bootstrap_mean(paired);
    of = std::max(of, paired.size());
    metrics[name] = interval_json(interval, of);
    // Who is missing may be missing for a reason: of what is left alone, no order is claimed.
    metrics[name]["verdict"] = paired.size() < of ? 0 : verdict(interval);
  }
  return metrics;
}

Json differences_of(const std::vector<Row>& rows, const Planned& planned, const std::string& compare) {
  struct Setting {
    std::unordered_map<std::string, Rows> by_value;
  };
  Gathered<Setting> groups;
  Gathered<bool> values;  // of the compared key
  for (const Row& row : rows) {
    const Json& value = json_at(row.swept, compare);
    if (!value.is_null()) {
      values.at(value) = true;
      groups.at(setting_of(row, compare)).by_value[key_of(value)].push_back(&row);
    }
  }
  Json out = Json::array();
  for (const auto& [setting, group] : groups.all()) {
    const auto first = group.by_value.find(key_of(values.all()[0].first));
    if (first == group.by_value.end()) {
      continue;
    }
    const auto most_planned = [&](const Rows& some) {
      size_t of = 0;
      for (const Row* row : some) {
        of = std::max(of, planned.of(*row));
      }
      return of;
    };
    const Samples samples = collect(first->second);
    const size_t of_first = most_planned(first->second);
    for (size_t i = 1; i < values.all().size(); ++i) {
      const Json& to = values.all()[i].first;
      const auto second = group.by_value.find(key_of(to));
      if (second == group.by_value.end()) {
        continue;
      }
      Json metrics =
          paired_differences(samples, collect(second->second), std::max(of_first, most_planned(second->second)));
      if (!metrics.empty()) {
        out.push_back({{"setting", setting},
                       {"from", values.all()[0].first},
                       {"to", to},
                       {columns::metrics.key, std::move(metrics)}});
      }
    }
  }
  return out;
}

}  // namespace

Json statistics_of(const std::vector<Row>& rows, const std::string& compare, const Json& cells) {
  const Planned planned(cells);
  return {{"compare", compare},
          {"groups", means_of(rows, planned)},
          {"differences", differences_of(rows, planned, compare)}};
}

}  // namespace retort
