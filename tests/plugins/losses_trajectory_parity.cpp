// Losses of the trajectory family and the gradients of every parameter, held against their peers' numbers
// (tests/parity/trajectory.json).
#include "sample/sampler.h"
#include "support/peer_losses.h"

using namespace retort;
using namespace retort::test;

namespace {

const Json& fixture() {
  static const Json file = parity_file("trajectory.json");
  return file;
}

// Classifier-free guidance of two networks: by the weight of a row, or by one for all.
class Guided final : public Teacher {
 public:
  Guided(Model conditional, Model unconditional, double weight = 1)
      : conditional_(std::move(conditional)), unconditional_(std::move(unconditional)), weight_(weight) {}
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& given) const override {
    const Tensor w = given[retort::inputs::guidance];
    const Tensor c = conditional_.raw(x, t, {}), u = unconditional_.raw(x, t, {});
    return u + (w.defined() ? w.unsqueeze(1) : at::full({1, 1}, weight_, at::kDouble)) * (c - u);
  }
  const Process& process() const override { return conditional_.process(); }
  Parametrisation parametrisation() const override { return conditional_.parametrisation(); }
  std::vector<int64_t> shape() const override { return {2}; }

 private:
  Model conditional_, unconditional_;
  double weight_;
};

// One case of the file: its networks by role, and a step that is brought its numbers.
class Case {
 public:
  Case(const Json& json, const std::string& process_toml, Parametrisation form, Boundary boundary = {})
      : json_(json), host_(process_toml, ModelSpec{{2}}), form_(form), boundary_(boundary) {
    for (const auto& [role, name] : json.at("networks").items()) {
      networks_[role] = network_of(fixture().at("networks").at(name.get<std::string>()));
    }
    if (json.at("inputs").contains("interval")) {
      const Tensor grid = input("grid"), interval = input("interval").to(at::kLong);
      schedule = std::make_unique<ToldSchedule>(grid, interval);
    } else {
      schedule = std::make_unique<ToldSchedule>(times({1, 0}), at::zeros({input("noise").size(0)}, at::kLong));
    }
  }

  Tensor input(const char* name) const { return tensor_of(json_.at("inputs").at(name)); }
  std::string setting(const char* name) const { return number(json_.at("settings").at(name)); }
  TestHost& host() { return host_; }
  Model model(const std::string& role, Parametrisation form, Makes makes = Makes::denoiser, bool two_times = false) {
    return {host_.backend().trainable(networks_.at(role)), host_.process(), form, boundary_, makes, two_times};
  }

  LossValue run(const std::string& name, const std::string& toml, const std::vector<Tensor>& numbers,
                const Teacher* teacher = nullptr, const std::string& solver_name = "ddim",
                const Conditioning& condition = {}) {
    const auto loss = host_.make_plugin<Loss>(name, toml);
    const auto solver = host_.make_plugin<Solver>(solver_name);
    const bool two_times = loss->needs().end_time;
    const Model student = model("student", form_, loss->makes(), two_times);
    const Model target = model(networks_.contains("target") ? "target" : "student", form_, loss->makes(), two_times);
    std::optional<Ode> ode;
    if (teacher != nullptr) {
      ode.emplace(*teacher, condition);
    }
    size_t next = 0;
    TrainingStep step{.batch = {input("x0"), condition},
                      .student = student,
                      .target = target,
                      .ode = ode ? &*ode : nullptr,
                      .solver = solver.get(),
                      .schedule = schedule.get(),
                      .process = host_.process(),
                      .generator = seeded(0, "unused"),
                      .brought = [&](std::string_view) { return numbers.at(next++); }};
    std::optional<Model> judge;
    if (networks_.contains("discriminator")) {
      judge.emplace(model("discriminator", form_));
      step.roles.push_back({"discriminator", &*judge, true});
    }
    const LossValue out = (*loss)(step);
    CHECK(next == numbers.size());
    return out;
  }

  // Values within rounding of the float32 noise label, relative to the largest of a list.
  void check(const Tensor& per_row, const std::vector<std::pair<const char*, double>>& terms, const std::string& role) {
    Tensor wanted;
    std::map<std::string, Tensor> gradients;
    const auto add = [](Tensor& sum, const Tensor& more) { sum = sum.defined() ? sum + more : more; };
    for (const auto& [term, weight] : terms) {
      const Json& t = json_.at("terms").at(term);
      add(wanted, weight * tensor_of(t.at("per_row")));
      for (const auto& [name, values] : t.at("gradients").at(role).items()) {
        add(gradients[name], weight * tensor_of(values));
      }
    }
    const auto compare = [](double difference, double size) {
      CHECK(difference < tolerance * size);
      greatest = std::max(greatest, difference / size);
    };
    compare(most(per_row - wanted), most(wanted));
    per_row.mean().backward({}, /*retain_graph=*/true, /*create_graph=*/false,
                            networks_.at(role)->module()->parameters());
    double largest = 0;
    for (const auto& [name, g] : gradients) {
      largest = std::max(largest, most(g));
    }
    CHECK(largest > 1e-4);
    for (const auto& p : networks_.at(role)->module()->named_parameters()) {
      CAPTURE(p.key());
      compare(most(p.value().grad() - gradients.at(p.key())), largest);
    }
  }

  std::unique_ptr<ToldSchedule> schedule;
  inline static double greatest = 0;  // relative difference so far

 private:
  static constexpr double tolerance = 2e-6;
  const Json& json_;
  TestHost host_;
  Parametrisation form_;
  Boundary boundary_;
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
      f(json);
      note_difference("loss", loss, json.at("peer"), Case::greatest);
      ++count;
    }
  }
  MESSAGE(loss << ": " << count << " cases, values and gradients; greatest relative difference " << Case::greatest);
  return count;
}

const std::string straight = "type = \"rectified_flow\"";
const Parametrisation flow{Predicts::flow, 0.5};

std::string betas() {
  const Json& table = fixture().at("betas");
  return "type = \"betas\"\nbeta_start = " + number(table.at("beta_start")) +
         "\nbeta_end = " + number(table.at("beta_end")) +
         "\nnum_train_timesteps = " + table.at("num_train_timesteps").dump();
}
const Parametrisation of_noise{Predicts::noise, 0.5, Sees::fraction};

}  // namespace

TEST_CASE("reflow is its peers' (tests/parity)") {
  CHECK(each("reflow", [](const Json& json) {
          Case c(json, straight, flow);
          const GivenVelocity teacher(c.host().process(), c.input("noise") - c.input("x0"));
          const LossValue value = c.run("reflow",
                                        "times = " + json.at("settings").at("times").dump() +
                                            "\nsteps = " + json.at("settings").at("steps").dump(),
                                        {c.input("noise"), c.input("drawn")}, &teacher);
          CHECK(most(value.t - c.input("t")) < 1e-15);
          c.check(value.per_row, {{"loss", 1}}, "student");
        }) == 6);
}

TEST_CASE("shortcut is its peers' (tests/parity)") {
  CHECK(each("shortcut", [](const Json& json) {
          Case c(json, straight, flow);
          const Json& settings = json.at("settings");
          const auto finest = settings.at("finest").get<double>();
          const Tensor t = c.input("t"), d = c.input("d"), level = (-d.log2() + 0.5) / std::log2(finest);
          const auto run = [&](double share, const Tensor& drawn, const Tensor& length) {
            const LossValue value = c.run(
                "shortcut",
                "finest = " + settings.at("finest").dump() + "\nfinest_jump = " + settings.at("finest_jump").dump() +
                    "\nclip = " + c.setting("clip") + "\nbootstrap_share = " + std::to_string(share),
                {drawn, level, t - length / 2, c.input("noise")});
            CHECK(most(value.t - t) < 1e-15);
            return value.per_row;
          };
          const Tensor any = at::full_like(t, 0.5);
          const Tensor per_row = settings.at("both_terms").get<bool>()
                                     ? run(0, any, at::full_like(t, 1 / finest)) + run(1, any, d)
                                     : run(0.5, (d == 1 / finest).to(at::kDouble), d);
          c.check(per_row, {{"loss", 1}}, "student");
        }) == 2);
}

TEST_CASE("consistency flow matching is its peers' (tests/parity)") {
  CHECK(
      each("consistency_fm", [](const Json& json) {
        Case c(json, straight, flow);
        std::string toml = "segments = " + json.at("settings").at("segments").dump();
        for (const char* key : {"interval", "velocity_weight", "data_below"}) {
          toml += "\n" + std::string(key) + " = " + c.setting(key);
        }
        c.check(c.run("consistency_fm", toml, {1 - c.input("t"), c.input("noise")}).per_row, {{"loss", 1}}, "student");
      }) == 3);
}

TEST_CASE("imm, in the form of a port, is that port's (tests/parity)") {
  CHECK(each("imm", [](const Json& json) {
          Case c(json, straight, {Predicts::edm, 1, Sees::edm});
          const LossValue value = c.run("imm",
                                        "form = \"torch_flow_models\"\nnetwork_input = \"t\"\nparticles = 2\n"
                                        "least_time = 0\ngreatest_time = 1\ndecrement = " +
                                            c.setting("decrement"),
                                        {c.input("t"), c.input("part"), c.input("noise")});
          c.check(value.per_row, {{"loss", 1}}, "student");
        }) == 1);
}

TEST_CASE("latent consistency distillation is diffusers' (tests/parity)") {
  CHECK(each("lcm", [](const Json& json) {
          Boundary boundary;
          boundary.kind = BoundaryKind::time_scaled;
          boundary.time_scale = json.at("settings").at("time_scale");
          Case c(json, betas(), of_noise, boundary);
          const Guided teacher(c.model("teacher", of_noise), c.model("unconditional", of_noise));
          const LossValue value = c.run("lcm", "huber_c = " + c.setting("huber_c"), {c.input("noise")}, &teacher,
                                        "ddim", {{retort::inputs::guidance, c.input("w")}});
          CHECK(most(value.t - c.input("t")) < 1e-15);
          c.check(value.per_row, {{"loss", 1}}, "student");
        }) == 1);
}

TEST_CASE("phased consistency models are their authors', with and without the discriminator (tests/parity)") {
  CHECK(each("pcm", [](const Json& json) {
          for (const double weight : {0.0, 0.1}) {
            Case c(json, betas(), of_noise);
            const Guided teacher(c.model("teacher", of_noise), c.model("unconditional", of_noise),
                                 json.at("settings").at("guidance"));
            const std::string toml =
                "phases = " + json.at("settings").at("phases").dump() + "\nhuber_c = " + c.setting("huber_c") +
                "\ngan_weight = " + std::to_string(weight) + (weight > 0 ? "\ndiscriminator = \"mlp\"" : "");
            std::vector<Tensor> numbers = {c.input("noise")};
            if (weight > 0) {
              numbers.insert(numbers.end(), {c.input("part"), c.input("noise_real"), c.input("noise_fake")});
            }
            const LossValue value = c.run("pcm", toml, numbers, &teacher);
            CHECK(most(value.t - c.input("t")) < 1e-15);
            c.check(value.per_row, {{"generator", 1}, {"gan_generator", weight}}, "student");
            if (weight > 0) {
              c.check(value.roles.at("discriminator"), {{"discriminator", 1}}, "discriminator");
            }
          }
        }) == 1);
}

TEST_CASE("consistency trajectory models are their authors' (tests/parity)") {
  CHECK(each("ctm", [](const Json& json) {
          for (const double weight : {0.0, 0.8}) {
            Case c(json, "type = \"ve\"", {Predicts::flow, 0.5, Sees::edm});
            const ModelTeacher teacher(c.model("teacher", {Predicts::edm, 0.5}), ModelSpec{{2}});
            const Tensor at_t = c.input("interval"), at_u = at_t + c.input("steps");
            const double intervals = static_cast<double>(c.input("grid").size(0) - 1);
            std::vector<Tensor> numbers = {(c.input("steps") - 0.5) / (intervals - at_t).clamp_max(3),
                                           (c.input("at_s") - at_u + 0.5) / (intervals + 1 - at_u), c.input("noise")};
            if (weight > 0) {
              numbers.insert(numbers.end(), {c.input("denoising_t").log(), c.input("denoising_noise")});
            }
            const LossValue value = c.run("ctm",
                                          "solver_steps = 3\nlog_sigma_mean = 0.0\nlog_sigma_std = 1.0\n"
                                          "denoising_weight = " +
                                              std::to_string(weight),
                                          numbers, &teacher, "heun");
            c.check(value.per_row, {{"consistency", 1}, {"denoising", weight}}, "student");
          }
        }) == 1);
}
