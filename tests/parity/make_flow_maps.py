#!/usr/bin/env python3
"""Makes flow_maps.json: losses of flow maps and their gradients for a small network, for tests/plugins/losses_flow_map_parity.cpp.

    pip install torch jax numpy scipy
    git clone https://github.com/revsic/torch-flow-models
    git clone https://github.com/lumalabs/tvm
    git clone https://github.com/ali-vilab/FACM
    git clone https://github.com/WZDTHU/TiM
    git clone https://github.com/NVlabs/AnyFlow
    git clone https://github.com/Lyy-iiis/imeanflow
    git clone https://github.com/simchowitzlabpublic/much-ado-about-noising
    OMP_NUM_THREADS=1 python make_flow_maps.py --peers .

The network is that of make_losses.py: u(x, t, s) = W2 tanh(W1 [x; t; t - s] + b1) + b2, on x_t = (1 - t) x0 + t noise; without the
last column where a case has networks of one time. Times are multiples of 1 / 64, which float32 holds. FACM and much-ado-about-noising
count time from noise to data: u(x, t, s) is minus their F(x, 1 - t, 1 - s). The peers' functions are taken out of their files and run in
float64; their casts to float32 are made void. None of their code is kept here.

Every number is derived a second time from the published formulas, with the network's derivative in x and both times written out. The
script stops where the two differ by more than 1e-12 of the largest value of an array.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import random
import tempfile
import types
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F

from make_losses import NETWORKS, ROWS, SIZE, Array, Cases, Substitute, Terms, TorchNetwork, draw, functions_of, with_rows
from make_solvers import commit

Tensor = torch.Tensor
T = np.array([24, 38, 58, 36, 45, 60]) / 64
S = np.array([24, 38, 12, 33, 0, 0]) / 64  # of which two are t
APART = np.array([10, 21, 12, 33, 0, 0]) / 64  # none is t
OTHER = np.array([7, 51, 30, 16, 62, 40]) / 64
STEP = 1 / 128  # of central differences
INPUTS = {"x0": draw(61, ROWS, SIZE) * 0.7, "noise": draw(62, ROWS, SIZE), "t": T, "s": S, "apart": APART, "other": OTHER}
REPOSITORIES = ("torch-flow-models", "tvm", "FACM", "TiM", "AnyFlow", "imeanflow", "much-ado-about-noising")
Run = Callable[[slice], "tuple[Tensor, TorchNetwork]"]


def given(rows: slice) -> types.SimpleNamespace:
    """Rows of the inputs as tensors, with x at t and the velocity."""
    out = types.SimpleNamespace(**{k: torch.from_numpy(np.ascontiguousarray(v[rows])) for k, v in INPUTS.items()})
    out.x, out.velocity = at_time(out, out.t), out.noise - out.x0
    return out


def at_time(g: types.SimpleNamespace, t: Tensor) -> Tensor:
    return (1 - t)[:, None] * g.x0 + t[:, None] * g.noise


class Formula(TorchNetwork):
    """u(x, t, s), and its derivative along (dx, dt, ds), written out."""

    def columns(self, t: Tensor, s: Tensor | None) -> list[Tensor]:
        return [t] if s is None else [t, t - s]

    def u(self, x: Tensor, t: Tensor, s: Tensor | None) -> Tensor:
        return self(x, *self.columns(t, s))

    def slope(self, x: Tensor, t: Tensor, s: Tensor | None, dx: Tensor, dt: float, ds: float = 0.0) -> Tensor:
        h = self.hidden(torch.cat([x, *[c[:, None] for c in self.columns(t, s)]], 1))
        one = torch.ones_like(t)[:, None]
        along = torch.cat([dx, dt * one] if s is None else [dx, dt * one, (dt - ds) * one], 1)
        return ((1 - h**2) * (along @ self.weights["W1"].T)) @ self.weights["W2"].T


class Peers:
    def __init__(self, folder: Path) -> None:
        self.folder, self.commits = folder, {name: commit(folder / name) for name in REPOSITORIES}

    def functions(self, path: str, names: set[str], scope: dict) -> types.SimpleNamespace:
        """Functions and classes of a file, whose casts to float32 are to float64."""
        text = (self.folder / path).read_text().replace(".float()", ".double()").replace("torch.float32", "torch.float64")
        with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
            file.write(text)
            file.flush()
            return functions_of(Path(file.name), names, scope)


def torch_with(**members: object) -> Substitute:
    """torch on a machine without CUDA, in which a peer keeps the state of its random numbers."""
    cuda = types.SimpleNamespace(get_rng_state=lambda: None, set_rng_state=lambda _: None)
    return Substitute(torch, cuda=cuda, **members)


def add(cases: Cases, name: str, loss: str, peer: str, settings: dict, network: str, run: Run, formula: Callable[[Formula], Tensor],
        coupled: bool = False) -> None:
    """A case, if the peer's value and gradients are the formula's. coupled: rows that only make sense together."""
    derived_network = Formula(network)
    per_row = formula(derived_network)
    derived: Terms = {"loss": {"per_row": per_row.detach().numpy(), "gradients": {"student": derived_network.gradients(per_row.mean())}}}
    if coupled:
        value, of = run(slice(None))
        peers_numbers: Terms = {"loss": {"value": np.asarray(value.item()), "per_row": per_row.detach().numpy(),
                                         "gradients": {"student": of.gradients(value)}}}
    else:
        def terms(rows: slice) -> dict:
            value, of = run(rows)
            return {"loss": (value, {"student": of})}
        peers_numbers = with_rows(terms)
    cases.check(name, peers_numbers, derived)
    cases.add(name, loss, peer, settings, {"student": network}, INPUTS, derived, {})


def add_align_your_flow(cases: Cases, peers: Peers) -> None:
    module = peers.functions("torch-flow-models/src/flowmodels/alignyourflow.py", {"loss"}, {"torch": torch})
    for steps, warmup, r in [(0, None, 0.99), (3, 10, 0.3)]:
        def run(rows: slice) -> tuple[Tensor, TorchNetwork]:
            g, network = given(rows), TorchNetwork("student_c2")
            stub = types.SimpleNamespace(teacher=None, tangent_warmup=warmup, _steps=steps, c=0.1, max_r=0.99,
                                         forward=lambda x, t, s, label: network(x, t, t - s))
            return module.loss(stub, g.x0, g.t, g.noise, None, g.s), network

        def formula(n: Formula) -> Tensor:
            g = given(slice(None))
            gap = (g.s - g.t)[:, None]
            d = g.velocity - n.u(g.x, g.t, g.s) + r * gap * n.slope(g.x, g.t, g.s, g.velocity, 1)
            direction = (d / (d.norm(dim=1, keepdim=True) + 0.1)).detach()
            moved = gap * n.u(g.x, g.t, g.s)
            return (moved - moved.detach() + direction).square().mean(1)
        add(cases, f"align_your_flow, r {r}", "align_your_flow", "torch-flow-models AlignYourFlow.loss", {"tangent_share": r, "warmup": 0},
            "student_c2", run, formula)


def add_tvm(cases: Cases, peers: Peers) -> None:
    amp = types.SimpleNamespace(autocast=lambda *_, **__: nullcontext())
    module = peers.functions("tvm/training/wrapper.py", {"forward_model", "get_dfds", "forward"}, {"torch": torch_with(amp=amp)})
    for detach in (False, True):
        def run(rows: slice) -> tuple[Tensor, TorchNetwork]:
            g, network = given(rows), TorchNetwork("student_c2")
            stub = types.SimpleNamespace(dtype=torch.float64, label_dim=0, detach_jvp=detach, do_scale_param=False)
            stub.model = lambda x, t, gap, *_, **__: network(x[:, :, 0, 0], t, gap)[:, :, None, None]
            stub.forward_model = lambda *a, **k: module.forward_model(stub, *a, **k)
            stub.get_dfds = lambda *a, **k: module.get_dfds(stub, *a, **k)
            t, s, other = (a[:, None, None, None] for a in (g.t, g.s, g.other))
            picture = [a[:, :, None, None] for a in (g.x, at_time(g, g.other), g.velocity)]
            loss, _ = module.forward(stub, picture[0], picture[1], t, s, other, None, torch.ones_like(t), picture[2], teacher_model=stub)
            return loss.mean(), network

        def formula(n: Formula) -> Tensor:
            g = given(slice(None))
            gap = (g.s - g.t)[:, None]
            slope = n.slope(g.x, g.t, g.s, torch.zeros_like(g.x), 0, 1)
            u = n.u(g.x, g.t, g.s)
            end = n.u((g.x + gap * u).detach(), g.s, g.s).detach()
            terminal = (u + gap * (slope.detach() if detach else slope) - end).square().mean(1)
            return terminal + (n.u(at_time(g, g.other), g.other, g.other) - g.velocity).square().mean(1)
        add(cases, f"tvm, derivative {'without' if detach else 'with'} gradient", "tvm", "tvm TVMWrapper.forward",
            {"derivative_gradient": not detach}, "student_c2", run, formula)


def add_facm(cases: Cases, peers: Peers) -> None:
    for expanded in (False, True):
        name = "student_c1" if expanded else "student_c2"

        def run(rows: slice) -> tuple[Tensor, TorchNetwork]:
            g, network = given(rows), TorchNetwork(name)
            module = peers.functions("FACM/losses.py", {"FACMLoss"}, {
                "torch": torch_with(randn_like=lambda _: g.noise[:, :, None, None]), "F": F, "np": np,
                "mean_flat": lambda a: a.mean(dim=list(range(1, a.dim())))})

            def model(x: Tensor, label: Tensor, end: Tensor | None, **_: object) -> Tensor:
                if expanded:  # t for them, and 2 - t for the anchor; 1 - t, and 1 + t, for us
                    return -network(x[:, :, 0, 0], torch.where(label > 1, 3 - label, 1 - label))[:, :, None, None]
                return -network(x[:, :, 0, 0], 1 - label, end - label)[:, :, None, None]
            model.r_embedder = None if expanded else model
            model.disable_fused_attn = model.enable_fused_attn = lambda: None
            loss = module.FACMLoss()
            loss.sample_t = lambda *_, **__: (1 - g.t)[:, None, None, None]
            settings = types.SimpleNamespace(glow=0.0, ghigh=1.0, cfgw=1.0, distill=False, t_type=None, p=0.5)
            labels = torch.zeros(len(g.t), dtype=torch.long)
            total, _, _ = loss(None, model, model, None, g.x0[:, :, None, None], 0, {"y": labels}, settings)
            return total, network

        def formula(n: Formula) -> Tensor:
            g = given(slice(None))
            zero = None if expanded else torch.zeros_like(g.t)
            u = n.u(g.x, g.t, zero)
            step = (u - g.velocity + g.t[:, None] * n.slope(g.x, g.t, zero, g.velocity, 1)).detach().clamp(-1, 1)
            e = (u - u.detach() + (1 - (1 - g.t).sqrt())[:, None] * step).square().mean(1)
            instant = n.u(g.x, 2 - g.t, None) if expanded else n.u(g.x, g.t, g.t)
            assert (instant.norm(dim=1) > 0.1 * g.velocity.norm(dim=1)).all()  # below, ours is another
            angle = 1 - (instant * g.velocity).sum(1) / (instant.norm(dim=1) * g.velocity.norm(dim=1))
            return (math.pi / 2 * g.t).sin() * e / (e.detach() + 1e-3).sqrt() + (instant - g.velocity).square().mean(1) + angle
        anchor = "expanded_time" if expanded else "equal_times"
        add(cases, f"facm, {anchor}", "facm", "FACM FACMLoss", {"anchor": anchor}, name, run, formula)


def add_tim(cases: Cases, peers: Peers) -> None:
    flat = {"mean_flat": lambda a: a.mean(dim=list(range(1, a.dim())))}
    for weight, width, angle in [("sqrt", "tangent", False), ("reciprocal", "difference", True), ("square", "ratio", False),
                                 ("soft_min_snr", "difference", True)]:
        def run(rows: slice) -> tuple[Tensor, TorchNetwork]:
            g, network = given(rows), TorchNetwork("student_c2")
            scope = {"torch": torch_with(), "F": F, "deepcopy": copy.deepcopy, **flat,
                     "expand_t_like_x": lambda t, x: t.view(-1, *[1] * (x.dim() - 1))}
            module = peers.functions("TiM/tim/schedulers/transition.py", {"TransitionSchedule"}, scope)
            transports = peers.functions("TiM/tim/schedulers/transports.py", {"Transport", "OT_FM"}, {"torch": torch})
            schedule = module.TransitionSchedule(transports.OT_FM(), derivative_type="dde", differential_epsilon=STEP,
                                                 weight_time_type={"soft_min_snr": "Soft-Min-SNR"}.get(weight, weight),
                                                 weight_time_tangent=width == "tangent", weight_time_sigmoid=width == "ratio")
            schedule.sample_t_and_r = lambda **_: (g.t, g.s, int((g.s == g.t).sum()))
            hidden = torch.ones(len(g.t), 1, 1)

            def model(x: Tensor, t: Tensor, s: Tensor, return_zs: bool = True, **_: object) -> object:
                out = network(x[:, :, 0, 0], t, t - s)[:, :, None, None]
                return (out, hidden) if return_zs else out
            loss, _, _ = schedule(model, None, model, len(g.t), g.x0[:, :, None, None], g.noise[:, :, None, None], {},
                                  use_dir_loss=angle, h_target=hidden)
            return loss, network

        def formula(n: Formula) -> Tensor:
            g = given(slice(None))
            plus, minus = (n.u(at_time(g, g.t + h), g.t + h, g.s) for h in (STEP, -STEP))
            target = (g.velocity - (g.t - g.s)[:, None] * (plus - minus) / (2 * STEP)).detach()
            u = n.u(g.x, g.t, g.s)
            loss = (u - target).square().mean(1)
            if angle:
                assert (u.norm(dim=1) > 0.1 * target.norm(dim=1)).all()
                loss = loss + 1 - (u * target).sum(1) / (u.norm(dim=1) * target.norm(dim=1))
            d = {"tangent": g.t.tan() - g.s.tan(), "ratio": g.t / (1 - g.t) - g.s / (1 - g.s), "difference": g.t - g.s}[width]
            w = {"sqrt": (1 + d) ** -0.5, "reciprocal": 1 / (1 + d), "square": (1 + d) ** -2.0, "soft_min_snr": 1 / (1 + d**2)}[weight]
            return torch.where(g.s < g.t, w, torch.ones_like(w)) * loss / (loss.detach() + 1e-5)
        add(cases, f"tim, {weight} of {width}{', with angle' if angle else ''}", "tim", "TiM TransitionSchedule, OT_FM",
            {"weight": weight, "width": width, "angle_weight": float(angle), "difference_step": STEP}, "student_c2", run, formula)


def add_anyflow(cases: Cases, peers: Peers) -> None:
    def run(rows: slice) -> tuple[Tensor, TorchNetwork]:
        g, network = given(rows), TorchNetwork("student_c2")
        once = types.SimpleNamespace(nn=types.SimpleNamespace(all_gather=lambda a: [a]))
        substitute = torch_with(randn_like=lambda _: g.noise[:, None, :, None, None],
                                distributed=types.SimpleNamespace(broadcast=lambda *_, **__: None))
        scope = {"torch": substitute, "dist": once, "random": random, "rearrange": lambda a, _: a.transpose(1, 2),
                 "repeat": lambda a, _, b, f: a[:, None].repeat(1, f)}
        module = peers.functions("AnyFlow/far/trainers/trainer_wan_anyflow_pretrain.py",
                                 {"train_bidirection", "compute_central_difference"}, scope)
        scaling = peers.functions("AnyFlow/far/schedulers/scheduling_flowmap_euler_discrete.py", {"scale_noise", "apply_shift"},
                                  {"torch": torch})
        count = 1024  # of steps, so that their times are multiples of 1 / 64 too
        scheduler = types.SimpleNamespace(config=types.SimpleNamespace(num_train_timesteps=count, shift=1.0),
                                          get_train_weight=torch.ones_like)
        scheduler.scale_noise = lambda *a: scaling.scale_noise(scheduler, *a)
        scheduler.apply_shift = lambda a: scaling.apply_shift(scheduler, a)
        config = types.SimpleNamespace(dtype=torch.float64, device="cpu", transformer_cfg={"i2v_prob": 0.0}, text_encoder_cfg={},
                                       flowmap_cfg={"epsilon": STEP * count})

        def transformer(x: Tensor, timestep: Tensor, r_timestep: Tensor, **_: object) -> tuple[Tensor]:
            t, s = timestep[:, 0] / count, r_timestep[:, 0] / count
            return (network(x[:, 0, :, 0, 0], t, t - s)[:, None, :, None, None],)
        stub = types.SimpleNamespace(config=config, scheduler=scheduler, transformer=transformer,
                                     sample_timestep=lambda *_, **__: (g.t, g.s, g.s == g.t))
        stub.compute_central_difference = lambda *a: module.compute_central_difference(stub, *a)
        return module.train_bidirection(stub, g.x0[:, :, None, None, None], None, 0), network

    def formula(n: Formula) -> Tensor:
        g = given(slice(None))
        plus, minus = (n.u(g.x + h * g.velocity, g.t + h, g.s) for h in (STEP, -STEP))
        target = (g.velocity - (g.t - g.s)[:, None] * (plus - minus) / (2 * STEP)).detach()
        loss = (n.u(g.x, g.t, g.s) - target).square().mean(1)
        instant = g.s == g.t
        return torch.where(instant, loss, loss * (loss[instant].mean() / (loss + 1e-5)).detach())
    add(cases, "anyflow", "anyflow", "AnyFlow WanAnyFlowPretrainTrainer.train_bidirection", {"weight": "one", "difference_step": STEP},
        "student_c2", run, formula, coupled=True)


def add_imeanflow(cases: Cases, peers: Peers) -> None:
    def run(rows: slice) -> tuple[Tensor, object]:
        g = given(rows)
        random_numbers = types.SimpleNamespace(normal=lambda *_, **__: jnp.array(g.noise.numpy())[:, None, None, :],
                                               uniform=lambda *_, **__: jnp.ones(len(g.t)))
        module = peers.functions("imeanflow/imf.py", {"v_cond_fn", "v_fn", "guidance_fn", "cond_drop", "forward"},
                                 {"jax": Substitute(jax, random=random_numbers), "jnp": jnp})

        def loss(weights: dict) -> jax.Array:
            def u(x: jax.Array, t: jax.Array, gap: jax.Array) -> jax.Array:
                joined = jnp.concatenate([x[:, 0, 0, :], t[:, None], gap[:, None]], 1)
                return (jnp.tanh(joined @ weights["W1"].T + weights["b1"]) @ weights["W2"].T + weights["b2"])[:, None, None, :]
            def heads(x: jax.Array, t: jax.Array, gap: jax.Array) -> tuple[jax.Array, jax.Array]:
                return u(x, t, gap), u(x, t, 0 * t)  # the second head is u(x, t, t)
            picture = [jnp.array(a.numpy())[:, None, None, None] for a in (g.t, g.s)]
            one = jnp.ones_like(picture[0])
            stub = types.SimpleNamespace(dtype=jnp.float64, num_classes=0, class_dropout_prob=0.0, norm_eps=0.01, norm_p=1.0,
                                         make_rng=lambda _: None, sample_tr=lambda _: (*picture, picture[0] == picture[1]),
                                         sample_cfg_interval=lambda *_: (0 * one, one), sample_cfg_scale=lambda *_: one,
                                         u_fn=lambda x, t, gap, *_, **__: heads(x, t.reshape(-1), gap.reshape(-1)))
            for method in ("v_cond_fn", "v_fn", "guidance_fn", "cond_drop"):
                setattr(stub, method, lambda *a, _m=getattr(module, method), **k: _m(stub, *a, **k))
            return module.forward(stub, jnp.array(g.x0.numpy())[:, None, None, :], jnp.zeros(len(g.t), int))[0]
        value, gradients = jax.value_and_grad(loss)({k: jnp.array(v) for k, v in NETWORKS["student_c2"].items()})
        of = types.SimpleNamespace(gradients=lambda _: {k: np.asarray(v) for k, v in gradients.items()})
        return torch.tensor(float(value)), of

    def formula(n: Formula) -> Tensor:
        g = given(slice(None))
        instant = n.u(g.x, g.t, g.t)
        slope = n.slope(g.x, g.t, g.s, instant.detach(), 1).detach()

        def weighed(d: Tensor) -> Tensor:
            return d.square().sum(1) / (d.square().sum(1).detach() + 0.01)
        return weighed(n.u(g.x, g.t, g.s) + (g.t - g.s)[:, None] * slope - g.velocity) + weighed(instant - g.velocity)
    add(cases, "imeanflow", "imeanflow", "imeanflow iMeanFlow.forward", {"velocity_weight": 1.0}, "student_c2", run, formula)


class Drawn:
    """What torch.empty_like gives, if its numbers are brought along."""

    def __init__(self, numbers: list[Tensor]) -> None:
        self.numbers = numbers

    def uniform_(self, *_: float) -> Tensor:
        return self.numbers.pop(0)

    normal_ = uniform_


def add_self_distillation(cases: Cases, peers: Peers) -> None:
    """Of much-ado-about-noising, whose right sides carry gradients. Its PSD weighs the two parts of a jump the wrong way round but at
    its middle, and its ESD moves x by the velocity of the jump's end: neither is asked for more than it has right. No row has s = t, where ours is flow matching."""
    folder = "much-ado-about-noising/mip/"
    ndim = {"at_least_ndim": lambda a, n: a.reshape(a.shape + (1,) * (n - a.dim()))}
    for form in ("lagrangian", "progressive"):
        def run(rows: slice) -> tuple[Tensor, TorchNetwork]:
            g, network = given(rows), TorchNetwork("student_c2")
            numbers: list[Tensor] = []
            scope = {"torch": torch_with(empty_like=lambda _: Drawn(numbers)), "F": F}
            losses = peers.functions(folder + "losses.py", {"get_norm", "flow_loss", "lsd_loss", "psd_loss"}, scope)
            flow_map = peers.functions(folder + "flow_map.py", {"FlowMap"}, {"torch": torch, "nn": torch.nn, **ndim}).FlowMap(
                lambda x, s, t, _: (-network(x[:, 0, :], 1 - s, t - s)[:, None, :], None))
            interpolant = peers.functions(folder + "interpolant.py", {"Interpolant"}, {"torch": torch, **ndim}).Interpolant()
            config = types.SimpleNamespace(norm_type="l2", loss_scale=1.0)
            half = torch.full_like(g.t, 0.5)
            first = [half, g.noise[:, None, :]]
            arguments = (config, flow_map, lambda *_: g.t, interpolant, g.x0[:, None, :], None, torch.full_like(g.t, 2.0))
            numbers[:] = [*first, 1 - g.t, 1 - g.apart, half]
            both, _ = (losses.lsd_loss if form == "lagrangian" else losses.psd_loss)(*arguments)
            numbers[:] = first
            instant, _ = losses.flow_loss(*arguments)
            return both - instant, network  # theirs adds flow matching at a time of its own, here 1 / 2

        def formula(n: Formula) -> Tensor:
            g = given(slice(None))
            gap = (g.apart - g.t)[:, None]
            u = n.u(g.x, g.t, g.apart)
            if form == "lagrangian":
                slope = n.slope(g.x, g.t, g.apart, torch.zeros_like(g.x), 0, 1)
                return (u + gap * slope - n.u(g.x + gap * u, g.apart, g.apart)).square().sum(1)
            middle = (g.t + g.apart) / 2
            part = n.u(g.x, g.t, middle)
            return (u - (part + n.u(g.x + gap / 2 * part, middle, g.apart)) / 2).square().sum(1)
        add(cases, f"self_distillation, {form}", "self_distillation",
            f"much-ado-about-noising {'lsd_loss' if form == 'lagrangian' else 'psd_loss'}",
            {"form": form, "split": "midpoint", "stop_gradient": False}, "student_c2", run, formula)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=Path("."), help="folder that has the checkouts")
    args = parser.parse_args()
    peers, cases = Peers(args.peers), Cases()
    for add_cases in (add_align_your_flow, add_tvm, add_facm, add_tim, add_anyflow, add_imeanflow, add_self_distillation):
        add_cases(cases, peers)
    head = {"made_by": "tests/parity/make_flow_maps.py", "peers": peers.commits}
    used = {case["networks"]["student"] for case in cases.all}
    networks = ",\n".join(f'  "{k}": ' + json.dumps({key: w.tolist() for key, w in NETWORKS[k].items()}) for k in sorted(used))
    inputs = json.dumps({k: v.tolist() for k, v in INPUTS.items()})
    lines = ",\n".join("  " + json.dumps({k: v for k, v in case.items() if k not in ("inputs", "between")}) for case in cases.all)
    text = (json.dumps(head, indent=1)[:-2] + ',\n "inputs": ' + inputs + ',\n "networks": {\n' + networks + '\n },\n "cases": [\n' + lines
            + "\n ]\n}\n")
    json.loads(text)
    (Path(__file__).parent / "flow_maps.json").write_text(text)
    print(f"{len(cases.all)} cases, at most {cases.largest_difference:.1e} from the formulas")


if __name__ == "__main__":
    main()
