#!/usr/bin/env python3
"""Kills a run and a sweep at random moments, again and again, and holds what comes out in the end against what an undisturbed one gives.

    tests/kill/kill.py build/release/bin/retort configs/mixture.toml --kills 100

Each trial begins anew, is killed by SIGKILL several times at moments drawn from the time that the undisturbed one took, is then let run
to its end, and compared: every tensor, number, table and picture, bit for bit. Only what tells of time is left out: seconds, and how many
solves another process had remembered. What killed writers left behind (.part…, claims) must be gone, too. Standard library only.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import csv
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TIMES = {"seconds", "train_seconds", "remembered_evaluations", "remembered"}
KINDS = {"run": ["loss.type=cm", "loss.target=ema", "evaluate.at=[60]"], "sweep": ["sweep.seeds=2", "evaluate.at=[40]"]}
SMALL = [
    "backend.type=cpu", "backend.threads=1", "train.steps=120", "train.batch=32", "train.save_every=1e-9", "train.log_every=7", "network.width=16",
    "evaluate.samples=100", "evaluate.student_steps=[1, 2]", "metric.ode_error.exact_samples=4", "metric.ode_error.noise_levels=2",
    "metric.consistency_error.samples=16", "dataset.test_samples=200"]


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def content(path: Path, root: Path):
    """What of a file has to be the same."""
    data = path.read_bytes()
    if path.suffix == ".safetensors":
        length = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8:8 + length])
        told = {k: without_times(json.loads(v)) if v[:1] == "{" else v for k, v in header.pop("__metadata__", {}).items()}
        return header, json.dumps(told).replace(str(root), ""), hashlib.sha256(data[8 + length:]).hexdigest()
    text = data.decode("latin-1").replace(str(root), "")
    if path.suffix == ".json":
        return without_times(json.loads(text))
    if path.suffix == ".jsonl":
        return [without_times(json.loads(line)) for line in text.splitlines()]
    if path.suffix == ".csv" and path.parent.name != "samples":
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(io.StringIO(text))]
    if path.suffix == ".html":
        return re.sub(r'"(' + "|".join(TIMES) + r')":[^,}]*', "", text)
    return text


def outcome(folder: Path) -> dict:
    out = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not name.startswith("cache/"):
            out[name] = content(path, folder)
    return out


class Bench:
    def __init__(self, program: str, config: str, kind: str):
        self.command = [program, kind, config, *SMALL, *KINDS[kind]]
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(self, folder: Path) -> subprocess.Popen:
        return subprocess.Popen([*self.command, f"run.output={folder}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                start_new_session=True, env=self.environment)

    def finish(self, folder: Path) -> tuple[int, str]:
        process = self.start(folder)
        text = process.communicate()[0]
        return process.returncode, text


def trial(bench: Bench, whole: dict, seconds: float, deaths: int, seed: int, parent: Path) -> tuple[int, str]:
    """Returns how often it was killed, and what is wrong, or ""."""
    chance = random.Random(seed)
    folder = parent / f"trial{seed}"
    killed = 0
    for _ in range(deaths):
        process = bench.start(folder)
        try:
            process.communicate(timeout=chance.uniform(0.05, 1) * seconds)
            break  # it was faster
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            killed += 1
    code, text = bench.finish(folder)
    if code == 1 and "not tried again" in text:  # killed thrice before it had saved anything: the next call tries again
        code, text = bench.finish(folder)
    if code != 0:
        return killed, f"trial {seed}: exit {code}: {text.strip().splitlines()[-1]}"
    got = outcome(folder)
    wrong = [name for name in sorted(set(whole) | set(got)) if whole.get(name) != got.get(name)]
    if not wrong:
        shutil.rmtree(folder)
    return killed, f"trial {seed}: {', '.join(wrong[:5])} differ; kept in {folder}" if wrong else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("config")
    parser.add_argument("--kills", type=int, default=100, help="of each, at least")
    parser.add_argument("--deaths", type=int, default=4, help="kills of a trial, at most")
    parser.add_argument("--kinds", default="run,sweep")
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    failures = 0
    folder = tempfile.mkdtemp(prefix="retort-kill-")
    for kind in options.kinds.split(","):
        bench = Bench(options.program, options.config, kind)
        began = time.monotonic()
        code, text = bench.finish(Path(folder) / kind / "whole")
        seconds = time.monotonic() - began
        if code != 0:
            print(text)
            return 1
        whole = outcome(Path(folder) / kind / "whole")
        kills = trials = 0
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            chance = random.Random(options.seed)
            while kills < options.kills:
                wave = [pool.submit(trial, bench, whole, seconds, chance.randint(1, options.deaths), options.seed * 100000 + trials + i,
                                    Path(folder) / kind) for i in range(options.jobs)]
                for result in wave:
                    killed, wrong = result.result()
                    trials, kills, failures = trials + 1, kills + killed, failures + bool(wrong)
                    if wrong:
                        print(wrong, flush=True)
        print(f"{kind}: killed {kills} times in {trials} trials, {len(whole)} files each, {seconds:.1f} s undisturbed", flush=True)
    print(f"{failures} trials differ")
    if not failures:
        shutil.rmtree(folder)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
