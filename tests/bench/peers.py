#!/usr/bin/env python3
"""Times Retort beside PyTorch, ONNX Runtime and OpenVINO: the same weights, the same inputs, in turns A B C A B C.

    tests/bench/peers.py [--quick] [--only TEXT] [--output FILE.md]

Sets up its own virtual environment in build/peers-venv at the first call, and builds Retort if need be. Every
contestant runs on one core; contestants of a table take turns, and a ratio is the median over the rounds of the ratio
within a round. Prints the tables, and writes them to build/peers/report.md or to --output.
"""

import argparse
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
import warnings

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/release"
WORK = ROOT / "build/peers"
VENV = ROOT / "build/peers-venv"
PACKAGES = ["torch==2.13.0", "onnx", "onnxruntime", "openvino", "safetensors", "numpy"]


def set_up():
    """Runs this script again in its own environment."""
    if pathlib.Path(sys.prefix).resolve() == VENV.resolve():
        return
    python = VENV / "bin/python"
    if not (VENV / ".ready").exists():
        print("peers.py: installing " + " ".join(PACKAGES), file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES], check=True)
        (VENV / ".ready").touch()
    subprocess.run([ROOT / "retort", "build"], check=True)
    subprocess.run([ROOT / "retort", "build", "retort_peers_server"], check=True)
    os.execv(python, [str(python), __file__, *sys.argv[1:]])


class Ours:
    """Retort in a process of its own, on the same core."""

    def __init__(self, config, *overrides, threads=1):
        command = [BUILD / "bin/retort_peers_server", BUILD / "lib/retort/plugins", ROOT / "tests/bench/peers" / config,
                   f"backend.threads={threads}", *overrides]
        cores = set(range(threads)) if threads > 1 else None
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer or answer.startswith("error"):
            raise SystemExit(f"peers.py: {self.process.args[2]}: {answer or 'the server has stopped'}")
        return answer

    def seconds(self, line):
        return float(self.ask(line).split()[0])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def take_turns(contestants, rounds, seconds_at_most):
    """contestants: name -> function that returns the seconds of one go. Returns name -> list, one for each round."""
    out = {name: [] for name in contestants}
    for work in contestants.values():
        work()
    began = time.perf_counter()
    for done in range(rounds):
        for name, work in contestants.items():
            out[name].append(work())
        if done >= 4 and time.perf_counter() - began > seconds_at_most:
            break
    return out


def timed(work):
    def once():
        began = time.perf_counter()
        work()
        return time.perf_counter() - began
    return once


def quartiles(values):
    return [sorted(values)[round(q * (len(values) - 1))] for q in (0.5, 0.25, 0.75)]


def ratio(of, over):
    """Median over the rounds."""
    return statistics.median(a / b for a, b in zip(of, over))


class Report:
    def __init__(self):
        self.lines = []

    def add(self, text=""):
        print(text, flush=True)
        self.lines.append(text)

    def table(self, title, times, ours, peers, errors=None, unit=1, unit_name="ms"):
        """ours, peers: the names between which a ratio is drawn."""
        self.add(f"\n### {title}\n")
        self.add(f"| | median {unit_name} | quartiles | {'error | ' if errors else ''}over the first |")
        self.add(f"| --- | --- | --- | {'--- | ' if errors else ''}--- |")
        first = next(iter(times))
        for name, values in times.items():
            mid, low, high = (1e3 * v / unit for v in quartiles(values))
            error = f"{errors[name]:.0e} | " if errors and name in errors else "| " if errors else ""
            self.add(f"| {name} | {mid:.2f} | {low:.2f} to {high:.2f} | {error}{ratio(times[first], values):.2f} |")
        present = [p for p in peers if p in times]
        if ours in times and present:
            best = min(present, key=lambda p: statistics.median(times[p]))
            self.add(f"\n**{ours}: {ratio(times[best], times[ours]):.2f} times as fast as {best}**, "
                     f"the fastest of {', '.join(present)}.")


def checkpoint(name):
    """A few training steps by Retort give weights for everyone."""
    path = WORK / name / "checkpoints"
    config = ROOT / f"tests/bench/peers/{name}.toml"
    found = sorted(path.glob("step_*.safetensors"))
    if not found or found[-1].stat().st_mtime < config.stat().st_mtime:
        subprocess.run([BUILD / "bin/retort", "train", config, f"run.output={WORK / name}", "--fresh"], check=True,
                       stdout=subprocess.DEVNULL)
        found = sorted(path.glob("step_*.safetensors"))
    return found[-1]


def peers_of(model, x, noise, quick):
    """name -> function of (x, noise); the fastest spelling that each offers without tuning by hand."""
    import onnxruntime
    import openvino
    import torch

    def copy_of(m):
        import copy
        return copy.deepcopy(m)

    out = {"PyTorch eager": lambda: model(x, noise)}
    last = copy_of(model).to(memory_format=torch.channels_last)
    xl = x.contiguous(memory_format=torch.channels_last)
    out["PyTorch channels-last"] = lambda: last(xl, noise)
    if not quick:
        import torch._inductor.config as inductor
        inductor.freezing = True
        compiled = torch.compile(copy_of(model))
        out["PyTorch inductor, freezing"] = lambda: compiled(x, noise)
    half = copy_of(last).to(torch.bfloat16)
    xh, nh = xl.to(torch.bfloat16), noise.clone()
    out["PyTorch bfloat16"] = lambda: half(xh, nh).float()

    file = WORK / f"model_{len(x)}.onnx"
    warnings.filterwarnings("ignore")  # of the older exporter, which needs no further package
    torch.onnx.export(model, (x, noise), str(file), input_names=["x", "noise"], output_names=["y"], dynamo=False,
                      opset_version=17)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    feed = {"x": x.numpy(), "noise": noise.numpy()}
    feed = {i.name: feed[i.name] for i in session.get_inputs()}
    out["ONNX Runtime"] = lambda: torch.from_numpy(session.run(None, feed)[0])

    core = openvino.Core()
    converted = openvino.convert_model(str(file))
    for name, precision in (("OpenVINO", "f32"), ("OpenVINO bfloat16", "bf16")):
        ready = core.compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": "1",
                                                      "INFERENCE_NUM_THREADS": "1"})
        request = ready.create_infer_request()
        arrays = [x.numpy() if len(i.partial_shape) == x.dim() else noise.numpy() for i in ready.inputs]

        def infer(request=request, arrays=arrays):
            request.infer(arrays, share_inputs=True, share_outputs=True)
            return torch.from_numpy(request.get_output_tensor(0).data)
        out[name] = infer
    return out


FULL = ["PyTorch eager", "PyTorch channels-last", "PyTorch inductor, freezing", "ONNX Runtime", "OpenVINO"]
HALF = ["PyTorch bfloat16", "OpenVINO bfloat16"]


def inference(report, name, batches, args):
    import torch
    from safetensors.torch import load_file

    import unet

    path = checkpoint(name)
    model = unet.load(path)
    teacher = [f"teacher.checkpoint={path}", "loss.type=cm", "solver.type=euler", "backend.type=onednn"]
    for batch in batches:
        title = f"One evaluation of {name.upper()}, batch {batch}"
        if args.only and args.only not in title:
            continue
        servers = {"Retort": Ours("distil.toml", *teacher),
                   "Retort bfloat16": Ours("distil.toml", *teacher, "backend.precision=bfloat16")}
        given = {}
        for mine, server in servers.items():
            file = WORK / "output.safetensors"
            server.ask(f"output {batch} {file}")
            given[mine] = load_file(file)
        x, noise = given["Retort"]["x"], given["Retort"]["noise"]
        with torch.inference_mode():
            exact = model.double()(x.double(), noise)
            model.float()
            others = peers_of(model, x, noise, args.quick)
            error = lambda y: float((y.double() - exact).norm() / exact.norm())
            errors = {n: error(work()) for n, work in others.items()}
            errors |= {mine: error(given[mine]["output"]) for mine in servers}
            contestants = {n: timed(work) for n, work in others.items()}
            contestants |= {mine: (lambda s=server: s.seconds(f"evaluate {batch} 1"))
                            for mine, server in servers.items()}
            times = take_turns(contestants, args.rounds, args.seconds)
        for mine, limit in (("Retort", 1e-5), ("Retort bfloat16", 1e-2)):
            assert errors[mine] < limit, f"{mine} is off by {errors[mine]}"
        report.table(title, times, "Retort", FULL, errors)
        report.add(f"**Retort bfloat16: {ratio(times['OpenVINO bfloat16'], times['Retort bfloat16']):.2f} times as fast "
                   f"as OpenVINO bfloat16**, {ratio(times['Retort'], times['Retort bfloat16']):.2f} times as fast as "
                   "Retort in float32.")
        for server in servers.values():
            server.close()


def steps(report, args):
    import copy

    import torch
    from safetensors.torch import load_file

    import steps as plain
    import unet

    path = checkpoint("s")
    distil = ["distil.toml", f"teacher.checkpoint={path}"]
    fast = ["backend.type=onednn"]
    half = ["backend.teacher.type=onednn", "backend.teacher.precision=bfloat16", "backend.student.type=cpu",
            "backend.student.precision=bfloat16", "backend.student.threads=1", "backend.teacher.threads=1"]

    def reference(solved, autocast, last):
        model = unet.load(path)
        if last:
            model = model.to(memory_format=torch.channels_last)
        grid = solved["grid"]
        x = solved["x"] if not last else solved["x"].contiguous(memory_format=torch.channels_last)
        return plain.Distillation(model, copy.deepcopy(model), copy.deepcopy(model), x * 0.5 / 80,
                                  torch.randn(x.shape, generator=torch.Generator().manual_seed(1)), grid, autocast)

    for loss, solver in (("cm", "heun"), ("direct_cm", "euler")):
        title = f"A training step of {loss} ({solver}, S, batch 64)"
        if args.only and args.only not in title:
            continue
        common = [*distil, f"loss.type={loss}", f"solver.type={solver}"]
        servers = {"Retort": Ours(*common, *fast), "Retort bfloat16": Ours(*common, *half)}
        if loss == "direct_cm":
            servers |= {f"Retort{n}, 18 pairs a trajectory": Ours(*common, *kind, "loss.pairs=18")
                        for n, kind in (("", fast), (" bfloat16", half))}
        file = WORK / "solve.safetensors"
        servers["Retort"].ask(f"solve {file}")
        solved = load_file(file)
        eager = reference(solved, False, False)
        if loss == "direct_cm":
            ends = eager.solve_masked(solved["x"], solved["intervals"])
            off = float((ends - solved["ends"]).norm() / ends.norm())
            assert off < 1e-4, f"the ends of the solve differ by {off}"
            report.add(f"\nThe packed solve ends where the masked one does, within {off:.0e}.")
        step = "cm_step" if loss == "cm" else "direct_cm_step"
        contestants = {"PyTorch eager": timed(getattr(eager, step)),
                       "PyTorch channels-last, autocast": timed(getattr(reference(solved, True, True), step))}
        contestants |= {n: (lambda s=server: s.seconds("stage 1 training step, whole"))
                        for n, server in servers.items()}
        times = take_turns(contestants, max(5, args.rounds // 3), args.seconds)
        report.table(title, times, "Retort", ["PyTorch eager"])
        report.add(f"**Retort bfloat16: {ratio(times['PyTorch eager'], times['Retort bfloat16']):.2f} times as fast as "
                   "PyTorch eager, "
                   f"{ratio(times['PyTorch channels-last, autocast'], times['Retort bfloat16']):.2f} times as fast as "
                   "PyTorch channels-last with autocast.**")
        if loss == "direct_cm":
            pairs(report, args, eager, solved, servers)
        for server in servers.values():
            server.close()


def pairs(report, args, eager, solved, servers):
    """What the target of one training pair costs: the whole batch masked, its rows packed, or trajectories shared."""
    batch, per_trajectory = len(solved["x"]), 18
    shared = -(-batch // per_trajectory)
    contestants = {"PyTorch eager, masked": timed(lambda: eager.solve_masked(solved["x"], solved["intervals"]))}
    for name in ("Retort", "Retort bfloat16"):
        server = servers[name]
        contestants[f"{name}, packed"] = lambda s=server: s.seconds("stage 1 solve to the end, packed")
        contestants[f"{name}, {per_trajectory} pairs a trajectory"] = (
            lambda s=server: s.seconds(f"trajectories {shared}"))
    times = take_turns(contestants, max(5, args.rounds // 3), args.seconds)
    report.table("Targets of direct_cm, for each training pair (euler, S, batch 64)", times, "", [], unit=batch)


def threads(report, args):
    title = "Two threads over one (S, batch 64)"
    if len(os.sched_getaffinity(0)) < 2 and os.cpu_count() < 2 or args.only and args.only not in title:
        return
    path = checkpoint("s")
    rest = ["distil.toml", f"teacher.checkpoint={path}", "loss.type=cm", "solver.type=euler", "backend.type=onednn"]
    servers = {}
    for precision in ("float32", "bfloat16"):
        for count in (1, 2):
            servers[f"{precision}, {count} thread(s)"] = Ours(*rest, f"backend.precision={precision}", threads=count)
    times = take_turns({n: (lambda s=server: s.seconds("evaluate 64 1")) for n, server in servers.items()},
                       args.rounds, args.seconds)
    report.table(title, times, "", [])
    for precision in ("float32", "bfloat16"):
        report.add(f"\n**{precision}: "
                   f"{ratio(times[f'{precision}, 1 thread(s)'], times[f'{precision}, 2 thread(s)']):.2f}**")
    for server in servers.values():
        server.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without inductor, which compiles for a minute a batch size")
    parser.add_argument("--only", default="", help="tables whose title holds this text")
    parser.add_argument("--rounds", type=int, default=21, help="turns of every contestant (%(default)s)")
    parser.add_argument("--seconds", type=float, default=90, help="at most for a table, after five turns (%(default)s)")
    parser.add_argument("--output", type=pathlib.Path, default=WORK / "report.md")
    args = parser.parse_args()
    set_up()
    WORK.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(ROOT / "tests/bench/peers"))
    checkpoint("s"), checkpoint("m")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    import onnxruntime
    import openvino
    import torch

    torch.set_num_threads(1)
    about = Ours("distil.toml", f"teacher.checkpoint={checkpoint('s')}", "loss.type=cm", "solver.type=euler",
                 "backend.type=onednn", "backend.precision=auto")
    cpu = next(l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name"))
    report = Report()
    report.add(f"{cpu}, one core; PyTorch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}, "
               f"OpenVINO {openvino.__version__.split('-')[0]}, Python {platform.python_version()}. "
               f"Retort: {about.ask('about')}.")
    about.close()
    inference(report, "s", (1, 16, 64), args)
    inference(report, "m", (16,), args)
    steps(report, args)
    threads(report, args)
    args.output.write_text("\n".join(report.lines) + "\n")
    print(f"\nwritten to {args.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
