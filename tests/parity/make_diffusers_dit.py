#!/usr/bin/env python3
"""Makes diffusers_dit.json: outputs of diffusers' DiTTransformer2DModel, for tests/plugins/networks_dit.cpp.

    pip install torch==2.13.0 diffusers==0.42.1
    OMP_NUM_THREADS=1 python make_diffusers_dit.py

Weights and inputs are not stored: both sides make them by one recipe, from a tensor's name and the place of each number in it, in whole
numbers and then float64, so that they are equal to the bit. Stored are each case's configuration, the names and shapes of its tensors,
and its outputs in float64 and in float32; and of DiT-XL/2 how many tensors and parameters there are, with a hash of their names and
shapes, from a model without memory.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import diffusers
import torch
from diffusers import DiTTransformer2DModel

MASK = 0xFFFFFFFF


def recipe(name: str, shape: list[int]) -> torch.Tensor:
    """Numbers spread over [-1/2, 1/2), which name and place decide."""
    seed = 0
    for letter in name.encode():
        seed = (seed * 31 + letter) & MASK
    h = (torch.arange(math.prod(shape)) * 2654435761 + seed) & MASK
    h = ((h ^ (h >> 15)) * 2246822519) & MASK
    h = ((h ^ (h >> 13)) * 3266489917) & MASK
    h = h ^ (h >> 16)
    return (h.to(torch.float64) / 2**32 - 0.5).reshape(shape)


def weights(name: str, shape: list[int]) -> torch.Tensor:
    is_norm = "norm" in name and "linear" not in name and "emb" not in name and name.endswith("weight")
    return recipe(name, shape) * 0.6 + (1 if is_norm else 0)


def fnv(text: str) -> str:
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def listing(model: torch.nn.Module) -> dict[str, list[int]]:
    return {name: list(p.shape) for name, p in sorted(model.named_parameters())}


def run(model: torch.nn.Module, config: dict, dtype: torch.dtype, size: int) -> list[float]:
    model = model.to(dtype).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(weights(name, list(p.shape)))
    classes = config["num_embeds_ada_norm"]
    x = recipe("x", [3, config["in_channels"], size, size]).to(dtype) * 4
    time, labels = torch.tensor([0.0, 421.3, 999.0]).to(dtype), torch.tensor([0, classes - 1, classes])
    with torch.no_grad():
        out = model(x, time, class_labels=labels).sample
    digits = 9 if dtype == torch.float32 else 15
    return [float(f"{number:.{digits}g}") for number in out[:, : config["in_channels"]].double().flatten().tolist()]


TINY = {"num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4, "out_channels": 8, "num_layers": 2, "sample_size": 8, "num_embeds_ada_norm": 7}
CASES = [
    ("learned variance", TINY, 8),
    ("larger than its positions were made for", {**TINY, "out_channels": 4}, 12),
    ("affine norms, exact gelu, no biases", {**TINY, "in_channels": 3, "out_channels": 3, "patch_size": 4, "norm_elementwise_affine": True,
     "attention_bias": False, "activation_fn": "gelu", "norm_eps": 1e-3, "num_layers": 3}, 8),
    ("geglu", {**TINY, "activation_fn": "geglu", "num_layers": 1}, 8),
]  # fmt: skip


def main() -> None:
    out = {"diffusers": diffusers.__version__, "torch": torch.__version__, "cases": []}
    for name, config, size in CASES:
        model = DiTTransformer2DModel(**config)
        case = {"name": name, "config": config, "size": size, "tensors": listing(model)}
        case["float32"] = run(model, config, torch.float32, size)
        case["float64"] = run(model, config, torch.float64, size)
        out["cases"].append(case)
    with torch.device("meta"):
        model = DiTTransformer2DModel(out_channels=8)
    tensors = listing(model)
    text = "".join(f"{name} {shape}\n" for name, shape in tensors.items())
    out["dit_xl_2"] = {"tensors": len(tensors), "parameters": sum(math.prod(s) for s in tensors.values()), "hash": fnv(text)}
    Path(__file__).with_name("diffusers_dit.json").write_text(json.dumps(out) + "\n")
    print(out["dit_xl_2"], [(c["name"], len(c["tensors"])) for c in out["cases"]])


main()
