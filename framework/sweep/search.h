/// [sweep.search]: cells drawn from ranges and lists, in place of the whole product of lists.
///
///   [sweep]
///   "train.learning_rate" = { min = 1e-5, max = 1e-3, log = true }     a range; of whole numbers where both ends are
///   "loss.type" = ["one", "other"]                                     lists, zips and cells are drawn from as well
///   seeds = 3                                                          each draw, on each seed
///   [sweep.search]
///   type = "sobol"
///   trials = 20
///
/// `search = "sobol"` alone takes the defaults of the rest. Halving trains all draws to the first point of evaluate.at,
/// the best of them to the next one, and so on (Jamieson & Talwalkar 2016, arXiv 1502.07943, successive halving).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "retort/params.h"
#include "sweep/axes.h"

namespace retort {

struct Search {
  explicit Search(Params& p);

  std::string type;  // "random", "sobol", "halving", "told"
  int64_t trials;
  double hours;  // 0: no end
  int64_t seed;
  std::string by;         // "": no best is looked for
  int64_t student_steps;  // of the sampler that counts; 0: all do
  double keep;            // the share of the draws that goes on, 0 to 1

  bool halves() const { return type == "halving"; }
  bool draws() const { return type != "told"; }
};

/// What [sweep.search] asks for; nothing where it is not there. Throws RequestError for whatever is wrong in it.
std::optional<Search> search_of(const Value& sweep);

/// Draws of one place on each axis: search.trials different ones, or fewer where there are not so many. In the order of
/// the draws, so that more trials add to fewer. `allowed` says which count.
std::vector<Assignments> draw(const Search& search, const std::vector<Axis>& axes,
                              const std::function<bool(const Value&)>& allowed);

}  // namespace retort
