// Losses and the gradients of every parameter, held against their peers' numbers (tests/parity/losses.json).
#include <torch/nn/module.h>

#include "sample/sampler.h"
#include "support/peer_losses.h"

using namespace retort;
using namespace retort::test;

namespace {

// One case of the file: its networks by role, and a step that is brought its numbers.
class Case {
 public:
  Case(const Json& file, const Json& json, const std::string& process_toml, Parametrisation form, Makes makes,
       Boundary boundary = {})
      : json_(json), host_(process_toml, ModelSpec{{2}}), form_(form), boundary_(boundary), makes_(makes) {
    for (const auto& [role, name] : json.at("networks").items()) {
      networks_[role] = network_of(file.at("networks").at(name.get<std::string>()));
    }
  }

  Tensor input(const char* name) const { return tensor_of(json_.at("inputs").at(name)); }
  TestHost& host() { return host_; }

  Model model(const std::string& role) {
    const bool two_times = makes_ == Makes::flow_map && json_.at("loss") == "meanflow";
    return {host_.backend().trainable(networks_.at(role)), host_.process(), form_, boundary_, makes_, two_times};
  }

  LossValue run(const std::string& loss, const std::string& toml, const Tensor& data, const Schedule* schedule,
                const Ode* ode, const std::vector<Tensor>& numbers, const std::vector<std::string>& roles = {}) {
    const Model student = model(networks_.contains("generator") ? "generator" : "student");
    std::vector<Model> models;
    for (const std::string& role : roles) {
      models.push_back(model(role));
    }
    size_t next = 0;
    TrainingStep step{.batch = {data, {}},
                      .student = student,
                      .target = student,
                      .ode = ode,
                      .schedule = schedule,
                      .process = host_.process(),
                      .generator = seeded(0, "unused"),
                      .brought = [&](std::string_view) { return numbers.at(next++); }};
    for (size_t i = 0; i < roles.size(); ++i) {
      step.roles.push_back({roles[i], &models[i], true});
    }
    const LossValue out = (*host_.make_plugin<Loss>(loss, toml))(step);
    CHECK(next == numbers.size());
    return out;
  }

  // Values within rounding of the float32 noise label, relative to the largest of a list.
  void check(const Tensor& per_row, const std::vector<const char*>& terms, const std::string& role) {
    Tensor wanted;
    std::map<std::string, Tensor> gradients;
    for (const char* term : terms) {
      const Json& t = json_.at("terms").at(term);
      const Tensor rows = tensor_of(t.at("per_row"));
      wanted = wanted.defined() ? wanted + rows : rows;
      for (const auto& [name, values] : t.at("gradients").at(role).items()) {
        Tensor& sum = gradients[name];
        sum = sum.defined() ? sum + tensor_of(values) : tensor_of(values);
      }
    }
    const auto compare = [](double difference, double size) {
      CHECK(difference < tolerance * size);
      greatest = std::max(greatest, difference / size);
    };
    compare(most(per_row - wanted), most(wanted));
    const std::vector<Tensor> own = networks_.at(role)->module()->parameters();
    per_row.mean().backward({}, /*retain_graph=*/true, /*create_graph=*/false, own);
    double largest = 0;
    for (const auto& [name, g] : gradients) {
      largest = std::max(largest, most(g));
    }
    for (const auto& p : networks_.at(role)->module()->named_parameters()) {
      CAPTURE(p.key());
      const Tensor grad = p.value().grad().defined() ? p.value().grad() : at::zeros_like(p.value());
      compare(most(grad - gradients.at(p.key())), largest);
    }
  }

  inline static double greatest = 0;  // relative difference so far

 private:
  static constexpr double tolerance = 2e-6;
  const Json& json_;
  TestHost host_;
  Parametrisation form_;
  Boundary boundary_;
  Makes makes_;
  std::map<std::string, std::shared_ptr<TinyNetwork>> networks_;
};

Tensor interleaved(const std::vector<Tensor>& columns) { return at::stack(columns, 1).flatten(); }

const Json& fixture() {
  static const Json file = parity_file("losses.json");
  return file;
}

// Calls `f` with every case of a loss, and says how many there were.
template <class F>
int64_t each(const char* loss, F f) {
  int64_t count = 0;
  Case::greatest = 0;
  for (const Json& json : fixture().at("cases")) {
    if (json.at("loss") == loss) {
      CAPTURE(json.at("name").get<std::string>());
      f(json);
      note_difference("loss", loss, json.at("peer"), Case::greatest);
      ++count;
    }
  }
  MESSAGE(std::string(loss) << ": " << count << " cases, values and gradients; greatest relative difference "
                            << Case::greatest);
  return count;
}

}  // namespace

TEST_CASE("improved consistency training is its peers' (tests/parity)") {
  CHECK(each("ict", [](const Json& json) {
          Boundary boundary;
          boundary.kind = BoundaryKind::sigma_shifted;
          boundary.sigma_min = json.at("settings").at("sigma_min");
          Case c(fixture(), json, "type = \"ve\"", {Predicts::edm, 0.5}, Makes::consistency, boundary);
          const Tensor t = c.input("t"), s = c.input("s");
          const ToldSchedule schedule(interleaved({t, s}), at::arange(t.size(0), at::kLong) * 2);
          const LossValue value = c.run("ict", "huber_c = " + number(json.at("settings").at("huber_c")), c.input("x0"),
                                        &schedule, nullptr, {c.input("noise")});
          c.check(value.per_row, {"loss"}, "student");
        }) == 2);
}

TEST_CASE("the schedule of improved consistency training is its peer's (tests/parity)") {
  const Json& peer = fixture().at("ict_schedule");
  TestHost host;
  const auto schedule = host.make_plugin<Schedule>("ict");
  const auto total = peer.at("total_steps").get<double>();
  for (size_t i = 0; i < peer.at("steps").size(); ++i) {
    const double progress = peer.at("steps")[i].get<double>() / total;
    CAPTURE(progress);
    CHECK(schedule->times(host.process(), progress).size(0) == peer.at("levels")[i].get<int64_t>());
  }
  const Tensor levels = tensor_of(peer.at("sigmas")).flip({0});
  CHECK(most((schedule->times(host.process(), 0) - levels) / levels) < 1e-12);
  // As often as they are to be drawn: the standard error of a share of 200,000 is 0.0011 at most.
  const Tensor share = at::bincount(schedule->draw(10, 200000, seeded(1, "draw")), {}, 10).to(at::kDouble) / 200000;
  CHECK(most(share.flip({0}) - tensor_of(peer.at("probabilities"))) < 0.005);
}

TEST_CASE("MeanFlow is its peers' (tests/parity)") {
  CHECK(each("meanflow", [](const Json& json) {
          Case c(fixture(), json, "type = \"rectified_flow\"", {Predicts::flow, 0.5}, Makes::flow_map);
          const Json& settings = json.at("settings");
          const bool of_data = settings.at("velocity") == "noise - x0";
          const Tensor t = c.input("t"), r = c.input("r");
          const GivenVelocity teacher(c.host().process(), c.input("velocity"));
          const Ode ode(teacher);
          const auto logit = [](const Tensor& time) { return time.log() - (-time).log1p(); };
          const std::string toml = std::string("t_mean = 0.0\ns_mean = 0.0\nequal_share = 0.0\nvelocity = \"") +
                                   (of_data ? "data" : "teacher") + "\"\nadaptive_power = " + number(settings.at("p")) +
                                   "\nadaptive_constant = " + number(settings.at("c"));
          for (const char* derivative : {"jvp", "difference"}) {
            CAPTURE(derivative);
            const LossValue value =
                c.run("meanflow", toml + "\nderivative = \"" + derivative + "\"\ndifference_step = 1e-4", c.input("x0"),
                      nullptr, &ode, {logit(t), logit(r), at::ones_like(t), c.input("noise")});
            if (derivative == std::string("jvp")) {
              c.check(value.per_row, {"loss"}, "student");
            } else {  // a difference of labels that are float32: 1e-7 / 1e-4
              const Tensor wanted = tensor_of(json.at("terms").at("loss").at("per_row"));
              CHECK(most(value.per_row - wanted) < 0.01 * most(wanted));
            }
          }
        }) == 12);
}

TEST_CASE("distribution matching is its peers' (tests/parity)") {
  CHECK(each("dmd2", [](const Json& json) {
          const Json& settings = json.at("settings");
          // What the teacher's hidden layer says is no input of our discriminator.
          const bool gan = settings.at("discriminator_input") == "noised sample";
          Case c(fixture(), json, "type = \"ve\"", {Predicts::edm, 0.5}, Makes::generator);
          const ModelTeacher teacher(c.model("teacher"), ModelSpec{{2}});
          const Ode ode(teacher);
          const std::string toml =
              "log_sigma_mean = 0.0\nlog_sigma_std = 1.0\nfake_weight = " + settings.at("fake_weight").dump() +
              "\nnorm_eps = " + number(settings.at("norm_eps")) +
              (gan ? "\ngan_weight = 1.0\ndiscriminator = \"mlp\"" : "");
          const LossValue value =
              c.run("dmd2", toml, c.input("real"), nullptr, &ode, {c.input("z"), c.input("t").log(), c.input("noise")},
                    gan ? std::vector<std::string>{"fake", "discriminator"} : std::vector<std::string>{"fake"});
          c.check(value.per_row,
                  gan ? std::vector<const char*>{"generator", "gan_generator"} : std::vector<const char*>{"generator"},
                  "generator");
          c.check(value.roles.at("fake"), {"fake"}, "fake");
          if (gan) {
            c.check(value.roles.at("discriminator"), {"discriminator"}, "discriminator");
          }
        }) == 7);
}

TEST_CASE("progressive distillation is its peers' (tests/parity)") {
  CHECK(each("progressive_distillation", [](const Json& json) {
          const bool ve = json.at("settings").at("process") == "ve";
          Case c(fixture(), json, ve ? "type = \"ve\"" : "type = \"vp_cosine\"",
                 {ve ? Predicts::edm : Predicts::v, 0.5}, Makes::flow_map);
          const ModelTeacher teacher(c.model("teacher"), ModelSpec{{2}});
          const Ode ode(teacher);
          const Tensor t = c.input("t"), s = c.input("s");
          const Tensor grid = at::cat({interleaved({t, c.input("middle"), s, s}), s.narrow(0, 0, 1)});
          const ToldSchedule schedule(grid, at::arange(t.size(0), at::kLong) * 2);
          const LossValue value =
              c.run("progressive_distillation", "", c.input("x0"), &schedule, &ode, {c.input("noise")});
          c.check(value.per_row, {"loss"}, "student");
        }) == 4);
}
