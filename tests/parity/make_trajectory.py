#!/usr/bin/env python3
"""Makes trajectory.json: values and gradients of losses of the trajectory family, for tests/plugins/losses_trajectory_parity.cpp.

    pip install torch jax scipy                      # make_losses.py, whose networks and cases are used, imports them
    git clone https://github.com/revsic/torch-flow-models
    git clone https://github.com/gnobitab/RectifiedFlow
    git clone https://github.com/kvfrans/shortcut-models
    git clone https://github.com/huggingface/diffusers
    git clone https://github.com/G-U-N/Phased-Consistency-Model
    git clone https://github.com/sony/ctm
    git clone https://github.com/YangLing0818/consistency_flow_matching
    OMP_NUM_THREADS=1 python make_trajectory.py --peers .

The peers' functions, and of two training scripts the statements between the draw of the times and the loss, are taken out of those
files and run with our network; none of their code is kept here. What they would draw is given to them. Their casts to float32 and
bfloat16 are made void, and shortcut-models' 1e-5 in x_t, a remainder of noise in the data, is 0.

The form of a case is that of losses.json. Peers whose time runs from noise 0 to data 1 are given 1 - t, and minus our velocity.
Columns c of the networks, and what they stand for:

- "flow" on "rectified_flow": u = F(x, t), or F(x, t, t - s). On "ve": u = F(c_in x, log(t) / 4, log(t / s) / 4), c_in as for "edm".
- "noise" on "betas": eps = F(x, t / T), t from 1; the student of lcm has a second column log(1 + w), w = 1 + omega.
- "edm" with sigma_data 1 on "rectified_flow": D = c_skip x + c_out F(c_in x, log(t / (1 - t)) / 4).

Every number is derived a second time from the published formulas, and the script stops where the two differ by more than 1e-12 of
the largest value of an array.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import math
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional

import make_losses
from make_losses import ROWS, SIGMA_DATA, SIZE, Array, Cases, Substitute, Terms, TorchNetwork, draw, functions_of, karras, make_network
from make_solvers import commit

Tensor = torch.Tensor
REPOSITORIES = ("torch-flow-models", "RectifiedFlow", "shortcut-models", "diffusers", "Phased-Consistency-Model", "ctm",
                "consistency_flow_matching")
NETWORKS = make_losses.NETWORKS
NETWORKS |= {"target_c2": make_network(220, 2), "unconditional_c1": make_network(230, 1)}


def tensor(value: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(value))


def col(value: Tensor) -> Tensor:
    return value.reshape(-1, 1)


def four(value: Tensor) -> Tensor:
    return value.reshape(*value.shape, *[1] * (4 - value.ndim))


def terms_of(losses: dict[str, tuple[Tensor, dict[str, TorchNetwork]]], value: dict[str, float] | None = None) -> Terms:
    """From losses per row, with the networks that they train by role."""
    return {term: {"per_row": rows.detach().numpy(), "value": np.asarray(rows.mean().item() if value is None else value[term]),
                   "gradients": {role: net.gradients(rows.mean()) for role, net in networks.items()}}
            for term, (rows, networks) in losses.items()}


def row_by_row(run: Callable[[slice], Tensor]) -> Tensor:
    return torch.stack([run(slice(i, i + 1)) for i in range(ROWS)])


def statements(file: Path, first: Callable[[ast.stmt], bool], last: Callable[[ast.stmt], bool], given: dict) -> Callable[[], dict]:
    """Those of one block from the first to the last, as a function that runs them on names and returns all names."""
    tree = ast.parse(file.read_text())
    for block in (getattr(node, part, None) for node in ast.walk(tree) for part in ("body", "orelse")):
        if isinstance(block, list) and any(map(first, block)) and any(map(last, block)):
            begin, end = next(i for i, s in enumerate(block) if first(s)), next(i for i, s in enumerate(block) if last(s))
            code = compile(ast.Module(block[begin:end + 1], []), file.name, "exec")

            def run(**names: object) -> dict:
                scope = {**given, **names}
                exec(code, scope)
                return scope
            return run
    raise SystemExit(f"{file}: no such statements")


def assigns(name: str) -> Callable[[ast.stmt], bool]:
    return lambda s: isinstance(s, ast.Assign) and getattr(s.targets[0], "id", "") == name


def tests(text: str) -> Callable[[ast.stmt], bool]:
    return lambda s: isinstance(s, ast.If) and text in ast.unparse(s.test)


@contextmanager
def in_float64() -> Iterator[None]:
    """A cast to float32 is one to float64."""
    real = Tensor.float
    Tensor.float = Tensor.double
    try:
        yield
    finally:
        Tensor.float = real


# ---- from data and pairs: the peers' time runs to the data ---------------------------------------------------------------------------

def add_reflow(cases: Cases, folder: Path) -> None:
    inputs = {"x0": draw(301, ROWS, SIZE) * 0.5, "noise": draw(302, ROWS, SIZE)}
    x0, noise = tensor(inputs["x0"]), tensor(inputs["noise"])
    drawn = np.array([0.0, 0.15, 0.4, 0.62, 0.8, 0.97])
    rectified = functions_of(folder / "torch-flow-models/src/flowmodels/rf.py", {"loss"}, {"torch": torch})
    for times, t in [("uniform", 1 - drawn), ("steps = 3", 1 - np.floor(3 * drawn) / 3), ("steps = 1", np.ones(ROWS))]:
        for peer_name in ("torch-flow-models", "RectifiedFlow"):
            network = TorchNetwork("student_c1")
            if peer_name == "torch-flow-models":
                stub = types.SimpleNamespace(forward=lambda x, t, label=None: -network(x, 1 - t))
                rows = row_by_row(lambda r: rectified.loss(stub, x0[r], t=tensor(1 - t)[r], prior=noise[r]))
            else:
                given = Substitute(torch, rand=lambda n, **_: tensor(drawn)[rows_now], zeros=torch.zeros,
                                   randint=lambda low, high, shape, **_: tensor(np.floor(high * drawn))[rows_now])
                module = functions_of(folder / "RectifiedFlow/ImageGeneration/losses.py", {"get_rectified_flow_loss_fn"}, {
                    "torch": given, "np": np, "mutils": types.SimpleNamespace(get_model_fn=lambda model, train: model)})
                schedule = {"uniform": "uniform", "steps = 3": 3, "steps = 1": "t0"}[times]
                sde = types.SimpleNamespace(reflow_flag=True, reflow_t_schedule=schedule, reflow_loss="l2", T=1.0)
                loss = module.get_rectified_flow_loss_fn(sde, True, reduce_mean=True, eps=0.0)

                def one(r: slice) -> Tensor:
                    nonlocal rows_now
                    rows_now = r
                    return loss(lambda x, t: four(-network(x[:, :, 0, 0], 1 - t / 999)), (four(noise[r]), four(x0[r])))
                rows_now = slice(None)
                rows = row_by_row(one)
            peer = terms_of({"loss": (rows, {"student": network})})
            again, time = TorchNetwork("student_c1"), tensor(t)
            out = again((1 - col(time)) * x0 + col(time) * noise, time)
            derived = terms_of({"loss": (((out - (noise - x0)) ** 2).mean(1), {"student": again})})
            case = f"reflow, {times}, {peer_name}"
            cases.check(case, peer, derived)
            cases.add(case, "reflow", f"{peer_name}, straight lines between pairs", {"times": times.split(" ")[0],
                      "steps": int(times[-1]) if "=" in times else 1}, {"student": "student_c1"}, {**inputs, "drawn": drawn, "t": t}, peer, {})


def add_shortcut(cases: Cases, folder: Path) -> None:
    # torch-flow-models: both terms of each row.
    inputs = {"x0": draw(311, ROWS, SIZE) * 0.5, "noise": draw(312, ROWS, SIZE)}
    x0, noise = tensor(inputs["x0"]), tensor(inputs["noise"])
    d, t = np.array([1, 0.5, 0.25, 0.5, 0.25, 0.25]), np.array([1, 1, 0.75, 0.5, 0.25, 1])
    shortcut = functions_of(folder / "torch-flow-models/src/flowmodels/shortcut.py", {"loss"}, {"torch": torch, "Callable": Callable})
    network = TorchNetwork("student_c2")
    stub = types.SimpleNamespace(forward=lambda x, t, d, label=None: -network(x, 1 - t, d))
    rows = row_by_row(lambda r: shortcut.loss(stub, x0[r], t=tensor(1 - t)[r], prior=noise[r], d=tensor(d / 2)[r]))
    peer = terms_of({"loss": (rows, {"student": network})})
    again, time, length = TorchNetwork("student_c2"), tensor(t), tensor(d)
    x = (1 - col(time)) * x0 + col(time) * noise
    first = again(x, time, length / 2)
    mean = (first + again(x - col(length / 2) * first, time - length / 2, length / 2)).detach() / 2
    derived = ((again(x, time, 0 * time) - (noise - x0)) ** 2).mean(1) + ((again(x, time, length) - mean) ** 2).mean(1)
    cases.check("shortcut, torch-flow-models", peer, terms_of({"loss": (derived, {"student": again})}))
    cases.add("shortcut, torch-flow-models", "shortcut", "torch-flow-models ShortcutModel.loss", {"finest": 16, "finest_jump": "zero", "clip": 0.0,
              "both_terms": True}, {"student": "student_c2"}, {**inputs, "t": t, "d": d}, peer, {})

    # The authors' own: three bootstrapped rows, then flow matching of the same rows' data and noise.
    half = ROWS // 2
    own = {"x0": np.tile(draw(313, half, SIZE) * 2, (2, 1)), "noise": np.tile(draw(314, half, SIZE) * 5, (2, 1))}
    places = {half: np.array([1.0, 1.0, 0.0]), ROWS: np.array([3.0, 0.0, 6.0, 1.0, 5.0, 7.0])}  # of the grids of d; the first ones are taken
    tree = ast.parse((folder / "shortcut-models/targets_shortcut.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value == 1e-5:
            node.value = 0.0
    random = types.SimpleNamespace(split=lambda key, count: (0, 1, 2), randint=lambda key, shape, **_: jnp.array(places[shape[0]]),
                                   normal=lambda key, shape: jnp.array(own["noise"][:shape[0]]).reshape(shape),
                                   bernoulli=lambda key, p, shape: jnp.zeros(shape, bool))
    scope = {"jax": Substitute(jax, random=random), "jnp": Substitute(jnp, float32=jnp.float64), "np": np}
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef)]  # what it imports is given
    exec(compile(tree, "targets_shortcut.py", "exec"), scope)

    def velocity(weights: dict, x: jax.Array, t: jax.Array, k: jax.Array) -> jax.Array:
        joined = jnp.concatenate([x[:, 0, 0, :], (1 - t)[:, None], (0.5**k)[:, None]], 1)
        hidden = jnp.tanh(joined @ weights["W1"].T + weights["b1"])
        return -(hidden @ weights["W2"].T + weights["b2"])[:, None, None, :]

    weights, target = ({k: jnp.array(v) for k, v in NETWORKS[name].items()} for name in ("student_c2", "target_c2"))
    flags = types.SimpleNamespace(batch_size=ROWS, model={"bootstrap_every": 2, "denoise_timesteps": 8, "bootstrap_dt_bias": 0,
                                                          "bootstrap_ema": 1, "bootstrap_cfg": 0, "class_dropout_prob": 0.1, "num_classes": 1})
    state = types.SimpleNamespace(call_model_ema=lambda x, t, k, labels, train: velocity(target, x, t, k))
    images = jnp.array(own["x0"]).reshape(ROWS, 1, 1, SIZE)
    x, wanted, t, k, *_ = scope["get_targets"](flags, 0, state, images, jnp.zeros(ROWS, int))

    def per_row(w: dict) -> jax.Array:
        return jnp.mean((velocity(w, x, t, k) - wanted) ** 2, axis=(1, 2, 3))
    gradients = jax.grad(lambda w: per_row(w).mean())(weights)
    peer = {"loss": {"per_row": np.asarray(per_row(weights)), "value": np.asarray(per_row(weights).mean()),
                     "gradients": {"student": {n: np.asarray(gradients[n]) for n in ("W1", "b1", "W2", "b2")}}}}
    length = torch.tensor([0.25, 0.5, 1, 0.125, 0.125, 0.125])
    time = 1 - torch.cat([tensor(places[half]) * length[:half], tensor(places[ROWS][:half]) / 8])
    x0, noise = tensor(own["x0"]), tensor(own["noise"])
    student, ema = TorchNetwork("student_c2"), TorchNetwork("target_c2")
    state_t = (1 - col(time)) * x0 + col(time) * noise
    first = ema(state_t, time, length / 2)
    middle = (state_t - col(length / 2) * first).clamp(-4, 4)
    mean = ((first + ema(middle, time - length / 2, length / 2)) / 2).clamp(-4, 4)
    target_of = torch.where(torch.arange(ROWS)[:, None] < half, mean, noise - x0).detach()
    derived = {"loss": (((student(state_t, time, length) - target_of) ** 2).mean(1), {"student": student})}
    assert (middle.abs() == 4).any() and (middle.abs() < 4).any()
    cases.check("shortcut, shortcut-models", peer, terms_of(derived))
    cases.add("shortcut, shortcut-models", "shortcut", "kvfrans/shortcut-models get_targets", {"finest": 8, "finest_jump": "step", "clip": 4.0,
              "both_terms": False}, {"student": "student_c2", "target": "target_c2"}, {**own, "t": time.numpy(), "d": length.numpy()}, peer, {})


def add_consistency_fm(cases: Cases, folder: Path) -> None:
    inputs = {"x0": draw(321, ROWS, SIZE) * 0.5, "noise": draw(322, ROWS, SIZE)}
    x0, noise = tensor(inputs["x0"]), tensor(inputs["noise"])
    file = folder / "consistency_flow_matching/losses.py"
    for peer_name, segments, below, interval, weight, place in [
            ("torch-flow-models", 1, 0.0, 0.05, 0.3, np.array([1, 0.83, 0.6, 0.41, 0.22, 0.11])),
            ("consistency_flow_matching", 2, 0.1, 0.05, 0.3, np.array([1, 0.83, 0.6, 0.41, 0.22, 0.04])),
            ("consistency_flow_matching", 3, 0.1, 0.01, 1e-5, np.array([0.99, 0.7, 0.6, 0.41, 0.2, 0.07]))]:
        network = TorchNetwork("student_c1")
        if peer_name == "torch-flow-models":
            support = type("EMASupports", (), {"__class_getitem__": lambda *_: support, "reduce": lambda own, ema: own})
            module = functions_of(folder / "torch-flow-models/src/flowmodels/consistencyfm.py", {"loss"}, {"torch": torch,
                                  "EMASupports": support, "Self": object})
            stub = types.SimpleNamespace(forward=lambda x, t, label=None: -network(x, 1 - t))
            rows = row_by_row(lambda r: module.loss(stub, x0[r], t=tensor(1 - place)[r], prior=noise[r], delta_t=interval, alpha=weight))
        else:
            class Model:
                def train(self, mode: bool) -> None:
                    pass

                def __call__(self, x: Tensor, t: Tensor) -> Tensor:
                    return four(-network(x[:, :, 0, 0], 1 - t / 999))
            rows_now = slice(None)
            generator = types.SimpleNamespace(get_rng_state=lambda: None, set_rng_state=lambda _: None)
            given = Substitute(torch, rand=lambda n, **_: tensor(1 - place)[rows_now], cuda=generator)
            module = functions_of(file, {"get_consistency_flow_matching_loss_fn"}, {"torch": given, "np": np})
            settings = {"delta": interval, "num_segments": segments, "boundary": 1 - below, "alpha": weight}
            sde = types.SimpleNamespace(reflow_flag=False, T=1.0, consistencyfm_hyperparameters=settings, get_z0=lambda _: four(noise[rows_now]))
            loss = module.get_consistency_flow_matching_loss_fn(sde, True, reduce_mean=True, eps=0.0)

            def one(r: slice) -> Tensor:
                nonlocal rows_now
                rows_now = r
                return loss(Model(), four(x0[r]))
            rows = row_by_row(one)
        peer = terms_of({"loss": (rows, {"student": network})})
        again, t = TorchNetwork("student_c1"), tensor(place)
        end, s = (torch.ceil(t * segments) - 1) / segments, t - interval
        x, x_s = ((1 - col(time)) * x0 + col(time) * noise for time in (t, s))
        u, u_s = again(x, t), again(x_s, s).detach()
        of_data = col(s < below)
        wanted = torch.where(of_data, (1 - col(end)) * x0 + col(end) * noise, x_s + col(end - s) * u_s)
        derived = ((x + col(end - t) * u - wanted) ** 2).mean(1) + weight * ((u - u_s) ** 2).mean(1) * ~of_data[:, 0]
        case = f"consistency_fm, {segments} segments, {peer_name}"
        cases.check(case, peer, terms_of({"loss": (derived, {"student": again})}))
        cases.add(case, "consistency_fm", peer_name, {"segments": segments, "interval": interval, "velocity_weight": weight, "data_below": below},
                  {"student": "student_c1"}, {**inputs, "t": place}, peer, {})


def add_imm(cases: Cases, folder: Path) -> None:
    inputs = {"x0": draw(331, ROWS, SIZE) * 0.5, "noise": draw(332, ROWS, SIZE)}
    order = np.array([0, 2, 4, 1, 3, 5])  # a pair's rows follow each other here, and are half a batch apart there
    t, part = np.array([0.9, 0.5, 0.2]), np.array([0.3, 0.8, 0.9])
    given = Substitute(torch, rand=lambda n, **_: tensor(part))
    module = functions_of(folder / "torch-flow-models/src/flowmodels/imm.py", {"EDMCoeff", "IMMScheulder", "InductivMomentMatching"}, {
        "torch": given, "np": np, "nn": types.SimpleNamespace(Module=type("Module", (), {})), "dataclass": dataclass, "Literal": Literal,
        "ODEModel": type("A", (), {}), "ForwardProcessSupports": type("B", (), {}), "PredictionSupports": type("C", (), {}),
        "SamplingSupports": type("D", (), {}), "MultistepConsistencySampler": object})
    scheduler = module.IMMScheulder(sigma_d=1.0, k=10)  # a larger decrement than by default, so that it matters
    model = object.__new__(module.InductivMomentMatching)
    model.scheduler = scheduler

    def pairs(network: TorchNetwork, groups: slice) -> Tensor:
        def raw(x: Tensor, label: Tensor) -> Tensor:
            time = label / 1000
            return -network(x, (time / (1 - time)).log() / 4)
        model.F0 = types.SimpleNamespace(forward=raw)
        nonlocal part_now
        part_now = groups
        given.rand = lambda n, **_: tensor(part)[groups]
        rows = np.concatenate([np.arange(0, ROWS, 2)[groups], np.arange(1, ROWS, 2)[groups]])
        return model.loss(tensor(inputs["x0"])[rows], t=tensor(t)[groups], prior=tensor(inputs["noise"])[rows])
    part_now = slice(None)
    network = TorchNetwork("student_c1")
    rows = torch.stack([pairs(network, slice(i // 2, i // 2 + 1)) for i in range(ROWS)])
    peer = terms_of({"loss": (rows, {"student": network})}, {"loss": pairs(network, slice(None)).item()})

    again = TorchNetwork("student_c1")
    time, end = (tensor(np.repeat(v, 2)) for v in (t, t * part))
    level = time / (1 - time) - 160 / 2**10
    r = torch.maximum(level / (1 + level), end)
    x0, noise = tensor(inputs["x0"]), tensor(inputs["noise"])

    def jump(at: Tensor) -> Tensor:
        x, radius = (1 - col(at)) * x0 + col(at) * noise, ((1 - col(at)) ** 2 + col(at) ** 2).sqrt()
        data = (1 - col(at)) / radius**2 * x + col(at) / radius * again(x / radius, (at / (1 - at)).log() / 4)
        return (1 - col(end)) * data + col(end) / col(at) * (x - (1 - col(at)) * data)
    y, z = jump(time), jump(r).detach()
    log_snr = 2 * ((1 - time) / time).log()
    weight = torch.sigmoid(5 - log_snr) / (time * (1 - time)) * (1 - time) / ((1 - time) ** 2 * time**2)
    sharp = ((1 - time) ** 2 + time**2).sqrt() / time
    other = torch.tensor([1, 0, 3, 2, 5, 4])

    def k(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-sharp * ((a - b) ** 2).mean(1))
    derived = weight * (k(y, y[other]) + k(z, z[other]) - k(y, z[other]) - k(y[other], z))
    assert (r > end).any() and (r == end).any()
    cases.check("imm", peer, terms_of({"loss": (derived, {"student": again})}))
    cases.add("imm", "imm", "torch-flow-models InductivMomentMatching.loss", {"decrement": 160 / 2**10, "particles": 2}, {"student": "student_c1"},
              {**inputs, "t": time.numpy(), "s": end.numpy(), "part": np.repeat(part, 2)}, peer, {})


# ---- with a teacher --------------------------------------------------------------------------------------------------------------------

STEPS, BETA_START, BETA_END = 20, 0.01, 0.3
ALPHAS_BAR = torch.cumprod(1 - torch.linspace(BETA_START, BETA_END, STEPS), 0)


class Script:
    """What the training scripts of diffusers' kind have around them."""

    def __init__(self, file: Path, index: Array, omega: Array, noise: Tensor) -> None:
        self.functions = functions_of(file, {"DDIMSolver", "append_dims", "extract_into_tensor"} |
                                      ({"get_predicted_original_sample", "get_predicted_noise", "scalings_for_boundary_conditions"}
                                       if "lcm" in file.name else
                                       {"predicted_origin", "scalings_for_boundary_conditions_target", "scalings_for_boundary_conditions_online"}),
                                      {"torch": torch, "np": np})
        self.index, self.omega, self.noise = index, omega, noise
        self.conditional, self.unconditional = TorchNetwork("teacher_c1"), TorchNetwork("unconditional_c1")

    def names(self, rows: slice, count: int, **more: object) -> dict:
        def guided_teacher(x: Tensor, step: Tensor, encoder_hidden_states: Tensor, **_: object) -> types.SimpleNamespace:
            network = self.conditional if encoder_hidden_states.item() == 1 else self.unconditional
            return types.SimpleNamespace(sample=four(network(x[:, :, 0, 0], (step + 1) / STEPS)))

        def add_noise(x: Tensor, noise: Tensor, step: Tensor) -> Tensor:
            return four(ALPHAS_BAR[step].sqrt()) * x + four((1 - ALPHAS_BAR[step]).sqrt()) * noise
        config = types.SimpleNamespace(num_train_timesteps=STEPS, prediction_type="epsilon")
        return {**vars(self.functions), "np": np, "copy": copy, "F": torch.nn.functional, "nullcontext": nullcontext,
                "solver": self.functions.DDIMSolver(ALPHAS_BAR.numpy(), STEPS, count),
                "noise_scheduler": types.SimpleNamespace(config=config, add_noise=add_noise),
                "alpha_schedule": ALPHAS_BAR.sqrt(), "sigma_schedule": (1 - ALPHAS_BAR).sqrt(), "teacher_unet": guided_teacher,
                "weight_dtype": torch.float64, "encoded_text": {"prompt_embeds": torch.tensor(1.0)}, "uncond_prompt_embeds": torch.tensor(0.0),
                "accelerator": types.SimpleNamespace(device=types.SimpleNamespace(type="cpu"), print=lambda *_: None), **more}


def guided_step(x: Tensor, t: Array, s: Array, omega: Tensor, networks: list[TorchNetwork]) -> Tensor:
    """DDIM from t to s, which count from 1."""
    conditional, unconditional = (net(x, tensor(t) / STEPS) for net in networks)
    eps = conditional + col(omega) * (conditional - unconditional)
    return ddim(x, eps, t, s).detach()


def ddim(x: Tensor, eps: Tensor, t: Array, s: Array) -> Tensor:
    a_t, a_s = (col(ALPHAS_BAR[torch.from_numpy(time).long() - 1]) for time in (t, s))
    return a_s.sqrt() * (x - (1 - a_t).sqrt() * eps) / a_t.sqrt() + (1 - a_s).sqrt() * eps


def add_lcm(cases: Cases, folder: Path) -> None:
    file, count, huber = folder / "diffusers/examples/consistency_distillation/train_lcm_distill_sd_wds.py", 5, 0.05
    index, omega = np.array([4, 0, 2, 3, 1, 4]), np.array([2.0, 5.0, 8.0, 11.0, 14.0, 3.0])
    inputs = {"x0": draw(341, ROWS, SIZE) * 0.5, "noise": draw(342, ROWS, SIZE)}
    x0, noise = tensor(inputs["x0"]), tensor(inputs["noise"])
    t = (index + 1.0) * (STEPS // count)
    s = np.where(index == 0, 1.0, t - STEPS // count)
    script = Script(file, index, omega, noise)
    student, target = TorchNetwork("student_c2"), TorchNetwork("target_c2")

    def unet(network: TorchNetwork) -> Callable[..., types.SimpleNamespace]:
        return lambda x, step, timestep_cond, **_: types.SimpleNamespace(
            sample=four(network(x[:, :, 0, 0], (step + 1) / STEPS, (2 + timestep_cond).log())))

    def one(rows: slice) -> Tensor:
        drawn = Substitute(torch, randint=lambda *_, **__: tensor(index)[rows], randn_like=lambda _: four(noise[rows]),
                           rand=lambda *_: tensor((omega[rows] - 2) / 12), autocast=lambda *_, **__: nullcontext())
        names = script.names(rows, count, torch=drawn, unet=unet(student), target_unet=unet(target), latents=four(x0[rows]), bsz=len(x0[rows]),
                             guidance_scale_embedding=lambda w, **_: w, time_cond_proj_dim=1,
                             args=types.SimpleNamespace(num_ddim_timesteps=count, w_min=2.0, w_max=14.0, loss_type="huber", huber_c=huber,
                                                        timestep_scaling_factor=10.0))
        own = names["scalings_for_boundary_conditions"]  # counts from 0; ours from 1
        names["scalings_for_boundary_conditions"] = lambda step, **more: own(torch.where(step > 0, step + 1, step), **more)
        run = statements(file, assigns("topk"), tests("loss_type"), names)
        with in_float64():
            return run()["loss"]
    rows = row_by_row(one)
    peer = terms_of({"loss": (rows, {"student": student})})

    again, w, time, end = TorchNetwork("student_c2"), tensor(omega), tensor(t), tensor(s)

    def f(net: TorchNetwork, x: Tensor, at: Tensor) -> Tensor:
        a = col(ALPHAS_BAR[at.long() - 1])
        data = (x - (1 - a).sqrt() * net(x, at / STEPS, (2 + w).log())) / a.sqrt()
        return (0.25 * x + 10 * col(at) * (100 * col(at) ** 2 + 0.25).sqrt() * data) / (100 * col(at) ** 2 + 0.25)
    a_t = col(ALPHAS_BAR[time.long() - 1])
    x = a_t.sqrt() * x0 + (1 - a_t).sqrt() * noise
    x_s = guided_step(x, t, s, w, [script.conditional, script.unconditional])
    wanted = torch.where(col(end) == 1, x_s, f(target, x_s, end)).detach()
    derived = (((f(again, x, time) - wanted) ** 2 + huber**2).sqrt() - huber).mean(1)
    cases.check("lcm", peer, terms_of({"loss": (derived, {"student": again})}))
    cases.add("lcm", "lcm", "diffusers train_lcm_distill_sd_wds.py, from the draw of the times to the loss", {"huber_c": huber, "time_scale": 10.0},
              {"student": "student_c2", "target": "target_c2", "teacher": "teacher_c1", "unconditional": "unconditional_c1"},
              {**inputs, "t": t, "s": s, "interval": count - 1 - index, "grid": np.array([20.0, 16, 12, 8, 4, 1]), "w": 1 + omega}, peer,
              {"x_s": x_s.numpy()})


def add_pcm(cases: Cases, folder: Path) -> None:
    scripts = folder / "Phased-Consistency-Model/code/text_to_image_sdxl"
    file, count, phases, huber, omega = scripts / "train_pcm_lora_sdxl_adv.py", 10, 2, 0.05, 3.0
    index, gan = np.array([9, 0, 5, 4, 7, 2]), np.array([11, 5, 17, 3, 9, 0])  # the latter counts from 0
    inputs = {"x0": draw(351, ROWS, SIZE) * 0.5, "noise": draw(352, ROWS, SIZE), "noise_real": draw(353, ROWS, SIZE),
              "noise_fake": draw(354, ROWS, SIZE)}
    x0, noise, real_noise, fake_noise = (tensor(v) for v in inputs.values())
    travel = functions_of(scripts / "scheduling_ddpm_modified.py", {"noise_travel"}, {"torch": torch}).noise_travel
    judges = functions_of(scripts / "discriminator_sdxl.py", {"d_loss", "g_loss"}, {"torch": torch})
    script = Script(file, index, np.full(ROWS, omega), noise)
    student, discriminator = TorchNetwork("student_c1"), TorchNetwork("discriminator")
    table = types.SimpleNamespace(alphas_cumprod=ALPHAS_BAR)

    def unet(x: Tensor, step: Tensor, **_: object) -> types.SimpleNamespace:
        return types.SimpleNamespace(sample=four(student(x[:, :, 0, 0], (step + 1) / STEPS)))
    judge = types.SimpleNamespace(head_num=1, num_h_per_head=1,
                                  _forward=lambda x, step, *_: [discriminator(x[:, :, 0, 0], (step + 1) / STEPS)])

    def one(rows: slice) -> dict[str, Tensor]:
        noises = iter([four(real_noise[rows]), four(fake_noise[rows])])

        def randint(low: int, high: int, shape: tuple, device: object, dtype: torch.dtype | None = None) -> Tensor:
            if dtype is None:  # of the times; with it, of those where the discriminator looks
                return tensor(index)[rows]
            assert low <= gan[rows][0] < high
            return tensor(gan)[rows]
        drawn = Substitute(torch, randint=randint, randn_like=lambda _: next(noises), rand=torch.rand, autocast=lambda *_, **__: nullcontext())
        names = script.names(rows, count, torch=drawn, unet=unet, latents=four(x0[rows]), bsz=1, noise=four(noise[rows]),
                             uncond_pooled_prompt_embeds=torch.tensor(0.0),
                             args=types.SimpleNamespace(num_ddim_timesteps=count, multiphase=phases, w_min=omega, w_max=omega,
                                                        not_apply_cfg_solver=False, loss_type="huber", huber_c=huber))
        names["encoded_text"]["text_embeds"] = torch.tensor(1.0)
        names["noise_scheduler"].noise_travel = lambda *given: travel(table, *given)
        with in_float64():
            scope = statements(file, assigns("topk"), assigns("fake_gan"), names)()
            loss = statements(file, tests("loss_type"), tests("loss_type"), scope)()["loss"]
            real, fake, at = scope["real_gan"], scope["fake_gan"], scope["gan_timesteps"]
            return {"generator": loss, "gan_generator": judges.g_loss(judge, fake, at, None, None, 1),
                    "discriminator": judges.d_loss(judge, fake, real, at, None, None, 1)}
    rows = [one(slice(i, i + 1)) for i in range(ROWS)]
    trained = {"generator": {"student": student}, "gan_generator": {"student": student}, "discriminator": {"discriminator": discriminator}}
    peer = terms_of({term: (torch.stack([row[term] for row in rows]), nets) for term, nets in trained.items()})

    again, other = TorchNetwork("student_c1"), TorchNetwork("discriminator")
    t = (index + 1.0) * 2
    s, end = np.where(index == 0, 1.0, t - 2), np.where(index >= 5, 10.0, 1.0)
    a_t = col(ALPHAS_BAR[torch.from_numpy(t).long() - 1])
    x = a_t.sqrt() * x0 + (1 - a_t).sqrt() * noise
    x_s = guided_step(x, t, s, torch.full((ROWS,), omega), [script.conditional, script.unconditional])
    wanted = torch.where(col(tensor(s == end)), x_s, ddim(x_s, again(x_s, tensor(s) / STEPS), s, end)).detach()
    made = ddim(x, again(x, tensor(t) / STEPS), t, end)
    ratio = col(ALPHAS_BAR[torch.from_numpy(gan)] / ALPHAS_BAR[torch.from_numpy(end).long() - 1])

    def logit(state: Tensor, added: Tensor) -> Tensor:
        return other(ratio.sqrt() * state + (1 - ratio).sqrt() * added, tensor(gan + 1.0) / STEPS)[:, 0]
    derived = terms_of({
        "generator": ((((made - wanted) ** 2 + huber**2).sqrt() - huber).mean(1), {"student": again}),
        "gan_generator": (torch.relu(1 - logit(made, fake_noise)), {"student": again}),
        "discriminator": (torch.relu(1 + logit(made.detach(), fake_noise)) + torch.relu(1 - logit(wanted, real_noise)), {"discriminator": other})})
    cases.check("pcm", peer, derived)
    grid = np.array([20.0, 18, 16, 14, 12, 10, 8, 6, 4, 2, 1])
    part = (gan + 1 - end) / (np.where(index >= 5, 20.0, 10.0) - end)
    cases.add("pcm", "pcm", "Phased-Consistency-Model train_pcm_lora_sdxl_adv.py, from the draw of the times to both losses", {"huber_c": huber,
              "phases": phases, "guidance": 1 + omega}, {"student": "student_c1", "teacher": "teacher_c1", "unconditional": "unconditional_c1",
                                                       "discriminator": "discriminator"},
              {**inputs, "t": t, "s": s, "end": end, "interval": count - 1 - index, "grid": grid, "part": part}, peer, {"x_s": x_s.numpy()})


def add_ctm(cases: Cases, folder: Path) -> None:
    count = 8  # levels karras(7, 0 … 7)
    at_t, steps, at_s = np.array([0, 1, 3, 4, 6, 2]), np.array([3, 1, 2, 3, 1, 2]), np.array([5, 7, 7, 7, 7, 4])
    inputs = {"x0": draw(361, ROWS, SIZE) * 0.5, "noise": draw(362, ROWS, SIZE), "denoising_t": np.exp(draw(363, ROWS)),
              "denoising_noise": draw(364, ROWS, SIZE)}
    x0, noise, level, more_noise = (tensor(v) for v in inputs.values())
    methods = {"get_t", "get_c_in", "get_snr", "get_inner_scalings", "get_outer_scalings", "get_edm_scalings", "get_denoised", "rescaling_t",
               "get_denoised_and_G", "heun_solver", "get_ctm_estimate", "get_ctm_target", "get_DSM_loss"}
    nn = functions_of(folder / "ctm/code/cm/nn.py", {"mean_flat", "append_dims"}, {})
    free = functions_of(folder / "ctm/code/cm/karras_diffusion.py", {"get_weightings"}, {"th": torch})
    noises: list[Tensor] = []
    given = {"th": Substitute(torch, randn_like=lambda _: noises[0]), "append_dims": nn.append_dims, "mean_flat": nn.mean_flat,
             "get_weightings": free.get_weightings, "dist_util": types.SimpleNamespace(dev=lambda: "cpu")}
    found = functions_of(folder / "ctm/code/cm/karras_diffusion.py", methods, given)
    peer_class = type("Denoiser", (), {**vars(found), "adopt_weight": lambda self, weight, *_, **__: weight})
    denoiser = peer_class()
    denoiser.args = types.SimpleNamespace(sigma_data=SIGMA_DATA, sigma_min=0.002, sigma_max=80.0, rho=7.0, start_scales=count, time_continuous=False,
                                          inner_parametrization="no", outer_parametrization="euler", target_subtract=False, self_learn=False,
                                          large_log=False, training_mode="ctm", apply_adaptive_weight=False, diffusion_weight_schedule="karras_weight")
    student = TorchNetwork("student_c2")
    fixed = TorchNetwork("student_c2")
    for weight in fixed.weights.values():
        weight.requires_grad_(False)
    teacher = TorchNetwork("teacher_c1")
    denoiser.teacher_model = lambda x, t, s=None, **_: teacher(x, t / 1000)

    def g(network: TorchNetwork) -> Callable[..., Tensor]:
        """Their network says g = x - t u of c_in x and 250 log t."""
        def call(x: Tensor, t: Tensor, s: Tensor, **_: object) -> Tensor:
            sigma = col((t / 250).exp())
            return x * (sigma**2 + SIGMA_DATA**2).sqrt() - sigma * network(x, t / 1000, (t - s) / 1000)
        return call

    def one(rows: slice) -> dict[str, Tensor]:
        i, n, j = (tensor(v)[rows] for v in (at_t, steps, at_s))
        t, u, s = (denoiser.get_t(place) for place in (i, i + n, j))
        x = x0[rows] + col(t) * noise[rows]
        x_u = denoiser.heun_solver(None, x, i, 2, t, u, num_step=n.item())
        noises[:] = [more_noise[rows]]
        denoiser.diffusion_schedule_sampler = types.SimpleNamespace(sample=lambda *_: (level[rows], None))
        estimate = denoiser.get_ctm_estimate(x, t, u, s, g(student), g(fixed), ctm=True, outer_type="target_model_sg", inner_type="model",
                                             target_matching=False)
        target = denoiser.get_ctm_target(x_u, u, s, g(student), g(fixed), ctm=True, inner_type="target_model_sg")
        return {"consistency": ((estimate - target) ** 2).mean(), "denoising": denoiser.get_DSM_loss(g(student), x0[rows], {}, None, 0, 0).mean()}
    rows = [one(slice(k, k + 1)) for k in range(ROWS)]
    peer = terms_of({term: (torch.stack([row[term] for row in rows]), {"student": student}) for term in rows[0]})

    again, still = TorchNetwork("student_c2"), TorchNetwork("student_c2")
    for weight in still.weights.values():
        weight.requires_grad_(False)
    grid = karras(count - 1, np.arange(count, dtype=float))
    t, u, s = (tensor(grid[place]) for place in (at_t, at_t + steps, at_s))
    end = torch.full((ROWS,), grid[-1])

    def scaled(x: Tensor, sigma: Tensor) -> Tensor:
        return x / (col(sigma) ** 2 + SIGMA_DATA**2).sqrt()

    def jump(net: TorchNetwork, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return x + col(b - a) * net(scaled(x, a), a.log() / 4, (a / b).log() / 4)

    def slope(x: Tensor, sigma: Tensor) -> Tensor:
        out = teacher(scaled(x, sigma), sigma.log() / 4)
        data = (SIGMA_DATA**2 * x / (col(sigma) ** 2 + SIGMA_DATA**2) + col(sigma) * SIGMA_DATA / (col(sigma) ** 2 + SIGMA_DATA**2).sqrt() * out)
        return (x - data) / col(sigma)
    x = x0 + col(t) * noise
    x_u = x
    for k in range(3):
        a, b = (tensor(grid[np.minimum(at_t + k + more, count - 1)]) for more in (0, 1))
        first = slope(x_u, a)
        heun = x_u + col(b - a) * (first + slope(x_u + col(b - a) * first, b)) / 2
        x_u = torch.where(col(tensor(k < steps)), heun, x_u).detach()
    made, wanted = (jump(still, state, s, end) for state in (jump(again, x, t, s), jump(still, x_u, u, s)))
    noised = x0 + col(level) * more_noise
    data = noised - col(level) * again(scaled(noised, level), level.log() / 4, 0 * level)
    derived = terms_of({"consistency": (((made - wanted) ** 2).mean(1), {"student": again}),
                        "denoising": ((1 / level**2 + 1 / SIGMA_DATA**2) * ((data - x0) ** 2).mean(1), {"student": again})})
    cases.check("ctm", peer, derived)
    cases.add("ctm", "ctm", "sony/ctm KarrasDenoiser get_ctm_estimate, heun_solver, get_ctm_target, get_DSM_loss", {"solver_steps": 3},
              {"student": "student_c2", "teacher": "teacher_c1"}, {**inputs, "grid": grid, "interval": at_t, "steps": steps, "at_s": at_s}, peer,
              {"x_u": x_u.numpy()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=Path("."), help="folder that has the checkouts")
    folder, cases = parser.parse_args().peers, Cases()
    commits = {name: commit(folder / name) for name in REPOSITORIES}
    for add in (add_reflow, add_shortcut, add_consistency_fm, add_imm, add_lcm, add_pcm, add_ctm):
        add(cases, folder)
    head = {"made_by": "tests/parity/make_trajectory.py", "peers": commits,
            "betas": {"beta_start": BETA_START, "beta_end": BETA_END, "num_train_timesteps": STEPS}}
    used = {name for case in cases.all for name in case["networks"].values()}
    networks = ",\n".join(f'  "{k}": ' + json.dumps({key: w.tolist() for key, w in NETWORKS[k].items()}) for k in sorted(used))
    lines = ",\n".join("  " + json.dumps(case) for case in cases.all)
    text = json.dumps(head, indent=1)[:-2] + ',\n "networks": {\n' + networks + '\n },\n "cases": [\n' + lines + "\n ]\n}\n"
    json.loads(text)
    (Path(__file__).parent / "trajectory.json").write_text(text)
    print(f"{len(cases.all)} cases, at most {cases.largest_difference:.1e} from the formulas")


if __name__ == "__main__":
    main()
