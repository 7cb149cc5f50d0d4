"""The session that parts are made in, and where in the user's code a call stands."""

from __future__ import annotations

import functools
import pathlib
import sys

from ._native_loader import native

_here = str(pathlib.Path(__file__).parent)


@functools.cache
def session() -> "native.Session":
    """A session with the plugins of RETORT_PLUGIN_PATH and Retort's own."""
    return native.Session([], None, None)


def place() -> tuple[str, int]:
    """File and line of the nearest caller outside this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_here):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def refuse(what: str) -> Exception:
    """A RequestError that names the caller's place."""
    file, line = place()
    return native.RequestError(f"{file}:{line}: {what}")
