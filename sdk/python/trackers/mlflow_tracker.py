"""Retort's tracker for MLflow: [tracker.python] file = "mlflow_tracker.py". MLFLOW_TRACKING_URI says where it goes."""
import pathlib
import re

import mlflow


def flat(table, prefix=""):
    for key, value in table.items():
        yield from flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]


class Tracker:
    def begin(self, run, from_step):
        mlflow.end_run()  # of a training before, in a sweep
        mlflow.set_experiment("retort")
        # MLflow's name of the run is kept beside the training, so that one that goes on goes on there. MLflow keeps a step that comes
        # again twice, so what it has is looked up.
        file = pathlib.Path(run["folder"]) / "mlflow_run"
        before = file.read_text() if from_step and file.exists() else None
        self.run = mlflow.start_run(run_id=before, run_name=run["name"])
        file.write_text(self.run.info.run_id)
        self.last = {}
        if before:
            history = mlflow.MlflowClient().get_metric_history
            for name in self.run.data.metrics:
                self.last[name] = max(metric.step for metric in history(before, name))
        else:
            mlflow.log_params({key: str(value)[:500] for key, value in flat(run["config"])})

    def log(self, step, numbers):
        plain = {re.sub(r"[^\w\-. /]", "_", name): value for name, value in numbers.items()}
        mlflow.log_metrics({name: value for name, value in plain.items() if step > self.last.get(name, -1)}, step=step)

    def pictures(self, step, name, pictures):
        for i, picture in enumerate(pictures):
            mlflow.log_image(picture.permute(1, 2, 0).numpy(), f"{name}/{step:07d}_{i}.png")

    def end(self, measured):
        for step, numbers in measured:
            self.log(step, {f"measured/{name}": value for name, value in numbers.items()})
        mlflow.end_run()
