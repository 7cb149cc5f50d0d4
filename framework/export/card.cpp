// The model card of an exported student.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "export/pipeline.h"
#include "io/checkpoint.h"
#include "report/results.h"

namespace retort {

namespace {

std::string figure(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

}  // namespace

// A row for each number of steps.
std::string card_figures(const Outgoing& model) {
  if (model.place.run.empty() || !std::filesystem::exists(model.place.run / "results.json")) {
    return "The run has not been evaluated.\n";
  }
  const Results results = read_results(model.place.run);
  const int64_t step = model.checkpoint.config.find("training") != nullptr
                           ? integer_at(to_json(*model.checkpoint.config.find("training")), "step")
                           : 0;
  std::vector<const Row*> rows;
  std::vector<std::string> names;
  for (const Row& row : results.progress) {
    if (row.train_steps.value_or(row.optimizer_steps.value_or(step)) == step && !row.ema_length) {
      rows.push_back(&row);
      add_metrics(row, names);
    }
  }
  if (names.empty()) {
    return "The run measured nothing of it.\n";
  }
  std::string head = "| steps |", line = "| --- |", body;
  for (const std::string& name : names) {
    head += " " + name + " |";
    line += " --- |";
  }
  for (const Row* row : rows) {
    body += "| " + std::to_string(row->student_steps.value_or(0)) +
            (row->guidance ? ", guidance " + figure(*row->guidance) : "") + " |";
    for (const std::string& name : names) {
      const double* value = metric_of(*row, name);
      body += " " + (value != nullptr ? figure(*value) : std::string()) + " |";
    }
    body += "\n";
  }
  return head + "\n" + line + "\n" + body;
}

std::string card_shape(const Outgoing& model) {
  std::string out = "4";
  for (const int64_t n : model.spec.shape) {
    out += ", " + std::to_string(n);
  }
  return out;
}

std::string card_head(const Outgoing& model, const std::string& classes, const std::string& licence) {
  const std::string what = name_of(model.makes);
  std::string out = "---\nlibrary_name: diffusers\nlicense: " + licence + "\ntags:\n- retort\n---\n\n# " +
                    model.name() + "\n\nA" + (what.starts_with('a') || what.starts_with('e') ? "n " : " ") + what +
                    " made by Retort " RETORT_VERSION ", as " + classes + " of diffusers.\n";
  if (licence == "unknown") {
    out += "Its licence has not been stated: ask whoever trained it, and look at that of its teacher.\n";
  }
  return out + "\n";
}

namespace {

// A line of the card's code that makes an input, and how the network is given it.
struct Given {
  std::string line, argument;
};

std::string rows_of(const std::string& make, const Input& input) {
  std::string shape = "4";
  for (const int64_t n : input.shape) {
    shape += ", " + std::to_string(n);
  }
  return input.name + " = torch." + make + "(" + shape + ")";
}

Given given_of(const Input& input) {
  if (input.name == inputs::guidance) {
    // As LatentConsistencyModelPipeline embeds it, of which this is the formula.
    return {
        "half = net.config.time_cond_proj_dim // 2\n"
        "rates = 1000 * torch.exp(-math.log(10000) / (half - 1) * torch.arange(half))\n"
        "angles = (torch.full((4, 1), 4.0) - 1) * rates  # guidance of 4\n"
        "guidance = torch.cat([angles.sin(), angles.cos()], dim=1)\n",
        ", timestep_cond=guidance"};
  }
  if (input.classes > 0) {
    return {"labels = torch.arange(4) % " + std::to_string(input.classes) + "\n", ", class_labels=labels"};
  }
  if (input.name == "prompt_embeds") {
    return {rows_of("zeros", input) + "  # what the text encoder gives\n", ", encoder_hidden_states=prompt_embeds"};
  }
  if (input.name == "attention_mask") {
    return {rows_of("ones", input) + "  # 0: no token\n", ", encoder_attention_mask=attention_mask.bool()"};
  }
  if (input.name == "class_labels") {
    return {rows_of("zeros", input) + "\n", ", class_labels=class_labels"};
  }
  if (input.name == "pooled_prompt_embeds") {
    return {rows_of("zeros", input) + "  # the text as one row\n", ""};
  }
  return {input.name == "time_ids" ? rows_of("zeros", input) + "  # sizes of the picture, and what was cut off\n" : "",
          ""};
}

// What the network is given besides sample and time.
Given all_given(const Outgoing& model, const PipelineExport& made) {
  Given out;
  for (const Input& input : model.spec.inputs) {
    const Given one = given_of(input);
    out.line += one.line;
    out.argument += one.argument;
  }
  if (model.spec.has("pooled_prompt_embeds") && model.spec.has("time_ids")) {
    out.argument += ", added_cond_kwargs={\"text_embeds\": pooled_prompt_embeds, \"time_ids\": time_ids}";
  }
  if (made.component == "transformer" && model.spec.classes() == 0) {
    out.line += "labels = torch.full((4,), net.config.num_embeds_ada_norm)  # none\n";
    out.argument += ", class_labels=labels";
  }
  if (made.class_name.find("Condition") != std::string::npos && !model.spec.has("prompt_embeds")) {
    out.argument += ", encoder_hidden_states=None";
  }
  return out;
}

// The loop in which its scheduler samples it.
std::string usage(const Outgoing& model, const PipelineExport& made, const std::string& folder) {
  const ExportedScheduler& scheduler = made.scheduler;
  const Given given = all_given(model, made);
  std::string out = std::string("```python\n") + (model.spec.has(inputs::guidance) ? "import math\n\n" : "") +
                    "import torch\nfrom diffusers import " + scheduler.name + ", " + made.class_name +
                    "\n\nnet = " + made.class_name + ".from_pretrained(\"" + folder + "\", subfolder=\"" +
                    made.component + "\")\nscheduler = " + scheduler.name + ".from_pretrained(\"" + folder +
                    "\", subfolder=\"scheduler\")\n";
  const bool lists = scheduler.name == "LCMScheduler" && !scheduler.timesteps.empty();
  if (lists) {
    const auto& [steps, timesteps] = scheduler.timesteps.back();
    out += "scheduler.set_timesteps(timesteps=" + listed(timesteps) + ")  # " + std::to_string(steps) +
           (steps == 1 ? " step\n" : " steps\n");
  } else {
    const bool one = model.makes != Makes::denoiser;
    out += "scheduler.set_timesteps(" +
           std::to_string(one                           ? 1
                          : scheduler.timesteps.empty() ? 50
                                                        : scheduler.timesteps.back().first) +
           ")\n";
  }
  out += given.line;
  out +=
      "x = torch.randn(" + card_shape(model) + ")" +
      (scheduler.start == 1 ? std::string() : " * " + Value{scheduler.start, {}}.text()) +
      "\nwith torch.no_grad():\n    for t in scheduler.timesteps:\n        given = scheduler.scale_model_input(x, t)\n"
      "        x = scheduler.step(net(given, t.expand(len(x))" +
      given.argument + ").sample, t, x).prev_sample\n```\n";
  return out;
}

}  // namespace

std::string model_card(const Outgoing& model, const PipelineExport& made, const std::string& licence,
                       const std::string& folder) {
  const ExportedScheduler& scheduler = made.scheduler;
  std::string out =
      card_head(model, "`" + made.class_name + "` and `" + scheduler.name + "`", licence) + usage(model, made, folder);
  if (std::abs(scheduler.start - 1) > 1e-3 && scheduler.config.contains("trained_betas")) {
    out += "\nRetort begins at noise of the deviation that the last step has, as above; pipelines begin at 1.\n";
  }
  if (scheduler.timesteps.size() > 1) {
    out += "\nRetort's own times, as timesteps:\n\n| steps | timesteps |\n| --- | --- |\n";
    for (const auto& [steps, timesteps] : scheduler.timesteps) {
      out += "| " + std::to_string(steps) + " | " + listed(timesteps) + " |\n";
    }
  }
  if (!scheduler.differences.empty()) {
    out += "\nWhat the scheduler does otherwise than Retort's sampler:\n\n";
    for (const std::string& difference : scheduler.differences) {
      out += "- " + difference + ".\n";
    }
  }
  return out + "\n## Figures of the run\n\n" + card_figures(model);
}

}  // namespace retort
