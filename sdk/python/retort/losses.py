"""Retort's losses in a training loop of your own.

``retort.losses.NAME(…)`` makes a loss; its keywords are the plugin's keys, and ``help(retort.losses.NAME)`` lists them.

    loss = retort.losses.meanflow()
    loss(student=module, batch=x).backward()
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from ._native_loader import native
from ._session import refuse
from .models import Student, Teacher, as_student, described, toolbox
from .catalogue import documentation, plugins
from .solving import grid_of, schedule_part


class Loss:
    """A training objective.

    Args:
        spec: a loss by name; a dict of type and keys; or an object, called with a step, as plugin 'python' has it.
        solver, schedule: as of `retort.solve`, for losses that need them. A schedule without a name is the process's own
            choice.
        steps: intervals of the schedule, where it is a name.
        seed: of the random numbers; those of a step depend on the seed and the step alone.
    """

    def __init__(
        self, spec: Any, *, solver: Any = "heun", schedule: Any = None, steps: int = 18, seed: int = 0
    ) -> None:
        self._spec = described(spec)
        self._solver, self._schedule, self._steps, self._seed = solver, schedule, steps, seed
        self._world: Any = None
        self._bound: _Bound | None = None
        self._modules: dict[str, torch.nn.Module] = {}
        self._stage = 0
        #: how many values were computed: the step that random numbers are drawn for, where none is given
        self.step = 0
        #: of the last value: `t`, the times [B] that were trained on, and `diagnostics`, numbers by name
        self.t: torch.Tensor | None = None
        self.diagnostics: dict[str, float] = {}

    def __call__(
        self,
        student: Any,
        batch: torch.Tensor,
        *,
        teacher: Any = None,
        condition: Mapping[str, torch.Tensor] | None = None,
        step: int | None = None,
        progress: float = 0.0,
        reduction: str = "mean",
    ) -> torch.Tensor:
        """The loss of a batch, differentiable in the student's weights.

        Args:
            student: a module, or a `Student`.
            batch: [B, …] clean data.
            teacher: a `Teacher`, for losses that need one.
            condition: what student and teacher are told, by name: [B, …] each.
            step: counted from 0; by default one more than before.
            progress: how far training has come, 0 to 1, for what changes on the way.
            reduction: "mean", or "none" for a number per row, [B].

        Raises:
            retort.RequestError: where the loss trains networks of its own; `values` and `backward` are for those.
        """
        per_role = self.values(
            student, batch, teacher=teacher, condition=condition, step=step, progress=progress, reduction=reduction
        )
        if list(per_role) != ["student"]:
            raise refuse(
                f"the loss trains networks of its own ({', '.join(sorted(self.trained()))}), each by its own value; "
                "expected loss.backward(loss.values(…))"
            )
        return per_role["student"]

    def values(
        self,
        student: Any,
        batch: torch.Tensor,
        *,
        teacher: Any = None,
        condition: Mapping[str, torch.Tensor] | None = None,
        step: int | None = None,
        progress: float = 0.0,
        reduction: str = "mean",
    ) -> dict[str, torch.Tensor]:
        """The value of the student, and of each network of the loss's own, that is due at this step.

        Each trains its own network alone: hand them to `backward`.
        """
        if reduction not in ("mean", "none"):
            raise refuse(f"reduction is '{reduction}'; expected \"mean\" or \"none\"")
        bound = self._bind(as_student(student), batch, teacher, condition)
        step = self.step if step is None else step
        self.step = step + 1
        self._begin_stage(bound, progress)
        out = bound.value(self._modules, batch, dict(condition or {}), self._seed, step, progress, self._stage)
        self.t, self.diagnostics = out["t"], {k: float(v) for k, v in out["diagnostics"].items()}
        rows = {} if out["per_row"] is None else {"student": out["per_row"]}
        rows.update(out["roles"])
        return {name: value.mean() if reduction == "mean" else value for name, value in rows.items()}

    def backward(self, values: Mapping[str, torch.Tensor]) -> None:
        """Adds to each network's gradients those of its own value, and of no other's."""
        left = len(values)
        for name, value in values.items():
            left -= 1
            parameters = list(self.parameters(name))
            gradients = torch.autograd.grad(value, parameters, retain_graph=left > 0, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients):
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient

    def update(self) -> None:
        """After the optimizer's step: moves the averages that the loss keeps towards the student's weights."""
        if self._bound is None:
            return
        student = self._bound.student.module
        for role in self._bound.roles:
            if role["update"] != "average":
                continue
            with torch.no_grad():
                for average, weight in zip(self._modules[role["name"]].parameters(), student.parameters()):
                    average.lerp_(weight, 1 - role["decay"])

    def trained(self) -> list[str]:
        """Names of the networks that the loss trains beside the student; known after the first value."""
        roles = [] if self._bound is None else self._bound.roles
        return [r["name"] for r in roles if r["update"] == "trained" and r["name"] != "student"]

    def parameters(self, name: str) -> Iterator[torch.nn.Parameter]:
        """Parameters of the student, or of a network that the loss keeps; known after `prepare` or the first value."""
        if self._bound is None:
            raise refuse("nothing is known of the networks yet; expected loss.prepare(student, batch, …) before")
        if name == "student":
            yield from self._bound.student.module.parameters()
            return
        role = next((r for r in self._bound.roles if r["name"] == name), None)
        if role is None:
            raise refuse(f"the loss keeps no network '{name}'; it keeps {[r['name'] for r in self._bound.roles]}")
        yield from role["parameters"] if "parameters" in role else self._modules[name].parameters()

    def prepare(
        self, student: Any, batch: torch.Tensor, *, teacher: Any = None, condition: Mapping[str, torch.Tensor] | None = None
    ) -> "Loss":
        """Makes the networks that the loss keeps, so that optimizers can be made for them."""
        self._bind(as_student(student), batch, teacher, condition)
        return self

    def sample(self, student, noise, steps, schedule, times, condition, gamma, seed) -> torch.Tensor:
        bound = self._bind(student, noise, self._bound.teacher if self._bound else None, condition, sampling=True)
        if times is None:
            grid = grid_of(bound.bench, schedule if schedule is not None else self._schedule, self._steps)
            times = native.times_of_steps(grid, steps)
        else:
            times = grid_of(bound.bench, times, 0)
        x = noise * float(bound.bench.process.sigma(times[:1]))
        return native.sample(bound.models, times, x, dict(condition or {}), seed, gamma)

    def _bind(self, student: Student, batch, teacher, condition, sampling: bool = False) -> "_Bound":
        if teacher is not None and not isinstance(teacher, Teacher):
            raise refuse(f"the teacher is a {type(teacher).__name__}; expected a retort.Teacher, which says what it predicts")
        process = student.process or (teacher.process if teacher else "rectified_flow")
        if teacher is not None and described(process) != described(teacher.process):
            raise refuse(f"the student's process is {process}, and the teacher's {teacher.process}; expected one")
        classes = student.classes or (teacher.classes if teacher else 0)
        inputs = {name: tuple(rows.shape[1:]) for name, rows in (condition or {}).items()}
        # What the loss was built for: its own networks live as long as it does.
        world = (described(process), tuple(batch.shape[1:]), batch.dtype, batch.device, classes, inputs)
        if self._world is None:
            self._bench = toolbox(process, batch, classes, condition)
            self._part = self._bench.loss(self._spec)
            self._world = world
        elif self._world != world:
            raise refuse(
                f"this loss was made for samples of {list(self._world[1])} on process {self._world[0]['type']}, and what they "
                "are conditioned on; expected the same again, or another loss"
            )
        bound = self._bound
        if bound is None or not bound.is_of(student, teacher):
            bound = _Bound(self, student, teacher)
            if sampling and self._bound is not None:
                return bound
            self._bound = bound
            for role in bound.roles:
                if "parameters" not in role and role["name"] != "student" and role["name"] not in self._modules:
                    made = copy.deepcopy(student.module)
                    made.requires_grad_(role["update"] == "trained")
                    self._modules[role["name"]] = made
        return bound

    def _begin_stage(self, bound: "_Bound", progress: float) -> None:
        stage = min(int(progress * bound.loss.stages()), bound.loss.stages() - 1)
        if stage == self._stage:
            return
        self._stage = stage
        for role in bound.roles:
            if role["update"] == "stage":
                self._modules[role["name"]].load_state_dict(bound.student.module.state_dict())


class _Bound:
    """A loss with the student and the teacher that it is computed for."""

    def __init__(self, loss: Loss, student: Student, teacher: Teacher | None) -> None:
        self.student, self.teacher = student, teacher
        self.bench, self.loss = loss._bench, loss._part
        needs = self.loss.needs()
        if needs["teacher"] and teacher is None:
            raise refuse("the loss needs a teacher; expected teacher=retort.Teacher(fn, process=…, prediction=…)")
        usual = "edm" if self.bench.process.name == "ve" else "flow"
        self.prediction = student.prediction or needs["predicts"] or usual
        self.models = student.models(self.bench, self.prediction, self.loss)
        self.part = teacher.part(self.bench) if teacher else None
        self.solver = self.bench.solver(loss._solver) if needs["solver"] else None
        self.schedule = schedule_part(self.bench, loss._schedule, loss._steps) if needs["schedule"] else None
        self.roles = self.loss.roles(self.bench)
        self._of_roles: dict[str, Any] = {}

    def is_of(self, student: Student, teacher: Teacher | None) -> bool:
        return (
            self.teacher is teacher
            and self.student.module is student.module
            and (self.student._keys, self.student.prediction) == (student._keys, student.prediction)
        )

    def value(self, modules, batch, condition, seed, step, progress, stage) -> dict:
        roles = []
        for role in self.roles:
            name = role["name"]
            if name in modules and name not in self._of_roles:
                self._of_roles[name] = self.student.with_module(modules[name]).models(self.bench, self.prediction, self.loss)
            due = step % role["every"] == 0 and (role["update"] == "trained" or name == "student")
            roles.append((name, self._of_roles.get(name), due))
        return native.loss_value(
            self.loss, self.bench, self.models, self._of_roles.get("target"), self.part, self.solver, self.schedule, batch,
            condition, seed, step, progress, stage, roles,
        )  # fmt: skip


def _factory(name: str):
    def make(*, solver: Any = "heun", schedule: Any = None, steps: int = 18, seed: int = 0, **keys: Any) -> Loss:
        return Loss({"type": name, **keys}, solver=solver, schedule=schedule, steps=steps, seed=seed)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = documentation("loss", name) + (
        "\n\nOf every loss: solver, schedule and steps, as of retort.solve; seed. Returns a retort.Loss."
    )
    return make


@functools.cache
def __getattr__(name: str):
    if name.startswith("_") or name not in plugins("loss"):
        raise AttributeError(f"there is no loss '{name}'; there are {', '.join(plugins('loss'))}")
    return _factory(name)


def __dir__() -> Sequence[str]:
    return [*plugins("loss"), "Loss"]
