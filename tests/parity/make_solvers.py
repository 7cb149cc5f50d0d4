#!/usr/bin/env python3
"""Makes solvers.json: ends of ODE solves by other projects' own code, in float64, for tests/plugins/solvers.cpp.

    pip install torch diffusers==0.42.1
    git clone https://github.com/crowsonkb/k-diffusion
    git clone https://github.com/layer6ai-labs/direct-cms
    python make_solvers.py --k-diffusion k-diffusion --direct-cms direct-cms

The peers' code is imported or executed from those checkouts; none of it is kept here. The teacher is an analytic Gaussian
mixture, x_t = alpha(t) x_0 + sigma(t) n. Times are in Retort's convention: on "vp_scaled_linear", t = 0 is clean data and t >= 1
has the peers' table entry t - 1.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

torch.set_default_dtype(torch.float64)
Tensor = torch.Tensor

TEACHERS = {
    "mixture_1d": {"weights": [0.3, 0.4, 0.3], "means": [[-1.0], [0.2], [1.3]], "stds": [0.25, 0.15, 0.3]},
    "mixture_2d": {"weights": [0.5, 0.2, 0.3], "means": [[-1.0, 0.5], [0.3, -0.7], [1.1, 0.9]], "stds": [0.2, 0.35, 0.15]},
}
BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
ALPHAS_BAR = torch.cumprod(1 - BETAS, 0)


def noise_prediction(teacher: str, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """eps(x) = -sigma grad log p(x) of the mixture diffused to (alpha, sigma). x: [B, D]; alpha, sigma: scalars."""
    mixture = TEACHERS[teacher]
    mean = alpha * torch.tensor(mixture["means"])  # [K, D]
    variance = alpha**2 * torch.tensor(mixture["stds"]) ** 2 + sigma**2  # [K]
    offset = x[:, None, :] - mean
    log_joint = (
        torch.tensor(mixture["weights"]).log()
        - 0.5 * (offset**2).sum(2) / variance
        - 0.5 * x.shape[1] * (2 * torch.pi * variance).log()
    )
    weight = torch.softmax(log_joint, 1)[:, :, None]
    return sigma * (weight * offset / variance[:, None]).sum(1)


def start_points(teacher: str, count: int, scale: float, seed: int) -> Tensor:
    dimension = len(TEACHERS[teacher]["means"][0])
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((count, dimension))) * scale


def karras(count: int, low: float, high: float) -> Tensor:
    ramp = torch.linspace(0, 1, count)
    return (high ** (1 / 7) + ramp * (low ** (1 / 7) - high ** (1 / 7))) ** 7


class Cases:
    def __init__(self) -> None:
        self.all: list[dict] = []

    def add(self, name: str, peer: str, teacher: str, process: str, solver: dict, times: Tensor, start: Tensor,
            end: Tensor, start_times: Tensor | None = None, tolerance: float = 1e-10) -> None:
        case = {"name": name, "peer": peer, "teacher": teacher, "process": {"type": process}, "solver": solver,
                "times": times.tolist(), "start": start.tolist(), "end": end.tolist(), "tolerance": tolerance}
        if start_times is not None:
            case["start_times"] = start_times.tolist()
        assert torch.isfinite(end).all() and end.dtype == torch.float64, name
        self.all.append(case)


def load_k_diffusion(folder: Path) -> types.ModuleType:
    """k_diffusion/sampling.py alone; what it imports only for its stochastic samplers is stubbed."""
    for name, members in {"torchdiffeq": ["odeint"], "torchsde": ["BrownianInterval", "BrownianTree"]}.items():
        stub = types.ModuleType(name)
        for member in members:
            setattr(stub, member, None)
        sys.modules.setdefault(name, stub)
    package = types.ModuleType("k_diffusion")
    package.__path__ = [str(folder / "k_diffusion")]
    sys.modules["k_diffusion"] = package
    utils = types.ModuleType("k_diffusion.utils")
    utils.append_dims = lambda x, target: x[(...,) + (None,) * (target - x.ndim)]
    sys.modules["k_diffusion.utils"] = package.utils = utils
    import importlib

    sampling = importlib.import_module("k_diffusion.sampling")
    for name in ("torchdiffeq", "torchsde"):  # diffusers looks for the real ones
        if sys.modules[name].__spec__ is None:
            del sys.modules[name]
    return sampling


def add_k_diffusion(cases: Cases, sampling: types.ModuleType) -> None:
    def denoiser(teacher: str) -> Callable[..., Tensor]:
        def call(x: Tensor, sigma: Tensor, **_: object) -> Tensor:
            level = sigma.reshape(-1)[0]
            return x - level * noise_prediction(teacher, x, torch.tensor(1.0), level)
        return call

    with_zero = torch.cat([karras(8, 0.05, 10.0), torch.zeros(1)])
    without = karras(9, 0.05, 10.0)
    samplers = [("sample_euler", {"type": "euler"}), ("sample_euler", {"type": "ddim"}), ("sample_heun", {"type": "heun"}),
                ("sample_dpmpp_2m", {"type": "dpmpp_2m"})]
    for function, solver in samplers:
        for grid, label in [(with_zero, "Karras 8 + 0"), (without, "Karras 9")]:
            for teacher in TEACHERS if solver["type"] in ("heun", "dpmpp_2m") else ["mixture_1d"]:
                x = start_points(teacher, 6, 10.0, 1)
                end = getattr(sampling, function)(denoiser(teacher), x, grid, disable=True)
                cases.add(f"k-diffusion {function}, {label}, {teacher} as {solver['type']}", "k-diffusion", teacher, "ve", solver, grid, x, end)
    for order in (1, 2, 3):
        dpm = sampling.DPMSolver(denoiser("mixture_1d"))
        x = start_points("mixture_1d", 6, 10.0, 2)
        state = x
        for a, b in zip(without[:-1], without[1:]):
            state, _ = getattr(dpm, f"dpm_solver_{order}_step")(state, dpm.t(a), dpm.t(b))
        cases.add(f"k-diffusion dpm_solver_{order}_step, Karras 9", "k-diffusion", "mixture_1d", "ve",
                  {"type": "dpm_solver", "order": order}, without, x, state)


def add_direct_cms(cases: Cases, folder: Path) -> None:
    """The paper's three solver classes, taken out of its training script and run with its loop."""
    tree = ast.parse((folder / "train_direct_cm.py").read_text())
    wanted = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name in ("DDIMSolver", "EulerSolver", "HeunSolver")]
    names: dict = {"np": np}
    exec(compile(ast.Module(wanted, []), "train_direct_cm.py", "exec"), names)
    alphas, sigmas = ALPHAS_BAR.sqrt().numpy(), (1 - ALPHAS_BAR).sqrt().numpy()
    betas = BETAS.numpy() * 1000

    def eps(x: Tensor, timestep: int) -> Tensor:
        index = max(timestep - 1, 0)
        return noise_prediction("mixture_1d", x, torch.tensor(alphas[index]), torch.tensor(sigmas[index]))

    for steps in (10, 25):
        ddim = names["DDIMSolver"](alphas, sigmas, 1000, steps)
        euler = names["EulerSolver"](betas, sigmas, 1000, steps)
        heun = names["HeunSolver"](betas, sigmas, 1000, steps)
        grid = torch.tensor([*ddim.start_timesteps, 0], dtype=torch.float64)
        for own_starts in (False, True):
            x = start_points("mixture_1d", 8, 1.0, 3 + steps)
            first = np.arange(8) % steps if own_starts else np.zeros(8, dtype=np.int64)
            start = torch.from_numpy(ddim.start_timesteps[first])
            for kind, solver in [("ddim", {"type": "ddim"}), ("euler", {"type": "euler"}),
                                 ("heun", {"type": "heun", "variable": "time", "final_step": "heun"})]:
                state = x.clone()
                for i in range(steps):
                    t, s = int(ddim.start_timesteps[i]), int(ddim.next_timesteps[i])
                    if kind == "ddim":
                        _, state = ddim.step(state, eps(state, t), i, start)
                        continue
                    slope, predicted = euler.step(state, eps(state, t), i, start)
                    if kind == "heun":
                        predicted = heun.step(state, slope, predicted, eps(predicted, s), i, start)
                    state = predicted
                cases.add(f"direct-cms {kind}, N = {steps}" + (", rows with their own starts" if own_starts else ""), "direct-cms",
                          "mixture_1d", "vp_scaled_linear", solver, grid, x, state, start.double() if own_starts else None)


def add_diffusers(cases: Cases) -> None:
    """Schedulers whose tables are replaced by float64 ones, with their casts to float32 made void."""
    import diffusers

    def eps(x: Tensor, index: int) -> Tensor:
        return noise_prediction("mixture_1d", x, ALPHAS_BAR[index].sqrt(), (1 - ALPHAS_BAR[index]).sqrt())

    common = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    ddim = diffusers.DDIMScheduler(**common, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing")
    ddim.alphas_cumprod = ALPHAS_BAR
    ddim.final_alpha_cumprod = torch.tensor(1.0)
    for steps in (10, 25):
        ddim.set_timesteps(steps)
        x = start_points("mixture_1d", 6, 1.0, 7)
        state = x
        for t in ddim.timesteps:
            state = ddim.step(eps(state, int(t)), int(t), state, eta=0.0).prev_sample
        grid = torch.cat([ddim.timesteps.double() + 1, torch.zeros(1)])
        cases.add(f"diffusers DDIMScheduler, {steps} steps", "diffusers", "mixture_1d", "vp_scaled_linear", {"type": "ddim"}, grid, x, state)

    real_to = Tensor.to

    def to_without_float32(self: Tensor, *args: object, **kwargs: object) -> Tensor:
        kept = tuple(a for a in args if a is not torch.float32)
        return real_to(self, *kept, **kwargs) if kept or kwargs else self

    for order, name in [(1, "ddim"), (2, "dpmpp_2m")]:
        scheduler = diffusers.DPMSolverMultistepScheduler(**common, algorithm_type="dpmsolver++", solver_order=order, lower_order_final=False,
                                                          final_sigmas_type="zero", timestep_spacing="trailing")
        scheduler.set_timesteps(10)
        index = scheduler.timesteps
        scheduler.sigmas = torch.cat([((1 - ALPHAS_BAR[index]) / ALPHAS_BAR[index]).sqrt(), torch.zeros(1)])
        if order == 2:  # the step into sigma = 0 is first order in both
            scheduler.register_to_config(euler_at_final=True)
        x = start_points("mixture_1d", 6, 1.0, 8)
        state = x
        Tensor.to = to_without_float32
        try:
            for t in index:
                state = scheduler.step(eps(state, int(t)), t, state).prev_sample
        finally:
            Tensor.to = real_to
        grid = torch.cat([index.double() + 1, torch.zeros(1)])
        cases.add(f"diffusers DPMSolverMultistepScheduler, order {order}, 10 steps", "diffusers", "mixture_1d", "vp_scaled_linear",
                  {"type": name}, grid, x, state)


def commit(folder: Path) -> str:
    return subprocess.run(["git", "-C", str(folder), "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--k-diffusion", type=Path, default=Path("k-diffusion"))
    parser.add_argument("--direct-cms", type=Path, default=Path("direct-cms"))
    args = parser.parse_args()
    cases = Cases()
    add_k_diffusion(cases, load_k_diffusion(args.k_diffusion))
    add_direct_cms(cases, args.direct_cms)
    add_diffusers(cases)
    import diffusers

    head = {"made_by": "tests/parity/make_solvers.py",
            "peers": {"k-diffusion": commit(args.k_diffusion), "direct-cms": commit(args.direct_cms), "diffusers": diffusers.__version__},
            "teachers": TEACHERS}
    lines = ",\n".join("  " + json.dumps(case) for case in cases.all)
    text = json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n' + lines + "\n ]\n}\n"
    json.loads(text)
    (Path(__file__).parent / "solvers.json").write_text(text)
    print(f"{len(cases.all)} cases")


if __name__ == "__main__":
    main()
