"""The command ``ignite``: what can be asked about runs from a terminal."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, TextIO

from ignite import storage
from ignite.exceptions import CheckpointError
from ignite.learner import demo, environment

__all__ = ["main"]


class Row(NamedTuple):
    """What ``ignite doctor`` says about one file."""

    file: str
    step: str
    epoch: str
    score: str
    age: str
    size: str
    verdict: str

    @property
    def is_whole(self) -> bool:
        """Whether the file can be relied on."""
        return self.verdict == "whole"


def main(arguments: Sequence[str] | None = None, out: TextIO | None = None) -> int:
    """Runs the command.

    Args:
        arguments: without the name of the program; those of the process if None.
        out: where to write; standard output if None.

    Returns:
        0 if all is well, 1 if something is damaged, 2 if the arguments make no sense.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> main(["doctor", folder], sys.stdout)  # doctest: +ELLIPSIS
        No checkpoints in ...
        1
    """
    parser = argparse.ArgumentParser(prog="ignite", description="Reignition: training loops for PyTorch.")
    parser.add_argument("--version", action="version", version=f"reignition {metadata.version('reignition')}")
    commands = parser.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser(
        "doctor",
        help="list the checkpoints of a run and check each",
        description="Lists the checkpoints in a folder, the newest first, with step, score, age and size, and reads "
        "each to its end to see whether it is whole. A run goes on from the first one that is, with "
        "trainer.run(data, resume='latest').",
    )
    doctor.add_argument("run_dir", help="the folder that the run writes to, or a URL such as s3://bucket/run")
    doctor.add_argument(
        "--repair", action="store_true",
        help="rebuild index.json, best.pt and last.pt from the files that are whole, and remove what killed "
        "writers have left; no checkpoint is touched",
    )  # fmt: skip
    commands.add_parser(
        "env",
        help="say what a result may depend on beside the program",
        description="Prints versions, platform, accelerator, threads and the commit of the code in this folder, one in "
        "each line: what to put into a question or a bug report. The same is in the run.json of each run.",
    )
    trial = commands.add_parser(
        "demo",
        help="train a small network on handwritten digits, to see how a run looks",
        description="Trains a convolutional network on the 1,797 digits that come with scikit-learn: a quarter of a "
        "minute. Stop it with Ctrl-C or kill -9 and run it again: it goes on exactly. Needs "
        '"reignition[demo]".',
    )
    trial.add_argument("--epochs", type=int, default=12, help="how often to go over the digits (12)")
    trial.add_argument("--output", type=Path, default=Path("runs/demo"), help="the folder of the run (runs/demo)")
    given = parser.parse_args(arguments)
    if given.command == "demo":
        return demo(given.output, given.epochs, sys.stdout if out is None else out)
    if given.command == "env":
        return _env(sys.stdout if out is None else out)
    return _doctor(given.run_dir, given.repair, sys.stdout if out is None else out)


def _env(out: TextIO) -> int:
    found = environment()
    width = max(map(len, found))
    for name, value in found.items():
        out.write(f"{name:{width}}  {' '.join(value) if isinstance(value, list) else value}\n")
    return 0


def _doctor(run_dir: str, repair: bool, out: TextIO) -> int:
    try:
        place = storage.open_place(run_dir, create=False)
    except (OSError, ValueError) as error:
        out.write(f"{error}\n")
        return 2
    rows = list(_examine(place))
    if not rows:
        out.write(f"No checkpoints in {run_dir}\n")
        return 1
    out.write(_table(rows))
    newest = next((row.file for row in rows if row.is_whole), None)
    out.write(f"resume='latest' takes {newest}\n" if newest else "None of them can be resumed from\n")
    if repair:
        swept = place.sweep()
        index = storage.build_index(place)
        out.write(
            f"index.json has {len(index.rows)} checkpoints now; {len(swept)} leftovers of killed writers removed\n"
        )
    return 0 if all(row.is_whole for row in rows) else 1


def _examine(place: storage.Place) -> Iterator[Row]:
    for found in storage.scan(place):
        try:
            with place.local(found.name) as path:
                storage.verify(path)
                size = f"{path.stat().st_size / 1e6:.1f} MB"
            verdict = "whole"
        except (CheckpointError, OSError) as error:
            size, verdict = "?", f"DAMAGED: {error}"
        note = found.note
        yield Row(
            found.name,
            "?" if found.step is None else str(found.step),
            "?" if note is None or note.epoch is None else str(note.epoch),
            "-" if note is None or note.score is None else f"{note.score_name or 'score'}={note.score:.6g}",
            "?" if note is None else _age(time.time() - note.created),
            size,
            verdict,
        )


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"  # clocks of two machines may differ


def _table(rows: Sequence[Row]) -> str:
    head = Row("file", "step", "epoch", "score", "age", "size", "state")
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
