"""What there is."""

from __future__ import annotations

from ._session import session


def plugins(kind: str | None = None) -> list[str] | dict[str, list[str]]:
    """Names of all plugins of a kind ("solver", "loss", "schedule", …), sorted; without one, of every kind."""
    out: dict[str, list[str]] = {}
    for of_kind, name, _ in session().plugins():
        out.setdefault(of_kind, []).append(name)
    out = {of_kind: sorted(names) for of_kind, names in sorted(out.items())}
    return out if kind is None else out.get(kind, [])


def describe(kind: str, name: str) -> dict:
    """What a plugin says of itself: `about`, and `parameters`, each with name, type, default, range, choices and doc."""
    return session().describe(kind, name)


def documentation(kind: str, name: str) -> str:
    """The same as text, for help()."""
    found = describe(kind, name)
    lines = [found["about"].strip(), "", "Parameters:"]
    for p in found["parameters"]:
        allowed = f" ({p['range']})" if p["range"] else f" (one of {', '.join(p['choices'])})" if p["choices"] else ""
        lines.append(f"    {p['name']} = {p['default']}: {p['doc']}{allowed}")
    return "\n".join(lines if found["parameters"] else lines[:1])
