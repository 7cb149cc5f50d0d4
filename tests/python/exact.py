"""Data whose flow is known in closed form: independent normal numbers with standard deviation `std`."""

import torch

import retort

std = 0.6


def denoised(process):
    """E[x0 | x] at times of a process."""

    def function(x, t):
        t = t.double().cpu()
        alpha, sigma = process.alpha(t), process.sigma(t)
        return retort.rows(alpha * std**2 / (alpha**2 * std**2 + sigma**2), x) * x

    return function


def end_of(process, x, start, end):
    """Where the ODE leads x from one time to another: it keeps x over the standard deviation of x_t."""

    def deviation(t):
        t = torch.as_tensor([float(t)], dtype=torch.float64)
        return float((process.alpha(t) ** 2 * std**2 + process.sigma(t) ** 2).sqrt())

    return x * (deviation(end) / deviation(start))


def noise(process, first, n=64, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    first = torch.as_tensor([float(first)], dtype=torch.float64)
    scale = float((process.alpha(first) ** 2 * std**2 + process.sigma(first) ** 2).sqrt())
    return scale * torch.randn(n, 3, generator=generator, dtype=torch.float64).to(dtype)
