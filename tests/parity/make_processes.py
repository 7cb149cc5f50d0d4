#!/usr/bin/env python3
"""Makes processes.json: noise tables of diffusers' schedulers, and DDIM solves along them, for tests/sdk/process.cpp.

    pip install torch diffusers==0.42.1
    OMP_NUM_THREADS=1 python make_processes.py

"config" holds keys of a scheduler_config.json. "times" are Retort's: t = 0 is clean data and t >= 1 is the peers' table entry t - 1.
The teacher of a solve is an analytic Gaussian mixture; it starts at the last t, which has alpha = 0 where the config rescales the
table to zero terminal SNR, and there it predicts v = alpha eps - sigma x0.

The peers' constructors make their tables in float32; here their modules are given float64 under that name, and make them in it.
Every number is derived a second time from the published formulas, in numpy, and the script stops where the two differ by more than
1e-12 (of the largest value, for the ends of solves).
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers.schedulers import scheduling_ddim, scheduling_ddpm

from make_solvers import TEACHERS, start_points

Tensor = torch.Tensor
torch.set_default_dtype(torch.float64)
TEACHER = "mixture_1d"


class TorchInFloat64:
    """The torch module, in which float32 is float64."""

    def __getattr__(self, name: str) -> object:
        return torch.float64 if name == "float32" else getattr(torch, name)


for module in (scheduling_ddim, scheduling_ddpm):
    module.torch = TorchInFloat64()


def prediction(x: Tensor, alpha: Tensor, sigma: Tensor, kind: str) -> Tensor:
    """The mixture's exact eps or v at x. x: [B, D]; alpha, sigma: scalars, of which alpha may be 0."""
    mixture = {key: torch.tensor(value) for key, value in TEACHERS[TEACHER].items()}
    variance = alpha**2 * mixture["stds"] ** 2 + sigma**2
    offset = x[:, None, :] - alpha * mixture["means"]
    log_joint = mixture["weights"].log() - 0.5 * (offset**2).sum(2) / variance - 0.5 * x.shape[1] * variance.log()
    weight = torch.softmax(log_joint, 1)[:, :, None]
    eps = sigma * (weight * offset / variance[:, None]).sum(1)
    if kind == "epsilon":
        return eps
    gain = alpha * mixture["stds"] ** 2 / variance
    data = (weight * (mixture["means"] + gain[:, None] * offset)).sum(1)
    return alpha * eps - sigma * data


def derived_levels(config: dict) -> tuple[np.ndarray, np.ndarray]:
    """alpha and sigma at t = 0 … T, from the definitions of the schedules."""
    count = config["num_train_timesteps"]
    place = np.arange(count) / (count - 1)
    if config["trained_betas"] is not None:
        betas = np.array(config["trained_betas"])
    elif config["beta_schedule"] == "linear":
        betas = config["beta_start"] + place * (config["beta_end"] - config["beta_start"])
    elif config["beta_schedule"] == "scaled_linear":
        low, high = math.sqrt(config["beta_start"]), math.sqrt(config["beta_end"])
        betas = (low + place * (high - low)) ** 2
    else:  # Nichol & Dhariwal 2021, eq. 17
        bar = np.cos((np.arange(count + 1) / count + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - bar[1:] / bar[:-1], 0.999)
    alphas = np.exp(0.5 * np.cumsum(np.log1p(-betas)))
    if config["rescale_betas_zero_snr"]:  # Lin et al. 2023, algorithm 1: sqrt(alpha bar) is shifted and scaled
        alphas = (alphas - alphas[-1]) * (alphas[0] / (alphas[0] - alphas[-1]))
    return np.concatenate([[1.0], alphas]), np.concatenate([[0.0], np.sqrt(1 - alphas**2)])


def derived_end(config: dict, times: list[int], start: list) -> np.ndarray:
    """DDIM by the posterior means and covariances of the mixture's components."""
    weights, means, stds = (np.array(TEACHERS[TEACHER][key]) for key in ("weights", "means", "stds"))
    alphas, sigmas = derived_levels(config)
    x = np.array(start)
    for t, s in zip(times[:-1], times[1:]):
        a, b = alphas[t], sigmas[t]
        data, mass = np.zeros_like(x), np.zeros((len(x), 1))
        for w, m, d in zip(weights, means, stds):
            total = a * a * d * d + b * b
            density = w * np.exp(-0.5 * ((x - a * m) ** 2).sum(1, keepdims=True) / total) / total ** (x.shape[1] / 2)
            data += density * (a * d * d * x + b * b * m) / total
            mass += density
        data /= mass
        x = alphas[s] * data + sigmas[s] / b * (x - a * data)
    return x


def make_case(config: dict, steps: int) -> tuple[dict, float]:
    count = config["num_train_timesteps"]
    ddim = diffusers.DDIMScheduler(**config, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing")
    ddpm = diffusers.DDPMScheduler(**config)
    assert torch.equal(ddim.alphas_cumprod, ddpm.alphas_cumprod) and ddim.alphas_cumprod.dtype == torch.float64
    bar = torch.cat([ddim.final_alpha_cumprod[None], ddim.alphas_cumprod])
    alphas, sigmas = bar.sqrt(), (1 - bar).sqrt()

    derived = derived_levels(config)
    difference = max(float(np.abs(alphas.numpy() - derived[0]).max()), float(np.abs(sigmas.numpy() - derived[1]).max()))
    name = f"{'trained_betas' if config['trained_betas'] else config['beta_schedule']}, {count} steps" + \
        (", zero terminal SNR" if config["rescale_betas_zero_snr"] else "")
    times = sorted({0, 1, 2, 3, count // 4, count // 3, count // 2, 3 * count // 4, count - 2, count - 1, count})

    ddim.set_timesteps(steps)
    x = start_points(TEACHER, 5, 1.0, 21)
    state = x
    for index in ddim.timesteps.tolist():
        output = prediction(state, alphas[index + 1], sigmas[index + 1], config["prediction_type"])
        state = ddim.step(output, index, state, eta=0.0).prev_sample
    assert torch.isfinite(state).all()
    grid = [index + 1 for index in ddim.timesteps.tolist()] + [0]
    end = derived_end(config, grid, x.tolist())
    difference = max(difference, float(np.abs(end - state.numpy()).max() / np.abs(end).max()))
    assert difference < 1e-12, f"{name}: differs from the formulas by {difference:.1e}"
    return {"name": name, "config": config, "times": times, "alpha": alphas[times].tolist(), "sigma": sigmas[times].tolist(),
            "solve": {"teacher": TEACHER, "solver": {"type": "ddim"}, "times": grid, "start": x.tolist(), "end": state.tolist(),
                      "tolerance": 1e-10}}, difference


def main() -> None:
    cases, largest = [], 0.0
    betas = [0.01, 0.03, 0.08, 0.2, 0.35, 0.6, 0.9]
    tables = [({"num_train_timesteps": count, "beta_start": low, "beta_end": high, "beta_schedule": kind, "trained_betas": None}, steps)
              for kind, low, high in [("linear", 0.0001, 0.02), ("scaled_linear", 0.00085, 0.012), ("squaredcos_cap_v2", 0.0001, 0.02)]
              for count, steps in [(1000, 10), (250, 10), (50, 5)]]
    tables.append(({"num_train_timesteps": len(betas), "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
                    "trained_betas": betas}, len(betas)))
    for table, steps in tables:
        for rescale in (False, True):
            prediction_type = "v_prediction" if rescale else "epsilon"
            case, difference = make_case({**table, "prediction_type": prediction_type, "rescale_betas_zero_snr": rescale}, steps)
            cases.append(case)
            largest = max(largest, difference)
    head = {"made_by": "tests/parity/make_processes.py", "peers": {"diffusers": diffusers.__version__},
            "teachers": {TEACHER: TEACHERS[TEACHER]}}
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    text = json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n' + lines + "\n ]\n}\n"
    json.loads(text)
    (Path(__file__).parent / "processes.json").write_text(text)
    print(f"{len(cases)} cases, at most {largest:.1e} from the formulas")


if __name__ == "__main__":
    main()
