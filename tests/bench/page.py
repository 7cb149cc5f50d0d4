#!/usr/bin/env python3
"""Times a report of many rows: writing it by `retort report`, and the page in headless Chromium until it can be
clicked. Nothing passes or fails here; medians over the rounds are printed.

  tests/bench/page.py build/release/bin/retort
  tests/bench/page.py build/release/bin/retort --rounds 7 --keep FOLDER
"""
import argparse
import json
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

METRICS = ["fd", "ode_error", "recall", "sliced_wasserstein"]


def row(swept, cell, points, steps, rng):
    base = 1 + swept.get("train.learning_rate", 0) * 10 + 100 / points
    return {"cell": cell, "loss": swept["loss.type"], "swept": swept, "student_steps": steps, "train_steps": points,
            "teacher_evaluations": points * 64, "remembered_evaluations": 0, "train_seconds": points * 0.01,
            "metrics": {name: base / steps * (1 + 0.1 * rng.random()) for name in METRICS}, "series": {}}


def settings(rng):
    """300 settings, each at 8 points of training by 4 numbers of sampler steps, one seed."""
    for i in range(150):
        for loss in ("cm", "direct_cm"):
            swept = {"loss.type": loss, "train.learning_rate": (i + 1) / 10000}
            for point in range(1, 9):
                for steps in (1, 2, 4, 8):
                    yield row(swept, f"{loss}_{i}", point * 100, steps, rng)


def seeds(rng):
    """10,000 cells: 1,250 settings by 8 seeds, a row each."""
    for i in range(625):
        for loss in ("cm", "direct_cm"):
            for seed in range(8):
                swept = {"loss.type": loss, "train.learning_rate": (i + 1) / 10000, "run.seed": seed}
                yield row(swept, f"{loss}_{i}_seed={seed}", 1000, 1, rng)


def write_results(folder, rows):
    last = max(r["train_steps"] for r in rows)
    results = {
        "name": "many rows",
        "config": {"run": {"seed": 0}, "report": {"plot": ["ode_error", "fd"], "columns": []},
                   "evaluate": {"samples": 1000, "reference_samples": 1000, "reference": "data"}},
        "versions": {"retort": "-", "libtorch": "-", "backend": "none"},
        "teacher": {"evaluations": 35000, "metrics": {name: 0.1 for name in METRICS}},
        "students": [r for r in rows if r["train_steps"] == last], "progress": rows, "plugins": [],
    }
    (folder / "results.json").write_text(json.dumps(results))
    for cell in dict.fromkeys(r["cell"] for r in rows if not r["cell"].endswith(tuple("1234567"))):
        part = folder / "cells" / cell
        part.mkdir(parents=True, exist_ok=True)
        with open(part / "metrics.jsonl", "w") as log:
            for step in range(0, last, 10):
                log.write(json.dumps({"step": step, "loss": 1 / (1 + step)}) + "\n")


def ready(chromium, page, folder):
    """Milliseconds until the page can be clicked, as it says itself, and its script errors."""
    profile = pathlib.Path(tempfile.mkdtemp(dir=folder))
    dom = subprocess.run([chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
                          "--timeout=300000", "--dump-dom", page.resolve().as_uri()], capture_output=True, text=True,
                         timeout=600).stdout
    shutil.rmtree(profile, ignore_errors=True)
    head = dom[:dom.find(">", dom.find("<html")) + 1]
    at, errors = re.search(r'data-ready="([\d.]+)"', head), re.search(r'data-errors="([^"]*)"', head)
    return float(at.group(1)) if at else float("nan"), errors.group(1) if errors else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("retort", help="the program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chromium", default=shutil.which("chromium") or "")
    parser.add_argument("--keep", help="a folder for what is made, which then stays")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        top = pathlib.Path(args.keep or temporary)
        for make in (settings, seeds):
            folder = top / make.__name__
            folder.mkdir(parents=True, exist_ok=True)
            rows = list(make(random.Random(1)))
            write_results(folder, rows)
            written, opened = [], []
            for _ in range(args.rounds):
                began = time.perf_counter()
                subprocess.run([args.retort, "report", str(folder)], check=True, stdout=subprocess.DEVNULL)
                written.append(time.perf_counter() - began)
                if args.chromium:
                    at, errors = ready(args.chromium, folder / "report.html", top)
                    opened.append(at / 1000)
                    if errors:
                        sys.exit(f"the page has script errors: {errors}")
            size = (folder / "report.html").stat().st_size / 1e6
            print(f"{make.__name__}: {len(rows)} rows; {make.__doc__}")
            print(f"  report written in {statistics.median(written):.2f} s, {size:.1f} MB")
            print(f"  ready for clicks after {statistics.median(opened):.2f} s" if opened else "  no Chromium found")


if __name__ == "__main__":
    main()
