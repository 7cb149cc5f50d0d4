"""Whole experiments, as the program runs them."""

from __future__ import annotations

import base64
import contextlib
import html
import os
import pathlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from ._native_loader import native
from ._session import refuse, session


def run(
    config: str | os.PathLike,
    overrides: Mapping[str, Any] | None = None,
    *,
    fresh: bool = False,
    worker: bool = False,
    progress: bool = True,
    log: Callable[[str, str], Any] | None = None,
    plugin_folders: tuple[str, ...] = (),
) -> "Results":
    """Runs a configuration: trains, samples, evaluates, reports. What is done already is not done again.

    Args:
        config: path of a TOML file.
        overrides: dotted keys and their values, ``{"loss.type": "direct_cm", "train.steps": 500}``; they count before what
            the file says.
        fresh: begin anew even where results exist.
        worker: only take cells of a sweep, beside other processes.
        progress: show a bar, in a terminal or a notebook.
        log: called with a level ("info", "warning", "error") and each line that the program would print, in place of
            printing it.
        plugin_folders: searched before RETORT_PLUGIN_PATH and Retort's own.

    Ctrl-C stops at a saved state: the same call goes on from there. Torch's random state and its settings are afterwards
    what they were.

    Raises:
        retort.RequestError: the configuration cannot be right; nothing was done.
        retort.Error: a part of the work failed; the line says which.
    """
    with _display(progress, log) as (say, show):
        own = native.Session(list(plugin_folders), say, show)
        with _untouched():
            folder = _in_background(
                lambda: own.run(os.fspath(config), _spelled(overrides), fresh, worker), own.interrupt
            )
    return Results(folder)


def plan(config: str | os.PathLike, overrides: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The cells of a configuration, each with `name`, `config`, `folder` and `finished`. Everything is checked, and nothing
    is done."""
    cells = session().plan(os.fspath(config), _spelled(overrides))
    return [dict(zip(("name", "config", "folder", "finished"), cell)) for cell in cells]


def load(folder: str | os.PathLike) -> "Results":
    """The results in a folder."""
    return Results(folder)


class Results:
    """What a run or a sweep measured.

    Attributes:
        folder: where it lies.
        data: results.json, as it is.
        rows: a dict for each cell and number of student steps: what was swept, and every measure.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = pathlib.Path(folder)
        self.data: dict[str, Any] = session().results(os.fspath(folder))
        self.rows: list[dict[str, Any]] = [_row(r) for r in self.data["students"]]

    def to_pandas(self):
        """The rows as a pandas.DataFrame."""
        import pandas

        return pandas.DataFrame(self.rows)

    def plot(self, x: str, y: str, *, by: str = "loss", ax=None):
        """One measure against another, a colour for each value of `by`: points by matplotlib. Returns the axes."""
        import matplotlib.pyplot

        for name in (x, y, by):
            if not any(name in row for row in self.rows):
                known = sorted({key for row in self.rows for key in row})
                raise refuse(f"there is no '{name}' in these results; there are {', '.join(known)}")
        ax = ax if ax is not None else matplotlib.pyplot.subplots()[1]
        for value in dict.fromkeys(row.get(by) for row in self.rows):
            points = [row for row in self.rows if row.get(by) == value and row.get(x) is not None and row.get(y) is not None]
            ax.plot([p[x] for p in points], [p[y] for p in points], "o", label=str(value))
        ax.set_xlabel(x)
        ax.set_ylabel(y)
        ax.legend(title=by)
        return ax

    def pictures(self) -> dict[str, pathlib.Path]:
        """The grids of samples, from the same noise in each: cell and file name to the PNG."""
        return {str(p.relative_to(self.folder)): p for p in sorted(self.folder.rglob("samples/*.png"))}

    def show(self, width: int = 280):
        """The pictures side by side, in a notebook."""
        figures = []
        for name, path in self.pictures().items():
            data = base64.b64encode(path.read_bytes()).decode()
            figures.append(
                f'<figure style="display:inline-block;margin:4px"><img alt="{html.escape(name)}" width="{width}" '
                f'src="data:image/png;base64,{data}"><figcaption>{html.escape(name)}</figcaption></figure>'
            )
        return _Html("".join(figures))

    @property
    def report(self) -> pathlib.Path:
        """The report, one file that opens without a network."""
        return self.folder / "report.html"

    def __repr__(self) -> str:
        return session().table(os.fspath(self.folder))

    def _repr_html_(self) -> str:
        if not self.report.exists():
            return f"<pre>{html.escape(repr(self))}</pre>"
        page = html.escape(self.report.read_text(encoding="utf-8"), quote=True)
        return f'<iframe title="report of {html.escape(self.folder.name)}" srcdoc="{page}" width="100%" height="720"></iframe>'


class _Html:
    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_html_(self) -> str:
        return self._text


def _row(student: Mapping[str, Any]) -> dict[str, Any]:
    out = {k: v for k, v in student.items() if not isinstance(v, (dict, list))}
    out.update(student.get("swept", {}))
    out.update(student.get("metrics", {}))
    return out


def _spelled(overrides: Mapping[str, Any] | None) -> list[str]:
    if overrides is None:
        return []
    if not isinstance(overrides, Mapping):
        raise refuse(f'overrides is a {type(overrides).__name__}; expected a dict such as {{"loss.type": "cm"}}')
    return [f"{key}={native.spell(value)}" for key, value in overrides.items()]


def _in_background(work: Callable[[], Any], interrupt: Callable[[], None]) -> Any:
    """The result of `work`, done by another thread, so that Ctrl-C is heard at once. What it raises is raised here."""
    out: dict[str, Any] = {}

    def body() -> None:
        try:
            out["value"] = work()
        except BaseException as error:  # noqa: BLE001, it is raised below
            out["error"] = error

    thread = threading.Thread(target=body, name="retort")
    thread.start()
    stopped = None
    while thread.is_alive():
        try:
            thread.join(0.1)
        except KeyboardInterrupt as wish:
            stopped = wish
            interrupt()
    if stopped is not None and "value" not in out:
        raise stopped
    if "error" in out:
        raise out["error"]
    return out["value"]


@contextlib.contextmanager
def _untouched() -> Iterator[None]:
    """What a run sets for the whole process is afterwards as it was."""
    random = torch.get_rng_state()
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        yield
    finally:
        torch.set_rng_state(random)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warns)


@contextlib.contextmanager
def _display(progress: bool, log: Callable[[str, str], Any] | None):
    """What is called with lines, and with how far the work is."""
    bar: Any = None
    if progress:
        from tqdm.auto import tqdm

    def say(level: str, line: str) -> None:
        if log is not None:
            log(level, line)
        elif progress:
            tqdm.write(line if level == "info" else f"{level}: {line}")

    def show(what: str, done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(total=total, leave=False)
        if bar.desc != what + ": ":
            bar.reset(total)
            bar.set_description(what, refresh=False)
        bar.update(done - bar.n)

    try:
        yield say, (show if progress else None)
    finally:
        if bar is not None:
            bar.close()
