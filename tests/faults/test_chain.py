"""Processes killed at random moments, repeatedly: the run ends bit-identical to an undisturbed one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.runs import ONE_THREAD, Seen, row, rows_of

SCRIPT = Path(__file__).parents[1] / "support" / "chain.py"


def run_chain(folder, num_kills, precision, *options, seed=7):
    command = [sys.executable, SCRIPT, folder, str(num_kills), precision, str(seed), *options]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **ONE_THREAD}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def seen(report, num_kills, is_good=True):
    is_good = is_good and report["difference"] is None and report["num_kills"] == num_kills
    kinds = ", ".join(f"{number} x {kind}" for kind, number in sorted(report["killed_in"].items()))
    text = report["difference"] or f"{report['num_iterations']} iterations; {kinds}"
    return Seen(num_kills if is_good else 0, num_kills, text)


@row("*", "chain of kill -9, bfloat16, workers 0/2: bit-identical end", small=4, full=100)
def chain_of_kills(count, folder):
    return seen(run_chain(folder, count, "bfloat16"), count)


@row("*", "the same with float16 and a gradient scaler", small=2, full=100)
def chain_of_kills_with_scaler(count, folder):
    return seen(run_chain(folder, count, "float16", seed=8), count)


@row(25, "kill -9 and restart: same end, at most one interval lost", small=3, full=20)
def lost_work_is_bounded(count, folder):
    report = run_chain(folder, count, "float32", "sync", seed=9)
    return seen(report, count, report["lost"] <= 3)._replace(
        text=f"at most {report['lost']} of 3 iterations lost"
    )


@pytest.mark.parametrize("each", rows_of(__name__), ids=str)
def test_the_row_holds(each, tmp_path):
    each.check(tmp_path)
