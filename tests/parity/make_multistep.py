#!/usr/bin/env python3
"""Makes multistep.json: ends of multistep and singlestep solves by other projects' own code, in float64, for
tests/plugins/solvers_multistep.cpp.

    pip install torch scipy mpmath diffusers==0.42.1
    git clone https://github.com/crowsonkb/k-diffusion
    git clone https://github.com/LuChengTHU/dpm-solver
    git clone https://github.com/zju-pi/diff-sampler
    git clone https://github.com/ClownsharkBatwing/RES4LYF
    python make_multistep.py --k-diffusion k-diffusion --dpm-solver dpm-solver --diff-sampler diff-sampler --res4lyf RES4LYF

The peers' code is imported or executed from those checkouts; none of it is kept here. Teachers and times are those of make_solvers.py.
Each end is also derived a second time, in numpy: weights of multistep methods are integrals by Gauss and Legendre's rule, and those that
are no integrals follow their published formulas. The script stops where the two differ by more than 1e-12 of the largest value, or
1e-11 where steps adapt.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import math
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from make_solvers import (ALPHAS_BAR, TEACHERS, Derivation, karras, load_k_diffusion, noise_prediction, start_points,
                          without_casts_to_float32)

Tensor = torch.Tensor
GAUSS, GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(60)


def integral(kernel: Callable, nodes: list[float], j: int, a: float, b: float) -> float:
    """The integral over [a, b] of kernel times the polynomial that is 1 at nodes[j] and 0 at the others."""
    q = a + (b - a) * (GAUSS + 1) / 2
    basis = np.ones_like(q)
    for k, node in enumerate(nodes):
        if k != j:
            basis = basis * (q - node) / (nodes[j] - node)
    return float((b - a) / 2 * (GAUSS_WEIGHTS * kernel(q) * basis).sum())


def phi(k: int, z: float) -> float:
    """phi_k(z) as the integral of e^{(1 - s) z} s^{k-1} / (k-1)! over [0, 1]."""
    s = (GAUSS + 1) / 2
    return float((GAUSS_WEIGHTS / 2 * np.exp((1 - s) * z) * s ** (k - 1)).sum()) / math.factorial(k - 1)


class Multistep(Derivation):
    """One step of each method, given times and predictions of the steps before, the last first."""

    def levels(self, t: float) -> tuple[float, float]:
        if self.linear:
            log_alpha = -0.25 * t * t * (20 - 0.1) - 0.5 * t * 0.1
            return math.exp(log_alpha), math.sqrt(-math.expm1(2 * log_alpha))
        return super().levels(t)

    def levels_at(self, lam: float) -> tuple[float, float]:
        return (1.0, math.exp(-lam)) if self.is_ve else (1 / math.sqrt(1 + math.exp(-2 * lam)), 1 / math.sqrt(1 + math.exp(2 * lam)))

    def __init__(self, teacher: str, process: str) -> None:
        self.linear = process == "vp_linear"
        super().__init__(teacher, process)

    def data(self, x: np.ndarray, alpha: float, sigma: float) -> np.ndarray:
        return (x - sigma * self.eps(x, alpha, sigma)) / alpha

    def end(self, case: dict) -> np.ndarray:
        x, solver = np.array(case["start"]), case["solver"]
        order = {"dpmpp_3m": 3, "res_2m": 2, "res_3m": 3}.get(solver["type"], solver.get("order", 4))
        history: list[tuple[float, np.ndarray, np.ndarray]] = []  # lambda, eps, D
        for step, (t, s) in enumerate(zip(case["times"][:-1], case["times"][1:])):
            (a, b), (a_s, b_s) = self.levels(t), self.levels(s)
            e = self.eps(x, a, b)
            history = [(math.log(a / b), e, (x - b * e) / a), *history][:order]
            single = solver["type"] in ("dpm_solver", "dpmpp_2s", "dpmpp_3s", "dpm_adaptive")
            if single:
                x = self.singlestep(solver, x, math.log(a / b), math.log(a_s / b_s))
            else:
                remaining = len(case["times"]) - 1 - step if solver.get("lower_order_final") else order
                x = self.multistep(solver, x, history[:remaining], (a, b), (a_s, b_s))
        return x

    def multistep(self, solver: dict, x: np.ndarray, history: list, now: tuple[float, float], next: tuple[float, float]) -> np.ndarray:
        (a, b), (a_s, b_s), kind, n = now, next, solver["type"], len(history)
        lam, eps, data = [h[0] for h in history], [h[1] for h in history], [h[2] for h in history]
        if kind in ("lms", "ipndm_v") or solver.get("variable") == "rho":
            nodes = [math.exp(-q) for q in lam]
            return a_s * (x / a + sum(integral(np.ones_like, nodes, j, b / a, b_s / a_s) * eps[j] for j in range(n)))
        if kind in ("ipndm", "plms"):
            table = {1: [1], 2: [3 / 2, -1 / 2], 3: [23 / 12, -16 / 12, 5 / 12], 4: [55 / 24, -59 / 24, 37 / 24, -9 / 24]}
            weights = table[n]
            if kind == "plms" and n == 1:
                eps = [(eps[0] + self.eps(a_s / a * x + (b_s - a_s * b / a) * eps[0], a_s, b_s)) / 2]
            return a_s * (x / a + (b_s / a_s - b / a) * sum(w * e for w, e in zip(weights, eps)))
        if b_s == 0:
            return data[0]
        lam_s = math.log(a_s / b_s)
        h = lam_s - lam[0]
        if kind == "deis":
            return a_s / a * x - a_s * sum(integral(lambda q: np.exp(-q), lam, j, lam[0], lam_s) * eps[j] for j in range(n))
        if kind == "adams_bashforth_norsett" or kind == "res_2m":
            return b_s / b * x + b_s * sum(integral(np.exp, lam, j, lam[0], lam_s) * data[j] for j in range(n))
        if n > 1:
            r = [(q - lam[0]) / h for q in lam]
            slopes = [(data[j] - data[j + 1]) / (r[j] - r[j + 1]) for j in range(n - 1)]
        if kind == "dpmpp_3m":
            out = b_s / b * x + a_s * h * phi(1, -h) * data[0]
            if n == 2:
                return out + a_s * h * (phi(2, -h) if solver["second_step"] == "exact" else phi(1, -h) / 2) * slopes[0]
            if n == 3:
                second = (slopes[0] - slopes[1]) / -r[2]
                return out + a_s * h * (phi(2, -h) * (slopes[0] - r[1] * second) + solver["d2_factor"] * phi(3, -h) * second)
            return out
        assert kind == "res_3m", kind
        weights = [phi(1, -h)]
        if n == 2:
            weights = [phi(1, -h) - phi(2, -h) / r[1], phi(2, -h) / r[1]]
        if n == 3:
            g = (3 * r[2] ** 3 - 2 * r[2]) / (r[1] * (2 - 3 * r[1]))
            third = phi(2, -h) / (g * r[1] + r[2])
            weights = [phi(1, -h) - (1 + g) * third, g * third, third]
        return b_s / b * x + a_s * h * sum(w * d for w, d in zip(weights, data))

    def singlestep(self, solver: dict, x: np.ndarray, lam: float, lam_s: float) -> np.ndarray:
        if solver["type"] == "dpm_adaptive":
            return np.concatenate([self.adaptive(solver, row, lam, lam_s) for row in np.split(x, len(x))])
        order = {"dpm_solver": solver.get("order"), "dpmpp_2s": 2, "dpmpp_3s": 3}[solver["type"]]
        r1 = solver.get("r1", 1 / order)
        return self.expand(x, lam, lam_s, solver["type"] != "dpm_solver", *([r1, solver.get("r2", 2 / 3)] if order == 3 else [r1]))

    def expand(self, x: np.ndarray, lam: float, lam_s: float, is_data: bool, *parts: float) -> np.ndarray:
        """The step with evaluations at those parts of it."""
        (a, b), h = self.levels_at(lam), lam_s - lam
        predict = self.data if is_data else self.eps

        def along(r: float, slope: np.ndarray | float, half: bool = False) -> tuple[np.ndarray, float, float]:
            """The state at r, of a prediction that rises by slope over h; with half, by half of it all the way."""
            alpha, sigma = self.levels_at(lam + r * h)
            z = -r * h if is_data else r * h
            inner = r * h * (phi(1, z) * now + (phi(1, z) / 2 if half else phi(2, z)) * r * slope)
            return (sigma / b * x + alpha * inner if is_data else alpha / a * x - sigma * inner), alpha, sigma

        now, slope = predict(x, a, b), 0.0
        for r in parts:
            slope = (predict(*along(r, slope)) - now) / r
        return along(1.0, slope, half=len(parts) == 1)[0]

    def adaptive(self, solver: dict, x: np.ndarray, lam: float, lam_s: float) -> np.ndarray:
        order, h, before, inverse = solver["order"], 0.05, x, []
        kp, ki, kd = solver.get("pcoeff", 0.0), solver.get("icoeff", 1.0), solver.get("dcoeff", 0.0)
        while lam_s - lam > 1e-5:
            to = min(lam_s, lam + h)
            low = self.expand(x, lam, to, False, *([1 / 3] if order == 3 else []))
            high = self.expand(x, lam, to, False, *([1 / 3, 2 / 3] if order == 3 else [1 / 2]))
            scale = np.maximum(0.0078, 0.05 * np.maximum(abs(low), abs(before)))
            e = 1 / (math.sqrt(np.mean(((low - high) / scale) ** 2)) + 1e-8)
            inverse = [e, *(inverse[1:] or [e, e])]
            factor = inverse[0] ** ((kp + ki + kd) / order) * inverse[1] ** (-(kp + 2 * kd) / order) * inverse[2] ** (kd / order)
            factor = 1 + math.atan(factor - 1)
            if factor >= 0.81:
                before, x, lam, inverse = low, high, to, [e, e, inverse[1]]
            h *= factor
        return x


class Cases:
    def __init__(self) -> None:
        self.all: list[dict] = []
        self.largest_difference = 0.0

    def add(self, name: str, peer: str, process: str, solver: dict, times: Tensor, start: Tensor, end: Tensor) -> None:
        case = {"name": name, "peer": peer, "teacher": "mixture_1d", "process": {"type": process}, "solver": solver,
                "times": times.tolist(), "start": start.tolist(), "end": end.tolist(), "tolerance": 1e-10}
        assert torch.isfinite(end).all() and end.dtype == torch.float64, name
        derived = Multistep("mixture_1d", process).end(case)
        difference = float(np.abs(derived - end.numpy()).max() / np.abs(derived).max())
        # An adaptive step's length hangs on a difference of nearly equal states, and so on their rounding.
        assert difference < (1e-11 if solver["type"] == "dpm_adaptive" else 1e-12), f"{name}: differs from the formulas by {difference:.1e}"
        self.largest_difference = max(self.largest_difference, difference)
        self.all.append(case)


def denoiser(x: Tensor, sigma: Tensor, **_: object) -> Tensor:
    level = sigma.reshape(-1)[0]
    return x - level * noise_prediction("mixture_1d", x, torch.tensor(1.0), level)


WITH_ZERO = torch.cat([karras(8, 0.05, 10.0), torch.zeros(1)])
WITHOUT = karras(9, 0.05, 10.0)


def add_k_diffusion(cases: Cases, sampling: types.ModuleType) -> None:
    x = start_points("mixture_1d", 6, 10.0, 1)
    for grid, label in [(WITH_ZERO, "Karras 8 + 0"), (WITHOUT, "Karras 9")]:
        for order in (1, 2, 3, 4):
            end = sampling.sample_lms(denoiser, x, grid, disable=True, order=order)
            cases.add(f"k-diffusion sample_lms, order {order}, {label}", "k-diffusion", "ve", {"type": "lms", "order": order, "start": "ddim"},
                      grid, x, end)
        end = sampling.sample_dpmpp_3m_sde(denoiser, x, grid, disable=True, eta=0.0, noise_sampler=lambda *_: 0)
        cases.add(f"k-diffusion sample_dpmpp_3m_sde, eta = 0, {label}", "k-diffusion", "ve",
                  {"type": "dpmpp_3m", "d2_factor": 1, "second_step": "exact", "start": "ddim"}, grid, x, end)
    ends, dpm = torch.stack([WITHOUT[0], WITHOUT[-1]]), sampling.DPMSolver(denoiser)
    for keys in ({"order": 2}, {"order": 3}, {"order": 3, "pcoeff": 0.1, "icoeff": 0.8, "dcoeff": 0.05}):  # row by row: it has one length for a batch
        rows = [dpm.dpm_solver_adaptive(row, -ends[0].log(), -ends[1].log(), **keys)[0] for row in x.split(1)]
        cases.add(f"k-diffusion dpm_solver_adaptive, {keys}", "k-diffusion", "ve", {"type": "dpm_adaptive"} | keys, ends, x, torch.cat(rows))


class Ve:
    """The noise schedule of a variance-exploding process, as dpm-solver's code asks for one."""

    T, total_N = 10.0, 1000

    def marginal_log_mean_coeff(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def marginal_alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def marginal_std(self, t: Tensor) -> Tensor:
        return t

    def marginal_lambda(self, t: Tensor) -> Tensor:
        return -t.log()

    def inverse_lambda(self, lam: Tensor) -> Tensor:
        return (-lam).exp()


def load(name: str, file: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def add_dpm_solver(cases: Cases, peer: types.ModuleType) -> None:
    linear = peer.NoiseScheduleVP("linear", continuous_beta_0=0.1, continuous_beta_1=20.0)
    for process, schedule, grid, scale in [("ve", Ve(), WITHOUT, 10.0), ("vp_linear", linear, torch.linspace(1, 0.01, 9), 1.0)]:
        def model(x: Tensor, t: Tensor, schedule: object = schedule) -> Tensor:
            level = t.reshape(-1)[:1]
            return noise_prediction("mixture_1d", x, schedule.marginal_alpha(level), schedule.marginal_std(level))

        x = start_points("mixture_1d", 6, scale, 2)
        solver = peer.DPM_Solver(model, schedule, algorithm_type="dpmsolver++")
        state, values, times = x, [], []
        for t, s in zip(grid[:-1, None], grid[1:, None]):
            values, times = [*values, solver.model_fn(state, t)][-3:], [*times, t][-3:]
            state = solver.multistep_dpm_solver_update(state, values, times, s, len(values))
        cases.add(f"dpm-solver multistep_dpm_solver_third_update, {process}", "dpm-solver", process,
                  {"type": "dpmpp_3m", "d2_factor": 1, "second_step": "dpmpp_2m", "start": "ddim"}, grid, x, state)
        for kind, order, keys in [("dpm_solver", 2, {}), ("dpm_solver", 2, {"r1": 0.3}), ("dpm_solver", 3, {"r1": 0.25}),
                                  ("dpmpp_2s", 2, {}), ("dpmpp_2s", 2, {"r1": 0.3}), ("dpmpp_3s", 3, {}), ("dpmpp_3s", 3, {"r1": 0.4, "r2": 0.9})]:
            solver = peer.DPM_Solver(model, schedule, algorithm_type="dpmsolver" if kind == "dpm_solver" else "dpmsolver++")
            update = solver.singlestep_dpm_solver_second_update if order == 2 else solver.singlestep_dpm_solver_third_update
            state = x
            for t, s in zip(grid[:-1, None], grid[1:, None]):
                state = update(state, t, s, **keys)
            keys = ({"order": order} if kind == "dpm_solver" else {}) | keys
            cases.add(f"dpm-solver {update.__name__} as {kind}, {keys}, {process}", "dpm-solver", process, {"type": kind} | keys, grid, x, state)


def add_diff_sampler(cases: Cases, peer: types.ModuleType, coefficients: Callable) -> None:
    """With its latents scaled by the first time, as it wants them."""
    peer.get_denoised = lambda net, x, t, **_: denoiser(x, t)
    x = start_points("mixture_1d", 6, 10.0, 3)
    for kind, orders in [("ipndm", (2, 3, 4)), ("ipndm_v", (2,))]:
        for order in orders:
            end = getattr(peer, f"{kind}_sampler")(None, x / WITHOUT[0], t_steps=WITHOUT, max_order=order)
            solver = {"type": kind, "order": order} | ({"start": "ddim"} if kind == "ipndm_v" else {})
            cases.add(f"diff-sampler {kind}_sampler, order {order}", "diff-sampler", "ve", solver, WITHOUT, x, end)
    for order in (2, 3, 4):
        weights = coefficients(WITHOUT, order - 1, deis_mode="rhoab")
        end = peer.deis_sampler(None, x / WITHOUT[0], t_steps=WITHOUT, max_order=order, coeff_list=weights)
        cases.add(f"diff-sampler deis_sampler, rhoab, order {order}", "diff-sampler", "ve",
                  {"type": "deis", "order": order, "variable": "rho", "start": "ddim"}, WITHOUT, x, end)
    even = torch.linspace(10.0, 0.5, 9)
    end = peer.ipndm_v_sampler(None, x / even[0], t_steps=even, max_order=3)
    cases.add("diff-sampler ipndm_v_sampler, order 3, equal steps", "diff-sampler", "ve", {"type": "ipndm_v", "order": 3, "start": "ddim"},
              even, x, end)


def add_res4lyf(cases: Cases, folder: Path) -> None:
    """The weights of its cases "res_2s" and "res_3s", with c_2 and c_3 of the steps before, as its multistep methods have them."""
    peer = load("phi_functions", folder / "beta" / "phi_functions.py")
    tree = ast.parse((folder / "beta" / "rk_coefficients_beta.py").read_text())
    bodies = {c.pattern.value.value: c.body for n in ast.walk(tree) if isinstance(n, ast.Match) for c in n.cases
              if isinstance(c.pattern, ast.MatchValue) and isinstance(c.pattern.value, ast.Constant)}
    names = {"Phi": peer.Phi, "calculate_gamma": peer.calculate_gamma, "get_extra_options_kv": lambda key, value, _: value,
             "extra_options": None, "use_analytic_solution": True}
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "gen_first_col_exp"]
    exec(compile(ast.Module(functions, []), "rk_coefficients_beta.py", "exec"), names)

    def weights(h: float, c: list[float]) -> list[float]:
        if not c:
            return [float(peer.Phi(h, [0], True)(1))]
        scope = names | {"h": h, "c2": c[0], "c3": c[-1]}
        exec(compile(ast.Module(bodies[f"res_{len(c) + 1}s"], []), "rk_coefficients_beta.py", "exec"), scope)
        return [float(b) for b in scope["b"][0]]

    x = start_points("mixture_1d", 6, 10.0, 4)
    for order, solver in [(2, {"type": "res_2m"}), (3, {"type": "res_3m", "gamma": "res4lyf", "start": "ddim"})]:
        state, history = x, []
        for t, s in zip(WITHOUT[:-1].tolist(), WITHOUT[1:].tolist()):
            h = math.log(t / s)
            history = [(t, denoiser(state, torch.tensor(t))), *history][:order]
            b = weights(h, [-math.log(before / t) / h for before, _ in history[1:]])
            state = state + h * sum(w * (d - state) for w, (_, d) in zip(b, history))
        cases.add(f"RES4LYF res_{order}m", "RES4LYF", "ve", solver, WITHOUT, x, state)


def add_diffusers(cases: Cases) -> None:
    """Schedulers whose tables are replaced by float64 ones, with their casts to float32 made void."""
    import diffusers

    common = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    index = torch.tensor([999, 800, 650, 500, 350, 250, 150, 80, 30, 0])
    levels = ((1 - ALPHAS_BAR[index]) / ALPHAS_BAR[index]).sqrt()
    alphas, sigmas = ALPHAS_BAR[index].sqrt(), (1 - ALPHAS_BAR[index]).sqrt()
    grid, x = index.double() + 1, start_points("mixture_1d", 6, 1.0, 5)

    def eps(state: Tensor, i: int) -> Tensor:
        return noise_prediction("mixture_1d", state, alphas[i], sigmas[i])

    def add(name: str, solver: dict, scheduler: object, scaled: bool = False, start: Tensor = x) -> None:
        scheduler.set_timesteps(len(index) - 1)
        scheduler.timesteps, scheduler.sigmas = index[:-1], levels
        state = start / alphas[0] if scaled else start  # x / alpha, for those in sigma / alpha
        with without_casts_to_float32():
            for i, t in enumerate(scheduler.timesteps):
                state = scheduler.step(eps(state * alphas[i] if scaled else state, i), t, state).prev_sample
        cases.add(f"diffusers {name}", "diffusers", "vp_scaled_linear", solver, grid, start, state * alphas[-1] if scaled else state)

    for order, lower in [(1, False), (2, False), (3, False), (3, True)]:
        add(f"DEISMultistepScheduler, order {order}" + lower * ", lower_order_final",
            {"type": "deis", "order": order, "start": "ddim", "lower_order_final": lower},
            diffusers.DEISMultistepScheduler(**common, solver_order=order, lower_order_final=lower))
    add("LMSDiscreteScheduler", {"type": "lms", "order": 4, "start": "ddim"}, diffusers.LMSDiscreteScheduler(**common), scaled=True)
    for lower in (False, True):
        add("DPMSolverMultistepScheduler, order 3" + lower * ", lower_order_final",
            {"type": "dpmpp_3m", "d2_factor": 1, "second_step": "dpmpp_2m", "start": "ddim", "lower_order_final": lower},
            diffusers.DPMSolverMultistepScheduler(**common, solver_order=3, lower_order_final=lower, final_sigmas_type="sigma_min"))

    even = torch.arange(901, 0, -100)  # its steps are equal
    scheduler = diffusers.PNDMScheduler(**common, skip_prk_steps=True, set_alpha_to_one=False)
    scheduler.set_timesteps(10)
    scheduler.alphas_cumprod = ALPHAS_BAR
    state = x
    for t in [901, 801, *range(801, 1, -100)]:  # at the second twice: for the mean, and from where that leads
        alpha_bar = ALPHAS_BAR[t]
        noise = noise_prediction("mixture_1d", state, alpha_bar.sqrt(), (1 - alpha_bar).sqrt())
        state = scheduler.step_plms(noise, t, state).prev_sample
    cases.add("diffusers PNDMScheduler, skip_prk_steps", "diffusers", "vp_scaled_linear", {"type": "plms", "start": "improved_euler"},
              even.double() + 1, x, state)

    scheduler = diffusers.IPNDMScheduler(1000)
    scheduler.set_timesteps(len(index) - 1)
    scheduler.timesteps, scheduler.alphas, scheduler.betas = index[:-1], alphas, sigmas
    state = x
    for i, t in enumerate(scheduler.timesteps):  # it is given v, from which it makes eps
        state = scheduler.step((eps(state, i) - sigmas[i] * state) / alphas[i], t, state).prev_sample
    cases.add("diffusers IPNDMScheduler", "diffusers", "vp_scaled_linear", {"type": "ipndm", "order": 4}, grid, x, state)


def commit(folder: Path, *files: str) -> str:
    """The full commit of a checkout, of which those files have to be as committed: the fixture names it as its source."""
    def git(*args: str) -> str:
        return subprocess.run(["git", "-C", str(folder), *args], capture_output=True, text=True, check=True).stdout.strip()

    if Path(git("rev-parse", "--show-toplevel")).resolve() != folder.resolve():
        raise SystemExit(f"{folder} is not a checkout of its own")
    if git("status", "--porcelain", "--untracked-files=no", "--", *files):
        raise SystemExit(f"{folder} has changes that are not committed")
    return git("rev-parse", "HEAD")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("k-diffusion", "dpm-solver", "diff-sampler", "res4lyf"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    import diffusers

    peers = {"k-diffusion": commit(args.k_diffusion, "k_diffusion"), "dpm-solver": commit(args.dpm_solver, "dpm_solver_pytorch.py"),
             "diff-sampler": commit(args.diff_sampler, "diff-solvers-main/solvers.py", "diff-solvers-main/solver_utils.py"),
             "RES4LYF": commit(args.res4lyf, "beta/rk_coefficients_beta.py", "beta/phi_functions.py"), "diffusers": diffusers.__version__}
    cases = Cases()
    add_k_diffusion(cases, load_k_diffusion(args.k_diffusion))
    add_dpm_solver(cases, load("dpm_solver_pytorch", args.dpm_solver / "dpm_solver_pytorch.py"))
    sys.path.insert(0, str(args.diff_sampler / "diff-solvers-main"))
    folder = args.diff_sampler / "diff-solvers-main"
    add_diff_sampler(cases, load("diff_solvers", folder / "solvers.py"), load("solver_utils", folder / "solver_utils.py").get_deis_coeff_list)
    add_res4lyf(cases, args.res4lyf)
    add_diffusers(cases)
    head = {"made_by": "tests/parity/make_multistep.py", "peers": peers, "teachers": {"mixture_1d": TEACHERS["mixture_1d"]}}
    lines = ",\n".join("  " + json.dumps(case) for case in cases.all)
    text = json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n' + lines + "\n ]\n}\n"
    json.loads(text)
    (Path(__file__).parent / "multistep.json").write_text(text)
    print(f"{len(cases.all)} cases, at most {cases.largest_difference:.1e} from the formulas")


if __name__ == "__main__":
    main()
