#!/usr/bin/env python3
"""Makes metrics.json: figures of metrics by code that we did not write, for tests/plugins/metrics.cpp.

    pip install numpy scipy scikit-learn prdc POT
    python make_metrics.py

Each case is two sets of float32 numbers, about the origin or far from it, degenerate, few, or of more features than samples. FD by
scipy's matrix root, KID by scikit-learn's kernel, precision and recall by prdc (where distances are equal, by scipy's cdist, since prdc
leaves out the ball's own border, and the paper, eq. 1, does not), sliced Wasserstein by POT.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import ot
import scipy.linalg
from prdc import compute_prdc
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import polynomial_kernel

NEIGHBOURS = 5


def fd(a: np.ndarray, b: np.ndarray) -> float:
    ca, cb = np.atleast_2d(np.cov(a, rowvar=False)), np.atleast_2d(np.cov(b, rowvar=False))
    root = scipy.linalg.sqrtm(ca @ cb)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca) + np.trace(cb) - 2 * np.trace(root).real)


def kid(a: np.ndarray, b: np.ndarray) -> float:
    """The unbiased estimate over all samples (Binkowski et al. 2018, eq. 4)."""
    n = len(a)
    xx, yy, xy = (polynomial_kernel(u, v, degree=3, coef0=1) for u, v in ((a, a), (b, b), (a, b)))
    return float((xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (n * (n - 1)) - 2 * xy.mean())


def covered(points: np.ndarray, support: np.ndarray) -> float:
    radius = np.sort(cdist(support, support), axis=1)[:, NEIGHBOURS]
    return float((cdist(points, support) <= radius).any(1).mean())


def case(name: str, a: np.ndarray, b: np.ndarray, ties: bool = False) -> dict:
    a, b = a.astype(np.float32), b.astype(np.float32)
    x, y = a.astype(np.float64), b.astype(np.float64)
    out = {"name": name, "a": a.tolist(), "b": b.tolist()}
    if len(x) > 1 and len(y) > 1:
        out["fd"] = fd(x, y)
        if len(x) == len(y):
            out["kid"] = kid(x, y)
    if len(x) > NEIGHBOURS and len(y) > NEIGHBOURS:
        if ties:
            out["precision"], out["recall"] = covered(x, y), covered(y, x)
        else:
            found = compute_prdc(real_features=y, fake_features=x, nearest_k=NEIGHBOURS)
            out["precision"], out["recall"] = float(found["precision"]), float(found["recall"])
    if len(x) == len(y):
        out["sliced_wasserstein"] = float(ot.sliced_wasserstein_distance(x, y, n_projections=20000, seed=1, p=2))
    return out


def main() -> None:
    r = np.random.default_rng(2026)
    n = r.normal
    spread = n(size=(60, 3)) * [1.0, 0.5, 2.0]
    cases = [
        case("about the origin", spread, n(size=(60, 3)) + [0.4, 0, -0.3]),
        case("one dimension", n(size=(50, 1)), 0.7 * n(size=(50, 1)) + 0.2),
        case("far from the origin", 1000 + 0.1 * n(size=(80, 2)), 1000.15 + 0.1 * n(size=(80, 2))),
        case("very far, in one dimension of three", n(size=(60, 3)) + [30000, 0, 0], n(size=(60, 3)) + [30000.5, 0, 0]),
        case("more features than samples", n(size=(12, 40)), 1.3 * n(size=(12, 40)) + 0.1),
        case("a constant feature", np.c_[n(size=(40, 2)), np.full(40, 3.0)], np.c_[n(size=(40, 2)), np.full(40, 3.0)]),
        case("all samples equal", np.tile([1.5, -2.0], (20, 1)), np.tile([1.5, -2.0], (20, 1)), ties=True),
        case("each sample ten times", np.repeat(n(size=(6, 2)), 10, 0), np.repeat(n(size=(6, 2)), 10, 0), ties=True),
        case("equal sets", spread, spread, ties=True),
        case("one sample", n(size=(1, 3)), n(size=(30, 3))),
        case("few against many", n(size=(7, 2)), n(size=(60, 2))),
    ]
    packages = {p: version(p) for p in ("numpy", "scipy", "scikit-learn", "prdc", "POT")}
    out = {"made_by": "tests/parity/make_metrics.py", "packages": packages, "cases": cases}
    (Path(__file__).parent / "metrics.json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
