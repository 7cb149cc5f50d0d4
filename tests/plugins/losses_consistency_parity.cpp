// Losses of the consistency family and the gradients of every parameter, held against their peers' numbers
// (tests/parity/consistency.json).
#include "sample/sampler.h"
#include "support/peer_losses.h"

using namespace retort;
using namespace retort::test;

namespace {

const Json& fixture() {
  static const Json file = parity_file("consistency.json");
  return file;
}

std::shared_ptr<Network> network_named(const std::string& name) {
  return network_of(fixture().at("networks").at(name));
}

// Runs every case of a loss by keys that `toml` makes of its settings, with the inputs of these names for what the loss
// draws, and says how many there were. Values and gradients agree within rounding of the float32 noise label, relative
// to the largest of a list.
int64_t each(const std::string& loss, const std::function<std::string(const Json& settings)>& toml,
             const std::vector<const char*>& draws, int64_t stage = 0) {
  constexpr double tolerance = 2e-6;
  int64_t count = 0;
  double greatest = 0;
  for (const Json& json : fixture().at("cases")) {
    if (json.at("loss") != loss) {
      continue;
    }
    CAPTURE(json.at("name").get<std::string>());
    ++count;
    const Json &names = json.at("networks"), &settings = json.at("settings"), &inputs = json.at("inputs");
    TestHost host("type = \"ve\"", ModelSpec{{2}});
    const auto input = [&](const char* name) { return tensor_of(inputs.at(name)); };
    Boundary boundary;
    std::unique_ptr<ToldSchedule> schedule;
    if (inputs.contains("s")) {  // with the schedule goes the boundary of its least level
      boundary.kind = BoundaryKind::sigma_shifted;
      const Tensor t = input("t");
      schedule = std::make_unique<ToldSchedule>(at::cat({at::stack({t, input("s")}, 1).flatten(), times({1e-4})}),
                                                at::arange(t.size(0), at::kLong) * 2);
    }
    const auto model = [&](const std::shared_ptr<Network>& network, Makes makes = Makes::consistency) {
      return Model(host.backend().trainable(network), host.process(), {Predicts::edm, 0.5}, boundary, makes);
    };
    const auto role = [&](const char* name) { return names.contains(name) ? name : "student"; };
    const auto student = network_named(names.at("student"));
    const Model trained = model(student), target = model(network_named(names.at(role("target")))),
                first = model(network_named(names.at(role("first"))));
    const ModelTeacher teacher(model(network_named(names.at(role("teacher"))), Makes::denoiser), ModelSpec{{2}});
    const Ode ode(teacher);
    const auto solver = host.make_plugin<Solver>("heun");
    size_t next = 0;
    TrainingStep step{.batch = {input("x0"), {}},
                      .student = trained,
                      .target = target,
                      .ode = &ode,
                      .solver = solver.get(),
                      .schedule = schedule.get(),
                      .process = host.process(),
                      .generator = seeded(0, "unused"),
                      .stage = stage,
                      .brought = [&](std::string_view) { return input(draws.at(next++)); }};
    step.roles.push_back({"first", &first, false});
    if (settings.contains("progress")) {
      step.progress = settings.at("progress");
    } else if (settings.contains("part")) {
      step.progress = (settings.at("part").get<double>() + 0.5) / settings.at("parts").get<double>();
    }
    const LossValue value = (*host.make_plugin<Loss>(loss, toml(settings)))(step);
    CHECK(next == draws.size());

    const auto compare = [&](double difference, double size) {
      CHECK(difference < tolerance * size);
      greatest = std::max(greatest, difference / size);
    };
    const Json& wanted = json.at("terms").at("loss");
    const Tensor per_row = tensor_of(wanted.at("per_row"));
    compare(most(value.per_row - per_row), most(per_row));
    value.per_row.mean().backward();
    double largest = 0;
    for (const auto& [name, g] : wanted.at("gradients").at("student").items()) {
      largest = std::max(largest, most(tensor_of(g)));
    }
    CHECK(largest > 1e-4);
    for (const auto& p : student->module()->named_parameters()) {
      CAPTURE(p.key());
      compare(most(p.value().grad() - tensor_of(wanted.at("gradients").at("student").at(p.key()))), largest);
    }
    note_difference("loss", loss, json.at("peer"), greatest);
  }
  MESSAGE(loss << ": " << count << " cases, values and gradients; greatest relative difference " << greatest);
  return count;
}

std::string key(const char* name, const Json& value) { return std::string(name) + " = " + value.dump() + "\n"; }

}  // namespace

TEST_CASE("easy consistency tuning is its authors' (tests/parity)") {
  CHECK(each("ect",
             [](const Json& s) {
               return key("mapping", s.at("mapping")) + key("q", s.at("q")) + key("parts", s.at("parts")) +
                      key("huber_c", s.at("huber_c"));
             },
             {"z", "noise"}) == 10);
}

TEST_CASE("truncated consistency models are their authors' (tests/parity)") {
  CHECK(each(
            "tcm",
            [](const Json& s) {
              return key("boundary_share", s.at("share")) + key("boundary_weight", s.at("weight")) +
                     key("t_freedom", s.at("freedom")) + key("t_scale", s.at("scale")) + key("q", s.at("q")) +
                     key("parts", s.at("parts")) + key("huber_c", s.at("huber_c"));
            },
            {"u", "noise"}, 1) == 2);
}

TEST_CASE("simplified continuous-time consistency is its peer's (tests/parity)") {
  CHECK(each("scm",
             [](const Json& s) {
               return "derivative = \"jvp\"\n" + key("velocity", s.at("velocity")) +
                      key("tangent_norm", s.at("tangent_norm")) + key("prior", s.at("prior"));
             },
             {"z", "noise"}) == 10);
}

TEST_CASE("consistency training and distillation, and their weightings, are their authors' (tests/parity)") {
  const auto toml = [](const Json& s) {
    return "target = \"ema\"\n" + key("weighting", s.at("weighting")) + key("distance", s.at("distance"));
  };
  CHECK(each("ct", toml, {"noise"}) == 5);
  CHECK(each("cm", toml, {"noise"}) == 5);
}

TEST_CASE("continuous-time consistency is its authors' (tests/parity)") {
  CHECK(each("continuous_cm",
             [](const Json& s) { return "derivative = \"jvp\"\n" + key("velocity", s.at("velocity")); },
             {"z", "noise"}) == 4);
}
