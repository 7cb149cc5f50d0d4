"""The explicit midpoint method in the angle atan2(sigma, alpha)."""
import torch
import retort

order = 2
evaluations = 2


def step(ode, x, t, s):
    process = ode.process

    def angle(time):
        return torch.atan2(process.sigma(time), process.alpha(time))

    def radius(time):
        return retort.rows((process.alpha(time) ** 2 + process.sigma(time) ** 2).sqrt(), x)

    def slope(state, time):
        data, noise = ode.predict(state, time)
        a = angle(time)
        return retort.rows(a.cos(), x) * noise - retort.rows(a.sin(), x) * data

    h = angle(s) - angle(t)
    middle = process.time_of_noise_level(torch.tan(angle(t) + h / 2))
    z = x / radius(t)
    state = radius(middle) * (z + retort.rows(h / 2, x) * slope(x, t))
    return radius(s) * (z + retort.rows(h, x) * slope(state, middle))
