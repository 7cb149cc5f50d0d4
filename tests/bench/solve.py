#!/usr/bin/env python3
"""Times `retort.solve` beside diffusers' schedulers and k-diffusion's samplers, on one PyTorch model.

    tests/bench/solve.py [--quick] [--output FILE.md]

Sets up its own virtual environment in build/solve-venv at the first call; Retort is that of build/release. One core, the
three in turns. For each solver: seconds a solve takes outside the model, its share of the whole, and the greatest difference
of the ends, over their greatest value. Each peer's own grid is handed to Retort, so that both take the same steps.
"""

import argparse
import importlib.util
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
import types

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = ROOT / "build/solve-venv"
PACKAGES = ["torch==2.13.0", "diffusers==0.42.1", "scipy", "tqdm", "torchsde", "torchdiffeq"]


def set_up():
    if pathlib.Path(sys.prefix).resolve() == VENV.resolve():
        return
    python = VENV / "bin/python"
    if not (VENV / ".ready").exists():
        print("solve.py: installing " + " ".join(PACKAGES) + " k-diffusion", file=sys.stderr)
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([*pip, *PACKAGES], check=True)
        subprocess.run([*pip, "--no-deps", "k-diffusion"], check=True)  # its samplers need none of the rest
        (VENV / ".ready").touch()
    subprocess.run([ROOT / "retort", "build"], check=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "build/release/lib/python"), "OMP_NUM_THREADS": "1"}
    os.execve(python, [str(python), __file__, *sys.argv[1:]], environment)


def k_diffusion_sampling():
    """k_diffusion.sampling alone: the package as a whole asks for much that samplers do not use."""
    folder = pathlib.Path(importlib.util.find_spec("k_diffusion").origin).parent
    package = types.ModuleType("k_diffusion")
    package.__path__ = [str(folder)]
    utils = types.ModuleType("k_diffusion.utils")
    utils.append_dims = lambda x, n: x[(...,) + (None,) * (n - x.ndim)]
    sys.modules.update({"k_diffusion": package, "k_diffusion.utils": utils})
    package.utils = utils
    return importlib.import_module("k_diffusion.sampling")


set_up()

import torch  # noqa: E402
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler  # noqa: E402

import retort  # noqa: E402

torch.set_num_threads(1)
torch.manual_seed(0)


class Model(torch.nn.Module):
    """Some 30 ms for 16 pictures of 3 x 32 x 32; tame, so that solves stay finite. It keeps count of its own time."""

    def __init__(self, width=48):
        super().__init__()
        layer = lambda a, b: torch.nn.Conv2d(a, b, 3, padding=1)  # noqa: E731
        self.layers = torch.nn.Sequential(
            layer(3, width), torch.nn.SiLU(), layer(width, width), torch.nn.SiLU(), layer(width, width), torch.nn.SiLU(), layer(width, 3)
        )
        self.seconds, self.calls = 0.0, 0

    @torch.no_grad()
    def forward(self, x, t):
        began = time.perf_counter()
        out = torch.tanh(self.layers(x)) * 0.5 + 0.001 * t.view(-1, 1, 1, 1).log1p().to(x.dtype)
        self.seconds += time.perf_counter() - began
        self.calls += 1
        return out


def timed(model, solve, rounds):
    """(seconds outside the model, seconds in all, calls, ends), medians over the rounds."""
    outside, whole = [], []
    for _ in range(rounds):
        model.seconds, model.calls = 0.0, 0
        began = time.perf_counter()
        ends = solve()
        whole.append(time.perf_counter() - began)
        outside.append(whole[-1] - model.seconds)
    return statistics.median(outside), statistics.median(whole), model.calls, ends


def k_cases(model, k, steps):
    grid = retort.times({"type": "karras", "steps": steps, "sigma_min": 0.02, "sigma_max": 20.0}, "ve")
    x = grid[0].float() * torch.randn(16, 3, 32, 32)
    denoised = lambda x, sigma, **_: model(x, sigma)  # noqa: E731
    sigmas = grid.float()
    for name, theirs, ours in [
        ("Euler", k.sample_euler, "euler"),
        ("Heun", k.sample_heun, "heun"),
        ("DPM++ 2M", k.sample_dpmpp_2m, "dpmpp_2m"),
        ("LMS, order 4", k.sample_lms, {"type": "lms", "order": 4}),
    ]:
        yield (
            f"{name}, k-diffusion",
            lambda theirs=theirs: theirs(denoised, x, sigmas, disable=True),
            lambda ours=ours: retort.solve(model, x, solver=ours, schedule=grid, prediction="sample", time="sigma"),
        )


def diffusers_cases(model, steps):
    keys = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, num_train_timesteps=1000)
    process = {"type": "vp_scaled_linear"}
    x = torch.randn(16, 3, 32, 32)
    for name, scheduler, ours in [
        ("DDIM", DDIMScheduler(**keys, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing"), "ddim"),
        ("DPM++ 2M", DPMSolverMultistepScheduler(**keys, timestep_spacing="trailing", final_sigmas_type="zero"), "dpmpp_2m"),
        ("UniPC, order 2", UniPCMultistepScheduler(**keys, timestep_spacing="trailing", final_sigmas_type="zero"), {"type": "unipc", "order": 2}),
    ]:
        scheduler.set_timesteps(steps)

        def theirs(scheduler=scheduler):
            scheduler.set_timesteps(steps)
            state = x
            for t in scheduler.timesteps:
                state = scheduler.step(model(state, t.expand(16)), t, state).prev_sample
            return state

        grid = torch.cat([scheduler.timesteps.double() + 1, torch.zeros(1, dtype=torch.float64)])
        yield (
            f"{name}, diffusers",
            theirs,
            lambda ours=ours, grid=grid: retort.solve(
                model, x, solver=ours, schedule=grid, process=process, prediction="epsilon", time="step"
            ),
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="three rounds of ten steps")
    parser.add_argument("--output", type=pathlib.Path, help="where the table goes too")
    asked = parser.parse_args()
    steps, rounds = (10, 3) if asked.quick else (20, 9)
    model = Model().eval()
    lines = [
        f"{platform.machine()}, one core; torch {torch.__version__}; {steps} steps, 16 samples of 3 x 32 x 32; median of {rounds}.",
        "",
        "| solver, peer | ms outside the model: Retort | the peer | ratio | share of Retort's whole | of the peer's | difference of ends |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, theirs, ours in [*k_cases(model, k_diffusion_sampling(), steps), *diffusers_cases(model, steps)]:
        theirs(), ours()  # warm
        out_theirs, all_theirs, calls_theirs, ends_theirs = timed(model, theirs, rounds)
        out_ours, all_ours, calls_ours, ends_ours = timed(model, ours, rounds)
        difference = (ends_ours - ends_theirs).abs().max() / ends_theirs.abs().max()
        calls = "" if calls_ours == calls_theirs else f" ({calls_ours} calls, the peer {calls_theirs})"
        lines.append(
            f"| {name}{calls} | {1e3 * out_ours:.2f} | {1e3 * out_theirs:.2f} | {out_theirs / out_ours:.2f} | "
            f"{out_ours / all_ours:.1%} | {out_theirs / all_theirs:.1%} | {difference:.1e} |"
        )
    print("\n".join(lines))
    if asked.output:
        asked.output.write_text("\n".join(lines) + "\n")


main()
