"""Retort's tracker for Weights & Biases: [tracker.python] file = "wandb_tracker.py". Without a network, set WANDB_MODE=offline."""
import hashlib

import wandb


class Tracker:
    def begin(self, run, from_step):
        # The folder's own name in W&B, so that a training that goes on goes on there. W&B keeps the first number of a step.
        name = hashlib.sha256(run["folder"].encode()).hexdigest()[:16]
        self.run = wandb.init(project="retort", id=name, name=run["name"], resume="allow", config=run["config"])

    def log(self, step, numbers):
        self.run.log(numbers, step=step)

    def pictures(self, step, name, pictures):
        self.run.log({name: [wandb.Image(p) for p in pictures]}, step=step)

    def end(self, measured):
        for _, numbers in measured:
            self.run.summary.update(numbers)
        self.run.finish()
