// What an experiment amounts to, as text, and how its configuration is written for another folder.
#include <algorithm>
#include <string_view>

#include "config/experiment.h"
#include "config/toml.h"
#include "io/files.h"
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

std::string Experiment::autoencoder_files(std::string& names) const {
  names.clear();
  std::string all;
  Value values;
  if (const Value* found = resolved_.find(Autoencoder::kind)) {
    values[Autoencoder::kind] = *found;
  }
  each_path(values, paths_, [&](std::string& path) {
    names += (names.empty() ? "" : ", ") + path;
    all += content_of(path) + "\n";
  });
  return all.empty() ? "" : sha256_of_text(all);
}

std::string Experiment::fingerprint_of(const TableInfo& table, Affects least) const {
  if (table.kind != nullptr && table.kind == std::string_view(Autoencoder::kind) && least > Affects::evaluation &&
      latents && !latents->encodes()) {
    return "";  // the training sees latents as they are, and no autoencoder
  }
  std::string out;
  if (const Value* found = resolved_.find(table.name)) {
    Value values;
    values[table.name] = less(*found, table.name, least);
    each_path(values, paths_, [&](std::string& path) { path = content_of(path); });
    if (const Value& kept = *values.find(table.name); !kept.table().empty()) {
      out += "[" + std::string(table.name) + "] " + kept.text() + "\n";
    }
  }
  // A table that affects less affects by its plugins no more.
  if (const auto used = used_.find(table.name); used != used_.end() && table.affects >= least) {
    for (const std::string& plugin : used->second) {
      out += plugin + "\n";
    }
  }
  return out;
}

std::string Experiment::fingerprint(Decides what) const {
  std::string out;
  for (const TableInfo& table : tables()) {
    out += table.decides & what ? fingerprint(table) : "";
  }
  return out;
}

std::string Experiment::fingerprint(const TableInfo& table) const {
  return fingerprint_of(table, std::min(table.affects, Affects::evaluation));
}

std::string Experiment::training_fingerprint() const {
  std::string out;
  for (const TableInfo& table : tables()) {
    out += fingerprint_of(table, Affects::training);
  }
  return out;
}

std::string Experiment::fingerprint() const {
  std::string out;
  for (const TableInfo& table : tables()) {
    out += fingerprint_of(table, Affects::evaluation);
  }
  return out;
}

std::string Experiment::teacher_key() const {
  std::string out = fingerprint(Decides::teacher_samples);
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
  if (const Value* features = at_path(resolved_, "evaluate.features"); features != nullptr && features->is_table()) {
    Value all;
    set_path(all, "evaluate.features", *features);
    each_path(all, paths_, [&](std::string& path) { path = content_of(path); });
    return out + "features " + at_path(all, "evaluate.features")->text() + "\n";
  }
  return out + "features " + (evaluate->features.empty() ? "" : content_of(evaluate->features)) + "\n";
}

std::string Experiment::ode_key() const {
  std::string out = fingerprint(Decides::ode);
  const Value* settings = resolved_.find("evaluate");
  for (const char* key : {"samples", "labels", "batch", "seed"}) {
    const Value* value = settings != nullptr ? settings->find(key) : nullptr;
    out += std::string(key) + " " + (value != nullptr ? value->text() : "") + "\n";
  }
  return out;
}

std::string Experiment::solve_key() const { return fingerprint(Decides::solves); }

}  // namespace retort
