#!/usr/bin/env python3
"""Makes solvers.json: ends of ODE solves by other projects' own code, in float64, for tests/plugins/solvers.cpp.

    pip install torch diffusers==0.42.1
    git clone https://github.com/crowsonkb/k-diffusion
    git clone https://github.com/layer6ai-labs/direct-cms
    python make_solvers.py --k-diffusion k-diffusion --direct-cms direct-cms

The peers' code is imported or executed from those checkouts; none of it is kept here. The teacher is an analytic Gaussian
mixture, x_t = alpha(t) x_0 + sigma(t) n. Times are in Retort's convention: on "vp_scaled_linear", t = 0 is clean data and t >= 1
has the peers' table entry t - 1.

Each end is also derived a second time from the published formulas, in numpy, and the script stops where the two differ by more
than 1e-12 of the largest value: that a peer computed in float64 throughout, and is the method that the case calls it, is checked.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
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


class Derivation:
    """The methods once more, from their formulas, sharing nothing with the code above but the mixture's parameters."""

    def __init__(self, teacher: str, process: str) -> None:
        mixture = TEACHERS[teacher]
        self.weights, self.means, self.stds = (np.array(mixture[k]) for k in ("weights", "means", "stds"))
        self.is_ve = process == "ve"
        self.betas = np.linspace(math.sqrt(0.00085), math.sqrt(0.012), 1000) ** 2
        self.log_alphas = np.concatenate([[0.0], 0.5 * np.cumsum(np.log1p(-self.betas))])

    def levels(self, t: float) -> tuple[float, float]:
        """alpha and sigma at t."""
        if self.is_ve:
            return 1.0, t
        log_alpha = self.log_alphas[int(t)]
        return math.exp(log_alpha), math.sqrt(-math.expm1(2 * log_alpha))

    def levels_at(self, lam: float) -> tuple[float, float]:
        """alpha and sigma at log(alpha / sigma) = lam."""
        ratio = math.exp(-lam)
        alpha = 1.0 if self.is_ve else 1 / math.sqrt(1 + ratio**2)
        return alpha, ratio * alpha

    def eps(self, x: np.ndarray, alpha: float, sigma: float) -> np.ndarray:
        variance = (alpha * self.stds) ** 2 + sigma**2
        offset = x[:, None, :] - alpha * self.means
        exponent = -0.5 * (offset**2).sum(2) / variance
        mass = self.weights * np.exp(exponent - exponent.max(1, keepdims=True)) / variance ** (x.shape[1] / 2)
        mass /= mass.sum(1, keepdims=True)
        return sigma * (mass[:, :, None] * offset / variance[:, None]).sum(1)

    def drift(self, x: np.ndarray, t: float) -> np.ndarray:
        """dx/dt in the process's own time; on the table, at the first entry where t = 0."""
        if self.is_ve:
            return self.eps(x, 1.0, t)
        t = max(int(t), 1)
        alpha, sigma = self.levels(t)
        return 0.5 * self.betas[t - 1] * (self.eps(x, alpha, sigma) / sigma - x)

    def step(self, solver: dict, x: np.ndarray, t: float, s: float, before: tuple[float, np.ndarray] | None) -> np.ndarray:
        kind = solver["type"]
        if kind == "euler":
            return x + (s - t) * self.drift(x, t)
        if kind == "heun" and solver.get("variable") == "time":
            slope = self.drift(x, t)
            return x + 0.5 * (s - t) * (slope + self.drift(x + (s - t) * slope, s))
        (a, b), (a_s, b_s) = self.levels(t), self.levels(s)
        e = self.eps(x, a, b)
        data = (x - b * e) / a
        first_order = a_s * data + b_s * e  # the step of DDIM, and of all others into sigma = 0
        if kind == "ddim" or b_s == 0:
            return first_order
        if kind == "heun":
            return a_s * (x / a + 0.5 * (b_s / a_s - b / a) * (e + self.eps(first_order, a_s, b_s)))
        lam = math.log(a / b)
        h = math.log(a_s / b_s) - lam
        if kind == "dpmpp_2m":
            if before is None:
                return first_order
            lam_before, data_before = before
            data = data + (data - data_before) * h / (2 * (lam - lam_before))
            return b_s / b * x - a_s * math.expm1(-h) * data
        assert kind == "dpm_solver", kind

        def expand(h: float, slope: np.ndarray | float, weight: float) -> tuple[np.ndarray, float, float]:
            """The expansion over h with d eps = slope, whose part is weight."""
            alpha, sigma = self.levels_at(lam + h)
            return alpha / a * x - sigma * math.expm1(h) * e - sigma * weight * slope, alpha, sigma

        def phi(h: float) -> float:
            return math.expm1(h) / h - 1

        if solver["order"] == 1:
            return expand(h, 0.0, 0.0)[0]
        if solver["order"] == 2:
            d = self.eps(*expand(h / 2, 0.0, 0.0)) - e
            return expand(h, d, math.expm1(h))[0]
        d = self.eps(*expand(h / 3, 0.0, 0.0)) - e
        d = self.eps(*expand(2 * h / 3, d, 2 * phi(2 * h / 3))) - e
        return expand(h, d, 1.5 * phi(h))[0]

    def end(self, case: dict) -> np.ndarray:
        x = np.array(case["start"])
        begins = np.array(case.get("start_times", [case["times"][0]] * len(x)))
        before = None
        for t, s in zip(case["times"][:-1], case["times"][1:]):
            new = self.step(case["solver"], x, t, s, before)
            alpha, sigma = self.levels(t)
            before = math.log(alpha / sigma), (x - sigma * self.eps(x, alpha, sigma)) / alpha
            x = np.where((begins >= t)[:, None], new, x)  # a row waits for its own start
        return x


class Cases:
    def __init__(self) -> None:
        self.all: list[dict] = []
        self.largest_difference = 0.0

    def add(self, name: str, peer: str, teacher: str, process: str, solver: dict, times: Tensor, start: Tensor,
            end: Tensor, start_times: Tensor | None = None, tolerance: float = 1e-10) -> None:
        case = {"name": name, "peer": peer, "teacher": teacher, "process": {"type": process}, "solver": solver,
                "times": times.tolist(), "start": start.tolist(), "end": end.tolist(), "tolerance": tolerance}
        if start_times is not None:
            case["start_times"] = start_times.tolist()
        assert torch.isfinite(end).all() and end.dtype == torch.float64, name
        derived = Derivation(teacher, process).end(case)
        difference = float(np.abs(derived - end.numpy()).max() / np.abs(derived).max())
        assert difference < 1e-12, f"{name}: differs from the formulas by {difference:.1e}"
        self.largest_difference = max(self.largest_difference, difference)
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


@contextmanager
def without_casts_to_float32() -> Iterator[None]:
    real_to = Tensor.to

    def to(self: Tensor, *args: object, **kwargs: object) -> Tensor:
        kept = tuple(a for a in args if a is not torch.float32)
        return real_to(self, *kept, **kwargs) if kept or kwargs else self

    Tensor.to = to
    try:
        yield
    finally:
        Tensor.to = real_to


def add_diffusers(cases: Cases) -> None:
    """Schedulers whose tables are replaced by float64 ones, with their casts to float32 made void."""
    import diffusers

    def eps(x: Tensor, index: int) -> Tensor:
        return noise_prediction("mixture_1d", x, ALPHAS_BAR[index].sqrt(), (1 - ALPHAS_BAR[index]).sqrt())

    def noise_level(index: Tensor) -> Tensor:
        return ((1 - ALPHAS_BAR[index]) / ALPHAS_BAR[index]).sqrt()

    common = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    for steps, spacing in [(10, "trailing"), (25, "trailing"), (10, "leading")]:
        ddim = diffusers.DDIMScheduler(**common, clip_sample=False, set_alpha_to_one=True, timestep_spacing=spacing, steps_offset=1)
        ddim.alphas_cumprod = ALPHAS_BAR
        ddim.final_alpha_cumprod = torch.tensor(1.0)
        ddim.set_timesteps(steps)
        x = start_points("mixture_1d", 6, 1.0, 7)
        state = x
        for t in ddim.timesteps:
            state = ddim.step(eps(state, int(t)), int(t), state, eta=0.0).prev_sample
        grid = torch.cat([ddim.timesteps.double() + 1, torch.zeros(1)])
        cases.add(f"diffusers DDIMScheduler, {steps} steps" + (", leading" if spacing == "leading" else ""), "diffusers",
                  "mixture_1d", "vp_scaled_linear", {"type": "ddim"}, grid, x, state)

    for order, name in [(1, "ddim"), (2, "dpmpp_2m")]:
        scheduler = diffusers.DPMSolverMultistepScheduler(**common, algorithm_type="dpmsolver++", solver_order=order, lower_order_final=False,
                                                          final_sigmas_type="zero", timestep_spacing="trailing")
        scheduler.set_timesteps(10)
        index = scheduler.timesteps
        scheduler.sigmas = torch.cat([noise_level(index), torch.zeros(1)])
        if order == 2:  # the step into sigma = 0 is first order in both
            scheduler.register_to_config(euler_at_final=True)
        x = start_points("mixture_1d", 6, 1.0, 8)
        state = x
        with without_casts_to_float32():
            for t in index:
                state = scheduler.step(eps(state, int(t)), t, state).prev_sample
        grid = torch.cat([index.double() + 1, torch.zeros(1)])
        cases.add(f"diffusers DPMSolverMultistepScheduler, order {order}, 10 steps", "diffusers", "mixture_1d", "vp_scaled_linear",
                  {"type": name}, grid, x, state)

    # The singlestep scheduler takes the inner evaluations of a step at entries of its grid. Ours lie at equal parts of the step in
    # log-SNR, so the grid given to it has those between our times.
    grid = torch.tensor([1000.0, 800.0, 600.0, 400.0, 200.0, 50.0, 10.0])
    lambdas = -noise_level(grid.long() - 1).log()
    for order in (1, 2, 3):
        parts = torch.arange(order) / order
        inner = (lambdas[:-1, None] + parts * lambdas.diff()[:, None]).flatten()
        levels = torch.cat([inner, lambdas[-1:]]).neg().exp()
        scheduler = diffusers.DPMSolverSinglestepScheduler(**common, algorithm_type="dpmsolver", solver_order=order, final_sigmas_type="sigma_min")
        scheduler.set_timesteps(len(inner))
        scheduler.set_begin_index(0)
        scheduler.sigmas = levels
        assert scheduler.order_list == list(range(1, order + 1)) * (len(grid) - 1)
        x = start_points("mixture_1d", 6, 1.0, 9)
        state = x
        for i, t in enumerate(scheduler.timesteps):
            if order == 3:  # its name for the paper's formula is "heun" in the second evaluation's step, "midpoint" in the last
                scheduler.register_to_config(solver_type="heun" if i % 3 == 1 else "midpoint")
            alpha = 1 / (1 + levels[i] ** 2).sqrt()
            state = scheduler.step(noise_prediction("mixture_1d", state, alpha, levels[i] * alpha), t, state).prev_sample
        cases.add(f"diffusers DPMSolverSinglestepScheduler, noise form, order {order}, 6 steps", "diffusers", "mixture_1d",
                  "vp_scaled_linear", {"type": "dpm_solver", "order": order}, grid, x, state)


def commit(folder: Path) -> str:
    """The full commit of a checkout, whose files have to be as committed: the fixture names it as its source."""
    def git(*args: str) -> str:
        return subprocess.run(["git", "-C", str(folder), *args], capture_output=True, text=True, check=True).stdout.strip()

    if Path(git("rev-parse", "--show-toplevel")).resolve() != folder.resolve():
        raise SystemExit(f"{folder} is not a checkout of its own")
    if git("status", "--porcelain", "--untracked-files=no"):
        raise SystemExit(f"{folder} has changes that are not committed")
    return git("rev-parse", "HEAD")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--k-diffusion", type=Path, default=Path("k-diffusion"))
    parser.add_argument("--direct-cms", type=Path, default=Path("direct-cms"))
    args = parser.parse_args()
    commits = {"k-diffusion": commit(args.k_diffusion), "direct-cms": commit(args.direct_cms)}
    cases = Cases()
    add_k_diffusion(cases, load_k_diffusion(args.k_diffusion))
    add_direct_cms(cases, args.direct_cms)
    add_diffusers(cases)
    import diffusers

    head = {"made_by": "tests/parity/make_solvers.py",
            "peers": {**commits, "diffusers": diffusers.__version__},
            "teachers": TEACHERS}
    lines = ",\n".join("  " + json.dumps(case) for case in cases.all)
    text = json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n' + lines + "\n ]\n}\n"
    json.loads(text)
    (Path(__file__).parent / "solvers.json").write_text(text)
    print(f"{len(cases.all)} cases, at most {cases.largest_difference:.1e} from the formulas")


if __name__ == "__main__":
    main()
