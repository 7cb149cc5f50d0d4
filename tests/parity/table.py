#!/usr/bin/env python3
"""Writes the table of tests/parity/README.md anew, from what the tests find:

    RETORT_PARITY=/tmp/parity.jsonl ./retort test -R 'plugins/|sdk/tableau'
    python3 tests/parity/table.py /tmp/parity.jsonl
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

BEGIN, END = "<!-- table.py writes from here -->\n", "<!-- to here -->\n"


def short(peer: str) -> str:
    """A peer's name, without what it was asked."""
    return peer if peer == "independent code" else peer.split(" ")[0].split(":")[0].strip(",;")


def main() -> None:
    lines = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    peers, differences = defaultdict(set), defaultdict(float)
    orders: dict[tuple[str, str], dict[str, tuple[float, float]]] = defaultdict(dict)
    for line in lines:
        key = (line["kind"], line["plugin"])
        if "peer" in line:
            peers[key].add(short(line["peer"]))
            differences[key] = max(differences[key], line["difference"])
        else:
            keys = line["keys"].replace("\n", ", ").replace('"', "").strip(", ")
            if line["plugin"] == "runge_kutta":  # a row for each tableau
                name, *rest = keys.removeprefix("tableau = ").split(", ")
                key, keys = ("tableau", name), ", ".join(rest)
            orders[key][keys] = (line["order"], line["measured"])
    table = ["| kind | plugin | peers | largest difference | measured order (claimed) |\n", "| --- | --- | --- | --- | --- |\n"]
    for key in sorted(set(peers) | set(orders)):
        of = [f"{keys + ': ' if keys else ''}{measured:.2f} ({order:g})" for keys, (order, measured) in orders[key].items()]
        difference = f"{differences[key]:.0e}" if key in peers else ""
        table.append(f"| {key[0]} | `{key[1]}` | {', '.join(sorted(peers[key]))} | {difference} | {'; '.join(of)} |\n")
    page = Path(__file__).with_name("README.md")
    text = page.read_text()
    before, rest = text.split(BEGIN)
    page.write_text(before + BEGIN + "".join(table) + END + rest.split(END)[1])
    print(f"{len(table) - 2} plugins")


if __name__ == "__main__":
    main()
