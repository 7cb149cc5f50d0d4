"""Retort in Python: solvers and losses on models of your own, and whole experiments.

    x = retort.solve(model, noise, solver="unipc", schedule="karras", process="ve", prediction="data")
    loss = retort.losses.cm(solver="heun", schedule="karras")(student=module, teacher=model, batch=x)
    results = retort.run("config.toml", {"loss.type": "direct_cm"})

Times are float64 tensors [B] in the process's own unit. A wrong request is a `retort.RequestError`, which is a ValueError
too; what fails while it works is a `retort.Error`. Each says in one line what, where, and what was expected.
"""

from ._native_loader import native as _native
from . import losses
from .losses import Loss
from .models import Student, Teacher, sample
from .catalogue import describe, plugins
from .runs import Results, load, plan, run
from .solving import Solution, process, solve, times

Error = _native.Error
RequestError = _native.RequestError
Process = _native.Process
rows = _native.rows
__version__: str = _native.version

__all__ = [
    "Error", "Loss", "Process", "RequestError", "Results", "Solution", "Student", "Teacher", "describe", "load", "losses",
    "plan", "plugins", "process", "rows", "run", "sample", "solve", "times",
]
