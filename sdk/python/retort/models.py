"""Models of your own: what they predict, and what they are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ._native_loader import native
from ._session import place, refuse, session


def described(spec: Any, **defaults: Any) -> Any:
    """A name as a dict with defaults; what is no name as it is."""
    return {"type": spec, **defaults} if isinstance(spec, str) else spec


def toolbox(process: Any, x: torch.Tensor, classes: int = 0, condition: Mapping[str, torch.Tensor] | None = None):
    """Where parts for such samples are made."""
    if not isinstance(x, torch.Tensor) or x.dim() < 2 or not x.is_floating_point():
        raise refuse("expected samples as a floating-point tensor [B, …] with at least two dimensions")
    backend: dict[str, Any] = {}
    if x.dtype == torch.float64:
        backend = {"type": "cpu", "precision": "float64"}
    elif x.is_cuda:
        backend = {"type": "cuda"}
    return native.Toolbox(session(), described(process), list(x.shape[1:]), classes, dict(condition or {}), backend, place())


class Teacher:
    """A diffusion model of your own.

    Args:
        function: called as ``function(x, t, **condition)`` with x: [B, …] and t: [B] in x's type; returns a tensor like x, a
            tuple whose first is that, or an object with ``.sample``. A ``torch.nn.Module`` or any callable. It is given
            those conditions that its signature names.
        process: the forward process: "ve", "vp_linear", "vp_cosine", "rectified_flow", …, or a dict of type and keys.
        prediction: what it predicts: "epsilon" ("noise"), "v", "sample" ("data"), "edm", "flow".
        time: what it takes for a time: "t" (the process's own), "step" (0 to T - 1 of a process with a table), "fraction",
            "reversed", "sigma", "log_sigma", "c_noise" (log(sigma) / 4), "log_snr".
        input: what it takes for a sample: "x", "y" (x / alpha), "c_in" (EDM's scaled input).
        sigma_data: standard deviation of the data, for prediction "edm".
        guidance: w of classifier-free guidance, u + w (c - u); 1: none. The model is asked with and without its conditions.
        classes: how many labels there are, where `condition` has "labels"; the label for "none" is `classes`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        process: str | Mapping[str, Any] = "ve",
        prediction: str | None = None,
        time: str = "t",
        input: str = "x",
        sigma_data: float = 0.5,
        guidance: float = 1.0,
        classes: int = 0,
    ) -> None:
        if not callable(function):
            raise refuse(f"the teacher is a {type(function).__name__}; expected a function or a module, called with (x, t)")
        if prediction is None:
            raise refuse('prediction is missing; expected what the model predicts: "epsilon", "v", "sample", "edm" or "flow"')
        self.function = function
        self.process = process
        self.prediction = native.prediction_name(prediction)
        self.classes = classes
        self._keys = {"parametrisation": self.prediction, "time": time, "input": input, "guidance": float(guidance)}
        if self.prediction == "edm":
            self._keys["sigma_data"] = float(sigma_data)

    def part(self, bench) -> Any:
        return bench.teacher(self.function, self._keys)


class Student:
    """A module that is trained, and what its output means.

    Args:
        module: called as ``module(x, t, **condition)``; returns a tensor like x. What it sees of x and t is said by
            `preconditioning`; a flow map is given ``end_time``: [B] too, the label of t less that of s.
        process: as of `Teacher`; by default the teacher's, or "rectified_flow".
        prediction: as of `Teacher`; by default what the loss asks for, or "edm" on process "ve" and "flow" on others.
        preconditioning: "edm" (c_in x, log(sigma) / 4), "fraction" (x, t / t_max), "discrete" (x, 0 to T - 1), or "auto".
        boundary: how f(x, t_min) = x is enforced: "edm", "sigma_shifted", "time_scaled".
        sigma_data: standard deviation of the data, for "edm".
        classes: as of `Teacher`.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        *,
        process: str | Mapping[str, Any] | None = None,
        prediction: str | None = None,
        preconditioning: str = "auto",
        boundary: str = "edm",
        sigma_data: float = 0.5,
        classes: int = 0,
        **more: Any,
    ) -> None:
        if not callable(module):
            raise refuse(f"the student is a {type(module).__name__}; expected a torch.nn.Module")
        self.module = module
        self.process = process
        self.prediction = None if prediction is None else native.prediction_name(prediction)
        self.classes = classes
        self._keys = {"preconditioning": preconditioning, "boundary": boundary, "sigma_data": float(sigma_data), **more}

    def with_module(self, module: torch.nn.Module) -> "Student":
        """The same with another module."""
        out = Student.__new__(Student)
        out.__dict__.update(self.__dict__, module=module)
        return out

    def models(self, bench, prediction: str, loss=None) -> Any:
        return bench.student(self.module, {"parametrisation": prediction, **self._keys}, loss)


def as_student(student: Any) -> Student:
    return student if isinstance(student, Student) else Student(student)


def sample(
    student: Any,
    noise: torch.Tensor,
    loss: Any,
    *,
    steps: int = 1,
    schedule: Any = None,
    times: Sequence[float] | torch.Tensor | None = None,
    condition: Mapping[str, torch.Tensor] | None = None,
    gamma: float | None = None,
    seed: int = 0,
) -> torch.Tensor:
    """Samples of a student in a few steps, as Retort's evaluation makes them.

    Args:
        student: a module, or a `Student`.
        noise: [n, …] standard normal noise; it is scaled to the first time.
        loss: the `retort.Loss` that trained it: it says what the student is (a consistency function, a flow map, …), and
            has the schedule.
        steps: how many evaluations each sample takes; its times are among those of the schedule.
        schedule: another one than the loss's.
        times: [steps + 1] falling times, in place of steps and schedule.
        condition: what the student is told, by name: [n, …] each.
        gamma: the share of noise that is drawn anew between steps, 0 to 1; by default 1 for consistency functions, and 0
            for flow maps.
        seed: of the noise between steps; that of row i depends on the seed and i alone.

    Returns:
        [n, …] samples.
    """
    return loss.sample(as_student(student), noise, steps, schedule, times, condition, gamma, seed)
