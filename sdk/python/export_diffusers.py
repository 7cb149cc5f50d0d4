"""A model of diffusers as a TorchScript file: python export_diffusers.py FOLDER OUT.pt [--subfolder unet]

FOLDER is a pipeline or a single model, of a U-Net or a DiT. Prints the TOML that reads the file. Teacher `diffusers`
reads such folders by itself; this is for models that it does not know. Needs torch and diffusers.
"""

import argparse
import json
import pathlib

import diffusers
import torch
from diffusers import AutoModel, ConfigMixin, SchedulerMixin

from export_module import export, spell


class Call(torch.nn.Module):
    """The model as forward(x, time, ...), its conditions in the order of `names`."""

    def __init__(self, model, names):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, x, time, *conditions):
        given = dict(zip(self.names, conditions))
        keywords = {"class_labels": given["labels"]} if "labels" in given else {}
        if "prompt_embeds" in given:
            keywords["encoder_hidden_states"] = given["prompt_embeds"]
        if "time_ids" in given:
            added = {"text_embeds": given["pooled_prompt_embeds"], "time_ids": given["time_ids"]}
            keywords["added_cond_kwargs"] = added
        return self.model(x, time, return_dict=False, **keywords)[0]


def conditions_of(config):
    """Each condition's name, and its rows for a number of rows."""
    labels = config.get("num_class_embeds") or config.get("num_embeds_ada_norm")
    width = config.get("cross_attention_dim")
    if config.get("time_cond_proj_dim"):
        raise SystemExit("time_cond_proj_dim: is for students of guidance weights, which are no teachers")
    out = {"labels": lambda rows: torch.arange(rows) % labels} if labels else {}
    if config["_class_name"] == "UNet2DConditionModel":
        out["prompt_embeds"] = lambda rows: torch.randn(rows, 77, width if isinstance(width, int) else width[0])
    if config.get("addition_embed_type") == "text_time":
        ids = 6
        pooled = config["projection_class_embeddings_input_dim"] - ids * config["addition_time_embed_dim"]
        out["pooled_prompt_embeds"] = lambda rows: torch.randn(rows, pooled)
        out["time_ids"] = lambda rows: torch.rand(rows, ids) * 100
    return out, labels


TABLE_KEYS = ["beta_schedule", "beta_start", "beta_end", "num_train_timesteps", "trained_betas", "rescale_betas_zero_snr"]
TABLE_SCHEDULES = ["linear", "scaled_linear", "squaredcos_cap_v2"]


def scheduler_in(folder, component):
    """The scheduler_config.json: within the folder, beside the model, or beside the model's folder in a pipeline."""
    name = "scheduler_config.json"
    beside = component.resolve().parent / "scheduler"
    places = [folder / "scheduler" / name, component / name, folder / name, beside / name]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise SystemExit(f"{folder}: has no {name}, which says the process and what the network predicts; save it "
                         "beside config.json with scheduler.save_pretrained")
    return found


def chosen(place, config, key, known):
    """A key's value, which is one of those known."""
    if config.get(key) not in known:
        raise SystemExit(f"{place}: {key}: {config.get(key)!r} is not supported; expected one of {', '.join(known)}")
    return config[key]


def process_of(place):
    """What the scheduler says of the process, as TOML: [process], and keys of the teacher."""
    try:
        told = json.loads(place.read_text())
        name = str(told["_class_name"])
    except (ValueError, TypeError, KeyError):
        raise SystemExit(f"{place}: is damaged; expected the scheduler_config.json of diffusers") from None
    kind = getattr(diffusers, name, None)
    known = isinstance(kind, type) and issubclass(kind, SchedulerMixin) and issubclass(kind, ConfigMixin)
    refused = f"{place}: _class_name: '{name}' is not supported; expected a scheduler of a table of betas, or FlowMatch"
    if not known:
        raise SystemExit(refused)
    try:
        scheduler = kind.from_config(told)
    except Exception as error:  # whatever a wrong value leads to
        raise SystemExit(f"{place}: {name} cannot be made of it: {' '.join(str(error).split())[:80]}") from None
    config = dict(scheduler.config)
    if name.startswith("FlowMatch") or config.get("use_flow_sigmas"):
        if config.get("prediction_type") is not None:
            chosen(place, config, "prediction_type", ["flow_prediction"])
        meant = f'parametrisation = "flow"\ntime = "fraction"\ntime_scale = {config["num_train_timesteps"]}\n'
        return meant, '[process]\ntype = "rectified_flow"\n'
    betas, levels = (getattr(scheduler, key, None) for key in ("betas", "alphas_cumprod"))
    if not torch.is_tensor(betas) or not torch.is_tensor(levels) or "beta_schedule" not in config:
        raise SystemExit(refused)
    if not torch.allclose(torch.cumprod(1 - betas.double(), 0), levels.double(), rtol=1e-3, atol=1e-6):
        raise SystemExit(f"{place}: _class_name: '{name}' is not supported; its levels are not those of its betas")
    if config.get("timestep_type") not in (None, "discrete"):
        chosen(place, config, "timestep_type", ["discrete"])
    predictions = {"epsilon": "noise", "v_prediction": "v", "sample": "data"}
    meant = predictions[chosen(place, config, "prediction_type", list(predictions))]
    if config.get("trained_betas") is None:
        chosen(place, config, "beta_schedule", TABLE_SCHEDULES)
        unused = {"trained_betas"} | ({"beta_start", "beta_end"} if config["beta_schedule"] == "squaredcos_cap_v2" else set())
    else:
        config["trained_betas"] = [float(beta) for beta in config["trained_betas"]]
        unused = set(TABLE_KEYS) - {"trained_betas", "rescale_betas_zero_snr"}
    table = "".join(f"{key} = {spell(config[key])}\n" for key in TABLE_KEYS
                    if key not in unused and config.get(key) is not None)
    return f'parametrisation = "{meant}"\ntime = "step"\n', f'[process]\ntype = "betas"\n{table}'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("out")
    parser.add_argument("--subfolder", help="of the model within a pipeline; else unet or transformer, if there is one")
    parser.add_argument("--size", type=int, nargs=2, help="height and width of a sample; else the model's sample_size")
    options = parser.parse_args()
    within = [options.subfolder] if options.subfolder else ["unet", "transformer", ""]
    folder = next(options.folder / part for part in within if part == "" or (options.folder / part).is_dir())
    meant, process = process_of(scheduler_in(options.folder, folder))
    model = AutoModel.from_pretrained(str(folder))
    config = {**model.config, "_class_name": type(model).__name__}
    conditions, labels = conditions_of(config)
    size = options.size or config["sample_size"]
    shape = [config["in_channels"], *([size, size] if isinstance(size, int) else size)]

    def example(rows):
        time = torch.rand(rows) * 900 + 1
        rest = [rows_of(rows) for rows_of in conditions.values()]
        return (torch.randn(rows, *shape), time, *rest)

    toml = meant + f"shape = {shape}\n"
    if conditions:
        toml += f"inputs = {spell(['x', 'time', *conditions])}\n"
    if labels:
        toml += f"classes = {labels}\n"  # one less where the last one was trained as "no class"
    if config["out_channels"] == 2 * config["in_channels"]:
        toml += "learned_variance = true\n"
    export(Call(model, list(conditions)), example, options.out, toml + "\n" + process)


main()
