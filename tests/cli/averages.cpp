// Averages of the weights, as users ask for them: train.ema_lengths, evaluate.ema_lengths, train.ema_half_life.
#include <cmath>

#include "io/files.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "support/program.h"
#include "train/profiles.h"
#include "train/trainer.h"

using namespace retort;
using namespace retort::test;

namespace {

Json results_of(const std::filesystem::path& folder) { return Json::parse(read_text(folder / "results.json")); }

std::map<std::string, Tensor> weights_in(const std::filesystem::path& file) { return read_safetensors(file).tensors; }

bool same_files(const std::filesystem::path& a, const std::filesystem::path& b) {
  const std::map<std::string, Tensor> x = weights_in(a), y = weights_in(b);
  bool same = x.size() == y.size() && !x.empty();
  for (const auto& [name, tensor] : x) {
    same = same && y.contains(name) && at::equal(tensor, y.at(name));
  }
  return same;
}

// The average over steps `first` + 1 … `last` of all weights that a run has kept, by the profile's closed form.
std::map<std::string, Tensor> by_force(const std::filesystem::path& run, double length, int64_t last,
                                       int64_t first = 0) {
  const double exponent = power_exponent(length) + 1;
  std::map<std::string, Tensor> out;
  for (int64_t k = 1; k <= last - first; ++k) {
    const auto end = static_cast<double>(k), n = static_cast<double>(last - first);
    const double share = std::pow(end / n, exponent) - std::pow((end - 1) / n, exponent);
    for (const auto& [name, tensor] : weights_in(Trainer::checkpoint_path(run, first + k))) {
      const Tensor part = share * tensor.to(at::kDouble);
      out[name] = out.contains(name) ? out.at(name) + part : part;
    }
  }
  return out;
}

// The largest difference, over the largest weight.
double difference(const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b) {
  double apart = 0, size = 0;
  for (const auto& [name, tensor] : a) {
    apart = std::max(apart, most(tensor.to(at::kDouble) - b.at(name)));
    size = std::max(size, most(b.at(name)));
  }
  return apart / size;
}

const std::string every_step = "evaluate.at=[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19] evaluate.weights=last ";
const std::string quick = small + " evaluate.samples=50 evaluate.student_steps=[1] train.learning_rate=0.01 ";

}  // namespace

TEST_CASE("lengths are an axis after the training: each gives a row, and nothing is trained again") {
  Folder folder;
  const std::string run = "run " + mixture_config + quick + every_step +
                          "loss.type=cm train.ema=0 train.ema_lengths=[0.05,0.1] run.output=" + folder.string() +
                          "/out ";
  const Outcome first = run_retort(run);
  CAPTURE(first.output);
  REQUIRE(first.code == 0);
  CHECK(results_of(folder / "out")["students"].size() == 1);
  CHECK(!results_of(folder / "out")["students"][0].contains("ema_length"));
  const std::string log = read_text(folder / "out/metrics.jsonl");

  const Outcome second = run_retort(run + "evaluate.ema_lengths=[0.03,0.1,0.15]");
  CAPTURE(second.output);
  REQUIRE(second.code == 0);
  CHECK(!contains(second.output, "training:"));
  CHECK(read_text(folder / "out/metrics.jsonl") == log);
  CHECK(contains(second.output, "cm, ema 0.15"));
  const Json students = results_of(folder / "out")["students"];
  REQUIRE(students.size() == 4);
  CHECK(!students[0].contains("ema_length"));
  for (size_t i = 1; i < 4; ++i) {
    CHECK(students[i]["ema_length"] == std::vector<double>{0.03, 0.1, 0.15}[i - 1]);
    CHECK(students[i]["train_steps"] == 20);
    CHECK(students[i]["metrics"]["ode_error"] != students[i - 1]["metrics"]["ode_error"]);
    CHECK(std::filesystem::exists(folder / "out" / students[i]["samples"].get<std::string>()));
  }
  CHECK(results_of(folder / "out")["progress"].size() == 23);

  // The weights are what a sum over those of every step is: to rounding for a length that was followed.
  const std::filesystem::path out = folder / "out", checkpoints = out / "checkpoints";
  CHECK(difference(weights_in(checkpoints / "step_000020_ema_0.1.safetensors"), by_force(out, 0.1, 20)) < 1e-6);
  CHECK(difference(weights_in(checkpoints / "step_000020_ema_0.15.safetensors"), by_force(out, 0.15, 20)) < 0.02);
  // They are a checkpoint as any other.
  CHECK(run_retort("sample " + mixture_config + quick + "loss.type=cm --checkpoint " + checkpoints.string() +
                   "/step_000020_ema_0.15.safetensors --count 5 --out " + folder.string() + "/x.csv")
            .code == 0);
  // Again: complete. Without them: measured anew, not trained.
  CHECK(contains(run_retort(run + "evaluate.ema_lengths=[0.03,0.1,0.15]").output, "these results are complete"));
  const Outcome third = run_retort(run);
  CHECK(third.code == 0);
  CHECK(!contains(third.output, "training:"));
  CHECK(results_of(folder / "out")["students"].size() == 1);

  std::filesystem::remove(checkpoints / "averages_000020.safetensors");
  const Outcome missing = run_retort(run + "evaluate.ema_lengths=[0.03]");
  CHECK(missing.code != 0);
  CHECK(contains(missing.output, "averages_000020.safetensors: this snapshot is missing"));
}

TEST_CASE("what cannot be is said before any work") {
  const std::string run = "run " + mixture_config + quick + "loss.type=cm evaluate.at=[] ";
  CHECK(one_line(run_retort(run + "evaluate.ema_lengths=[0.1]"), 2, {"evaluate.ema_lengths", "train.ema_lengths"}));
  CHECK(one_line(run_retort(run + "train.ema_lengths=[0.5]"), 2, {"train.ema_lengths"}));
  CHECK(one_line(run_retort(run + "train.ema_half_life=100"), 2, {"train.ema_half_life", "train.ema"}));
}

TEST_CASE("a sweep shows the length as a column, and keeps rows of different lengths apart") {
  Folder folder;
  const Outcome out = run_retort("sweep " + mixture_config + quick +
                                 "evaluate.at=[] sweep.seeds=[0,1] train.ema_lengths=[0.05] "
                                 "evaluate.ema_lengths=[0.05,0.25] run.output=" +
                                 folder.string() + "/out");
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  CHECK(contains(out.output, "train.ema_lengths has one length"));
  CHECK(contains(out.output, "only roughly made"));
  CHECK(read_text(folder / "out/results.csv")
            .starts_with("cell,status,loss.type,run.seed,student_steps,train_steps,ema_length,"));
  const Json groups = results_of(folder / "out")["statistics"]["groups"];
  REQUIRE(groups.size() == 6);  // two losses, three kinds of weights, over two seeds
  for (const Json& group : groups) {
    CHECK(group["metrics"]["ode_error"]["n"] == 2);
  }
  CHECK(contains(out.output, ", ema 0.25"));
}

TEST_CASE("killed and resumed, snapshots and their averages are the same to the bit, in stages too") {
  Folder folder;
  const std::string options = "run " + mixture_config + quick +
                              "loss.type=progressive_distillation loss.stages=2 schedule.steps=8 evaluate.at=[] "
                              "train.steps=400 train.batch=8 train.save_every=1e-9 train.ema_lengths=[0.05,0.1] "
                              "evaluate.ema_lengths=[0.07] run.output=" +
                              folder.string() + "/";
  REQUIRE(run_retort(options + "whole").code == 0);
  const std::filesystem::path log = folder / "killed/checkpoints/averages_000250.safetensors";
  kill_when(options + "killed", [&] { return std::filesystem::exists(log); });
  REQUIRE(!std::filesystem::exists(folder / "killed/checkpoints/step_000400.safetensors"));
  const Outcome resumed = run_retort(options + "killed");
  CAPTURE(resumed.output);
  REQUIRE(resumed.code == 0);
  CHECK(contains(resumed.output, "goes on from step"));
  for (const char* name :
       {"averages_000050", "averages_000250", "averages_000300", "averages_000400", "state", "step_000400_ema_0.07"}) {
    CAPTURE(std::string(name));
    CHECK(same_files(folder / "whole/checkpoints" / (std::string(name) + ".safetensors"),
                     folder / "killed/checkpoints" / (std::string(name) + ".safetensors")));
  }
  CHECK(results_of(folder / "whole")["students"][1]["metrics"] ==
        results_of(folder / "killed")["students"][1]["metrics"]);
  const Json said = Json::parse(read_metadata(folder / "whole/checkpoints/step_000400.safetensors").at("retort"));
  CHECK(said["training"]["averages"]["begin"] == 200);
  CHECK(said["training"]["averages"]["steps"] == Json({250, 300, 350, 400}));
}

TEST_CASE("an adapter's averages are of its factors") {
  Folder folder;
  const std::string at = folder.string();
  REQUIRE(run_retort("train " + mixture_config + quick + "loss.type=denoising evaluate.at=[] run.output=" + at + "/t")
              .code == 0);
  std::string text = read_text(source_dir() + "/configs/mixture.toml");
  const size_t teacher = text.find("[teacher]"), solver = text.find("[solver]");
  text = text.substr(0, teacher) +
         "[teacher]\ntype = \"network\"\ncheckpoint = \"t/checkpoints/step_000020.safetensors\"\n"
         "[student]\ninit = \"teacher\"\nadapter = \"lora\"\nrank = 2\n" +
         text.substr(solver, text.find("[sweep]") - solver);
  text.erase(text.find("[process]"), text.find("[dataset]") - text.find("[process]"));
  write_text(folder / "student.toml", text);
  const std::string student =
      "run " + at + "/student.toml train.steps=20 evaluate.at=[] evaluate.samples=50 evaluate.student_steps=[1] " +
      "'evaluate.metrics=[\"sliced_wasserstein\"]' report.plot=[] train.ema_lengths=[0.05,0.1] " +
      "evaluate.ema_lengths=[0.05,0.15] run.output=" + at + "/out";
  const Outcome out = run_retort(student);
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  REQUIRE(results_of(folder / "out")["students"].size() == 3);
  const auto snapshot = weights_in(folder / "out/checkpoints/averages_000020.safetensors");
  const auto made = weights_in(folder / "out/checkpoints/step_000020_ema_0.05.adapter.safetensors");
  CHECK(2 * made.size() == snapshot.size());
  for (const auto& [name, tensor] : made) {
    CHECK(contains(name, ".lora_"));
    CHECK(most(tensor - snapshot.at("0.05/" + name)) < 1e-6);
  }
}

TEST_CASE("a half-life is evaluated in place of train.ema") {
  Folder folder;
  const std::string run =
      "run " + mixture_config + quick + every_step + "loss.type=cm train.ema=0 run.output=" + folder.string();
  REQUIRE(run_retort(run + "/last").code == 0);
  REQUIRE(run_retort(run + "/half evaluate.weights=ema train.ema_half_life=500 train.ema_rampup=0.5").code == 0);
  // The same by EDM's rule, from the weights of every step: of 128 samples each.
  std::map<std::string, Tensor> average;
  for (int64_t k = 1; k <= 20; ++k) {
    const double now = std::min(500.0, 0.5 * 128 * static_cast<double>(k - 1));
    const double decay = k == 1 ? 0 : std::pow(0.5, 128 / now);
    for (const auto& [name, tensor] : weights_in(Trainer::checkpoint_path(folder / "last", k))) {
      const Tensor now_there = tensor.to(at::kDouble);
      average[name] = k == 1 ? now_there : decay * average.at(name) + (1 - decay) * now_there;
    }
  }
  CHECK(difference(weights_in(Trainer::checkpoint_path(folder / "half", 20)), average) < 1e-6);
}
