"""Shared setup of all tests: seeds, one thread per worker, and the package ``support``."""

import gc
import os
import random
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)

# Programs for processes of their own, which change the process that imports them.
collect_ignore = ["support/ascii_program.py", "support/windows_program.py"]

# The package `support` is importable here and in the processes that tests start.
FOLDER = str(Path(__file__).parent)
sys.path.insert(0, FOLDER)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [FOLDER, os.environ.get("PYTHONPATH")]))

# The same examples in each run, so that a failure is the change's fault; HYPOTHESIS_PROFILE=thorough looks further.
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=25)
settings.register_profile(
    "thorough",
    deadline=None,
    max_examples=1000,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_collection_finish() -> None:
    """Modules and tests live to the end: no garbage collection needs to look at them again."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the files that took most time, after long runs: CONTRIBUTING.md says how long they may take."""
    seconds = Counter[str]()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    if seconds.total() > 100:
        terminalreporter.section(f"seconds by file, of {seconds.total():.0f} in all processes")
        for path, value in seconds.most_common(12):
            terminalreporter.line(f"{value:6.1f}  {path}")


@pytest.fixture(autouse=True)
def seed() -> int:
    """Seeds python, numpy and torch before each test; a test that needs the number asks for it by name."""
    value = 20240229
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)
    return value
