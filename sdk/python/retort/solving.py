"""Retort's solvers on anybody's model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ._native_loader import native
from ._session import refuse
from .models import Teacher, described, toolbox


@dataclasses.dataclass
class Solution:
    """What `solve(…, full=True)` returns."""

    x: torch.Tensor  #: [B, …] the ends
    times: torch.Tensor  #: [N + 1] float64, the grid
    states: torch.Tensor  #: [N + 1, B, …] the state at each time
    evaluations: int  #: of the model: one per row and call, two under guidance


def process(spec: str | Mapping[str, Any] = "ve") -> "native.Process":
    """A forward process by name, or by a dict of type and keys: alpha(t), sigma(t), add_noise(x0, n, t), …"""
    return toolbox(spec, torch.zeros(1, 1)).process


def times(schedule: str | Mapping[str, Any] | Any, process: str | Mapping[str, Any] = "ve", *, steps: int = 20) -> torch.Tensor:
    """The grid of a schedule on a process: [steps + 1] float64, falling.

    Args:
        schedule: its name ("karras", "uniform", "ays", …); a dict of type and keys; or an object with
            ``times(process, progress)``.
        process: as of `solve`.
        steps: its intervals, where `schedule` is a name.
    """
    return grid_of(toolbox(process, torch.zeros(1, 1)), schedule, steps)


def schedule_part(bench, schedule: Any, steps: int):
    """A schedule as `solve` takes it, but no list of times."""
    if schedule is None:
        schedule = "karras" if bench.process.name == "ve" else "uniform"
    return bench.schedule(described(schedule, steps=steps))


def grid_of(bench, schedule: Any, steps: int) -> torch.Tensor:
    """The times of a schedule as `solve` takes it."""
    if isinstance(schedule, torch.Tensor) or (isinstance(schedule, Sequence) and not isinstance(schedule, str)):
        grid = torch.as_tensor(schedule, dtype=torch.float64).detach().cpu()
        if grid.dim() != 1 or len(grid) < 2 or not bool((grid.diff() < 0).all()):
            raise refuse("schedule is no list of falling times; expected two or more, from the noisiest to the cleanest")
        return grid
    return bench.times(schedule_part(bench, schedule, steps))


def solve(
    fn: Callable[..., Any] | Teacher,
    x: torch.Tensor,
    *,
    solver: str | Mapping[str, Any] | Any = "dpmpp_2m",
    schedule: str | Mapping[str, Any] | Sequence[float] | torch.Tensor | Any = None,
    steps: int = 20,
    process: str | Mapping[str, Any] = "ve",
    prediction: str | None = None,
    time: str = "t",
    input: str = "x",
    sigma_data: float = 0.5,
    guidance: float = 1.0,
    condition: Mapping[str, torch.Tensor] | None = None,
    classes: int = 0,
    start: torch.Tensor | None = None,
    seed: int = 0,
    callback: Callable[[float, torch.Tensor, torch.Tensor], Any] | None = None,
    full: bool = False,
) -> torch.Tensor | Solution:
    """Solves a diffusion model's ODE (or SDE) from noise to data.

    Args:
        fn: the model: called as ``fn(x, t, **condition)``, as `Teacher` says; or a `Teacher`, which then says process,
            prediction, time, input, sigma_data, guidance and classes itself.
        x: [B, …] the states at the grid's first time, such as ``times[0] * torch.randn(…)`` for process "ve". Float32 or
            float64, on any device.
        solver: a name ("heun", "unipc", "dpmpp_2m", …; ``retort.plugins("solver")``); a dict of type and keys, such as
            ``{"type": "unipc", "order": 3}``; or an object with ``step(step, x)``.
        schedule: a name; a dict of type and keys; an object with ``times(process, progress)``; or the times themselves,
            falling. By default "karras" for process "ve", and "uniform" for others.
        steps: intervals of the grid, where the schedule is a name.
        process: "ve" (sigma = t), "vp_linear", "vp_cosine", "rectified_flow", "betas", …, or a dict of type and keys.
        prediction: what the model predicts: "epsilon" ("noise"), "v", "sample" ("data"), "edm" or "flow".
        time, input, sigma_data, guidance, classes: as of `Teacher`.
        condition: what the model is told, by name: [B, …] each.
        start: [B] a starting time for each row, within the grid; a row joins there.
        seed: of the noise of stochastic solvers; that of a row depends on the seed and the row alone.
        callback: called after each interval as ``callback(time, index, x)`` with the time reached, the rows under way and
            their states. What it raises ends the solve.
        full: return a `Solution`, with every state on the way.

    Returns:
        [B, …] the ends, in x's type; or a `Solution`.

    Raises:
        retort.RequestError: what is asked for cannot be right; nothing was evaluated.
        Whatever `fn` or `callback` raises, as it was raised.

    No gradients flow through a solve.
    """
    if isinstance(fn, Teacher):
        teacher = fn
        if prediction is not None or process != "ve":
            raise refuse("fn is a Teacher, which says process and prediction itself; expected neither beside it")
    else:
        teacher = Teacher(
            fn, process=process, prediction=prediction, time=time, input=input, sigma_data=sigma_data, guidance=guidance,
            classes=classes,
        )  # fmt: skip
    condition = dict(condition or {})
    for name, rows in condition.items():
        if not isinstance(rows, torch.Tensor) or rows.dim() == 0 or rows.shape[0] != x.shape[0]:
            raise refuse(f"condition '{name}' is no tensor of {x.shape[0]} rows, as x has")
    bench = toolbox(teacher.process, x, teacher.classes, condition)
    grid = grid_of(bench, schedule, steps)
    part = bench.solver(solver)
    if start is not None:
        start = torch.as_tensor(start, dtype=torch.float64).detach().cpu()
        if start.shape != x.shape[:1] or bool((start > grid[0]).any() or (start < grid[-1]).any()):
            raise refuse(f"start is no time for each of the {x.shape[0]} rows, between {grid[-1]:g} and {grid[0]:g}")
    out = native.solve(teacher.part(bench), part, grid, x, condition, start, seed, full, callback)
    if not full:
        return out["x"]
    return Solution(x=out["x"], times=grid, states=out["states"], evaluations=out["evaluations"])
