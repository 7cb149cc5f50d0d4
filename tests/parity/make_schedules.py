#!/usr/bin/env python3
"""Makes schedules.json: grids and draws of training times by other projects' own code, for tests/plugins/schedules_grids.cpp.

    pip install torch scipy diffusers==0.42.1
    git clone https://github.com/crowsonkb/k-diffusion
    git clone https://github.com/LuChengTHU/dpm-solver
    git clone https://github.com/ClownsharkBatwing/RES4LYF
    git clone https://github.com/leejet/stable-diffusion.cpp
    git clone https://github.com/openai/consistency_models
    git clone https://github.com/NVlabs/FastGen
    OMP_NUM_THREADS=1 python make_schedules.py --checkouts .

A grid is "levels" sigma / alpha or "times", or "intervals", a curriculum's number after a share "progress" of the training. diffusers'
timesteps are one lower than our times, where t = 0 is clean data. A density is "levels", or "times" as shares of the noisiest, and
"uniform" or "normal" holds what it was drawn from.

The peers' functions are imported, or executed from the checkouts; none of them is kept here. Their casts to float32 are made void,
and a C++ peer is compiled with double for float. Every number is derived a second time from the published formula, in numpy, and the
script stops where the two differ by more than 1e-12 of the largest value.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import re
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import diffusers
import numpy as np
import scipy.stats
import torch
from diffusers.schedulers import scheduling_euler_discrete, scheduling_flow_match_euler_discrete
from diffusers.schedulers.scheduling_utils import AysSchedules

from make_solvers import commit, load_k_diffusion, without_casts_to_float32

Array = np.ndarray
TABLE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
VE, SD, FLOW = {"type": "ve"}, {"type": "vp_scaled_linear"}, {"type": "rectified_flow"}


class InFloat64:
    """A module in which float32 is float64."""

    def __init__(self, module: types.ModuleType) -> None:
        self.module = module

    def __getattr__(self, name: str) -> object:
        return getattr(self.module, "float64" if name == "float32" else name)


for module in (scheduling_euler_discrete, scheduling_flow_match_euler_discrete):
    module.torch, module.np = InFloat64(torch), InFloat64(np)


class Numbers:
    """Numbers of peers, each held against a derivation."""

    def __init__(self) -> None:
        self.cases: list[dict] = []
        self.largest_difference = 0.0

    def add(self, case: dict, what: str, found: object, derived: object) -> None:
        found, derived = np.asarray(found, dtype=np.float64), np.asarray(derived, dtype=np.float64)
        assert found.shape == derived.shape and np.isfinite(found).all(), case
        difference = float(np.abs(found - derived).max() / np.abs(derived).max())
        assert difference < 1e-12, f"{case}: differs from the formula by {difference:.1e}"
        self.largest_difference = max(self.largest_difference, difference)
        self.cases.append({**case, what: found.tolist()})


def function_of(file: Path, name: str, **names: object) -> Callable:
    """One function or method of a file, executed alone, with what it uses."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            node.decorator_list, node.returns = [], None
            for argument in [*node.args.args, *node.args.kwonlyargs]:
                argument.annotation = None
            exec(compile(ast.Module([node], []), str(file), "exec"), names)
            return names[name]
    raise SystemExit(f"{file} has no {name}")


def with_zero(numbers: Array) -> Array:
    return np.append(numbers, 0.0)


def karras(count: int, low: float, high: float, rho: float) -> Array:
    return (high ** (1 / rho) + np.linspace(0, 1, count) * (low ** (1 / rho) - high ** (1 / rho))) ** rho


def add_k_diffusion(out: Numbers, sampling: types.ModuleType) -> None:
    def add(name: str, schedule: dict, found: torch.Tensor, derived: Array) -> None:
        out.add({"name": name, "peer": "k-diffusion", "process": VE, "schedule": schedule}, "levels", found, with_zero(derived))

    n, low, high = 7, 0.01, 50.0
    ends = {"steps": n, "sigma_min": low, "sigma_max": high}
    for rho in (7.0, 1.0):
        add(f"karras, rho = {rho}", {"type": "karras", **ends, "rho": rho}, sampling.get_sigmas_karras(n, low, high, rho),
            karras(n, low, high, rho))
    add("exponential", {"type": "log_snr", **ends}, sampling.get_sigmas_exponential(n, low, high), np.geomspace(high, low, n))
    for rho in (0.5, 2.0):
        add(f"polyexponential, rho = {rho}", {"type": "log_snr", **ends, "rho": rho},
            sampling.get_sigmas_polyexponential(n, low, high, rho), low * (high / low) ** (np.linspace(1, 0, n) ** rho))
    for beta_d, beta_min, eps in ((19.9, 0.1, 1e-3), (6.0, 0.4, 0.02)):
        alphas = np.exp(-0.25 * np.linspace(1, eps, n) ** 2 * beta_d - 0.5 * np.linspace(1, eps, n) * beta_min)
        add(f"continuous VP, beta_d = {beta_d}",
            {"type": "vp", "steps": n, "beta_min": beta_min, "beta_max": beta_min + beta_d, "eps_s": eps},
            sampling.get_sigmas_vp(n, beta_d, beta_min, eps), np.sqrt((1 - alphas) * (1 + alphas)) / alphas)


def table_levels() -> Array:
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas_squared = np.exp(np.cumsum(np.log1p(-betas)))
    return np.sqrt((1 - alphas_squared) / alphas_squared)


def add_diffusers_levels(out: Numbers) -> None:
    """What EulerDiscreteScheduler makes of sigma / alpha."""
    levels, n = table_levels(), 8
    low, high = float(levels[0]), float(levels[-1])
    ends = {"steps": n, "sigma_min": low, "sigma_max": high}
    quantiles = scipy.stats.beta.ppf(np.linspace(1, 0, n), 0.6, 0.6)
    for key, schedule, derived in (
        ("karras", {"type": "karras", **ends}, karras(n, low, high, 7)),
        ("exponential", {"type": "log_snr", **ends}, np.geomspace(high, low, n)),
        ("beta", {"type": "beta", "steps": n - 1, "variable": "noise_level", "t_min": 1.0, "final_zero": True},
         low + quantiles * (high - low)),
    ):
        scheduler = diffusers.EulerDiscreteScheduler(**TABLE, **{f"use_{key}_sigmas": True})
        with without_casts_to_float32():
            scheduler.set_timesteps(n)
        out.add({"name": f"Euler, {key}", "peer": "diffusers", "process": SD, "schedule": schedule}, "levels", scheduler.sigmas,
                with_zero(derived))
    for model, key in (("sd15", "StableDiffusionSigmas"), ("sdxl", "StableDiffusionXLSigmas"), ("svd", "StableDiffusionVideoSigmas")):
        found = AysSchedules[key]
        out.add({"name": f"Align Your Steps, {model}", "peer": "diffusers", "process": VE, "schedule": {"type": "ays", "model": model}},
                "levels", found, found)
    # Their beta distribution, of time. It is symmetric, and its quantiles from 1 / 2 up are found from those below.
    for alpha, beta in ((0.6, 0.6), (0.5, 1.5)):
        found = scipy.stats.beta.ppf(np.linspace(1, 0, n + 1), alpha, beta)
        out.add({"name": f"beta, {alpha} and {beta}", "peer": "scipy", "process": FLOW,
                 "schedule": {"type": "beta", "steps": n, "alpha": alpha, "beta": beta}}, "times", found,
                1 - scipy.special.betaincinv(beta, alpha, np.linspace(0, 1, n + 1)))


def add_diffusers_steps(out: Numbers) -> None:
    def add(kind: str, scheduler: object, n: int, schedule: dict, derived: list, **more: object) -> None:
        scheduler.set_timesteps(n, **more)
        found = (scheduler.timesteps.numpy() + 1).tolist()
        case = {"name": f"{kind}, {n} steps", "peer": "diffusers", "process": SD, "schedule": {"type": "ddpm", "steps": n, **schedule}}
        out.add(case, "times", found + [0], derived + [0])

    for n in (1, 7, 16, 30, 999):
        add("trailing", diffusers.DDIMScheduler(**TABLE, timestep_spacing="trailing"), n, {"spacing": "trailing"},
            [round(1000 - i * 1000 / n) for i in range(n)])
    for n, offset in ((1, 0), (7, 1), (50, 1), (1000, 0)):
        add(f"leading, offset {offset}", diffusers.DDIMScheduler(**TABLE, timestep_spacing="leading", steps_offset=offset), n,
            {"spacing": "leading", "steps_offset": offset}, [i * (1000 // n) + offset + 1 for i in reversed(range(n))])
        if n < 1000:
            add(f"DPM-Solver leading, offset {offset}",
                diffusers.DPMSolverMultistepScheduler(**TABLE, timestep_spacing="leading", steps_offset=offset), n,
                {"spacing": "leading", "steps_offset": offset, "lower_end": False},
                [i * (1000 // (n + 1)) + offset + 1 for i in range(n, 0, -1)])
    for n in (2, 3, 7, 50, 1000):
        add("linspace", diffusers.DDIMScheduler(**TABLE, timestep_spacing="linspace"), n, {"spacing": "linspace"},
            [round(i * 999 / (n - 1)) + 1 for i in reversed(range(n))])
    for n in (1, 7, 50, 999):
        add("DPM-Solver linspace", diffusers.DPMSolverMultistepScheduler(**TABLE, timestep_spacing="linspace"), n,
            {"spacing": "linspace", "lower_end": False}, [round(i * 999 / n) + 1 for i in range(n, 0, -1)])
    for n, original in ((1, 50), (4, 50), (7, 50), (50, 50), (3, 36)):
        add(f"LCM of {original}", diffusers.LCMScheduler(**TABLE), n, {"spacing": "lcm", "original_steps": original},
            [(original - i * original // n) * (1000 // original) for i in range(n)], original_inference_steps=original)


def add_flow(out: Numbers) -> None:
    calculate_shift = function_of(Path(diffusers.__file__).parent / "pipelines/flux/pipeline_flux.py", "calculate_shift")

    def add(name: str, n: int, schedule: dict, config: dict, mu: float | None, s: float, last: float | None = None) -> None:
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**config)
        even = np.linspace(1, 1 / n, n)
        with without_casts_to_float32():
            scheduler.set_timesteps(n, sigmas=None if last else even.tolist(), mu=mu)
        u = np.linspace(1, last, n) if last else even
        level = s * u[1:] / (1 - u[1:])  # of t / (1 - t)
        t = np.append(1.0, level / (1 + level))
        if "shift_terminal" in schedule:
            t = 1 - (1 - t) / (1 - t[-1]) * (1 - schedule["shift_terminal"])
        out.add({"name": name, "peer": "diffusers", "process": FLOW, "schedule": {"type": "flow_shift", "steps": n, **schedule}}, "times",
                scheduler.sigmas, with_zero(t))

    for s in (1.0, 3.0, 0.6):
        add(f"shift {s}", 6, {"shift": s}, {"shift": s}, None, s)
    last = 3 * 0.001 / (1 + 2 * 0.001)
    add("its own times", 6, {"shift": 3.0, "last": last}, {"shift": 3.0}, None, 3.0, last)
    add("terminal", 6, {"shift": 3.0, "shift_terminal": 0.1}, {"shift": 3.0, "shift_terminal": 0.1}, None, 3.0)
    for kind in ("exponential", "linear"):
        for length in (256, 1024, 6400):
            mu = calculate_shift(length)
            derived = 0.5 + (length - 256) * 0.65 / 3840
            assert abs(mu - derived) < 1e-12
            config = {"use_dynamic_shifting": True, "time_shift_type": kind}
            add(f"{kind}, {length} tokens", 6, {"image_seq_len": length, "time_shift_type": kind}, config, mu,
                math.exp(derived) if kind == "exponential" else derived)


def add_mochi(out: Numbers) -> None:
    peer = function_of(Path(diffusers.__file__).parent / "pipelines/mochi/pipeline_mochi.py", "linear_quadratic_schedule")
    for n, c, linear in ((2, 0.025, None), (9, 0.1, 6), (64, 0.025, None)):
        first = linear or n // 2
        derived = []
        for i in range(n):  # the slope grows evenly from c / first on, such that all ends at 0
            rest = max(0, i - first)
            growth = 2 * (1 - c - (n - first) * c / first) / (n - first) ** 2
            derived.append(1 - c / first * i - growth * rest**2 / 2)
        schedule = {"type": "linear_quadratic", "steps": n, "threshold": c, **({"linear_steps": linear} if linear else {})}
        out.add({"name": f"linear_quadratic, {n} steps", "peer": "diffusers", "process": FLOW, "schedule": schedule}, "times",
                peer(n, c, linear) + [0.0], derived + [0.0])


def add_dpm_solver(out: Numbers, folder: Path) -> None:
    time_steps = function_of(folder / "dpm_solver_pytorch.py", "get_time_steps", torch=torch)
    out.add({"name": "quadratic in time", "peer": "dpm-solver", "process": {"type": "vp_linear"},
             "schedule": {"type": "uniform", "steps": 9, "t_min": 1e-3, "rho": 2.0}}, "times",
            time_steps(None, "time_quadratic", 1.0, 1e-3, 9, "cpu"), (1 + np.arange(10) / 9 * (1e-3**0.5 - 1)) ** 2)


def add_res4lyf(out: Numbers, folder: Path) -> None:
    names = {"atan": math.atan, "pi": math.pi, "torch": torch}
    names["get_bong_tangent_sigmas"] = function_of(folder / "sigmas.py", "get_bong_tangent_sigmas", **names)
    peer = function_of(folder / "sigmas.py", "bong_tangent_scheduler", **names)
    for n, more in ((2, {}), (3, {}), (20, {}), (41, {}), (20, {"middle": 0.3, "pivot": 0.4, "slope": 0.7})):
        keys = {"middle": 0.5, "pivot": 0.6, "slope": 0.2, **more}
        found = peer(None, n, middle=keys["middle"], pivot_1=keys["pivot"], pivot_2=keys["pivot"], slope_1=keys["slope"],
                     slope_2=keys["slope"])
        cut, k = int((n + 2) * keys["pivot"]), keys["slope"] * 40 / (n + 2)
        before, after = np.arctan(k * np.arange(cut, 0, -1)), np.arctan(k * np.arange(0, -(n + 2 - cut), -1))
        derived = np.append(keys["middle"] + (1 - keys["middle"]) * ((before - before[-1]) / (before[0] - before[-1]))[:-1],
                            keys["middle"] * (1 - after / after[-1]))
        out.add({"name": f"bong_tangent, {n} steps {more or ''}".strip(), "peer": "RES4LYF", "process": FLOW,
                 "schedule": {"type": "bong_tangent", "steps": n, **more}}, "times", found, derived)


def stable_diffusion_cpp(folder: Path, call: str) -> list[float]:
    """What a call of its header's functions returns, compiled with double for float."""
    text = (folder / "src/runtime/denoiser.hpp").read_text()

    def piece(start: str, end: str) -> str:
        begin = text.index(start)
        return text[begin:text.index(end, begin) + len(end)]

    pieces = [piece(f"inline std::vector<{of}", "\n}") for of in ("float> linear_space", "double> linear_interp",
                                                                 "float> log_linear_interpolation")]
    pieces = [piece("constexpr double interp", "\n}"), *pieces]
    pieces += [piece(f"struct {name}", "\n};") for name in ("SigmaScheduler {", "SmoothStepScheduler", "KLOptimalScheduler")]
    body = re.sub(r"(\d\.?\d*(?:e-?\d+)?)f\b", r"\1", "\n".join(pieces)).replace("float", "double")
    source = ("#include <cmath>\n#include <cstdint>\n#include <cstdio>\n#include <functional>\n#include <vector>\n"
              f"#define LOG_ERROR(...)\nconstexpr int TIMESTEPS = 1000;\n{body}\n"
              f'int main() {{ for (double x : {call}) std::printf("%.17g\\n", x); }}\n')
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "a.cpp").write_text(source)
        subprocess.run(["c++", "-std=c++20", "-O1", "-o", f"{scratch}/a", f"{scratch}/a.cpp"], check=True)
        return [float(line) for line in subprocess.run([f"{scratch}/a"], check=True, capture_output=True, text=True).stdout.split()]


def add_stable_diffusion_cpp(out: Numbers, folder: Path) -> None:
    n, low, high = 9, 0.01, 50.0
    found = stable_diffusion_cpp(folder, f"KLOptimalScheduler().get_sigmas({n}, {low}, {high}, nullptr)")
    angles = np.linspace(math.atan(high), math.atan(low), n)
    out.add({"name": "kl_optimal", "peer": "stable-diffusion.cpp", "process": VE,
             "schedule": {"type": "kl_optimal", "steps": n, "sigma_min": low, "sigma_max": high}}, "levels", found,
            with_zero(np.sin(angles) / np.cos(angles)))
    found = stable_diffusion_cpp(folder, "SmoothStepScheduler().get_sigmas(20, 0, 0, [](double t) { return t; })")
    u = 1 - np.arange(21) / 20
    out.add({"name": "smoothstep", "peer": "stable-diffusion.cpp", "process": VE, "rounded": True,
             "schedule": {"type": "smoothstep", "steps": 20, "t_max": 999.0}}, "times", found, np.round(999 * (3 * u**2 - 2 * u**3)))
    for model, key in (("sd15", "StableDiffusionSigmas"), ("svd", "StableDiffusionVideoSigmas")):
        table = [*AysSchedules[key][:-1], {"sd15": 0.029, "svd": 0.002}[model]]
        for steps in (4, 7, 25):
            found = stable_diffusion_cpp(folder, f"log_linear_interpolation({{{', '.join(map(str, table))}}}, {steps + 1})")
            derived = [math.prod(table[j] ** max(0, 1 - abs(j - i * 10 / steps)) for j in range(11)) for i in range(steps + 1)]
            out.add({"name": f"Align Your Steps, {model}, {steps} steps", "peer": "stable-diffusion.cpp", "process": VE,
                     "schedule": {"type": "ays", "model": model, "steps": steps, "final_zero": False}}, "levels", found, derived)


def add_curriculum(out: Numbers, folder: Path) -> None:
    make = function_of(folder / "cm/script_util.py", "create_ema_and_scales_fn", np=np)
    for first, last in ((2, 150), (10, 200)):
        scales = make("fixed", 0.95, "progressive", first, last, 1000, 0)
        for step in (0, 1, 50, 333, 999, 1000):
            derived = max(math.isqrt(max(math.ceil(step * ((last + 1) ** 2 - first**2) / 1000) + first**2 - 1, 0)), 1)
            out.add({"name": f"progressive, {first} to {last}, step {step}", "peer": "consistency_models", "process": VE,
                     "schedule": {"type": "progressive", "s0": first, "s1": last}, "progress": step / 1000}, "intervals",
                    [scales(step)[1] - 1], [derived])


def add_densities(out: Numbers, k_diffusion: Path, fastgen: Path) -> None:
    utils, schedules = k_diffusion / "k_diffusion/utils.py", fastgen / "fastgen/networks/noise_schedule.py"
    u = np.array([0.0, 0.02, 0.11, 0.3, 0.5, 0.64, 0.87, 0.99])
    z = scipy.stats.norm.ppf((np.arange(len(u)) + u) / len(u)).clip(-5)
    low, high = 0.01, 50.0
    ends = {"sigma_min": low, "sigma_max": high}

    class Given(InFloat64):
        """torch or numpy.random, which draw the given numbers."""

        def rand(self, *_: object, **__: object) -> torch.Tensor:
            return torch.tensor(u)

        def randn(self, *_: object, **__: object) -> torch.Tensor:
            return torch.tensor(z)

        def uniform(self, a: float, b: float, _: int) -> Array:
            return a + (b - a) * u

    given = Given(torch)

    def k_diffusion_draw(name: str, stratified: bool = False, **keys: object) -> torch.Tensor:
        uniform = function_of(utils, "stratified_uniform", torch=given)
        names = {"torch": given, "math": math, "stratified_with_settings":
                 lambda shape, **_: uniform(shape) if stratified else given.rand()}
        return function_of(utils, name, **names)((len(u),), dtype=torch.float64, **keys)

    def add(name: str, peer: str, keys: dict, what: str, found: torch.Tensor, derived: Array, draws: dict | None = None) -> None:
        out.add({"name": name, "peer": peer, "process": VE if what == "levels" else FLOW, "density": keys,
                 **(draws or {"uniform": u.tolist()})}, what, found, derived)

    add("log_uniform", "k-diffusion", {"times": "log_uniform", **ends}, "levels",
        k_diffusion_draw("rand_log_uniform", min_value=low, max_value=high), low * (high / low) ** u)
    add("log_uniform, stratified", "k-diffusion", {"times": "log_uniform", **ends, "stratified": True}, "levels",
        k_diffusion_draw("rand_log_uniform", True, min_value=low, max_value=high), low * (high / low) ** ((np.arange(len(u)) + u) / len(u)))

    def cosine(t: Array, unit: float) -> Array:
        a, b = math.atan(low / unit), math.atan(high / unit)
        return unit * np.tan(a * (1 - t) + b * t)

    add("v_diffusion", "k-diffusion", {"times": "v_diffusion", **ends, "sigma_data": 0.5}, "levels",
        k_diffusion_draw("rand_v_diffusion", sigma_data=0.5, min_value=low, max_value=high), cosine(u, 0.5))
    add("cosine_interpolated", "k-diffusion",
        {"times": "cosine_interpolated", **ends, "sigma_data": 0.5, "image_d": 128.0, "noise_d_low": 32.0, "noise_d_high": 64.0}, "levels",
        k_diffusion_draw("rand_cosine_interpolated", image_d=128, noise_d_low=32, noise_d_high=64, sigma_data=0.5, min_value=low,
                         max_value=high), cosine(1 - u, 2.0) ** (1 - u) * cosine(1 - u, 1.0) ** u,
        {"uniform": (1 - u).tolist()})  # it counts from the noise

    numpy = InFloat64(np)
    numpy.random = Given(np.random)
    student_t = function_of(schedules, "_truncated_log_t_sample", np=numpy, stats=scipy.stats, torch=torch)
    fake = types.SimpleNamespace(clamp_min=1e-6, t_precision=torch.float64)
    for mean, std, freedom in ((0.0, 0.2, 0.01), (-1.0, 1.6, 2.0), (0.5, 0.7, 3.5)):
        a, b = scipy.special.stdtr(freedom, (math.log(low) - mean) / std), scipy.special.stdtr(freedom, (math.log(high) - mean) / std)
        # By the quantiles of the beta distribution that 1 / (1 + x^2 / freedom) has.
        mass = a + (b - a) * u
        share = scipy.special.betaincinv(freedom / 2, 0.5, 2 * np.minimum(mass, 1 - mass))
        derived = np.exp(mean + std * np.sign(mass - 0.5) * np.sqrt(freedom * (1 - share) / share))
        add(f"log_student_t, {freedom}", "FastGen",
            {"times": "log_student_t", **ends, "log_sigma_mean": mean, "log_sigma_std": std, "freedom": freedom}, "levels",
            student_t(fake, len(u), mean, std, low, high, freedom), derived)

    # The class of rectified flows has the last sample_t of the file that knows "shifted".
    text = schedules.read_text()
    tree = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef) and node.name == "sample_t"
            and "shifted" in ast.get_source_segment(text, node)]
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "rf.py").write_text(ast.unparse(tree[-1]))
        sample_t = function_of(Path(scratch) / "rf.py", "sample_t", torch=given)
    rf = types.SimpleNamespace(_supported_time_dist_types=["logitnormal", "shifted"], min_t=0.0, max_t=1.0, t_precision=torch.float64,
                               _sigmas=torch.zeros(1), safe_clamp=lambda t, *_: t)
    keys = {"train_p_mean": -0.4, "train_p_std": 1.3, "min_t": 0.0, "max_t": 1.0}
    add("logit_normal", "FastGen", {"times": "logit_normal", "logit_mean": -0.4, "logit_std": 1.3}, "times",
        sample_t(rf, len(u), "logitnormal", **keys), 1 / (1 + np.exp(0.4 - 1.3 * z)), {"normal": z.tolist()})
    add("uniform, shifted", "FastGen", {"times": "uniform", "t_min": 0.02, "shift": 5.0}, "times",
        sample_t(rf, len(u), "shifted", **{**keys, "min_t": 0.02}, shift=5.0), 5 * (0.02 + 0.98 * u) / (1 + 4 * (0.02 + 0.98 * u)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkouts", type=Path, required=True, help="the folder of the checkouts")
    folder = parser.parse_args().checkouts
    names = ("k-diffusion", "dpm-solver", "RES4LYF", "stable-diffusion.cpp", "consistency_models", "FastGen")
    peers = {name: commit(folder / name) for name in names}
    out = Numbers()
    add_k_diffusion(out, load_k_diffusion(folder / "k-diffusion"))
    add_diffusers_levels(out)
    add_diffusers_steps(out)
    add_flow(out)
    add_mochi(out)
    add_dpm_solver(out, folder / "dpm-solver")
    add_res4lyf(out, folder / "RES4LYF")
    add_stable_diffusion_cpp(out, folder / "stable-diffusion.cpp")
    add_curriculum(out, folder / "consistency_models")
    add_densities(out, folder / "k-diffusion", folder / "FastGen")
    head = {"made_by": "tests/parity/make_schedules.py",
            "peers": {**peers, "diffusers": diffusers.__version__, "scipy": version("scipy")}}
    lines = ",\n".join("  " + json.dumps(case) for case in out.cases)
    text = json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n' + lines + "\n ]\n}\n"
    json.loads(text)
    (Path(__file__).parent / "schedules.json").write_text(text)
    print(f"{len(out.cases)} cases, at most {out.largest_difference:.1e} from the formulas")


if __name__ == "__main__":
    sys.exit(main())
