"""A stand-in for k-diffusion, with what the exporter calls."""

from . import config
