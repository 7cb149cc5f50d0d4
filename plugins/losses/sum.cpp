/// A weighted sum of losses for one student.
///
/// A configuration may write it as a list in place of the table [loss]. The terms must train one kind of student: a
/// term for a one-step generator fits any student that samples in one step. Networks that terms keep are kept apart by
/// their names; a moving average for the target is one for all.
///
///     [loss]
///     type = "sum"
///     terms = [{ type = "meanflow", weight = 1.0 }, { type = "dmd2", weight = 0.5 }]
#include <retort/loss.h>
#include <retort/plugin.h>

#include <algorithm>
#include <set>

using namespace retort;

class Sum final : public Loss {
 public:
  explicit Sum(Params& p) : terms_(p.weighted_plugins<Loss>("terms", "the losses and their weights")) {
    if (!p.is_describing()) {
      check(p);
    }
  }

  // What all terms make, or what those make that are not for one-step generators.
  Makes makes() const override {
    for (const auto& [loss, weight] : terms_) {
      if (loss->makes() != Makes::generator) {
        return loss->makes();
      }
    }
    return Makes::generator;
  }

  Needs needs() const override {
    Needs all;
    for (const auto& [loss, weight] : terms_) {
      const Needs own = loss->needs();
      all.teacher |= own.teacher;
      all.solver |= own.solver;
      all.schedule |= own.schedule;
      all.end_time |= own.end_time;
      all.outputs = std::max(all.outputs, own.outputs);
      all.predicts = own.predicts ? own.predicts : all.predicts;
    }
    return all;
  }

  int64_t stages() const override {
    int64_t most = 1;
    for (const auto& [loss, weight] : terms_) {
      most = std::max(most, loss->stages());
    }
    return most;
  }

  void check_times(const Tensor& times) const override {
    for (const auto& [loss, weight] : terms_) {
      loss->check_times(times);
    }
  }

  std::vector<Role> roles() const override {
    std::vector<Role> all;
    for (const auto& [loss, weight] : terms_) {
      for (Role role : loss->roles()) {
        const auto same = [&](const Role& other) { return other.name == role.name; };
        if (std::none_of(all.begin(), all.end(), same)) {
          role.every = role.name == "student" ? 1 : role.every;  // each term has its own rhythm
          all.push_back(std::move(role));
        }
      }
    }
    return all;
  }

  LossValue operator()(const TrainingStep& step) const override {
    LossValue all;
    for (size_t i = 0; i < terms_.size(); ++i) {
      const auto& [loss, weight] = terms_[i];
      TrainingStep own = step;
      own.roles = roles_of(*loss, step);
      LossValue value = (*loss)(own);
      if (value.per_row.defined()) {
        const Tensor weighted = weight * value.per_row;
        all.per_row = all.per_row.defined() ? all.per_row + weighted : weighted;
        all.diagnostics["term_" + std::to_string(i)] = value.per_row.detach().mean();
      }
      all.t = all.t.defined() ? all.t : value.t;
      all.roles.merge(value.roles);
      all.diagnostics.merge(value.diagnostics);
    }
    return all;
  }

 private:
  static std::vector<RoleModel> roles_of(const Loss& loss, const TrainingStep& step) {
    std::vector<RoleModel> out;
    for (const Role& role : loss.roles()) {
      for (RoleModel model : step.roles) {
        if (model.name == role.name) {
          model.due = step.index % role.every == 0;
          out.push_back(model);
        }
      }
    }
    return out;
  }

  // Whether its D(x, t_max) is a sample. A policy's is the beginning of a way.
  static bool steps_at_once(Makes makes) { return samples_by_itself(makes) && makes != Makes::policy; }

  void check(const Params& p) const {
    std::set<std::string> names;
    std::optional<Predicts> predicts;
    std::set<int64_t> stages;
    for (const auto& [loss, weight] : terms_) {
      if (loss->makes() != makes() && loss->makes() != Makes::generator) {
        throw p.error("terms", "train different kinds of models; expected losses for one");
      }
      if (loss->makes() == Makes::flow_map && loss->needs().end_time != needs().end_time) {
        throw p.error("terms", "hold a flow map that is told both of its times, and one that is told the first alone");
      }
      if (loss->makes() == Makes::generator && !steps_at_once(makes())) {
        throw p.error("terms", "hold a loss for one-step generators beside one whose student is none");
      }
      if (loss->needs().outputs != needs().outputs) {
        throw p.error("terms", "want networks of different numbers of outputs; expected losses that agree");
      }
      const std::optional<Predicts> own = loss->needs().predicts;
      if (own && predicts && *own != *predicts) {
        throw p.error("terms", "want a student that predicts different things; expected losses that agree");
      }
      predicts = own ? own : predicts;
      if (loss->stages() > 1) {
        stages.insert(loss->stages());
      }
      for (const Role& role : loss->roles()) {
        if (role.name != "student" && role.name != "target" && !names.insert(role.name).second) {
          throw p.error("terms", "keep two networks of the name '" + role.name + "'; expected one term of that kind");
        }
      }
    }
    if (stages.size() > 1) {
      throw p.error("terms", "are cut into different numbers of stages; expected one number");
    }
  }

  std::vector<std::pair<std::shared_ptr<Loss>, double>> terms_;
};

RETORT_PLUGIN(Sum, loss, sum)
