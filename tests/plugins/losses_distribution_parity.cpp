// Losses that match distributions and the gradients of every parameter, held against their peers' numbers
// (tests/parity/distribution.json).
#include <torch/nn/module.h>

#include "sample/sampler.h"
#include "support/peer_losses.h"

using namespace retort;
using namespace retort::test;

namespace {

const Json& fixture() {
  static const Json file = parity_file("distribution.json");
  return file;
}

// One case of the file: its networks by role, and a step that is brought its numbers.
class Case {
 public:
  Case(const Json& json, const std::string& process, Parametrisation form, Makes makes)
      : json_(json), host_(process, ModelSpec{{2}}), form_(form), makes_(makes) {
    for (const auto& [role, name] : json.at("networks").items()) {
      networks_[role] = network_of(fixture().at("networks").at(name.get<std::string>()));
    }
  }

  Tensor input(const char* name) const { return tensor_of(json_.at("inputs").at(name)); }
  const Json& settings() const { return json_.at("settings"); }

  LossValue run(const std::string& toml, const std::vector<Tensor>& numbers, const Schedule* schedule = nullptr) {
    const std::string name = json_.at("loss");
    const auto loss = host_.make_plugin<Loss>(name, toml);
    std::map<std::string, Model> models;
    for (const auto& [role, network] : networks_) {
      models.emplace(role, Model(host_.backend().trainable(network), host_.process(), form_, {}, makes_));
    }
    const bool taught = networks_.contains("teacher");
    const ModelTeacher teacher(models.at(taught ? "teacher" : "student"), ModelSpec{{2}});
    const Ode ode(teacher);
    size_t next = 0;
    TrainingStep step{.batch = {json_.at("inputs").contains("real") ? input("real") : at::zeros_like(input("z")), {}},
                      .student = models.at("student"),
                      .target = models.at("student"),
                      .ode = taught ? &ode : nullptr,
                      .schedule = schedule,
                      .process = host_.process(),
                      .generator = seeded(0, "unused"),
                      .brought = [&](std::string_view) { return numbers.at(next++); }};
    for (const Role& role : loss->roles()) {
      const bool own = role.name != "student";
      step.roles.push_back({role.name, own ? &models.at(role.name) : nullptr, true});
    }
    const LossValue out = (*loss)(step);
    CHECK(next == numbers.size());
    return out;
  }

  // A value and the gradients of the network of that role, within rounding of the float32 noise label, relative to the
  // largest of a list. The peer's value may be a mean, or another than ours where the gradients are one.
  void check(const Tensor& per_row, const char* term, const std::string& role, bool value_too = true) {
    const Json& wanted = json_.at("terms").at(term);
    const Tensor rows = tensor_of(wanted.at("per_row"));
    if (value_too) {
      compare(most((rows.numel() == 1 ? per_row.mean().view({1}) : per_row) - rows), most(rows));
    }
    const std::vector<Tensor> own = networks_.at(role)->module()->parameters();
    for (const Tensor& p : own) {
      p.mutable_grad() = Tensor();
    }
    per_row.mean().backward({}, /*retain_graph=*/true, /*create_graph=*/false, own);
    double largest = 0;
    for (const auto& [name, g] : wanted.at("gradients").at(role).items()) {
      largest = std::max(largest, most(tensor_of(g)));
    }
    CHECK(largest > 1e-5);
    for (const auto& p : networks_.at(role)->module()->named_parameters()) {
      CAPTURE(p.key());
      compare(most(p.value().grad() - tensor_of(wanted.at("gradients").at(role).at(p.key()))), largest);
    }
    note_difference("loss", json_.at("loss"), json_.at("peer"), greatest);
  }

  inline static double greatest = 0;  // relative difference so far

 private:
  static void compare(double difference, double size) {
    constexpr double tolerance = 3e-6;
    CHECK(difference < tolerance * size);
    greatest = std::max(greatest, difference / size);
  }

  const Json& json_;
  TestHost host_;
  Parametrisation form_;
  Makes makes_;
  std::map<std::string, std::shared_ptr<TinyNetwork>> networks_;
};

// Calls `f` with every case of a loss, and says how many there were.
template <class F>
int64_t each(const std::string& loss, F f) {
  int64_t count = 0;
  Case::greatest = 0;
  for (const Json& json : fixture().at("cases")) {
    if (json.at("loss") == loss) {
      CAPTURE(json.at("name").get<std::string>());
      ++count;
      f(json);
    }
  }
  MESSAGE(loss << ": " << count << " cases, values and gradients; greatest relative difference " << Case::greatest);
  return count;
}

Case one_step_case(const Json& json) { return {json, "type = \"ve\"", {Predicts::edm, 0.5}, Makes::generator}; }

std::string key(const char* name, const Json& value) { return std::string(name) + " = " + value.dump() + "\n"; }

// The level itself is what is drawn.
const std::string levels = "log_sigma_mean = 0.0\nlog_sigma_std = 1.0\n";

}  // namespace

TEST_CASE("drifting is its peers' (tests/parity)") {
  CHECK(each("drifting", [](const Json& json) {
          Case c = one_step_case(json);
          const Json& s = c.settings();
          const std::string toml = key("temperatures", s.at("temperatures")) + key("scale_distances", s.at("scaled")) +
                                   key("scale_forces", s.at("scaled")) + key("least_affinity", s.at("least"));
          c.check(c.run(toml, {c.input("z")}).per_row, "loss", "student");
        }) == 5);
}

TEST_CASE("f_distill is its peer's (tests/parity)") {
  CHECK(each("f_distill", [](const Json& json) {
          Case c = one_step_case(json);
          const Json& s = c.settings();
          const LossValue value = c.run(levels + "normalise = \"batch\"\ndiscriminator = \"mlp\"\n" +
                                            key("divergence", s.at("divergence")) + key("ratio_min", s.at("low")) +
                                            key("ratio_max", s.at("high")) + key("gan_weight", s.at("gan_weight")),
                                        {c.input("z"), c.input("t").log(), c.input("noise")});
          c.check(value.per_row, "student", "student", /*value_too=*/false);
        }) == 7);
}

TEST_CASE("gan is its peer's (tests/parity)") {
  CHECK(each("gan", [](const Json& json) {
          Case c = one_step_case(json);
          const LossValue value =
              c.run(levels + "discriminator = \"mlp\"\n" + key("r1_std", c.settings().at("r1_std")) +
                        key("r1_weight", c.settings().at("r1_weight")),
                    {c.input("z"), c.input("t").log(), c.input("noise"), c.input("slope")});
          c.check(value.per_row, "student", "student");
          c.check(value.roles.at("discriminator"), "discriminator", "discriminator");
        }) == 1);
}

TEST_CASE("sid is its authors' (tests/parity)") {
  CHECK(each("sid", [](const Json& json) {
          Case c = one_step_case(json);
          const LossValue value = c.run(levels + key("alpha", c.settings().at("alpha")),
                                        {c.input("z"), c.input("t").log(), c.input("noise")});
          c.check(value.per_row, "student", "student");
          c.check(value.roles.at("fake"), "fake", "fake");
        }) == 3);
}

TEST_CASE("trajectory distribution matching is its authors' (tests/parity)") {
  CHECK(each("tdm", [](const Json& json) {
          Case c(json, "type = \"vp_cosine\"", {Predicts::v, 0.5}, Makes::flow_map);
          const Tensor grid = c.input("grid"), first = c.input("segment");
          const auto place_of = [&](const Tensor& t) {  // on the grid, which falls
            const Tensor low = (at::searchsorted(grid.flip({0}), t, /*out_int32=*/false, /*right=*/true))
                                   .neg()
                                   .add(grid.size(0) - 1)
                                   .clamp(0, grid.size(0) - 2);
            const Tensor a = grid.index_select(0, low), b = grid.index_select(0, low + 1);
            return low + (a - t) / (a - b);
          };
          const Tensor end = place_of(c.input("end")), begin = place_of(c.input("begin"));
          const ToldSchedule schedule(grid, {});
          const LossValue value =
              c.run("random_end = true\nnorm_eps = 0.0\n" + key("noise_to", c.settings().at("noise_to")) +
                        key("distance", c.settings().at("distance")),
                    {c.input("z"), (first + 0.5) / 4, first + 1 - end, (place_of(c.input("t")) - begin) / (end - begin),
                     c.input("noise")},
                    &schedule);
          CHECK(most(value.t - c.input("t")) < 1e-12);
          c.check(value.per_row, "student", "student");
          c.check(value.roles.at("fake"), "fake", "fake");
        }) == 3);
}
