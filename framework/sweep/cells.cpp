#include "sweep/cells.h"

#include <algorithm>
#include <map>
#include <set>

#include "config/layers.h"
#include "config/toml.h"
#include "io/names.h"
#include "retort/error.h"
#include "sweep/axes.h"

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

}  // namespace

std::vector<Cell> expand(const Value& config) {
  const Value* written = config.find("sweep");
  std::vector<Cell> cells(1);
  cells[0].config = config;
  cells[0].config.erase("sweep");
  if (written == nullptr) {
    return cells;
  }
  const Value sweep = flat_sweep(*written);
  const std::vector<Axis> axes = axes_of(sweep);
  if (count_cells(axes) > most_cells) {
    throw wrong(sweep.origin, "sweep: makes more than " + std::to_string(most_cells) + " cells; expected fewer");
  }
  const std::vector<Assignments> exclusions = exclusions_of(sweep, keys_of(axes));
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
