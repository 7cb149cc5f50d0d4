#!/usr/bin/env python3
"""Distils the shipped Fashion-MNIST teacher by CM and Direct CM in plain PyTorch, apart from all of our C++ code, so that a weak
result of ours can be told from a fault of ours.

    pip install torch==2.13.0 numpy
    python independent_cm.py --steps 100 400 --seeds 3

It reads the teacher's weights, rebuilds the network from its description in plugins/networks/unet.cpp, trains with torch.optim, and
prints the ODE error of one-step samples (mean squared error against the teacher's endpoint from the same noise) at the given steps,
beside which `retort run configs/fashion_mnist.toml` prints ours. The random numbers differ, so compare within the spread of seeds.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import math
import struct
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

Tensor = torch.Tensor
ROOT = Path(__file__).resolve().parents[2]


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    config = json.loads(header.pop("__metadata__")["retort"])
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        assert entry["dtype"] == "F32"
        data = np.frombuffer(raw[8 + length + begin : 8 + length + end], np.float32).copy()
        tensors[name] = torch.from_numpy(data).reshape(entry["shape"])
    return tensors, config


class UNet(torch.nn.Module):
    """The forward pass of the `unet` plugin over a flat dictionary of weights."""

    def __init__(self, weights: dict[str, Tensor], config: dict) -> None:
        super().__init__()
        self.names = {name: name.replace(".", "/") for name in weights}
        self.weights = torch.nn.ParameterDict({self.names[k]: torch.nn.Parameter(v.clone()) for k, v in weights.items()})
        self.config = config["model"]["network"]
        self.sigma_data = config["model"]["sigma_data"]

    def get(self, name: str) -> Tensor:
        return self.weights[name.replace(".", "/")]

    def has(self, name: str) -> bool:
        return name in self.names

    def conv(self, name: str, x: Tensor) -> Tensor:
        w = self.get(name + ".weight")
        return F.conv2d(x, w, self.get(name + ".bias"), padding=w.shape[-1] // 2)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.get(name + ".weight"), self.get(name + ".bias"))

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.group_norm(x, self.config["groups"], self.get(name + ".weight"), self.get(name + ".bias"))

    def block(self, name: str, x: Tensor, emb: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        if name.endswith("resize"):
            x = F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False) if name.startswith("down") else F.interpolate(x, size=size, mode="nearest")
        h = self.conv(name + ".conv0", F.silu(self.norm(name + ".norm0", x)))
        scale, shift = self.linear(name + ".affine", emb)[:, :, None, None].chunk(2, 1)
        h = F.silu(self.norm(name + ".norm1", h) * (scale + 1) + shift)
        h = self.conv(name + ".conv1", h)
        x = ((self.conv(name + ".skip", x) if self.has(name + ".skip.weight") else x) + h) * math.sqrt(0.5)
        if self.has(name + ".qkv.weight"):
            b, c, height, width = x.shape
            q, k, v = self.conv(name + ".qkv", self.norm(name + ".norm2", x)).reshape(b, 3, c, height * width).unbind(1)
            attention = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(c), -1)
            x = (x + self.conv(name + ".proj", (v @ attention.transpose(1, 2)).reshape(x.shape))) * math.sqrt(0.5)
        return x

    def network(self, x: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        count = self.config["embedding"] // 4
        angle = noise[:, None].double() * torch.logspace(-2, 4, count, base=2.0, dtype=torch.float64) * 2 * math.pi
        emb = F.silu(self.linear("noise0", torch.cat([angle.cos(), angle.sin()], 1).to(x.dtype)))
        emb = F.silu(self.linear("noise1", emb) + self.get("label.weight")[labels])
        h = self.conv("input", F.pixel_unshuffle(x, self.config["patch"]))
        skips, levels, blocks = [h], len(self.config["widths"]), self.config["blocks"]
        for level in range(levels):
            for part in (["resize"] if level else []) + list(range(blocks)):
                h = self.block(f"down{level}_{part}", h, emb)
                skips.append(h)
        h = self.block("middle1", self.block("middle0", h, emb), emb)
        for level in reversed(range(levels)):
            if level < levels - 1:
                h = self.block(f"up{level}_resize", h, emb, tuple(skips[-1].shape[2:]))
            for part in range(blocks + 1):
                h = self.block(f"up{level}_{part}", torch.cat([h, skips.pop()], 1), emb)
        return F.pixel_shuffle(self.conv("output", F.silu(self.norm("norm", h))), self.config["patch"])

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        """EDM's denoiser, which is also the consistency function with EDM's boundary."""
        s, sd = sigma[:, None, None, None], self.sigma_data
        root = (s**2 + sd**2).sqrt()
        out = self.network(x / root, sigma.clamp(1e-4, 1e4).log() / 4, labels)
        return sd**2 / root**2 * x + s * sd / root * out


def karras(count: int = 18) -> Tensor:
    ramp = torch.linspace(0, 1, count, dtype=torch.float64)
    return torch.cat([(80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7, torch.zeros(1)]).float()


def euler(teacher: UNet, x: Tensor, index: Tensor, labels: Tensor, grid: Tensor, steps: int | None = None) -> Tensor:
    """From each row's own grid index, `steps` steps or to the end."""
    index = index.clone()
    last = (index + steps).clamp(max=len(grid) - 1) if steps else torch.full_like(index, len(grid) - 1)
    while (index < last).any():
        rows = index < last
        t, s = grid[index[rows]], grid[index[rows] + 1]
        slope = (x[rows] - teacher(x[rows], t, labels[rows])) / t[:, None, None, None]
        x = x.clone()
        x[rows] = x[rows] + (s - t)[:, None, None, None] * slope
        index[rows] += 1
    return x


def pseudo_huber(d: Tensor, c: float = 0.001) -> Tensor:
    return ((d**2 + c**2).sqrt() - c).mean()


def read_images(folder: Path) -> tuple[Tensor, Tensor]:
    images = np.frombuffer(gzip.open(folder / "train-images-idx3-ubyte.gz").read()[16:], np.uint8).reshape(-1, 1, 28, 28)
    labels = np.frombuffer(gzip.open(folder / "train-labels-idx1-ubyte.gz").read()[8:], np.uint8)
    return torch.from_numpy((images / 255.0 - 0.286) / 0.706).float(), torch.from_numpy(labels.astype(np.int64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    args = parser.parse_args()
    weights, config = read_safetensors(ROOT / "configs/weights/fashion_mnist_teacher.safetensors")
    teacher = UNet(weights, config).eval().requires_grad_(False)
    images, labels = read_images(args.data)
    grid = karras()
    generator = torch.Generator().manual_seed(1234)
    noise = torch.randn(args.samples, 1, 28, 28, generator=generator) * grid[0]
    classes = torch.arange(args.samples) % 10
    with torch.no_grad():
        ends = torch.cat([euler(teacher, n, torch.zeros(len(n), dtype=torch.long), c, grid) for n, c in zip(noise.split(250), classes.split(250))])

    def ode_error(student: UNet) -> float:
        with torch.no_grad():
            f = torch.cat([student(n, grid[0].expand(len(n)), c) for n, c in zip(noise.split(250), classes.split(250))])
        return (f - ends).square().mean().item()

    print(f"{'loss':10} {'seed':>4} {'steps':>6} {'ODE error':>10} {'seconds':>8}")
    print(f"{'untrained':10} {'-':>4} {0:>6} {ode_error(teacher):10.4f}")
    for loss_name in ("cm", "direct_cm"):
        for seed in range(args.seeds):
            g = torch.Generator().manual_seed(seed)
            student = copy.deepcopy(teacher).train().requires_grad_(True)
            optimizer = torch.optim.Adam(student.parameters(), lr=2e-5, betas=(0.9, 0.99))
            begin = time.time()
            for step in range(1, max(args.steps) + 1):
                pick = torch.randint(0, len(images), (16,), generator=g)
                index = torch.randint(0, 18, (16,), generator=g)
                t = grid[index]
                x = images[pick] + t[:, None, None, None] * torch.randn(16, 1, 28, 28, generator=g)
                with torch.no_grad():
                    if loss_name == "cm":
                        moved = euler(teacher, x, index, labels[pick], grid, steps=1)
                        s = grid[index + 1]
                        target = torch.where((s > 0)[:, None, None, None], student(moved, s, labels[pick]), moved)
                    else:
                        target = euler(teacher, x, index, labels[pick], grid)
                pseudo_huber(student(x, t, labels[pick]) - target).backward()
                torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                if step in args.steps:
                    print(f"{loss_name:10} {seed:>4} {step:>6} {ode_error(student):10.4f} {time.time() - begin:8.0f}", flush=True)


if __name__ == "__main__":
    main()
