#!/usr/bin/env python3
"""Makes consistency.json: values and gradients of losses of the consistency family, for tests/plugins/losses_consistency_parity.cpp.

    pip install torch jax scipy                      # make_losses.py, whose networks and cases are used, imports them
    git clone https://github.com/locuslab/ect
    git clone https://github.com/NVlabs/TCM
    git clone https://github.com/NVlabs/FastGen
    git clone https://github.com/openai/consistency_models_cifar10
    OMP_NUM_THREADS=1 python make_consistency.py --peers .

The peers' functions are taken out of those files and run with our network; none of their code is kept here. What they would draw
is given to them. The form of a case is that of losses.json. All networks are "edm" there, on the variance-exploding process; for ct
the boundary is "sigma_shifted".

Every number is derived a second time from the published formulas, and the script stops where the two differ by more than 1e-12 of
the largest value of an array.
"""

from __future__ import annotations

import argparse
import json
import types
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
import torch

import make_losses
from make_losses import ROWS, SIGMA_DATA, SIGMA_MIN, SIZE, Array, Cases, HandNetwork, Substitute, Terms, TorchNetwork, draw, functions_of
from make_solvers import commit

Tensor = torch.Tensor
REPOSITORIES = ("ect", "TCM", "FastGen", "consistency_models_cifar10")
NETWORKS = make_losses.NETWORKS
NETWORKS |= {"target_c1": make_losses.make_network(320, 1)}
HUBER = 0.03


def tensor(value: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(value))


def four(value: Tensor) -> Tensor:
    return value.reshape(*value.shape, *[1] * (4 - value.ndim))


def col(value: Tensor) -> Tensor:
    return value.reshape(-1, 1)


def denoise(network: TorchNetwork, x: Tensor, t: Tensor, shift: float = 0.0) -> Tensor:
    """D of EDM, or f with a shifted boundary."""
    s = col(t)
    root = torch.sqrt(s**2 + SIGMA_DATA**2)
    skip, out = SIGMA_DATA**2 / ((s - shift) ** 2 + SIGMA_DATA**2), (s - shift) * SIGMA_DATA / root
    return skip * x + out * network(x / root, torch.log(t) / 4)


def pictures(network: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """It for peers that have samples of four dimensions."""
    return lambda x, t, *_, **__: four(network(x[:, :, 0, 0], t.reshape(-1)))


def terms_of(rows: Tensor, network: TorchNetwork, value: float | None = None) -> Terms:
    mean = rows.mean()
    return {"loss": {"per_row": rows.detach().numpy(), "value": np.asarray(mean.item() if value is None else value),
                     "gradients": {"student": network.gradients(mean)}}}


def huber(a: Tensor, b: Tensor) -> Tensor:
    return torch.sqrt(((a - b) ** 2).sum(1) + HUBER**2) - HUBER


def without_cuda(**members: object) -> Substitute:
    cuda = types.SimpleNamespace(get_rng_state=lambda: None, set_rng_state=lambda _: None)
    return Substitute(torch, cuda=cuda, **members)


def stubs() -> dict:
    return {"persistence": types.SimpleNamespace(persistent_class=lambda c: c), "nn": torch.nn, "np": np,
            "dist": types.SimpleNamespace(print0=lambda *_: None)}


# ---- easy consistency tuning, and truncated consistency models -----------------------------------------------------------------------

def add_ect(cases: Cases, folder: Path) -> None:
    inputs = {"x0": draw(401, ROWS, SIZE) * 0.5, "noise": draw(402, ROWS, SIZE), "z": np.array([-1.6, -0.7, 0.1, 0.5, 1.2, 2.4])}
    x0, noise, t = tensor(inputs["x0"]), tensor(inputs["noise"]), torch.exp(tensor(inputs["z"]) * 2 - 1.1)
    given = without_cuda(randn=lambda *_, **__: four(tensor(inputs["z"])), randn_like=lambda _: four(noise))
    peer_class = functions_of(folder / "ect/training/loss.py", {"ECMLoss"}, {"torch": given, **stubs()}).ECMLoss
    for mapping, stage in [("sigmoid", 0), ("sigmoid", 2), ("sigmoid", 6), ("const", 0), ("const", 4)]:
        for name in ("student_c1", "student_c1_zero"):
            network = TorchNetwork(name)
            loss = peer_class(q=2, c=HUBER, adj=mapping)
            loss.update_schedule(stage)
            peer = terms_of(loss(pictures(lambda x, t: denoise(network, x, t)), four(x0)), network)
            again = TorchNetwork(name)
            n = 1 + 8 / (1 + torch.exp(t)) if mapping == "sigmoid" else torch.ones_like(t)
            r = torch.clamp(t * (1 - n / 2 ** (stage + 1)), min=0)
            safe = torch.where(r > 0, r, torch.ones_like(r))
            target = torch.where(col(r) > 0, denoise(again, x0 + col(r) * noise, safe), x0).detach()
            derived = terms_of(huber(denoise(again, x0 + col(t) * noise, t), target) / (t - r), again)
            case = f"ect, {mapping}, part {stage}, {name}"
            cases.check(case, peer, derived)
            settings = {"mapping": "constant" if mapping == "const" else mapping, "part": stage, "parts": 8, "q": 2.0, "huber_c": HUBER}
            cases.add(case, "ect", "ect", settings, {"student": name}, inputs, peer, {"t": t.numpy(), "r": r.numpy()})


def add_tcm(cases: Cases, folder: Path) -> None:
    share, weight, freedom, scale, q = 0.34, 0.1, 2.0, 0.6, 4
    inputs = {"x0": draw(411, ROWS, SIZE) * 0.5, "noise": draw(412, ROWS, SIZE), "u": np.array([0.02, 0.3, 0.5, 0.72, 0.9, 0.4])}
    x0, noise = tensor(inputs["x0"]), tensor(inputs["noise"])
    chance = types.SimpleNamespace(uniform=lambda a, b, n: a + (b - a) * inputs["u"])
    misc = functions_of(folder / "TCM/torch_utils/misc.py", {"truncated_t", "get_edm_cout"},
                        {"np": Substitute(np, random=chance), "stats": scipy.stats})
    boundary = np.array([2, 5, 0, 1, 3, 4])  # of which the first int(6 share) = 2 are taken
    given = without_cuda(randn_like=lambda _: four(noise), randperm=lambda _: torch.from_numpy(boundary))
    flag = types.SimpleNamespace(set=lambda _: None, reset=lambda _: None)
    peer_class = functions_of(folder / "TCM/training/loss.py", {"ECMLoss", "delta_sigmoid", "sigmoid"},
                              {"torch": given, "misc": misc, "inplace_norm_flag": flag, **stubs()}).ECMLoss
    for stage in (0, 1):
        network, first = TorchNetwork("student_c1"), TorchNetwork("target_c1")

        def both(x: Tensor, t: Tensor) -> Tensor:
            return torch.where(col(t) < 1, denoise(first, x, t).detach(), denoise(network, x, t))
        net = pictures(both)
        net.transition_t = 1.0
        loss = peer_class(P_mean=0.0, P_std=scale, t_lower=1.0, t_upper=80.0, q=q, c=HUBER, boundary_prob=share, tdist="t", df=freedom)
        loss.update_schedule(stage)
        _, rest, _, _, at_boundary = loss(net, four(x0))
        rows = torch.empty(ROWS, dtype=torch.float64)
        others = torch.tensor(sorted(boundary[2:]))
        rows = rows.index_put((torch.tensor([2, 5]),), weight * at_boundary * ROWS / 2).index_put((others,), rest * ROWS / 4)
        peer = terms_of(rows, network, (rest.mean() + weight * at_boundary.mean()).item())

        again, frozen = TorchNetwork("student_c1"), TorchNetwork("target_c1")
        law = scipy.stats.t(freedom)
        low, high = law.cdf(0.0), law.cdf(np.log(80.0) / scale)
        t = np.exp(scale * law.ppf(low + (high - low) * inputs["u"]))
        t[[2, 5]] = 1 + 1e-8  # as there; ours is 1
        t = tensor(t)
        r = t * (1 - (1 + 8 / (1 + torch.exp(t))) / q ** (stage + 1))
        r = torch.clamp(r, min=1e-6)
        x_r = x0 + col(r) * noise
        target = torch.where(col(r) < 1, denoise(frozen, x_r, r), denoise(again, x_r, r)).detach()
        each = huber(denoise(again, x0 + col(t) * noise, t), target) / (t - r)
        factors = torch.tensor([1.5, 1.5, weight * 3, 1.5, 1.5, weight * 3])
        derived = terms_of(each * factors, again)
        case = f"tcm, part {stage}"
        cases.check(case, peer, derived)
        settings = {"share": share, "weight": weight, "freedom": freedom, "scale": scale, "q": float(q), "parts": stage + 1, "huber_c": HUBER}
        cases.add(case, "tcm", "TCM", settings, {"student": "student_c1", "first": "target_c1"}, inputs, peer,
                  {"t": t.numpy(), "r": r.numpy()})


# ---- continuous time ---------------------------------------------------------------------------------------------------------------------

def trig_by_hand(name: str, inputs: dict[str, Array], clean: Array | None) -> tuple[Array, ...]:
    """tau, X, dX/dtau, and cos sin times the derivative of sd F along the way. F is minus EDM's."""
    t = inputs["t"]
    tau = np.arctan(t / SIGMA_DATA)[:, None]
    cos, sin = np.cos(tau), np.sin(tau)
    x = cos * inputs["x0"] + sin * SIGMA_DATA * inputs["noise"]
    velocity = cos * SIGMA_DATA * inputs["noise"] - sin * inputs["x0"] if clean is None else (cos * x - clean) / sin
    hand = HandNetwork(name)
    hand(x / SIGMA_DATA, np.log(t) / 4)
    turn = hand.tangent(np.concatenate([cos * sin * velocity / SIGMA_DATA, np.full((ROWS, 1), 0.25)], 1))
    return tau, x, velocity, -SIGMA_DATA * turn


def add_scm(cases: Cases, folder: Path) -> None:
    inputs = {"x0": draw(421, ROWS, SIZE) * 0.5, "noise": draw(422, ROWS, SIZE), "z": np.array([-1.6, -0.7, 0.1, 0.5, 1.2, 2.4])}
    inputs["t"] = np.exp(inputs["z"] * 1.4 - 1.0)
    x0, t = tensor(inputs["x0"]), tensor(inputs["t"])
    expand_like = functions_of(folder / "FastGen/fastgen/utils/__init__.py", {"expand_like"}, {"torch": torch}).expand_like
    given = {"torch": Substitute(torch, randn_like=lambda _: tensor(inputs["noise"])), "np": np, "expand_like": expand_like,
             "abstractmethod": abstractmethod, "PRECISION_MAP": {"float64": torch.float64}, "stats": scipy.stats}
    schedules = functions_of(folder / "FastGen/fastgen/networks/noise_schedule.py",
                             {"BaseNoiseSchedule", "EDMNoiseSchedule", "TrigNoiseSchedule"}, given)

    class Base:
        def __init__(self, **_: object) -> None:
            self.noise_scheduler = schedules.TrigNoiseSchedule()

        def __call__(self, *args: object, **named: object) -> object:
            return self.forward(*args, **named)
    names = {"TrigFlowPrecond", "_compute_scm_loss", "_jvp", "_scm_pred_to_loss", "_compute_vt"}
    method = functions_of(folder / "FastGen/fastgen/methods/consistency_model/sCM.py", names, {**given, "FastGenNetwork": Base})

    def wrapped(network: TorchNetwork) -> object:
        def net(x: Tensor, t: Tensor, return_logvar: bool = False, **_: object) -> object:
            out = denoise(network, x, t)
            return (out, torch.zeros(len(x), 1)) if return_logvar else out
        net.noise_scheduler = schedules.EDMNoiseSchedule()
        return method.TrigFlowPrecond(net, sigma_data=SIGMA_DATA)

    for of_teacher, progress, spatial, prior in [(False, 0.5, False, True), (False, 0.03, False, True), (True, 0.5, False, True),
                                                 (True, 0.5, True, True), (True, 0.05, True, False)]:
        for name in ("student_c1", "student_c1_zero"):
            network, teacher = TorchNetwork(name), TorchNetwork("teacher_c1")
            trig = wrapped(network)
            self = types.SimpleNamespace(
                net=trig.net, net_trigflow=trig, teacher_trigflow=wrapped(teacher), sigma_data=SIGMA_DATA, precision_amp_jvp=None,
                device=torch.device("cpu"), config=types.SimpleNamespace(guidance_scale=None),
                sample_t_cfg=types.SimpleNamespace(quantize=False),
                loss_config=types.SimpleNamespace(
                    use_cd=of_teacher, use_jvp_finite_diff=False, tangent_warmup_steps=10000, tangent_warmup_const=0.1,
                    g_norm_spatial_invariance=spatial, prior_weighting_enabled=prior, divide_x_0_spatial_dim=False))
            for own in ("_jvp", "_scm_pred_to_loss", "_compute_vt"):
                setattr(self, own, lambda *args, _f=getattr(method, own), **named: _f(self, *args, **named))
            loss = method._compute_scm_loss(self, x0, t, iteration=int(progress * 100000))[0]
            peer = terms_of(loss, network)

            again = TorchNetwork(name)
            clean = denoise(teacher, x0 + col(t) * tensor(inputs["noise"]), t).detach().numpy() if of_teacher else None
            tau, x, velocity, turn = trig_by_hand(name, inputs, clean)
            cos, sin, r = np.cos(tau), np.sin(tau), min(1.0, progress / 0.1)
            out = -again(tensor(x / SIGMA_DATA), torch.log(t) / 4)
            still = SIGMA_DATA * out.detach().numpy()
            g = -(cos**2) * (still - velocity) - r * (cos * sin * x + turn)
            norm = np.sqrt((g**2).mean(1, keepdims=True) if spatial else (g**2).sum(1, keepdims=True))
            error = ((out - out.detach() - tensor(g / (norm + 0.1))) ** 2).mean(1)
            derived = terms_of(error / t if prior else error, again)
            case = f"scm, {'teacher' if of_teacher else 'data'}, progress {progress}, {'mean' if spatial else 'sum'}, {prior}, {name}"
            cases.check(case, peer, derived)
            settings = {"velocity": "teacher" if of_teacher else "data", "progress": progress,
                        "tangent_norm": "mean" if spatial else "sum", "prior": "tangent" if prior else "none"}
            cases.add(case, "scm", "FastGen", settings, {"student": name, "teacher": "teacher_c1"}, inputs, peer, {})


class Jcm:
    """The functions of consistency_models_cifar10 with our network: a dictionary of weights is its parameters."""

    def __init__(self, folder: Path) -> None:
        self.drawn: dict[str, Array] = {}
        random = types.SimpleNamespace(**{kind: (lambda *_, _kind=kind, **__: jnp.array(self.drawn[_kind]))
                                          for kind in ("randint", "normal", "uniform")})
        root = folder / "consistency_models_cifar10/jcm"
        batch_mul = functions_of(root / "utils.py", {"batch_mul"}, {"jax": jax}).batch_mul
        base = {"jax": Substitute(jax, random=random), "jnp": jnp, "np": np, "batch_mul": batch_mul, "abc": __import__("abc")}
        self.sde = functions_of(root / "sde_lib.py", {"SDE", "KVESDE"}, base)
        self.sde.VPSDE = self.sde.subVPSDE = self.sde.VESDE = type("Other", (), {})

        def get_model_fn(model: object, params: dict, states: object, train: bool = False) -> Callable:
            def run(x: jax.Array, label: jax.Array, rng: object = None) -> tuple:
                hidden = jnp.tanh(jnp.concatenate([x, label[:, None]], 1) @ params["W1"].T + params["b1"])
                return hidden @ params["W2"].T + params["b2"], states
            return run
        models = functions_of(root / "models/utils.py", {"get_distiller_fn", "get_denoiser_fn", "get_score_fn"},
                              {**base, "sde_lib": self.sde, "get_model_fn": get_model_fn})
        keys = types.SimpleNamespace(PRNGSequence=lambda _: iter(range(99)))
        self.losses = functions_of(root / "losses.py", {"get_consistency_loss_fn", "get_continuous_consistency_loss_fn", "get_quarter_masks"},
                                   {**base, "sde_lib": self.sde, "mutils": models, "hk": keys})

    def run(self, loss: Callable, name: str, x0: Array, draws: dict[str, Array], **more: object) -> tuple[Array, dict]:
        """Of each row alone, and the gradient of their mean."""
        params = {k: jnp.array(w) for k, w in NETWORKS[name].items()}

        def value(params: dict, rows: slice) -> jax.Array:
            self.drawn = {k: v[rows] for k, v in draws.items()}
            batch = {"image": jnp.array(x0[rows]), "mask": jnp.ones(len(x0[rows]))}
            return loss(0, params, {}, batch, **more)[0]
        return (np.array([value(params, slice(i, i + 1)) for i in range(ROWS)]),
                {k: np.asarray(g) for k, g in jax.grad(value)(params, slice(None)).items()})


def add_ct(cases: Cases, folder: Path) -> None:
    jcm, steps = Jcm(folder), 11
    index = np.array([0, 2, 4, 7, 8, 9])
    grid = make_losses.karras(steps - 1, np.arange(steps, dtype=float))
    inputs = {"x0": draw(431, ROWS, SIZE) * 0.5, "noise": draw(432, ROWS, SIZE), "t": grid[index], "s": grid[index + 1]}
    x0, noise, t, s = (tensor(inputs[k]) for k in ("x0", "noise", "t", "s"))
    weightings = {"uniform": ("none", torch.ones_like(t)), "snr": ("snr", 1 / t**2), "snrp1": ("snr_plus_one", 1 / t**2 + 1),
                  "truncated_snr": ("truncated_snr", torch.clamp(1 / t**2, min=1))}
    for loss in ("ct", "cm"):
        for theirs, (ours, weight) in weightings.items():
            for norm in ("l2", "l1") if theirs == "uniform" else ("l2",):
                peer_loss = jcm.losses.get_consistency_loss_fn(
                    jcm.sde.KVESDE(), None, {k: jnp.array(w) for k, w in NETWORKS["teacher_c1"].items()}, {}, None, train=False,
                    loss_norm=norm, weighting=theirs, dsm_target=loss == "ct", solver="euler" if loss == "ct" else "heun")
                target = {k: jnp.array(w) for k, w in NETWORKS["target_c1"].items()}
                rows, gradients = jcm.run(peer_loss, "student_c1", inputs["x0"], {"randint": index, "normal": inputs["noise"]},
                                          target_params=target, num_scales=steps)
                peer: Terms = {"loss": {"per_row": rows, "value": np.asarray(rows.mean()), "gradients": {"student": gradients}}}
                network, average, teacher = TorchNetwork("student_c1"), TorchNetwork("target_c1"), TorchNetwork("teacher_c1")
                x_t, x_s = x0 + col(t) * noise, x0 + col(s) * noise
                if loss == "cm":  # Heun's step
                    d = (x_t - denoise(teacher, x_t, t)) / col(t)
                    middle = x_t + col(s - t) * d
                    x_s = (x_t + col(s - t) / 2 * (d + (middle - denoise(teacher, middle, s)) / col(s))).detach()
                difference = denoise(network, x_t, t, SIGMA_MIN) - denoise(average, x_s, s, SIGMA_MIN).detach()
                distance = difference**2 if norm == "l2" else difference.abs()
                cases.check(f"{loss}, {theirs}, {norm}", peer, terms_of(distance.mean(1) * weight, network))
                cases.add(f"{loss}, {theirs}, {norm}", loss, "consistency_models_cifar10", {"weighting": ours, "distance": norm},
                          {"student": "student_c1", "target": "target_c1", "teacher": "teacher_c1"}, inputs, peer, {})


def add_continuous_cm(cases: Cases, folder: Path) -> None:
    jcm = Jcm(folder)
    inputs = {"x0": draw(441, ROWS, SIZE) * 0.5, "noise": draw(442, ROWS, SIZE), "z": np.array([-1.6, -0.7, 0.1, 0.5, 1.2, 2.4])}
    inputs["t"] = np.exp(inputs["z"] * 1.2 - 1.2)
    sde = jcm.sde.KVESDE(t_min=0.0)  # whose boundary is EDM's
    x0, noise, t = (tensor(inputs[k]) for k in ("x0", "noise", "t"))
    for of_teacher in (False, True):
        for name in ("student_c1", "student_c1_zero"):
            def loss(stopgrad: bool) -> tuple[Array, dict]:
                made = jcm.losses.get_continuous_consistency_loss_fn(
                    sde, None, {k: jnp.array(w) for k, w in NETWORKS["teacher_c1"].items()}, {}, None, train=False, loss_norm="l2",
                    stopgrad=stopgrad, dsm_target=not of_teacher)
                return jcm.run(made, name, inputs["x0"], {"uniform": inputs["t"] ** (1 / sde.rho), "normal": inputs["noise"]})
            # Its value is a length without "stopgrad", and a product of no meaning with it; its gradient is meant with it.
            rows = loss(False)[0] ** 2 / 2
            peer: Terms = {"loss": {"per_row": rows, "value": np.asarray(rows.mean()), "gradients": {"student": loss(True)[1]}}}

            network = TorchNetwork(name)
            x_t = x0 + col(t) * noise
            clean = denoise(TorchNetwork("teacher_c1"), x_t, t).detach().numpy() if of_teacher else None
            tau, x, velocity, turn = trig_by_hand(name, inputs, clean)
            cos, sin = np.cos(tau), np.sin(tau)
            f = denoise(network, x_t, t)
            out = (cos * x - f.detach().numpy()) / sin
            slope = cos**2 / SIGMA_DATA * (-cos * (out - velocity) - sin * x - turn / cos)
            derived = terms_of(((f - f.detach() + tensor(slope)) ** 2).sum(1) / 2, network)
            case = f"continuous_cm, {'teacher' if of_teacher else 'data'}, {name}"
            cases.check(case, peer, derived)
            cases.add(case, "continuous_cm", "consistency_models_cifar10", {"velocity": "teacher" if of_teacher else "data"},
                      {"student": name, "teacher": "teacher_c1"}, inputs, peer, {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=Path("."), help="folder that has the checkouts")
    folder, cases = parser.parse_args().peers, Cases()
    commits = {name: commit(folder / name) for name in REPOSITORIES}
    for add in (add_ect, add_tcm, add_scm, add_ct, add_continuous_cm):
        add(cases, folder)
    head = {"made_by": "tests/parity/make_consistency.py", "peers": commits}
    used = {name for case in cases.all for name in case["networks"].values()}
    networks = ",\n".join(f'  "{k}": ' + json.dumps({key: w.tolist() for key, w in NETWORKS[k].items()}) for k in sorted(used))
    lines = ",\n".join("  " + json.dumps(case) for case in cases.all)
    text = json.dumps(head, indent=1)[:-2] + ',\n "networks": {\n' + networks + '\n },\n "cases": [\n' + lines + "\n ]\n}\n"
    json.loads(text)
    (Path(__file__).parent / "consistency.json").write_text(text)
    print(f"{len(cases.all)} cases, at most {cases.largest_difference:.1e} from the formulas")


if __name__ == "__main__":
    main()
