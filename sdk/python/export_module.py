"""What the exporters share: a module of Python is traced into a TorchScript file, and the file is held against it."""

import warnings

import torch


def trace(module, example, file):
    """Writes the module's trace, and holds it against the module. example(rows): what forward takes, tensors alone."""
    module = module.eval().requires_grad_(False)
    warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # what they warn of is measured below
    with torch.no_grad():
        traced = torch.jit.trace(module, example(2), check_trace=False)
        for rows in (1, 3):  # a trace keeps what Python decided, so it is tried on other numbers of rows
            given = example(rows)
            wanted, got = module(*given), traced(*given)
            worst = (wanted - got).abs().max() / wanted.abs().max().clamp(min=1e-6)
            if got.shape != wanted.shape or not worst < 1e-3:
                raise SystemExit(f"the trace does not follow the module: {rows} row(s) differ by {worst:.1e}")
    traced.save(file)


def export(module, example, file, toml):
    """module: its forward(x, time, ...) takes tensors alone. example(rows): such tensors. toml: how Retort reads it."""
    trace(module, example, file)
    print(f'[teacher]\ntype = "torchscript"\nfile = "{file}"\n{toml}'.rstrip())


def spell(value):
    """A value as TOML spells it."""
    return repr(value).replace("'", '"') if not isinstance(value, bool) else str(value).lower()
