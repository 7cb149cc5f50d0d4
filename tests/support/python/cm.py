"""Consistency distillation, to be held against the plugin of that name."""
import torch


def loss(step):
    index = step.draw()
    t, s = step.grid[index], step.grid[index + 1]
    x_t = step.process.add_noise(step.x, step.noise(), t)
    x_s = step.solver_step(x_t, t, s)
    last = (index == len(step.grid) - 2).view(-1, *[1] * (x_t.dim() - 1))
    target = torch.where(last, x_s, step.target(x_s, s))
    return (step.student(x_t, t) - target).square().flatten(1).mean(1), t
