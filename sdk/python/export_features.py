"""An encoder of pictures as a TorchScript file, for [evaluate] features and metrics that have one of their own.

    python export_features.py inception OUT.pt [--script inception-2015-12-05.pt] [--legacy]
    python export_features.py dinov2 MODEL OUT.pt [--size 224]
    python export_features.py clip MODEL OUT.pt [--prompts PROMPTS.txt --texts TEXTS.safetensors]
    python export_features.py aesthetic PREDICTOR.pth OUT.safetensors

MODEL is a folder or a name of transformers, or hub:NAME of DINOv2's torch.hub. Prints the TOML that reads the file.
Inception is that of the original FID: pytorch-fid's, or layers of the script that clean-fid and StyleGAN use.
--prompts: a line for each label, whose features metric clip_score reads. Needs torch, and what it exports.
"""

import argparse

import torch

from export_module import spell, trace

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])


class Scripted(torch.nn.Module):
    """The layers of NVIDIA's script of Inception, which take (x - 128) / 128 of bytes."""

    def __init__(self, file):
        super().__init__()
        self.layers = torch.jit.load(file, map_location="cpu").layers

    def forward(self, x):
        return self.layers((x * 255 - 128) / 128).flatten(1)


class Pooled(torch.nn.Module):
    """pytorch-fid's Inception, which gives a list of maps."""

    def __init__(self, resize):
        super().__init__()
        from pytorch_fid.inception import InceptionV3

        self.model = InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[2048]], resize_input=resize)

    def forward(self, x):
        return self.model(x)[0].flatten(1)


class ClassToken(torch.nn.Module):
    """DINOv2 of transformers: its class token behind the last norm."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x, return_dict=False)[1]


class Pictures(torch.nn.Module):
    """CLIP's picture tower, projected to where the texts are."""

    def __init__(self, model):
        super().__init__()
        self.tower, self.projection = model.vision_model, model.visual_projection

    def forward(self, x):
        return self.projection(self.tower(x, return_dict=False)[1])


def text_features(model, tokens):
    """[n, F] of CLIP's text tower, for tokens as its tokenizer gives them."""
    with torch.no_grad():
        return model.text_projection(model.text_model(**tokens, return_dict=False)[1])


def write(module, size, file, quantise=True, mean_and_std=None):
    """Exports the encoder, and prints how Retort reads it."""
    side = size or 64  # any, where the encoder resizes by itself
    trace(module, lambda rows: (torch.rand(rows, 3, side, side),), file)
    mean, std = mean_and_std or ([], [])
    keys = {"file": str(file), "size": size, "interpolation": "bicubic", "antialias": True, "quantise": quantise}
    keys.update({"mean": list(mean), "std": list(std)} if mean else {})
    print("[evaluate.features]")
    print("\n".join(f"{key} = {spell(value)}" for key, value in keys.items()))


def inception(args):
    if args.script:
        write(Scripted(args.script), 299, args.out)
    else:
        write(Pooled(resize=args.legacy), 0 if args.legacy else 299, args.out)


def dinov2(args):
    if args.model.startswith("hub:"):
        model = torch.hub.load("facebookresearch/dinov2", args.model.removeprefix("hub:"))
    else:
        from transformers import Dinov2Model

        model = ClassToken(Dinov2Model.from_pretrained(args.model))
    write(model, args.size, args.out, mean_and_std=IMAGENET)


def clip(args):
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(args.model).eval()
    write(Pictures(model), model.config.vision_config.image_size, args.out, mean_and_std=CLIP)
    if args.prompts:
        from safetensors.torch import save_file
        from transformers import AutoTokenizer

        with open(args.prompts, encoding="utf-8") as file:
            lines = file.read().splitlines()
        tokens = AutoTokenizer.from_pretrained(args.model)(lines, padding=True, truncation=True, return_tensors="pt")
        save_file({"text_features": text_features(model, tokens).contiguous()}, args.texts)
        print(f"[metric.clip_score]\ntext_features = {spell(args.texts)}")


def aesthetic(args):
    from safetensors.torch import save_file

    weights = torch.load(args.weights, map_location="cpu", weights_only=True)
    save_file({name: tensor.float().contiguous() for name, tensor in weights.items()}, args.out)
    print(f"[metric.aesthetic]\nfile = {spell(args.out)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_subparsers(required=True)
    for export, given in ((inception, ["out"]), (dinov2, ["model", "out"]), (clip, ["model", "out"]), (aesthetic, ["weights", "out"])):
        command = which.add_parser(export.__name__)
        for name in given:
            command.add_argument(name)
        command.set_defaults(export=export)
        if export is inception:
            command.add_argument("--script", help="NVIDIA's inception-2015-12-05.pt in place of pytorch-fid's weights")
            command.add_argument("--legacy", action="store_true", help="resize within, without antialiasing, as the first FID did")
        elif export is dinov2:
            command.add_argument("--size", type=int, default=224)
        elif export is clip:
            command.add_argument("--prompts", help="a text file, with a line for each label")
            command.add_argument("--texts", default="texts.safetensors", help="where their features go")
    args = parser.parse_args()
    args.export(args)


if __name__ == "__main__":
    main()
