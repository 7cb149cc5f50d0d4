#include "config/settings.h"

#include <algorithm>
#include <cmath>

#include "config/layers.h"

namespace retort {

RunSettings::RunSettings(Params& p, const std::string& default_name)
    : name(p.get("name", default_name.c_str(), "title of the run, and of its folder")),
      seed(p.get("seed", 0, "of initial weights, data order and noise", at_least(0))),
      output(
          p.get("output", "", "folder for results; empty: runs/NAME, with the overrides of the command line appended")),
      cache(
          p.get("cache", "",
                "folder for what runs share by content: models, the teacher's samples, features, solves; empty: cache "
                "within run.output, or runs/cache. It may be deleted at any time")) {
  if (!p.is_describing() &&
      (name.empty() || name.find('/') != std::string::npos || name == "." || name == ".." || !is_utf8(name))) {
    throw p.error("name", "'" + name + "' is no folder name; expected a word or two in UTF-8 without '/'");
  }
}

PluginSettings::PluginSettings(Params& p)
    : prefer(p.path("prefer", "",
                    "file or folder whose plugins win over others of the same kind and name; empty: two of one name "
                    "are an error")) {}

StudentSettings::StudentSettings(Params& p)
    : from_teacher(
          p.choice("init", "random", {"random", "teacher"},
                   "where the trained network's weights begin; \"teacher\" also takes over its architecture and "
                   "parametrisation") == "teacher"),
      low_rank(
          p.choice("adapter", "none", {"none", "lora"},
                   "\"lora\": only low-rank changes of the teacher's weights are trained, W = W0 + (alpha / rank) B A "
                   "(Hu et al. 2022); needs init = \"teacher\"") == "lora"),
      merged(p.get("merged", true,
                   "adapter = \"lora\": the network holds the changed weights, and checkpoints too; false: the change "
                   "stands beside weights that stay as they are, in memory and in checkpoints, which large models of "
                   "diffusers need")),
      rank(p.get("rank", 64, "adapter = \"lora\": columns of B and rows of A", at_least(1))),
      alpha(p.get("alpha", 0.0, "adapter = \"lora\": the change's weight, times rank; 0: as rank", at_least(0))),
      adapter_scale(p.get("adapter_scale", 1.0,
                          "adapter = \"lora\": how much of the trained change is sampled and measured; 1: as trained")),
      layers(p.get("layers", std::vector<std::string>{"*"},
                   "adapter = \"lora\": patterns of the weights' names, such as \"*.qkv.*\"; only matrices and "
                   "convolutions count")),
      base(p.path("base", "",
                  "checkpoint that an adapter's file changes, where it is no longer at the place that the file names; "
                  "empty: there, or teacher.checkpoint")) {
  if (low_rank && !from_teacher) {
    throw p.error("adapter", "\"lora\" changes a teacher's weights; expected init = \"teacher\" with it");
  }
  if (!low_rank && !merged) {
    throw p.error("merged", "is false, and nothing stands beside the weights; expected adapter = \"lora\" with it");
  }
  if (!low_rank && adapter_scale != 1) {
    throw p.error("adapter_scale", "weighs a trained adapter; expected adapter = \"lora\" with it");
  }
}

namespace {
std::vector<double> read_lengths(Params& p, std::string_view doc) {
  const Range range{.low = 0, .high = longest_average, .low_open = true};
  std::vector<double> out = p.get("ema_lengths", std::vector<double>{}, doc, range), sorted = out;
  std::sort(sorted.begin(), sorted.end());
  if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end()) {
    throw p.error("ema_lengths", "names " + Value{*twice, {}}.text() + " twice; expected each length once");
  }
  return out;
}
}  // namespace

TrainSettings::TrainSettings(Params& p)
    : steps(p.get("steps", 1000, "optimizer steps; fewer where evaluations or seconds run out before", at_least(1))),
      evaluations(p.get("evaluations", 0,
                        "teacher evaluations after which training ends, one for each row that the teacher is asked "
                        "for; 0: steps alone count",
                        at_least(0))),
      seconds(p.get("seconds", 0.0,
                    "seconds after which training ends, evaluations and saving not counted; 0: steps alone count. No "
                    "two runs take equally many steps then",
                    at_least(0))),
      batch(p.get("batch", 64, "samples per step and accumulation", at_least(1))),
      gradient_accumulation(
          p.get("gradient_accumulation", 1, "batches whose gradients are averaged before a step", at_least(1))),
      gradient_checkpointing(p.get("gradient_checkpointing", false,
                                   "blocks of the network keep only what they are given, and are computed again in the "
                                   "backward pass: less memory, more time, the same gradients")),
      optimizer(p.choice("optimizer", "adam", {"adam", "adamw", "radam", "sgd"}, "")),
      learning_rate(p.get("learning_rate", 1e-4, "greatest rate of the schedule", more_than(0))),
      weight_decay(p.get("weight_decay", 0.0, "decoupled for adamw and radam, L2 for adam and sgd", at_least(0))),
      beta1(p.get("beta1", 0.9, "decay of the first moment", {.low = 0, .high = 1, .high_open = true})),
      beta2(p.get("beta2", 0.999, "decay of the second moment", {.low = 0, .high = 1, .high_open = true})),
      epsilon(p.get("epsilon", 1e-8, "added to the root of the second moment", more_than(0))),
      momentum(p.get("momentum", 0.0, "of sgd", {.low = 0, .high = 1, .high_open = true})),
      warmup(p.get("warmup", 0, "steps over which the rate rises from zero", at_least(0))),
      cosine(p.choice("lr_schedule", "constant", {"constant", "cosine"},
                      "of the rate after the warm-up; cosine falls to zero at the last step") == "cosine"),
      max_grad_norm(p.get("max_grad_norm", 0.0, "greatest norm of the gradient; 0: no clipping", at_least(0))),
      ema(p.get("ema", 0.0, "decay per step of the weights' moving average; 0: none",
                {.low = 0, .high = 1, .high_open = true})),
      ema_ramp(p.get(
          "ema_ramp", true,
          "the average begins short, so that the first weights do not linger in it: after k steps its decay is at "
          "most (1 + k) / (10 + k)")),
      ema_half_life(p.get("ema_half_life", 0.0,
                          "in place of ema: samples after which weights count half in their moving average (EDM); 0: "
                          "none",
                          at_least(0))),
      ema_rampup(p.get("ema_rampup", 0.05,
                       "ema_half_life: it is at most this share of the samples so far, so that the average begins "
                       "short; 0: at once",
                       at_least(0))),
      ema_lengths(read_lengths(
          p,
          "lengths of power-function averages, whose snapshots give averages of any length after the training "
          "(evaluate.ema_lengths): standard deviations of their profiles over the training's length, sigma_rel of "
          "EDM2; two serve best, such as [0.05, 0.1]")),
      ema_snapshots(p.get("ema_snapshots", 8,
                          "ema_lengths: into how many equal parts the training is divided, each of which ends with a "
                          "snapshot",
                          at_least(1))),
      log_every(p.get("log_every", 10, "steps per line of metrics.jsonl", at_least(1))),
      save_every(
          p.get("save_every", 60.0, "seconds between saved states, from which a killed run goes on", more_than(0))) {
  if (ema > 0 && ema_half_life > 0) {
    throw p.error("ema_half_life", "is given beside train.ema; expected one of the two to be 0");
  }
}

double TrainSettings::ema_decay(int64_t step) const {
  const auto k = static_cast<double>(step);
  if (ema_half_life > 0) {
    const auto samples = static_cast<double>(batch * gradient_accumulation);
    const double now = ema_rampup > 0 ? std::min(ema_half_life, ema_rampup * (k - 1) * samples) : ema_half_life;
    return now > 0 ? std::pow(0.5, samples / now) : 0;
  }
  return ema_ramp ? std::min(ema, (1 + k) / (10 + k)) : ema;
}

namespace {
std::optional<double> read_gamma(Params& p) {
  const double gamma = p.get("gamma", -1.0,
                             "share of the noise that a student's sampler draws anew between steps, 0 to 1; -1: 1 for "
                             "consistency functions, 0 for flow maps and policies",
                             between(-1, 1));
  if (gamma > -1 && gamma < 0) {
    throw p.error("gamma", "lies between -1 and 0; expected 0 to 1, or -1");
  }
  return gamma < 0 ? std::nullopt : std::optional(gamma);
}
}  // namespace

EvaluateSettings::EvaluateSettings(Params& p)
    : at(p.get("at", std::vector<int64_t>{},
               "training steps to evaluate at, besides the last; those beyond train.steps are left out", at_least(1))),
      samples(p.get("samples", 2000, "samples of each model", at_least(1))),
      student_steps(p.get("student_steps", std::vector<int64_t>{1}, "steps of the student's sampler", at_least(1))),
      student_times(
          p.get("student_times", std::vector<std::vector<double>>{},
                "lists of falling times, in units of the process: where a sampler of one step more than a list "
                "has times begins its second step and the others; without a list of that length they are "
                "spread over the grid")),
      gamma(read_gamma(p)),
      guidance(p.get("guidance", std::vector<double>{},
                     "guidance weights to evaluate at, where the teacher has a guidance_range; empty: the middle of it",
                     at_least(0))),
      metrics(p.get("metrics", std::vector<std::string>{}, "metric plugins; [metric.NAME] holds their parameters")),
      features(p.path("features", "",
                      "safetensors file of the network whose features fd, kid and precision_recall use; or a table of "
                      "an exported encoder of pictures, such as { file = \"dinov2.pt\", size = 224 }, or with a type, "
                      "of another network plugin; empty: the samples themselves")),
      against_teacher(p.choice("reference", "data", {"data", "teacher"},
                               "what samples are compared with: the test split, or the teacher's endpoints") ==
                      "teacher"),
      reference_samples(p.get("reference_samples", 10000,
                              "at most so many samples of the test split, drawn from all of it by evaluate.seed",
                              at_least(2))),
      equal_labels(p.choice("labels", "data", {"data", "equal"},
                            "class labels of samples: in the shares that they have in the training split, or all "
                            "equally often") == "equal"),
      last_weights(
          p.choice("weights", "ema", {"ema", "last"},
                   "which weights are evaluated; \"ema\" needs train.ema or train.ema_half_life, and is \"last\" "
                   "without") == "last"),
      ema_lengths(read_lengths(
          p,
          "lengths of averages that the last weights are evaluated with besides, each in a row of its own; made of "
          "the snapshots of train.ema_lengths, so without training anew")),
      batch(p.get("batch", 250, "samples at a time", at_least(1))),
      seed(p.get("seed", 0, "of the evaluation noise, which is the same for every model", at_least(0))),
      pictures(p.get("pictures", 32, "samples shown in the report", at_least(0))) {}

EncodeSettings::EncodeSettings(Params& p)
    : rows(p.get("rows", 1024, "pictures in a shard, which is what is held in memory and what a killed run repeats",
                 at_least(1))),
      batch(p.get("batch", 16, "pictures at most that are encoded at a time", at_least(1))),
      dtype(p.choice("dtype", "float16", {"float16", "bfloat16", "float32"},
                     "of latents and embeddings in the files; labels, masks and time_ids keep theirs")),
      drawn(p.choice("posterior", "mean", {"mean", "drawn"},
                     "what is taken of what a variational encoder says of a picture: the mean, or one draw, by a noise "
                     "that depends on the seed and the picture's place alone") == "drawn"),
      seed(p.get("seed", 0, "of the draws", at_least(0))),
      text_encoder(p.path("text_encoder", "",
                          "TorchScript file of a text encoder, forward(input_ids) or forward(input_ids, "
                          "attention_mask), which gives prompt_embeds, and perhaps pooled_prompt_embeds behind it; "
                          "empty: the conditions that the data set gives")),
      tokens(p.path("tokens", "",
                    "safetensors file of what the text encoder is given: input_ids [N, L], and perhaps attention_mask; "
                    "its metadata `texts`, a list in JSON, says of which N captions (the data set gives these with "
                    "letters = true), \"\" among them for the empty prompt; or, without texts, \"train.input_ids\" and "
                    "\"test.input_ids\", rows in the samples' order")),
      made_by(
          p.get("made_by", "",
                "of a training on latents: the hash of the files of the [autoencoder] that made them, as `retort "
                "encode` writes it into latents.toml; a training with other files is refused. Empty: any will do")) {
  if (text_encoder.empty() != tokens.empty() && !p.is_describing()) {
    throw text_encoder.empty() ? p.error("tokens", "are for a text encoder; expected a text_encoder with them")
                               : p.error("text_encoder", "reads token ids; expected a file of `tokens` with it");
  }
}

TrackSettings::TrackSettings(Params& p)
    : trackers(p.get("trackers", std::vector<std::string>{},
                     "tracker plugins that a training's numbers go to, besides its metrics.jsonl; [tracker.NAME] holds "
                     "their parameters")),
      pictures_every(p.get("pictures_every", 0,
                           "training steps between samples of the student, always from the same noise, for trackers "
                           "that keep pictures; 0: none",
                           at_least(0))),
      pictures(p.get("pictures", 16, "how many", at_least(1))),
      histograms_every(p.get("histograms_every", 0,
                             "training steps between histograms of weights and gradients, for trackers that keep "
                             "them; 0: none",
                             at_least(0))),
      loss_bins(p.get("loss_bins", 0,
                      "parts of the range of times whose mean loss is logged apart, as loss_by_time; 0: none",
                      between(0, 100))) {
  for (const std::string& name : trackers) {
    if (std::count(trackers.begin(), trackers.end(), name) > 1) {
      throw p.error("trackers", "names '" + name + "' twice; expected each once");
    }
  }
}

ReportSettings::ReportSettings(Params& p)
    : compare(p.get("compare", "",
                    "the swept key whose values are compared pair by pair, such as loss.type; empty: the first one")),
      plot(p.get("plot", std::vector<std::string>{},
                 "the two metrics of the report's main plot, x and y; empty: the first two measured")),
      columns(p.get("columns", std::vector<std::string>{}, "metrics shown in tables; empty: all")) {
  if (!plot.empty() && plot.size() != 2) {
    throw p.error("plot", "has " + std::to_string(plot.size()) + " entries; expected two metrics, x and y");
  }
}

}  // namespace retort
