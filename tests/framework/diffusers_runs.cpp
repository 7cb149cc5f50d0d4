// The teacher that is a folder of diffusers: its predictions, held against diffusers', and runs with it as a user
// starts them.
#include <fstream>

#include "config/experiment.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "io/json.h"
#include "io/png.h"
#include "io/safetensors.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;
namespace fs = std::filesystem;

namespace {

std::string fixture(const std::string& name) { return source_dir() + "/tests/fixtures/diffusers/" + name; }

const std::map<std::string, Tensor>& expected() {
  static const TensorFile file = read_safetensors(fixture("expected.safetensors"));
  return file.tensors;
}

// An experiment of that teacher alone.
std::unique_ptr<Experiment> teacher_of(const std::string& keys) {
  const Value root = parse_toml("[backend]\ntype = \"cpu\"\n[teacher]\ntype = \"diffusers\"\n" + keys, "test.toml");
  return std::make_unique<Experiment>(root, "test", registry(), Parts::solving);
}

Conditioning text_condition() {
  return {{"prompt_embeds", expected().at("text.prompt_embeds")},
          {"pooled_prompt_embeds", expected().at("text.pooled_prompt_embeds")},
          {"time_ids", expected().at("text.time_ids")}};
}

// diffusers counts steps from 0.
Tensor predict(const Experiment& e, const char* model, const Conditioning& condition) {
  const at::NoGradGuard no_grad;
  const Tensor t = expected().at(std::string(model) + ".t").to(at::kDouble) + 1;
  return e.teacher->predict(expected().at(std::string(model) + ".x"), t, condition);
}

double difference(const Tensor& a, const Tensor& b) { return most(a - b) / most(b); }

// Small grey pictures in ten folders, and a configuration that distils a teacher for them.
void write_job(const Folder& folder, const std::string& teacher) {
  for (int64_t label = 0; label < 10; ++label) {
    const fs::path place = folder / "pictures" / std::to_string(label);
    make_folder(place);
    for (int64_t i = 0; i < 4; ++i) {
      const Tensor picture = (normal({1, 8, 8}, static_cast<uint64_t>(label * 4 + i)) * 60 + 128).clamp(0, 255);
      write_text(place / (std::to_string(i) + ".png"), encode_png(picture.to(at::kByte)));
    }
  }
  write_text(folder / "job.toml", "[run]\noutput = \"" + (folder / "out").string() + R"("
[backend]
type = "cpu"
[dataset]
type = "image_folder"
folder = "pictures"
grey = true
size = 8
[teacher]
type = "diffusers"
)" + teacher + R"(
[student]
init = "teacher"
[solver]
type = "ddim"
[schedule]
type = "ddpm"
steps = 10
[loss]
type = "cm"
[train]
steps = 3
batch = 4
[evaluate]
samples = 8
student_steps = [1, 2]
metrics = ["sliced_wasserstein"]
)");
}

}  // namespace

TEST_CASE("the teacher predicts what diffusers' model says, with text and without") {
  const auto plain = teacher_of("tokens = 5\nfolder = \"" + fixture("text") + "\"");
  CHECK(plain->teacher->shape() == std::vector<int64_t>{4, 8, 8});
  CHECK(plain->teacher->parametrisation().predicts == Predicts::v);
  CHECK(plain->teacher->inputs().size() == 3);
  CHECK(plain->teacher->cost() == 1);
  const Tensor c = predict(*plain, "text", text_condition());
  CHECK(difference(c, expected().at("text.out")) < 1e-5);
  // Sizes and crops stay where the text is taken away.
  const auto zeros = teacher_of("tokens = 5\nguidance = 3.0\nfolder = \"" + fixture("text") + "\"");
  CHECK(zeros->teacher->cost() == 2);
  const Tensor u = expected().at("text.zeros");
  CHECK(difference(predict(*zeros, "text", text_condition()), u + 3 * (c - u)) < 1e-5);
  const auto empty = teacher_of("tokens = 5\nguidance = 0.0\nfolder = \"" + fixture("text") + "\"\nunconditional = \"" +
                                fixture("empty_prompt.safetensors") + "\"");
  CHECK(difference(predict(*empty, "text", text_condition()), expected().at("text.empty")) < 1e-5);
}

TEST_CASE("what an empty text is, is asked for where no pipeline says it") {
  const Tensor c = expected().at("text.out"), u = expected().at("text.zeros");
  const std::string alone = "tokens = 5\nfolder = \"" + fixture("text/unet") + "\"\n";
  CHECK(difference(predict(*teacher_of(alone), "text", text_condition()), c) < 1e-5);  // without guidance nobody asks
  const auto said = teacher_of(alone + "guidance = 3.0\nunconditional = \"zeros\"");
  CHECK(difference(predict(*said, "text", text_condition()), u + 3 * (c - u)) < 1e-5);
  const Folder folder;
  fs::copy(fixture("text"), folder / "model", fs::copy_options::recursive);
  const fs::path index = folder / "model/model_index.json";
  Json json = Json::parse(read_text(index));
  for (const Json& value : {Json(false), Json()}) {
    json["force_zeros_for_empty_prompt"] = value;
    write_text(index, spell(json));
    CHECK(
        contains(request_error([&] { teacher_of("guidance = 3.0\nfolder = \"" + (folder / "model").string() + "\""); }),
                 "teacher.unconditional: missing"));
  }
}

TEST_CASE("a model that takes the weight of guidance is told it, and asked once") {
  const std::string keys = "tokens = 4\nfolder = \"" + fixture("guided") + "\"\n";
  const Conditioning condition{{"prompt_embeds", expected().at("guided.prompt_embeds")}};
  const auto fixed = teacher_of(keys + "guidance = 7.5");
  CHECK(fixed->teacher->cost() == 1);
  CHECK(fixed->teacher->inputs().size() == 1);
  CHECK(fixed->teacher->shape() == std::vector<int64_t>{2, 8, 12});
  CHECK(difference(predict(*fixed, "guided", condition), expected().at("guided.out")) < 1e-5);
  const auto range = teacher_of(keys + "guidance_range = [1.0, 8.0]");
  const Conditioning rows = condition.with(inputs::guidance, at::full({2}, 7.5, at::kDouble));
  CHECK(difference(predict(*range, "guided", rows), expected().at("guided.out")) < 1e-5);
  CHECK(difference(predict(*teacher_of(keys), "guided", condition), expected().at("guided.out")) > 1e-3);
}

TEST_CASE("the last class may stand for none") {
  const auto e = teacher_of("guidance = 0.0\nunconditional = \"null_class\"\nfolder = \"" + fixture("pixel") + "\"");
  REQUIRE(e->teacher->inputs().size() == 1);
  CHECK(e->teacher->inputs()[0].classes == 9);
  const Tensor out = predict(*e, "pixel", {{inputs::labels, at::zeros({3}, at::kLong)}});
  CHECK(difference(out[2], expected().at("pixel.out")[2]) < 1e-5);  // of which the label was 9
}

TEST_CASE("flows count their times to 1000 there, and models of the score say -eps / sigma") {
  const Folder folder;
  const Tensor out = expected().at("pixel.out").narrow(0, 1, 2), x = expected().at("pixel.x").narrow(0, 1, 2);
  const Tensor t = expected().at("pixel.t").narrow(0, 1, 2).to(at::kDouble);
  const Conditioning condition{{inputs::labels, expected().at("pixel.labels").narrow(0, 1, 2)}};
  const at::NoGradGuard no_grad;
  const auto teacher = [&](const char* scheduler) {
    write_text(folder / "scheduler_config.json", scheduler);
    return teacher_of("scheduler = \"" + folder.string() + "\"\nfolder = \"" + fixture("pixel") + "\"");
  };
  const auto flow = teacher(R"({"_class_name": "FlowMatchEulerDiscreteScheduler"})");
  CHECK(flow->teacher->parametrisation().predicts == Predicts::flow);
  CHECK(difference(flow->teacher->predict(x, t / 1000, condition), out) < 1e-5);
  const auto score = teacher(R"({"_class_name": "ScoreSdeVeScheduler"})");
  CHECK(difference(score->teacher->predict(x, t, condition), -t.to(at::kFloat).view({2, 1, 1, 1}) * out) < 1e-5);
}

TEST_CASE("shards, a variant, another size and a merged adapter") {
  const auto e = teacher_of("variant = \"fp16\"\nsize = [8, 12]\nfolder = \"" + fixture("sharded") + "\"");
  CHECK(e->teacher->parametrisation().predicts == Predicts::data);
  CHECK(difference(predict(*e, "sharded", {}), expected().at("sharded.out")) < 1e-5);
  const std::string text = "tokens = 5\nfolder = \"" + fixture("text") + "\"\n";
  const auto with = teacher_of(text + "lora = \"" + fixture("lora/peft") + "\"");
  CHECK(difference(predict(*with, "text", text_condition()), expected().at("text.out")) > 1e-3);
  const auto without = teacher_of(text + "lora_scale = 0.0\nlora = \"" + fixture("lora/peft") + "\"");
  CHECK(difference(predict(*without, "text", text_condition()), expected().at("text.out")) < 1e-5);
  // What a teacher is counts in the fingerprint: its folder's content, and its adapter's.
  CHECK(with->teacher_checkpoint() != without->teacher_checkpoint());
  CHECK(with->fingerprint(Decides::solves) != without->fingerprint(Decides::solves));
}

TEST_CASE("a fingerprint knows the scheduler beside the model's own folder") {
  const Folder folder;
  fs::copy(fixture("pixel"), folder / "model", fs::copy_options::recursive);
  const std::string keys = "folder = \"" + (folder / "model/unet").string() + "\"";
  const std::string before = teacher_of(keys)->fingerprint(Decides::solves);
  CHECK(teacher_of(keys)->fingerprint(Decides::solves) == before);
  const fs::path scheduler = folder / "model/scheduler/scheduler_config.json";
  Json json = Json::parse(read_text(scheduler));
  json["beta_schedule"] = "linear";
  write_text(scheduler, spell(json));
  CHECK(teacher_of(keys)->fingerprint(Decides::solves) != before);
}

TEST_CASE("a folder's description says what it is") {
  const std::string text = describe_checkpoint(fixture("text") + "?tokens=5", registry());
  for (const char* part : {"class: UNet2DConditionModel", "network: unet_2d_condition", "samples: 4 x 8 x 8",
                           "is given: prompt_embeds 5 x 12, pooled_prompt_embeds 6, time_ids 6", "predicts: v",
                           "sees: discrete", "rescale_betas_zero_snr = true", "Float"}) {
    CHECK(contains(text, part));
  }
}

TEST_CASE("keys of the teacher that cannot be are one line") {
  const std::string pixel = "folder = \"" + fixture("pixel") + "\"\n";
  const std::pair<std::string, const char*> cases[] = {
      {"", "teacher.folder: missing"},
      {"folder = \"nowhere\"", "nowhere: no such folder"},
      {pixel + "size = [8]", "teacher.size: has 1 numbers"},
      {pixel + "unconditional = \"none.safetensors\"", "none.safetensors: no such file"},
      {pixel + "unconditional = \"" + fixture("empty_prompt.safetensors") + "\"", "is conditioned on no text"},
      {"tokens = 6\nfolder = \"" + fixture("text") + "\"\nunconditional = \"" + fixture("empty_prompt.safetensors") +
           "\"",
       "is of shape [1,5,12]; expected [6,12]"},
      {"folder = \"" + fixture("text") + "\"\nunconditional = \"null_class\"", "needs a model with classes"},
      {"guidance = 2.0\nfolder = \"" + fixture("text/unet") + "\"",
       "teacher.unconditional: missing, and no model_index.json says force_zeros_for_empty_prompt"},
      {"guidance = 0.0\nfolder = \"" + fixture("text/unet") + "\"", "teacher.unconditional: missing"},
      {"guidance_range = [1.0, 3.0]\nfolder = \"" + fixture("text/unet") + "\"", "teacher.unconditional: missing"},
      {"variant = \"fp16\"\nsize = [8, 12]\nguidance = 2.0\nfolder = \"" + fixture("sharded") + "\"",
       "needs a conditional teacher"},
      {pixel + "lora = \"" + fixture("lora/kohya.safetensors") + "\"", "has no place in the model"}};
  for (const auto& [keys, part] : cases) {
    CAPTURE(keys);
    CHECK(contains(request_error([&] { teacher_of(keys); }), part));
  }
}

TEST_CASE("a folder is distilled by a few lines of TOML, from its own weights on") {
  const Folder folder;
  write_job(folder, "folder = \"" + fixture("pixel") + "\"");
  const std::string job = "'" + (folder / "job.toml").string() + "'";
  const Outcome out = run_retort("run " + job);
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  const fs::path student = folder / "out/checkpoints/step_000003.safetensors";
  const auto before = read_safetensors(fixture("pixel/unet/diffusion_pytorch_model.safetensors")).tensors;
  const auto after = read_safetensors(student).tensors;
  REQUIRE(after.size() == before.size());
  double moved = 0;
  for (const auto& [name, tensor] : before) {
    moved = std::max(moved, most(after.at(name) - tensor));
  }
  CHECK(moved > 0);
  CHECK(moved < 0.1);
  // Its checkpoint needs the folder no more; the teacher is sampled too.
  for (const std::string& what : {std::string("--steps 0"), "--steps 2 --checkpoint '" + student.string() + "'"}) {
    const Outcome sampled =
        run_retort("sample " + job + " " + what + " --count 3 --out '" + (folder / "x.csv").string() + "'");
    CAPTURE(sampled.output);
    CHECK(sampled.code == 0);
  }
}

TEST_CASE("a folder's student as an adapter, merged again where its folder is") {
  const Folder folder;
  write_job(folder, "folder = \"" + fixture("pixel") + "\"");
  const std::string job = "'" + (folder / "job.toml").string() + "' student.adapter=lora student.rank=2";
  const Outcome out = run_retort("train " + job);
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  std::string places[2];
  for (const auto& [i, name] :
       {std::pair(0, "step_000003.safetensors"), std::pair(1, "step_000003.adapter.safetensors")}) {
    places[i] = (folder / (std::string(name) + ".csv")).string();
    const Outcome sampled = run_retort("sample " + job + " --steps 1 --count 3 --checkpoint '" +
                                       (folder / "out/checkpoints" / name).string() + "' --out '" + places[i] + "'");
    CAPTURE(sampled.output);
    REQUIRE(sampled.code == 0);
  }
  CHECK(most(read_samples(places[0], {1, 8, 8}) - read_samples(places[1], {1, 8, 8})) < 1e-5);
  // Its weight at sampling: none of it is the student before it learned, all of it is what was trained.
  const auto sampled = [&](const std::string& weight) {
    const std::string file = (folder / "scaled.csv").string();
    const Outcome sample =
        run_retort("sample " + job + weight + " --count 3 --checkpoint '" +
                   (folder / "out/checkpoints/step_000003.safetensors").string() + "' --out '" + file + "'");
    CAPTURE(sample.output);
    REQUIRE(sample.code == 0);
    return read_samples(file, {1, 8, 8});
  };
  const Tensor trained = sampled(""), none = sampled(" student.adapter_scale=0"),
               half = sampled(" student.adapter_scale=0.5");
  CHECK(most(sampled(" student.adapter_scale=1.0") - trained) == 0);
  CHECK(most(none - trained) > 0);
  CHECK(most(half - trained) > 0);
  CHECK(most(half - none) < most(trained - none));
  CHECK(one_line(run_retort("sample '" + (folder / "job.toml").string() + "' student.adapter_scale=0.5 --out '" +
                            (folder / "x.csv").string() + "' --steps 0"),
                 2, {"adapter_scale", "lora"}));
}

TEST_CASE("a student beside weights as stored, computed again block by block, learns what a merged one does") {
  const Folder folder;
  write_job(folder, "folder = \"" + fixture("pixel") + "\"");
  const std::string job = "'" + (folder / "job.toml").string() + "' student.adapter=lora student.rank=2 run.output='";
  const std::string small = "' student.merged=false backend.weights=stored train.gradient_checkpointing=true";
  const auto sampled = [&](const std::string& name, const std::string& more) {
    const Outcome out = run_retort("run " + job + (folder / name).string() + more);
    CAPTURE(out.output);
    REQUIRE(out.code == 0);
    const fs::path csv = folder / (name + ".csv");
    const Outcome sample =
        run_retort("sample " + job + (folder / name).string() + more + " --count 3 --checkpoint '" +
                   (folder / name / "checkpoints/step_000003.safetensors").string() + "' --out '" + csv.string() + "'");
    CAPTURE(sample.output);
    REQUIRE(sample.code == 0);
    return read_samples(csv.string(), {1, 8, 8});
  };
  const Tensor merged = sampled("merged", "'"), beside = sampled("beside", small);
  CHECK(most(merged - beside) < 1e-4 * most(merged));
  // The checkpoint is the change alone, and a killed training goes on from its state.
  const auto size = [&](const char* name) {
    return fs::file_size(folder / name / "checkpoints/step_000003.safetensors");
  };
  CHECK(2 * size("beside") < size("merged"));
  CHECK(most(sampled("again", small) - beside) == 0);
  const Outcome shorter = run_retort("train " + job + (folder / "resumed").string() + small + " train.steps=3" +
                                     " train.save_every=1e-9 train.lr_schedule=constant");
  REQUIRE(shorter.code == 0);
  CHECK(most(sampled("resumed", small) - beside) == 0);
}

TEST_CASE("what a change beside the weights and blocks computed again cannot be is said in a line") {
  const Folder folder;
  write_job(folder, "folder = \"" + fixture("pixel") + "\"");
  const std::string job = "train '" + (folder / "job.toml").string() + "' ";
  CHECK(one_line(run_retort(job + "student.merged=false"), 2, {"student.merged", "lora"}));
  CHECK(contains(run_retort(job + "student.init=random network.type=unet train.gradient_checkpointing=true").output,
                 "train.gradient_checkpointing: is true"));
}

#if !defined(__SANITIZE_ADDRESS__)  // which takes the signal itself
TEST_CASE("a mapped file that shrinks while it is in use ends the run with a line") {
  const Folder folder;
  fs::copy(fixture("pixel"), folder / "model", fs::copy_options::recursive);
  write_job(folder, "folder = \"model\"");
  const std::string weights = (folder / "model/unet/diffusion_pytorch_model.safetensors").string();
  const std::string command = "'" + program() + "' sample '" + (folder / "job.toml").string() +
                              "' --steps 0 --count 1000000 --out '" + (folder / "x.csv").string() + "'";
  const Outcome out =
      shell("export OMP_NUM_THREADS=2; " + command + " & p=$!; for i in $(seq 600); do grep -qs '" + weights +
            "' /proc/$p/maps && break; sleep 0.1; done; sleep 0.5; : > '" + weights + "'; wait $p");
  CAPTURE(out.output);
  CHECK(out.code == 1);
  CHECK(contains(out.output, "error: " + weights + ": became shorter while it was in use"));
  CHECK(std::count(out.output.begin(), out.output.end(), '\n') == 1);
}
#endif
