#include "config/tables.h"

#include <set>

#include "plugin/registry.h"
#include "retort/params.h"
#include "support/support.h"

using namespace retort;

TEST_CASE("each table stands in the list once, and each kind of plugin has one") {
  std::set<std::string> names, kinds;
  for (const TableInfo& table : tables()) {
    CAPTURE(table.name);
    CHECK(names.insert(table.name).second);
    CHECK(find_table(table.name) == &table);
    if (table.kind != nullptr) {
      kinds.insert(table.kind);
      CHECK(std::string(table.kind) == table.name);
    }
  }
  CHECK(kinds == std::set<std::string>(std::begin(plugin_kinds), std::end(plugin_kinds)));
  CHECK(find_table("trian") == nullptr);
}

TEST_CASE("the host's own tables have a page, those of plugins have none") {
  for (const TableInfo& table : tables()) {
    CAPTURE(table.name);
    const bool own = table.kind == nullptr && table.name != std::string("sweep");
    CHECK((table.declare != nullptr) == own);
    CHECK((table.about != nullptr) == own);
  }
}

TEST_CASE("a key affects what its table affects, unless it is named") {
  CHECK(affects("train.steps") == Affects::training);
  CHECK(affects("train.log_every") == Affects::nothing);
  CHECK(affects("evaluate.samples") == Affects::evaluation);
  CHECK(affects("evaluate.weights") == Affects::training);
  CHECK(affects("metric.ode_error.exact_samples") == Affects::evaluation);
  CHECK(affects("report") == Affects::presentation);
  CHECK(affects("backend.teacher.threads") == Affects::rounding);
  CHECK(affects("solver.order") == Affects::training);
}

TEST_CASE("what decides more is decided by more tables") {
  for (const TableInfo& table : tables()) {
    CAPTURE(table.name);
    if (table.decides & Decides::solves) {
      CHECK(table.solves_alone);
      CHECK((table.decides & Decides::training_solves));
      CHECK((table.decides & Decides::teacher_samples));
    }
    if (table.decides & Decides::step_cost) {
      CHECK((table.decides & Decides::trial));
    }
  }
}
