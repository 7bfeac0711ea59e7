"""Tests that need an accelerator. ``scripts/gpu-check`` runs this folder alone, with only torch and pytest.

Without an accelerator, tests that can are run on the CPU, and the others are skipped with the reason.
"""

import os
import random
import sys
from pathlib import Path

import pytest
import torch

TESTS = str(Path(__file__).resolve().parents[1])
if TESTS not in sys.path:
    sys.path.insert(0, TESTS)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [TESTS, os.environ.get("PYTHONPATH")]))


@pytest.fixture(autouse=True)
def seed():
    random.seed(20240229)
    torch.manual_seed(20240229)
    return 20240229


def pytest_collection_modifyitems(items):
    """Without an accelerator, what takes long is left out of default runs of all tests."""
    from support.device import HAS_CUDA

    for item in items:
        is_here = item.path.parent == Path(__file__).parent
        if is_here and not HAS_CUDA and item.path.name in ("test_processes.py", "test_speed.py"):
            item.add_marker(pytest.mark.slow)


def pytest_report_header(config):
    from support.device import DEVICE, HAS_CUDA

    name = torch.cuda.get_device_name(DEVICE) if HAS_CUDA else "no accelerator"
    return f"torch {torch.__version__}, CUDA {torch.version.cuda}, device {DEVICE}: {name}"


def pytest_terminal_summary(terminalreporter):
    from support.device import FIGURES

    if not FIGURES:
        return
    terminalreporter.section("figures")
    rows = [("what", "value", "limit"), *FIGURES]
    widths = [max(len(str(row[i])) for row in rows) for i in range(3)]
    for row in rows:
        cells = (
            f"{cell!s:<{width}}" if i == 0 else f"{cell!s:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        terminalreporter.write_line("  ".join(cells).rstrip())
