#!/usr/bin/env python3
"""Makes attention.json: diffusers' attention with gradients, and its sinusoidal embeddings of time, for tests/plugins/attention.cpp.

    pip install torch diffusers==0.42.1
    OMP_NUM_THREADS=1 python make_attention.py

A case of attention has the weights of an `Attention` of 2 heads (its names; out x in, as torch's Linear has them), a query
[B, 5, 8], a context [B, 7, 6] or none (attention of the query to itself), perhaps a mask [B, 7] of which 0 hides a place of the
context, the output, and the gradients of sum(output * of_output) for every weight and input. The mask reaches the peer as its
UNet2DConditionModel makes it, (1 - mask) * -10000 on the scores.

The embeddings are made in float64: the peer's own are float32, which is off by 7e-6 at t = 999.

Every number is derived a second time from the formulas, with derivatives written out, in numpy, and the script stops where the two
differ by more than 1e-12 of the largest value of an array.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers.models import embeddings
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0

torch.set_default_dtype(torch.float64)
Array = np.ndarray
HEADS, QUERY_WIDTH, CONTEXT_WIDTH, BATCH, QUERIES, PLACES = 2, 8, 6, 2, 5, 7
WEIGHTS = ("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight", "to_out.0.bias")
largest_difference = 0.0


def agree(name: str, peer: Array, derived: Array) -> None:
    global largest_difference
    assert peer.shape == derived.shape and peer.dtype == derived.dtype == np.float64 and np.isfinite(peer).all(), name
    difference = float(np.abs(peer - derived).max() / np.abs(derived).max())
    assert difference < 1e-12, f"{name}: differs by {difference:.1e}"
    largest_difference = max(largest_difference, difference)


def draw(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def derive(weights: dict[str, Array], query: Array, context: Array | None, mask: Array | None, of_output: Array) -> dict[str, Array]:
    """The output, and the gradients by name."""
    seen = query if context is None else context
    inner = weights["to_q.weight"].shape[0]
    size = inner // HEADS
    out: dict[str, Array] = {}
    q, k, v = query @ weights["to_q.weight"].T, seen @ weights["to_k.weight"].T, seen @ weights["to_v.weight"].T
    joined, of_q, of_k, of_v = np.zeros_like(q), np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    of_joined = of_output @ weights["to_out.0.weight"]
    for b in range(BATCH):
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            scores = q[b][:, part] @ k[b][:, part].T / math.sqrt(size)
            if mask is not None:
                scores = np.where(mask[b] > 0, scores, -np.inf)
            share = np.exp(scores - scores.max(1, keepdims=True))
            share /= share.sum(1, keepdims=True)
            joined[b][:, part] = share @ v[b][:, part]
            of_share = of_joined[b][:, part] @ v[b][:, part].T
            of_scores = share * (of_share - (share * of_share).sum(1, keepdims=True)) / math.sqrt(size)
            of_v[b][:, part] = share.T @ of_joined[b][:, part]
            of_q[b][:, part] = of_scores @ k[b][:, part]
            of_k[b][:, part] = of_scores.T @ q[b][:, part]
    out["output"] = joined @ weights["to_out.0.weight"].T + weights["to_out.0.bias"]
    out["query"] = of_q @ weights["to_q.weight"]
    of_seen = of_k @ weights["to_k.weight"] + of_v @ weights["to_v.weight"]
    if context is None:
        out["query"] = out["query"] + of_seen
    else:
        out["context"] = of_seen
    for name, of, given in [("to_q", of_q, query), ("to_k", of_k, seen), ("to_v", of_v, seen), ("to_out.0", of_output, joined)]:
        out[f"{name}.weight"] = np.einsum("bno,bni->oi", of, given)
    out["to_out.0.bias"] = of_output.sum((0, 1))
    return out


def attention_case(name: str, seed: int, with_context: bool, with_mask: bool) -> dict:
    width = CONTEXT_WIDTH if with_context else QUERY_WIDTH
    query, context = draw(seed, BATCH, QUERIES, QUERY_WIDTH), draw(seed + 1, BATCH, PLACES, CONTEXT_WIDTH) if with_context else None
    of_output = draw(seed + 2, BATCH, QUERIES, QUERY_WIDTH)
    mask = np.array([[1, 1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 1, 1, 0]]) if with_mask else None
    shapes = [(QUERY_WIDTH, QUERY_WIDTH), (QUERY_WIDTH, width), (QUERY_WIDTH, width), (QUERY_WIDTH, QUERY_WIDTH), (QUERY_WIDTH,)]
    weights = {key: draw(seed + 3 + i, *shape) * 0.5 for i, (key, shape) in enumerate(zip(WEIGHTS, shapes))}
    derived = derive(weights, query, context, mask, of_output)
    for processor in (AttnProcessor(), AttnProcessor2_0()):
        peer = Attention(QUERY_WIDTH, cross_attention_dim=CONTEXT_WIDTH if with_context else None, heads=HEADS,
                         dim_head=QUERY_WIDTH // HEADS, processor=processor)
        assert set(peer.state_dict()) == set(WEIGHTS)
        peer.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
        given = {"query": torch.from_numpy(query).requires_grad_()}
        if with_context:
            given["context"] = torch.from_numpy(context).requires_grad_()
        bias = None if mask is None else ((1 - torch.from_numpy(mask).double()) * -10000.0).unsqueeze(1)
        output = peer(given["query"], encoder_hidden_states=given.get("context"), attention_mask=bias)
        parameters = {**dict(peer.named_parameters()), **given}
        gradients = torch.autograd.grad((output * torch.from_numpy(of_output)).sum(), list(parameters.values()))
        numbers = {"output": output.detach().numpy(), **{key: g.numpy() for key, g in zip(parameters, gradients)}}
        assert numbers.keys() == derived.keys()
        for key, value in numbers.items():
            agree(f"{name}: {key}", value, derived[key])
    case = {"name": name, "peer": "diffusers Attention, AttnProcessor and AttnProcessor2_0", "heads": HEADS,
            "weights": {key: value.tolist() for key, value in weights.items()}, "query": query.tolist(),
            "context": None if context is None else context.tolist(), "mask": None if mask is None else mask.tolist(),
            "of_output": of_output.tolist(), "output": numbers.pop("output").tolist()}
    return {**case, "gradients": {key: value.tolist() for key, value in numbers.items()}}


class TorchInFloat64:
    """The torch module, in which float32 is float64."""

    def __getattr__(self, name: str) -> object:
        return torch.float64 if name == "float32" else getattr(torch, name)


def embedding_case(width: int, flip: bool, shift: float) -> dict:
    times = np.array([0.0, 1.0, 10.5, 250.0, 999.0])
    embeddings.torch, to_float32 = TorchInFloat64(), torch.Tensor.float
    torch.Tensor.float = lambda self: self
    try:
        peer = embeddings.Timesteps(width, flip_sin_to_cos=flip, downscale_freq_shift=shift)(torch.from_numpy(times)).numpy()
    finally:
        embeddings.torch, torch.Tensor.float = torch, to_float32
    half = width // 2
    angle = times[:, None] * 10000.0 ** (-np.arange(half) / (half - shift))
    halves = [np.cos(angle), np.sin(angle)] if flip else [np.sin(angle), np.cos(angle)]
    name = f"{width} wide, {'cosines' if flip else 'sines'} first, shift {shift}"
    agree(name, peer, np.concatenate(halves, 1))
    return {"name": name, "peer": "diffusers Timesteps", "num_channels": width, "flip_sin_to_cos": flip, "downscale_freq_shift": shift,
            "max_period": 10000, "times": times.tolist(), "values": peer.tolist()}


def main() -> None:
    attention = [attention_case("cross-attention", 1, True, False), attention_case("cross-attention, masked", 11, True, True),
                 attention_case("self-attention", 21, False, False)]
    timesteps = [embedding_case(8, True, 0), embedding_case(32, True, 0), embedding_case(8, False, 1)]
    head = {"made_by": "tests/parity/make_attention.py", "peers": {"diffusers": diffusers.__version__}}
    parts = [f' "{key}": [\n' + ",\n".join("  " + json.dumps(case) for case in cases) + "\n ]"
             for key, cases in [("attention", attention), ("timestep_embedding", timesteps)]]
    text = json.dumps(head, indent=1)[:-2] + ",\n" + ",\n".join(parts) + "\n}\n"
    json.loads(text)
    (Path(__file__).parent / "attention.json").write_text(text)
    print(f"{len(attention) + len(timesteps)} cases, at most {largest_difference:.1e} from the formulas")


if __name__ == "__main__":
    main()
