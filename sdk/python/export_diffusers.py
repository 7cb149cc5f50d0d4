"""A model of diffusers as a TorchScript file: python export_diffusers.py FOLDER OUT.pt [--subfolder unet]

FOLDER is a pipeline or a single model, of a U-Net or a DiT. Prints the TOML that reads the file. Teacher `diffusers`
reads such folders by itself; this is for models that it does not know. Needs torch and diffusers.
"""

import argparse
import json
import pathlib

import torch
from diffusers import AutoModel

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


def process_of(folder):
    """What the scheduler says of the process, as TOML: [process], and keys of the teacher."""
    places = [folder / "scheduler" / "scheduler_config.json", folder / "scheduler_config.json"]
    found = next((place for place in places if place.exists()), None)
    config = json.loads(found.read_text()) if found else {}
    steps = config.get("num_train_timesteps", 1000)
    if "FlowMatch" in config.get("_class_name", ""):
        meant = f'parametrisation = "flow"\ntime = "fraction"\ntime_scale = {steps}\n'
        return meant, '[process]\ntype = "rectified_flow"\n'
    meant = {"epsilon": "noise", "v_prediction": "v", "sample": "data"}[config.get("prediction_type", "epsilon")]
    keys = ["beta_schedule", "beta_start", "beta_end", "num_train_timesteps", "trained_betas", "rescale_betas_zero_snr"]
    table = "".join(f"{key} = {spell(config[key])}\n" for key in keys if config.get(key) is not None)
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
    model = AutoModel.from_pretrained(str(folder))
    config = {**model.config, "_class_name": type(model).__name__}
    conditions, labels = conditions_of(config)
    size = options.size or config["sample_size"]
    shape = [config["in_channels"], *([size, size] if isinstance(size, int) else size)]
    meant, process = process_of(options.folder)

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
