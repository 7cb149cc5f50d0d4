"""A model of EDM as a TorchScript file: python export_edm.py NETWORK.pkl OUT.pt

NETWORK.pkl is a snapshot of https://github.com/NVlabs/edm (or edm2), whose folder has to be on PYTHONPATH: the pickle
holds code of it. The file is the whole denoiser D(y, sigma); with --raw the network F within it, for students that
predict F too. Prints the TOML that reads the file. A pickle runs what is in it: open none that you do not trust.
"""

import argparse
import pickle

import torch

from export_module import export


class Call(torch.nn.Module):
    """forward(x, time, labels): the label one past the last class stands for none, which EDM knows as zeros."""

    def __init__(self, net, raw):
        super().__init__()
        self.net, self.raw, self.classes = net, raw, net.label_dim

    def forward(self, x, time, labels=None):
        classes = None
        if self.classes > 0:
            classes = torch.nn.functional.one_hot(labels, self.classes + 1)[:, : self.classes].to(torch.float32)
        if not self.raw:
            return self.net(x.to(torch.float32), time.to(torch.float32), classes)
        inner = self.net.model if hasattr(self.net, "model") else self.net.unet
        return inner(x.to(torch.float32), time.to(torch.float32), classes)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("out")
    parser.add_argument("--raw", action="store_true", help="F, of networks with EDM's preconditioning alone")
    options = parser.parse_args()
    with open(options.network, "rb") as file:
        stored = pickle.load(file)
    net = (stored["ema"] if isinstance(stored, dict) else stored).float()
    net.use_fp16 = False
    if options.raw and type(net).__name__ not in ("EDMPrecond", "Precond"):
        raise SystemExit(f"--raw: is for EDM's preconditioning, and this is a {type(net).__name__}; expected no --raw")
    shape = [net.img_channels, net.img_resolution, net.img_resolution]

    def example(rows):
        given = [torch.randn(rows, *shape), torch.rand(rows) + 0.1]
        given += [torch.arange(rows) % (net.label_dim + 1)] if net.label_dim > 0 else []
        return tuple(given)

    toml = 'parametrisation = "data"\ntime = "sigma"\ninput = "y"\n'
    if options.raw:
        toml = f'parametrisation = "edm"\npreconditioning = "edm"\nsigma_data = {float(net.sigma_data)}\n'
    toml += f"shape = {shape}\n" + (f"classes = {net.label_dim}\n" if net.label_dim > 0 else "")
    export(Call(net, options.raw), example, options.out, toml)


main()
