/// A search under way: what halving lets train on, what its hours leave out, and which draw is the best.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "run/plan.h"
#include "sweep/search.h"

namespace retort {

class Searching {
 public:
  /// Of a plan without [sweep.search] nothing. Throws RequestError where halving has nothing to choose by before the
  /// work: no points, or other ones in other cells.
  static std::optional<Searching> of(const Plan& plan);

  const Search& search() const { return search_; }
  /// The steps after which draws are stopped; none without halving.
  const std::vector<int64_t>& points() const { return points_; }

  /// Whether a cell was measured after so many steps, and the number that it is judged by there: infinite where it is
  /// none. Throws RequestError where the metric is not measured.
  bool is_measured(size_t cell, int64_t point) const;
  double number(size_t cell, int64_t point) const;

  /// Which of the cells go on after a point, and a line that says so: those of the draws whose mean over seeds is
  /// smallest, of equal ones the first.
  std::pair<std::vector<size_t>, std::string> chosen(const std::vector<size_t>& cells, int64_t point) const;

  /// Whether the hours are over; and whether nobody has begun a cell, which then stays undone.
  bool is_over() const;
  bool is_untouched(size_t cell) const;
  /// Adds to the seconds that a cell has taken.
  void add_seconds(size_t cell, double seconds) const;

  /// Every draw, {"values", "value"}: its places on these axes as space_of names them, and the number that it is judged
  /// by at the end, null where there is none.
  Json trials(const std::vector<Axis>& axes) const;

  /// A line that names the draw with the smallest mean at the end; "" where none is looked for, or there.
  std::string best() const;

 private:
  Searching(const Plan& plan, Search search) : plan_(plan), search_(std::move(search)) {}
  // Cells of one draw on several seeds, as lists of cells in the order of the draws.
  std::vector<std::vector<size_t>> draws(const std::vector<size_t>& cells) const;
  std::vector<size_t> everything() const;
  double mean(const std::vector<size_t>& draw, std::optional<int64_t> point) const;
  double at_end(const std::vector<size_t>& draw) const;  // infinite where a cell is not done
  double judged_at(size_t cell, std::optional<int64_t> point) const;
  std::string spell(const std::vector<size_t>& draw, double number) const;

  const Plan& plan_;
  Search search_;
  std::vector<int64_t> points_;
};

}  // namespace retort
