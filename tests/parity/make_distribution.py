#!/usr/bin/env python3
"""Makes distribution.json: values and gradients of losses that match distributions, for tests/plugins/losses_distribution_parity.cpp.

    pip install torch jax scipy                      # make_losses.py, whose networks and cases are used, imports them
    git clone https://github.com/NVlabs/FastGen
    git clone https://github.com/mingyuanzhou/SiD
    git clone https://github.com/Luo-Yihong/TDM
    git clone https://github.com/yhsure/drifting-models-pytorch
    git clone https://github.com/revsic/flowmodels
    OMP_NUM_THREADS=1 python make_distribution.py --peers .

The peers' functions, and of TDM's script the two updates of its training loop, are taken out of those files and run with our
network; none of their code is kept here. What they would draw is given to them. The form of a case is that of losses.json, but that
"per_row" has one number, the mean, where the peer looks at the whole batch. Networks are "edm" there, on the variance-exploding
process, the student's sample is x = D(80 z; 80), and x_t = x + t noise; those of TDM are "v", on the cosine process.

Changed of the peers: drifting-models-pytorch has distances by products of matrices in float32, above a floor, in whose place are exact
ones; TDM's and FastGen's casts are void; FastGen's R1 term is given noised data to compare with, where it has clean ones beside the
logit of noised ones.

Every number is derived a second time from the published formulas, and the script stops where the two differ by more than 1e-12 of
the largest value of an array.
"""

from __future__ import annotations

import argparse
import ast
import functools
import json
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional

from make_consistency import col, denoise, four, pictures, stubs, tensor
from make_losses import COSINE_END, NETWORKS, ROWS, SIGMA_DATA, SIZE, Array, Cases, Substitute, Terms, TorchNetwork, cosine, draw, functions_of
from make_solvers import commit

Tensor = torch.Tensor
REPOSITORIES = ("FastGen", "SiD", "TDM", "drifting-models-pytorch", "flowmodels")
# Its Jacobian is symmetric, as that of every exact denoiser: what our sid takes of a teacher.
NETWORKS |= {"teacher_symmetric": {**NETWORKS["teacher_c1"], "W2": NETWORKS["teacher_c1"]["W1"][:, :SIZE].T * 0.5}}
LEVELS = np.array([0.05, 0.3, 1.0, 2.5, 8.0, 30.0])


@contextmanager
def no_casts() -> Iterator[None]:
    kept = Tensor.float
    Tensor.float = lambda self: self
    try:
        yield
    finally:
        Tensor.float = kept


def of_whole(value: Tensor, role: str, network: TorchNetwork) -> dict[str, object]:
    return {"value": np.asarray(value.item()), "per_row": np.array([value.item()]), "gradients": {role: network.gradients(value)}}


def of_rows(rows: Tensor, role: str, network: TorchNetwork) -> dict[str, object]:
    return {"value": np.asarray(rows.mean().item()), "per_row": rows.detach().numpy(), "gradients": {role: network.gradients(rows.mean())}}


def inputs_of_edm(seed: int) -> dict[str, Array]:
    return {"z": draw(seed, ROWS, SIZE), "t": LEVELS, "noise": draw(seed + 1, ROWS, SIZE), "real": draw(seed + 2, ROWS, SIZE) * 0.5}


def sample(network: TorchNetwork, inputs: dict[str, Array]) -> Tensor:
    return denoise(network, tensor(inputs["z"]) * 80.0, torch.full((ROWS,), 80.0))


def logit(network: TorchNetwork, x: Tensor, t: Tensor) -> Tensor:
    return network(x / torch.sqrt(col(t) ** 2 + SIGMA_DATA**2), torch.log(t) / 4)


# ---- drifting ------------------------------------------------------------------------------------------------------------------------

def drift(x: Tensor, data: Tensor, temperatures: list[float], scaled: bool, least: float) -> tuple[Tensor, float]:
    """The sum of V over the temperatures, and the unit of distances (Deng et al. 2026), by sums over rows."""
    n = len(x)
    targets = torch.cat([x, data])
    distance = torch.sqrt(((x[:, None] - targets[None]) ** 2).sum(2))
    mean = distance.mean() if scaled else torch.tensor(1.0)
    unit = mean / SIZE**0.5 if scaled else torch.tensor(1.0)
    out = torch.zeros_like(x)
    for temperature in temperatures:
        kernel = torch.exp(-distance / mean / temperature)
        kernel[:, :n].fill_diagonal_(0)
        affinity = (kernel / torch.sqrt(kernel.sum(1, keepdim=True) * kernel.sum(0, keepdim=True))).clamp_min(least)
        v = torch.zeros_like(x)
        for j in range(n):
            for k in range(n):
                v += col(affinity[:, n + j] * affinity[:, k]) * (data[j] - x[k]) / unit
        out += v / torch.sqrt((v**2).mean()) if scaled else v
    return out, unit.item()


def add_drifting(cases: Cases, folder: Path) -> None:
    inputs = {k: v for k, v in inputs_of_edm(501).items() if k in ("z", "real")}
    real = tensor(inputs["real"])
    port = functions_of(folder / "drifting-models-pytorch/drift_loss.py", {"drift_loss"}, {
        "torch": torch, "cdist": lambda a, b: torch.sqrt(((a[:, :, None] - b[:, None]) ** 2).sum(3))}).drift_loss
    toy = functions_of(folder / "flowmodels/src/flowmodels/drifting.py", {"DriftingModel"}, {
        "torch": torch, "nn": torch.nn, **{name: type(name, (), {}) for name in ("ObjectiveSupports", "PredictionSupports", "SamplingSupports")}}).DriftingModel
    for temperatures, name in [([0.05, 0.2, 0.5], "student_c1"), ([0.2], "student_c1"), ([0.05, 0.2, 0.5], "student_c1_zero")]:
        network, again = TorchNetwork(name), TorchNetwork(name)
        with no_casts():
            peer: Terms = {"loss": of_whole(port(sample(network, inputs)[None], real[None], R_list=temperatures)[0][0], "student", network)}
        x = sample(again, inputs)
        step, unit = drift(x.detach(), real, temperatures, True, 1e-3)
        derived = {"loss": of_whole((((x / unit) - (x / unit + step).detach()) ** 2).mean(), "student", again)}
        case = f"drifting, scaled, {temperatures}, {name}"
        cases.check(case, peer, derived)
        cases.add(case, "drifting", "drifting-models-pytorch drift_loss", {"temperatures": temperatures, "scaled": True, "least": 1e-3},
                  {"student": name}, inputs, peer, {})
    for temperature in (0.1, 0.5):
        network, again = TorchNetwork("student_c1"), TorchNetwork("student_c1")
        stub = types.SimpleNamespace(temps=[temperature], forward=lambda *_: sample(network, inputs),
                                     compute_V=functools.partial(toy.compute_V, None))
        peer = {"loss": of_whole(toy.loss(stub, real, prior=real), "student", network)}
        x = sample(again, inputs)
        step, _ = drift(x.detach(), real, [temperature], False, 0.0)
        derived = {"loss": of_whole(((x - (x + step).detach()) ** 2).mean(), "student", again)}
        case = f"drifting, as it is, {temperature}"
        cases.check(case, peer, derived)
        cases.add(case, "drifting", "flowmodels DriftingModel.loss", {"temperatures": [temperature], "scaled": False, "least": 0.0},
                  {"student": "student_c1"}, inputs, peer, {})


# ---- f-distill, and discriminators -----------------------------------------------------------------------------------------------------

def assigned(file: Path, name: str, given: dict) -> object:
    """What a module assigns to a name."""
    found = next(n for n in ast.parse(file.read_text()).body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == name)
    return eval(compile(ast.Expression(found.value), file.name, "eval"), dict(given))


def fastgen_losses(folder: Path) -> dict[str, Callable[..., Tensor]]:
    given = {"torch": torch, "F": torch.nn.functional}
    expand = functions_of(folder / "FastGen/fastgen/utils/__init__.py", {"expand_like"}, given).expand_like
    names = {"variational_score_distillation_loss", "gan_loss_generator", "gan_loss_discriminator"}
    return vars(functions_of(folder / "FastGen/fastgen/methods/common_loss.py", names, {**given, "expand_like": expand}))


def add_f_distill(cases: Cases, folder: Path) -> None:
    inputs = inputs_of_edm(511)
    t, noise = tensor(inputs["t"]), tensor(inputs["noise"])
    file = folder / "FastGen/fastgen/methods/distribution_matching/f_distill.py"
    module = functions_of(file, {"_get_f_div_weighting_h", "_student_update_step"},
                          {"torch": torch, "world_size": lambda: 1, **fastgen_losses(folder)})
    weightings = assigned(file, "all_f_div_weighting_function", {"torch": torch})
    names = {"student": "student_c1", "fake": "fake_c1", "teacher": "teacher_c1", "discriminator": "discriminator"}
    ours = {"rkl": "reverse_kl", "kl": "kl", "js": "jensen_shannon", "sf": "softened_reverse_kl", "neyman": "neyman",
            "sh": "squared_hellinger", "jf": "jeffreys"}
    second = {"rkl": lambda r: r**-2, "kl": lambda r: 1 / r, "js": lambda r: 1 / (r * (1 + r)), "sf": lambda r: 1 / (r**2 * (1 + r)),
              "neyman": lambda r: r**-3, "sh": lambda r: r**-1.5, "jf": lambda r: 1 / r + r**-2}  # f'' but for a factor
    low, high, weight = 0.7, 1.6, 0.25
    for short, divergence in ours.items():
        nets = {role: TorchNetwork(name) for role, name in names.items()}
        stub = types.SimpleNamespace(
            gen_data_from_net=lambda x, t, **_: denoise(nets["student"], x, t), fake_score=lambda x, t, **_: denoise(nets["fake"], x, t),
            teacher=lambda x, t, **_: (denoise(nets["teacher"], x, t).detach(), (x, t)), discriminator=lambda seen: logit(nets["discriminator"], *seen),
            net=types.SimpleNamespace(noise_scheduler=types.SimpleNamespace(forward_process=lambda x, n, t: x + n * col(t))),
            config=types.SimpleNamespace(guidance_scale=None, gan_loss_weight_gen=weight, f_distill=types.SimpleNamespace(
                ratio_lower=low, ratio_upper=high, ratio_normalization=False, f_div=short)),
            f_div_weighting_function=weightings[short], device="cpu", _get_outputs=lambda *_, **__: {})
        if short == "rkl":  # which it gives without a dimension, and cannot take the mean of
            stub.f_div_weighting_function = torch.ones_like
        stub.discriminator = Indexed(stub.discriminator)
        stub._get_f_div_weighting_h = functools.partial(module._get_f_div_weighting_h, stub)
        with no_casts():
            found, _ = module._student_update_step(stub, tensor(inputs["z"]) * 80.0, torch.full((ROWS,), 80.0), t, noise, {})
        peer: Terms = {"student": of_whole(found["total_loss"], "student", nets["student"])}
        nets = {role: TorchNetwork(name) for role, name in names.items()}
        x = sample(nets["student"], inputs)
        x_t = x + col(t) * noise
        teacher, fake = (denoise(nets[role], x_t.detach(), t).detach() for role in ("teacher", "fake"))
        said = logit(nets["discriminator"], x_t, t)[:, 0]
        r = torch.exp(said.detach()).clamp(low, high)
        h = r**2 * second[short](r)
        h = h / (h.mean() + 1e-6)
        step = col(h / ((x.detach() - teacher).abs().mean(1) + 1e-6)) * (fake - teacher)
        # Its value has the step's square, ours h times that of the step without h: the gradients are one.
        derived = {"student": of_whole((0.5 * (x - (x - step).detach()) ** 2).mean() + weight * torch.log1p(torch.exp(-said)).mean(),
                                       "student", nets["student"])}
        case = f"f_distill, {divergence}"
        cases.check(case, peer, derived)
        cases.add(case, "f_distill", "FastGen FdistillModel._student_update_step",
                  {"divergence": divergence, "low": low, "high": high, "gan_weight": weight}, names, inputs, peer, {"h": h.numpy(), "ratio": r.numpy()})


class Indexed:
    """A function that has the member which the peer asks discriminators for."""

    feature_indices = frozenset({0})

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function

    def __call__(self, *given: object) -> Tensor:
        return self.function(*given)


def add_gan(cases: Cases, folder: Path) -> None:
    inputs = inputs_of_edm(521) | {"slope": draw(524, ROWS, SIZE)}
    t, noise = tensor(inputs["t"]), tensor(inputs["noise"])
    losses = fastgen_losses(folder)
    std, weight = 0.1, 3.0
    r1 = functions_of(folder / "FastGen/fastgen/methods/distribution_matching/dmd2.py", {"_compute_r1_regularization"}, {
        "torch": Substitute(torch, randn_like=lambda _: tensor(inputs["slope"])), "F": torch.nn.functional})._compute_r1_regularization
    names = {"student": "student_c1", "discriminator": "discriminator"}

    def run(peer: bool) -> Terms:
        student, discriminator = TorchNetwork(names["student"]), TorchNetwork(names["discriminator"])
        x = sample(student, inputs) + col(t) * noise
        real = tensor(inputs["real"]) + col(t) * noise
        of_data, of_made, of_fixed = logit(discriminator, real, t), logit(discriminator, x, t), logit(discriminator, x.detach(), t)
        if peer:
            stub = types.SimpleNamespace(config=types.SimpleNamespace(gan_r1_reg_alpha=std), teacher=lambda x, t, **_: (x, t),
                                         discriminator=Indexed(lambda seen: logit(discriminator, *seen)))
            own = losses["gan_loss_discriminator"](of_data, of_fixed) + weight * r1(stub, of_data, real, t)
            value = losses["gan_loss_generator"](of_made)
        else:
            value = torch.log1p(torch.exp(-of_made)).mean()
            moved = logit(discriminator, real + std * tensor(inputs["slope"]), t)
            own = (torch.log1p(torch.exp(of_fixed)) + torch.log1p(torch.exp(-of_data)) + weight * (moved - of_data) ** 2).mean()
        return {"student": of_whole(value, "student", student), "discriminator": of_whole(own, "discriminator", discriminator)}
    peer = run(True)
    cases.check("gan", peer, run(False))
    cases.add("gan", "gan", "FastGen gan_loss_generator, gan_loss_discriminator and _compute_r1_regularization",
              {"r1_std": std, "r1_weight": weight * std**2}, names, inputs, peer, {})


# ---- score identity distillation -------------------------------------------------------------------------------------------------------

def add_sid(cases: Cases, folder: Path) -> None:
    inputs = inputs_of_edm(531)
    t, noise = tensor(inputs["t"]), tensor(inputs["noise"])
    given = Substitute(torch, rand=lambda *_, **__: four(tensor(place)), randn=lambda *_, **__: four((torch.log(t) + 1.2) / 1.2),
                       randn_like=lambda _: four(noise), float32=torch.float64)
    place = (LEVELS ** (1 / 7) - 0.002 ** (1 / 7)) / (80 ** (1 / 7) - 0.002 ** (1 / 7))  # where the level lies on its grid
    peer_class = functions_of(folder / "SiD/training/sid_loss.py", {"SID_EDMLoss"}, {"torch": given, **stubs()}).SID_EDMLoss
    names = {"student": "student_c1", "fake": "fake_c1", "teacher": "teacher_symmetric"}
    for alpha in (1.2, 1.0, 0.5):
        nets = {role: TorchNetwork(name) for role, name in names.items()}
        model = {role: pictures(functools.partial(denoise, nets[role])) for role in names}
        x = four(sample(nets["student"], inputs))
        loss = peer_class()
        with no_casts():
            rows = loss.generator_loss(model["teacher"], model["fake"], x, alpha=alpha, tmax=1000).mean((1, 2, 3))
            of_fake = loss(model["fake"], x.detach()).mean((1, 2, 3))
        peer: Terms = {"student": of_rows(rows, "student", nets["student"]), "fake": of_rows(of_fake, "fake", nets["fake"])}
        nets = {role: TorchNetwork(name) for role, name in names.items()}
        x = sample(nets["student"], inputs)
        x_t = x + col(t) * noise
        teacher, fake = denoise(nets["teacher"], x_t, t), denoise(nets["fake"], x_t, t)
        d = teacher - fake
        rows = (d * (teacher - x - alpha * d)).mean(1) / (x - teacher).detach().abs().mean(1)
        weight = 1 / t**2 + 1 / SIGMA_DATA**2
        of_fake = weight * ((denoise(nets["fake"], x_t.detach(), t) - x.detach()) ** 2).mean(1)
        derived = {"student": of_rows(rows, "student", nets["student"]), "fake": of_rows(of_fake, "fake", nets["fake"])}
        case = f"sid, {alpha}"
        cases.check(case, peer, derived)
        cases.add(case, "sid", "SiD SID_EDMLoss", {"alpha": alpha}, names, inputs, peer, {})


# ---- trajectory distribution matching --------------------------------------------------------------------------------------------------

def time_of(step: Tensor) -> Tensor:
    """Our time on the cosine process of the peer's integer one, of 1000."""
    return (step.double() + 1) / 1000 * COSINE_END


class Updates:
    """The two updates of the peer's training loop, its fake network's and its student's, taken out of its script."""

    def __init__(self, file: Path) -> None:
        tree = ast.parse(file.read_text())
        loop = next(n for n in ast.walk(tree) if isinstance(n, ast.With) and "accelerator.accumulate" in ast.unparse(n.items[0]))
        begins = next(i for i, n in enumerate(loop.body) if ast.unparse(n).startswith("unet_fake.requires_grad_"))
        ends = next(i for i, n in enumerate(loop.body) if "global_step % 1" in ast.unparse(n)[:30])
        self.code = compile(ast.Module(loop.body[begins:ends + 1], []), file.name, "exec")


def add_tdm(cases: Cases, folder: Path) -> None:
    file, total = folder / "TDM/train_tdm_demo.py", 1000
    alphas, sigmas = (torch.from_numpy(a) for a in cosine(time_of(torch.arange(total)).numpy()))
    steps = torch.tensor([999, 749, 499, 249])
    segment, ends = np.array([0, 1, 2, 3, 3, 1]), np.array([750, 500, 250, 0, 0, 500])
    separate, wide = np.array([800, 501, 300, 100, 230, 700]), np.array([900, 980, 300, 120, 700, 740])
    names = {"student": "student_c1", "fake": "fake_c1", "teacher": "teacher_c1"}
    peer_parts = functions_of(file, {"predicted_origin", "compute_snr", "extract_into_tensor", "Predictor"}, {"torch": torch})
    updates = Updates(file)

    def data(network: TorchNetwork, x: Tensor, step: Tensor) -> Tensor:
        a, s = col(alphas[step]), col(sigmas[step])
        return a * x - s * network(x, time_of(step) / COSINE_END)

    for label, within, chosen, huber in [("in segments", True, separate, True), ("in segments, squares", True, separate, False),
                                         ("to the noisiest", False, wide, True)]:
        nets = {role: TorchNetwork(name) for role, name in names.items()}
        inputs = {"z": draw(541, ROWS, SIZE), "noise": draw(542, ROWS, SIZE), "segment": segment}
        start = tensor(inputs["z"]) * sigmas[999]
        states = [start]
        for k in range(3):  # what the student says of its own way
            step = torch.full((ROWS,), int(steps[k]))
            d = data(nets["student"], states[-1], step)
            eps = (states[-1] - alphas[steps[k]] * d) / sigmas[steps[k]]
            states.append((alphas[steps[k + 1]] * d + sigmas[steps[k + 1]] * eps).detach())

        # ---- the peer's
        def unet(role: str) -> Callable[..., object]:
            class Unet:
                def requires_grad_(self, _: bool) -> None: ...

                def parameters(self) -> list[Tensor]:
                    return []

                def __call__(self, x: Tensor, timestep: Tensor, **_: object) -> tuple[Tensor]:
                    d = data(nets[role], x[:, :, 0, 0], timestep)
                    eps = four((x[:, :, 0, 0] - col(alphas[timestep]) * d) / col(sigmas[timestep]))
                    return (torch.cat([eps, eps], 1),)
            return Unet()
        draws: list[int] = []

        def randint(low: object, high: object, size: tuple, **_: object) -> Tensor:
            if size == (ROWS,):  # which segment, counted from the clean end; then a time for each row
                draws.extend(int(c) for c in chosen)
                return torch.from_numpy(4 - segment)
            value = draws.pop(0)
            assert low <= value < high, (low, value, high)
            return torch.tensor([value])
        exact = Substitute(torch, float16=torch.float64, randint=randint,
                           randn_like=lambda like: four(tensor(inputs["noise"])))
        scheduler = types.SimpleNamespace(
            config=types.SimpleNamespace(prediction_type="epsilon"), alphas_cumprod=alphas**2,
            add_noise=lambda x, n, step: four(alphas[step]) * x + four(sigmas[step]) * n)
        scope = {"torch": exact, "F": torch.nn.functional, **vars(peer_parts)}
        peer_parts.Predictor.__init__.__globals__.update(scope | {"uncond_prompt_embeds": None, "uncond_attention_mask": None})
        values: list[Tensor] = []
        optimizer = types.SimpleNamespace(step=lambda: None, zero_grad=lambda: None)
        accelerator = types.SimpleNamespace(backward=values.append, gather=lambda v: v, sync_gradients=False)
        shaped = [four(state) for state in states]
        scope |= {
            "unet": unet("student"), "unet_fake": unet("fake"), "unet_sd": unet("teacher"), "noise": shaped[0], "latents": shaped[0],
            "bsz": ROWS, "noisy_imgs_list": [None, *reversed(shaped)], "total_steps": total, "global_step": 0, "train_loss": 0.0,
            "encoder_hidden_states": None, "prompt_attention_mask": None, "uncond_prompt_embeds": None, "uncond_attention_mask": None,
            "noise_scheduler": scheduler, "optimizer": optimizer, "optimizer_d": optimizer, "lr_scheduler": optimizer, "accelerator": accelerator,
            "predictor": peer_parts.Predictor(scheduler, alphas, sigmas), "nullcontext": nullcontext,
            "args": types.SimpleNamespace(use_randmid=False, use_separate=within, total_steps=total, cfg=1.0, use_huber=huber, train_batch_size=1,
                                          gradient_accumulation_steps=1, max_grad_norm=1.0)}
        with no_casts():
            exec(updates.code, scope)
        of_fake, of_student = values
        peer: Terms = {"fake": of_whole(of_fake, "fake", nets["fake"]), "student": of_whole(of_student, "student", nets["student"])}

        # ---- the formulas
        nets = {role: TorchNetwork(name) for role, name in names.items()}
        at, end, t = steps[segment], torch.from_numpy(ends), torch.from_numpy(chosen)
        state = torch.stack([states[k][i] for i, k in enumerate(segment)])
        x = data(nets["student"], state, at)
        n = tensor(inputs["noise"])
        kept = col(sigmas[end] / sigmas[at])
        moved = kept * state + (col(alphas[end]) - kept * col(alphas[at])) * x
        scale = col(alphas[t] / alphas[end])
        x_t = scale * moved + torch.sqrt(col(sigmas[t]) ** 2 - (scale * col(sigmas[end])) ** 2) * n
        teacher, fake = (data(nets[role], x_t.detach(), t) for role in ("teacher", "fake"))
        mixed = ((x_t - col(alphas[t]) * x) / col(sigmas[t])).detach()
        likely = torch.exp(((n**2).mean(1) - (mixed**2).mean(1)) / 2)
        snr = torch.minimum((alphas[t] / sigmas[t]) ** 2, torch.tensor(5.0))
        target = (x + teacher - fake).detach()
        size = (x - teacher).detach().abs().mean(1)
        distance = torch.sqrt((x - target) ** 2 + 1e-6) - 1e-3 if huber else (x - target) ** 2
        derived = {"fake": of_whole((((fake - x.detach()) ** 2).mean(1) * snr * likely).mean(), "fake", nets["fake"]),
                   "student": of_whole((distance.mean(1) / size).mean(), "student", nets["student"])}
        case = f"tdm, {label}"
        cases.check(case, peer, derived)
        begin = at if within else torch.full((ROWS,), 999)
        given = {"grid": np.append(time_of(steps).numpy(), time_of(torch.tensor(0)).item()), "end": time_of(end).numpy(),
                 "begin": time_of(begin).numpy(), "t": time_of(t).numpy()}
        cases.add(case, "tdm", "TDM train_tdm_demo.py", {"noise_to": "segment" if within else "noisiest",
                                                         "distance": "pseudo_huber" if huber else "l2"},
                  names, inputs | given, peer, {"x": x.detach().numpy(), "x_t": x_t.detach().numpy()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=Path("."), help="folder that has the checkouts")
    folder, cases = parser.parse_args().peers, Cases()
    commits = {name: commit(folder / name) for name in REPOSITORIES}
    for add in (add_drifting, add_f_distill, add_gan, add_sid, add_tdm):
        add(cases, folder)
    head = {"made_by": "tests/parity/make_distribution.py", "peers": commits}
    used = {name for case in cases.all for name in case["networks"].values()}
    networks = ",\n".join(f'  "{k}": ' + json.dumps({key: w.tolist() for key, w in NETWORKS[k].items()}) for k in sorted(used))
    lines = ",\n".join("  " + json.dumps(case) for case in cases.all)
    text = json.dumps(head, indent=1)[:-2] + ',\n "networks": {\n' + networks + '\n },\n "cases": [\n' + lines + "\n ]\n}\n"
    json.loads(text)
    (Path(__file__).parent / "distribution.json").write_text(text)
    print(f"{len(cases.all)} cases, at most {cases.largest_difference:.1e} from the formulas")


if __name__ == "__main__":
    main()
