"""The rows of the fault matrix: functions that provoke a fault several times and count the correct results.

A test runs a row with its small count; ``scripts/bench faults`` runs all of them with their full counts. In a file
``tests/faults/test_*.py``::

    @row(1, "SIGKILL during save", small=10, full=100)
    def kill_during_save(count, folder):
        ...                                        # provoke it `count` times; `folder` is empty and only for this row
        return Seen(num_good, count, "3 in the fsync")   # passed, total, and a remark for the table

    @pytest.mark.parametrize("each", rows_of(__name__), ids=str)
    def test_the_row_holds(each, tmp_path):
        each.check(tmp_path)

``total`` is what was really provoked, so it may differ from ``count`` (a row that goes over each system call of a save
ignores the count). A row whose fault did not fire raises, or leaves it out of ``total``: a total of 0 never passes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
"""For the environment of processes that fork: only the thread that forks goes on in the child."""


class Seen(NamedTuple):
    """What was seen: in how many of how many cases all was as the bar demands."""

    passed: int
    total: int
    text: str = ""


@dataclass(frozen=True)
class Row:
    number: int | str
    title: str
    small: int
    full: int
    run: Callable[[int, Path], Seen]
    bar: str = ""

    def __str__(self) -> str:
        return f"{self.number}-{self.run.__name__}"

    def check(self, folder: Path, count: int | None = None) -> Seen:
        """Runs the row, with its small count if none is given, and raises unless it is as good as it has to be."""
        seen = self.run(self.small if count is None else count, folder)
        name = f"row {self.number} ({self.title})"
        assert seen.total > 0, f"{name}: no fault fired"
        assert seen.passed == seen.total, f"{name}: {seen.passed} of {seen.total}; {seen.text}"
        return seen


ROWS: list[Row] = []


def row(number: int | str, title: str, *, small: int, full: int, bar: str = ""):
    """Registers the decorated ``function(count, folder) -> Seen``; see the top of this file.

    Args:
        number: of the matrix; several functions may share one.
        title: the fault, in a few words.
        small: the count for tests, which should take a second or few.
        full: the count for the benchmark.
        bar: what is demanded, for the table; by default, that all cases pass.
    """

    def register(function: Callable[[int, Path], Seen]) -> Callable[[int, Path], Seen]:
        ROWS.append(Row(number, title, small, full, function, bar))
        return function

    return register


def rows_of(module: str) -> list[Row]:
    """The rows that the module of this name has registered: in a test file, ``rows_of(__name__)``."""
    return [each for each in ROWS if each.run.__module__ == module]
