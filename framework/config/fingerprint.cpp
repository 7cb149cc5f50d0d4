// What an experiment amounts to, as text, and how its configuration is written for another folder.
#include <algorithm>

#include "config/experiment.h"
#include "config/toml.h"
#include "io/hashes.h"

namespace retort {

namespace {

// Calls `change` with every path of a value: itself, or the entries of a list.
template <class F>
void each_path(Value& value, F change) {
  if (Array* list = std::get_if<Array>(&value.data)) {
    for (Value& item : *list) {
      each_path(item, change);
    }
  } else if (std::string* path = std::get_if<std::string>(&value.data); path != nullptr && !path->empty()) {
    change(*path);
  }
}

template <class F>
void each_path(Value& root, const std::vector<std::string>& keys, F change) {
  for (const std::string& key : keys) {
    if (Value* value = at_path(root, key)) {
      each_path(*value, change);
    }
  }
}

// A table without the keys that cannot change so much.
Value less(const Value& table, const std::string& path, Affects least) {
  Value out;
  for (const auto& [key, value] : table.table()) {
    const std::string own = path + "." + key;
    if (value.is_table()) {
      out[key] = less(value, own, least);
    } else if (affects(own) >= least) {
      out[key] = value;
    }
  }
  return out;
}

}  // namespace

const std::vector<std::string>& tables() {
  static const std::vector<std::string> all = {"run",     "backend",  "dataset", "process",  "teacher",
                                               "network", "student",  "solver",  "schedule", "loss",
                                               "train",   "evaluate", "metric",  "report",   "plugins"};
  return all;
}

Value Experiment::resolved_for(const std::filesystem::path& folder) const {
  Value out = resolved_;
  each_path(out, paths_, [&](std::string& path) {
    if (std::filesystem::path(path).is_relative()) {
      path = std::filesystem::proximate(path, folder).string();
    }
  });
  return out;
}

const std::string& Experiment::content_of(const std::string& path) const {
  std::string& known = contents_[path];
  if (known.empty()) {
    const auto made = made_.find(path);
    const std::string hash = content_hash(made != made_.end() ? made->second : path);
    known = hash.empty() ? path : hash;
  }
  return known;
}

std::string Experiment::fingerprint(const std::vector<std::string>& tables, Affects least) const {
  Value values = resolved_;
  each_path(values, paths_, [&](std::string& path) { path = content_of(path); });
  std::string out;
  for (const std::string& table : tables) {
    const Value* found = values.find(table);
    const Value kept = found != nullptr ? less(*found, table, least) : Value{};
    if (!kept.table().empty()) {
      out += "[" + table + "] " + kept.text() + "\n";
    }
    // A table that affects less affects by its plugins no more.
    if (const auto used = used_.find(table); used != used_.end() && affects(table) >= least) {
      for (const std::string& plugin : used->second) {
        out += plugin + "\n";
      }
    }
  }
  return out;
}

std::string Experiment::fingerprint(const std::vector<std::string>& tables) const {
  return fingerprint(tables, Affects::evaluation);
}

std::string Experiment::training_fingerprint() const { return fingerprint(tables(), Affects::training); }

std::string Experiment::fingerprint() const { return fingerprint(tables(), Affects::evaluation); }

std::string Experiment::teacher_key() const {
  std::string out = fingerprint({"backend", "process", "dataset", "teacher", "solver", "schedule", "metric"});
  if (const auto used = used_.find("evaluate"); used != used_.end()) {
    for (const std::string& plugin : used->second) {
      out += plugin + "\n";
    }
  }
  const Value* settings = resolved_.find("evaluate");
  for (const char* key : {"samples", "reference", "reference_samples", "labels", "batch", "seed"}) {
    const Value* value = settings != nullptr ? settings->find(key) : nullptr;
    out += std::string(key) + " " + (value != nullptr ? value->text() : "") + "\n";
  }
  return out + "features " + (evaluate->features.empty() ? "" : content_of(evaluate->features)) + "\n";
}

std::string Experiment::solve_key() const { return fingerprint({"backend", "process", "teacher", "solver"}); }

}  // namespace retort
