#!/usr/bin/env python3
"""Makes tests/fixtures/latents/ by Python's safetensors, and latents.json, the same rows as PyTorch casts them to float32, for
tests/plugins/latents.cpp.

    pip install torch==2.13.0 safetensors==0.8.0 numpy
    python make_latents.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / "fixtures" / "latents"
SHARDS = {"0000": (3, torch.float16), "0001": (2, torch.bfloat16), "0002": (2, torch.float32)}


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[torch.Tensor]] = {}
    for name, (n, dtype) in SHARDS.items():
        normal = lambda *shape: torch.randn(n, *shape, generator=generator).to(dtype)
        tensors = {
            "latents": normal(4, 2, 2),
            "prompt_embeds": normal(3, 5),
            "pooled_prompt_embeds": normal(5),
            "time_ids": torch.tensor([[512.0, 384.0, 0.0, 8.0, 512.0, 512.0]]).repeat(n, 1).to(torch.float32),
            "attention_mask": torch.rand(n, 3, generator=generator) > 0.3,
            "labels": torch.randint(0, 4, (n,), generator=generator),
        }
        save_file(tensors, FOLDER / f"{name}.safetensors", metadata={"scaling_factor": "0.18215", "shift": "0"})
        os.chmod(FOLDER / f"{name}.safetensors", 0o644)
        for key, tensor in tensors.items():
            rows.setdefault(key, []).append(tensor.to(torch.float32))
    out = {
        "made_by": {"torch": torch.__version__.split("+")[0], "safetensors": safetensors.__version__},
        "samples": sum(n for n, _ in SHARDS.values()),
        "rows": {key: torch.cat(parts).flatten().tolist() for key, parts in rows.items()},
    }
    (HERE / "latents.json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
