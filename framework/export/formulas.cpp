#include "export/formulas.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

#include "export/torchscript.h"

namespace retort {

namespace {

std::string number(double value) { return Value{value, {}}.text(); }

double in_table(const Value& table, const char* key) {
  const Value* value = table.find(key);
  const double* found = value != nullptr ? std::get_if<double>(&value->data) : nullptr;
  return found != nullptr ? *found : 0;
}

// Replaces each "@name@".
std::string filled(std::string text, const std::vector<std::pair<std::string, std::string>>& values) {
  for (const auto& [name, value] : values) {
    const std::string mark = "@" + name + "@";
    for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + value.size())) {
      text.replace(at, mark.size(), value);
    }
  }
  return text;
}

// Types as TorchScript's own files number them; without Python's names for them.
std::string typed(const std::string& text) {
  const auto of = [](at::ScalarType type) { return std::to_string(static_cast<int>(type)); };
  return filled(text, {{"float64", of(at::kDouble)}, {"float32", of(at::kFloat)}, {"int64", of(at::kLong)}});
}

// The processes with alpha^2 + sigma^2 = 1 have a formula of log alpha, and of beta.
constexpr const char* variance_preserving = R"(
def alpha(self, t):
    return torch.exp(self.log_alpha(t))
def sigma(self, t):
    return torch.sqrt(torch.clamp(-torch.expm1(2 * self.log_alpha(t)), min=0.0))
)";
constexpr const char* its_slopes = R"(
def d_alpha(self, t):
    return -0.5 * self.beta(t) * self.alpha(t)
def d_sigma(self, t):
    return 0.5 * self.beta(t) * self.alpha(t).square() / self.sigma(t)
)";

struct Formulas {
  const char* process;
  const char* levels;  // alpha and sigma, or log_alpha
  const char* slopes;  // d_alpha and d_sigma, or beta
  bool preserving = false;
};

const Formulas formulas[] = {{"ve", R"(
def alpha(self, t):
    return torch.ones_like(t)
def sigma(self, t):
    return t
)",
                              R"(
def d_alpha(self, t):
    return torch.zeros_like(t)
def d_sigma(self, t):
    return torch.ones_like(t)
)"},
                             {"rectified_flow", R"(
def alpha(self, t):
    return 1 - t
def sigma(self, t):
    return t
)",
                              R"(
def d_alpha(self, t):
    return -torch.ones_like(t)
def d_sigma(self, t):
    return torch.ones_like(t)
)"},
                             {"trigonometric", R"(
def alpha(self, t):
    return torch.sin(torch.clamp(@half_pi@ - t, min=0.0))
def sigma(self, t):
    return torch.sin(t)
)",
                              R"(
def d_alpha(self, t):
    return -self.sigma(t)
def d_sigma(self, t):
    return self.alpha(t)
)"},
                             {"vp_linear", R"(
def log_alpha(self, t):
    return -0.25 * t * t * (@beta_max@ - @beta_min@) - 0.5 * t * @beta_min@
)",
                              R"(
def beta(self, t):
    return @beta_min@ + t * (@beta_max@ - @beta_min@)
)",
                              true},
                             // Nichol & Dhariwal 2021, eq. 17
                             {"vp_cosine", R"(
def angle(self, t):
    return (t + 0.008) / 1.008 * @half_pi@
def log_alpha(self, t):
    return torch.log(torch.cos(self.angle(t)) / @cos_zero@)
)",
                              R"(
def beta(self, t):
    return 2 * @half_pi@ / 1.008 * torch.tan(self.angle(t))
)",
                              true}};

// Log alpha is linear between the steps, or alpha itself where it falls to 0.
const Formulas of_table = {"", R"(
def log_alpha(self, t):
    c = torch.clamp(t, 0.0, @steps@)
    i = torch.clamp(torch.floor(c), max=@steps@ - 1).to(@int64@)
    part = c - i
    low = self.log_alphas[i]
    high = self.log_alphas[i + 1]
    return low + torch.where(torch.isinf(high), torch.log1p(-part), part * (high - low))
)",
                           R"(
def step_at(self, t):
    return torch.clamp(torch.ceil(t - 1e-9), 1.0, @steps@).to(@int64@)
def d_alpha(self, t):
    i = self.step_at(t)
    falls = torch.isinf(self.log_alphas[i])
    return torch.where(falls, -torch.exp(self.log_alphas[i - 1]), -0.5 * self.betas[i - 1] * self.alpha(t))
def d_sigma(self, t):
    return -self.alpha(t) * self.d_alpha(t) / self.sigma(t)
)"};

bool needs_slopes(const Outgoing& model) { return model.parametrisation.predicts == Predicts::flow; }

}  // namespace

NetworkCall network_call(const Outgoing& model, const Trial& on) {
  const auto options = on.x.options().dtype(at::kFloat);
  const Tensor label = model.parametrisation.c_noise(model.process, on.t);
  NetworkCall out{rows(model.parametrisation.c_in(model.process, on.t), on.x) * on.x, label.to(options), on.condition};
  if (const Tensor w = on.condition[inputs::guidance]; w.defined()) {
    out.condition.set(inputs::guidance, w.log1p().to(options));
  }
  if (model.two_times()) {
    out.condition.set(inputs::end_time, (label - model.parametrisation.c_noise(model.process, on.s)).to(options));
  }
  return out;
}

std::string process_source(const Outgoing& model) {
  const Value table = model.process.to_value();
  const Formulas* found = model.process.steps() > 0 ? &of_table : nullptr;
  for (const Formulas& one : formulas) {
    if (found == nullptr && model.process.name() == one.process) {
      found = &one;
    }
  }
  if (found == nullptr) {
    throw RequestError(model.place.file.string() + ": its process '" + model.process.name() +
                       "' has no formula in TorchScript; --raw writes the network alone");
  }
  std::string out = found->levels;
  if (found->preserving || found == &of_table) {
    out += variance_preserving;
  }
  if (needs_slopes(model)) {
    out += found->slopes;
    out += found->preserving ? its_slopes : "";
  }
  return filled(out, {{"half_pi", number(std::numbers::pi / 2)},
                      {"cos_zero", number(std::cos(0.008 / 1.008 * std::numbers::pi / 2))},
                      {"beta_min", number(in_table(table, "beta_min"))},
                      {"beta_max", number(in_table(table, "beta_max"))},
                      {"steps", number(static_cast<double>(model.process.steps()))}});
}

std::vector<std::pair<std::string, Tensor>> formula_tables(const Outgoing& model) {
  const int64_t steps = model.process.steps();
  if (steps == 0 || !makes_samples(model.makes)) {
    return {};
  }
  const Tensor t = at::arange(steps + 1, at::kDouble);
  const Tensor alpha = model.process.alpha(t);
  std::vector<std::pair<std::string, Tensor>> out = {{"log_alphas", alpha.log()}};
  if (needs_slopes(model)) {
    const Tensor from_one = t.narrow(0, 1, steps);
    out.emplace_back("betas", -2 * model.process.d_alpha(from_one) / model.process.alpha(from_one));
  }
  return out;
}

namespace {

// What the network sees, [B] float64 each: c_in and c_noise.
std::string preconditioning_source(const Outgoing& model) {
  const Preconditioning seen =
      model.parametrisation.preconditioning.resolved(model.parametrisation.predicts, model.process);
  const std::string square = number(seen.sigma_data * seen.sigma_data);
  std::string out = "def c_in(self, t):\n";
  if (seen.sees == Sees::edm) {
    out += "    return torch.rsqrt(self.sigma(t).square() + self.alpha(t).square() * " + square + ")\n";
  } else {
    out += "    return torch.ones_like(t)\n";
  }
  out += "def c_noise(self, t):\n";
  switch (seen.sees) {
    case Sees::edm:
      return out + "    return torch.log(torch.clamp(self.sigma(t) / self.alpha(t), 1e-4, 1e4)) / 4\n";
    case Sees::discrete:
      return out + "    return torch.clamp(t - 1, 0.0, " + number(static_cast<double>(model.process.steps() - 1)) +
             ")\n";
    default:
      return out + "    return t / " + number(model.process.t_max()) + "\n";
  }
}

// D = a x + b output.
std::string data_source(const Outgoing& model) {
  std::string out = "    alpha = self.alpha(t)\n    sigma = self.sigma(t)\n";
  const std::string sd = number(model.parametrisation.sigma_data);
  const auto combined = [](const std::string& a, const std::string& b) {
    return "    return self.rows(" + a + ", x) * x + self.rows(" + b + ", x) * output\n";
  };
  switch (model.parametrisation.predicts) {
    case Predicts::noise:
      return out + combined("1 / alpha", "-sigma / alpha");
    case Predicts::data:
      return "    return output\n";
    case Predicts::v:
      return out + "    square = alpha * alpha + sigma * sigma\n" + combined("alpha / square", "-sigma / square");
    case Predicts::flow:
      return out + "    slope = self.d_sigma(t)\n    determinant = alpha * slope - self.d_alpha(t) * sigma\n" +
             combined("slope / determinant", "-sigma / determinant");
    case Predicts::edm:
      return out + "    square = sigma * sigma + alpha * alpha * (" + sd + " * " + sd + ")\n" +
             combined("alpha * (" + sd + " * " + sd + ") / square", "sigma * " + sd + " / torch.sqrt(square)");
  }
  return out;
}

// f = … of x and the data d that is predicted.
std::string boundary_source(const Outgoing& model) {
  const Boundary& b = model.boundary;
  const std::string square = number(b.sigma_data * b.sigma_data);
  switch (b.kind) {
    case BoundaryKind::edm:
      return "    return d\n";
    case BoundaryKind::sigma_shifted:
      return "    level = self.sigma(t) / self.alpha(t)\n"
             "    shifted = torch.clamp(level - " +
             number(b.sigma_min) +
             ", min=0.0)\n"
             "    ratio = torch.where(level > 0, shifted / level, torch.zeros_like(level))\n"
             "    skip = " +
             square + " / (shifted * shifted + " + square +
             ")\n"
             "    edm_skip = " +
             square + " / (level * level + " + square +
             ")\n"
             "    return self.rows((skip - ratio * edm_skip) / self.alpha(t), x) * x + self.rows(ratio, x) * d\n";
    case BoundaryKind::time_scaled:
      return "    r = t * " + number(b.time_scale) +
             "\n"
             "    square = r * r + " +
             square +
             "\n"
             "    return self.rows(" +
             square + " / square, x) * x + self.rows(r / torch.sqrt(square), x) * d\n";
  }
  return "";
}

}  // namespace

std::string script_source(const Outgoing& model) {
  const std::vector<std::string> arguments = script_signature(model, false).arguments;
  std::string listed, given;
  for (const std::string& name : arguments) {
    listed += ", " + name;
  }
  // What the network is given behind x and the time, in the order of the names.
  for (const std::string& name : script_signature(model, true).arguments) {
    if (name == "x" || name == "c_noise") {
      continue;
    }
    const Input* input = model.spec.find(name);
    const bool labels = input != nullptr && input->classes > 0;
    given += name == inputs::guidance   ? ", torch.log1p(guidance.to(@float64@)).to(@float32@)"
             : name == inputs::end_time ? ", (self.c_noise(t) - self.c_noise(s)).to(@float32@)"
             : labels                   ? ", " + name + ".to(@int64@)"
                                        : ", " + name;
  }
  const bool two_times = model.two_times();
  std::string conditions;
  for (const std::string& name : script_signature(model, true).arguments) {
    if (name != "x" && name != "c_noise" && name != inputs::end_time) {
      conditions += ", " + name;
    }
  }
  const std::string of_raw = std::string(two_times ? ", s" : "") + conditions;
  std::string out = R"(
def rows(self, c, x):
    return c.to(x.dtype).reshape(@column@)
def time(self, t, x):
    return t.to(x.device).to(@float64@).reshape([-1]).expand([x.size(0)])
)";
  out += process_source(model) + preconditioning_source(model);
  out += "def raw(self, x, t" + of_raw + "):\n    return self.network.forward(self.rows(self.c_in(t), x) * x, " +
         "self.c_noise(t).to(@float32@)" + given + ").to(x.dtype)\n";
  const std::string time = arguments[1];
  std::string body = "    t = self.time(" + time + ", x)\n";
  if (two_times) {
    body += "    s = self.time(end_time, x)\n";
    body += "    return x + self.rows(s - t, x) * self.raw(x, t" + of_raw + ")\n";
  } else {
    out += "def data(self, x, t" + of_raw + "):\n    output = self.raw(x, t" + of_raw + ")\n" + data_source(model);
    body += "    d = self.data(x, t" + of_raw + ")\n";
    if (model.makes == Makes::consistency) {
      body += boundary_source(model);
    } else if (model.makes == Makes::flow_map) {  // DDIM's step from t to the end
      body +=
          "    s = self.time(end_time, x)\n"
          "    ratio = self.sigma(s) / self.sigma(t)\n"
          "    return self.rows(ratio, x) * x + self.rows(self.alpha(s) - self.alpha(t) * ratio, x) * d\n";
    } else {
      body += "    return d\n";
    }
  }
  std::string column = "[-1";  // of the rank of x, so that whoever reads the file knows it
  for (size_t i = 0; i < model.spec.shape.size(); ++i) {
    column += ", 1";
  }
  out = filled(out, {{"column", column + "]"}});
  return typed(out + "def forward(self" + listed + "):\n" + body);
}

}  // namespace retort
