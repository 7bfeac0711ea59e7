"""The accelerator of this machine, or the CPU; and the figures that ``scripts/gpu-check`` prints."""

import contextlib
import time
import traceback
import warnings
from pathlib import Path

import pytest
import torch

HAS_CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda", torch.cuda.current_device()) if HAS_CUDA else torch.device("cpu")
needs_cuda = pytest.mark.skipif(not HAS_CUDA, reason="only an NVIDIA GPU shows it")

FIGURES = []
"""(what, value, limit) for the table at the end."""


def figure(what, value, limit=""):
    FIGURES.append((what, value, limit))


def synchronize():
    if HAS_CUDA:
        torch.cuda.synchronize(DEVICE)


def seconds(function):
    """The time of a call, with the work on the device that was enqueued."""
    synchronize()
    start = time.perf_counter()
    function()
    synchronize()
    return time.perf_counter() - start


def memory_allocated():
    return torch.cuda.memory_allocated(DEVICE) if HAS_CUDA else 0


class Waits:
    """Notes where the host waits for the GPU, by ``torch.cuda.set_sync_debug_mode``.

    Torch warns for each wait, from the line that made it; the warnings are collected in ``waits``.
    """

    device = DEVICE
    tolerance = 1e-3  # sums of float32 are in another order there

    def __init__(self):
        self.waits = []
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        self._stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("always")
        warnings.showwarning = self._note
        torch.cuda.set_sync_debug_mode("warn")
        self._stack.callback(torch.cuda.set_sync_debug_mode, "default")
        return self

    def __exit__(self, *error):
        self._stack.close()

    def _note(self, message, category, filename, lineno, file=None, line=None):
        if "synchronizing CUDA operation" not in str(message):
            return
        ours = [
            f"{Path(frame.filename).name}:{frame.lineno}"
            for frame in traceback.extract_stack()
            if "/ignite/" in frame.filename or "/tests/" in frame.filename
        ]
        self.waits.append(f"{ours[-2] if len(ours) > 1 else filename} {message}")
