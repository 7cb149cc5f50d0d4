"""Retort's tracker for MLflow: [tracker.python] file = "mlflow_tracker.py". MLFLOW_TRACKING_URI says where it goes."""
import re

import mlflow


def flat(table, prefix=""):
    for key, value in table.items():
        yield from flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]


class Tracker:
    def begin(self, run, from_step):
        mlflow.end_run()  # of a training before, in a sweep
        mlflow.set_experiment("retort")
        before = mlflow.search_runs(filter_string=f"tags.folder = '{run['folder']}'", output_format="list") if from_step else []
        self.run = mlflow.start_run(run_id=before[0].info.run_id if before else None, run_name=run["name"], tags={"folder": run["folder"]})
        if not before:
            mlflow.log_params({key: str(value)[:500] for key, value in flat(run["config"])})

    def log(self, step, numbers):
        mlflow.log_metrics({re.sub(r"[^\w\-. /]", "_", name): value for name, value in numbers.items()}, step=step)

    def pictures(self, step, name, pictures):
        for i, picture in enumerate(pictures):
            mlflow.log_image(picture.permute(1, 2, 0).numpy(), f"{name}/{step:07d}_{i}.png")

    def end(self, measured):
        for step, numbers in measured:
            self.log(step, numbers)
        mlflow.end_run()
