"""The command ``ignite``: inspects runs from a terminal."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from ignite import report, storage
from ignite.learner import demo, environment
from ignite.storage.mailbox import Mailbox

__all__ = ["main"]

CHECKPOINTS = "checkpoints"
"""Subfolder of a run in which a learner saves checkpoints."""
WHOLE = "whole"
FOREIGN = "readable, not written by this library"
NO_READER = 141
"""Exit code after ``ignite ... | head``, as of a program that SIGPIPE ends."""
_NO_RUN = (
    "No intact checkpoint of a run; checkpoints of single objects are loaded with "
    "Checkpoint.load_objects"
)


class Row(NamedTuple):
    """One row of ``ignite doctor``."""

    file: str
    step: str
    epoch: str
    score: str
    age: str
    size: str
    verdict: str

    @property
    def is_sound(self) -> bool:
        """Whether the file is intact."""
        return self.verdict in (WHOLE, FOREIGN)


def main(arguments: Sequence[str] | None = None, out: TextIO | None = None) -> int:
    """Runs the command.

    Args:
        arguments: the arguments without the program name; by default those of the process.
        out: the stream to write to; by default standard output.

    Returns:
        The exit code: 0 for success, 1 if a checkpoint is damaged or missing, or a package is, 2
        for invalid arguments, and 141 if the reader of the output has gone, as in
        ``ignite env | head -1``.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> main(["doctor", folder], sys.stdout)  # doctest: +ELLIPSIS
        No checkpoints in ...
        1
    """
    if out is not None:
        return _run(arguments, out)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names in any encoding
    try:
        try:
            return _run(arguments, sys.stdout)
        finally:
            sys.stdout.flush()  # here, where the error can be caught, not while Python shuts down
    except BrokenPipeError:
        if _has_reader(sys.stdout):
            raise  # of another pipe or connection
        # Buffered output would raise again at exit, so it is discarded.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER


def _has_reader(stream: TextIO) -> bool:
    """Whether the other end of a pipe is open; False where that cannot be asked."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(stream.fileno(), 0)  # errors are reported without being asked for
    return not poll.poll(0)


def _run(arguments: Sequence[str] | None, out: TextIO) -> int:
    """Parses the arguments and calls the command."""
    given = _parser().parse_args(arguments)
    if given.command == "demo":
        return demo(given.output, given.epochs, out)
    if given.command == "env":
        return _env(out)
    if given.command == "report":
        return _report_runs(given, out)
    if given.command == "diff":
        return _diff(given.first, given.second, out)
    if given.command == "ctl":
        return _control(given.run_dir, given.action, given.values, given.timeout, out)
    return _doctor(given.run_dir, given.repair, out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ignite", description="Reignition: training loops for PyTorch."
    )
    parser.add_argument(
        "--version", action="version", version=f"reignition {sys.modules['ignite'].__version__}"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser(
        "doctor",
        help="list and verify the checkpoints of a run",
        description="Lists the checkpoints in the folder of a run, or in its subfolder "
        "checkpoints, newest first, with step, score, age and size, and verifies each. "
        "trainer.run(data, resume='latest') resumes from the first intact one.",
    )
    doctor.add_argument("run_dir", help="folder of the run, or a URL such as s3://bucket/run")
    doctor.add_argument(
        "--repair",
        action="store_true",
        help="rebuild index.json, best.pt and last.pt from the intact files, and remove temporary "
        "files of killed processes; checkpoints are not changed",
    )
    commands.add_parser(
        "env",
        help="print the environment, for bug reports",
        description="Prints versions, platform, accelerator, number of threads and the git commit "
        "of this folder, one per line, for questions and bug reports. The run.json of each run has "
        "the same information.",
    )
    _add_reports(commands)
    _add_control(commands)
    demo_command = commands.add_parser(
        "demo",
        help="train a small network on handwritten digits",
        description="Trains a convolutional network on the 1,797 digits of scikit-learn, in about "
        "15 seconds. Stop it with Ctrl-C or kill -9 and run it again: it resumes exactly. Needs "
        '"reignition[demo]".',
    )
    demo_command.add_argument(
        "--epochs", type=int, default=12, help="number of epochs (default: 12)"
    )
    demo_command.add_argument(
        "--output",
        type=Path,
        default=Path("runs/demo"),
        help="folder of the run (default: runs/demo)",
    )
    return parser


def _add_reports(commands: Any) -> None:
    """Adds the commands that read the folders of runs."""
    page = commands.add_parser(
        "report",
        help="write a page about runs: curves, configurations, checkpoints",
        description="Writes one HTML file about the given runs, which works without a network: "
        "curves over steps, epochs and time, best values, configurations with their differences, "
        "environment, checkpoints with their state, time by part, and failures. Needs "
        '"reignition[report]".',
    )
    page.add_argument("runs", nargs="+", help="folders of runs, or folders that contain some")
    page.add_argument(
        "--output", "-o", default="report.html", help="file to write (default: report.html)"
    )
    page.add_argument(
        "--live",
        action="store_true",
        help="serve the page to this machine, and follow the runs, instead of writing a file",
    )
    page.add_argument("--port", type=int, default=0, help="port for --live (default: a free one)")
    diff = commands.add_parser(
        "diff",
        help="compare two runs",
        description="Tells what differs between two runs: configuration, code, environment, data, "
        "and the first step in which the losses part. The exit code is 0 if nothing differs, else 1.",
    )
    diff.add_argument("first", help="folder of a run")
    diff.add_argument("second", help="folder of another run")


def _report_runs(given: argparse.Namespace, out: TextIO) -> int:
    folders, others = report.find_runs(given.runs)
    for path in others:
        out.write(f"{path} is no run\n")
    if not folders:
        return 1
    runs = folders if others else given.runs
    try:
        if given.live:
            server = report.LiveReport(runs, given.port)
        else:
            written = report.write_page(given.output, report.read_runs(folders))
    except (ValueError, OSError, ModuleNotFoundError) as error:
        out.write(f"{error}\n")
        return 2
    if not given.live:
        out.write(f"{written} shows {len(folders)} run{'s' if len(folders) > 1 else ''}\n")
        return 0
    with server:
        out.write(f"{server.url} follows the runs; Ctrl-C ends it\n")
        out.flush()
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


def _diff(first: str, second: str, out: TextIO) -> int:
    try:
        comparison = report.compare(report.read_run(first), report.read_run(second))
    except (ValueError, OSError) as error:
        out.write(f"{error}\n")
        return 2
    out.write(f"{comparison}\n")
    return 0 if comparison.is_same else 1


def _add_control(commands: Any) -> None:
    control = commands.add_parser(
        "ctl",
        help="control a run that is going on",
        description="Asks the run in a folder to pause, go on, save, stop (saved, so that it can be "
        "resumed), validate, or set lr=0.01, between two iterations, and prints what it has done. "
        "Works on any disk that both see. Programs add further actions with "
        "trainer.control.add(name, action).",
    )
    control.add_argument("run_dir", type=Path, help="folder of the run")
    control.add_argument(
        "action", help="pause, go, save, stop, validate, set, or the program's own"
    )
    control.add_argument("values", nargs="*", metavar="name=value", help="such as lr=0.01, for set")
    control.add_argument(
        "--timeout", type=float, default=60.0, help="seconds to wait for the answer (default: 60)"
    )


def _env(out: TextIO) -> int:
    values = environment()
    width = max(map(len, values))
    for name, value in values.items():
        out.write(f"{name:{width}}  {' '.join(value) if isinstance(value, list) else value}\n")
    return 0


def _control(
    run_dir: Path, action: str, values: Sequence[str], timeout_s: float, out: TextIO
) -> int:
    """Sends a command to a run, and writes the answer."""
    arguments: dict[str, Any] = {}
    for text in values:
        name, sign, value = text.partition("=")
        if not sign or not name:
            out.write(f"{action} takes name=value, such as lr=0.01, but given {text!r}\n")
            return 2
        try:
            arguments[name] = json.loads(value)
        except ValueError:
            arguments[name] = value
    folder = run_dir.expanduser() / "control"
    if not folder.is_dir():
        out.write(
            f"{run_dir} should be the folder of a run that can be controlled, but has no {folder.name}/\n"
        )
        return 2
    try:
        answer = Mailbox(folder).ask(action, arguments, timeout_s=timeout_s)
    except OSError as error:  # a TimeoutError is one
        out.write(f"{error}\n")
        return 1
    out.write(f"{action}: {answer.text}\n")
    return 0 if answer.is_done else 1


def _doctor(run_dir: str, repair: bool, out: TextIO) -> int:
    try:
        found = [(folder, place) for folder, place in _places(run_dir) if storage.scan(place)]
    except (OSError, ValueError) as error:
        out.write(f"{error}\n")
        return 2
    if not found:
        out.write(f"No checkpoints in {run_dir}{_hint(run_dir)}\n")
        return 1
    is_intact = True
    for folder, place in found:
        if folder != run_dir:
            out.write(f"{folder}\n")
        is_intact &= _report(place, repair, out)
    return 0 if is_intact else 1


def _places(run_dir: str) -> Iterator[tuple[str, storage.Place]]:
    """Yields the folder, and the subfolder in which a learner saves checkpoints."""
    yield run_dir, storage.open_place(run_dir, create=False)
    inner = f"{run_dir.rstrip('/')}/{CHECKPOINTS}"
    if "://" in run_dir or Path(inner).expanduser().is_dir():
        yield inner, storage.open_place(inner, create=False)


def _hint(run_dir: str) -> str:
    """Returns a hint that names subfolders with checkpoints, for a folder of several runs."""
    if "://" in run_dir:
        return ""
    top = Path(run_dir).expanduser()
    below = [
        path for path in sorted((*top.glob("*/"), *top.glob(f"*/{CHECKPOINTS}/"))) if path.is_dir()
    ]
    found = [str(path) for path in below if storage.scan(storage.open_place(path, create=False))]
    return f", but there are checkpoints in {', '.join(found[:5])}" if found else ""


def _report(place: storage.Place, repair: bool, out: TextIO) -> bool:
    """Writes a report of the checkpoints; returns whether all are intact."""
    checkpoints = storage.scan(place)
    rows = [_row(found) for found in report.checkpoints_in(place)]
    out.write(_table(rows))
    whole = {row.file for row in rows if row.verdict == WHOLE}
    newest = next(
        (
            found.name
            for found in checkpoints
            if found.name in whole and found.note and found.note.family == storage.RUN_FAMILY
        ),
        None,
    )
    out.write(f"resume='latest' loads {newest}\n" if newest else f"{_NO_RUN}\n")
    if repair:
        swept = place.sweep()
        index = storage.build_index(place)
        out.write(
            f"index.json now lists {len(index.rows)} checkpoints; removed {len(swept)} temporary "
            "files of killed processes\n"
        )
    return all(row.is_sound for row in rows)


def _row(found: report.Checkpoint) -> Row:
    verdict = {"verified": WHOLE, "foreign": FOREIGN}.get(found.state, f"DAMAGED: {found.problem}")
    return Row(
        found.file,
        "?" if found.step is None else str(found.step),
        "?" if found.epoch is None else str(found.epoch),
        "-" if found.score is None else f"{found.score_name or 'score'}={found.score:.6g}",
        "?" if found.created is None else _age(time.time() - found.created),
        "?" if found.state == "damaged" else f"{(found.size_bytes or 0) / 1e6:.1f} MB",
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
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
