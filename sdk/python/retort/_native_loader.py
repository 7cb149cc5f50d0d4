"""Loads LibTorch, as the torch that is installed, and then the module that is compiled against it."""

import torch  # first: its libraries are the ones that the module's own need

from ._built_with import TORCH

_found = torch.__version__.split("+")[0].split(".")[:2]
if _found != TORCH.split(".")[:2]:
    raise ImportError(
        f"this retort was built with torch {TORCH}, and torch {torch.__version__} is installed; expected "
        f"torch {'.'.join(TORCH.split('.')[:2])}.*: install that, or build retort anew (sdk/python/README.md)"
    )
from . import _native as native  # noqa: E402
