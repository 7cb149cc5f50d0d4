#!/usr/bin/env python3
"""Makes pi_flow.json: values and gradients of pi-Flow's loss and ends of its sampler, for tests/plugins/losses_pi_flow.cpp.

    pip install torch numpy
    git clone https://github.com/Lakonik/piFlow
    python make_pi_flow.py --peer piFlow

The peer's policy DX, and the functions of PiFlowImitationBase that walk along it and train it, are taken out of their files and run with
our network and an analytic teacher; none of their code is kept here. What they would draw is given to them, and what they hand to their
loss is squared here: the constant that they multiply it by is left out. All of it is on rectified flow, in float64; the network gives u =
n - x0 at each of its outputs, F = W2 tanh(W1 [x; t] + b1) + b2.

Values and ends are derived a second time in numpy, row by row, and the script stops where the two differ by more than 1e-12 of the largest.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
from pathlib import Path

import numpy as np
import torch

from make_solvers import TEACHERS, commit

Tensor = torch.Tensor
ROWS, SIZE, OUTPUTS, WIDTH, SUBSTEPS = 6, 2, 4, 5, 32
MIXTURE = TEACHERS["mixture_2d"]
PEER_FUNCTIONS = ("policy_rollout", "policy_average_u", "get_shape_info", "piid_segment")


def load(folder: Path) -> tuple[type, type]:
    """DXPolicy, and a class of the functions above alone."""
    models = folder / "lakonlab" / "models" / "diffusions"

    def classes(file: Path, scope: dict) -> dict:
        body = [n for n in ast.parse(file.read_text()).body if isinstance(n, ast.ClassDef)]
        for node in body:
            node.decorator_list, node.bases = [], []
            if node.name == "PiFlowImitationBase":
                node.body = [f for f in node.body if isinstance(f, ast.FunctionDef) and f.name in PEER_FUNCTIONS]
        wanted = [n for n in body if n.name in ("DXPolicy", "PiFlowImitationBase")]
        exec(compile(ast.Module(wanted, []), file.name, "exec"), scope)
        return scope

    policy = classes(models / "piflow_policies" / "dx.py", {"torch": torch})["DXPolicy"]
    scope = {"torch": torch, "GMFlowPolicy": type("GMFlowPolicy", (), {}), "module_eval": lambda _: contextlib.nullcontext()}
    return policy, classes(models / "piflow.py", scope)["PiFlowImitationBase"]


class Straight:
    """Their time sampler without a shift."""

    logit_normal_enable = False

    def warp_t(self, t: Tensor, seq_len: int | None = None) -> Tensor:
        return t


def teacher_data(x: np.ndarray, t: float) -> np.ndarray:
    """E[x0 | x] of the mixture at time t of rectified flow. x: [D]."""
    means, stds = np.array(MIXTURE["means"]), np.array(MIXTURE["stds"])
    variance = (1 - t) ** 2 * stds**2 + t**2
    offset = x - (1 - t) * means
    logs = np.log(MIXTURE["weights"]) - 0.5 * (offset**2).sum(1) / variance - 0.5 * len(x) * np.log(variance)
    share = np.exp(logs - logs.max())
    share /= share.sum()
    return (share[:, None] * (means + ((1 - t) * stds**2 / variance)[:, None] * offset)).sum(0)


def teacher(x_t: Tensor, t: Tensor, **_: object) -> Tensor:
    rows = [(x - teacher_data(x, s)) / s for x, s in zip(x_t.detach().numpy(), t.numpy())]
    return torch.from_numpy(np.stack(rows))


def network(weights: dict[str, Tensor], x: Tensor, t: Tensor) -> Tensor:
    hidden = torch.tanh(torch.cat([x, t[:, None]], 1) @ weights["W1"].T + weights["b1"])
    return (hidden @ weights["W2"].T + weights["b2"]).reshape(len(x), OUTPUTS, SIZE)


class Formula:
    """The policy of one row and Euler's steps along it, in numpy."""

    def __init__(self, data: np.ndarray, begin: float, end: float) -> None:
        self.data, self.begin, self.end = data, begin, end

    def velocity(self, x: np.ndarray, t: float) -> np.ndarray:
        place = (t - self.end) / (self.begin - self.end) * (len(self.data) - 1)
        hats = np.maximum(0, 1 - np.abs(place - np.arange(len(self.data))))  # 1 at a point, 0 at its neighbours
        return (x - hats @ self.data) / max(t, 1e-4)

    def walk(self, x: np.ndarray, a: float, b: float) -> np.ndarray:
        count = max(1, round((a - b) * SUBSTEPS))
        for k in range(count):
            x = x - (a - b) / count * self.velocity(x, a - (a - b) * k / count)
        return x


def policies(weights: dict[str, Tensor], x: Tensor, begin: Tensor, length: float) -> list[Formula]:
    u = network(weights, x, begin).detach().numpy()
    return [Formula(p - t * v, t, t - length) for p, t, v in zip(x.numpy(), begin.numpy(), u)]


def formula_loss(weights: dict[str, Tensor], case: dict, x: Tensor, begin: Tensor, length: float) -> np.ndarray:
    """Per row."""
    out, window = [], min(case["settings"]["window"] / SUBSTEPS, length)
    share, states = case["settings"]["teacher_share"], case["settings"]["states"]
    for i, policy in enumerate(policies(weights, x, begin, length)):
        own = np.sort(np.array(case["inputs"]["own"])[:, i]) * (1 - share) * (length - window)
        along = np.sort(np.array(case["inputs"]["teacher"]).reshape(states - 1, ROWS)[:, i]) * share * (length - window)
        along = np.concatenate([[0.0], along, [share * (length - window)]])
        state, t, total = x[i].numpy(), float(begin[i]), 0.0
        for k in range(states):
            a = t - (own[k] - (own[k - 1] if k else 0.0))
            b = a - (along[k + 1] - along[k])
            state = policy.walk(state, t, a)
            wanted = (state - teacher_data(state, a)) / a
            to = b - window
            near = round((a - to) * SUBSTEPS) < 2
            said = policy.velocity(state, a) if near else (state - policy.walk(state, a, to)) / (a - to)
            total += ((said - wanted) ** 2).mean() / states
            state, t = state + (b - a) * wanted, b
        out.append(total)
    return np.array(out)


def run_peer(policy_class: type, imitation: type, weights: dict[str, Tensor], case: dict, x: Tensor, begin: Tensor,
             length: float) -> Tensor:
    """Its loss per row, differentiable."""
    peer, handed = imitation(), {}
    peer.train_cfg = {"total_substeps": SUBSTEPS, "num_intermediate_states": case["settings"]["states"],
                      "window_substeps": case["settings"]["window"]}
    peer.timestep_sampler, peer.num_timesteps = Straight(), 1
    peer.flow_loss = lambda kwargs: handed.update(kwargs)
    sigma = begin[:, None]
    policy = policy_class(network(weights, x, begin), x, sigma, segment_size=length)
    draws = [torch.tensor(case["inputs"][kind]).reshape(-1, ROWS).T for kind in ("own", "teacher")]
    real, torch.rand = torch.rand, lambda shape, **_: draws.pop(0).reshape(shape)
    try:
        peer.piid_segment(teacher, policy, x, begin, sigma, case["settings"]["teacher_share"],
                          torch.full((ROWS,), length, dtype=torch.float64), {})
    finally:
        torch.rand = real
    states = case["settings"]["states"]
    return (handed["u_t_pred"] - handed["u_t"]).square().mean(1).reshape(states, ROWS).mean(0)


class Numbers:
    """What goes into the file, each held against its formula."""

    def __init__(self) -> None:
        self.cases: list[dict] = []
        self.largest = 0.0

    def hold(self, name: str, got: np.ndarray, formula: np.ndarray) -> None:
        difference = float(np.abs(got - formula).max() / np.abs(formula).max())
        assert difference < 1e-12, f"{name}: differs from the formula by {difference:.1e}"
        self.largest = max(self.largest, difference)


def add_case(numbers: Numbers, peer: tuple[type, type], weights: dict[str, Tensor], rng: np.random.Generator, segments: int, states: int,
             window: int, share: float) -> None:
    case = {"peer": "piFlow", "name": f"segments {segments}, states {states}, window {window}, teacher's share {share}",
            "settings": {"segments": segments, "states": states, "window": window, "teacher_share": share}}
    x0, noise = rng.standard_normal((2, ROWS, SIZE))
    place = np.arange(ROWS) % segments
    case["inputs"] = {"x0": x0.tolist(), "noise": noise.tolist(), "place": ((place + 0.5) / segments).tolist(),
                      "own": rng.random((states, ROWS)).tolist(), "teacher": rng.random((states - 1, ROWS)).tolist()}
    begin, length = torch.from_numpy(1 - place / segments), 1 / segments
    x = (1 - begin)[:, None] * torch.from_numpy(x0) + begin[:, None] * torch.from_numpy(noise)
    per_row = run_peer(*peer, weights, case, x, begin, length)
    numbers.hold(case["name"], per_row.detach().numpy(), formula_loss(weights, case, x, begin, length))
    gradients = torch.autograd.grad(per_row.mean(), list(weights.values()))
    case["per_row"] = per_row.tolist()
    case["gradients"] = {name: g.tolist() for name, g in zip(weights, gradients)}
    numbers.cases.append(case)


def sampler_end(numbers: Numbers, peer: tuple[type, type], weights: dict[str, Tensor], start: Tensor, segments: int) -> list:
    """Where the peer's sampler of so many evaluations leads, by 4 SUBSTEPS of Euler's steps."""
    policy_class, walker = peer[0], peer[1]()
    walker.timestep_sampler, walker.num_timesteps = Straight(), 1
    state = derived = start
    length, count = 1 / segments, round(4 * SUBSTEPS / segments)
    for k in range(segments):
        begin = torch.full((ROWS,), 1 - k / segments)
        with torch.no_grad():
            policy = policy_class(network(weights, state, begin), state, begin[:, None], segment_size=length)
            state = walker.policy_rollout(state, begin[:, None], begin, begin - length, 4 * SUBSTEPS, policy)[0]
        rows = []
        for way, row in zip(policies(weights, derived, begin, length), derived.numpy()):
            for j in range(count):
                row = row - length / count * way.velocity(row, way.begin - j * length / count)
            rows.append(row)
        derived = torch.from_numpy(np.stack(rows))
    numbers.hold(f"sampler, {segments} segments", state.numpy(), derived.numpy())
    return state.tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, default=Path("piFlow"))
    args = parser.parse_args()
    peer, numbers, rng = load(args.peer), Numbers(), np.random.default_rng(1)
    shapes = {"W1": (WIDTH, SIZE + 1), "b1": (WIDTH,), "W2": (OUTPUTS * SIZE, WIDTH), "b2": (OUTPUTS * SIZE,)}
    weights = {name: torch.tensor(rng.standard_normal(shape), requires_grad=True) for name, shape in shapes.items()}
    for settings in [(1, 1, 0, 0.0), (2, 2, 0, 0.0), (2, 3, 3, 0.0), (1, 2, 0, 0.75), (2, 4, 3, 0.25)]:
        add_case(numbers, peer, weights, rng, *settings)
    start = torch.from_numpy(rng.standard_normal((ROWS, SIZE)))
    ends = {str(segments): sampler_end(numbers, peer, weights, start, segments) for segments in (1, 2, 4)}
    head = {"made_by": "tests/parity/make_pi_flow.py", "peers": {"piFlow": commit(args.peer)}, "teacher": MIXTURE, "outputs": OUTPUTS,
            "substeps": SUBSTEPS, "network": {name: w.tolist() for name, w in weights.items()},
            "sampler": {"substeps": SUBSTEPS * 4, "start": start.tolist(), "ends": ends}}
    lines = ",\n".join("  " + json.dumps(case) for case in numbers.cases)
    text = json.dumps(head)[:-1] + ',\n "cases": [\n' + lines + "\n ]\n}\n"
    json.loads(text)
    (Path(__file__).parent / "pi_flow.json").write_text(text)
    print(f"{len(numbers.cases)} cases, at most {numbers.largest:.1e} from the formula")


if __name__ == "__main__":
    main()
