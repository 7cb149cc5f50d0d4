#!/usr/bin/env python3
"""Makes tableaux.json: coefficients of Runge-Kutta methods, for tests/sdk/tableau.cpp.

    pip install torch numpy scipy mpmath einops nodepy==1.1.1 six sympy diffrax==0.7.2
    git clone https://github.com/ClownsharkBatwing/RES4LYF
    python make_tableaux.py --res4lyf RES4LYF

Methods of numbers are nodepy's, diffrax's (Tsitouras) and scipy's (DOP853). Exponential ones are RES4LYF's at some step lengths h,
where z = -h; it computes them in 80 digits. Some of its methods are left out, as their classical order conditions fail (h -> 0):
`res_5s_hochbruck-ostermann` and `etdrk4_4s` (sum b a c is 0.42 and 0.33 instead of 1/6: phi functions that their source scales by powers
of c are taken without), `res_3s_sunstar` and, at the default nodes, `res_3s_strehmel_weiner` and `dpmpp_3s` are of order 2, `res_16s` is
of order 1 (sum b c is 0.04 instead of 1/2).
Every row is checked once more: rows of a sum to c, or to c phi_1(-c h), and b to 1, or phi_1(-h).
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import subprocess
import sys
import types
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

NODEPY = {
    "heun": "Heun22", "midpoint": "Mid22", "ralston": "MTE22", "heun_3": "Heun33", "ssprk_3": "SSP33", "ssprk_4_3": "SSP43",
    "bogacki_shampine_3": "BS3", "rk4": "RK44", "merson_4": "Merson43", "zonneveld_4": "Zonneveld43", "ssprk_5_4": "SSP54",
    "ssprk_10_4": "SSP104", "butcher_5": "BuRK65", "fehlberg_5": "Fehlberg45", "cash_karp_5": "CK5", "dormand_prince_5": "DP5",
    "higham_hall_5": "HH5", "bogacki_shampine_5": "BS5", "implicit_euler": "BE", "trapezoidal": "LobattoIIIA2",
    "crouzeix_3": "SDIRK23", "crouzeix_4": "SDIRK34", "sdirk_4": "SDIRK54", "gauss_legendre_4": "GL2", "gauss_legendre_6": "GL3",
    "radau_iia_3": "RadauIIA2", "radau_iia_5": "RadauIIA3", "lobatto_iiia_4": "LobattoIIIA3", "lobatto_iiic_2": "LobattoIIIC2",
    "lobatto_iiic_4": "LobattoIIIC3",
}
RES4LYF = {
    "exponential_euler": "ddim", "res_2s": "res_2s", "dpmpp_2s": "dpmpp_2s", "res_3s": "res_3s",
    "hochbruck_ostermann_3": "res_3s_alt", "etdrk_3": "res_3s_cox_matthews", "etdrk_4": "res_4s_cox_matthews",
    "krogstad_4": "res_4s_krogstad", "strehmel_weiner_4": "res_4s_strehmel_weiner", "luan_ostermann_4": "res_6s",
    "luan_ostermann_5": "res_8s",
}
STEPS = [0.1, 1.0, 3.0]


def numbers(row) -> list[float]:
    return [float(x) for x in row]


def of_nodepy() -> list[dict]:
    import nodepy.runge_kutta_method as rk
    methods = rk.loadRKM()
    out = []
    for name, theirs in NODEPY.items():
        m = methods[theirs]
        a, b = [numbers(row) for row in m.A], numbers(m.b)
        assert all(abs(sum(row) - float(c)) < 1e-12 for row, c in zip(a, m.c)) and abs(sum(b) - 1) < 1e-12
        case = {"tableau": name, "peer": f"nodepy {theirs}", "a": a, "b": b, "tolerance": 1e-14}
        if hasattr(m, "bhat") and name != "ssprk_3":  # its pair is another one
            case["embedded"] = numbers(m.bhat)
        out.append(case)
    return out


def of_diffrax() -> dict:
    from diffrax._solver.tsit5 import _tsit5_tableau as t
    n = len(t.b_sol)
    a = [[0.0] * n] + [numbers(row) + [0.0] * (n - len(row)) for row in t.a_lower]
    return {"tableau": "tsitouras_5", "peer": "diffrax Tsit5", "a": a, "b": numbers(t.b_sol),
            "embedded": numbers(np.asarray(t.b_sol) - np.asarray(t.b_error)), "tolerance": 1e-14}


def of_scipy() -> dict:
    from scipy.integrate._ivp import dop853_coefficients as d
    b = np.append(d.B, 0)
    return {"tableau": "dormand_prince_8", "peer": "scipy DOP853", "a": [numbers(row[:13]) for row in d.A[:13]], "b": numbers(b),
            "embedded": numbers(b - d.E5), "tolerance": 1e-14}


def load_res4lyf(folder: Path):
    """Its table of methods alone; the rest of the package, which needs a user interface, is made void."""
    package = types.ModuleType("res4lyf_package")
    package.__path__ = [str(folder)]
    beta = types.ModuleType("res4lyf_package.beta")
    beta.__path__ = [str(folder / "beta")]
    helper = types.ModuleType("res4lyf_package.helper")

    class ExtraOptions:
        def __init__(self, text):
            pass

        def __call__(self, name, default=None, *args, **kwargs):
            return False if default is None else default

    helper.ExtraOptions = ExtraOptions
    helper.get_extra_options_kv = lambda name, default, text: default
    helper.extra_options_flag = lambda name, text: False
    top = types.ModuleType("res4lyf_package.res4lyf")
    top.get_display_sampler_category = lambda: False
    top.RESplain = lambda *a, **k: None
    for module in (package, beta, helper, top):
        sys.modules[module.__name__] = module
    return importlib.import_module("res4lyf_package.beta.rk_coefficients_beta")


def phi1(z: float) -> float:
    return 1.0 if z == 0 else math.expm1(z) / z


def of_res4lyf(folder: Path) -> list[dict]:
    table = load_res4lyf(folder)
    out = []
    for name, theirs in RES4LYF.items():
        for h in STEPS:
            one = torch.ones((), dtype=torch.float64)
            keys = {"c2": 1 / 3, "c3": 2 / 3} if theirs == "res_3s_alt" else {}
            a, b, _, _, ci, *_ = table.get_rk_methods_beta(theirs, torch.tensor(h, dtype=torch.float64), sigma=one, sigma_next=one * math.exp(-h),
                                                               sigma_down=one * math.exp(-h), **keys)
            a, b, ci = [numbers(row) for row in a], numbers(b[0]), numbers(ci)
            n = len(b)
            a, ci = a[:n], ci[:n]
            for row, c in zip(a, ci):
                assert abs(sum(row) - c * phi1(-c * h)) < 1e-12, (theirs, row, c)
            assert abs(sum(b) - phi1(-h)) < 1e-12, (theirs, b)
            out.append({"tableau": name, "peer": f"RES4LYF {theirs}", "h": h, "a": a, "b": b, "tolerance": 1e-12})
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--res4lyf", type=Path, required=True)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    cases = of_nodepy() + [of_diffrax(), of_scipy()] + of_res4lyf(arguments.res4lyf)
    commit = subprocess.run(["git", "-C", arguments.res4lyf, "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                            check=False).stdout.strip()
    peers = {name: version(name) for name in ("nodepy", "diffrax", "scipy")} | {"RES4LYF": commit or "unknown"}
    out = Path(__file__).with_name("tableaux.json")
    text = json.dumps({"made_by": "make_tableaux.py", "peers": peers, "cases": cases})
    out.write_text(text.replace('{"tableau"', '\n{"tableau"') + "\n")
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
