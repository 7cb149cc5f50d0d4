#include "help/catalog.h"

#include <algorithm>
#include <cctype>

#include "config/experiment.h"
#include "retort/backend.h"
#include "retort/metric.h"
#include "retort/schedule.h"
#include "retort/tracker.h"
#include "sweep/search.h"

namespace retort {

namespace {

// Whether a sentence ends at the full stop at `at`: "et al. 2022" goes on, and so does "e.g. this".
bool ends_a_sentence(const std::string& text, size_t at) {
  const size_t next = text.find_first_not_of(' ', at + 1);
  if (next == std::string::npos) {
    return true;
  }
  const auto c = static_cast<unsigned char>(text[next]);
  return next > at + 1 && (std::isupper(c) != 0 || c == '`' || c == '[');
}

}  // namespace

std::string first_sentence(const std::string& page) {
  std::string text = page.substr(0, page.find("\n\n"));
  std::replace(text.begin(), text.end(), '\n', ' ');
  for (size_t at = text.find('.'); at != std::string::npos; at = text.find('.', at + 1)) {
    if (ends_a_sentence(text, at)) {
      return text.substr(0, at + 1);
    }
  }
  const size_t last = text.find_last_not_of(' ');
  return last == std::string::npos ? "" : text.substr(0, last + 1);
}

PluginDescription describe_table(const TableInfo& table) {
  Params p = Params::describing();
  table.declare(p);
  return {{"table", table.name, {}}, table.about + std::string("\n"), p.described()};
}

const std::vector<PluginDescription>& Catalog::plugins(const std::string& kind) const {
  const auto known = plugins_.find(kind);
  if (known != plugins_.end()) {
    return known->second;
  }
  std::vector<PluginDescription>& out = plugins_[kind];
  for (const PluginFile& file : registry_.files()) {
    const bool wanted = file.kind == kind &&
                        std::none_of(out.begin(), out.end(), [&](const auto& d) { return d.file.name == file.name; });
    if (!wanted) {
      continue;
    }
    try {
      out.push_back(registry_.describe(file));
    } catch (const std::exception& e) {  // a plugin of somebody else that does not build: the others are still there
      out.push_back({file, cannot_be_described + std::string(e.what()), {}});
    }
  }
  return out;
}

const PluginDescription* Catalog::plugin(const std::string& kind, const std::string& name) const {
  const std::vector<PluginDescription>& all = plugins(kind);
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& d) { return d.file.name == name; });
  return found != all.end() ? &*found : nullptr;
}

const std::vector<ParamInfo>& Catalog::host_keys(const std::string& kind) const {
  const auto known = host_keys_.find(kind);
  if (known != host_keys_.end()) {
    return known->second;
  }
  std::vector<std::string> names = registry_.names(kind);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  const bool chosen = kind == Backend::kind;
  if (chosen) {
    names.insert(names.begin(), choose_for_me);
  }
  const std::string first = names.empty() ? "" : names[0];
  std::vector<ParamInfo> out = {
      {"type", "string", "\"" + first + "\"", !chosen, "", names,
       chosen ? "which plugin; \"" + std::string(choose_for_me) + "\" takes the fastest one that works here"
              : "which plugin"}};
  if (kind == Schedule::kind) {
    out.push_back({"evaluations",
                   "integer",
                   "20",
                   true,
                   ">= 1",
                   {},
                   "in place of steps: as many steps as the solver can take with so many evaluations of the teacher"});
  }
  return host_keys_[kind] = out;
}

const PluginDescription* Catalog::table(const std::string& name) const {
  const TableInfo* info = find_table(name);
  if (info == nullptr || info->declare == nullptr) {
    return nullptr;
  }
  const auto known = tables_.find(name);
  return known != tables_.end() ? &known->second : &(tables_[name] = describe_table(*info));
}

bool is_listed(const std::string& kind) { return kind == Metric::kind || kind == Tracker::kind; }

std::string table_of(const std::string& kind, const std::string& plugin) {
  return is_listed(kind) ? kind + "." + plugin : kind;
}

std::string nested_kind(const std::string& type) {
  std::string out = type;
  for (const auto& [begin, end] : {std::pair("list of ", " plugins"), std::pair("", " plugin")}) {
    if (out.starts_with(begin) && out.ends_with(end)) {
      const size_t from = std::string(begin).size();
      out = out.substr(from, out.size() - from - std::string(end).size());
      const bool known = std::find(std::begin(plugin_kinds), std::end(plugin_kinds), out) != std::end(plugin_kinds);
      return known ? out : "";
    }
  }
  return "";
}

std::string spell(const ParamInfo& p) { return p.name + " = " + p.default_value; }

const std::vector<ParamInfo>& sweep_keys() {
  static const std::vector<ParamInfo> all = {
      {"seeds",
       "integer or list of integers",
       "8",
       true,
       ">= 1",
       {},
       "so many seeds, run.seed = 0 and on; or those of a list"},
      {"zip",
       "table or list of tables",
       R"([{ "train.steps" = [100, 400], "train.learning_rate" = [1e-4, 2e-5] }])",
       true,
       "",
       {},
       "lists of equal length by dotted key: the first values together, the second ones together, and on"},
      {"cells",
       "table or list of tables",
       R"([{ "student.adapter" = "lora", "student.rank" = 4 }, { "student.adapter" = "none" }])",
       true,
       "",
       {},
       "one axis whose places are tables of values by dotted key"},
      {"exclude",
       "table or list of tables",
       R"([{ "loss.distance" = "l1", "train.steps" = 100 }])",
       true,
       "",
       {},
       "no cell that has all values of one of these tables"},
      {"tune",
       "table",
       "{ \"train.learning_rate\" = [3e-4, 1e-3], seeds = [0, 1], by = \"fd\" }",
       true,
       "",
       {},
       "settings that each cell takes at their best, found on seeds of its own"},
      {"search",
       "table or string",
       "{ type = \"sobol\", trials = 20, by = \"fd\" }",
       true,
       "",
       {},
       "draws from lists and ranges, { min = 1e-5, max = 1e-3, log = true }, in place of their product"},
  };
  return all;
}

const std::vector<ParamInfo>& search_keys() {
  static const std::vector<ParamInfo> all = [] {
    Params p = Params::describing();
    const Search declared(p);
    return p.described();
  }();
  return all;
}

const std::vector<ParamInfo>& tune_keys() {
  static const std::vector<ParamInfo> all = {
      {"seeds",
       "integer or list of integers",
       "[0, 1]",
       true,
       "",
       {},
       "what is chosen on; none of sweep.seeds, which confirm"},
      {"by", "string", "\"fd\"", true, "", {}, "the metric whose smallest mean wins"},
      {"student_steps",
       "integer",
       "1",
       true,
       ">= 0",
       {},
       "steps of the sampler that counts; left out: the mean over evaluate.student_steps"},
  };
  return all;
}

const ParamInfo& extends_key() {
  static const ParamInfo key = {
      "extends",
      "path",
      "\"OTHER.toml\"",
      true,
      "",
      {},
      "another configuration, all of whose tables but [sweep] hold where this one says nothing; "
      "stands before the first table"};
  return key;
}

}  // namespace retort
