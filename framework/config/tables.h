/// The tables of a configuration, in one list: whose they are, and what they decide.
#pragma once

#include <span>
#include <string>

#include "config/affects.h"

namespace retort {

class Params;

/// What is equal where some of the tables are equal, whatever the others say.
enum class Decides : unsigned {
  nothing = 0,
  solves = 1,           // where the teacher's ODE leads from given points
  teacher_samples = 2,  // the teacher's samples, and what is measured of them
  training_solves = 4,  // with seed and batch: the solves that a training asks for
  step_cost = 8,        // with the batch: what a step of the training costs
  trial = 16,           // what a trial of the evaluation does
  ode = 32,             // the teacher's ODE, where it begins, and what is measured of its exact ends
  shards = 64,          // the latents that `retort encode` makes
};
constexpr Decides operator|(Decides a, Decides b) {
  return static_cast<Decides>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr bool operator&(Decides a, Decides b) { return (static_cast<unsigned>(a) & static_cast<unsigned>(b)) != 0; }

struct TableInfo {
  const char* name;
  const char* kind;   // of the plugins that its `type` selects; nullptr: the table is the host's own
  bool solves_alone;  // whether `retort solve` needs it
  Affects affects;    // what its keys can change, less those that affects.cpp names
  Decides decides;
  const char* about = nullptr;  // the host's own tables, as `retort inspect` shows them
  void (*declare)(Params&) = nullptr;
};

/// All of them, in the order in which they are built.
std::span<const TableInfo> tables();
/// The one of that name, or nullptr.
const TableInfo* find_table(const std::string& name);

}  // namespace retort
