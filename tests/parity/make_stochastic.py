#!/usr/bin/env python3
"""Makes stochastic.json: ends of solves by stochastic solvers under given noise, for tests/plugins/solvers_stochastic.cpp.

    pip install torch diffusers==0.42.1
    git clone https://github.com/crowsonkb/k-diffusion
    git clone https://github.com/NVlabs/edm
    git clone https://github.com/QinpengCui/ER-SDE-Solver
    git clone https://github.com/scxue/SA-Solver
    git clone https://github.com/Newbeeer/diffusion_restart_sampling
    OMP_NUM_THREADS=1 python make_stochastic.py --peers FOLDER_OF_THE_CHECKOUTS

The cases have solvers.json's form, and its teachers, processes and times (see make_solvers.py). "noise" has one [B, D] for each
step, [draws, B, D] where a step draws more than once, or is an object from the number that a draw's step has to its [B, D].

The peers' code is imported or executed; none of it is kept here. Every end is derived a second time in numpy, in y = x / alpha and
l = sigma / alpha, and the script stops where the two differ by more than 1e-12 of the largest value.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import inspect
import io
import json
import math
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from make_solvers import (TEACHERS, Derivation, commit, karras, load_k_diffusion, start_points, without_casts_to_float32)
from make_steps import TABLE, alpha_at, draws, eps_in_y, levels_of

Tensor = torch.Tensor
RESTARTS = 1 << 20  # from where the noise of restarts is counted

WITH_ZERO = torch.cat([karras(8, 0.05, 10.0), torch.zeros(1)])
WITHOUT = karras(9, 0.05, 10.0)
VP = torch.tensor([1000.0, 850.0, 700.0, 540.0, 400.0, 270.0, 150.0, 60.0, 10.0])
VP_ZERO = torch.cat([VP, torch.zeros(1)])

PHI = {  # the authors' numbers of their noise scales, and l -> phi(l)
    "ode": (1, lambda l: l),
    "sde": (2, lambda l: l * l),
    "sde_1": (3, lambda l: l * (np.exp(-1 / l) + 10)),
    "sde_2": (4, lambda l: l * np.sqrt(l)),
    "sde_3": (5, lambda l: l**2 * np.sqrt(l)),
    "sde_4": (6, lambda l: l**0.9 * np.log(1 + 100 * l**1.5) / math.log(10)),
    "sde_5": (7, lambda l: l * (np.exp(l**0.3) + 10)),
}


class Stochastic(Derivation):
    """The methods once more, in y and l."""

    def data(self, y: np.ndarray, level: float) -> np.ndarray:
        alpha = 1.0 if self.is_ve else 1 / math.sqrt(1 + level**2)
        return y - level * self.eps(alpha * y, alpha, level * alpha)

    def heun(self, y: np.ndarray, a: float, b: float) -> np.ndarray:
        slope = (y - self.data(y, a)) / a
        first = y + (b - a) * slope
        return first if b == 0 else y + (b - a) / 2 * (slope + (first - self.data(first, b)) / b)

    @staticmethod
    def integral(a: float, b: float, eta: float, points: list[tuple[float, np.ndarray]], rule: str, factor: float) -> np.ndarray:
        """(1 + eta) times the integral of e^{-(1 + eta) (lambda_b - lambda)} P over lambda, with P through the points
        (level, D), by Gauss's rule; `rule` says what stands for the slope's part."""
        h = math.log(a / b)
        node, weight = np.polynomial.legendre.leggauss(60)
        r, weight = (node + 1) / 2, weight / 2 * (1 + eta) * h
        kernel = weight * np.exp(-(1 + eta) * h * (1 - r))
        places = np.array([math.log(a / level) / h for level, _ in points])
        powers = np.linalg.solve(np.vander(places, increasing=True), np.stack([d for _, d in points]).reshape(len(points), -1))
        moments = [float((kernel * r**k).sum()) for k in range(len(points))]
        if len(points) == 2 and rule == "midpoint":
            moments[1] = moments[0] / 2
        if len(points) == 2 and rule == "rescaled":
            moments[1] = (1 + eta) * h / 2
        if len(points) == 3:
            moments[2] *= factor / 2
        return sum(m * p for m, p in zip(moments, powers)).reshape(points[0][1].shape)

    def multistep(self, case: dict) -> np.ndarray:
        solver = {"eta": 1.0, "s_noise": 1.0, "d2_factor": 2.0, "variant": "heun", "corrector_order": 0, **case["solver"]}
        kind = solver["type"]
        levels, y = self.levels_and_start(case)
        steps = len(levels) - 1
        most = {"dpmpp_2m_sde": 2, "dpmpp_3m_sde": 3}.get(kind) or solver["predictor_order"]
        rule = "rescaled" if solver.get("rescaled") else solver["variant"]
        past = [(levels[0], self.data(y, levels[0]))]
        for i, (a, b) in enumerate(zip(levels[:-1], levels[1:])):
            if b == 0:
                return past[0][1]
            eta, z = solver["eta"], np.array(case["noise"][i])
            predictor, corrector = most, solver["corrector_order"]
            if kind == "sa_solver":
                eta = solver["tau"] ** 2 if solver["s_tmin"] <= b <= solver["s_tmax"] else 0.0
                predictor, corrector = min(most, steps - i), min(corrector, steps - i + 1)
            rest = math.exp(-(1 + eta) * math.log(a / b)) * y + solver["s_noise"] * b * math.sqrt(1 - (b / a) ** (2 * eta)) * z
            y = rest + self.integral(a, b, eta, past[:predictor], rule, solver["d2_factor"])
            if i + 1 == steps:
                break
            there = self.data(y, b)
            if corrector > 0:
                y = rest + self.integral(a, b, eta, [(b, there), *past[:corrector - 1]], rule, 2.0)
            past = [(b, there), *past]
        return y

    def singlestep(self, case: dict) -> np.ndarray:
        solver = {"r": 0.5, "eta": 1.0, "s_noise": 1.0, **case["solver"]}
        eta, levels_and_y = solver["eta"], self.levels_and_start(case)
        levels, y = levels_and_y

        def toward(y: np.ndarray, data: np.ndarray, a: float, b: float, z: np.ndarray) -> np.ndarray:
            """Song et al. 2021, eq. 16: sqrt(b^2 - up^2) of the noise that is predicted, and up of another."""
            up = eta * b * math.sqrt(1 - (b / a) ** 2)
            return data + math.sqrt(b * b - up * up) * (y - data) / a + solver["s_noise"] * up * z

        for i, (a, b) in enumerate(zip(levels[:-1], levels[1:])):
            data, z = self.data(y, a), np.array(case["noise"][i])
            if b == 0:
                return data
            if solver["type"] == "dpmpp_sde":
                m = a ** (1 - solver["r"]) * b ** solver["r"]
                inner = self.data(toward(y, data, a, m, z[0]), m)
                y = toward(y, data + (inner - data) / (2 * solver["r"]), a, b, z[1])
            else:
                down = math.sqrt(b * b - (eta * b) ** 2 * (1 - (b / a) ** 2))
                m = math.sqrt(a * down)
                y = toward(y, self.data(data + m * (y - data) / a, m), a, b, z)
        return y

    def churn(self, case: dict) -> np.ndarray:
        solver = case["solver"]
        levels, y = self.levels_and_start(case)
        for i, (a, b) in enumerate(zip(levels[:-1], levels[1:])):
            if solver["s_tmin"] <= a <= solver["s_tmax"]:
                hat = a * (1 + min(solver["s_churn"] / (len(levels) - 1), math.sqrt(2) - 1))
                y = y + math.sqrt(hat**2 - a**2) * solver["s_noise"] * np.array(case["noise"][i])
                a = hat
            y = self.heun(y, a, b) if solver["solver"] == "heun" else self.data(y, a) + b * (y - self.data(y, a)) / a
        return y

    def restart(self, case: dict) -> np.ndarray:
        levels, y = self.levels_and_start(case)
        place = 0
        for a, b in zip(levels[:-1], levels[1:]):
            y = self.heun(y, a, b)
            for low, high, rounds, steps in case["solver"]["intervals"]:
                if not b <= low < a:
                    continue
                for _ in range(rounds):
                    y = y + math.sqrt(high**2 - b**2) * case["solver"]["s_noise"] * np.array(case["noise"][str(RESTARTS + place)])
                    place += 1
                    grid = [(high ** (1 / 7) * (1 - j / steps) + b ** (1 / 7) * j / steps) ** 7 for j in range(steps + 1)]
                    for p, q in zip(grid[:-1], grid[1:]):
                        y = self.heun(y, p, q)
        return y

    def er_sde(self, case: dict) -> np.ndarray:
        """As the authors' code has it: dD/dl halfway to the step before, integrals as sums over 100 points."""
        phi = PHI[case["solver"]["noise_scale"]][1]
        levels, y = self.levels_and_start(case)
        past: list[tuple[float, np.ndarray]] = []
        for i, (a, b) in enumerate(zip(levels[:-1], levels[1:])):
            past = [(a, self.data(y, a)), *past][:case["solver"]["order"]]
            if b == 0:
                return past[0][1]
            (_, data), r, width = past[0], phi(b) / phi(a), (a - b) / 100
            variance = b * b - (a * r) ** 2
            new = data + r * (y - data) + (math.sqrt(variance) if variance > 1e-6 else 0.0) * np.array(case["noise"][i])
            if len(past) > 1:
                l = np.array([b + width * j for j in range(100)])
                slopes = [(p[1] - q[1]) / (p[0] - q[0]) for p, q in zip(past[:-1], past[1:])]
                new = new + (b - a + phi(b) * width * (1 / phi(l)).sum()) * slopes[0]
                if len(past) > 2:
                    curve = 2 * (slopes[0] - slopes[1]) / (a - past[2][0])
                    new = new + ((b - a) ** 2 / 2 + phi(b) * width * ((l - a) / phi(l)).sum()) * curve
            y = new
        return y

    def levels_and_start(self, case: dict) -> tuple[list[float], np.ndarray]:
        pairs = [self.levels(t) for t in case["times"]]
        return [s / a for a, s in pairs], np.array(case["start"]) / pairs[0][0]

    def end(self, case: dict) -> np.ndarray:
        kind = case["solver"]["type"]
        method = {"dpmpp_sde": self.singlestep, "dpmpp_2s_ancestral": self.singlestep, "churn": self.churn, "restart": self.restart,
                  "er_sde": self.er_sde}.get(kind, self.multistep)
        return self.levels(case["times"][-1])[0] * method(case)


class Cases:
    def __init__(self) -> None:
        self.all: list[dict] = []
        self.largest_difference = 0.0

    def add(self, peer: str, label: str, teacher: str, process: str, solver: dict, times: Tensor, start: Tensor, y: Tensor,
            noise: list | dict) -> None:
        """y: the end over alpha."""
        end = alpha_at(levels_of(times, process)[-1], process) * y
        keys = ", ".join(f"{k} {v}" for k, v in solver.items() if k != "type")
        name = f"{peer} as {solver['type']}, {label}, {teacher}, {keys}"
        table = {k: z.tolist() for k, z in noise.items()} if isinstance(noise, dict) else [z.tolist() for z in noise]
        case = {"name": name, "peer": peer.split()[0], "teacher": teacher, "process": {"type": process}, "solver": solver,
                "times": times.tolist(), "start": start.tolist(), "noise": table, "end": end.tolist(), "tolerance": 1e-10}
        self.agree(name, end, torch.from_numpy(Stochastic(teacher, process).end(case)))
        self.all.append(case)

    def agree(self, name: str, end: Tensor, other: Tensor) -> None:
        assert torch.isfinite(end).all() and end.dtype == torch.float64, name
        difference = float((other - end).abs().max() / end.abs().max())
        assert difference < 1e-12, f"{name}: differs by {difference:.1e}"
        self.largest_difference = max(self.largest_difference, difference)


def problem(process: str, teacher: str, times: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """The levels, a start x, the same in y, and noise for each step."""
    levels = levels_of(times, process)
    x = start_points(teacher, 4, 10.0 if process == "ve" else 1.0, seed)
    return levels, x, x / alpha_at(levels[0], process), draws(len(times) - 1, x, seed + 1)


def denoiser(teacher: str, process: str) -> Callable[..., Tensor]:
    eps = eps_in_y(teacher, process)
    return lambda y, s, *_, **__: y - s.reshape(-1)[0] * eps(y, s.reshape(-1)[0])


@contextmanager
def noise_of(left: list[Tensor]) -> Iterator[None]:
    """What torch.randn_like gives, one after another."""
    real = torch.randn_like
    torch.randn_like = lambda *_, **__: left.pop(0)
    try:
        yield
    finally:
        torch.randn_like = real


# For ER-SDE-Solver, whose code drops noise of a variance below 1e-6.
ABOVE = ("ve", karras(9, 0.5, 10.0), "Karras 9 from 0.5", "mixture_2d")


@contextmanager
def in_float64() -> Iterator[None]:
    """Without casts to float32, those of `dtype` too."""
    with without_casts_to_float32():
        inner = Tensor.to
        Tensor.to = lambda self, *args, dtype=None, **kwargs: inner(self, *args, **kwargs, **({} if dtype in (None, torch.float32) else {"dtype": dtype}))
        yield


GRIDS = [("ve", WITH_ZERO, "Karras 8 + 0", "mixture_1d"), ("ve", WITHOUT, "Karras 9", "mixture_2d"),
         ("vp_scaled_linear", VP_ZERO, "9 steps to 0", "mixture_1d")]


def functions_of(path: Path, names: set[str], scope: dict) -> dict:
    """Some functions and classes of a script, without the rest of it."""
    wanted = [n for n in ast.parse(path.read_text()).body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name in names]
    assert len(wanted) == len(names), path
    exec(compile(ast.Module(wanted, []), path.name, "exec"), scope)
    return scope


class Float64Torch:
    """torch, whose float is float64."""

    float = torch.float64

    def __getattr__(self, name: str) -> object:
        return getattr(torch, name)


class NumpyOfTensors:
    """numpy, some functions of which take and make tensors."""

    sum = staticmethod(lambda x: x.sum())
    arange = staticmethod(lambda n, dtype: torch.arange(n))

    def __getattr__(self, name: str) -> object:
        return getattr(np, name)


def add_k_diffusion(cases: Cases, sampling: types.ModuleType, edm: Callable[..., Tensor]) -> None:
    multistep = [("sample_dpmpp_2m_sde", {"type": "dpmpp_2m_sde", "variant": v, "eta": e, "s_noise": n})
                 for v, e, n in [("midpoint", 1.0, 1.0), ("heun", 1.0, 1.05), ("midpoint", 0.5, 1.0), ("heun", 0.0, 1.0)]]
    multistep += [("sample_dpmpp_3m_sde", {"type": "dpmpp_3m_sde", "eta": e, "s_noise": n, "d2_factor": 1.0})
                  for e, n in [(1.0, 1.0), (0.4, 1.1), (0.0, 1.0)]]
    multistep += [("sample_dpmpp_2s_ancestral", {"type": "dpmpp_2s_ancestral", "eta": e, "s_noise": n})
                  for e, n in [(1.0, 1.0), (0.6, 1.1), (0.0, 1.0)]]
    multistep += [("sample_dpmpp_sde", {"type": "dpmpp_sde", "eta": e, "s_noise": n, "r": r})
                  for e, n, r in [(1.0, 1.0, 0.5), (0.6, 1.1, 0.3), (0.0, 1.0, 0.5)]]
    for function, solver in multistep:
        for process, times, label, teacher in GRIDS:
            levels, x, y, noise = problem(process, teacher, times, 21)
            if solver["type"] == "dpmpp_sde":
                noise = [torch.stack([z, other]) for z, other in zip(noise, draws(len(noise), x, 23))]
            left = [z for step in noise for z in (step if solver["type"] == "dpmpp_sde" else [step])]
            keys = {{"variant": "solver_type"}.get(k, k): v for k, v in solver.items() if k not in ("type", "d2_factor")}
            end = getattr(sampling, function)(denoiser(teacher, process), y, levels, disable=True, noise_sampler=lambda *_: left.pop(0), **keys)
            cases.add(f"k-diffusion {function}", label, teacher, process, solver, times, x, end, noise)

    for solver in [{"s_churn": 3.0, "s_tmin": 0.2, "s_tmax": 6.0, "s_noise": 1.003}, {"s_churn": 40.0, "s_tmin": 0.0, "s_tmax": 50.0, "s_noise": 1.0}]:
        for process, times, label, teacher in GRIDS:
            levels, x, y, noise = problem(process, teacher, times, 25)
            if process != "ve":  # the table has no level above its first
                solver = {**solver, "s_tmax": 5.0}
            for kind, function in (("heun", "sample_heun"), ("ddim", "sample_euler")):
                with noise_of(list(noise)):
                    end = getattr(sampling, function)(denoiser(teacher, process), y, levels, disable=True, **solver)
                if kind == "heun" and label == "Karras 8 + 0":  # this grid is edm_sampler's own
                    net = types.SimpleNamespace(sigma_min=0, sigma_max=math.inf, round_sigma=torch.as_tensor)
                    call = type("Net", (), {**vars(net), "round_sigma": staticmethod(torch.as_tensor),
                                            "__call__": lambda _, y, s, *__: denoiser(teacher, process)(y, s)})()
                    left = list(noise)
                    cases.agree("edm_sampler", end, edm(call, y / levels[0], randn_like=lambda _: left.pop(0), num_steps=8, sigma_min=0.05,
                                                        sigma_max=10.0, **{k.replace("s_t", "S_").replace("s_", "S_"): v for k, v in solver.items()}))
                cases.add(f"k-diffusion {function}", label, teacher, process, {"type": "churn", "solver": kind, **solver}, times, x, end, noise)


def add_diffusers(cases: Cases) -> None:
    import diffusers

    for variant in ("midpoint", "heun"):
        process, times, label, teacher = GRIDS[2]
        levels, x, _, noise = problem(process, teacher, times, 27)
        scheduler = diffusers.DPMSolverMultistepScheduler(**TABLE, algorithm_type="sde-dpmsolver++", solver_order=2, solver_type=variant,
                                                          lower_order_final=False, euler_at_final=True, final_sigmas_type="zero",
                                                          timestep_spacing="trailing")
        scheduler.set_timesteps(len(levels) - 1)
        scheduler.set_begin_index(0)
        scheduler.sigmas = levels
        eps, state = eps_in_y(teacher, process), x
        with in_float64():
            for t, s, z in zip(scheduler.timesteps, levels, noise):
                state = scheduler.step(eps(state / alpha_at(s, process), s), t, state, variance_noise=z).prev_sample
        cases.add("diffusers DPMSolverMultistepScheduler, sde-dpmsolver++", label, teacher, process,
                  {"type": "dpmpp_2m_sde", "variant": variant}, times, x, state, noise)


def add_er_sde(cases: Cases, folder: Path) -> None:
    scope = functions_of(folder / "er_sde_solver.py", {"customized_func", "ER_SDE_Solver"}, {"torch": torch, "math": math, "np": NumpyOfTensors()})
    for order in (1, 2, 3):
        for scale in PHI if order == 3 else ("sde_5", "ode"):
            # Its VP form has no step of lower order into sigma = 0.
            for process, times, label, teacher in [GRIDS[0] if scale == "sde_5" else ABOVE, ("vp_scaled_linear", VP, "8 steps to t = 10", "mixture_1d")]:
                levels, x, y, noise = problem(process, teacher, times, 29)
                kind = process[:2]
                sampler = scope["ER_SDE_Solver"](sde_type=kind, model_prediction_type="x_start")
                model = denoiser(teacher, process)
                phi = lambda l: scope["customized_func"](l, PHI[scale][0])
                method = getattr(sampler, f"{kind}_{order}_order" + ("_taylor" if order > 1 else ""))
                alpha = alpha_at(levels, process)
                with noise_of(list(noise)):
                    if kind == "ve":
                        end = method(model, x, levels, levels, fn_sigma=phi)
                    else:
                        end = method(lambda state, l: model(state / alpha_at(l, process), l), x, alpha, alpha * levels, levels, fn_lambda=phi)
                cases.add(f"ER-SDE-Solver {method.__name__}", label, teacher, process,
                          {"type": "er_sde", "order": order, "noise_scale": scale, "derivatives": "authors"}, times, x,
                          end / alpha[-1], noise)


def add_sa_solver(cases: Cases, folder: Path) -> None:
    source = {"torch": torch, "math": math, "tqdm": lambda steps: steps}
    scope = functions_of(folder / "sa_solver.py", {"SASolver"}, source)

    class Schedule:
        """Of the VP table's noise levels, or of VE, at the times of a grid."""

        T = 1.0
        total_N = 1000

        def __init__(self, process: str) -> None:
            self.marginal_alpha = lambda t: alpha_at(levels_of(t, process), process)
            self.marginal_std = lambda t: alpha_at(levels_of(t, process), process) * levels_of(t, process)
            self.marginal_lambda = lambda t: -levels_of(t, process).log()
            self.edm_sigma = lambda t: torch.ones(1)

    window = {"s_tmin": 0.1, "s_tmax": 5.0}  # the last step has no noise there
    for process, times, label, teacher in [GRIDS[1], ("vp_scaled_linear", VP, "8 steps to t = 10", "mixture_1d")]:
        for predictor, corrector, tau, rescaled in [(1, 0, 1.0, True), (2, 0, 1.0, False), (2, 2, 1.0, True), (3, 0, 0.7, True), (3, 4, 1.0, True),
                                                    (3, 3, 0.5, False), (4, 4, 1.0, False), (3, 4, 0.0, True)]:
            levels, x, _, noise = problem(process, teacher, times, 31)
            eps = eps_in_y(teacher, process)
            sampler = scope["SASolver"](lambda state, t: eps(state / alpha_at(levels_of(t[0], process), process), levels_of(t[0], process)),
                                        Schedule(process))
            sampler.get_time_steps = lambda **_: times
            if not rescaled:  # its other mode has another end
                sampler.adams_bashforth_update_few_steps = sampler.adams_bashforth_update
                sampler.adams_moulton_update_few_steps = sampler.adams_moulton_update
            with noise_of([noise[0], *noise]):  # it draws once before the first step
                end = sampler.sample_few_steps(x, lambda t: tau if window["s_tmin"] <= levels_of(t, process) <= window["s_tmax"] else 0.0,
                                               steps=len(times) - 1, t_start=1.0, t_end=1.0, predictor_order=predictor, corrector_order=corrector)
            solver = {"type": "sa_solver", "predictor_order": predictor, "corrector_order": corrector, "tau": tau, **window, "rescaled": rescaled}
            cases.add("SA-Solver sample_few_steps", label, teacher, process, solver, times, x, end / alpha_at(levels[-1], process), noise)


def add_restart(cases: Cases, folder: Path) -> None:
    scope = functions_of(folder / "benchmarks/generate_restart.py", {"restart_sampler"},
                         {"torch": Float64Torch(), "np": np, "dist": types.SimpleNamespace(print0=lambda *_: None)})
    _, x, y, noise = problem("ve", "mixture_1d", WITH_ZERO, 33)
    for intervals, s_noise in [([[0.06, 0.3, 2, 3]], 1.0), ([[1.2, 4.0, 1, 2], [0.06, 0.9, 3, 4]], 1.003)]:
        net = type("Net", (), {"sigma_min": 0, "sigma_max": math.inf, "img_channels": 1, "img_resolution": 1, "round_sigma": staticmethod(torch.as_tensor),
                               "__call__": lambda _, y, s, *__: denoiser("mixture_1d", "ve")(y, s)})()
        rounds = sum(i[2] for i in intervals)
        drawn = draws(rounds, x, 34)
        left = list(drawn)
        # It draws for its churn too, which is off: the line that asks tells which it is.
        info = json.dumps({str(i): [steps + 1, k, low, high] for i, (low, high, k, steps) in enumerate(intervals)})
        source = (folder / "benchmarks/generate_restart.py").read_text()
        assert source.count("S_noise * randn_like(x_cur)") == 2 and source.count("randn_like(x_next)") == 1
        lines = source.splitlines()

        def randn_like(_: Tensor) -> Tensor:
            return left.pop(0) if "randn_like(x_next)" in lines[inspect.stack()[1].lineno - 1] else torch.zeros_like(x)

        with contextlib.redirect_stdout(io.StringIO()):
            end = scope["restart_sampler"](net, y / WITH_ZERO[0], randn_like=randn_like, num_steps=8, sigma_min=0.05, sigma_max=10.0,
                                           S_noise=s_noise, restart_info=info)
        assert not left
        cases.add("diffusion_restart_sampling restart_sampler", "Karras 8 + 0", "mixture_1d", "ve",
                  {"type": "restart", "solver": "heun", "intervals": intervals, "s_noise": s_noise}, WITH_ZERO, x, end,
                  {str(RESTARTS + k): z for k, z in enumerate(drawn)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=Path("."))
    folder = parser.parse_args().peers
    names = ("k-diffusion", "edm", "ER-SDE-Solver", "SA-Solver", "diffusion_restart_sampling")
    peers = {**{name: commit(folder / name) for name in names}, "diffusers": version("diffusers")}
    edm = functions_of(folder / "edm/generate.py", {"edm_sampler"}, {"torch": torch, "np": np})["edm_sampler"]
    cases = Cases()
    add_k_diffusion(cases, load_k_diffusion(folder / "k-diffusion"), edm)
    add_diffusers(cases)
    add_er_sde(cases, folder / "ER-SDE-Solver")
    add_sa_solver(cases, folder / "SA-Solver")
    add_restart(cases, folder / "diffusion_restart_sampling")
    head = {"made_by": "tests/parity/make_stochastic.py", "peers": peers, "teachers": TEACHERS}
    lines = ",\n".join("  " + json.dumps(case) for case in cases.all)
    text = json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n' + lines + "\n ]\n}\n"
    json.loads(text)
    (Path(__file__).parent / "stochastic.json").write_text(text)
    print(f"{len(cases.all)} cases, at most {cases.largest_difference:.1e} from the formulas")


if __name__ == "__main__":
    main()
