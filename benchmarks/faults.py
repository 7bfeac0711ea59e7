"""The fault matrix with full counts: for each row the injected fault, the successes and the target. -h for options."""

import argparse
import importlib
import os
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"


def load_rows():
    sys.path.insert(0, str(TESTS))
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])
    )
    os.environ.update(
        importlib.import_module("support.runs").ONE_THREAD
    )  # before torch and numpy are imported
    for path in sorted((TESTS / "faults").glob("test_*.py")):
        importlib.import_module(f"faults.{path.stem}")
    return sorted(
        importlib.import_module("support.runs").ROWS,
        key=lambda row: (str(row.number).zfill(3), row.title),
    )


def measure(row, count):
    """Returns the results of a row and its duration."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        try:
            seen = row.run(count, Path(folder))
        except Exception as error:
            traceback.print_exc()
            seen = type(error).__name__, str(error)
    return seen, time.perf_counter() - started


def show(row, seen, seconds):
    """Prints a line of the table; returns whether the target is met."""
    is_seen = hasattr(seen, "passed")
    is_good = is_seen and seen.total > 0 and seen.passed == seen.total
    result = f"{seen.passed}/{seen.total}" if is_seen else seen[0]
    text = seen.text if is_seen else seen[1]
    verdict = "PASS" if is_good else "FAIL"
    print(
        f"{row.number!s:>4}  {row.title:<64.64} {result:>11} / {row.bar or 'all':<12} {seconds:>6.1f} s  {verdict}"
    )
    if text and (row.number == "*" or not is_good):
        print(f"      {text[:1000]}")
    sys.stdout.flush()
    return is_good


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="with the counts that tests use")
    parser.add_argument("--row", action="append", help="only this number; may be repeated")
    options = parser.parse_args()
    rows = [row for row in load_rows() if options.row is None or str(row.number) in options.row]
    print(f"{'row':>4}  {'fault':<64} {'seen':>11} / {'bar':<12} {'time':>8}")
    num_missed, started = 0, time.perf_counter()
    for row in rows:
        num_missed += not show(row, *measure(row, row.small if options.small else row.full))
    print(
        f"{len(rows) - num_missed} of {len(rows)} rows meet their bar, in {time.perf_counter() - started:.0f} s"
    )
    return 1 if num_missed or not rows else 0


if __name__ == "__main__":
    raise SystemExit(main())
