#!/usr/bin/env python3
"""Makes more_metrics.json: figures of further metrics by code that we did not write, for tests/plugins/metrics_more.cpp.

    pip install numpy scipy scikit-learn prdc POT dcor vendi-score
    python make_more_metrics.py

MMD by scikit-learn's kernel and scipy's median distance, energy distance by dcor, Wasserstein distances by scipy and POT, Sinkhorn
divergence by POT's plans, density and coverage by prdc, Vendi scores by vendi-score, nearest neighbours (authenticity, classes) by
scikit-learn, log-densities of mixtures by scipy. Each number is derived a second time from its formula in numpy; the script stops where
both differ by more than 1e-12 of the greatest term (Sinkhorn: 1e-9, as far as iterations get).
"""

from __future__ import annotations

import contextlib
import json
import os
from importlib.metadata import version
from pathlib import Path

import dcor
import numpy as np
import ot
import scipy.special
import scipy.stats
from prdc import compute_prdc
from scipy.spatial.distance import pdist
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from vendi_score import vendi

NEIGHBOURS, EPSILON, BANDWIDTHS, ORDER = 5, 4.0, [0.5, 2.0], 2.0


def same(a: float, b: float, size: float = 1.0, tolerance: float = 1e-12) -> float:
    assert abs(a - b) <= tolerance * max(size, abs(b)), (a, b)
    return float(a)


def gaps(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sqrt(((x[:, None] - y[None]) ** 2).sum(-1))


def mmd(x: np.ndarray, y: np.ndarray, bandwidths: list[float], unbiased: bool) -> float:
    def off(k: np.ndarray) -> float:
        return (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) if unbiased else k.mean()

    def by(kernel) -> float:
        xx, yy, xy = (np.mean([kernel(u, v, s) for s in bandwidths], axis=0) for u, v in ((x, x), (y, y), (x, y)))
        return off(xx) + off(yy) - 2 * xy.mean()

    return same(by(lambda u, v, s: rbf_kernel(u, v, gamma=1 / (2 * s * s))), by(lambda u, v, s: np.exp(-(gaps(u, v) ** 2) / (2 * s * s))))


def median(x: np.ndarray) -> float:
    return same(float(np.median(pdist(x))), float(np.median(gaps(x, x)[np.triu_indices(len(x), 1)])))


def energy(x: np.ndarray, y: np.ndarray) -> float:
    square = 2 * gaps(x, y).mean() - gaps(x, x).mean() - gaps(y, y).mean()
    found = np.sqrt(same(dcor.energy_distance(x, y), square))
    if x.shape[1] == 1:
        same(found, scipy.stats.energy_distance(x[:, 0], y[:, 0]), tolerance=1e-10)
    return float(found)


def wasserstein(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    first, second = [], []
    for u, v in zip(x.T, y.T):
        # Every row as often as makes both sets equally long: then sorted rows are coupled.
        p, q = np.sort(np.repeat(u, len(v))), np.sort(np.repeat(v, len(u)))
        first.append(same(scipy.stats.wasserstein_distance(u, v), np.abs(p - q).mean()))
        second.append(same(float(ot.wasserstein_1d(u, v, p=2)), ((p - q) ** 2).mean()))
    return float(np.mean(first)), float(np.sqrt(np.mean(second)))


def sinkhorn(x: np.ndarray, y: np.ndarray, e: float) -> float:
    def by_plan(u: np.ndarray, v: np.ndarray) -> float:
        a, b, cost = np.full(len(u), 1 / len(u)), np.full(len(v), 1 / len(v)), ot.dist(u, v)
        plan = ot.sinkhorn(a, b, cost, e, method="sinkhorn_log", numItermax=3000, stopThr=1e-14, warn=False)
        return (plan * cost).sum() + e * scipy.special.rel_entr(plan, np.outer(a, b)).sum()

    def by_potentials(u: np.ndarray, v: np.ndarray) -> float:
        cost, f, g = gaps(u, v) ** 2, np.zeros(len(u)), np.zeros(len(v))
        for _ in range(3000):
            f = -e * (scipy.special.logsumexp((g[None] - cost) / e, axis=1) - np.log(len(v)))
            g = -e * (scipy.special.logsumexp((f[:, None] - cost) / e, axis=0) - np.log(len(u)))
        return f.mean() + g.mean()

    xy, xx, yy = (same(by_plan(u, v), by_potentials(u, v), tolerance=1e-9) for u, v in ((x, y), (x, x), (y, y)))
    return float(xy - (xx + yy) / 2)


def density_coverage(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    with contextlib.redirect_stdout(open(os.devnull, "w")):
        found = compute_prdc(real_features=y, fake_features=x, nearest_k=NEIGHBOURS)
    within = gaps(y, x) < np.sort(gaps(y, y), axis=1)[:, NEIGHBOURS][:, None]
    return same(found["density"], within.sum() / (NEIGHBOURS * len(x))), same(found["coverage"], within.any(1).mean())


def vendis(x: np.ndarray) -> dict:
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    out = {}
    for name, kernel, q in (("vendi", unit @ unit.T, 1), ("vendi_order", unit @ unit.T, ORDER), ("vendi_gaussian", rbf_kernel(x, gamma=0.5), 1)):
        p = np.linalg.eigvalsh(kernel / len(x))
        p = p[p > 1e-14]
        entropy = -(p * np.log(p)).sum() if q == 1 else np.log((p**q).sum()) / (1 - q)
        out[name] = same(vendi.score_K(kernel, q=q), np.exp(entropy), tolerance=1e-10)
    return out


def authenticity(x: np.ndarray, training: np.ndarray) -> float:
    near, which = NearestNeighbors(n_neighbors=1).fit(training).kneighbors(x)
    own, _ = NearestNeighbors(n_neighbors=2).fit(training).kneighbors(training)
    found = (near[:, 0] > own[which[:, 0], 1]).mean()
    among = gaps(training, training)
    np.fill_diagonal(among, np.inf)
    across = gaps(x, training)
    return same(found, (across.min(1) > among.min(1)[across.argmin(1)]).mean())


def classes(x: np.ndarray, data: np.ndarray, labels: np.ndarray) -> list[int]:
    found = KNeighborsClassifier(NEIGHBOURS).fit(data, labels).predict(x)
    nearest = np.argsort(gaps(x, data), axis=1)[:, :NEIGHBOURS]
    assert (found == [np.bincount(labels[row]).argmax() for row in nearest]).all()
    return found.tolist()


def case(name: str, a: np.ndarray, b: np.ndarray) -> dict:
    a, b = np.round(a, 4), np.round(b, 4)
    out = {"name": name, "a": a.tolist(), "b": b.tolist()}
    out["mmd_median"] = mmd(a, b, [median(b)], True)
    out["mmd_pooled"] = mmd(a, b, [median(np.r_[a, b])], True)
    out["mmd_bandwidths"] = mmd(a, b, BANDWIDTHS, True)
    out["mmd_biased"] = mmd(a, b, BANDWIDTHS, False)
    out["energy_distance"] = energy(a, b)
    out["wasserstein_1"], out["wasserstein_2"] = wasserstein(a, b)
    out["sinkhorn"] = sinkhorn(a, b, EPSILON)
    out["sinkhorn_scaled"] = sinkhorn(a, b, ((b - b.mean(0)) ** 2).sum(1).mean())
    out["density"], out["coverage"] = density_coverage(a, b)
    out.update(vendis(a))
    out["authenticity"] = authenticity(a, b)
    labels = (b[:, 0] > 0).astype(int) + (b[:, -1] > 0.3)
    out["labels"], out["classes"] = labels.tolist(), classes(a, b, labels)
    return out


def mixture(r: np.random.Generator) -> dict:
    means, weights = np.round(r.normal(size=(3, 2)), 4), np.array([0.2, 0.5, 0.3])
    roots = np.round(r.normal(size=(3, 2, 2)), 4)
    covariances = roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(2)
    x = np.round(1.5 * r.normal(size=(40, 2)), 4)
    log_p = scipy.special.logsumexp(
        [np.log(w) + scipy.stats.multivariate_normal(m, c).logpdf(x) for w, m, c in zip(weights, means, covariances)], axis=0
    )
    off = x[:, None] - means
    squares = np.einsum("nkd,kde,nke->nk", off, np.linalg.inv(covariances), off)
    joint = weights * np.exp(-squares / 2) / (2 * np.pi * np.sqrt(np.linalg.det(covariances)))
    good = squares.min(1) <= 1.0
    share = np.bincount(squares.argmin(1)[good], minlength=3) / good.sum()
    return {
        "x": x.tolist(),
        "means": means.tolist(),
        "weights": weights.tolist(),
        "covariances": covariances.reshape(3, 4).tolist(),
        "sigmas": 1.0,
        "mixture_nll": same(-log_p.mean(), -np.log(joint.sum(1)).mean()),
        "high_quality": float(good.mean()),
        "mode_entropy": float(scipy.stats.entropy(share)),
        "mode_kl": float(scipy.stats.entropy(share, weights)),
    }


def main() -> None:
    r = np.random.default_rng(2026)
    n = r.normal
    cases = [
        case("about the origin", n(size=(40, 3)) * [1.0, 0.5, 2.0], n(size=(40, 3)) + [0.4, 0, -0.3]),
        case("on the line", n(size=(30, 1)), 0.7 * n(size=(30, 1)) + 0.2),
        case("of unequal numbers", n(size=(24, 2)), n(size=(36, 2)) - 0.3),
        case("of unequal numbers, on the line", 1.5 * n(size=(21, 1)), n(size=(34, 1))),
        case("more features than samples", n(size=(12, 20)), 1.3 * n(size=(12, 20)) + 0.1),
        case("two modes, one lost", n(size=(30, 2)) * 0.3 - 1, np.r_[n(size=(20, 2)) * 0.3 - 1, n(size=(20, 2)) * 0.3 + 1]),
    ]
    packages = {p: version(p) for p in ("numpy", "scipy", "scikit-learn", "prdc", "POT", "dcor", "vendi-score")}
    settings = {"neighbours": NEIGHBOURS, "epsilon": EPSILON, "bandwidths": BANDWIDTHS, "order": ORDER}
    out = {"made_by": "tests/parity/make_more_metrics.py", "packages": packages, "settings": settings, "cases": cases, "mixture": mixture(r)}
    (Path(__file__).parent / "more_metrics.json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
