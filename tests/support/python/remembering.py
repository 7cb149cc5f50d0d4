"""Adams-Bashforth of two steps in t: a solver that keeps what it saw."""
import retort


class Solver:
    order, evaluations = 2, 1

    def step(self, step, x):
        slope, h = step.ode.velocity(x, step.t), step.s - step.t
        before = step.history.take("slope", lambda index: slope[index])
        step.history["slope"] = slope
        weight = (step.history.steps > 0).double() / 2
        return x + retort.rows(h, x) * (slope + retort.rows(weight, x) * (slope - before))
