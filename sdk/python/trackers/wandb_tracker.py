"""Retort's tracker for Weights & Biases: [tracker.python] file = "wandb_tracker.py". Without a network, set WANDB_MODE=offline."""
import pathlib

import wandb


class Tracker:
    def begin(self, run, from_step):
        if wandb.run is not None:  # of a training before, in a sweep
            wandb.run.finish()
        # W&B's name of the run is kept beside the training, so that one that goes on goes on there. W&B itself drops a step that it has.
        file = pathlib.Path(run["folder"]) / "wandb_run"
        before = file.read_text() if from_step and file.exists() else None
        self.run = wandb.init(project="retort", id=before, name=run["name"], resume="allow", config=run["config"])
        file.write_text(self.run.id)

    def log(self, step, numbers):
        self.run.log(numbers, step=step)

    def pictures(self, step, name, pictures):
        bytes = (255 * pictures).round().byte().permute(0, 2, 3, 1).squeeze(-1).numpy()
        self.run.log({name: [wandb.Image(picture) for picture in bytes]}, step=step)

    def end(self, measured):
        for _, numbers in measured:
            self.run.summary.update(numbers)
        self.run.finish()
