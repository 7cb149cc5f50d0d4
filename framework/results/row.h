/// A row of results: one student, at one point of its training, by one sampler. Its JSON is `results.json`'s.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/json.h"

namespace retort {

template <class T>
using Named = std::vector<std::pair<std::string, T>>;  // in order
using Points = std::vector<std::pair<double, double>>;

/// What an optional lacks is not written; a number that is not finite is written as null, and read back as NaN.
struct Row {
  std::string cell;                            // its name; empty where nothing is swept
  std::string loss;                            // the type of its loss
  Json swept = Json::object();                 // the swept keys with this cell's values, which may be any TOML
  std::optional<int64_t> student_steps;        // of its sampler; 0 for denoisers and classifiers
  std::optional<double> guidance;              // the weight it was measured at, for guided models only
  std::optional<double> ema_length;            // of the average that it is, where it was made after the training
  std::optional<int64_t> train_steps;          // optimizer steps so far, where the configuration says how many
  std::optional<int64_t> optimizer_steps;      // the same where a budget of evaluations or seconds ended the training
  std::optional<int64_t> teacher_evaluations;  // what its training cost the teacher so far
  std::optional<int64_t> remembered_evaluations;  // of these, what another cell had done already
  std::optional<double> train_seconds;
  Named<double> metrics;
  Named<Points> series;                // curves
  std::optional<std::string> samples;  // the file that shows its samples, within the folder; empty if none could be
};

/// All columns. `to_json` writes those it is asked for, in their order.
struct Column;
Json to_json(const Row& row);
Json to_json(const Row& row, const std::vector<const Column*>& columns);
/// Of a column alone; null where the row has none.
Json value_of(const Row& row, const Column& column);

/// What has another type than its column's is as if it was not there, so that damaged files can be shown.
Row row_from(const Json& json);
std::vector<Row> rows_from(const Json& list);
Json to_json(const std::vector<Row>& rows);

/// Null where the row lacks this metric.
const double* metric_of(const Row& row, const std::string& name);
/// Appends the names of the row's metrics that `names` does not hold yet, in their own order.
void add_metrics(const Row& row, std::vector<std::string>& names);

}  // namespace retort
