// pi_flow: its numbers against its authors' (tests/parity/pi_flow.json) and against a formula written here, on other
// processes too; policies where the way is known; what training on a mixture leads to.
#include <torch/nn/module.h>
#include <torch/optim/adam.h>

#include <cmath>

#include "io/checkpoint.h"
#include "sample/sampler.h"
#include "support/peer_losses.h"

using namespace retort;
using namespace retort::test;

namespace {

const char* const straight = "type = \"rectified_flow\"";
const char* const mixture_2d =
    "weights = [0.5, 0.2, 0.3]\nmeans = [[-1.0, 0.5], [0.3, -0.7], [1.1, 0.9]]\nstds = [0.2, 0.35, 0.15]";

const Json& fixture() {
  static const Json file = parity_file("pi_flow.json");
  return file;
}

Tensor col(const Tensor& c) { return c.unsqueeze(1); }

// Numbers in the order in which they are drawn.
std::function<Tensor(std::string_view)> given(std::vector<Tensor> numbers) {
  return [numbers = std::move(numbers), next = std::make_shared<size_t>(0)](std::string_view) {
    return numbers.at((*next)++);
  };
}

// A step of the loss on a mixture, by a network of N outputs.
struct World {
  TestHost host;
  Parametrisation form;
  std::shared_ptr<Teacher> teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_2d);
  Ode ode{*teacher};

  World(const std::string& process, Parametrisation form) : host(process, ModelSpec{{2}}), form(form) {}

  Model model(const Loss& loss, const std::shared_ptr<Network>& network) {
    return {host.backend().trainable(network), host.process(), form, {}, loss.makes(), loss.needs().end_time};
  }
  LossValue run(const Loss& loss, const Model& student, const Schedule& schedule, const Tensor& data,
                const std::function<Tensor(std::string_view)>& brought, int64_t index = 0) {
    return loss({.batch = {data, {}},
                 .student = student,
                 .target = student,
                 .ode = &ode,
                 .schedule = &schedule,
                 .process = host.process(),
                 .generator = seeded(static_cast<uint64_t>(index), "training"),
                 .index = index,
                 .brought = brought});
  }
};

// A policy and its walk, row by row and in plain numbers: hats that are 1 at one of the times and 0 at its neighbours.
struct Row {
  std::vector<Tensor> data;
  double from, to;

  Tensor velocity(const Tensor& y, double u) const {
    const double place = (u - to) / (from - to) * static_cast<double>(data.size() - 1);
    Tensor x0 = at::zeros_like(y);
    for (size_t k = 0; k < data.size(); ++k) {
      x0 = x0 + std::max(0.0, 1 - std::abs(place - static_cast<double>(k))) * data[k];
    }
    return (y - x0) / u;
  }
  Tensor walk(Tensor y, double a, double b, double substeps) const {
    const double count = std::max(1.0, std::nearbyint((a - b) * substeps)), step = (a - b) / count;
    for (double k = 0; k < count; ++k) {
      y = y - step * velocity(y, a - k * step);
    }
    return y;
  }
};

}  // namespace

TEST_CASE("pi_flow's values and every parameter's gradient are its authors' (tests/parity)") {
  World w(straight, {Predicts::flow, 0.5});
  double greatest = 0;
  REQUIRE(fixture().at("cases").size() >= 5);
  for (const Json& c : fixture().at("cases")) {
    const auto name = c.at("name").get<std::string>();
    CAPTURE(name);
    const Json &in = c.at("inputs"), &settings = c.at("settings");
    const double share = settings.at("teacher_share").get<double>();
    const std::string mixing = share > 0 ? "\nmixing_steps = 8" : "";
    const auto loss = w.host.make_plugin<Loss>(
        "pi_flow", "outputs = " + fixture().at("outputs").dump() + "\nsegments = [" + settings.at("segments").dump() +
                       "]\nstates = " + settings.at("states").dump() + "\nwindow = " + settings.at("window").dump() +
                       "\nsubsteps = " + fixture().at("substeps").dump() + mixing);
    std::vector<Tensor> numbers = {tensor_of(in.at("place")), tensor_of(in.at("noise"))};
    for (const char* kind : {"own", "teacher"}) {
      for (const Json& row : share > 0 || std::string(kind) == "own" ? in.at(kind) : Json::array()) {
        numbers.push_back(tensor_of(row));
      }
    }
    const auto network = network_of(fixture().at("network"));
    const LossValue value = w.run(*loss, w.model(*loss, network), ToldSchedule(times({1, 0.75, 0.5, 0.25, 0}), {}),
                                  tensor_of(in.at("x0")), given(numbers), std::lround(8 * (1 - share)));
    const auto compare = [&](const Tensor& got, const Tensor& wanted, double size) {
      CHECK(most(got - wanted) < 1e-12 * size);
      greatest = std::max(greatest, most(got - wanted) / size);
    };
    const Tensor wanted = tensor_of(c.at("per_row"));
    compare(value.per_row, wanted, most(wanted));
    value.per_row.mean().backward();
    double largest = 0;
    for (const auto& [key, g] : c.at("gradients").items()) {
      largest = std::max(largest, most(tensor_of(g)));
    }
    for (const auto& p : network->module()->named_parameters()) {
      CAPTURE(p.key());
      compare(p.value().grad(), tensor_of(c.at("gradients").at(p.key())), largest);
    }
  }
  note_difference("loss", "pi_flow", "piFlow", greatest);
}

TEST_CASE("a policy's samples are its authors', in one evaluation for each segment") {
  World w(straight, {Predicts::flow, 0.5});
  class Counted final : public CompiledNetwork {
   public:
    Tensor operator()(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
      ++count;
      return network->forward(x, c_noise, condition);
    }
    std::shared_ptr<Network> network = network_of(fixture().at("network"));
    int64_t count = 0;
  };
  const auto network = std::make_shared<Counted>();
  const Model student(network, w.host.process(), w.form, {}, Makes::policy);
  const Json& sampler = fixture().at("sampler");
  const Tensor start = tensor_of(sampler.at("start")), grid = times({1, 0.75, 0.5, 0.25, 0});
  for (const int64_t steps : {1, 2, 4}) {
    CAPTURE(steps);
    network->count = 0;
    const Tensor end = sample_student(student, sampler_times(grid, steps), {start, {}}, 100, 1);
    CHECK(network->count == steps);
    CHECK(most(end - tensor_of(sampler.at("ends").at(std::to_string(steps)))) < 1e-12);
    CHECK(at::equal(end, sample_student(student, sampler_times(grid, steps), {start, {}}, 100, 2, 0.0)));
  }
  CHECK(most(student.endpoint(start, at::ones({6}, at::kDouble), {}) - tensor_of(sampler.at("ends").at("1"))) < 1e-12);
}

TEST_CASE("pi_flow is its formula on any process, told where its segment ends where it has several") {
  constexpr int64_t rows = 6, outputs = 3;
  const struct {
    const char* process;
    Parametrisation form;
    Tensor grid;
  } worlds[] = {{"type = \"ve\"", {Predicts::edm, 0.5}, times({20, 5, 1.5, 0.5, 0})},
                {"type = \"vp_linear\"", {Predicts::noise, 0.5}, times({0.9, 0.7, 0.4, 0.2, 0.01})}};
  for (const auto& world : worlds) {
    CAPTURE(std::string(world.process));
    World w(world.process, world.form);
    const Process& p = w.host.process();
    const auto loss =
        w.host.make_plugin<Loss>("pi_flow", "outputs = 3\nsegments = [1, 2]\nstates = 2\nwindow = 2\nsubsteps = 40");
    CHECK(loss->needs().end_time);
    CHECK(loss->needs().outputs == outputs);
    TinyWeights weights = TinyWeights::random(5, 2, 2, 2 * outputs).leaves();
    const auto network = std::make_shared<TinyNetwork>(weights);
    const Tensor data = normal({rows, 2}, 1) * 0.6, noise = normal({rows, 2}, 2);
    const Tensor choice = times({0.1, 0.6, 0.9, 0.4, 0.7, 0.5}), place = times({0.3, 0.2, 0.7, 0.9, 0.6, 0.1});
    const std::vector<Tensor> ways = {times({0.5, 0.1, 0.9, 0.3, 0.7, 0.2}), times({0.4, 0.8, 0.2, 0.6, 0.1, 0.95})};
    const LossValue value = w.run(*loss, w.model(*loss, network), ToldSchedule(world.grid, {}), data,
                                  given({choice, place, noise, ways[0], ways[1]}));

    // Where the rows are: of two segments the first four intervals are halves.
    const Tensor begin = at::tensor(std::vector<int64_t>{0, 0, 2, 0, 2, 0}),
                 end = at::tensor(std::vector<int64_t>{4, 2, 4, 4, 4, 2});
    const Tensor t = world.grid.index_select(0, begin), s = world.grid.index_select(0, end);
    CHECK(most(value.t - t) == 0);
    const auto u_of = [&](const Tensor& time) { return p.sigma(time) / (p.alpha(time) + p.sigma(time)); };
    const Tensor x = col(p.alpha(t)) * data + col(p.sigma(t)) * noise;
    const auto label = [&](const Tensor& time) { return world.form.c_noise(p, time); };
    const auto told = [](const Tensor& c) { return c.to(at::kFloat); };
    const Tensor out = weights(col(world.form.c_in(p, t)) * x, {told(label(t)), told(label(t) - label(s))});
    const Linear to_data = world.form.to_data(p, t);
    Tensor formula = at::zeros({rows}, at::kDouble);
    std::vector<Tensor> values;
    for (int64_t i = 0; i < rows; ++i) {
      Row way{{}, u_of(t)[i].item<double>(), u_of(s)[i].item<double>()}, fixed = way;
      for (int64_t k = 0; k < outputs; ++k) {
        way.data.push_back(to_data.a[i] * x[i] + to_data.b[i] * out[i].narrow(0, 2 * k, 2));
        fixed.data.push_back(way.data.back().detach());
      }
      const double length = way.from - way.to, steps = std::max(1.0, std::nearbyint(length * 40));
      const double window = std::min(2 * length / steps, length);
      std::vector<double> places = {ways[0][i].item<double>(), ways[1][i].item<double>()};
      std::sort(places.begin(), places.end());
      Tensor y = x[i] / (p.alpha(t)[i] + p.sigma(t)[i]), total = at::zeros({}, at::kDouble);
      double u = way.from;
      for (const double share : places) {
        const double a = way.from - share * (length - window);
        y = fixed.walk(y, u, a, 40);
        const Tensor time = p.time_of_noise_level(times({a / (1 - a)})), back = p.alpha(time) + p.sigma(time);
        const Tensor wanted = (y - w.ode.data((y * back).unsqueeze(0), time)[0]) / a;
        const Tensor said =
            std::nearbyint(window * 40) < 2 ? way.velocity(y, a) : (y - way.walk(y, a, a - window, 40)) / window;
        total = total + (said - wanted).square().mean() / 2;
        u = a;
      }
      values.push_back(total);
    }
    formula = at::stack(values);
    CHECK(most(value.per_row - formula) < 1e-9 * most(formula));
    value.per_row.mean().backward();
    formula.mean().backward();
    for (const auto& parameter : network->module()->named_parameters()) {
      CAPTURE(parameter.key());
      const Tensor wanted = weights.at.at(parameter.key()).grad();
      CHECK(most(parameter.value().grad() - wanted) < 1e-9 * most(wanted));
      CHECK(most(wanted) > 1e-7);
    }
  }
}

TEST_CASE("a policy of one output is DDIM, and another's walk errs by its step where the way is known") {
  TestHost host("type = \"vp_linear\"");
  const Process& p = host.process();
  const Tensor t = times({0.9, 0.6, 0.3}), s = times({0.2, 0.1, 0.25}), x = normal({3, 4}, 1);
  const Tensor data = normal({3, 2, 4}, 2);
  const Tensor u = flow_form::time(p, t), v = flow_form::time(p, s), y = flow_form::state(p, x, t);
  const Policy one(u, v, data.narrow(1, 0, 1));
  const Tensor ddim = ddim_step(Times(p, t), Times(p, s), x, data.select(1, 0));
  CHECK(most(flow_form::state_back(p, one.walk(y, u, v), s) - ddim) < 1e-12);
  CHECK(most(flow_form::time_back(p, u) - t) < 1e-12);
  // x0 = b + c u, so y = b + k u - c u log u.
  const Policy two(u, v, data);
  const Tensor c = (data.select(1, 1) - data.select(1, 0)) / col(u - v), b = data.select(1, 0) - c * col(v);
  const Tensor k = (y - b) / col(u) + c * col(u.log()), exact = b + k * col(v) - c * col(v) * col(v.log());
  const auto error = [&](int64_t substeps) { return rms(two.walk(y, u, v, substeps) - exact); };
  CHECK(std::log2(error(400) / error(800)) == doctest::Approx(1).epsilon(0.05));
  CHECK(most(two.data(u) - data.select(1, 1)) < 1e-12);
  CHECK(most(two.data(v - 1e-3) - data.select(1, 0)) < 1e-12);
}

TEST_CASE("networks give as many samples' worth of numbers as they are asked for") {
  const ModelSpec points{{2}, label_inputs(3), 4}, pictures{{3, 8, 8}, label_inputs(3), 4};
  const struct {
    const char *name, *toml;
    ModelSpec spec;
  } cases[] = {{"mlp", "", points},
               {"mlp", "", pictures},
               {"unet", "widths = [8, 16]\npatch = 2", pictures},
               {"unet_text", "widths = [8, 16]\nheads = 2", pictures}};
  for (const auto& c : cases) {
    CAPTURE(std::string(c.name));
    TestHost host(straight, c.spec);
    const auto network = host.make_plugin<Network>(c.name, c.toml);
    std::vector<int64_t> shape = c.spec.shape;
    shape.insert(shape.begin(), 5);
    const Tensor x = at::ones(shape);
    shape[1] *= 4;
    const Tensor out = network->forward(x, at::zeros({5}), {{inputs::labels, at::zeros({5}, at::kLong)}});
    CHECK(out.sizes() == at::IntArrayRef(shape));
  }
}

TEST_CASE("a student that begins at a teacher of one output says the teacher's at each of its own, and so is DDIM") {
  for (const auto& [name, toml, shape] :
       {std::tuple("mlp", "", std::vector<int64_t>{2}),
        std::tuple("unet", "widths = [8, 16]\npatch = 2", std::vector<int64_t>{2, 8, 8})}) {
    CAPTURE(std::string(name));
    TestHost host(straight, ModelSpec{shape});
    const auto teacher = host.make_plugin<Network>(name, toml);
    Checkpoint checkpoint;
    for (const auto& p : teacher->module()->named_parameters()) {
      checkpoint.tensors[p.key()] = at::randn(p.value().sizes(), seeded(1, p.key().c_str())) * 0.1;
      const at::NoGradGuard no_grad;
      Tensor(p.value()).copy_(checkpoint.tensors[p.key()]);
    }
    checkpoint.config["model"]["network"] = parse_toml(std::string("type = \"") + name + "\"\n" + toml, "test.toml");
    write_spec(ModelSpec{shape}, checkpoint.config["model"]);
    CHECK(checkpoint.config.find("model")->find("outputs") == nullptr);
    const auto student = build_network(host, checkpoint, "teacher.safetensors", {}, 3);
    teacher->module()->eval();
    const auto model = [&](const std::shared_ptr<Network>& network, Makes makes) {
      return Model(host.backend().compile(network), host.process(), {Predicts::flow, 0.5}, {}, makes);
    };
    std::vector<int64_t> batch = shape;
    batch.insert(batch.begin(), 4);
    const Tensor x = normal(batch, 1).to(at::kFloat), t = times({1, 0.8, 0.6, 0.4}), s = t / 2;
    const Model one = model(teacher, Makes::denoiser), policy = model(student, Makes::policy);
    const Tensor ddim = ddim_step(Times(host.process(), t), Times(host.process(), s), x, one.data(x, t, {}));
    CHECK(most(policy.data(x, t, {}) - one.data(x, t, {})) < 1e-5);
    CHECK(most(policy.jump(x, t, s, {}) - ddim) < 1e-4);
    checkpoint.tensors["output.bias"] = at::zeros({5});
    CHECK(contains(request_error([&] { build_network(host, checkpoint, "teacher.safetensors", {}, 3); }),
                   "another shape than its network's"));
  }
  Value model;
  write_spec(ModelSpec{{2}, {}, 3}, model);
  Checkpoint read;
  read.config["model"] = model;
  CHECK(read.spec().outputs == 3);
}

TEST_CASE("a wrong number of segments is refused") {
  TestHost host(straight, ModelSpec{{2}});
  CHECK(contains(request_error([&] { host.make_plugin<Loss>("pi_flow", "segments = []"); }), "segments"));
  const auto loss = host.make_plugin<Loss>("pi_flow", "segments = [2, 5]");
  CHECK_THROWS_WITH_AS(loss->check_times(times({1, 0.5, 0.2, 0})), doctest::Contains("more than the schedule's 3"),
                       Error);
  CHECK(contains(
      request_error([&] { host.make_plugin<Loss>("sum", "terms = [{ type = \"pi_flow\" }, { type = \"dmd2\" }]"); }),
      "beside one whose student is none"));
  CHECK(contains(request_error([&] {
                   host.make_plugin<Loss>("sum",
                                          "terms = [{ type = \"pi_flow\" }, { type = \"pi_flow\", outputs = 3 }]");
                 }),
                 "different numbers of outputs"));
}

namespace {

// Trains a small network, and returns the distance of its samples from the ends of the teacher's ODE, before and after.
std::pair<double, double> train(const std::string& toml, int64_t outputs, int64_t steps, int64_t iterations) {
  World w(straight, {Predicts::flow, 0.5});
  const auto loss = w.host.make_plugin<Loss>("pi_flow", toml);
  ModelSpec spec{{2}, {}, outputs};
  if (loss->needs().end_time) {
    spec.inputs.push_back({.name = std::string(inputs::end_time), .dtype = at::kDouble});
  }
  TestHost host(straight, spec);
  at::manual_seed(1);
  const auto network = host.make_plugin<Network>("mlp", "width = 64\ndepth = 3");
  network->module()->train();
  const Model student = w.model(*loss, network);
  const auto data = host.make_plugin<Dataset>("gaussian_mixture", mixture_2d);
  const auto schedule = host.make_plugin<Schedule>("uniform", "steps = 16");
  const Tensor noise = normal({1000, 2}, 3), grid = schedule->times(host.process());
  const auto fine = host.make_plugin<Schedule>("uniform", "steps = 200");
  const Tensor ends = solve(w.ode, *host.make_plugin<Solver>("dpmpp_2m"), fine->times(host.process()), noise);
  const auto distance = [&] {
    return rms(
        sample_student(student, sampler_times(grid, steps), {noise.to(at::kFloat), {}}, 1000, 1).to(at::kDouble) -
        ends);
  };
  const double before = distance();
  torch::optim::Adam optimizer(network->module()->parameters(), torch::optim::AdamOptions().betas({0.9, 0.99}));
  constexpr int64_t batch = 256;
  for (int64_t i = 0; i < iterations; ++i) {
    const Tensor rows = at::arange(i * batch, (i + 1) * batch, at::kLong).remainder(data->size(Split::train));
    w.run(*loss, student, *schedule, data->batch(Split::train, rows).x, {}, i).per_row.mean().backward();
    const double left = 1 - static_cast<double>(i) / static_cast<double>(iterations);
    static_cast<torch::optim::AdamOptions&>(optimizer.param_groups()[0].options()).lr(3e-3 * left);
    optimizer.step();
    optimizer.zero_grad();
  }
  const double after = distance();
  MESSAGE(toml << ", " << steps << " step(s): " << before << " -> " << after);
  return {before, after};
}

}  // namespace

TEST_CASE("training leads a policy to the teacher's ODE, in one segment, in two, and where it is told which") {
  const auto one = train("outputs = 8\nwindow = 2\nsubsteps = 32", 8, 1, 600);
  CHECK(one.second < 0.3 * one.first);
  const auto two = train("outputs = 8\nsegments = [2]\nwindow = 2\nsubsteps = 32", 8, 2, 600);
  CHECK(two.second < 0.2 * two.first);
  const auto told = train("outputs = 8\nsegments = [1, 2]\nsubsteps = 32\nmixing_steps = 200\nwindow = 2", 8, 2, 600);
  CHECK(told.second < 0.3 * told.first);
}
