#include <ATen/ATen.h>

#include <cmath>

#include "world.h"

namespace retort::conformance {

namespace {

constexpr int64_t sample_count = 100;

class Points final : public Dataset {
 public:
  explicit Points(Batch all) : all_(std::move(all)) {}
  std::vector<int64_t> shape() const override { return {2}; }
  int64_t classes() const override { return 2; }
  int64_t size(Split) const override { return all_.x.size(0); }
  Batch batch(Split, const Tensor& index) const override {
    return {all_.x.index_select(0, index), all_.condition.select(index)};
  }

 private:
  Batch all_;
};

// Embeds a sample and what describes it alike, but for an error.
class Pairing final : public CompiledNetwork {
 public:
  explicit Pairing(double error) : error_(error) {}
  Tensor operator()(const Tensor& x, const Tensor&, const Conditioning&) override {
    return at::cat({x, x + error_ * (1 + 0.3 * x.square())}, 1);
  }

 private:
  double error_;
};

// An evaluation of a student that is wrong by `error`: 0 is perfect. It makes samples, or embeds them.
class Scene final : public Evaluation {
 public:
  Scene(const ExactTeacher& teacher, double error, Makes makes = Makes::consistency)
      : model_(model_of(teacher, error, makes)),
        solver_(teacher),
        ode_(teacher),
        grid_(even_grid(teacher.process(), 8)),
        data_(points(teacher)) {
    const Tensor t = grid_[0].expand({sample_count}).contiguous();
    start_.x = at::randn({sample_count, 2}, seeded(7, "start"), at::TensorOptions().dtype(at::kFloat));
    start_.x = start_.x * rows(teacher.process().sigma(t), start_.x);
    endpoints_ = teacher.transport(start_.x, t, at::zeros_like(t));
    reference_ = endpoints_;
    samples_ = endpoints_ + error * (1 + 0.3 * endpoints_.square());
  }

  Tensor samples_, reference_, endpoints_;
  Batch start_;
  bool teacher_row_ = false;

  // The samples in another order, each with its own noise and endpoint.
  void permute() {
    const Tensor order = at::arange(sample_count, at::kLong).flip({0});
    samples_ = samples_.index_select(0, order);
    endpoints_ = endpoints_.index_select(0, order);
    start_.x = start_.x.index_select(0, order);
    shared_.clear();
  }

  Tensor samples() const override { return samples_; }
  Tensor reference() const override { return reference_; }
  Tensor sample_features() const override { return samples_; }
  Tensor reference_features() const override { return reference_; }
  Tensor features(const Tensor& x) const override { return x; }
  Batch start() const override { return start_; }
  Tensor endpoints() const override { return endpoints_; }
  Batch data(int64_t n) const override {
    return data_.batch(Split::test, at::arange(std::min(n, data_.size(Split::test)), at::kLong));
  }
  const Dataset* dataset() const override { return &data_; }
  const Model* model() const override { return teacher_row_ ? nullptr : &model_; }
  CompiledNetwork* network() const override { return teacher_row_ ? nullptr : &model_.network(); }
  int64_t student_steps() const override { return teacher_row_ ? 0 : 1; }
  const Ode* ode() const override { return &ode_; }
  const Solver* solver() const override { return &solver_; }
  Tensor grid() const override { return grid_; }
  at::Generator generator(const char* stream) const override { return seeded(7, stream); }
  Tensor shared(const std::string& key, const std::function<Tensor()>& compute) const override {
    const auto found = shared_.find(key);
    return found != shared_.end() ? found->second : shared_[key] = compute();
  }

 private:
  static Points points(const ExactTeacher& teacher) {
    Batch all{teacher.sample(200, seeded(7, "data")).to(at::kFloat), {}};
    all.condition.set(inputs::labels, (all.x.select(1, 0) > 0).to(at::kLong));
    return Points(all);
  }

  static Model model_of(const ExactTeacher& teacher, double error, Makes makes) {
    if (makes == Makes::embedding) {
      return {std::make_shared<Pairing>(error), teacher.process(), {Predicts::data, 1.0}, {}, makes};
    }
    return ExactStudent::model(std::make_shared<ExactStudent>(teacher, error));
  }

  Model model_;
  ExactSolver solver_;
  Ode ode_;
  Tensor grid_;
  Points data_;
  mutable std::map<std::string, Tensor> shared_;
};

// The greatest difference of a value, in units of the greatest value.
double most_apart(const Measurement& a, const Measurement& b) {
  if (a.values.size() != b.values.size()) {
    return HUGE_VAL;
  }
  double out = 0, scale = 1e-12;
  for (size_t i = 0; i < a.values.size(); ++i) {
    out = std::max(out, std::abs(a.values[i].second - b.values[i].second));
    scale = std::max(scale, std::abs(a.values[i].second));
  }
  return out / scale;
}

const double* value_of(const Measurement& m, const std::string& name) {
  for (const auto& [key, value] : m.values) {
    if (key == name) {
      return &value;
    }
  }
  return nullptr;
}

std::string spell(const Measurement& m) {
  std::string out;
  for (const auto& [name, value] : m.values) {
    out += (out.empty() ? "" : ", ") + name + " " + conformance::spell(value);
  }
  return out.empty() ? "nothing" : out;
}

}  // namespace

void check_metric(const Subject& subject, Findings& out) {
  const ExactTeacher teacher(make_process("rectified_flow"), {2});
  World world(teacher.process(), {{2}, label_inputs(2)}, subject.host);
  std::shared_ptr<Metric> metric;
  out.run("is built", [&] { metric = world.build<Metric>(subject); });
  if (!metric) {
    return;
  }
  constexpr double wrong = 0.4;
  Makes makes = Makes::consistency;
  try {  // what measures nothing of models that make samples is of those that embed them
    makes = metric->measure(Scene(teacher, wrong)).values.empty() ? Makes::embedding : makes;
  } catch (const std::exception&) {  // told below
  }
  const Scene perfect(teacher, 0, makes), bad(teacher, wrong, makes);
  out.run("measures", [&] {
    const Measurement m = metric->measure(bad);
    bool good = !m.values.empty();
    for (const auto& [name, value] : m.values) {
      good = good && !name.empty() && std::isfinite(value);
    }
    out.add("measures", good, spell(m), "finite values with names");
  });
  out.run("known values", [&] {
    const Measurement best = metric->measure(perfect), worse = metric->measure(bad);
    for (const auto& [name, ideal] : metric->ideal()) {
      const double* value = value_of(best, name);
      const double* other = value_of(worse, name);
      out.add("a perfect model's " + name, value != nullptr && std::abs(*value - ideal) <= 1e-5,
              value != nullptr ? conformance::spell(*value) : "nothing", "the declared " + conformance::spell(ideal));
      const bool tells = other != nullptr && std::abs(*other - ideal) > 1e-4;
      out.add("a wrong model's " + name, tells, other != nullptr ? conformance::spell(*other) : "nothing",
              "another than " + conformance::spell(ideal));
    }
  });
  out.run("tells models apart", [&] {
    const double apart = most_apart(metric->measure(perfect), metric->measure(bad));
    out.add("tells models apart", apart > 1e-6, "a wrong model changes the values by " + conformance::spell(apart),
            "more than 1e-6 of the greatest: a constant measures nothing");
  });
  out.run("order of the samples", [&] {
    Scene permuted(teacher, wrong, makes);
    permuted.permute();
    out.at_most("order of the samples", most_apart(metric->measure(bad), metric->measure(permuted)), 1e-3,
                "their permutation changes the values by");
  });
  out.run("symmetric", [&] {
    Scene swapped(teacher, wrong, makes);
    std::swap(swapped.samples_, swapped.reference_);
    const double apart = most_apart(metric->measure(bad), metric->measure(swapped));
    if (metric->symmetric()) {
      out.at_most("symmetric", apart, 1e-5, "exchanging samples and reference changes the values by");
    }
  });
  out.run("deterministic", [&] {
    const double apart = most_apart(metric->measure(bad), metric->measure(bad));
    out.add("deterministic", apart == 0, "differs by " + conformance::spell(apart), "equal values from equal inputs");
  });
  out.run("leaves its inputs as they are", [&] {
    Scene scene(teacher, wrong, makes);
    Given given;
    given("samples", scene.samples_);
    given("reference", scene.reference_);
    given("endpoints", scene.endpoints_);
    given("start", scene.start_.x);
    metric->measure(scene);
    given.check(out);
  });
  out.run("the teacher's own row", [&] {
    Scene row(teacher, 0, makes);
    row.teacher_row_ = true;
    out.add("the teacher's own row", true, spell(metric->measure(row)), "values, or nothing, without a student");
  });
}

}  // namespace retort::conformance
