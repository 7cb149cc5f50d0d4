#include "config/parts_memo.h"

#include <utility>

#include "config/experiment.h"
#include "config/toml.h"

namespace retort {

const PartsMemo::Part* PartsMemo::find(const std::string& table, const std::string& key) const {
  const auto found = last_.find(table);
  return found != last_.end() && found->second.key == key ? &found->second : nullptr;
}

const PartsMemo::Part& PartsMemo::keep(const std::string& table, Part part) { return last_[table] = std::move(part); }

std::string identity_of(const Value& value) {
  if (!value.is_table()) {
    return value.text() + " of " + value.origin.file;
  }
  std::string out = "{ of " + value.origin.file;
  for (const auto& [key, inner] : value.table()) {
    out += "\n" + key + (inner.left_over ? " (left over)" : "") + " = " + identity_of(inner);
  }
  return out + " }";
}

// All that a part may ask the host for.
std::string Experiment::surroundings() const {
  Value spec;
  write_spec(spec_, spec);
  std::string out = "process " + process_.to_value().text() + (process_given_ ? " (given)" : "") + "\nspec " +
                    spec.text() + "\nplugins " + prefer_.string();
  const Value* backend = root_.find("backend");
  out += "\nbackend " + (backend != nullptr ? identity_of(*backend) : "");
  return out + "\nbases " + (student ? student->base : "") + " " + teacher_checkpoint_ + "\n";
}

// Builds a part as if nothing had been built of this table, and tells what that changed.
PartsMemo::Part Experiment::record(const std::string& table, const PartBuilder& build) {
  PartsMemo::Part out;
  std::set<std::string> used = std::exchange(used_[table_], {});
  const size_t paths = paths_.size(), notes = notes_.size();
  const bool automatic = std::exchange(automatic_backend_, false);
  out.made = build();
  if (const Value* resolved = at_path(resolved_, table)) {
    out.resolved = *resolved;
  }
  out.paths.assign(paths_.begin() + static_cast<std::ptrdiff_t>(paths), paths_.end());
  out.notes.assign(notes_.begin() + static_cast<std::ptrdiff_t>(notes), notes_.end());
  out.used = std::exchange(used_[table_], std::move(used));
  out.models = made_;
  out.checkpoint = last_checkpoint_;
  out.automatic = std::exchange(automatic_backend_, automatic);
  paths_.resize(paths);
  notes_.resize(notes);
  return out;
}

std::shared_ptr<void> Experiment::remember(const std::string& table, const std::string& content,
                                           const PartBuilder& build) {
  if (memo_ == nullptr) {
    return build();
  }
  const std::string key = surroundings() + content;
  const PartsMemo::Part* part = memo_->find(table, key);
  if (part == nullptr) {
    PartsMemo::Part fresh = record(table, build);
    fresh.key = key;
    part = &memo_->keep(table, std::move(fresh));
  }
  if (part->resolved) {
    set_path(resolved_, table, *part->resolved);
  }
  paths_.insert(paths_.end(), part->paths.begin(), part->paths.end());
  notes_.insert(notes_.end(), part->notes.begin(), part->notes.end());
  used_[table_].insert(part->used.begin(), part->used.end());
  made_.insert(part->models.begin(), part->models.end());
  last_checkpoint_ = part->checkpoint;
  automatic_backend_ = automatic_backend_ || part->automatic;
  return part->made;
}

}  // namespace retort
