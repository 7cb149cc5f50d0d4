#!/usr/bin/env python3
"""Makes losses.json: values of distillation losses and their gradients for a small network, for tests/plugins/losses.cpp.

    pip install torch diffusers==0.42.1 jax scipy
    git clone https://github.com/openai/consistency_models
    git clone https://github.com/Gsunshine/py-meanflow
    git clone https://github.com/NVlabs/FastGen
    git clone https://github.com/tianweiy/DMD2
    git clone https://github.com/huggingface/diffusers
    git clone https://github.com/L-Justice1998/Progressive_Distillation
    OMP_NUM_THREADS=1 python make_losses.py --peers .

The last one has google-research's diffusion_distillation/dpm.py with other comments. The peers' functions are imported or taken out
of those files and run with our network; none of their code is kept here.

The network is F = W2 tanh(W1 [x; c] + b1) + b2, with W as torch's Linear has it. A case names its networks by role, and has inputs,
what lies between, and "terms" with the value per row and the gradient of the rows' mean for every parameter of a role. Columns c,
and what F stands for:

- "edm" (alpha = 1, sigma = t): D(x; s) = c_skip x + c_out F(c_in x, log(s) / 4), c_in = 1 / sqrt(s^2 + sd^2), sd = 0.5,
  c_skip = sd^2 / (s^2 + sd^2), c_out = s sd / sqrt(s^2 + sd^2); with "boundary" = "sigma_shifted" c_skip and the numerator of
  c_out have s - sigma_min in place of s.
- "flow" (alpha = 1 - t, sigma = t): u(x, t, r) = F(x, t, t - r), two columns.
- "v" (alpha = cos(a(t)) / cos(a(0)), a(t) = (t + 0.008) / 1.008 pi / 2, sigma = sqrt(1 - alpha^2), t <= 0.9946):
  D(x, t) = alpha x - sigma F(x, t / 0.9946).

In "dmd2" the generator's sample is x = D(80 z; 80), x_t = x + t noise, and the discriminator gives a logit of [c_in x_t; log(t) / 4]
or of the teacher's hidden layer there, and of the same of real + t noise. The terms are one update each: "generator" and
"gan_generator" with gradients of the generator, "fake" and "discriminator" on x without its gradient.

Every number is derived a second time from the published formulas, with derivatives written out by hand, in numpy. The script stops
where the two differ by more than 1e-12 of the largest value of an array.
"""

from __future__ import annotations

import __future__

import argparse
import ast
import functools
import importlib
import json
import math
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import torch
import torch.nn.functional

from make_solvers import TEACHERS, commit, noise_prediction

jax.config.update("jax_enable_x64", True)
torch.set_default_dtype(torch.float64)
Tensor = torch.Tensor
Array = np.ndarray
ROWS, SIZE, WIDTH, SIGMA_DATA, SIGMA_MIN = 6, 2, 5, 0.5, 0.002
COSINE_END = 0.9946
REPOSITORIES = ("consistency_models", "py-meanflow", "FastGen", "DMD2", "diffusers", "Progressive_Distillation")


# ---- networks and inputs ---------------------------------------------------------------------------------------------------------

def draw(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def make_network(seed: int, columns: int, outputs: int = SIZE, zero_last: bool = False) -> dict[str, Array]:
    scale = 0.0 if zero_last else 0.6
    return {"W1": draw(seed, WIDTH, SIZE + columns) * 0.7, "b1": draw(seed + 1, WIDTH) * 0.3,
            "W2": draw(seed + 2, outputs, WIDTH) * scale, "b2": draw(seed + 3, outputs) * scale}


NETWORKS = {
    "student_c1": make_network(100, 1), "student_c1_zero": make_network(100, 1, zero_last=True),
    "student_c2": make_network(110, 2), "student_c2_zero": make_network(110, 2, zero_last=True),
    "teacher_c1": make_network(120, 1), "fake_c1": make_network(130, 1), "fake_c1_zero": make_network(130, 1, zero_last=True),
    "discriminator": make_network(140, 1, 1), "discriminator_zero": make_network(140, 1, 1, zero_last=True),
    # takes the 5 values of the teacher's hidden layer, tanh(W1 [x; c] + b1)
    "head": {"W1": draw(150, 4, WIDTH) * 0.7, "b1": draw(151, 4) * 0.3, "W2": draw(152, 1, 4) * 0.6, "b2": draw(153, 1) * 0.3},
}


class TorchNetwork:
    """The network with autograd's gradients."""

    def __init__(self, name: str) -> None:
        self.weights = {k: torch.from_numpy(v.copy()).requires_grad_() for k, v in NETWORKS[name].items()}

    def hidden(self, joined: Tensor) -> Tensor:
        return torch.tanh(joined @ self.weights["W1"].T + self.weights["b1"])

    def __call__(self, x: Tensor, *columns: Tensor) -> Tensor:
        joined = torch.cat([x, *[c.reshape(-1, 1) for c in columns]], 1)
        return self.hidden(joined) @ self.weights["W2"].T + self.weights["b2"]

    def gradients(self, value: Tensor) -> dict[str, Array]:
        gradients = torch.autograd.grad(value, list(self.weights.values()), retain_graph=True, allow_unused=True)
        return {k: np.zeros(tuple(w.shape)) if g is None else g.numpy() for (k, w), g in zip(self.weights.items(), gradients)}



Values = dict[str, tuple[Tensor, dict[str, TorchNetwork]]]  # by term: a loss, and the networks that it trains


class HandNetwork:
    """The network with derivatives written out."""

    def __init__(self, name: str) -> None:
        self.w = NETWORKS[name]

    def hidden(self, joined: Array) -> Array:
        return np.tanh(joined @ self.w["W1"].T + self.w["b1"])

    def __call__(self, x: Array, *columns: Array) -> Array:
        self.joined = np.concatenate([x, *[np.reshape(c, (-1, 1)) for c in columns]], 1)
        self.h = self.hidden(self.joined)
        return self.h @ self.w["W2"].T + self.w["b2"]

    def tangent(self, joined: Array) -> Array:
        """The output's derivative along a direction of the last inputs."""
        return ((1 - self.h**2) * (joined @ self.w["W1"].T)) @ self.w["W2"].T

    def backward(self, of_output: Array) -> dict[str, Array]:
        """Gradients of the parameters at the last inputs; of_input is kept."""
        of_hidden = of_output @ self.w["W2"] * (1 - self.h**2)
        self.of_input = of_hidden @ self.w["W1"]
        return {"W1": of_hidden.T @ self.joined, "b1": of_hidden.sum(0), "W2": of_output.T @ self.h, "b2": of_output.sum(0)}


def edm_scalings(s: Array, shifted: bool = False) -> tuple[Array, Array, Array]:
    """c_skip, c_out, c_in as columns."""
    s = np.reshape(s, (-1, 1))
    vanishing = s - SIGMA_MIN if shifted else s
    square = s**2 + SIGMA_DATA**2
    return SIGMA_DATA**2 / (vanishing**2 + SIGMA_DATA**2), vanishing * SIGMA_DATA / np.sqrt(square), 1 / np.sqrt(square)


def edm_data(network: HandNetwork, x: Array, s: Array, shifted: bool = False) -> Array:
    skip, out, scale = edm_scalings(s, shifted)
    return skip * x + out * network(scale * x, np.log(s) / 4)


def karras(count: int, place: Array, low: float = SIGMA_MIN, high: float = 80.0) -> Array:
    """Levels at place in [0, count], from the highest down."""
    return (high ** (1 / 7) + place / count * (low ** (1 / 7) - high ** (1 / 7))) ** 7


def cosine(t: Array) -> tuple[Array, Array]:
    def angle(t: Array | float) -> Array:
        return (t + 0.008) / 1.008 * np.pi / 2
    alpha = np.cos(angle(t)) / np.cos(angle(0.0))
    return alpha, np.sqrt(np.maximum(-np.expm1(2 * np.log(alpha)), 0))


# ---- the peers' code -------------------------------------------------------------------------------------------------------------

def functions_of(file: Path, names: set[str], given: dict) -> types.SimpleNamespace:
    """The functions and methods of these names, compiled out of a file."""
    tree = ast.parse(file.read_text())
    found = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name in names]
    assert {n.name for n in found} == names, names - {n.name for n in found}
    scope = dict(given)
    flags = __future__.annotations.compiler_flag  # their annotations name types that are not imported here
    exec(compile(ast.Module(found, []), file.name, "exec", flags=flags), scope)
    return types.SimpleNamespace(**{name: scope[name] for name in names})


class Substitute:
    """A module, some of whose members are others."""

    def __init__(self, module: types.ModuleType, **members: object) -> None:
        self.__dict__.update(members)
        self._module = module

    def __getattr__(self, name: str) -> object:
        return getattr(self._module, name)


@contextmanager
def stub_modules(**members: dict[str, object]) -> Iterator[None]:
    """Modules that a peer imports and does not need here."""
    kept = dict(sys.modules)
    for name, contents in members.items():
        module = types.ModuleType(name.replace("__", "."))
        module.__dict__.update(contents)
        sys.modules[module.__name__] = module
    try:
        yield
    finally:
        for name in members:
            name = name.replace("__", ".")
            del sys.modules[name]
            if name in kept:
                sys.modules[name] = kept[name]


class Peers:
    def __init__(self, folder: Path) -> None:
        self.commits = {name: commit(folder / name) for name in REPOSITORIES}
        self.expand_like = functions_of(folder / "FastGen/fastgen/utils/__init__.py", {"expand_like"}, {"torch": torch}).expand_like
        openai = types.ModuleType("cm")
        openai.__path__ = [str(folder / "consistency_models/cm")]
        with stub_modules(piq={"LPIPS": None}, torchvision={}, torchvision__transforms={"RandomCrop": None}, cm__dist_util={}):
            sys.modules["cm"] = openai
            openai.dist_util = sys.modules["cm.dist_util"]
            self.openai = importlib.import_module("cm.karras_diffusion")
        with stub_modules(models={}, models__time_sampler={"sample_two_timesteps": None},
                          models__ema={"init_ema": None, "update_ema_net": None}):
            sys.path.insert(0, str(folder / "py-meanflow/meanflow"))
            source = importlib.util.spec_from_file_location("meanflow", folder / "py-meanflow/meanflow/models/meanflow.py")
            self.meanflow = importlib.util.module_from_spec(source)
            source.loader.exec_module(self.meanflow)
            sys.path.pop(0)
        common = {"torch": torch, "F": torch.nn.functional, "expand_like": self.expand_like}
        methods = folder / "FastGen/fastgen/methods"
        self.fastgen_losses = functions_of(methods / "common_loss.py", {
            "denoising_score_matching_loss", "variational_score_distillation_loss", "gan_loss_generator", "gan_loss_discriminator"}, common)
        self.fastgen_cm = functions_of(methods / "consistency_model/CM.py", {"_pred_to_loss"}, common)
        self.fastgen_meanflow = functions_of(methods / "consistency_model/mean_flow.py", {"_jvp", "_mf_pred_to_loss", "_compute_weight"},
                                             {**common, "np": np, "temp_disable_efficient_attn": lambda *_: nullcontext()})
        self.fastgen_dmd2 = functions_of(methods / "distribution_matching/dmd2.py", {
            "_student_update_step", "_compute_teacher_prediction_gan_loss", "_fake_score_discriminator_update_step", "_compute_real_feat"},
            {**common, **vars(self.fastgen_losses)})
        self.dmd2 = folder / "DMD2/main/edm/edm_guidance.py"
        self.ict = functions_of(folder / "diffusers/examples/research_projects/consistency_training/train_cm_ct_unconditional.py", {
            "get_discretization_steps", "get_karras_sigmas", "get_discretized_lognormal_weights", "get_loss_weighting_schedule"},
            {"torch": torch, "np": np, "math": math})
        distillation = folder / "Progressive_Distillation/diffusion_distillation"
        parts = functions_of(distillation / "utils.py", {"broadcast_from_left", "meanflat", "RngGen"}, {"jax": jax, "jnp": jnp})
        self.google_draws: dict[str, Array] = {}
        random = types.SimpleNamespace(normal=lambda *_, **__: jnp.array(self.google_draws["normal"]),
                                       randint=lambda *_, **__: jnp.array(self.google_draws["randint"]))
        linen = types.SimpleNamespace(sigmoid=jax.nn.sigmoid, log_sigmoid=jax.nn.log_sigmoid, softplus=jax.nn.softplus)
        logging = types.SimpleNamespace(info=lambda *_: None)
        self.google = functions_of(distillation / "dpm.py", {
            "Model", "diffusion_forward", "predict_x_from_eps", "predict_eps_from_x", "predict_x_from_v", "predict_v_from_x_and_eps"},
            {"jax": Substitute(jax, random=random), "jnp": jnp, "nn": linen, "logging": logging, "utils": parts, "onp": np})

    def openai_denoiser(self, shifted: bool, weights: str = "uniform") -> types.SimpleNamespace:
        return self.openai.KarrasDenoiser(sigma_data=SIGMA_DATA, sigma_max=80.0, sigma_min=SIGMA_MIN, weight_schedule=weights,
                                          distillation=shifted, loss_norm="l2")


def openai_labels(network: TorchNetwork) -> Callable[..., Tensor]:
    """The peer's label of a level is 250 log(s), ours log(s) / 4."""
    return lambda x, label, **_: network(x, label / 1000)


# ---- cases -----------------------------------------------------------------------------------------------------------------------

Terms = dict[str, dict[str, object]]


class Cases:
    def __init__(self) -> None:
        self.all: list[dict] = []
        self.largest_difference = 0.0

    def agree(self, name: str, peer: Array, derived: Array) -> None:
        peer, derived = np.asarray(peer), np.asarray(derived)
        assert peer.shape == derived.shape and peer.dtype == derived.dtype == np.float64 and np.isfinite(peer).all(), name
        difference = float(np.abs(peer - derived).max() / max(np.abs(derived).max(), 1e-300)) if np.any(peer != derived) else 0.0
        assert difference < 1e-12, f"{name}: differs by {difference:.1e}"
        self.largest_difference = max(self.largest_difference, difference)

    def check(self, name: str, peer: Terms, derived: Terms) -> None:
        """Peer: {term: {"value": its own mean, "per_row": …, "gradients": …}}, of which it may lack the value."""
        for term, numbers in peer.items():
            self.agree(f"{name}: {term} per row", numbers["per_row"], derived[term]["per_row"])
            self.agree(f"{name}: {term}", numbers["value"], derived[term]["per_row"].mean())
            assert numbers["gradients"].keys() == derived[term]["gradients"].keys()
            for role, gradients in numbers["gradients"].items():
                for key, gradient in gradients.items():
                    self.agree(f"{name}: {term}, {role}.{key}", gradient, derived[term]["gradients"][role][key])

    def add(self, name: str, loss: str, peer: str, settings: dict, networks: dict[str, str], inputs: dict[str, Array], terms: Terms,
            between: dict[str, Array]) -> None:
        def plain(value: object) -> object:
            return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else np.asarray(value).tolist()
        self.all.append({"name": name, "loss": loss, "peer": peer, "settings": settings, "networks": networks, "inputs": plain(inputs),
                         "between": plain(between), "terms": {term: plain({k: numbers[k] for k in ("per_row", "gradients")})
                                                              for term, numbers in terms.items()}})


def with_rows(run: Callable[[slice], Values]) -> Terms:
    """A peer's losses of the batch with their gradients, and of each row alone: they return means only."""
    terms: Terms = {}
    for term, (value, networks) in run(slice(None)).items():
        terms[term] = {"value": np.asarray(value.item()), "gradients": {role: net.gradients(value) for role, net in networks.items()}}
    rows = [run(slice(i, i + 1)) for i in range(ROWS)]
    for term in terms:
        terms[term]["per_row"] = np.array([row[term][0].item() for row in rows])
    return terms


def tensors(inputs: dict[str, Array], rows: slice) -> dict[str, Tensor]:
    return {k: torch.from_numpy(np.ascontiguousarray(v[rows])) for k, v in inputs.items()}


def add_ict(cases: Cases, peers: Peers) -> dict:
    levels = peers.ict.get_karras_sigmas(11, SIGMA_MIN, 80.0, dtype=torch.float64)
    cases.agree("karras levels", levels.numpy(), karras(10, np.arange(10, -1, -1.0)))
    index = np.array([0, 1, 3, 5, 8, 9])
    inputs = {"x0": draw(1, ROWS, SIZE) * 0.5, "noise": draw(2, ROWS, SIZE), "interval": index,
              "t": levels.numpy()[index + 1], "s": levels.numpy()[index]}  # the student's level and the target's
    huber = 0.00054 * math.sqrt(SIZE)
    denoiser = peers.openai_denoiser(shifted=True)
    for name in ("student_c1", "student_c1_zero"):
        def run(rows: slice) -> Values:
            given, network = tensors(inputs, rows), TorchNetwork(name)
            weight = peers.ict.get_loss_weighting_schedule(levels)[torch.from_numpy(index)[rows]]
            assert torch.allclose(weight, 1 / (given["t"] - given["s"]), rtol=1e-15)
            f, target = (denoiser.denoise(openai_labels(network), given["x0"] + given["noise"] * level[:, None], level)[1]
                         for level in (given["t"], given["s"]))
            loss_config = types.SimpleNamespace(huber_const=huber, weighting_ct_loss="default", use_squared_l2=False)
            loss, _ = peers.fastgen_cm._pred_to_loss(types.SimpleNamespace(loss_config=loss_config), None, f, target.detach(),
                                                     given["t"], given["s"])
            return {"loss": (loss.mean(), {"student": network})}

        network = HandNetwork(name)
        t, s = inputs["t"], inputs["s"]
        x_t, x_s = (inputs["x0"] + inputs["noise"] * level[:, None] for level in (t, s))
        target = edm_data(network, x_s, s, True)
        f = edm_data(network, x_t, t, True)
        norm = np.sqrt(((f - target) ** 2).sum(1) + huber**2)
        of_f = (f - target) / (norm * (t - s))[:, None] / ROWS
        derived = {"loss": {"per_row": (norm - huber) / (t - s),
                            "gradients": {"student": network.backward(edm_scalings(t, True)[1] * of_f)}}}
        peer = with_rows(run)
        cases.check(f"ict, {name}", peer, derived)
        cases.add(f"ict, {name}", "ict", "openai/consistency_models denoise, FastGen CMModel._pred_to_loss, diffusers train_cm_ct_unconditional",
                  {"parametrisation": "edm", "sigma_data": SIGMA_DATA, "boundary": "sigma_shifted", "sigma_min": SIGMA_MIN,
                   "distance": "pseudo_huber_vector", "huber_c": huber, "weight": "1 / (t - s)"},
                  {"student": name}, inputs, peer, {"x_t": x_t, "x_s": x_s, "student": f, "target": target})

    unnormalised = peers.ict.get_discretized_lognormal_weights(levels, p_mean=-1.1, p_std=2.0).numpy()
    probabilities = unnormalised / unnormalised.sum()
    mass = np.diff(scipy.special.ndtr((np.log(karras(10, np.arange(10, -1, -1.0))) + 1.1) / 2.0))
    cases.agree("ict probabilities", probabilities, mass / mass.sum())
    steps = [0, 1, 49999, 50000, 99999, 100000, 150000, 200000, 250000, 300000, 349999, 350000, 399999]
    counts = [peers.ict.get_discretization_steps(k, 400000, 10, 1280) for k in steps]
    assert counts == [min(10 * 2 ** (k // 50000), 1280) + 1 for k in steps]
    return {"peer": "diffusers train_cm_ct_unconditional", "sigmas": levels.tolist(), "log_sigma_mean": -1.1, "log_sigma_std": 2.0,
            "probabilities": probabilities.tolist(), "s0": 10, "s1": 1280, "total_steps": 400000, "steps": steps, "levels": counts}


def add_meanflow(cases: Cases, peers: Peers) -> None:
    t = np.array([0.9, 0.55, 0.7, 0.35, 1.0, 0.6])
    r = np.array([0.2, 0.5, 0.0, 0.35, 0.0, 0.6])  # of which two are t
    x0, noise = draw(11, ROWS, SIZE) * 0.7, draw(12, ROWS, SIZE)
    z = (1 - t)[:, None] * x0 + t[:, None] * noise
    teacher = np.zeros_like(z)
    for i in range(ROWS):  # the mixture's exact velocity, eps - E[x0 | z]; at t = 1 z is noise alone, and E[x0] is the mean
        alpha, sigma = torch.tensor(1 - t[i]), torch.tensor(t[i])
        eps = noise_prediction("mixture_2d", torch.from_numpy(z[i : i + 1]), alpha, sigma).numpy()[0]
        mean = np.array(TEACHERS["mixture_2d"]["weights"]) @ np.array(TEACHERS["mixture_2d"]["means"])
        teacher[i] = eps - ((z[i] - t[i] * eps) / (1 - t[i]) if t[i] < 1 else mean)
    inputs = {"x0": x0, "noise": noise, "t": t, "r": r}

    def by_meanflow(name: str, power: float, constant: float, rows: slice) -> Values:
        given, network = tensors(inputs, rows), TorchNetwork(name)
        module = peers.meanflow
        module.sample_two_timesteps = lambda *_, **__: (given["t"], given["r"])
        module.torch = Substitute(torch, randn_like=lambda _: given["noise"][:, :, None, None])
        stub = types.SimpleNamespace(args=types.SimpleNamespace(norm_eps=constant, norm_p=power),
                                     net=lambda z, times, _: network(z[:, :, 0, 0], *times)[:, :, None, None])
        return {"loss": (module.MeanFlow.forward_with_loss(stub, given["x0"][:, :, None, None], None), {"student": network})}

    def by_fastgen(name: str, power: float, constant: float, velocity: Array, rows: slice) -> Values:
        given, network = tensors({**inputs, "z": z, "velocity": velocity}, rows), TorchNetwork(name)
        module = peers.fastgen_meanflow
        stub = types.SimpleNamespace(
            loss_config=types.SimpleNamespace(use_jvp_finite_diff=False, norm_method=f"poly_{power}", norm_const=constant, loss_type="l2",
                                              tangent_warmup_steps=0),
            precision_amp_jvp=None, device=torch.device("cpu"), net=lambda x, t, r, **_: network(x, t, t - r))
        stub.net.noise_scheduler = types.SimpleNamespace(min_t=0.0, max_t=1.0)
        stub._compute_weight = functools.partial(module._compute_weight, stub)
        derivative = module._jvp(stub, given["z"], given["t"], given["r"], given["velocity"])
        loss, *_ = module._mf_pred_to_loss(stub, stub.net(given["z"], given["t"], given["r"]), derivative, given["z"],
                                           given["velocity"], given["t"], given["r"], 0)
        return {"loss": (loss.mean(), {"student": network})}

    for name in ("student_c2", "student_c2_zero"):
        for velocity, label in [(noise - x0, "noise - x0"), (teacher, "mixture_2d")]:
            for power, constant in [(0.75, 1e-3), (1.0, 0.01), (0.0, 0.01)]:
                network = HandNetwork(name)
                u = network(z, t, t - r)
                derivative = network.tangent(np.concatenate([velocity, np.ones((ROWS, 2))], 1))
                target = velocity - (t - r)[:, None] * derivative
                square = ((u - target) ** 2).sum(1)
                scale = (square + constant) ** power
                derived = {"loss": {"per_row": square / scale,
                                    "gradients": {"student": network.backward(2 * (u - target) / scale[:, None] / ROWS)}}}
                case = f"meanflow, {name}, velocity {label}, p {power}"
                peer = with_rows(functools.partial(by_fastgen, name, power, constant, velocity))
                cases.check(case, peer, derived)
                used = "FastGen MeanFlowModel._jvp and _mf_pred_to_loss"
                if label != "mixture_2d":
                    peer = with_rows(functools.partial(by_meanflow, name, power, constant))
                    cases.check(case, peer, derived)
                    used = f"py-meanflow MeanFlow.forward_with_loss, and {used}"
                cases.add(case, "meanflow", used, {"parametrisation": "flow", "velocity": label, "p": power, "c": constant, "reduction": "sum"},
                          {"student": name}, {**inputs, "velocity": velocity}, peer, {"z": z, "u": u, "du_dt": derivative, "target": target})


def add_dmd2(cases: Cases, peers: Peers) -> None:
    t = np.array([0.05, 0.3, 1.0, 2.5, 8.0, 30.0])
    top = np.full(ROWS, 80.0)
    inputs = {"z": draw(21, ROWS, SIZE), "t": t, "noise": draw(22, ROWS, SIZE), "real": draw(23, ROWS, SIZE) * 0.5}
    denoiser = peers.openai_denoiser(shifted=False)
    column = t[:, None]

    def by_fastgen(names: dict[str, str], features: str, rows: slice) -> Values:
        given = tensors({**inputs, "top": top}, rows)
        networks = {role: TorchNetwork(name) for role, name in names.items()}

        def data(role: str) -> Callable[..., Tensor]:
            return lambda x, t, **_: denoiser.denoise(openai_labels(networks[role]), x, t)[1]

        def teacher(x: Tensor, t: Tensor, return_features_early: bool = False, feature_indices: object = None, **_: object) -> object:
            joined = torch.cat([x / (t**2 + SIGMA_DATA**2).sqrt()[:, None], t.log()[:, None] / 4], 1)
            seen = joined if features == "noised sample" else networks["teacher"].hidden(joined)
            return seen if return_features_early else (data("teacher")(x, t), seen)

        def discriminator(seen: Tensor) -> Tensor:
            return networks["discriminator"](seen)
        discriminator.feature_indices = {0}
        module = peers.fastgen_dmd2
        stub = types.SimpleNamespace(
            gen_data_from_net=data("generator"), fake_score=data("fake"), teacher=teacher, discriminator=discriminator,
            net=types.SimpleNamespace(noise_scheduler=types.SimpleNamespace(forward_process=lambda x, n, t: x + n * t[:, None],
                                                                           t_precision=torch.float64)),
            config=types.SimpleNamespace(gan_loss_weight_gen=1.0, guidance_scale=None, fake_score_pred_type="x0", gan_use_same_t_noise=True,
                                         gan_r1_reg_weight=0), _get_outputs=lambda *_, **__: {})
        for method in ("_compute_teacher_prediction_gan_loss", "_compute_real_feat"):
            setattr(stub, method, functools.partial(getattr(module, method), stub))
        noise_at_top, real_to = given["z"] * given["top"][:, None], Tensor.float
        Tensor.float = lambda self: self  # the peer casts to float32
        try:
            of_generator, _ = module._student_update_step(stub, noise_at_top, given["top"], given["t"], given["noise"], {"real": given["real"]})
        finally:
            Tensor.float = real_to
        of_others, _ = module._fake_score_discriminator_update_step(stub, noise_at_top, given["top"], given["t"], given["noise"], given["real"])
        return {"generator": (of_generator["vsd_loss"], {"generator": networks["generator"]}),
                "gan_generator": (of_generator["gan_loss_gen"], {"generator": networks["generator"]}),
                "fake": (of_others["fake_score_loss"], {"fake": networks["fake"]}),
                "discriminator": (of_others["gan_loss_disc"], {"discriminator": networks["discriminator"]})}

    def by_dmd2(names: dict[str, str], rows: slice) -> Values:
        given = tensors({**inputs, "top": top}, rows)
        networks = {role: TorchNetwork(name) for role, name in names.items()}
        count = len(given["t"])
        drawn = Substitute(torch, randint=lambda *_, **__: torch.arange(count).reshape(-1, 1, 1, 1),
                           randn_like=lambda _: given["noise"][:, :, None, None])
        module = functions_of(peers.dmd2, {"compute_distribution_matching_loss", "compute_loss_fake"}, {"torch": drawn, "F": torch.nn.functional})

        def data(role: str) -> Callable[..., Tensor]:
            return lambda x, t, _: denoiser.denoise(openai_labels(networks[role]), x[:, :, 0, 0], t[:, 0, 0, 0])[1][:, :, None, None]
        stub = types.SimpleNamespace(min_step=0, max_step=count - 1, num_train_timesteps=count, karras_sigmas=given["t"],
                                     sigma_data=SIGMA_DATA, real_unet=data("teacher"), fake_unet=data("fake"))
        x = data("generator")((given["z"] * given["top"][:, None])[:, :, None, None], given["top"].reshape(-1, 1, 1, 1), None)
        matching = module.compute_distribution_matching_loss(stub, x, None)[0]["loss_dm"]
        fake = module.compute_loss_fake(stub, x, None)[0]["loss_fake_mean"]
        return {"generator": (matching, {"generator": networks["generator"]}), "fake": (fake, {"fake": networks["fake"]})}

    def sigmoid(value: Array) -> Array:
        return 1 / (1 + np.exp(-value))

    def softplus(value: Array) -> Array:
        return np.logaddexp(0, value)

    zeros = {"random weights": ("", ""), "last layers zero": ("_zero", ""), "last layers and the discriminator's zero": ("_zero", "_zero")}
    for weights, (suffix, of_discriminator) in zeros.items():
        for peer_name, features in [("FastGen", "noised sample"), ("FastGen", "teacher's hidden layer"), ("DMD2", None)]:
            if of_discriminator and features != "noised sample":
                continue
            names = {"generator": "student_c1" + suffix, "teacher": "teacher_c1", "fake": "fake_c1" + suffix}
            if features is not None:
                names["discriminator"] = "head" if features == "teacher's hidden layer" else "discriminator" + of_discriminator
            nets = {role: HandNetwork(name) for role, name in names.items()}
            x = edm_data(nets["generator"], inputs["z"] * 80.0, top)
            out_top, (_, out, scale) = edm_scalings(top)[1], edm_scalings(t)
            x_t = x + column * inputs["noise"]
            teacher, fake = (edm_data(nets[role], x_t, t) for role in ("teacher", "fake"))
            floor = 1e-6 if peer_name == "FastGen" else 0.0
            direction = (fake - teacher) / (np.abs(x - teacher).mean(1, keepdims=True) + floor)
            fake_weight = np.ones_like(column) if peer_name == "FastGen" else 1 / column**2 + 1 / SIGMA_DATA**2
            between = {"x": x, "x_t": x_t, "teacher": teacher, "fake": fake, "direction": direction}
            derived = {"generator": {"per_row": 0.5 * (direction**2).mean(1),
                                     "gradients": {"generator": nets["generator"].backward(out_top * direction / x.size)}},
                       "fake": {"per_row": (fake_weight * (fake - x) ** 2).mean(1),
                                "gradients": {"fake": nets["fake"].backward(out * fake_weight * 2 * (fake - x) / x.size)}}}
            if features is not None:
                def seen(state: Array) -> Array:
                    """What the discriminator sees; the teacher's hidden layer is kept for the way back."""
                    joined = np.concatenate([scale * state, np.log(column) / 4], 1)
                    if features == "noised sample":
                        return joined
                    nets["teacher"](joined)
                    return nets["teacher"].h

                head = nets["discriminator"]
                logit_real = head(seen(inputs["real"] + column * inputs["noise"]))
                of_real = head.backward(-sigmoid(-logit_real) / ROWS)
                logit_fake = head(seen(x_t))
                of_fake = head.backward(sigmoid(logit_fake) / ROWS)
                derived["discriminator"] = {"per_row": (softplus(logit_fake) + softplus(-logit_real))[:, 0],
                                            "gradients": {"discriminator": {k: of_real[k] + of_fake[k] for k in of_real}}}
                head.backward(-sigmoid(-logit_fake) / ROWS)
                of_seen = head.of_input
                if features != "noised sample":
                    hidden = nets["teacher"]
                    of_seen = (of_seen * (1 - hidden.h**2)) @ hidden.w["W1"]
                derived["gan_generator"] = {"per_row": softplus(-logit_fake)[:, 0],
                                            "gradients": {"generator": nets["generator"].backward(out_top * scale * of_seen[:, :SIZE])}}
                between |= {"logit_fake": logit_fake[:, 0], "logit_real": logit_real[:, 0]}
            run = by_dmd2 if features is None else functools.partial(by_fastgen, features=features)
            peer = with_rows(lambda rows: run(names, rows=rows))
            label = "fake weighted by EDM, no discriminator" if features is None else f"discriminator of the {features}"
            case = f"dmd2, {weights}, {label}"
            cases.check(case, peer, derived)
            used = "DMD2 edm_guidance compute_distribution_matching_loss and compute_loss_fake" if features is None else \
                "FastGen DMD2Model._student_update_step and _fake_score_discriminator_update_step"
            cases.add(case, "dmd2", used, {"parametrisation": "edm", "sigma_data": SIGMA_DATA, "boundary": "edm", "sigma_max": 80.0,
                                           "norm_eps": floor, "fake_weight": "one" if peer_name == "FastGen" else "edm",
                                           "discriminator_input": features, "reduction": "mean"},
                      names, inputs, peer, between)


def add_progressive(cases: Cases, peers: Peers) -> None:
    count, index = 4, np.array([0, 1, 2, 3, 1, 3])
    inputs = {"x0": draw(31, ROWS, SIZE) * 0.5, "noise": draw(32, ROWS, SIZE)}

    def finish(case: str, used: str, settings: dict, names: dict[str, str], times: dict[str, Array], peer: Terms, derived: Terms,
               between: dict[str, Array]) -> None:
        cases.check(case, peer, derived)
        cases.add(case, "progressive_distillation", used, {**settings, "intervals": count, "weight": "max(SNR, 1)", "reduction": "mean"}, names,
                  {**inputs, "interval": index, **times}, peer, between)

    # Variance-exploding: intervals of the Karras grid from sigma_max down.
    t, m, s = (karras(count, index + part) for part in (0.0, 0.5, 1.0))
    denoiser = peers.openai_denoiser(shifted=False, weights="truncated-snr")
    for name in ("student_c1", "student_c1_zero"):
        def by_openai(rows: slice) -> Values:
            given, student, teacher = tensors(inputs, rows), TorchNetwork(name), TorchNetwork("teacher_c1")
            peers.openai.th = Substitute(torch, randint=lambda *_, **__: torch.from_numpy(index[rows]))
            terms = denoiser.progdist_losses(openai_labels(student), given["x0"], count, teacher_model=openai_labels(teacher),
                                             teacher_diffusion=denoiser, noise=given["noise"])
            return {"loss": (terms["loss"].mean(), {"student": student})}

        student, teacher = HandNetwork(name), HandNetwork("teacher_c1")
        x = inputs["x0"] + t[:, None] * inputs["noise"]
        state = x
        for a, b in [(t, m), (m, s)]:
            state = state + ((b - a) / a)[:, None] * (state - edm_data(teacher, state, a))
        target = (state - (s / t)[:, None] * x) / (1 - (s / t)[:, None])
        prediction = edm_data(student, x, t)
        weight = np.maximum(1 / t**2, 1)[:, None]
        derived = {"loss": {"per_row": (weight * (prediction - target) ** 2).mean(1), "gradients": {
            "student": student.backward(edm_scalings(t)[1] * weight * 2 * (prediction - target) / x.size)}}}
        finish(f"progressive_distillation, ve, {name}", "openai/consistency_models progdist_losses",
               {"process": "ve", "parametrisation": "edm", "sigma_data": SIGMA_DATA, "sigma_min": SIGMA_MIN, "sigma_max": 80.0, "rho": 7.0},
               {"student": name, "teacher": "teacher_c1"}, {"t": t, "middle": m, "s": s}, with_rows(by_openai), derived,
               {"x_t": x, "x_s": state, "student": prediction, "target": target})

    # VP cosine: even intervals of [0, 0.9946]; the peer counts them from the data's end.
    t, m, s = (COSINE_END * (count - index - part) / count for part in (0.0, 0.5, 1.0))

    def jax_network(weights: dict, x: jax.Array, label: jax.Array) -> jax.Array:
        hidden = jnp.tanh(jnp.concatenate([x, label[:, None]], 1) @ weights["W1"].T + weights["b1"])
        return hidden @ weights["W2"].T + weights["b2"]

    def log_snr(u: jax.Array) -> jax.Array:
        def angle(t: jax.Array | float) -> jax.Array:
            return (t + 0.008) / 1.008 * jnp.pi / 2
        log_alpha = jnp.log(jnp.cos(angle(u * COSINE_END)) / jnp.cos(angle(0.0)))
        return 2 * log_alpha - jnp.log(-jnp.expm1(2 * log_alpha))

    def label_of(value: jax.Array) -> jax.Array:
        """t / 0.9946 at a log-SNR."""
        alpha = jnp.sqrt(jax.nn.sigmoid(value)) * jnp.cos(0.008 / 1.008 * jnp.pi / 2)
        return (jnp.arccos(alpha) * 2 / jnp.pi * 1.008 - 0.008) / COSINE_END

    def by_google(weights: dict, rows: slice) -> jax.Array:
        peers.google_draws = {"normal": inputs["noise"][rows], "randint": count - 1 - index[rows]}
        model = peers.google.Model(lambda z, value: jax_network(weights, z, label_of(value)), mean_type="v", logvar_type="fixed_small",
                                   logvar_coeff=0.0, target_model_fn=lambda z, value: jax_network(NETWORKS["teacher_c1"], z, label_of(value)))
        return model.training_losses(x=jnp.array(inputs["x0"][rows]), rng=jax.random.PRNGKey(0), logsnr_schedule_fn=log_snr, num_steps=count,
                                     mean_loss_weight_type="snr_trunc")["loss"]

    for name in ("student_c1", "student_c1_zero"):
        weights = {k: jnp.array(v) for k, v in NETWORKS[name].items()}
        gradients = jax.grad(lambda w: by_google(w, slice(None)).mean())(weights)
        per_row = np.asarray(by_google(weights, slice(None)))
        peer = {"loss": {"value": np.asarray(per_row.mean()), "per_row": per_row,
                         "gradients": {"student": {k: np.asarray(gradients[k]) for k in ("W1", "b1", "W2", "b2")}}}}

        student, teacher = HandNetwork(name), HandNetwork("teacher_c1")
        levels = [tuple(value[:, None] for value in cosine(time)) for time in (t, m, s)]
        (a_t, b_t), _, (a_s, b_s) = levels
        x = a_t * inputs["x0"] + b_t * inputs["noise"]
        state = x
        for time, (a, b), (a_to, b_to) in [(t, levels[0], levels[1]), (m, levels[1], levels[2])]:
            v = teacher(state, time / COSINE_END)
            state = a_to * (a * state - b * v) + b_to * (b * state + a * v)
        target = (state - b_s / b_t * x) / (a_s - b_s / b_t * a_t)
        prediction = a_t * x - b_t * student(x, t / COSINE_END)
        weight = np.maximum(a_t**2 / b_t**2, 1)
        derived = {"loss": {"per_row": (weight * (prediction - target) ** 2).mean(1),
                            "gradients": {"student": student.backward(-b_t * weight * 2 * (prediction - target) / x.size)}}}
        finish(f"progressive_distillation, vp_cosine, {name}", "google-research diffusion_distillation Model.training_losses",
               {"process": "vp_cosine", "parametrisation": "v", "t_max": COSINE_END}, {"student": name, "teacher": "teacher_c1"},
               {"t": t, "middle": m, "s": s, "alpha_t": a_t[:, 0], "sigma_t": b_t[:, 0], "alpha_middle": levels[1][0][:, 0],
                "sigma_middle": levels[1][1][:, 0], "alpha_s": a_s[:, 0], "sigma_s": b_s[:, 0]}, peer, derived,
               {"x_t": x, "x_s": state, "student": prediction, "target": target})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=Path("."), help="folder that has the checkouts")
    args = parser.parse_args()
    peers, cases = Peers(args.peers), Cases()
    schedule = add_ict(cases, peers)
    add_meanflow(cases, peers)
    add_dmd2(cases, peers)
    add_progressive(cases, peers)
    head = {"made_by": "tests/parity/make_losses.py", "peers": peers.commits, "teachers": {"mixture_2d": TEACHERS["mixture_2d"]}}
    networks = ",\n".join(f'  "{k}": ' + json.dumps({key: w.tolist() for key, w in v.items()}) for k, v in NETWORKS.items())
    lines = ",\n".join("  " + json.dumps(case) for case in cases.all)
    text = (json.dumps(head, indent=1)[:-2] + ',\n "ict_schedule": ' + json.dumps(schedule) + ',\n "networks": {\n' + networks
            + '\n },\n "cases": [\n' + lines + "\n ]\n}\n")
    json.loads(text)
    (Path(__file__).parent / "losses.json").write_text(text)
    print(f"{len(cases.all)} cases, at most {cases.largest_difference:.1e} from the formulas")


if __name__ == "__main__":
    main()
