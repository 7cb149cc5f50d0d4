"""A search of Retort's led by Optuna, which learns from what was found where to look next.

    python search_optuna.py CONFIG [OVERRIDE ...] [--trials 20] [--retort retort]

CONFIG has [sweep.search] with type = "told" and `by`. Retort keeps all results, so that a second call goes on from
them, and `retort sweep CONFIG` writes the table and the report. Other optimizers are led in the same way: they ask for
the space, and tell values.
"""
import argparse
import json
import subprocess
import sys

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution


def sweep(program, config, *words):
    """The JSON that `retort sweep` prints in its last line."""
    done = subprocess.run([program, "sweep", *config, *words], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return json.loads(done.stdout.splitlines()[-1])


def distribution(part):
    if "choices" in part:
        return CategoricalDistribution(part["choices"])
    if part["integer"]:
        return IntDistribution(int(part["min"]), int(part["max"]), log=part["log"])
    return FloatDistribution(part["min"], part["max"], log=part["log"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="+", help="CONFIG and overrides")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--retort", default="retort", help="the program")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    asked = sweep(options.retort, options.config, "--ask")
    space = {name: distribution(part) for name, part in asked["space"].items()}
    seed = options.seed + len(asked["trials"])  # or a second call would begin with the first one's draws
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    for trial in asked["trials"]:
        if trial["value"] is not None and trial["values"].keys() == space.keys():
            study.add_trial(optuna.trial.create_trial(params=trial["values"], distributions=space, value=trial["value"]))
    for _ in range(options.trials):
        trial = study.ask(space)
        told = sweep(options.retort, options.config, "--tell", json.dumps(trial.params))
        if told["value"] is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, told["value"])
    print(json.dumps({"values": study.best_params, asked["by"]: study.best_value}))


if __name__ == "__main__":
    main()
