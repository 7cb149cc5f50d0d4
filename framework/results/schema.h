/// The columns of a row of results, each said once: its key in JSON and CSV, its member, and its headings.
#pragma once

#include <variant>
#include <vector>

#include "results/row.h"

namespace retort {

struct Column {
  using Member =
      std::variant<std::string Row::*, std::optional<std::string> Row::*, Json Row::*, std::optional<int64_t> Row::*,
                   std::optional<double> Row::*, Named<double> Row::*, Named<Points> Row::*>;
  const char* key;
  Member member;
  const char* title = "";     // on the page's axes and in its menus
  const char* heading = "";   // of the page's table
  const char* terminal = "";  // of the terminal's table
};

namespace columns {
// What a row is of.
inline constexpr Column cell{"cell", &Row::cell};
inline constexpr Column loss{"loss", &Row::loss};
inline constexpr Column swept{"swept", &Row::swept};
// Settings: rows that are equal in these and in the swept keys but the seed are comparable.
inline constexpr Column student_steps{"student_steps", &Row::student_steps, "sampler steps", "sampler steps", "steps"};
inline constexpr Column guidance{"guidance", &Row::guidance, "guidance", "guidance"};
inline constexpr Column ema_length{"ema_length", &Row::ema_length, "EMA length", "EMA length", "ema"};
inline constexpr Column train_steps{"train_steps", &Row::train_steps, "trained steps", "trained steps", "trained"};
// Costs.
inline constexpr Column teacher_evaluations{"teacher_evaluations", &Row::teacher_evaluations, "teacher evaluations",
                                            "teacher evaluations", "teacher evals"};
inline constexpr Column remembered_evaluations{"remembered_evaluations", &Row::remembered_evaluations};
inline constexpr Column train_seconds{"train_seconds", &Row::train_seconds, "training seconds", "seconds", "seconds"};
inline constexpr Column optimizer_steps{"optimizer_steps", &Row::optimizer_steps, "optimizer steps", "optimizer steps"};
// What was measured.
inline constexpr Column metrics{"metrics", &Row::metrics};
inline constexpr Column series{"series", &Row::series};
inline constexpr Column samples{"samples", &Row::samples};
}  // namespace columns

// Orders in which columns stand somewhere. Readers of the files rely on them.
using Columns = std::vector<const Column*>;
/// A row in results.json: all there are.
const Columns& all_columns();
/// What tells comparable rows apart, besides swept keys: in statistics, and on the page.
const Columns& setting_columns();
/// What the page can plot metrics against, and what the tables end with.
const Columns& cost_columns();
/// What the page is given of a row, and of a student whose samples it shows.
const Columns& page_columns();
const Columns& student_columns();
/// In CSV, before the metrics and after them.
const Columns& csv_setting_columns();
const Columns& csv_cost_columns();

bool is_setting(const std::string& key);

/// [{"key", "title", "heading"}, …] for the page.
Json described(const Columns& columns);

}  // namespace retort
