"""Whole experiments from Python. RETORT_CONFIGS is the folder of the shipped configurations."""

import json
import os
import pathlib
import signal
import tempfile
import threading
import unittest

import torch

import retort

config = pathlib.Path(os.environ["RETORT_CONFIGS"]) / "mixture.toml"
small = {
    "train.steps": 40,
    "train.batch": 16,
    "evaluate.samples": 200,
    "evaluate.metrics": ["ode_error", "sliced_wasserstein"],
    "evaluate.student_steps": [1, 2],
    "backend.type": "cpu",
    "backend.threads": 1,
}


class Runs(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.keys = {**small, "run.output": self.folder.name + "/out"}

    def test_a_run_and_its_results(self):
        lines, random = [], torch.get_rng_state()
        threads = torch.get_num_threads()
        results = retort.run(config, self.keys, progress=False, log=lambda level, line: lines.append((level, line)))
        self.assertTrue(torch.equal(random, torch.get_rng_state()))
        self.assertEqual(threads, torch.get_num_threads())
        self.assertTrue(any(level == "info" for level, _ in lines))
        told = json.loads((results.folder / "results.json").read_text())
        self.assertEqual(len(results.rows), len(told["students"]))
        self.assertEqual(results.rows[0]["ode_error"], told["students"][0]["metrics"]["ode_error"])
        self.assertIn("ode_error", repr(results))
        self.assertIn("<iframe", results._repr_html_())
        self.assertEqual(retort.load(results.folder).rows, results.rows)
        before = (results.folder / "results.json").read_bytes()
        retort.run(config, self.keys, progress=False, log=lambda *_: None)  # done already
        self.assertEqual(before, (results.folder / "results.json").read_bytes())
        try:
            import pandas  # noqa: F401
        except ImportError:
            return
        frame = results.to_pandas()
        self.assertEqual(frame["ode_error"].tolist(), [row["ode_error"] for row in results.rows])
        import matplotlib

        matplotlib.use("Agg")
        self.assertEqual(results.plot("ode_error", "sliced_wasserstein").get_xlabel(), "ode_error")
        with self.assertRaisesRegex(retort.RequestError, "there is no 'odd'"):
            results.plot("odd", "ode_error")

    def test_a_plan_does_nothing(self):
        cells = retort.plan(config, self.keys)
        self.assertTrue(cells and not any(cell["finished"] for cell in cells))
        self.assertEqual(cells[0]["config"]["train"]["steps"], 40)
        self.assertFalse(pathlib.Path(self.folder.name, "out").exists())

    def test_requests_that_cannot_be_right(self):
        for keys, part in [
            ({"loss.type": "cmm"}, "did you mean 'cm'"),
            ({"train.stepz": 3}, "did you mean 'steps'"),
            ({"train.steps": "many"}, "train.steps"),
        ]:
            with self.assertRaises(retort.RequestError) as caught:
                retort.run(config, {**self.keys, **keys}, progress=False, log=lambda *_: None)
            self.assertIn(part, str(caught.exception))
        with self.assertRaises(retort.RequestError):
            retort.run("nowhere.toml")
        with self.assertRaisesRegex(retort.RequestError, "dict"):
            retort.run(config, ["loss.type=cm"])

    def test_ctrl_c_stops_at_a_saved_state(self):
        keys = {**self.keys, "train.steps": 20000}
        begun = threading.Event()

        def log(level, line):
            begun.set()

        def press():
            begun.wait(60)
            threading.Event().wait(1.0)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=press).start()
        with self.assertRaises(KeyboardInterrupt):
            retort.run(config, keys, progress=False, log=log)
        saved = list(pathlib.Path(self.folder.name, "out").rglob("*.safetensors"))
        self.assertTrue(saved)
        # another run of the process is not stopped by it
        other = retort.run(config, {**small, "run.output": self.folder.name + "/other"}, progress=False, log=lambda *_: None)
        self.assertTrue(other.rows)

    def test_two_runs_at_once_do_not_disturb_each_other(self):
        told = {"a": [], "b": []}
        outs = {}

        def work(name, seed):
            outs[name] = retort.run(
                config, {**self.keys, "run.seed": seed, "run.output": f"{self.folder.name}/{name}"}, progress=False,
                log=lambda level, line: told[name].append(line),
            )  # fmt: skip

        threads = [threading.Thread(target=work, args=(name, i)) for i, name in enumerate("ab")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        alone = retort.run(config, {**self.keys, "run.seed": 1, "run.output": self.folder.name + "/c"}, progress=False, log=lambda *_: None)
        self.assertEqual([r["ode_error"] for r in outs["b"].rows], [r["ode_error"] for r in alone.rows])
        for name in "ab":
            other = "b" if name == "a" else "a"
            self.assertFalse([line for line in told[name] if f"/{other}/" in line or line.endswith(f"/{other}")])

    def test_a_file_in_python_finds_this_package(self):
        path = pathlib.Path(self.folder.name, "mine.py")
        path.write_text(
            "import retort\n\n\nclass Solver:\n    def step(self, step, x):\n"
            "        return x + retort.rows(step.s - step.t, x) * step.ode.velocity(x, step.t)\n"
        )
        keys = {**self.keys, "solver": {"type": "python", "file": str(path)}, "loss.type": "cm"}
        self.assertTrue(retort.run(config, keys, progress=False, log=lambda *_: None).rows)
        path.write_text("class Solver:\n    def step(self, step, x):\n        return x + nothing\n")
        with self.assertRaises((NameError, retort.Error)):
            retort.run(config, {**keys, "run.output": self.folder.name + "/d"}, progress=False, log=lambda *_: None)


if __name__ == "__main__":
    unittest.main()
