#include "sample/sampler.h"

#include <ATen/ATen.h>

#include <optional>

#include "cli/commands.h"
#include "io/files.h"
#include "io/png.h"
#include "io/safetensors.h"
#include "log.h"
#include "run/cell_run.h"
#include "run/run.h"

namespace retort {

namespace {

struct SampleRequest {
  RunRequest run;
  std::string checkpoint, out, picture;
  int64_t count = 64;
  int64_t steps = 1;
  int64_t seed = 0;
  std::optional<double> guidance;
  bool decode = false;
};

void check_guidance(const SampleRequest& request, const Experiment& experiment) {
  if (!request.guidance) {
    return;
  }
  const auto range = experiment.teacher ? experiment.teacher->guidance() : std::nullopt;
  if (!range) {
    throw RequestError("--guidance: this model has one weight, teacher.guidance; expected a teacher.guidance_range");
  }
  if (*request.guidance < range->first || *request.guidance > range->second) {
    throw RequestError("--guidance: is " + Value{*request.guidance, {}}.text() + "; expected a weight from " +
                       Value{range->first, {}}.text() + " to " + Value{range->second, {}}.text());
  }
}

Tensor sample(const SampleRequest& request, Experiment& experiment) {
  const Tensor grid = experiment.schedule->times(experiment.process(), 1.0);
  check_guidance(request, experiment);
  const Batch start = starting_noise(experiment, grid, request.count, request.seed,
                                     request.guidance.value_or(middle_guidance(experiment)));
  const int64_t batch = experiment.evaluate->batch;
  if (request.steps == 0) {
    return sample_teacher(Ode(*experiment.teacher), *experiment.solver, grid, start, batch, request.seed);
  }
  const Checkpoint checkpoint = experiment.checkpoint(request.checkpoint);
  experiment.check_model(checkpoint, request.checkpoint);
  const Model model =
      experiment.model(experiment.backend().compile(experiment.network(checkpoint, request.checkpoint)));
  if (experiment.loss && experiment.loss->makes() == Makes::denoiser) {
    const ModelTeacher teacher(model, experiment.spec());
    return sample_teacher(Ode(teacher), *experiment.solver, grid, start, batch, request.seed);
  }
  const Tensor times = sampler_times(grid, request.steps, experiment.evaluate->student_times);
  return sample_student(model, times, start, batch, request.seed, experiment.evaluate->gamma);
}

void sample_command(const SampleRequest& request, const Registry& registry) {
  const Value config = expand(load_config(request.run))[0].config;
  Experiment experiment(config, "sample", registry, Parts::all,
                        model_maker(registry, Store(shared_folder(config, request.run)), Models::find));
  if (!experiment.schedule || !experiment.solver) {
    throw RequestError(request.run.config + ": [schedule] and [solver] are needed to sample");
  }
  if (request.steps == 0 && !experiment.teacher) {
    throw RequestError(request.run.config + ": [teacher] is missing; --steps 0 samples the teacher");
  }
  if (request.steps > 0 && request.checkpoint.empty()) {
    throw RequestError(
        "--checkpoint is missing; a run keeps its students in checkpoints/ (--steps 0 samples the teacher)");
  }
  if (request.decode && !experiment.autoencoder) {
    throw RequestError("--decode: these samples are no latents; expected an [autoencoder] that decodes them");
  }
  const Tensor x = sample(request, experiment);
  write_samples(request.out, request.decode ? experiment.pictures(x) : x);
  if (!request.picture.empty()) {
    const Tensor pictures = experiment.shown(x);
    if (!pictures.defined()) {
      throw RequestError("--picture: these samples are no pictures");
    }
    write_text(request.picture, encode_png(picture_grid(pictures, 16)));
  }
  log::info(std::to_string(x.size(0)) + " samples are in " + request.out +
            (!experiment.autoencoder ? ""
             : request.decode        ? ", decoded, in about [-1, 1]"
                                     : ", as latents; --decode gives pictures"));
}

}  // namespace

void add_sample(CLI::App& app, Shared& shared) {
  auto request = std::make_shared<SampleRequest>();
  CLI::App* command = app.add_subcommand("sample", "samples of a trained student, or of the teacher");
  command->add_option("CONFIG", request->run.config, "the configuration that it was trained with")->required();
  command->add_option("OVERRIDES", request->run.overrides, "key=value");
  command->add_option("--checkpoint", request->checkpoint,
                      "weights, such as runs/NAME/checkpoints/step_001500.safetensors");
  command->add_option("--out", request->out, "CSV or .safetensors")->required();
  command->add_option("--picture", request->picture, "also a PNG grid, for data sets of pictures");
  command->add_option("--count", request->count, "how many")->check(CLI::PositiveNumber)->capture_default_str();
  command->add_option("--steps", request->steps, "steps of the student's sampler; 0: the teacher's ODE")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--seed", request->seed, "of the noise")->check(CLI::NonNegativeNumber)->capture_default_str();
  command->add_flag("--decode", request->decode, "with an [autoencoder]: write what it decodes, in place of latents");
  command->add_option("--guidance", request->guidance,
                      "weight w, for models with a range of them; by default its middle");
  command->callback([request, &shared] { sample_command(*request, shared.registry()); });
}

}  // namespace retort
