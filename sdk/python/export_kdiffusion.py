"""A model of k-diffusion as a TorchScript file: python export_kdiffusion.py CONFIG.json CHECKPOINT OUT.pt

CONFIG.json and CHECKPOINT (.pth of train.py, or .safetensors) are those of
https://github.com/crowsonkb/k-diffusion, which has to be importable. The file is the whole denoiser D(y, sigma).
Prints the TOML that reads the file.
"""

import argparse

import k_diffusion as K
import torch

from export_module import export


class Call(torch.nn.Module):
    """forward(x, time, labels), where the label one past the last class stands for none, as in k-diffusion."""

    def __init__(self, denoiser, classes):
        super().__init__()
        self.denoiser, self.classes = denoiser, classes

    def forward(self, x, time, labels=None):
        return self.denoiser(x, time, **({"class_cond": labels} if self.classes > 0 else {}))


def weights_of(path):
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        return load_file(path)
    stored = torch.load(path, map_location="cpu", weights_only=False)
    return stored["model_ema"] if "model_ema" in stored else stored


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("checkpoint")
    parser.add_argument("out")
    options = parser.parse_args()
    config = K.config.load_config(options.config)
    classes = config["dataset"]["num_classes"]
    inner = K.config.make_model(config)
    inner.load_state_dict(weights_of(options.checkpoint))
    denoiser = K.config.make_denoiser_wrapper(config)(inner)
    shape = [config["model"]["input_channels"], *config["model"]["input_size"]]

    def example(rows):
        given = [torch.randn(rows, *shape), torch.rand(rows) + 0.1]
        given += [torch.arange(rows) % (classes + 1)] if classes > 0 else []
        return tuple(given)

    toml = f'parametrisation = "data"\ntime = "sigma"\ninput = "y"\nshape = {shape}\n'
    export(Call(denoiser, classes), example, options.out, toml + (f"classes = {classes}\n" if classes > 0 else ""))


main()
