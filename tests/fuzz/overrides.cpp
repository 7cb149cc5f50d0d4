// key=value as the command line gives it: read, written as TOML, and read again, it says the same. (Tables within a
// table are written behind its other keys, so the second text is compared.) The same beside a [sweep], whose cells are
// made of it.
#include "config/layers.h"
#include "config/toml.h"
#include "fuzz.h"
#include "log.h"
#include "sweep/axes.h"
#include "sweep/cells.h"
#include "sweep/overrides.h"
#include "sweep/search.h"

void retort::log::warn(const std::string&) {}  // an old key is nothing to stop at
// Draws need LibTorch, which takes minutes to compile under sanitizers: here nothing is searched.
std::optional<retort::Search> retort::search_of(const Value&) { return std::nullopt; }
std::vector<retort::Assignments> retort::draw(const Search&, const std::vector<Axis>&,
                                              const std::function<bool(const Value&)>&) {
  return {};
}

namespace {

const retort::Value& with_sweep() {
  static const retort::Value config = retort::parse_toml(
      "[loss]\ntype = \"cm\"\npairs = 2\n[solver]\ntype = \"heun\"\n[sweep]\n\"loss.type\" = [\"cm\", \"direct_cm\"]\n"
      "solver.type = [{ type = \"dpm_solver\", order = 3 }]\nseeds = 1\n"
      "zip = { \"a.x\" = [1], \"a.y\" = [3] }\ncells = [{ b.x = 1 }, { b.x = 2, b.y = \"z\" }]\n"
      "exclude = [{ \"loss.type\" = \"cm\", \"a.x\" = 1 }]\n",
      "sweep.toml");
  return config;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  retort::one_line_or_fine([&] {
    retort::Value root;
    retort::apply_overrides(root, {text});
    const std::string written = retort::write_toml(root);
    if (retort::write_toml(retort::parse_toml(written, "written.toml")) != written) {
      std::abort();
    }
  });
  retort::one_line_or_fine([&] {
    retort::Value root = with_sweep();
    retort::apply_overrides(root, {text});
    const retort::Value* sweep = root.find("sweep");
    if (sweep != nullptr && retort::count_cells(retort::axes_of(retort::flat_sweep(*sweep))) > 64) {
      return;  // nothing new in them
    }
    for (const retort::Cell& cell : retort::expand(root)) {
      if (cell.name.find('/') != std::string::npos || cell.name.starts_with('.') || cell.name.size() > 255) {
        std::abort();
      }
    }
  });
  return 0;
}
