#include "results/schema.h"

#include <algorithm>

namespace retort {

using namespace columns;

const Columns& all_columns() {
  static const Columns out = {&cell,
                              &loss,
                              &swept,
                              &student_steps,
                              &guidance,
                              &ema_length,
                              &train_steps,
                              &teacher_evaluations,
                              &remembered_evaluations,
                              &train_seconds,
                              &optimizer_steps,
                              &metrics,
                              &series,
                              &samples};
  return out;
}

const Columns& setting_columns() {
  static const Columns out = {&train_steps, &student_steps, &guidance, &ema_length};
  return out;
}

const Columns& cost_columns() {
  static const Columns out = {&teacher_evaluations, &train_seconds};
  return out;
}

const Columns& page_columns() {
  static const Columns out = {&cell,       &loss,    &train_steps,         &student_steps, &guidance,
                              &ema_length, &metrics, &teacher_evaluations, &train_seconds};
  return out;
}

const Columns& student_columns() {
  static const Columns out = {&cell, &student_steps, &train_steps, &optimizer_steps, &guidance, &ema_length, &series};
  return out;
}

const Columns& csv_setting_columns() {
  static const Columns out = {&student_steps, &train_steps, &guidance, &ema_length};
  return out;
}

const Columns& csv_cost_columns() {
  static const Columns out = {&teacher_evaluations, &remembered_evaluations, &train_seconds, &optimizer_steps};
  return out;
}

bool is_setting(const std::string& key) {
  const Columns& all = setting_columns();
  return std::any_of(all.begin(), all.end(), [&](const Column* column) { return key == column->key; });
}

Json described(const Columns& columns) {
  Json out = Json::array();
  for (const Column* column : columns) {
    out.push_back({{"key", column->key}, {"title", column->title}, {"heading", column->heading}});
  }
  return out;
}

}  // namespace retort
