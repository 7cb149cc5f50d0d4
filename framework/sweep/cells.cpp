#include "sweep/cells.h"

#include <algorithm>
#include <map>
#include <set>

#include "config/layers.h"
#include "config/toml.h"
#include "io/names.h"
#include "retort/error.h"
#include "sweep/axes.h"
#include "sweep/search.h"

namespace retort {

namespace {

RequestError wrong(const Origin& at, const std::string& what) { return RequestError(to_string(at) + ": " + what); }

// A word as it is, but "steps=400": words speak for themselves, numbers do not.
std::string words_of(const Value& values) {
  constexpr size_t longest = 60;
  std::string out;
  for (const auto& [key, value] : values.table()) {
    const std::string last = key.substr(key.rfind('.') + 1);
    const std::string* text = std::get_if<std::string>(&value.data);
    const bool word = text != nullptr && !text->empty();
    out +=
        (out.empty() ? "" : "_") + (word ? file_name(*text, longest) : last + "=" + file_name(value.text(), longest));
  }
  return out.empty() ? "unchanged" : out;
}

// Names are for people: they are made different where values that differ would read the same.
void name_cells(std::vector<Cell>& cells) {
  constexpr size_t longest = 180;  // a file name's limit is 255 bytes
  std::map<std::string, int> times;
  for (Cell& cell : cells) {
    cell.name = file_name(words_of(cell.values), longest);
    times[cell.name] += 1;
  }
  for (Cell& cell : cells) {
    if (times.at(cell.name) > 1) {
      cell.name += "~" + short_hash(cell.values.text());
    }
  }
}

bool matches(const Assignments& exclusion, const Value& values) {
  return std::all_of(exclusion.begin(), exclusion.end(), [&](const auto& wanted) {
    const Value* value = values.find(wanted.first);
    return value != nullptr && (*value == wanted.second || value->text() == wanted.second.text());
  });
}

// Types first: what is swept beside a type is meant for it, and never left over from the one before.
void set_values(Cell& cell) {
  for (const bool types : {true, false}) {
    for (const auto& [key, value] : cell.values.table()) {
      if (key.ends_with(".type") == types) {
        lay(cell.config, key, value);
      }
    }
  }
}

// One axis of draws, and of what was told, in place of all but the seeds, on which each of them is tried.
std::vector<Axis> drawn(const Search& search, std::vector<Axis> axes, const std::vector<Assignments>& exclusions,
                        const std::vector<Assignments>& told) {
  const auto seeds = std::stable_partition(axes.begin(), axes.end(), [](const Axis& a) { return !is_of_seeds(a); });
  std::vector<Axis> out(seeds, axes.end());
  axes.erase(seeds, axes.end());
  if (axes.empty()) {
    return out;
  }
  const auto allowed = [&](const Value& values) {
    return std::none_of(exclusions.begin(), exclusions.end(), [&](const auto& e) { return matches(e, values); });
  };
  Axis trials{axes[0].origin, draw(search, axes, allowed), "trials"};
  const auto table = [](const Assignments& place) { return Value{Table(place.begin(), place.end()), {}}; };
  for (const Assignments& own : told) {
    if (std::none_of(trials.places.begin(), trials.places.end(),
                     [&](const Assignments& place) { return table(place) == table(own); })) {
      trials.places.push_back(own);
    }
  }
  if (trials.places.empty() && !search.draws()) {
    throw wrong(axes[0].origin, "sweep.search: nothing is told yet; expected `retort sweep CONFIG --tell '{…}'` first");
  }
  out.insert(out.begin(), std::move(trials));
  return out;
}

}  // namespace

std::vector<Cell> expand(const Value& config, const std::vector<Assignments>& told) {
  const Value* written = config.find("sweep");
  std::vector<Cell> cells(1);
  cells[0].config = config;
  cells[0].config.erase("sweep");
  if (written == nullptr) {
    return cells;
  }
  const Value sweep = flat_sweep(*written);
  std::vector<Axis> axes = axes_of(sweep);
  const std::vector<Assignments> exclusions = exclusions_of(sweep, keys_of(axes));
  if (const std::optional<Search> search = search_of(sweep)) {
    if (sweep.find("tune") != nullptr) {
      throw wrong(sweep.find("tune")->origin, "[sweep.tune] and [sweep.search] stand together; expected one of them");
    }
    axes = drawn(*search, std::move(axes), exclusions, told);
  }
  if (count_cells(axes) > most_cells) {
    throw wrong(sweep.origin, "sweep: makes more than " + std::to_string(most_cells) + " cells; expected fewer");
  }
  for (const Axis& axis : axes) {
    std::vector<Cell> next;
    for (const Cell& cell : cells) {
      for (const Assignments& place : axis.places) {
        next.push_back({"", cell.values, cell.config, {}});
        for (const auto& [key, value] : place) {
          next.back().values[key] = value;
        }
      }
    }
    cells = std::move(next);
  }
  std::erase_if(cells, [&](const Cell& cell) {
    return std::any_of(exclusions.begin(), exclusions.end(), [&](const auto& e) { return matches(e, cell.values); });
  });
  if (cells.empty()) {
    throw wrong(sweep.origin, "sweep.exclude leaves no cell");
  }
  std::set<std::string> seen;
  for (Cell& cell : cells) {
    if (!seen.insert(cell.values.text()).second) {
      throw wrong(sweep.origin,
                  "sweep: two cells are the same, with " + cell.values.text() + "; each should be there once");
    }
    set_values(cell);
  }
  name_cells(cells);
  return cells;
}

}  // namespace retort
