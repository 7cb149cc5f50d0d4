#!/usr/bin/env python3
"""Makes optimizers.json: 30 steps of torch.optim's optimizers in float64, for tests/framework/optimizer.cpp.

    pip install torch==2.13.0
    python make_optimizers.py

The gradient of step k is sin(k + i) + w_i / 10 for parameter i.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

START = [0.5, -1.0, 2.0, 0.0]
CASES = {
    "adam": (torch.optim.Adam, {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.1}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.1}),
    "radam": (torch.optim.RAdam, {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.1, "decoupled_weight_decay": True}),
    "sgd": (torch.optim.SGD, {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1}),
}


def main() -> None:
    out: dict = {"made_by": "tests/parity/make_optimizers.py", "torch": torch.__version__.split("+")[0], "start": START, "steps": 30, "ends": {}}
    for name, (optimizer_type, options) in CASES.items():
        w = torch.tensor(START, dtype=torch.float64, requires_grad=True)
        optimizer = optimizer_type([w], **options)
        for k in range(30):
            w.grad = torch.sin(k + torch.arange(4, dtype=torch.float64)) + w.detach() / 10
            optimizer.step()
        out["ends"][name] = w.tolist()
    (Path(__file__).parent / "optimizers.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
