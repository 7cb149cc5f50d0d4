#!/usr/bin/env python3
"""Makes stochastic_and_tableaux.json: ends of solves by ancestral, UniPC and Runge-Kutta steps, for tests/plugins/solvers.cpp.

    pip install torch diffusers==0.42.1 diffrax==0.7.2 nodepy==1.1.1 six matplotlib
    git clone https://github.com/crowsonkb/k-diffusion
    OMP_NUM_THREADS=1 python make_steps.py --k-diffusion k-diffusion

The cases have solvers.json's form, and its teachers, processes and times (see make_solvers.py). What is new in them:

- "noise", where the solver draws it: one [B, D] of unit variance for each step, the last step's too, where a step into sigma = 0
  multiplies it by 0. On "vp_scaled_linear" the peers step in y = x / alpha and s = sigma / alpha, so that x gains
  alpha(s) sigma_up(s) times the noise.
- Runge-Kutta methods step dy/ds = eps in the same y and s, or with "coordinate" = "time" in the process's own time.
- UniPC predicts data, warms up from order 1, and corrects no last step. "lower_order_final" is diffusers': a step's order is at
  most the number of steps that are left. Without it the last step is first order only where it goes into sigma = 0.

Every end is derived a second time from the published formulas, in numpy, and the script stops where the two differ by more than
1e-12 of the largest value.
"""

from __future__ import annotations

import argparse
import json
import math
import types
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from make_solvers import (ALPHAS_BAR, TEACHERS, Derivation, commit, karras, load_k_diffusion, noise_prediction, start_points,
                          without_casts_to_float32)

Tensor = torch.Tensor
TABLE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def noise_level(times: Tensor) -> Tensor:
    """sigma / alpha of the table at t, where 0 is clean data."""
    bar = torch.cat([torch.ones(1), ALPHAS_BAR])[times.long()]
    return ((1 - bar) / bar).sqrt()


def alpha_at(level: Tensor, process: str) -> Tensor:
    return torch.ones_like(level) if process == "ve" else 1 / (1 + level**2).sqrt()


def levels_of(times: Tensor, process: str) -> Tensor:
    return times if process == "ve" else noise_level(times)


def eps_in_y(teacher: str, process: str) -> Callable[[Tensor, Tensor], Tensor]:
    """eps of y = x / alpha at s = sigma / alpha."""
    def call(y: Tensor, level: Tensor) -> Tensor:
        alpha = alpha_at(level, process)
        return noise_prediction(teacher, alpha * y, alpha, level * alpha)
    return call


class StepDerivation(Derivation):
    """The methods once more, from their formulas."""

    tableaux = {
        "heun": ([[1.0]], [0.5, 0.5]),
        "midpoint": ([[0.5]], [0.0, 1.0]),
        "ralston": ([[2 / 3]], [0.25, 0.75]),
        "rk4": ([[0.5], [0.0, 0.5], [0.0, 0.0, 1.0]], [1 / 6, 1 / 3, 1 / 3, 1 / 6]),
    }

    def data(self, x: np.ndarray, t: float) -> np.ndarray:
        alpha, sigma = self.levels(t)
        return (x - sigma * self.eps(x, alpha, sigma)) / alpha

    def tableau_step(self, kind: str, x: np.ndarray, t: float, s: float) -> np.ndarray:
        rows, weights = self.tableaux[kind]
        (a, b), (a_s, b_s) = self.levels(t), self.levels(s)
        y, h = x / a, b_s / a_s - b / a
        slopes: list[np.ndarray] = []
        for row in [[], *rows]:
            alpha, sigma = self.levels_at(-math.log(b / a + sum(row) * h))
            slopes.append(self.eps(alpha * (y + h * sum(c * k for c, k in zip(row, slopes))), alpha, sigma))
        return a_s * (y + h * sum(c * k for c, k in zip(weights, slopes)))

    def ancestral_step(self, eta: float, x: np.ndarray, t: float, s: float, z: np.ndarray) -> np.ndarray:
        """DDIM's own formula (Song et al. 2021, eq. 12 and 16), which is the ancestral step in y."""
        (a, b), (a_s, b_s) = self.levels(t), self.levels(s)
        if self.is_ve:  # the same in y = x / sqrt(1 + s^2)
            a, a_s = 1 / math.sqrt(1 + b**2), 1 / math.sqrt(1 + b_s**2)
            b, b_s = a * b, a_s * b_s
            x = a * x
        spread = eta * b_s / b * math.sqrt(1 - (a / a_s) ** 2)
        e = self.eps(x / a, 1.0, b / a) if self.is_ve else self.eps(x, a, b)
        new = a_s * (x - b * e) / a + math.sqrt(b_s**2 - spread**2) * e + spread * z
        return new / a_s if self.is_ve else new

    def unipc_end(self, case: dict) -> np.ndarray:
        """Zhao et al. 2023 in the data-prediction form. Its right side i! phi_(i+1)(z) z / B(z) is here the integral
        z / B(z) of exp((1 - u) z) u^i over u in [0, 1], by Gauss's rule."""
        solver, times = case["solver"], case["times"]
        node, weight = np.polynomial.legendre.leggauss(60)
        node, weight = 0.5 * (node + 1), 0.5 * weight

        def combine(points: list[tuple[float, np.ndarray]], z: float, big_b: float) -> np.ndarray:
            """Sum of rho_i (D_i - D_0) / r_i over the points (r_i, D_i - D_0), i = 1 … p."""
            p = len(points)
            if p == 0:
                return np.zeros(1)
            right = [z / big_b * float((weight * np.exp((1 - node) * z) * node**i).sum()) for i in range(1, p + 1)]
            rho = np.linalg.solve(np.array([[r**i for r, _ in points] for i in range(p)]), right)
            if p == 1:  # the predictor of order 2 and the corrector of order 1 have 1/2 there
                rho = np.array([0.5])
            return sum(c * d / r for c, (r, d) in zip(rho, points))

        x = np.array(case["start"])
        past = [(times[0], self.data(x, times[0]))]
        for i, (t, s) in enumerate(zip(times[:-1], times[1:])):
            left = len(times) - 1 - i
            p = min(solver["order"], i + 1, left if solver["lower_order_final"] else solver["order"])
            (a, b), (a_s, b_s) = self.levels(t), self.levels(s)
            data = past[-1][1]
            if b_s == 0:
                x = a_s * data
                break
            lam = math.log(a / b)
            h = math.log(a_s / b_s) - lam
            big_b = -h if solver["variant"] == "bh1" else math.expm1(-h)
            points = []
            for time, old in past[-2:-1 - p:-1]:
                alpha, sigma = self.levels(time)
                points.append(((math.log(alpha / sigma) - lam) / h, old - data))
            base = b_s / b * x - a_s * math.expm1(-h) * data
            predicted = base - a_s * big_b * combine(points, -h, big_b)
            if left == 1:
                return predicted
            new = self.data(predicted, s)
            x = predicted
            if solver["corrector"]:
                x = base - a_s * big_b * combine([*points, (1.0, new - data)], -h, big_b)
            past.append((s, new))
        return x

    def end(self, case: dict) -> np.ndarray:
        kind = case["solver"]["type"]
        if kind == "unipc":
            return self.unipc_end(case)
        x = np.array(case["start"])
        for i, (t, s) in enumerate(zip(case["times"][:-1], case["times"][1:])):
            if kind == "euler_ancestral":
                x = self.ancestral_step(case["solver"]["eta"], x, t, s, np.array(case["noise"][i]))
            else:
                x = self.tableau_step(kind, x, t, s)
        return x


class Cases:
    def __init__(self) -> None:
        self.all: list[dict] = []
        self.largest_difference = 0.0

    def add(self, name: str, peer: str, teacher: str, process: str, solver: dict, times: Tensor, start: Tensor, end: Tensor,
            noise: list[Tensor] | None = None) -> None:
        case = {"name": name, "peer": peer, "teacher": teacher, "process": {"type": process}, "solver": solver,
                "times": times.tolist(), "start": start.tolist(), "end": end.tolist(), "tolerance": 1e-10}
        if noise is not None:
            assert len(noise) == len(times) - 1
            case["noise"] = [z.tolist() for z in noise]
        self.agree(name, end, torch.from_numpy(StepDerivation(teacher, process).end(case)))
        self.all.append(case)

    def agree(self, name: str, end: Tensor, other: Tensor) -> None:
        assert torch.isfinite(end).all() and end.dtype == torch.float64, name
        difference = float((other - end).abs().max() / end.abs().max())
        assert difference < 1e-12, f"{name}: differs by {difference:.1e}"
        self.largest_difference = max(self.largest_difference, difference)


def draws(count: int, like: Tensor, seed: int) -> list[Tensor]:
    generator = np.random.default_rng(seed)
    return [torch.from_numpy(generator.standard_normal(like.shape)) for _ in range(count)]


def add_ancestral(cases: Cases, sampling: types.ModuleType) -> None:
    def k_diffusion(teacher: str, process: str, levels: Tensor, y: Tensor, eta: float, noise: list[Tensor]) -> Tensor:
        eps = eps_in_y(teacher, process)
        left = list(noise)
        return sampling.sample_euler_ancestral(lambda y, s, **_: y - s[0] * eps(y, s[0]), y, levels, disable=True, eta=eta,
                                               noise_sampler=lambda *_: left.pop(0))

    with_zero = torch.cat([karras(8, 0.05, 10.0), torch.zeros(1)])
    without = karras(9, 0.05, 10.0)
    for teacher, eta, grid, label in [("mixture_1d", 1.0, with_zero, "Karras 8 + 0"), ("mixture_2d", 1.0, with_zero, "Karras 8 + 0"),
                                      ("mixture_1d", 0.5, with_zero, "Karras 8 + 0"), ("mixture_2d", 0.5, without, "Karras 9"),
                                      ("mixture_1d", 1.0, without, "Karras 9"), ("mixture_1d", 0.0, with_zero, "Karras 8 + 0")]:
        x = start_points(teacher, 5, 10.0, 11)
        noise = draws(len(grid) - 1, x, 12)
        cases.add(f"k-diffusion sample_euler_ancestral, {label}, {teacher}, eta {eta}", "k-diffusion", teacher, "ve",
                  {"type": "euler_ancestral", "eta": eta}, grid, x, k_diffusion(teacher, "ve", grid, x, eta, noise), noise)

    import diffusers
    from diffusers.schedulers import scheduling_euler_ancestral_discrete as module

    teacher, steps = "mixture_1d", 10
    times = torch.arange(1000.0, -1.0, -100.0)
    levels = noise_level(times)
    x = start_points(teacher, 5, 1.0, 13)
    noise = draws(steps, x, 14)
    eps = eps_in_y(teacher, "vp_scaled_linear")
    first, last = alpha_at(levels[0], "vp"), alpha_at(levels[-1], "vp")

    def by_ddim(eta: float) -> Tensor:
        """The same step in x."""
        scheduler = diffusers.DDIMScheduler(**TABLE, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing")
        scheduler.alphas_cumprod, scheduler.final_alpha_cumprod = ALPHAS_BAR, torch.tensor(1.0)
        scheduler.set_timesteps(steps)
        state = x
        for t, s, z in zip(scheduler.timesteps, levels, noise):
            state = scheduler.step(eps(state / alpha_at(s, "vp"), s), int(t), state, eta=eta, variance_noise=z).prev_sample
        return state

    scheduler = diffusers.EulerAncestralDiscreteScheduler(**TABLE, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    assert torch.equal(scheduler.timesteps.double() + 1, times[:-1])
    scheduler.sigmas = levels
    left = list(noise)
    module.randn_tensor = lambda *_, **__: left.pop(0)
    y = x / first
    with without_casts_to_float32():
        for t, s in zip(scheduler.timesteps, levels):
            scheduler.scale_model_input(y, t)
            y = scheduler.step(eps(y, s), t, y).prev_sample
    for eta, peer, end in [(1.0, "diffusers EulerAncestralDiscreteScheduler", last * y),
                           (0.5, "k-diffusion sample_euler_ancestral in y",
                            last * k_diffusion(teacher, "vp_scaled_linear", levels, x / first, 0.5, noise))]:
        cases.agree("DDIMScheduler", end, by_ddim(eta))
        cases.add(f"{peer}, and diffusers DDIMScheduler, {steps} steps, eta {eta}", peer.split()[0], teacher, "vp_scaled_linear",
                  {"type": "euler_ancestral", "eta": eta}, times, x, end, noise)


def add_unipc(cases: Cases) -> None:
    import diffusers

    def run(teacher: str, process: str, solver: dict, times: Tensor, x: Tensor) -> Tensor:
        steps = len(times) - 1
        scheduler = diffusers.UniPCMultistepScheduler(
            **TABLE, solver_order=solver["order"], solver_type=solver["variant"], predict_x0=True,
            lower_order_final=solver["lower_order_final"], disable_corrector=[] if solver["corrector"] else list(range(steps)),
            final_sigmas_type="zero", timestep_spacing="trailing")
        scheduler.set_timesteps(steps)
        scheduler.set_begin_index(0)
        scheduler.sigmas = levels = levels_of(times, process)
        if process == "ve":
            scheduler._sigma_to_alpha_sigma_t = lambda level: (torch.ones_like(level), level)
        eps = eps_in_y(teacher, process)
        state = x
        with without_casts_to_float32():
            for i, (t, s) in enumerate(zip(scheduler.timesteps, levels)):
                if i == steps - 1 and levels[-1] == 0:  # no step of a higher order goes into sigma = 0: its matrix is singular
                    scheduler.register_to_config(lower_order_final=True)
                state = scheduler.step(eps(state / alpha_at(s, process), s), t, state).prev_sample
        if levels[-1] > 0:
            return state
        data = scheduler.model_outputs[-1]  # what a first-order step into sigma = 0 gives; with bh1 the peer has inf * 0 there
        assert torch.isnan(state).all() if solver["variant"] == "bh1" else torch.equal(state, data)
        return data

    into_zero = torch.arange(1000.0, -1.0, -100.0)
    to_one = torch.tensor([1000.0, 850.0, 700.0, 540.0, 400.0, 270.0, 150.0, 60.0, 10.0, 1.0])
    with_zero = torch.cat([karras(8, 0.05, 10.0), torch.zeros(1)])
    without = karras(9, 0.05, 10.0)
    grids = [("vp_scaled_linear", to_one, "9 steps to t = 1", False, (True, False), ("mixture_1d",), (1, 2, 3)),
             ("vp_scaled_linear", into_zero, "10 steps", False, (True,), ("mixture_1d",), (1, 2, 3)),
             ("vp_scaled_linear", into_zero, "10 steps", True, (True, False), ("mixture_2d",), (2, 3)),
             ("ve", without, "Karras 9", False, (True, False), ("mixture_1d",), (1, 2, 3)),
             ("ve", with_zero, "Karras 8 + 0", False, (True,), ("mixture_2d",), (2, 3)),
             ("ve", with_zero, "Karras 8 + 0", True, (True,), ("mixture_1d",), (3,))]
    for process, times, label, lower, correctors, teachers, orders in grids:
        for teacher in teachers:
            x = start_points(teacher, 4, 10.0 if process == "ve" else 1.0, 15)
            for order in orders:
                for variant in ("bh1", "bh2"):
                    for corrector in correctors:
                        solver = {"type": "unipc", "order": order, "variant": variant, "corrector": corrector, "lower_order_final": lower}
                        name = f"diffusers UniPCMultistepScheduler{' with alpha = 1' if process == 've' else ''}, {label}, {teacher}, " \
                               f"order {order}, {variant}, corrector {'on' if corrector else 'off'}, lower_order_final {'on' if lower else 'off'}"
                        cases.add(name, "diffusers", teacher, process, solver, times, x, run(teacher, process, solver, times, x))


def add_tableaux(cases: Cases) -> None:
    import diffrax
    import jax
    import jax.numpy as jnp
    from nodepy import rk

    jax.config.update("jax_enable_x64", True)

    def field(teacher: str, process: str) -> Callable[..., jax.Array]:
        mixture = {k: jnp.array(v) for k, v in TEACHERS[teacher].items()}

        def slope(s: jax.Array, y: jax.Array, _: object = None) -> jax.Array:
            alpha = 1.0 if process == "ve" else 1 / jnp.sqrt(1 + s**2)
            variance = alpha**2 * (mixture["stds"] ** 2 + s**2)
            offset = alpha * (y[:, None, :] - mixture["means"])
            log_joint = jnp.log(mixture["weights"]) - 0.5 * (offset**2).sum(2) / variance - 0.5 * y.shape[1] * jnp.log(variance)
            return s * alpha * (jax.nn.softmax(log_joint, 1)[:, :, None] * offset / variance[:, None]).sum(1)
        return slope

    def by_diffrax(kind: str, teacher: str, process: str, levels: Tensor, y: Tensor) -> Tensor:
        solver = {"heun": diffrax.Heun, "midpoint": diffrax.Midpoint, "ralston": diffrax.Ralston}[kind]()
        s = jnp.array(levels.numpy())
        solution = diffrax.diffeqsolve(diffrax.ODETerm(field(teacher, process)), solver, s[0], s[-1], None, jnp.array(y.numpy()),
                                       stepsize_controller=diffrax.StepTo(s))
        assert int(solution.stats["num_accepted_steps"]) == len(levels) - 1
        return torch.tensor(np.asarray(solution.ys[0]))

    def by_nodepy(kind: str, teacher: str, process: str, levels: Tensor, y: Tensor) -> Tensor:
        """Its steps, along a grid that is not even."""
        method = rk.loadRKM({"heun": "Heun22", "midpoint": "Mid22", "ralston": "MTE22", "rk4": "RK44"}[kind]).__num__()
        shape, eps = y.shape, eps_in_y(teacher, process)

        def slope(s: float, flat: np.ndarray) -> np.ndarray:
            return eps(torch.from_numpy(flat.copy()).reshape(shape), torch.tensor(float(s))).numpy().ravel()

        state = y.numpy().ravel()
        for a, b in zip(levels[:-1].tolist(), levels[1:].tolist()):
            state = method.__step__(slope, a, state, b - a, use_butcher=True)
        return torch.from_numpy(state).reshape(shape)

    table = torch.tensor([1000.0, 900.0, 780.0, 650.0, 500.0, 350.0, 200.0, 90.0, 30.0, 1.0])
    for kind in ("rk4", "ralston", "midpoint", "heun"):
        for process, times, label in [("ve", karras(9, 0.05, 10.0), "Karras 9"), ("vp_scaled_linear", table, "9 steps to t = 1")]:
            for teacher in TEACHERS:
                x = start_points(teacher, 5, 10.0 if process == "ve" else 1.0, 16)
                levels = levels_of(times, process)
                y = x / alpha_at(levels[0], process)
                end = by_nodepy(kind, teacher, process, levels, y)
                if kind != "rk4":
                    other, end = end, by_diffrax(kind, teacher, process, levels, y)
                    cases.agree(f"{kind} by two peers", end, other)
                end = alpha_at(levels[-1], process) * end
                peer = "nodepy RK44" if kind == "rk4" else f"diffrax {kind.capitalize()}, and nodepy"
                # Time is sigma on a variance-exploding process. Our heun has called the coordinate "variable" from its start.
                for key in ({}, {"variable" if kind == "heun" else "coordinate": "time"}) if process == "ve" and teacher == "mixture_1d" else ({},):
                    cases.add(f"{peer}, {label}, {teacher}" + (", in time" if key else ""), peer.split()[0], teacher, process,
                              {"type": kind, **key}, times, x, end)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--k-diffusion", type=Path, default=Path("k-diffusion"))
    args = parser.parse_args()
    peers = {"k-diffusion": commit(args.k_diffusion), **{name: version(name) for name in ("diffusers", "diffrax", "nodepy")}}
    cases = Cases()
    add_ancestral(cases, load_k_diffusion(args.k_diffusion))
    add_unipc(cases)
    add_tableaux(cases)
    head = {"made_by": "tests/parity/make_steps.py", "peers": peers, "teachers": TEACHERS}
    lines = ",\n".join("  " + json.dumps(case) for case in cases.all)
    text = json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n' + lines + "\n ]\n}\n"
    json.loads(text)
    (Path(__file__).parent / "stochastic_and_tableaux.json").write_text(text)
    print(f"{len(cases.all)} cases, at most {cases.largest_difference:.1e} from the formulas")


if __name__ == "__main__":
    main()
