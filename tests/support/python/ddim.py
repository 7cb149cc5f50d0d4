"""DDIM, to be held against the plugin of that name."""
import retort

order = 1
evaluations = 1


def step(ode, x, t, s):
    process = ode.process
    ratio = process.sigma(s) / process.sigma(t)
    data = ode.data(x, t)
    return retort.rows(ratio, x) * x + retort.rows(process.alpha(s) - process.alpha(t) * ratio, x) * data
