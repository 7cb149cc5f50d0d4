// Which backends an experiment's networks get.
#include <algorithm>

#include "config/experiment.h"

namespace retort {

// The fastest backend that works here and knows the keys that are given: the first of the build's list.
std::shared_ptr<void> Experiment::choose_backend(const std::string& table, const Value& value) {
  const std::vector<std::string> built = registry_.names(Backend::kind);
  std::string list = RETORT_AUTOMATIC_BACKENDS;
  std::optional<RequestError> last;
  for (size_t from = 0; from < list.size();) {
    const size_t to = std::min(list.find(' ', from), list.size());
    Value chosen = value;
    chosen["type"] = Value{list.substr(from, to - from), value.origin};
    from = to + 1;
    if (std::find(built.begin(), built.end(), std::get<std::string>(chosen["type"].data)) == built.end()) {
      continue;
    }
    const auto used = used_;
    try {
      auto made = make_plugin(Backend::kind, table, chosen);
      automatic_backend_ = true;
      return made;
    } catch (const RequestError& e) {
      used_ = used;
      last = e;
    }
  }
  if (!last) {  // none was built, or all were refused: the last one's reason serves
    try {
      registry_.find(Backend::kind, list.substr(list.rfind(' ') + 1), prefer_);
    } catch (const RequestError& e) {
      last.emplace(to_string(value.origin) + ": " + table + ".type: " + e.what());
    }
  }
  throw last ? *last : RequestError(to_string(value.origin) + ": " + table + ".type: none of " + list + " works here");
}

void Experiment::build_backends() {
  const Value* given = root_.find("backend");
  Value table;
  table.origin = root_.origin;
  if (given != nullptr) {
    table = *given;
  }
  const auto take = [&](const char* role) -> std::optional<Value> {
    const Value* own = table.is_table() ? table.find(role) : nullptr;
    if (own == nullptr || !own->is_table()) {
      return {};
    }
    Value out = *own;
    table.erase(role);
    return out;
  };
  const std::optional<Value> frozen = take("teacher"), training = take("student");
  const auto build = [&](const std::string& path, const Value& value) {
    return std::static_pointer_cast<Backend>(build_plugin(Backend::kind, path, value));
  };
  backend_ = build("backend", table);
  frozen_backend_ = frozen ? build("backend.teacher", *frozen) : backend_;
  training_backend_ = training ? build("backend.student", *training) : backend_;
  for (const auto& one : {backend_, frozen_backend_, training_backend_}) {
    one->prepare();
  }
  for (const auto& [role, other] : {std::pair("teacher", frozen_backend_), std::pair("student", training_backend_)}) {
    if (other->device() != backend_->device() || other->dtype() != backend_->dtype()) {
      throw RequestError(to_string(table.origin) + ": backend." + role +
                         ": keeps states elsewhere, or in another type, than [backend]; expected one device and type");
    }
  }
}

}  // namespace retort
