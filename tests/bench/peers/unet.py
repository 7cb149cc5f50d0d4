"""The network of plugins/networks/unet.cpp in PyTorch, for the same weights to be run by others."""

import json
import math

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import nn


class Block(nn.Module):
    def __init__(self, inputs, outputs, embedding, groups, attention, resize):
        super().__init__()
        self.resize = resize
        self.norm0 = nn.GroupNorm(groups, inputs)
        self.conv0 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.affine = nn.Linear(embedding, 2 * outputs)
        self.norm1 = nn.GroupNorm(groups, outputs)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None
        self.attention = attention
        if attention:
            self.norm2 = nn.GroupNorm(groups, outputs)
            self.qkv = nn.Conv2d(outputs, 3 * outputs, 1)
            self.proj = nn.Conv2d(outputs, outputs, 1)

    def forward(self, x, embedding):
        if self.resize == "down":
            x = F.avg_pool2d(x, 2)
        elif self.resize == "up":
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        h = self.conv0(F.silu(self.norm0(x)))
        scale, shift = self.affine(embedding)[:, :, None, None].chunk(2, 1)
        h = F.silu(self.norm1(h) * (scale + 1) + shift)
        h = self.conv1(h)
        x = ((x if self.skip is None else self.skip(x)) + h) * math.sqrt(0.5)
        if self.attention:
            b, c, height, width = x.shape
            q, k, v = self.qkv(self.norm2(x)).reshape(b, 3, c, height * width).transpose(2, 3).unbind(1)
            a = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])
            x = (x + self.proj(a.squeeze(1).transpose(1, 2).reshape(b, c, height, width))) * math.sqrt(0.5)
        return x


class UNet(nn.Module):
    """Unconditional, for sides that halve evenly, without `patch`."""

    def __init__(self, channels, widths, blocks, attention, embedding, groups):
        super().__init__()
        self.frequencies = embedding // 2
        angles = torch.logspace(-2, 4, self.frequencies // 2, 2.0, dtype=torch.float64) * (2 * math.pi)
        self.register_buffer("angles", angles.float(), persistent=False)
        self.noise0 = nn.Linear(self.frequencies, embedding)
        self.noise1 = nn.Linear(embedding, embedding)
        width = widths[0]
        self.input = nn.Conv2d(channels, width, 3, padding=1)
        self.down, self.up, skips = [], [], [width]

        def block(name, inputs, outputs, attends, resize):
            made = Block(inputs, outputs, embedding, groups, attends, resize)
            self.add_module(name, made)
            return made

        for level, out in enumerate(widths):
            if level > 0:
                self.down.append(block(f"down{level}_resize", width, width, False, "down"))
                skips.append(width)
            for i in range(blocks):
                self.down.append(block(f"down{level}_{i}", width, out, level in attention, None))
                width = out
                skips.append(width)
        last = len(widths) - 1
        self.middle = [block("middle0", width, width, last in attention, None),
                       block("middle1", width, width, False, None)]
        for level in reversed(range(len(widths))):
            if level < last:
                self.up.append(block(f"up{level}_resize", width, width, False, "up"))
            for i in range(blocks + 1):
                self.up.append(block(f"up{level}_{i}", width + skips.pop(), widths[level], level in attention, None))
                width = widths[level]
        self.norm = nn.GroupNorm(groups, width)
        self.output = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x, noise):
        angles = noise.float()[:, None] * self.angles
        embedding = torch.cat([angles.cos(), angles.sin()], 1).to(x.dtype)
        embedding = F.silu(self.noise1(F.silu(self.noise0(embedding))))
        h = self.input(x)
        skips = [h]
        for block in self.down:
            h = block(h, embedding)
            skips.append(h)
        for block in self.middle:
            h = block(h, embedding)
        for block in self.up:
            h = block(h, embedding) if block.resize else block(torch.cat([h, skips.pop()], 1), embedding)
        return self.output(F.silu(self.norm(h)))


def load(path):
    """The network of a checkpoint that Retort wrote."""
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["retort"])["model"]
        n = config["network"]
        model = UNet(config["shape"][0], n["widths"], n["blocks"], n["attention"], n["embedding"], n["groups"])
        model.load_state_dict({k: file.get_tensor(k) for k in file.keys()})
    return model.eval().requires_grad_(False)
