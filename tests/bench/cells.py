#!/usr/bin/env python3
"""Times a sweep of many tiny cells: its plan, its run by several workers, its table, its pages. Seconds and peak memory of
each. Nothing passes or fails here.

  tests/bench/cells.py build/release/bin/retort
  tests/bench/cells.py build/release/bin/retort --cells 100 --workers 2 --keep FOLDER

A run that was stopped goes on with the same --keep. Run on a machine that does nothing else.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

try:
    from selenium import webdriver
except ImportError:
    webdriver = None

SOURCE = pathlib.Path(__file__).resolve().parents[2]
TINY = ["train.steps=10", "evaluate.at=[]", "evaluate.samples=100", "train.batch=32", "network.width=16", "dataset.test_samples=200",
        "network.depth=2", "evaluate.student_steps=[1, 2]", 'evaluate.metrics=["fd", "energy_distance"]']


def sweep_of(cells):
    """An override for so many cells: two losses, five seeds, as many rates as it takes."""
    rates = [round(1e-4 * (i + 1), 6) for i in range(cells // 10)]
    return f'sweep={{"loss.type"=["cm", "direct_cm"], "train.learning_rate"={rates}, seeds=5}}'


class Started:
    """A process, its seconds and its peak memory."""

    def __init__(self, command, **more):
        self.began = time.monotonic()
        self.process = subprocess.Popen(command, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, **more)

    def end(self):
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        if self.process.returncode != 0:
            sys.exit(f"it ended with {self.process.returncode}: {' '.join(map(str, self.process.args))}")
        return time.monotonic() - self.began, usage.ru_maxrss / 1024


def tell(what, seconds, memory, more=""):
    print(f"{what:34}{seconds:9.2f} s{memory:9.0f} MiB  {more}".rstrip(), flush=True)


def peak(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def in_browser(addresses):
    """For each, seconds from asking for a page until it can be used. Nothing without selenium, Chromium and its driver."""
    found = shutil.which("chromedriver")
    if webdriver is None or found is None:
        return {}
    chosen = webdriver.ChromeOptions()
    for argument in ("headless=new", "no-sandbox", "disable-gpu"):
        chosen.add_argument("--" + argument)
    chosen.binary_location = shutil.which("chromium") or shutil.which("google-chrome")
    driver, out = webdriver.Chrome(options=chosen, service=webdriver.ChromeService(executable_path=found)), {}
    for name, address in addresses.items():
        driver.get("about:blank")
        driver.get(address)
        while (at := driver.execute_script("return document.documentElement.dataset.ready")) is None:
            time.sleep(0.01)
        out[name] = float(at) / 1000
    driver.quit()
    return out


def pages(program, folder):
    server = subprocess.Popen([program, "serve", folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    address = next(m[0] for m in (re.search(r"http://127\.0\.0\.1:\d+/[0-9a-f]+/", line) for line in server.stdout) if m)
    threading.Thread(target=server.stdout.read, daemon=True).start()
    try:
        ask(server, address, folder)
    finally:
        server.terminate()


def ask(server, address, folder):
    for name, path in (("serve: all runs, first answer", "api/runs"), ("serve: all runs, again", "api/runs"), ("serve: the sweep's page", "report?path=sweep")):
        began = time.monotonic()
        with urllib.request.urlopen(address + path) as answer:
            size = len(answer.read())
        tell(name, time.monotonic() - began, peak(server.pid), f"{size / 1024:.0f} KiB; the server's peak so far")
    for name, seconds in in_browser({"browser: all runs": address, "browser: the sweep's page": address + "report?path=sweep"}).items():
        tell(name, seconds, peak(server.pid), "the server's peak so far")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--cells", type=int, default=1000, help="a multiple of ten")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for the sweep; without it, it is removed at the end")
    options = parser.parse_args()
    if options.cells < 10 or options.cells % 10:
        parser.error(f"--cells: is {options.cells}; expected a multiple of ten")
    folder = options.keep or pathlib.Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    program = options.program.resolve()
    sweep = [program, "sweep", SOURCE / "configs/mixture.toml", *TINY, sweep_of(options.cells), f"run.output={folder / 'runs/sweep'}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        tell("plan", *Started([*sweep, "--dry-run"], **quiet).end())
        began = time.monotonic()
        workers = [Started(sweep, stdout=subprocess.DEVNULL, stderr=open(folder / f"worker_{i}.log", "w")) for i in range(options.workers)]
        try:
            memory = max(worker.end()[1] for worker in workers)
        finally:
            for worker in workers:  # one has failed: the others stop too
                if worker.process.returncode is None:
                    worker.process.terminate()
        seconds = time.monotonic() - began
        tell(f"run by {options.workers} workers", seconds, memory, f"{1000 * seconds / options.cells:.0f} ms a cell; the largest worker")
        tell("table and page: retort report", *Started([program, "report", folder / "runs/sweep"], **quiet).end(),
             f"{(folder / 'runs/sweep/report.html').stat().st_size / 1024:.0f} KiB")
        done = len(json.loads((folder / "runs/sweep/results.json").read_text())["students"])
        print(f"{done} rows in results.json", flush=True)
        pages(program, folder / "runs")
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


main()
