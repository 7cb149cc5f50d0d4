/// [sweep] as it is written, made into axes.
///
///   [sweep]
///   "loss.type" = ["one", "other"]                     lists: their product
///   "solver.type" = ["one", { type = "other", order = 3 }]     keys for one type alone stand beside it
///   seeds = 8                                          run.seed = 0 … 7; or a list of seeds
///   zip = [{ "train.steps" = [100, 400], "train.learning_rate" = [1e-4, 2e-5] }]     first with first, second with …
///   cells = [{ "loss.type" = "one", "loss.target" = "ema" }, { "loss.type" = "other" }]
///                                                      one axis whose values are tables
///   exclude = [{ "loss.type" = "other", "solver.type" = "slow" }]      no cell that has all of these
///   [sweep.tune]                                       what each cell takes at its best: sweep/tuning.h
///   [sweep.search]                                     a part of the product, and ranges: sweep/search.h
///
/// All of them are axes of one product. Keys are dotted paths, however they are quoted.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "retort/value.h"

namespace retort {

using Assignments = std::vector<std::pair<std::string, Value>>;  // key to value: what one place on an axis sets

/// Numbers that a search draws from: { min, max, log }.
struct ValueRange {
  double min, max;
  bool log;    // even in their logarithm
  bool whole;  // integers, both ends among them
};

struct Axis {
  Origin origin;
  std::vector<Assignments> places;
  std::string key = {};  // what it sets; "zip" or "cells" where that is several keys
  std::optional<ValueRange> range = {};
};

/// The table with every key in its one spelling and tables within tables made one. Throws RequestError for a key that
/// stands there twice.
Value flat_sweep(const Value& sweep);

/// More cells than this are refused: the request is a slip, or would take years.
inline constexpr int64_t most_cells = 100000;

/// How many cells the product of axes has, at most one more than most_cells.
int64_t count_cells(const std::vector<Axis>& axes);

/// The axes of such a table, the slowest first, seeds last. Throws RequestError for whatever is wrong.
std::vector<Axis> axes_of(const Value& sweep);

/// Whether an axis is that of seeds.
bool is_of_seeds(const Axis& axis);

/// All keys that axes set. Throws RequestError for one that two of them do.
std::set<std::string> keys_of(const std::vector<Axis>& axes);

/// What cells must not be, each of it a set of values. `swept` are the keys that it may speak of.
std::vector<Assignments> exclusions_of(const Value& sweep, const std::set<std::string>& swept);

/// Whether a key of [sweep.tune] says how to choose, not what.
bool is_tune_word(const std::string& key);

/// Whether a key of [sweep] is one of its own words: zip, cells, exclude, seeds, tune, search.
bool is_sweep_word(const std::string& key);

}  // namespace retort
