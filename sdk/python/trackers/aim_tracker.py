"""Retort's tracker for Aim: [tracker.python] file = "aim_tracker.py"."""
import pathlib

import aim


class Tracker:
    def begin(self, run, from_step):
        # Aim's name of the run is kept beside the training, so that one that goes on goes on there.
        file = pathlib.Path(run["folder"]) / "aim_run"
        self.run = aim.Run(experiment="retort", run_hash=file.read_text() if from_step and file.exists() else None)
        file.write_text(self.run.hash)
        self.run.name = run["name"]
        self.run["config"] = run["config"]

    def log(self, step, numbers):
        for name, value in numbers.items():
            self.run.track(value, name=name, step=step)

    def pictures(self, step, name, pictures):
        bytes = (255 * pictures).round().byte().permute(0, 2, 3, 1).numpy()
        self.run.track([aim.Image(picture) for picture in bytes], name=name, step=step)

    def end(self, measured):
        for step, numbers in measured:
            self.log(step, {f"measured/{name}": value for name, value in numbers.items()})
        self.run.close()
