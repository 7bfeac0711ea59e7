"""What happened in runs: reads their folders, compares them, and renders them as a page.

``ignite report`` and ``ignite diff`` are the same from a terminal. Nothing here needs the programs
of the runs, and nothing is written to their folders.
"""

from ignite.report.comparison import Comparison, Difference, Parting, compare
from ignite.report.folder import (
    Checkpoint,
    Curve,
    Run,
    checkpoints_in,
    find_runs,
    read_run,
    read_runs,
)
from ignite.report.page import write_page
from ignite.report.server import LiveReport
from ignite.report.timeline import Mark, Span, Timeline

__all__ = [
    "Checkpoint",
    "Comparison",
    "Curve",
    "Difference",
    "LiveReport",
    "Mark",
    "Parting",
    "Run",
    "Span",
    "Timeline",
    "checkpoints_in",
    "compare",
    "find_runs",
    "read_run",
    "read_runs",
    "write_page",
]
