// Teachers from TorchScript files: what their keys say, and what is refused before the work.
#include <torch/csrc/jit/api/module.h>

#include <filesystem>
#include <map>

#include "io/files.h"
#include "io/json.h"
#include "retort/model.h"
#include "retort/ode.h"
#include "support/program.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

// A module of one method, forward, with a weight of 0.25 that it may use.
void write_script(const std::filesystem::path& path, const std::string& forward, at::ScalarType type = at::kFloat,
                  const std::string& more = "") {
  torch::jit::Module net("net");
  net.register_attribute("training", c10::BoolType::get(), true);
  net.register_parameter("quarter", at::full({1}, 0.25, type), false);
  net.define("def each(self, x, rows):\n    return rows.to(x.dtype).view([-1] + [1] * (x.dim() - 1))\n" + more +
             forward);
  net.save(path.string());
}

// The answer that shows both: a quarter of the sample, and the time.
constexpr const char* shows_both = "def forward(self, x, t):\n    return self.quarter * x + self.each(x, t)\n";

struct Scripts {
  Folder folder;
  // The TOML that names a module of that method.
  std::string file(const std::string& forward, at::ScalarType type = at::kFloat, const std::string& more = "") {
    const std::string name = "net" + std::to_string(count_++) + ".pt";
    write_script(folder / name, forward, type, more);
    return "file = \"" + (folder / name).string() + "\"\n";
  }

 private:
  int count_ = 0;
};

bool contains_line_break(const std::string& text) { return text.find('\n') != std::string::npos; }

std::shared_ptr<Teacher> make(TestHost& host, const std::string& toml) {
  return host.make_plugin<Teacher>("torchscript", toml);
}

}  // namespace

TEST_CASE("a module is given sample and time as its keys say, on every process") {
  Scripts scripts;
  const std::string file = scripts.file(shows_both) + "parametrisation = \"noise\"\nsigma_data = 0.7\n";
  for (const char* type : {"type = \"ve\"", "type = \"vp_linear\"", "type = \"rectified_flow\"", "type = \"betas\""}) {
    TestHost host(type, ModelSpec{{2, 3}});
    const Process& process = host.process();
    const Tensor t = times({0.1, 0.35, 0.8}) * std::min(process.t_max(), 5.0);
    const Tensor x = normal({3, 2, 3}).to(at::kFloat), alpha = process.alpha(t), sigma = process.sigma(t);
    const Tensor level = sigma / alpha;
    const std::map<std::string, Tensor> samples = {
        {"x", at::ones_like(t)}, {"y", 1 / alpha}, {"c_in", 1 / (sigma * sigma + alpha * alpha * 0.49).sqrt()}};
    const std::map<std::string, Tensor> told = {{"t", t},
                                                {"fraction", t / process.t_max()},
                                                {"reversed", 1 - t / process.t_max()},
                                                {"sigma", level},
                                                {"log_sigma", level.log()},
                                                {"c_noise", level.log() / 4},
                                                {"log_snr", -2 * level.log()},
                                                {"step", (t - 1).clamp_min(0)}};
    for (const auto& [input, factor] : samples) {
      for (const auto& [time, value] : told) {
        if ((time == "step" && process.steps() == 0) || (time == "reversed" && process.is_variance_exploding())) {
          continue;
        }
        CAPTURE(std::string(type));
        CAPTURE(input);
        CAPTURE(time);
        const auto teacher = make(host, file + "input = \"" + input + "\"\ntime = \"" + time + "\"\ntime_scale = 2");
        const Tensor wanted = 0.25 * rows(factor, x) * x + rows(2 * value, x);
        CHECK(most(teacher->predict(x, t, {}) - wanted) < 1e-5 * (1 + most(wanted)));
      }
    }
    // "auto" is what networks are given by student.preconditioning.
    const auto automatic = make(host, file);
    const Parametrisation form = automatic->parametrisation();
    const Tensor wanted = 0.25 * rows(form.c_in(process, t), x) * x + rows(form.c_noise(process, t), x);
    CHECK(most(automatic->predict(x, t, {}) - wanted) < 1e-5 * (1 + most(wanted)));
  }
}

TEST_CASE("modules of other libraries' conventions are the one Gaussian's diffusion model that they state") {
  // N(0.4, 0.3^2). D(y, s) = (0.09 y + 0.4 s^2) / (0.09 + s^2), s = sigma / alpha; its noise (y - D) / s.
  const std::string data = "        d = (0.09 * y + 0.4 * s * s) / (0.09 + s * s)\n",
                    open = "def forward(self, x, t):\n";
  const std::string keep = " + 0 * self.quarter\n";
  struct Case {
    const char *process, *keys;
    std::string body;
  };
  const Case cases[] = {
      {"type = \"ve\"", "parametrisation = \"data\"\ntime = \"sigma\"\ninput = \"y\"",
       "        s = self.each(x, t)\n        y = x\n" + data + "        return d" + keep},
      {"type = \"vp_linear\"", "parametrisation = \"data\"\ntime = \"sigma\"\ninput = \"y\"",
       "        s = self.each(x, t)\n        y = x\n" + data + "        return d" + keep},
      {"type = \"betas\"", "parametrisation = \"data\"\ntime = \"log_sigma\"\ninput = \"y\"",
       "        s = self.each(x, t).exp()\n        y = x\n" + data + "        return d" + keep},
      {"type = \"ve\"", "parametrisation = \"edm\"\nsigma_data = 0.5\npreconditioning = \"edm\"",  // F of D
       "        s = (self.each(x, t) * 4).exp()\n        r = (s * s + 0.25).sqrt()\n        y = x * r\n" + data +
           "        return (d - 0.25 / (r * r) * y) * r / (s * 0.5)" + keep},
      {"type = \"betas\"",
       "parametrisation = \"noise\"\ntime = \"log_snr\"\ninput = \"x\"",  // of variance preserving x
       "        s = (self.each(x, t) / -2).exp()\n        y = x * (1 + s * s).sqrt()\n" + data +
           "        return (y - d) / s" + keep},
      {"type = \"rectified_flow\"",
       "parametrisation = \"flow\"\ntime = \"fraction\"\ntime_scale = 1000.0\ninput = \"x\"",
       "        t = self.each(x, t) / 1000\n        s = t / (1 - t)\n        y = x / (1 - t)\n" + data +
           "        return (y - d) / s - d" + keep},
      {"type = \"rectified_flow\"",  // counted from noise to data
       "parametrisation = \"flow\"\ntime = \"reversed\"\ninput = \"x\"\noutput_scale = -1.0",
       "        t = 1 - self.each(x, t)\n        s = t / (1 - t)\n        y = x / (1 - t)\n" + data +
           "        return d - (y - d) / s" + keep}};
  Scripts scripts;
  for (const Case& c : cases) {
    CAPTURE(std::string(c.process));
    CAPTURE(std::string(c.keys));
    TestHost host(c.process, ModelSpec{{1}});
    const auto teacher = make(host, scripts.file(open + c.body, at::kDouble) + c.keys);
    const auto exact = host.make_plugin<Teacher>("gaussian_mixture", "means = [[0.4]]\nstds = [0.3]");
    const Process& process = host.process();
    const Tensor t = times({0.05, 0.2, 0.5, 0.7}) * std::min(process.t_max(), 200.0);
    const Tensor x = rows(process.sigma(t) + process.alpha(t), normal({4, 1})) * normal({4, 1});
    const Ode ours(*teacher), theirs(*exact);
    CHECK(most(ours.data(x, t) - theirs.data(x, t)) < 1e-6);
    CHECK(most(ours.noise(x, t) - theirs.noise(x, t)) < 1e-6);
  }
}

TEST_CASE("conditions reach a module in the order that it names, and guidance joins two answers") {
  Scripts scripts;
  TestHost host("type = \"ve\"", ModelSpec{{2},
                                           {{.name = "labels", .dtype = at::kLong, .classes = 3},
                                            {.name = "prompt_embeds", .shape = {2, 2}}}});
  // (x, time, labels, text) to x / 4 + time + 10 labels + text
  const std::string all =
      "def forward(self, text, labels, t, x):\n    return self.quarter * x + self.each(x, t) + 10 * "
      "self.each(x, labels) + text.sum(1)\n";
  const std::string toml = scripts.file(all) +
                           "parametrisation = \"data\"\ntime = \"t\"\ninput = \"x\"\ninputs = "
                           "[\"prompt_embeds\", \"labels\", \"time\", \"x\"]\n";
  const Tensor x = normal({2, 2}).to(at::kFloat), t = times({1, 2});
  const Tensor labels = at::tensor({2, 0}, at::kLong), text = normal({2, 2, 2}, 1).to(at::kFloat);
  const Conditioning condition{{"labels", labels}, {"prompt_embeds", text}};
  const Tensor plain = 0.25 * x + rows(t, x);
  const Tensor with = plain + rows(10 * labels.to(at::kDouble), x) + text.sum(1);
  const auto expect = [&](const std::string& more, const Conditioning& given, const Tensor& wanted, int64_t cost) {
    CAPTURE(more);
    const auto teacher = make(host, toml + more);
    CHECK(teacher->cost() == cost);
    CHECK(most(teacher->predict(x, t, given) - wanted) < 1e-5);
  };
  const Tensor without = plain + 30;
  expect("", condition, with, 1);
  expect("", {{"prompt_embeds", text}}, without + text.sum(1), 1);  // labels that are not given
  expect("guidance = 0", condition, without, 1);
  expect("guidance = 3", condition, without + 3 * (with - without), 2);
  expect("guidance = 0\nnull_label = 1", condition, plain + 10, 1);
  const Tensor w = times({1.5, 4});
  expect("guidance_range = [1, 8]", condition.with("guidance", w), without + rows(w, x) * (with - without), 2);
  const auto teacher = make(host, toml);
  CHECK((teacher->inputs() == host.spec().inputs));
  CHECK(!teacher->guidance());
  CHECK((make(host, toml + "guidance_range = [1, 8]")->guidance() == std::pair(1.0, 8.0)));

  // A module that knows guidance by itself is asked once.
  const std::string guided =
      scripts.file("def forward(self, x, t, w):\n    return self.each(x, w) * x + self.each(x, t)\n") +
      "parametrisation = \"data\"\ntime = \"t\"\ninput = \"x\"\n"
      "inputs = [\"x\", \"time\", \"guidance\"]\n";
  const auto fixed = make(host, guided + "guidance = 2.5"), free = make(host, guided + "guidance_range = [1, 8]");
  CHECK(fixed->cost() == 1);
  CHECK(free->cost() == 1);
  CHECK(fixed->inputs().empty());
  CHECK(most(fixed->predict(x, t, {}) - (2.5 * x + rows(t, x))) < 1e-5);
  CHECK(most(free->predict(x, t, {{"guidance", w}}) - (rows(w, x) * x + rows(t, x))) < 1e-5);

  // A module of two arguments knows nothing of the data's labels; one of three is given them.
  CHECK(make(host, scripts.file(shows_both) + "parametrisation = \"data\"")->inputs().empty());
  const std::string third = "def forward(self, x, t, y):\n    return x + self.each(x, t) + self.each(x, y)\n";
  CHECK(make(host, scripts.file(third) + "parametrisation = \"data\"")->inputs()[0].classes == 3);
  CHECK(make(host, scripts.file(third) + "parametrisation = \"data\"\nclasses = 7")->inputs()[0].classes == 7);
}

TEST_CASE("what counts of a tuple, a dictionary or a learned variance is chosen") {
  Scripts scripts;
  TestHost host("type = \"ve\"", ModelSpec{{2, 4}});
  const Tensor x = normal({2, 2, 4}).to(at::kFloat), t = times({1, 2});
  const Tensor wanted = 0.25 * x + rows(t, x);
  const std::string answer = "def forward(self, x, t):\n    y = self.quarter * x + self.each(x, t)\n";
  const std::string keys = "parametrisation = \"data\"\ntime = \"t\"\ninput = \"x\"\n";
  const std::pair<const char*, const char*> cases[] = {
      {"    return (y, x)\n", ""},
      {"    return (x, y)\n", "output = \"1\""},
      {"    return [x, x, y]\n", "output = \"2\""},
      {"    return {\"other\": x, \"sample\": y}\n", ""},
      {"    return {\"other\": y}\n", ""},
      {"    return {\"sample\": x, \"eps\": y}\n", "output = \"eps\""},
      {"    return torch.cat([y, x], 1)\n", "learned_variance = true"},
      {"    return (torch.cat([y, x], 1), x)\n", "learned_variance = true"},
      {"    return -y\n", "output_scale = -1.0"}};
  for (const auto& [returns, key] : cases) {
    CAPTURE(std::string(returns));
    const auto teacher = make(host, scripts.file(answer + returns) + keys + key);
    CHECK(most(teacher->predict(x, t, {}) - wanted) < 1e-5);
  }
}

TEST_CASE("weights are of the file's type or of another, samples of the caller's, times of what the module takes") {
  Scripts scripts;
  TestHost host("type = \"ve\"", ModelSpec{{2}});
  const std::string keys = "parametrisation = \"data\"\ntime = \"t\"\ninput = \"x\"\n";
  const Tensor t = times({1, 2}), x = normal({2, 2}), wanted = 0.25 * x + rows(t, x);
  const std::string strict =  // fails on weights or times of another type
      "def forward(self, x, t):\n    assert x.dtype == self.quarter.dtype\n    assert t.dtype == ";
  const std::string rest = "\n    return self.quarter * x + self.each(x, t)\n";
  struct Case {
    at::ScalarType type, time;
    const char* more;
    double tolerance;
  };
  const Case cases[] = {{at::kDouble, at::kDouble, "", 1e-14},
                        {at::kFloat, at::kFloat, "", 1e-6},
                        {at::kFloat, at::kDouble, "precision = \"float64\"", 1e-14},
                        {at::kHalf, at::kFloat, "", 1e-2},
                        {at::kBFloat16, at::kFloat, "", 3e-2},
                        {at::kHalf, at::kHalf, "time_type = \"weights\"", 1e-2},
                        {at::kFloat, at::kLong, "time_type = \"int64\"", 1e-6},
                        {at::kFloat, at::kDouble, "time_type = \"float64\"", 1e-6},
                        {at::kHalf, at::kFloat, "precision = \"float32\"", 1e-6}};
  for (const Case& c : cases) {
    CAPTURE(std::string(c.more));
    const std::string time = std::to_string(static_cast<int>(c.time));  // as scripts compare types
    const auto teacher = make(host, scripts.file(strict + time + rest, c.type) + keys + c.more);
    for (const at::ScalarType caller : {at::kFloat, at::kDouble}) {
      const Tensor out = teacher->predict(x.to(caller), t, {});
      CHECK((out.scalar_type() == caller));
      CHECK(most(out - wanted) < c.tolerance + (caller == at::kFloat ? 1e-6 : 0));
    }
  }
}

TEST_CASE("a module works on another device than that which it was traced on") {
  Scripts scripts;
  TestHost host("type = \"ve\"", ModelSpec{{2}});
  const auto teacher =
      make(host, scripts.file("def forward(self, x, t):\n    there = torch.device(\"meta\")\n    return "
                              "x + self.each(x, t) + torch.arange(2, device=there).to(x.dtype)\n") +
                     "parametrisation = \"data\"\ntime = \"t\"\ninput = \"x\"");
  const Tensor x = normal({2, 2}).to(at::kFloat), t = times({1, 2});
  CHECK(most(teacher->predict(x, t, {}) - (x + rows(t, x) + at::arange(2))) < 1e-6);
}

TEST_CASE("what does not fit is one line, before the work") {
  Scripts scripts;
  TestHost host("type = \"ve\"", ModelSpec{{2, 4}, label_inputs(3)}), bare;
  const auto error = [&](const std::string& toml, TestHost& where) {
    const std::string out = request_error([&] { make(where, "parametrisation = \"noise\"\n" + toml); });
    CHECK(!contains_line_break(out));
    return out;
  };
  const auto refused = [&](const std::string& forward, const std::string& more = "") {
    return error(scripts.file(forward) + more, host);
  };
  const std::string good = scripts.file(shows_both);

  CHECK(contains(request_error([&] { make(host, good); }), "teacher.parametrisation: missing"));
  CHECK(contains(error("", host), "teacher.file: missing; expected a TorchScript file"));
  CHECK(contains(error("file = \"/nowhere.pt\"", host), "nowhere.pt: no such file"));
  write_text(scripts.folder / "text.pt", "no script");
  CHECK(contains(error("file = \"" + (scripts.folder / "text.pt").string() + "\"", host),
                 "cannot be read as TorchScript"));
  const std::string whole = read_text(scripts.folder / "net0.pt");
  write_text(scripts.folder / "cut.pt", whole.substr(0, whole.size() / 2));
  CHECK(contains(error("file = \"" + (scripts.folder / "cut.pt").string() + "\"", host),
                 "cannot be read as TorchScript"));
  CHECK(contains(error(good, bare), "teacher.shape: missing, and there is no data set"));
  CHECK(contains(error(good + "time = \"step\"", host), "teacher.time: \"step\" counts the steps of a table"));
  CHECK(contains(error(good + "preconditioning = \"discrete\"", host), "teacher.preconditioning: "));
  CHECK(contains(error(good + "time = \"reversed\"", host), "process 've' has no end"));
  CHECK(contains(error(good + "guidance = 2", host), "needs a conditional module"));
  CHECK(contains(error(good + "guidance_range = [3, 2]", host), "is no range"));

  CHECK(contains(error(good + "inputs = [\"x\", \"time\", \"labels\"]", host),
                 "teacher.inputs: " + (scripts.folder / "net0.pt").string() +
                     ": forward takes 2 argument(s) (x, t); expected (x, time, labels)"));
  CHECK(contains(error(good + "inputs = [\"x\", \"labels\"]", host), "teacher.inputs: lacks \"time\""));
  CHECK(contains(error(good + "inputs = [\"x\", \"time\", \"label\"]", host),
                 "names 'label', which is not given here; did you mean 'labels'?"));
  CHECK(
      contains(refused("def forward(self, x, t, a, b):\n    return x\n"), "forward takes 4 argument(s) (x, t, a, b)"));
  CHECK(contains(refused("def run(self, x, t):\n    return x\n"), "has no method forward"));

  CHECK(contains(refused("def forward(self, x, t):\n    return torch.cat([x, x], 1)\n"),
                 "gives [2, 4, 4] for x of [2, 2, 4]; expected [2, 2, 4], or learned_variance = true"));
  CHECK(contains(refused("def forward(self, x, t):\n    return x.sum(2)\n"), "gives [2, 2] for x of [2, 2, 4]"));
  CHECK(contains(refused(shows_both, "learned_variance = true"), "expected [2, 4, 4]"));
  CHECK(contains(refused("def forward(self, x, t):\n    return {\"a\": x, \"b\": x}\n"), "teacher.output: "));
  CHECK(contains(refused("def forward(self, x, t):\n    return (x, x)\n", "output = \"sample\""), "called 'sample'"));
  CHECK(contains(refused(shows_both, "output = \"sample\""), "teacher.output: "));
  CHECK(contains(refused("def forward(self, x, t):\n    return torch.matmul(x, torch.ones(3, 3))\n"),
                 "fails on 2 row(s) of [2, 4]: "));
  CHECK(
      contains(refused("def forward(self, x, t):\n    return x.view(1, 2, 4) + t\n"), "fails on 2 row(s) of [2, 4]: "));
  CHECK(contains(refused("def forward(self, x, t):\n    return x.view(2, 2, 4) + self.each(x, t)\n"),
                 "fails on 1 row(s)"));
  CHECK(contains(refused("def forward(self, x, t):\n    return x / x.mean() + self.each(x, t)\n"),
                 "answers to a row otherwise when another one is beside it"));
  CHECK(contains(refused("def forward(self, x, t):\n    return torch.dropout(x, 0.5, True) + self.each(x, t)\n"),
                 "answers twice to the same rows, and differently"));
  CHECK(contains(refused("def forward(self, x, t):\n    return self.quarter * x\n"), "answers to every time alike"));
  CHECK(contains(refused("def forward(self, x, t):\n    return x / 0 + self.each(x, t)\n"), "not finite"));
  // In eval mode, whatever mode it was saved in.
  CHECK_NOTHROW(
      make(host, "parametrisation = \"noise\"\n" +
                     scripts.file("def forward(self, x, t):\n    return torch.dropout(x, 0.5, self.training) + "
                                  "self.each(x, t)\n")));
}

TEST_CASE("a student begins at the module of its teacher, by the network that names the same file") {
  Scripts scripts;
  TestHost host("type = \"vp_linear\"", ModelSpec{{2}});
  const Process& process = host.process();
  const Tensor t = times({0.1, 0.4, 0.9}), x = normal({3, 2}).to(at::kFloat);
  const auto student = [&](const std::shared_ptr<Network>& network, const Parametrisation& form) {
    return Model(host.backend().trainable(network), process, form, {}, Makes::denoiser);
  };
  const std::string plain = scripts.file(shows_both);
  const auto one = make(host, plain + "parametrisation = \"noise\"\npreconditioning = \"fraction\"");
  CHECK(most(student(host.make_plugin<Network>("torchscript", plain), one->parametrisation()).data(x, t, {}) -
             Ode(*one).data(x, t)) < 1e-5);

  const std::string denoiser = scripts.file(
      "def forward(self, x, s):\n    s = self.each(x, s)\n    return self.quarter * x / (s * s + 1) + s * s / (1 + "
      "s)\n");
  const auto whole = make(host, denoiser + "parametrisation = \"data\"\ntime = \"sigma\"\ninput = \"y\"");
  const Parametrisation form(Predicts::data, 0.6, Sees::edm);
  const auto network =
      host.make_plugin<Network>("torchscript", denoiser + "time = \"sigma\"\ninput = \"y\"\nsigma_data = 0.6");
  const Tensor made = student(network, form).data(x, t, {}), wanted = Ode(*whole).data(x, t);
  CHECK(most(made - wanted) < 1e-5 * (1 + most(wanted)));
  made.sum().backward();
  CHECK(most(network->module()->named_parameters()["quarter"].grad()) > 0);
}

TEST_CASE("the exporters write files that answer as the models of diffusers, EDM and k-diffusion do") {
  const std::string support = source_dir() + "/tests/support/python/exporters", tools = source_dir() + "/sdk/python";
  struct Case {
    const char *kind, *module, *exporter, *arguments;
  };
  // Of EDM and k-diffusion stand-ins with their interfaces.
  const Case cases[] = {{"unet", "diffusers", "export_diffusers.py", "model"},
                        {"pipeline", "diffusers", "export_diffusers.py", "model"},
                        {"text", "diffusers", "export_diffusers.py", "model"},
                        {"dit", "diffusers", "export_diffusers.py", "model"},
                        {"edm", "torch", "export_edm.py", "net.pkl"},
                        {"edm", "torch", "export_edm.py", "net.pkl --raw"},
                        {"vp", "torch", "export_edm.py", "net.pkl"},
                        {"k_diffusion", "torch", "export_kdiffusion.py", "config.json weights.pth"}};
  for (const Case& c : cases) {
    CAPTURE(std::string(c.kind));
    CAPTURE(std::string(c.arguments));
    const std::string python = python_that_imports(c.module);
    if (python.empty()) {
      continue;
    }
    Folder folder;
    const std::string go = "cd '" + folder.string() + "' && PYTHONPATH='" + support + "' '" + python + "' ";
    const Outcome made = shell(go + "'" + support + "/make.py' " + c.kind);
    CAPTURE(made.output);
    REQUIRE(made.code == 0);
    std::string arguments = c.arguments;
    const size_t option = std::min(arguments.find(" --"), arguments.size());
    arguments.insert(option, " out.pt");
    const Outcome exported = shell(go + "'" + tools + "/" + c.exporter + "' " + arguments +
                                   " 2>errors > out.toml; code=$?; cat errors out.toml; exit $code");
    CAPTURE(exported.output);
    REQUIRE(exported.code == 0);

    Value toml = read_toml((folder / "out.toml").string());
    const Value* process = toml.find("process");
    const Json reference = Json::parse(read_text(folder / "reference.json"));
    const auto tensor = [&](const char* name) {
      return at::tensor(reference[name]["numbers"].get<std::vector<double>>(), at::kDouble)
          .view(reference[name]["shape"].get<std::vector<int64_t>>());
    };
    std::string process_toml = "type = \"ve\"";
    if (process != nullptr) {
      process_toml.clear();
      for (const auto& [key, value] : process->table()) {
        process_toml += key + " = " + value.text() + "\n";
      }
    }
    Conditioning condition;
    ModelSpec spec;
    for (const char* name : {"labels", "prompt_embeds", "pooled_prompt_embeds", "time_ids"}) {
      if (reference.contains(name)) {
        const Tensor rows = tensor(name);
        const bool labels = name == inputs::labels;
        condition.set(name, labels ? rows.to(at::kLong) : rows.to(at::kFloat));
        if (!labels) {
          spec.inputs.push_back({.name = name, .shape = rows[0].sizes().vec()});
        }
      }
    }
    TestHost host(process_toml, spec);
    Params p(*toml.find("teacher"), "teacher", &host);
    CHECK(p.get("type", "", "") == "torchscript");
    const auto teacher = std::static_pointer_cast<Teacher>(registry().make("teacher", "torchscript", p));
    p.finish();
    CHECK(teacher->inputs().size() == static_cast<size_t>(std::distance(condition.begin(), condition.end())));
    const Tensor x = tensor("x").to(at::kFloat), t = tensor("t"), wanted = tensor("data");
    const Tensor ours = Ode(*teacher, condition).data(x, t);
    CHECK(most(ours - wanted) < 2e-5 * (1 + most(wanted)));
  }
}

TEST_CASE("the exporter of diffusers takes the process from the scheduler, or refuses it in a line") {
  const std::string python = python_that_imports("diffusers");
  if (python.empty()) {
    return;
  }
  Folder folder;
  namespace fs = std::filesystem;
  const fs::path model = folder / "model";
  fs::copy(source_dir() + "/tests/fixtures/diffusers/pixel", model, fs::copy_options::recursive);
  const auto exported = [&](const char* scheduler) {
    write_text(model / "scheduler/scheduler_config.json", scheduler);
    return shell("cd '" + folder.string() + "' && '" + python + "' '" + source_dir() +
                 "/sdk/python/export_diffusers.py' model/unet out.pt 2>&1");
  };
  const Outcome beside = exported(R"({"_class_name": "DDPMScheduler", "beta_schedule": "scaled_linear"})");
  CAPTURE(beside.output);
  CHECK(beside.code == 0);
  CHECK(contains(beside.output, "beta_schedule = \"scaled_linear\""));
  CHECK(contains(beside.output, "beta_end = 0.02"));  // as the class has it where the file says nothing
  const Outcome flow = exported(
      R"({"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": true, "prediction_type": "flow_prediction"})");
  CHECK(flow.code == 0);
  CHECK(contains(flow.output, "type = \"rectified_flow\""));
  for (const auto& [scheduler, part] :
       {std::pair(R"({"_class_name": "EDMEulerScheduler"})", "'EDMEulerScheduler' is not"),
        std::pair(R"({"_class_name": "ScoreSdeVeScheduler"})", "is not supported"), std::pair("{", "is damaged")}) {
    const Outcome refused = exported(scheduler);
    CAPTURE(refused.output);
    CHECK(refused.code == 1);
    CHECK(contains(refused.output, "scheduler_config.json: "));
    CHECK(contains(refused.output, part));
    CHECK(refused.output.find("Traceback") == std::string::npos);
  }
  fs::remove_all(model / "scheduler");
  const Outcome none = shell("cd '" + folder.string() + "' && '" + python + "' '" + source_dir() +
                             "/sdk/python/export_diffusers.py' model out.pt 2>&1");
  CHECK(none.code == 1);
  CHECK(contains(none.output, "has no scheduler_config.json"));
}
