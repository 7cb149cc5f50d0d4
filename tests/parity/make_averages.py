#!/usr/bin/env python3
"""Makes averages.json: averages of weights by EDM2's code, in float64, for tests/framework/averages.cpp.

    pip install torch numpy
    git clone https://github.com/NVlabs/edm2
    python make_averages.py --peer edm2

training/phema.py is executed from that checkout, and none of it is kept here. The weights after step k are those of `weights`. Each number is
also derived a second time from the paper (arXiv 2312.02696, appendix C), and the script stops where the two differ by more than 1e-10 of the
largest value: averages as sums over all weights, inner products by integration. EDM's half-life (training_loop.py) counts the samples before
the step, EDM2's those after it; the class of EDM2 is given the former here.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

LENGTHS = [0.005, 0.01, 0.03, 0.05, 0.1, 0.15, 0.2, 0.25, 0.288]
TRACKED = [0.05, 0.1]
WANTED = [0.03, 0.05, 0.07, 0.15, 0.25]
STEPS, BATCH, SNAPSHOTS = 64, 16, [8, 16, 24, 32, 40, 48, 56, 64]
HALF_LIVES = [(100.0, 0.05), (100.0, None), (1000.0, 0.3)]


def weights(k: int) -> np.ndarray:
    i = np.arange(3)
    return np.sin(0.3 * k + i) * (1 + k / 50)


def net_of(values: np.ndarray) -> torch.nn.Module:
    net = torch.nn.Module()
    net.w = torch.nn.Parameter(torch.tensor(values))
    return net


def near(found: object, derived: object) -> None:
    a, b = np.float64(found), np.float64(derived)
    assert np.abs(a - b).max() <= 1e-10 * np.abs(b).max(), (a, b)


def sum_over_all(gamma: float, steps: int) -> np.ndarray:
    """The average at a step: the weights of step k count as the profile's integral from k - 1 to k."""
    ends = (np.arange(steps + 1) / steps) ** (gamma + 1)
    return sum(share * weights(k + 1) for k, share in enumerate(np.diff(ends)))


def integral(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Of the product of two profiles (gamma, time), by Gauss and Legendre over the root of the time."""
    end = min(a[1], b[1])
    u, share = np.polynomial.legendre.leggauss(200)
    u, share = (u + 1) / 2, share / 2
    t = end * u**2
    profile = lambda p: (p[0] + 1) * t ** p[0] / p[1] ** (p[0] + 1)
    return float((profile(a) * profile(b) * share * end * 2 * u).sum())


def track(phema) -> dict[int, list[np.ndarray]]:
    """Snapshots: step to the averages of TRACKED."""
    net = net_of(weights(0))
    ema, out = phema.PowerFunctionEMA(net, stds=TRACKED), {}
    for k in range(1, STEPS + 1):
        net.w.data.copy_(torch.tensor(weights(k)))
        ema.update(cur_nimg=k * BATCH, batch_size=BATCH)
        if k in SNAPSHOTS:
            out[k] = [e.w.detach().numpy().copy() for e, _ in ema.get()]
            for length, value in zip(TRACKED, out[k]):
                near(value, sum_over_all(float(phema.std_to_exp(length)), k))
    return out


def half_life(phema, samples: float, rampup: float | None) -> list[list[float]]:
    net = net_of(weights(0))
    ema = phema.TraditionalEMA(net, halflife_Mimg=samples / 1e6, rampup_ratio=rampup)
    out = []
    for k in range(1, STEPS + 1):
        net.w.data.copy_(torch.tensor(weights(k)))
        ema.update(cur_nimg=(k - 1) * BATCH, batch_size=BATCH)
        out.append(ema.get().w.detach().tolist())
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", type=Path, required=True)
    peer = parser.parse_args().peer
    sys.path.insert(0, str(peer))
    from training import phema

    gammas = [float(phema.std_to_exp(length)) for length in LENGTHS]
    near([phema.exp_to_std(g) for g in gammas], LENGTHS)
    pairs = [(a, s, b, t) for a in (0.03, 0.1, 0.25) for s in (0.3, 1.0) for b in (0.05, 0.2) for t in (0.5, 1.0)]
    products = [float(phema.power_function_correlation(s, a, t, b)) for a, s, b, t in pairs]
    near(products, [integral((float(phema.std_to_exp(a)), s), (float(phema.std_to_exp(b)), t)) for a, s, b, t in pairs])
    snapshots = track(phema)
    steps = [k for k in SNAPSHOTS for _ in TRACKED]
    shares = phema.solve_posthoc_coefficients(steps, TRACKED * len(SNAPSHOTS), STEPS, WANTED)
    ends = shares.T @ np.concatenate([snapshots[k] for k in SNAPSHOTS])
    out = {
        "made_by": "tests/parity/make_averages.py",
        "edm2": subprocess.check_output(["git", "-C", str(peer), "rev-parse", "HEAD"], text=True).strip()[:7],
        "lengths": LENGTHS,
        "gammas": gammas,
        "decays": [[float(phema.power_function_beta(a, k * BATCH, BATCH)) for k in (1, 2, 10, 1000)] for a in LENGTHS],
        "pairs": pairs,
        "products": products,
        "tracked": TRACKED,
        "snapshots": SNAPSHOTS,
        "averages": [[v.tolist() for v in snapshots[k]] for k in SNAPSHOTS],
        "wanted": WANTED,
        "shares": shares.T.tolist(),
        "reconstructed": ends.tolist(),
        "steps": STEPS,
        "batch": BATCH,
        "half_lives": [{"samples": s, "rampup": r or 0, "averages": half_life(phema, s, r)} for s, r in HALF_LIVES],
    }
    (Path(__file__).parent / "averages.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
