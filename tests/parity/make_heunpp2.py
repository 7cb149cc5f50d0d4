#!/usr/bin/env python3
"""Makes heunpp2.json: ends of solves by Heun++, in float64, for tests/plugins/solvers_heunpp2.cpp.

    pip install torch numpy
    git clone https://github.com/Carzit/sd-webui-samplers-scheduler
    python make_heunpp2.py --peer sd-webui-samplers-scheduler

The peer is where ComfyUI says that it has its `sample_heunpp2` from; ComfyUI's, at commit 02159d8, is the same statements. It is executed
from that checkout, and none of it is kept here. The teacher and times are those of make_solvers.py: on "vp_scaled_linear" the peer is given
x / alpha and levels sigma / alpha. Each end is also derived a second time, in numpy, and the script stops where the two differ by more than
1e-12 of the largest value.
"""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from make_solvers import ALPHAS_BAR, TEACHERS, Derivation, commit, karras, noise_prediction, start_points

Tensor = torch.Tensor
NAME = "sd-webui-samplers-scheduler"
SOLVER = {"type": "heunpp2"}


def load(folder: Path) -> Callable[..., Tensor]:
    """sample_heunpp2 and what it calls, without the rest of its file, which wants a whole program around it."""
    tree = ast.parse((folder / "scripts" / "samplers.py").read_text())
    wanted = ("append_dims", "to_d", "sample_heunpp2")
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name in wanted]
    assert {n.name for n in functions} == set(wanted)
    scope = {"torch": torch, "trange": lambda n, **_: range(n)}
    exec(compile(ast.Module(functions, []), "samplers.py", "exec"), scope)
    return scope["sample_heunpp2"]


def derived(process: str, grid: list[float], start: np.ndarray) -> np.ndarray:
    """The method from its formula: Euler's steps ahead in rho = sigma / alpha, and the mean of what is said there."""
    of = Derivation("mixture_1d", process)
    levels = [of.levels(t) for t in grid]
    rho = [sigma / alpha for alpha, sigma in levels]
    y, n = start / levels[0][0], len(grid) - 1
    for i in range(n):
        count = min(3, n - i)
        ahead, said = y, []
        for k in range(count):
            alpha, sigma = levels[i + k]
            said.append(of.eps(alpha * ahead, alpha, sigma))
            ahead = ahead + (rho[i + k + 1] - rho[i + k]) * said[-1]
        weights = [rho[i + k] / (count * rho[0]) for k in range(1, count)]
        mean = (1 - sum(weights)) * said[0] + sum(w * e for w, e in zip(weights, said[1:]))
        y = y + (rho[i + 1] - rho[i]) * mean
    return levels[-1][0] * y


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, default=Path(NAME))
    args = parser.parse_args()
    peer, cases, largest = load(args.peer), [], 0.0

    def add(name: str, process: str, grid: Tensor, levels: Tensor, alphas: Tensor, start: Tensor) -> None:
        def denoiser(y: Tensor, level: Tensor) -> Tensor:
            alpha = alphas[(levels - level[0]).abs().argmin()]
            return y - level[0] * noise_prediction("mixture_1d", alpha * y, alpha, alpha * level[0])

        end = alphas[-1] * peer(denoiser, start / alphas[0], levels)
        formula = derived(process, grid.tolist(), start.numpy())
        difference = float(np.abs(formula - end.numpy()).max() / np.abs(formula).max())
        assert end.dtype == torch.float64 and difference < 1e-12, f"{name}: differs from the formula by {difference:.1e}"
        nonlocal largest
        largest = max(largest, difference)
        cases.append({"name": f"{NAME} sample_heunpp2, {name}", "peer": NAME, "teacher": "mixture_1d", "process": {"type": process},
                      "solver": SOLVER, "times": grid.tolist(), "start": start.tolist(), "end": end.tolist(), "tolerance": 1e-10})

    for n in (1, 2, 3, 8):
        grid = torch.cat([karras(n, 0.05, 10.0) if n > 1 else torch.tensor([10.0]), torch.zeros(1)])
        add(f"{n} steps into 0", "ve", grid, grid, torch.ones_like(grid), start_points("mixture_1d", 6, 10.0, n))
    for grid, label in [(karras(9, 0.05, 10.0), "Karras"), (torch.linspace(4.0, 0.5, 13), "equal steps")]:
        add(f"{label}, {len(grid) - 1} steps", "ve", grid, grid, torch.ones_like(grid), start_points("mixture_1d", 6, 10.0, 9))
    index = torch.tensor([999, 800, 650, 500, 350, 250, 150, 80, 30, 0])
    levels, alphas = ((1 - ALPHAS_BAR[index]) / ALPHAS_BAR[index]).sqrt(), ALPHAS_BAR[index].sqrt()
    add("a table's times", "vp_scaled_linear", index.double() + 1, levels, alphas, start_points("mixture_1d", 6, 1.0, 10))

    head = {"made_by": "tests/parity/make_heunpp2.py", "peers": {NAME: commit(args.peer)},
            "teachers": {"mixture_1d": TEACHERS["mixture_1d"]}}
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    text = json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n' + lines + "\n ]\n}\n"
    json.loads(text)
    (Path(__file__).parent / "heunpp2.json").write_text(text)
    print(f"{len(cases)} cases, at most {largest:.1e} from the formula")


if __name__ == "__main__":
    main()
