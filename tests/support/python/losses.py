"""Distillation towards a moving average, with a network of its own that learns the data: shows what a loss may say."""
import retort


class Loss:
    makes = "consistency"
    needs = {"teacher": True, "solver": True, "schedule": True}
    roles = [
        {"name": "target", "update": "average", "decay": 0.95},
        {"name": "data", "start": "student", "update": "trained", "every": 2, "learning_rate": 1e-3},
    ]

    def __call__(self, step):
        index = step.draw()
        t, s = step.grid[index], step.grid[index + 1]
        x = step.process.add_noise(step.x, step.noise(), t)
        y = step.solver_step(x, t, s)
        rows = (step.student(x, t) - step.target_model.consistency(y, s, **step.condition).detach()).square().flatten(1).mean(1)
        out = {"per_row": rows, "t": t, "diagnostics": {"distance": rows.mean().detach()}, "roles": {}}
        if step.due("data"):
            guess = step.role("data").data(x, t, **step.condition)
            out["roles"]["data"] = (guess - step.x).square().flatten(1).mean(1)
        return out
