// Every parameter gets the gradient that autograd gives it in float64, whatever the network, the loss, the backend and
// the weights that training begins from. What training does with a parameter is found in no output of a frozen network.
#include <torch/nn/module.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <fstream>
#include <map>

#include "retort/model.h"
#include "support/support.h"
#include "support/torchscript.h"

using namespace retort;
using namespace retort::test;
namespace nn = torch::nn;

namespace {

// The exact diffusion model of data that are N(0, 0.25): a teacher for samples of any shape.
class Normal final : public Teacher {
 public:
  explicit Normal(std::vector<int64_t> shape) : shape_(std::move(shape)) {}
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning&) const override {
    const Tensor variance = 0.25 * process_.alpha(t).square();
    return rows(variance / (variance + process_.sigma(t).square()), x) * x;
  }
  const Process& process() const override { return process_; }
  Parametrisation parametrisation() const override { return {Predicts::data, 0.5}; }
  std::vector<int64_t> shape() const override { return shape_; }

 private:
  Process process_;
  std::vector<int64_t> shape_;
};

// Weights tied in every way that networks have: a layer used twice, a matrix that is one layer's and, turned,
// another's, a tensor under two names, one weight with two biases, a factor without dimensions, and a weight that is a
// part of another.
struct TiedBody : nn::Module {
  TiedBody() {
    first = register_module("first", nn::Conv2d(nn::Conv2dOptions(1, 16, 3).padding(1)));
    twice = register_module("twice", nn::Conv2d(nn::Conv2dOptions(16, 16, 3).padding(1)));
    norm = register_module("norm", nn::GroupNorm(4, 16));
    norm_again = register_module("norm_again", norm.ptr());
    in = register_module("in", nn::Linear(nn::LinearOptions(1, 16).bias(false)));
    other_bias = register_parameter("other_bias", at::zeros({16}));
    factor = register_parameter("factor", at::ones({}));
    large = register_parameter("large", at::randn({32, 16, 1, 1}) * 0.1);
    last = register_module("last", nn::Conv2d(nn::Conv2dOptions(16, 1, 1)));
  }
  Tensor forward(const Tensor& x, const Tensor& noise) {
    Tensor h = first(x) + in(noise.to(x.scalar_type()).unsqueeze(1)).unsqueeze(2).unsqueeze(3);
    h = at::silu(norm(twice(h)));
    h = at::silu(norm_again->as<nn::GroupNormImpl>()->forward(twice(h))) * factor;
    h = h + at::conv2d(h, twice->weight, other_bias, 1, 1);
    h = at::conv2d(h, large.narrow(0, 0, 16)) + at::conv2d(h, large.narrow(0, 8, 16));
    return last(h) + at::linear(h.mean({2, 3}), in->weight.t()).unsqueeze(2).unsqueeze(3);
  }
  nn::Conv2d first{nullptr}, twice{nullptr}, last{nullptr};
  nn::GroupNorm norm{nullptr};
  std::shared_ptr<nn::Module> norm_again;
  nn::Linear in{nullptr};
  Tensor other_bias, factor, large;
};

// A network that moves buffers as it is trained, and decides by them.
struct CountingBody : nn::Module {
  CountingBody() {
    first = register_module("first", nn::Conv2d(nn::Conv2dOptions(1, 8, 3).padding(1)));
    norm = register_module("norm", nn::BatchNorm2d(nn::BatchNorm2dOptions(8).momentum(c10::nullopt)));
    last = register_module("last", nn::Conv2d(nn::Conv2dOptions(8, 1, 3).padding(1)));
  }
  Tensor forward(const Tensor& x, const Tensor&) { return last(at::relu(norm(first(x)))); }
  nn::Conv2d first{nullptr}, last{nullptr};
  nn::BatchNorm2d norm{nullptr};
};

template <class Body>
class Own final : public Network {
 public:
  Own() : body_(std::make_shared<Body>()) {}
  Tensor forward(const Tensor& x, const Tensor& noise, const Conditioning&) override {
    return body_->forward(x, noise);
  }
  std::shared_ptr<nn::Module> module() override { return body_; }

 private:
  std::shared_ptr<Body> body_;
};

// What training is to begin from.
using Begin = void (*)(nn::Module&);

void fresh(nn::Module&) {}
void each_by(nn::Module& module, const std::function<void(Tensor&)>& change) {
  const at::NoGradGuard no_grad;
  for (Tensor& p : module.parameters()) {
    change(p);
  }
}
void equal(nn::Module& m) {
  each_by(m, [](Tensor& p) { p.fill_(0.03); });
}
void zero(nn::Module& m) {
  each_by(m, [](Tensor& p) { p.zero_(); });
}
// Parameters of one shape lie in one memory: a step on one moves the other.
void shared(nn::Module& m) {
  std::map<std::vector<int64_t>, Tensor> first;
  each_by(m, [&](Tensor& p) {
    const auto [at, is_new] = first.emplace(p.sizes().vec(), p);
    if (!is_new) {
      p.set_data(at->second.detach());
    }
  });
}
// Layers of one shape use one weight, as when a network ties them on purpose; the others are left without use.
template <class Layer>
void tie(nn::Module& m) {
  std::map<std::vector<int64_t>, Tensor> first;
  m.apply([&](nn::Module& part) {
    if (auto* layer = dynamic_cast<Layer*>(&part); layer != nullptr && layer->weight.defined()) {
      layer->weight = first.emplace(layer->weight.sizes().vec(), layer->weight).first->second;
    }
  });
}
void tied(nn::Module& m) {
  tie<nn::Conv2dImpl>(m);
  tie<nn::LinearImpl>(m);
  tie<nn::GroupNormImpl>(m);
}

struct Lesson {
  std::string network, toml, loss, loss_toml;
  ModelSpec spec;
  // From two beginnings alone: what the others would show of the network, other losses have shown.
  bool briefly = false;
};

// One network in training by one backend.
class Training {
 public:
  Training(TestHost& host, const Lesson& lesson, const std::string& backend, const std::string& backend_toml,
           Begin begin)
      : host_(host),
        lesson_(lesson),
        teacher_(lesson.spec.shape),
        backend_(host.make_plugin<Backend>(backend, backend_toml)),
        loss_(host.make_plugin<Loss>(lesson.loss, lesson.loss_toml)),
        solver_(host.make_plugin<Solver>("heun")),
        schedule_(host.make_plugin<Schedule>("karras", "steps = 6")) {
    at::manual_seed(7);
    network_ = new_network(begin);
    const Needs needs = loss_->needs();
    const Parametrisation form{needs.predicts.value_or(Predicts::edm), 0.5};
    const auto model = [&](std::shared_ptr<CompiledNetwork> network) {
      return Model(std::move(network), teacher_.process(), form, {}, loss_->makes(), needs.end_time);
    };
    student_.emplace(model(backend_->trainable(network_)));
    target_.emplace(model(backend_->compile(network_)));
    for (const Role& role : loss_->roles()) {
      if (role.name != "student" && role.name != "target") {  // another student stands for every network of the loss
        other_ = new_network(begin);
        // A network of zeros is this very teacher, where the gradients of these are all rounding.
        if (lesson.loss == "sid" || lesson.loss == "tdm") {
          each_by(*other_->module(), [](Tensor& p) { p.add_(0.05); });
        }
        other_model_.emplace(model(backend_->trainable(other_)));
        roles_.push_back({role.name, &*other_model_, true});
      }
    }
  }
  Training(const Training&) = delete;
  Training& operator=(const Training&) = delete;

  // The gradients of a step, which the parameters keep.
  void step(uint64_t index) {
    std::vector<int64_t> shape = lesson_.spec.shape;
    constexpr int64_t batch = 5;
    shape.insert(shape.begin(), batch);
    Batch data{(normal(shape, index) * 0.5).to(backend_->dtype()), {}};
    if (lesson_.spec.classes() > 0) {
      data.condition.set(inputs::labels, at::arange(batch, at::kLong).remainder(lesson_.spec.classes()));
    }
    for (const Input& input : lesson_.spec.inputs) {
      if (input.classes == 0 && input.name != inputs::end_time) {  // which the loss gives
        std::vector<int64_t> rows_of = input.shape;
        rows_of.insert(rows_of.begin(), batch);
        const Tensor numbers = normal(rows_of, index + 100);
        data.condition.set(input.name, input.dtype == at::kLong ? numbers.abs().mul(3).to(at::kLong).clamp_max(7)
                                                                : numbers.to(backend_->dtype()));
      }
    }
    for (Tensor& p : network_->module()->parameters()) {
      p.mutable_grad() = Tensor();
    }
    target_->network().refresh();
    const Ode ode(teacher_, data.condition);
    const TrainingStep step{.batch = data,
                            .student = *student_,
                            .target = *target_,
                            .ode = &ode,
                            .solver = solver_.get(),
                            .schedule = schedule_.get(),
                            .process = teacher_.process(),
                            .generator = seeded(index, "training"),
                            .progress = 0.5,
                            .spec = lesson_.spec,
                            .roles = roles_};
    (*loss_)(step).per_row.mean().backward();
  }

  void descend(double rate) {
    each_by(*network_->module(), [&](Tensor& p) {
      if (p.grad().defined()) {
        p.sub_(p.grad(), rate);
      }
    });
  }

  std::vector<std::pair<std::string, Tensor>> of(bool gradients) const {
    std::vector<std::pair<std::string, Tensor>> out;
    for (const auto& p : network_->module()->named_parameters()) {
      out.emplace_back(p.key(), gradients ? p.value().grad() : p.value().detach().clone());
    }
    for (const auto& b : network_->module()->named_buffers()) {
      if (!gradients) {
        out.emplace_back(b.key(), b.value().detach().clone());
      }
    }
    return out;
  }

 private:
  std::shared_ptr<Network> new_network(Begin begin) {
    const std::shared_ptr<Network> out =
        lesson_.network == "tied"       ? std::shared_ptr<Network>(std::make_shared<Own<TiedBody>>())
        : lesson_.network == "counting" ? std::shared_ptr<Network>(std::make_shared<Own<CountingBody>>())
                                        : host_.make_plugin<Network>(lesson_.network, lesson_.toml);
    begin(*out->module());
    backend_->place(*out);
    out->module()->train();
    return out;
  }

  TestHost& host_;
  Lesson lesson_;
  Normal teacher_;
  std::shared_ptr<Backend> backend_;
  std::shared_ptr<Loss> loss_;
  std::shared_ptr<Solver> solver_;
  std::shared_ptr<Schedule> schedule_;
  std::shared_ptr<Network> network_;
  std::shared_ptr<Network> other_;
  std::optional<Model> other_model_;
  std::vector<RoleModel> roles_;
  std::optional<Model> student_, target_;
};

// The greatest difference of two lists, each against its own size, and of those that are next to nothing against the
// greatest: a gradient that is zero but for rounding has no digits of its own.
double apart(const std::vector<std::pair<std::string, Tensor>>& got,
             const std::vector<std::pair<std::string, Tensor>>& exact, double bound) {
  REQUIRE(got.size() == exact.size());
  double whole = 1e-30;
  for (const auto& [name, e] : exact) {
    whole = std::max(whole, e.defined() ? e.to(at::kDouble).norm().item<double>() : 0);
  }
  double out = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    CAPTURE(exact[i].first);
    const Tensor &g = got[i].second, &e = exact[i].second;
    CHECK(g.defined() == e.defined());
    if (!g.defined() || !e.defined()) {
      continue;
    }
    const double off = (g.to(at::kDouble) - e.to(at::kDouble)).norm().item<double>();
    const double size = e.to(at::kDouble).norm().item<double>() + 1e-2 * whole;
    CHECK(off <= bound * size);
    out = std::max(out, off / size);
  }
  return out;
}

std::string python_loss(const Folder& folder) {
  std::ofstream(folder / "loss.py")
      << "def loss(step):\n    i = step.draw()\n    t = step.grid[i]\n    x = step.process.add_noise(step.x, "
         "step.noise(), t)\n    return (step.student(x, t) - step.solve(x, t)).square().flatten(1).mean(1), t\n";
  return "file = \"" + (folder / "loss.py").string() + "\"";
}

// Every backend that works here, in float32.
std::vector<std::string> backends(TestHost& host) {
  std::vector<std::string> out;
  for (const std::string& name : registry().names(Backend::kind)) {
    try {
      host.make_plugin<Backend>(name);
      out.push_back(name);
    } catch (const RequestError&) {
    }
  }
  return out;
}

}  // namespace

TEST_CASE(
    "gradients of every parameter, and ten steps, are autograd's in float64 for every network, loss and backend") {
  Folder folder;
  write_pointwise_script(folder / "points.pt");
  write_picture_script(folder / "pictures.pt");
  const std::string script = "file = \"" + folder.string() + "/";
  const ModelSpec points{{2}}, labelled{{2}, label_inputs(3)}, pictures{{1, 8, 8}, label_inputs(3)}, plain{{1, 8, 8}},
      thick{{16, 8, 8}};
  const std::pair<const char*, std::string> denoisers[] = {{"cm", ""},
                                                           {"cm", "target = \"ema\"\ndistance = \"pseudo_huber\""},
                                                           {"direct_cm", ""},
                                                           {"direct_cm", "pairs = 5"},
                                                           {"denoising", ""},
                                                           {"ict", ""},
                                                           {"dmd2", ""},
                                                           {"progressive_distillation", ""},
                                                           {"knowledge_distillation", ""},
                                                           {"python", python_loss(folder)}};
  std::vector<Lesson> lessons;
  for (const auto& [loss, toml] : denoisers) {
    lessons.push_back({"mlp", "width = 16\ndepth = 2\nembedding = 8", loss, toml, points});
    lessons.push_back({"mlp", "width = 16\ndepth = 2\nembedding = 8", loss, toml, labelled});
    lessons.push_back({"unet", "widths = [16, 16]\nattention = [0, 1]\nembedding = 16", loss, toml, pictures});
    lessons.push_back(
        {"unet", "patch = 2\nwidths = [16, 32]\nblocks = 2\nattention = [1]\nembedding = 16", loss, toml, plain});
    lessons.push_back({"torchscript", script + "points.pt\"", loss, toml, points});
    lessons.push_back({"torchscript", script + "pictures.pt\"", loss, toml, thick});
    lessons.push_back({"tied", "", loss, toml, plain});
    lessons.push_back({"counting", "", loss, toml, plain});
  }
  lessons.push_back(
      {"convnet", "width = 16\nfeatures = 16\ndropout = 0.0", "cross_entropy", "", {{1, 16, 16}, label_inputs(3)}});
  lessons.push_back({"autoencoder_kl",
                     "in_channels = 1\nout_channels = 1\nblock_out_channels = [8, 16]\nnorm_num_groups = "
                     "4\nlatent_channels = 2\ndown_block_types = [\"DownEncoderBlock2D\", "
                     "\"AttnDownEncoderBlock2D\"]\nup_block_types = [\"UpDecoderBlock2D\", \"UpDecoderBlock2D\"]",
                     "autoencoding", "distance = \"l2\"\nkl_weight = 0.1", plain});
  lessons.push_back({"autoencoder_tiny",
                     "in_channels = 1\nout_channels = 1\nencoder_block_out_channels = [8, 8]\n"
                     "decoder_block_out_channels = [8, 8]\nnum_encoder_blocks = [1, 1]\nnum_decoder_blocks = [1, 1]\n"
                     "act_fn = \"silu\"",
                     "autoencoding", "distance = \"l2\"\nlatent_weight = 0.1", plain});
  lessons.push_back(
      {"mlp", "width = 16\ndepth = 2", "sum", "terms = [{ type = \"cm\" }, { type = \"ict\", weight = 0.5 }]", points});
  const Input tokens{.name = "prompt_embeds", .shape = {5, 16}}, pooled{.name = "pooled_prompt_embeds", .shape = {8}},
      ids{.name = "time_ids", .shape = {2}};
  lessons.push_back({"unet_text",
                     "widths = [16, 32]\nattention = [1]\nheads = 2\nembedding = 16",
                     "cm",
                     "",
                     {{1, 8, 8}, {tokens, pooled, ids}}});
  const Input end_time{.name = std::string(inputs::end_time), .dtype = at::kDouble};
  for (const char* derivative : {"jvp", "interval"}) {
    // With the full weight every step has one length, and ten of them part whatever was rounded.
    const std::string toml = std::string("adaptive_power = 0.75\nderivative = \"") + derivative + "\"";
    lessons.push_back({"mlp", "width = 16\ndepth = 2\nembedding = 8", "meanflow", toml, {{2}, {end_time}}});
    lessons.push_back(
        {"unet", "widths = [16, 16]\nattention = [0, 1]\nembedding = 16", "meanflow", toml, {{1, 8, 8}, {end_time}}});
  }
  // Over jumps as long as the process, errors are multiplied by their length: the distance is divided by as much.
  const std::string mild = "distance = \"pseudo_huber\"\nhuber_c = 1e4\n";
  const std::pair<const char*, std::string> flow_maps[] = {
      {"align_your_flow", "weight = \"one\""},
      {"tvm", mild},
      {"facm", ""},
      {"tim", "derivative = \"jvp\"\nadaptive_constant = 10"},
      {"anyflow", "derivative = \"jvp\""},
      {"imeanflow", "adaptive_power = 0.75"},
      {"self_distillation", mild + "form = \"lagrangian\""},
      {"self_distillation", mild + "form = \"eulerian\"\ntarget_ema = 0.9"},
      {"self_distillation", mild + "form = \"progressive\""}};
  for (const auto& [loss, toml] : flow_maps) {
    lessons.push_back({"mlp", "width = 16\ndepth = 2\nembedding = 8", loss, toml, {{2}, {end_time}}});
    lessons.push_back(
        {"unet", "widths = [16, 16]\nattention = [0, 1]\nembedding = 16", loss, toml, {{1, 8, 8}, {end_time}}, true});
  }
  const std::tuple<const char*, std::string, bool> trajectories[] = {
      {"reflow", "", false},
      {"lcm", "skip = 2", false},
      {"pcm", "phases = 2", false},
      {"consistency_fm", mild + "interval = 0.05", false},
      {"imm", "decrement = 40\nnetwork_input = \"t\"", false},
      {"imm", "decrement = 40", true},
      {"shortcut", "bootstrap_share = 0.5", true},
      {"ctm", mild + "solver_steps = 3", true}};
  for (const auto& [loss, toml, two_times] : trajectories) {
    const std::vector<Input> inputs = two_times ? std::vector<Input>{end_time} : std::vector<Input>{};
    lessons.push_back({"mlp", "width = 16\ndepth = 2\nembedding = 8", loss, toml, {{2}, inputs}});
    lessons.push_back(
        {"unet", "widths = [16, 16]\nattention = [0, 1]\nembedding = 16", loss, toml, {{1, 8, 8}, inputs}, true});
  }
  const std::pair<const char*, std::string> consistency[] = {
      {"horizon", "steps = 2"},
      {"horizon", "steps = 0\nrandom = true\nweighting = \"c_out\""},
      {"ct", ""},
      {"ect", mild},
      {"tcm", mild},
      {"scm", "derivative = \"jvp\""},
      {"scm", "derivative = \"jvp\"\nvelocity = \"teacher\"\ntangent = \"clipped\"\nprior = \"none\""},
      {"continuous_cm", "derivative = \"jvp\"\nvelocity = \"teacher\""}};
  for (const auto& [loss, toml] : consistency) {
    lessons.push_back({"mlp", "width = 16\ndepth = 2\nembedding = 8", loss, toml, labelled});
    lessons.push_back({"unet", "widths = [16, 16]\nattention = [0, 1]\nembedding = 16", loss, toml, pictures, true});
  }
  // Divided by so much, the ten steps of sid and tdm stay small.
  for (const auto& [loss, toml] :
       {std::pair("diff_instruct", ""), std::pair("sid", "norm_eps = 1e4"),
        std::pair("f_distill", "divergence = \"kl\""), std::pair("gan", "discriminator = \"mlp\"\nr1_weight = 0.1"),
        std::pair("tdm", "steps = 2\nnorm_eps = 1e4"), std::pair("drifting", "scale_forces = false")}) {
    lessons.push_back({"mlp", "width = 16\ndepth = 2\nembedding = 8", loss, toml, labelled});
    lessons.push_back({"unet", "widths = [16, 16]\nattention = [0, 1]\nembedding = 16", loss, toml, pictures, true});
  }
  lessons.push_back({"mlp",
                     "width = 16\ndepth = 2\nembedding = 8",
                     "pi_flow",
                     "outputs = 3\nsegments = [2]\nwindow = 0",
                     {{2}, {}, 3}});
  lessons.push_back({"unet",
                     "widths = [16, 16]\nattention = [0, 1]\nembedding = 16",
                     "pi_flow",
                     "outputs = 3\nsegments = [2]\nwindow = 4",
                     {{1, 8, 8}, label_inputs(3), 3},
                     true});
  const std::string levels =
      "block_out_channels = [8, 16]\nnorm_num_groups = 4\nlayers_per_block = 1\nattention_head_dim = 4\n"
      "in_channels = 1\nout_channels = 1\n";
  lessons.push_back({"unet_2d",
                     levels + "down_block_types = [\"DownBlock2D\", \"AttnDownBlock2D\"]\n"
                              "up_block_types = [\"AttnUpBlock2D\", \"UpBlock2D\"]",
                     "cm", "", pictures, true});
  lessons.push_back({"unet_2d_condition",
                     levels +
                         "cross_attention_dim = 12\ndown_block_types = [\"CrossAttnDownBlock2D\", \"DownBlock2D\"]\n"
                         "up_block_types = [\"UpBlock2D\", \"CrossAttnUpBlock2D\"]",
                     "cm",
                     "",
                     {{1, 8, 8}, {{.name = "prompt_embeds", .shape = {5, 12}}}},
                     true});
  lessons.push_back(
      {"dit_transformer_2d",
       "in_channels = 1\nnum_embeds_ada_norm = 3\nnum_attention_heads = 2\nattention_head_dim = 8\nnum_layers = 2\n"
       "sample_size = 8\ndropout = 0.0",
       "cm", "", pictures, true});
  lessons.push_back({"clip",
                     "vocabulary = 8\nwidths = [16, 32]\nwidth = 16\nlayers = 1\nheads = 2\ndropout = 0.0",
                     "contrastive",
                     "",
                     {{3, 16, 16}, {{.name = "input_ids", .shape = {4}, .dtype = at::kLong}}},
                     true});
  lessons.push_back(
      {"python", "file = \"" + source_dir() + "/tests/support/python/ring.py\"", "cm", "", labelled, true});
  const std::tuple<const char*, Begin> begins[] = {
      {"fresh", fresh}, {"equal", equal}, {"zero", zero}, {"shared", shared}, {"tied", tied}};
  // No network or loss of the tree is left out.
  for (const auto& [kind, member] :
       {std::pair(Network::kind, &Lesson::network), std::pair(Loss::kind, &Lesson::loss)}) {
    for (const std::string& name : registry().names(kind)) {
      CAPTURE(name);
      const bool frozen = name == "picture_encoder";  // gives features, and is not trained
      CHECK(frozen !=
            std::any_of(lessons.begin(), lessons.end(), [&, m = member](const Lesson& l) { return l.*m == name; }));
    }
  }
  std::map<std::string, double> greatest;
  int64_t compared = 0;
  for (const Lesson& lesson : lessons) {
    TestHost host("type = \"ve\"", lesson.spec);
    for (const auto& [begin_name, begin] : begins) {
      // How weights begin matters to layers. Losses are told apart by two beginnings; one of them walks through all.
      const bool all = !lesson.briefly && lesson.loss == std::string("cm");
      if (!all && begin != fresh && begin != zero) {
        continue;
      }
      CAPTURE(lesson.network);
      CAPTURE(lesson.toml);
      CAPTURE(lesson.loss);
      CAPTURE(std::string(begin_name));
      std::vector<std::vector<std::pair<std::string, Tensor>>> exact;
      constexpr uint64_t steps = 10;
      constexpr double rate = 0.02;
      {
        Training reference(host, lesson, "cpu", "precision = \"float64\"\nchannels_last = false", begin);
        for (uint64_t i = 0; i < steps; ++i) {
          reference.step(i);
          if (i == 0) {
            exact.push_back(reference.of(true));
          }
          reference.descend(rate);
        }
        exact.push_back(reference.of(false));
      }
      // A target that holds a derivative of the network has that derivative's rounding too.
      const double bound = lesson.spec.has(inputs::end_time) ? 3e-3 : 1e-3;
      for (const std::string& backend : backends(host)) {
        CAPTURE(backend);
        Training training(host, lesson, backend, "", begin);
        training.step(0);
        const double gradients = apart(training.of(true), exact[0], bound);
        training.descend(rate);
        for (uint64_t i = 1; i < steps; ++i) {
          training.step(i);
          training.descend(rate);
        }
        const double weights = apart(training.of(false), exact[1], bound);
        greatest[backend + ", gradients"] = std::max(greatest[backend + ", gradients"], gradients);
        greatest[backend + ", weights after ten steps"] =
            std::max(greatest[backend + ", weights after ten steps"], weights);
        ++compared;
      }
    }
  }
  for (const auto& [what, most] : greatest) {
    MESSAGE("greatest relative difference, " << what << ": " << most << " (of " << compared << " trainings)");
  }
}
