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

std::string listed(const std::vector<int64_t>& numbers) {
  std::string out;
  for (const int64_t n : numbers) {
    out += (out.empty() ? "" : ", ") + std::to_string(n);
  }
  return "[" + out + "]";
}

// The run's own measurements: a row for each number of steps.
std::string figures(const Outgoing& model) {
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

std::string extra_arguments(const Outgoing& model) {
  std::string out;
  for (const Input& input : model.spec.inputs) {
    if (input.classes > 0) {
      out += ", class_labels=labels";
    } else if (input.name == "prompt_embeds") {
      out += ", encoder_hidden_states=prompt_embeds";
    }
  }
  return out;
}

std::string shape_of(const Outgoing& model) {
  std::string out = "4";
  for (const int64_t n : model.spec.shape) {
    out += ", " + std::to_string(n);
  }
  return out;
}

// The loop in which its scheduler samples it.
std::string usage(const Outgoing& model, const PipelineExport& made, const std::string& folder) {
  const ExportedScheduler& scheduler = made.scheduler;
  std::string out = "```python\nimport torch\nfrom diffusers import " + scheduler.name + ", " + made.class_name +
                    "\n\nnet = " + made.class_name + ".from_pretrained(\"" + folder + "\", subfolder=\"" +
                    made.component + "\")\nscheduler = " + scheduler.name + ".from_pretrained(\"" + folder +
                    "\", subfolder=\"scheduler\")\n";
  const bool lists = scheduler.name == "LCMScheduler" && !scheduler.timesteps.empty();
  if (lists) {
    const auto& [steps, timesteps] = scheduler.timesteps.back();
    out += "scheduler.set_timesteps(timesteps=" + listed(timesteps) + ")  # " + std::to_string(steps) +
           (steps == 1 ? " step\n" : " steps\n");
  } else {
    const bool one = made.scheduler.name.starts_with("CM") || model.makes != Makes::denoiser;
    out += "scheduler.set_timesteps(" +
           std::to_string(one                           ? 1
                          : scheduler.timesteps.empty() ? 50
                                                        : scheduler.timesteps.back().first) +
           ")\n";
  }
  out +=
      "x = torch.randn(" + shape_of(model) + ")" +
      (scheduler.start == 1 ? std::string() : " * " + Value{scheduler.start, {}}.text()) +
      "\nwith torch.no_grad():\n    for t in scheduler.timesteps:\n        given = scheduler.scale_model_input(x, t)\n"
      "        x = scheduler.step(net(given, t.expand(len(x))" +
      extra_arguments(model) + ").sample, t, x).prev_sample\n```\n";
  return out;
}

}  // namespace

std::string model_card(const Outgoing& model, const PipelineExport& made, const std::string& licence,
                       const std::string& folder) {
  const ExportedScheduler& scheduler = made.scheduler;
  std::string out = "---\nlibrary_name: diffusers\nlicense: " + licence + "\ntags:\n- retort\n---\n\n# " +
                    model.name() + "\n\nA " + std::string(name_of(model.makes)) +
                    " made by Retort " RETORT_VERSION ", as `" + made.class_name + "` and `" + scheduler.name +
                    "` of diffusers.\n";
  if (licence == "unknown") {
    out += "Its licence has not been stated: ask whoever trained it, and look at that of its teacher.\n";
  }
  out += "\n" + usage(model, made, folder);
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
  return out + "\n## Figures of the run\n\n" + figures(model);
}

}  // namespace retort
