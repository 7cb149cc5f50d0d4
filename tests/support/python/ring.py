"""Eight bumps on a ring: the exact denoiser, data, a metric and a network, each to be held against the plugins in C++."""
import math

import torch

std = 0.06
angles = torch.arange(8, dtype=torch.float64) * (2 * math.pi / 8)
means = torch.stack([angles.cos(), angles.sin()], 1)


class Teacher:
    """D(x, sigma) of the mixture, y = x on a variance-exploding process."""

    def __call__(self, x, sigma):
        variance = (sigma.double() ** 2 + std**2).view(-1, 1)
        offset = x.double()[:, None, :] - means
        weight = torch.softmax(-0.5 * offset.square().sum(2) / variance, 1)
        mean = (weight[:, :, None] * means).sum(1)
        return (mean + std**2 / variance * (x.double() - mean)).to(x.dtype)


class Dataset:
    shape = [2]
    classes = 8
    class_names = [f"bump {i}" for i in range(8)]

    def size(self, split):
        return 800 if split == "train" else 160

    def batch(self, split, index):
        generator = torch.Generator().manual_seed(0 if split == "train" else 1)
        noise = torch.randn(self.size(split), 2, generator=generator)
        labels = index % 8
        return means[labels].float() + std * noise[index], labels


class Metric:
    name = "end_error"
    ideal = {"end_error": 0.0}

    def measure(self, evaluation):
        if evaluation.model is None:
            return None
        difference = (evaluation.samples() - evaluation.endpoints()).double()
        return difference.square().mean().item()


class Network(torch.nn.Module):
    inputs = ["labels"]

    def __init__(self, spec):
        super().__init__()
        size = math.prod(spec["shape"])
        self.first = torch.nn.Linear(size + 1, 32)
        self.labels = torch.nn.Embedding(spec["classes"] + 1, 32) if spec["classes"] else None
        self.last = torch.nn.Linear(32, size * spec["outputs"])

    def forward(self, x, time, labels=None):
        hidden = self.first(torch.cat([x.flatten(1), time[:, None]], 1))
        if self.labels is not None and labels is not None:
            hidden = hidden + self.labels(labels)
        out = self.last(torch.nn.functional.silu(hidden))
        return out.view(len(x), -1, *x.shape[2:])
