// An autoencoder between pictures and states: metrics see pictures, models see latents.
#include "encode/latent_data.h"

#include <chrono>
#include <filesystem>
#include <map>

#include "evaluate/evaluator.h"
#include "io/files.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "sample/conditions.h"
#include "sample/draws.h"
#include "sample/sampler.h"
#include "support/evaluation.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace {

const Registry& with_folded() {
  static const Registry all({test_plugin_dir(), plugin_dir()});
  return all;
}

const std::string folded = "[autoencoder]\ntype = \"folded\"\n";
const std::string centred = "[dataset]\ntype = \"fashion_mnist\"\nmean = 0.5\nstd = 0.5\n";
const std::string small_network =
    "[network]\ntype = \"unet\"\nwidths = [8]\nattention = []\ngroups = 4\nembedding = 8\n[student]\nparametrisation = "
    "\"edm\"\n";
const std::string solving =
    "[process]\ntype = \"ve\"\n[solver]\ntype = \"heun\"\n[schedule]\ntype = \"karras\"\nsteps = 4\n";

const std::string classifier = source_dir() + "/configs/weights/fashion_mnist_classifier.safetensors";

std::unique_ptr<Experiment> experiment(const std::string& toml) {
  return std::make_unique<Experiment>(parse_toml("[backend]\ntype = \"cpu\"\n" + toml, "test.toml"), "test",
                                      with_folded());
}

// A teacher of latents [4, 14, 14], trained for a step.
std::string latent_teacher(const Folder& folder) {
  write_text(folder / "teacher.toml", "[backend]\ntype = \"cpu\"\n" + centred + folded + solving + small_network +
                                          "[loss]\ntype = \"denoising\"\n[train]\nsteps = 1\nbatch = 8\n");
  const Outcome out = run_retort("--plugin-dir '" + test_plugin_dir() + "' train " +
                                 (folder / "teacher.toml").string() + " run.output=" + folder.string() + "/t");
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  return "[teacher]\ntype = \"network\"\ncheckpoint = \"" + folder.string() +
         "/t/checkpoints/step_000001.safetensors\"\n";
}

Tensor unfolded(const Tensor& z) { return at::pixel_shuffle(z / 0.5, 2); }

Values values_of(const EvaluationResult& result) {
  return {result.measurement.values.begin(), result.measurement.values.end()};
}

// Latents of some pictures of Fashion-MNIST, for both splits.
void write_latents(const Folder& folder, const Experiment& pictures, int64_t count) {
  for (const Split split : {Split::train, Split::test}) {
    const Batch batch = pictures.dataset->batch(split, at::arange(count, at::kLong));
    TensorFile file;
    file.tensors["latents"] = batch.x;
    file.tensors["labels"] = batch.condition[inputs::labels];
    write_safetensors(folder / (split == Split::train ? "train.safetensors" : "test.safetensors"), file);
  }
}

std::string latents_in(const Folder& folder) {
  return "[dataset]\ntype = \"latents\"\nfolder = \"" + folder.string() + "/train.safetensors\"\ntest_folder = \"" +
         folder.string() + "/test.safetensors\"\nclasses = 10\n";
}

}  // namespace

TEST_CASE("pictures are encoded, latents are taken as they are, and both are shown as pictures") {
  Folder folder;
  const auto plain = experiment(centred), encoded = experiment(centred + folded);
  CHECK(plain->spec().shape == std::vector<int64_t>{1, 28, 28});
  CHECK(encoded->spec().shape == std::vector<int64_t>{4, 14, 14});
  CHECK(encoded->picture_shape() == plain->spec().shape);
  const Tensor index = at::tensor({5, 3, 5}, at::kLong);
  const Batch pictures = plain->dataset->batch(Split::train, index),
              latents = encoded->dataset->batch(Split::train, index);
  CHECK(at::equal(latents.x, at::pixel_unshuffle(pictures.x, 2) * 0.5));
  CHECK(at::equal(latents.condition[inputs::labels], pictures.condition[inputs::labels]));
  CHECK(at::equal(encoded->shown(latents.x), plain->shown(pictures.x)));
  CHECK(at::equal(encoded->pictures(latents.x), pictures.x));
  CHECK(&encoded->latents->data() == encoded->picture_data());

  write_latents(folder, *encoded, 12);
  const auto given = experiment(latents_in(folder) + folded);
  CHECK_FALSE(given->latents->encodes());
  CHECK(given->spec().shape == encoded->spec().shape);
  CHECK(at::equal(given->dataset->batch(Split::train, index).x, latents.x));
  CHECK(at::allclose(given->shown(latents.x), plain->shown(pictures.x), 0, 1e-6));
}

TEST_CASE("an autoencoder that fits neither data nor teacher is one line") {
  Folder folder;
  const auto refused = [](const std::string& toml) { return request_error([&] { experiment(toml); }); };
  CHECK(contains(refused("[dataset]\ntype = \"fashion_mnist\"\npad = 1\nmean = 0.5\nstd = 0.5\n" + folded + solving +
                         latent_teacher(folder)),
                 "teacher: is for samples of 4 x 14 x 14, but the data set has 1 x 30 x 30, encoded to 4 x 15 x 15"));
  CHECK(
      contains(refused("[dataset]\ntype = \"rings\"\n" + folded),
               "autoencoder: takes the data set's samples of 2 neither for pictures (pictures have 1 or 3 channels and "
               "even sides) nor for latents (latents have 4 or 12 channels)"));
  CHECK(contains(refused("[dataset]\ntype = \"fashion_mnist\"\n" + folded), "from black to white"));
  CHECK(contains(refused("[teacher]\ntype = \"gaussian_mixture\"\n" + folded),
                 "cannot decode states of 1: latents have 4 or 12 channels"));
}

TEST_CASE("what an autoencoder decides: the training where it encodes, the evaluation always") {
  Folder folder;
  const auto encoded = experiment(centred + folded), other = experiment(centred + folded + "factor = 0.25\n");
  CHECK(encoded->training_fingerprint() != other->training_fingerprint());
  CHECK(encoded->teacher_key() != other->teacher_key());
  write_latents(folder, *encoded, 12);
  const auto given = experiment(latents_in(folder) + folded);
  const auto decoded = experiment(latents_in(folder) + folded + "factor = 0.25\n");
  CHECK(given->training_fingerprint() == decoded->training_fingerprint());
  CHECK(given->training_fingerprint() == experiment(latents_in(folder))->training_fingerprint());
  CHECK(given->fingerprint() != decoded->fingerprint());
  CHECK(given->teacher_key() != decoded->teacher_key());
}

TEST_CASE("latents go with the weights that made them: with others a training is one line") {
  Folder folder;
  write_latents(folder, *experiment(centred + folded), 12);
  std::string names;
  CHECK(experiment(centred + folded)->autoencoder_files(names).empty());
  CHECK(names.empty());
  const std::string other = folded + "[encode]\nmade_by = \"123\"\n";
  const std::string line = request_error([&] { experiment(latents_in(folder) + other); });
  CHECK(contains(line, "encode.made_by: says that the latents were encoded with other weights"));
  CHECK(contains(line, "`retort encode` makes anew"));
  experiment(centred + other);  // pictures are encoded by what is there
  experiment(latents_in(folder) + folded + "[encode]\nmade_by = \"\"\n");
}

TEST_CASE("conditions of samples are the data's, and no picture is encoded for them") {
  const std::string captions =
      "[dataset]\ntype = \"captions\"\ndataset = { type = \"fashion_mnist\", mean = 0.5, std = 0.5 }\n";
  const auto e = experiment(captions + folded + "wait = 30000\n");
  REQUIRE(e->latents->encodes());
  const auto began = std::chrono::steady_clock::now();
  const Conditioning made = sample_conditions(*e, 300, 0, 1);
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(30));  // what encoding once would take
  const Batch data = e->picture_data()->batch(Split::test, at::arange(300, at::kLong));
  CHECK(at::equal(made["prompt_embeds"], data.condition["prompt_embeds"]));
}

TEST_CASE("metrics of samples are those of their pictures, decoded by hand; errors of the ODE are of latents") {
  Folder folder;
  const std::string rest = folded + solving + latent_teacher(folder) +
                           "[student]\ninit = \"teacher\"\n[loss]\ntype = \"cm\"\n[train]\nsteps = 1\nbatch = 4\n"
                           "[evaluate]\nfeatures = \"" +
                           classifier +
                           "\"\nsamples = 20\nreference_samples = 30\nbatch = 8\nstudent_steps = [1, 2]\n"
                           "metrics = [\"fd\", \"sliced_wasserstein\", \"ode_error\", \"per_class\", \"authenticity\", "
                           "\"nll\", \"boundary_error\"]\n[metric.authenticity]\ntraining_samples = 50\n"
                           "[metric.per_class]\ndata = 60\n[metric.nll]\nsamples = 2\ndata = false\ntolerance = 0.1\n"
                           "[metric.ode_error]\nexact_samples = 3\nnoise_levels = 1\nnoise_level_samples = 4\n"
                           "[metric.ode_error.reference]\ntype = \"heun\"\n";
  write_latents(folder, *experiment(centred + folded), 40);
  for (const std::string& data : {centred, latents_in(folder)}) {
    CAPTURE(data);
    const auto e = experiment(data + rest);
    const auto network = e->new_network();
    const Model model = e->model(e->backend().compile(network));
    SharedTensors shared;
    ModelEvaluator evaluator(*e, e->teacher.get(), shared, "");
    const Tensor grid = e->schedule->times(e->process(), 1.0);
    const Batch start = starting_noise(*e, grid, 20, 0);
    const Tensor ends = sample_teacher(Ode(*e->teacher), *e->solver, grid, start, 8, 0);
    const Tensor rows = drawn_rows(*e->dataset, 30, 0);
    const Tensor real = data == centred ? e->picture_data()->batch(Split::test, rows).x
                                        : unfolded(e->dataset->batch(Split::test, rows).x);
    const auto features = [&](const Tensor& x) {
      const at::NoGradGuard no_grad;
      return e->feature_network->features(x);
    };
    for (const int64_t steps : {1, 2}) {
      CAPTURE(steps);
      const Tensor states = sample_student(model, sampler_times(grid, steps), start, 8, 0);
      const EvaluationResult result = evaluator.measure({&model, steps});
      CHECK(at::equal(result.samples, states));
      Values found = values_of(result);
      CHECK(found.at("fd") ==
            doctest::Approx(measure("fd", features(unfolded(states)), features(real), "teacher = false").at("fd")));
      CHECK(found.at("fd_teacher") ==
            doctest::Approx(
                measure("fd", features(unfolded(states)), features(unfolded(ends)), "teacher = false").at("fd")));
      CHECK(found.at("sliced_wasserstein") ==
            doctest::Approx(measure("sliced_wasserstein", unfolded(states), real).at("sliced_wasserstein")));
      CHECK(found.at("ode_error") == doctest::Approx((states - ends).to(at::kDouble).square().mean().item<double>()));
      CHECK(std::isfinite(found.at("nll")));
      if (data == centred) {
        CHECK(found.contains("class_share_error"));
      }
      CHECK(found.contains("authenticity"));
    }
    const Values of_teacher = values_of(evaluator.measure({}));
    CHECK(of_teacher.at("fd") ==
          doctest::Approx(measure("fd", features(unfolded(ends)), features(real), "teacher = false").at("fd")));
  }
}

TEST_CASE("with the teacher for a reference its ends are decoded too, and features are of pictures") {
  Folder folder;
  const std::string teacher = latent_teacher(folder);
  const auto e = experiment(centred + folded + solving + teacher +
                            "[student]\ninit = \"teacher\"\n[loss]\ntype = \"cm\"\n[train]\nsteps = 1\nbatch = 4\n"
                            "[evaluate]\nsamples = 12\nbatch = 5\nreference = \"teacher\"\nmetrics = [\"fd\", "
                            "\"sliced_wasserstein\"]\nfeatures = \"" +
                            source_dir() + "/configs/weights/fashion_mnist_classifier.safetensors\"\n");
  SharedTensors shared;
  ModelEvaluator evaluator(*e, e->teacher.get(), shared, "");
  const Values own = values_of(evaluator.measure({}));
  CHECK(own.at("fd") == doctest::Approx(0).epsilon(1e-3));
  CHECK(own.at("sliced_wasserstein") == 0);
  const Model model = e->model(e->backend().compile(e->new_network()));
  CHECK(values_of(evaluator.measure({&model, 1})).at("fd") > 1e-3);
}

TEST_CASE("a run with the autoencoder `identity` is the run without one, to the bit") {
  Folder folder;
  const std::string pictures = folder.string() + "/pictures.toml";
  write_text(pictures, "[backend]\ntype = \"cpu\"\n[dataset]\ntype = \"fashion_mnist\"\n" + solving + small_network +
                           "[loss]\ntype = \"denoising\"\n[train]\nsteps = 3\nbatch = 4\n[evaluate]\nsamples = 20\n"
                           "reference_samples = 100\nmetrics = [\"fd\", \"sliced_wasserstein\", \"per_class\", "
                           "\"authenticity\"]\nfeatures = \"" +
                           source_dir() +
                           "/configs/weights/fashion_mnist_classifier.safetensors\"\n[metric.per_class]\ndata = 100\n"
                           "[metric.authenticity]\ntraining_samples = 60\n");
  const std::map<std::string, std::string> configs = {
      {"pictures", "run " + pictures},
      {"points", "run " + mixture_config + small + " sweep={} loss.type=cm backend.type=cpu"}};
  for (const auto& [name, command] : configs) {
    CAPTURE(name);
    for (const char* end : {"", " autoencoder.type=identity"}) {
      const Outcome out =
          run_retort(command + end + " run.output=" + (folder / (name + (*end != 0 ? "1" : "0"))).string());
      CAPTURE(out.output);
      REQUIRE(out.code == 0);
    }
    const auto read = [&](const char* which, const std::string& file) { return folder / (name + which) / file; };
    const Json without = Json::parse(read_text(read("0", "results.json"))),
               with = Json::parse(read_text(read("1", "results.json")));
    REQUIRE(without["progress"].size() == with["progress"].size());
    CHECK((without["teacher"] == with["teacher"]));
    for (size_t i = 0; i < with["progress"].size(); ++i) {
      CHECK((without["progress"][i]["metrics"] == with["progress"][i]["metrics"]));
      CHECK((without["progress"][i]["series"] == with["progress"][i]["series"]));
    }
    size_t samples = 0;
    for (const auto& entry : std::filesystem::directory_iterator(read("0", "samples"))) {
      CHECK(read_text(entry.path()) == read_text(read("1", "samples") / entry.path().filename()));
      ++samples;
    }
    CHECK(samples > 1);
    const std::string last =
        name == "points" ? "checkpoints/step_000020.safetensors" : "checkpoints/step_000003.safetensors";
    const TensorFile one = read_safetensors(read("0", last)), other = read_safetensors(read("1", last));
    for (const auto& [weight, values] : one.tensors) {
      CHECK(at::equal(values, other.tensors.at(weight)));
    }
  }
}

TEST_CASE("`retort sample` writes latents or what is decoded of them, and shows pictures") {
  Folder folder;
  const std::string config = folder.string() + "/teacher.toml";
  latent_teacher(folder);
  const std::string command = "--plugin-dir '" + test_plugin_dir() + "' sample " + config + " --count 3 --checkpoint " +
                              folder.string() + "/t/checkpoints/step_000001.safetensors --out " + folder.string();
  const Outcome latents = run_retort(command + "/z.safetensors --picture " + folder.string() + "/x.png");
  CAPTURE(latents.output);
  REQUIRE(latents.code == 0);
  CHECK(contains(latents.output, "as latents; --decode gives pictures"));
  CHECK(std::filesystem::exists(folder / "x.png"));
  REQUIRE(run_retort(command + "/x.safetensors --decode").code == 0);
  const Tensor z = read_safetensors(folder / "z.safetensors").tensors.at("x");
  CHECK(z.sizes() == at::IntArrayRef({3, 4, 14, 14}));
  CHECK(at::equal(read_safetensors(folder / "x.safetensors").tensors.at("x"), unfolded(z)));
  CHECK(one_line(run_retort("sample " + mixture_config + " --steps 0 --decode --out " + folder.string() + "/a.csv"), 2,
                 {"--decode: these samples are no latents"}));
}
