/// Parameters of a plugin, declared once: in its constructor.
///
/// The same constructor serves three purposes. When a run is built, `get` returns what TOML says, checked for type and
/// range. When `retort inspect` asks, `get` records name, type, default, range and sentence and returns the default.
/// And a key of TOML that no constructor asked for is an error with its file, line and the nearest known name.
#pragma once

#include <functional>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/error.h"
#include "retort/value.h"

namespace retort {

class Host;

/// The values that a number may take; open ends exclude the bound itself.
struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false;
  bool high_open = false;
};
inline Range at_least(double low) { return {.low = low}; }
inline Range more_than(double low) { return {.low = low, .low_open = true}; }
inline Range between(double low, double high) { return {.low = low, .high = high}; }

/// What `retort inspect` shows of one parameter.
struct ParamInfo {
  std::string name;
  std::string type;           // "integer", "number", "string", "list of numbers", …
  std::string default_value;  // as TOML spells it; an example where the parameter is required
  bool required = false;
  std::string range;                 // "> 0", "0 to 1", or empty
  std::vector<std::string> choices;  // for strings of a fixed set
  std::string doc;
};

class RETORT_API Params {
 public:
  /// Reads `table`, which stands at `path` in the configuration ("solver"). `host` outlives the plugin, or is null.
  Params(const Value& table, std::string path, Host* host);
  /// Describing mode: every `get` returns its default and is recorded.
  static Params describing();

  bool is_describing() const { return describing_; }

  bool get(std::string_view name, bool fallback, std::string_view doc);
  int64_t get(std::string_view name, int64_t fallback, std::string_view doc, Range range = {});
  int64_t get(std::string_view name, int fallback, std::string_view doc, Range range = {});
  double get(std::string_view name, double fallback, std::string_view doc, Range range = {});
  std::string get(std::string_view name, const char* fallback, std::string_view doc);
  std::vector<double> get(std::string_view name, std::vector<double> fallback, std::string_view doc, Range range = {});
  std::vector<int64_t> get(std::string_view name, std::vector<int64_t> fallback, std::string_view doc,
                           Range range = {});
  std::vector<std::string> get(std::string_view name, std::vector<std::string> fallback, std::string_view doc);
  std::vector<std::vector<double>> get(std::string_view name, std::vector<std::vector<double>> fallback,
                                       std::string_view doc);

  /// As `get`, but the key must be given; `example` is shown by `inspect` and used in describing mode.
  template <class T>
  auto require(std::string_view name, T example, std::string_view doc, Range range = {}) {
    requiring_ = true;
    if constexpr (requires { get(name, example, doc, range); }) {
      return get(name, example, doc, range);
    } else {
      return get(name, example, doc);
    }
  }

  /// One of a fixed set of words.
  std::string choice(std::string_view name, std::string_view fallback, const std::vector<std::string>& choices,
                     std::string_view doc);

  /// A file or folder. A relative path counts from the folder of the configuration file that holds it (from the
  /// working directory on the command line). Empty stays empty.
  std::string path(std::string_view name, const char* fallback, std::string_view doc);
  /// Several of them: a list, or a single one without brackets.
  std::vector<std::string> paths(std::string_view name, std::vector<std::string> fallback, std::string_view doc);

  /// Another plugin, from a table of that name ([this.NAME] type = "…", and its own parameters), or from a bare word.
  /// Null in describing mode. T is an interface of the SDK (Dataset, Solver, …).
  template <class T>
  std::shared_ptr<T> plugin(std::string_view name, std::string_view fallback_type, std::string_view doc) {
    return std::static_pointer_cast<T>(nested(T::kind, name, fallback_type, doc));
  }

  /// A list of plugins of one kind, each a table with its type, its `weight` (1 by default) and its own parameters.
  /// Empty in describing mode.
  template <class T>
  std::vector<std::pair<std::shared_ptr<T>, double>> weighted_plugins(std::string_view name, std::string_view doc) {
    std::vector<std::pair<std::shared_ptr<T>, double>> out;
    for (auto& [made, weight] : nested_list(T::kind, name, doc)) {
      out.emplace_back(std::static_pointer_cast<T>(std::move(made)), weight);
    }
    return out;
  }

  /// Whether the key is written in the configuration (defaults do not count).
  bool given(std::string_view name) const;

  /// What the host offers to a plugin that is being built. Not to be called in describing mode.
  Host& host() const;

  /// An error about one of these parameters, with the place where it is written.
  RequestError error(std::string_view name, const std::string& what) const;

  /// Throws RequestError for a key that nothing asked for, unless it is left over from a swap of the table's type.
  void finish() const;
  /// The left-over keys that nothing asked for, those of plugins within included.
  std::vector<std::string> left_out() const;

  const std::vector<ParamInfo>& described() const { return described_; }
  /// Every parameter with the value in force, defaults included.
  const Value& resolved() const { return resolved_; }
  /// The keys whose values are paths, so that a copy of the configuration elsewhere can re-spell them.
  const std::set<std::string>& path_keys() const { return paths_; }

 private:
  Params() = default;
  const Value* look_up(std::string_view name);
  void record(std::string_view name, std::string type, Value fallback, std::string_view doc, const Range& range,
              std::vector<std::string> choices = {});
  void keep(std::string_view name, Value value);
  template <class T>
  T read(std::string_view name, T fallback, std::string_view doc, const Range& range);
  std::shared_ptr<void> nested(const char* kind, std::string_view name, std::string_view fallback_type,
                               std::string_view doc);
  std::shared_ptr<void> make_nested(const char* kind, const Value& table, const std::string& name,
                                    std::string_view fallback_type, Value& resolved);
  std::vector<std::pair<std::shared_ptr<void>, double>> nested_list(const char* kind, std::string_view name,
                                                                    std::string_view doc);

  Value table_;
  std::string path_;
  Host* host_ = nullptr;
  bool describing_ = false;
  bool requiring_ = false;
  std::vector<std::string> asked_;
  std::vector<ParamInfo> described_;
  Value resolved_;
  std::set<std::string> paths_;
  std::vector<std::string> left_out_within_;
};

}  // namespace retort
