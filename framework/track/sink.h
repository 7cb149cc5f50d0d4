/// Where a training's numbers go while it runs: a file of lines, or whatever draws curves.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace retort {

/// One number of a step. Not finite where there was none.
struct Scalar {
  std::string name;
  std::variant<int64_t, double> value;
  std::string group = "";  // what it stands under; empty for what every training has
};
using Scalars = std::vector<Scalar>;

class Sink {
 public:
  virtual ~Sink() = default;
  /// Comes first. Training goes on from after this step: what was logged of later ones is forgotten, as it will come
  /// again. 0 forgets everything.
  virtual void begin(int64_t from_step) = 0;
  /// Keeps the numbers of a step; they outlive a process that is killed after this.
  virtual void log(int64_t step, const Scalars& scalars) = 0;
};

/// All sinks of a training whose files are in this folder. A new kind of sink is made here.
std::vector<std::unique_ptr<Sink>> make_sinks(const std::filesystem::path& folder);

}  // namespace retort
