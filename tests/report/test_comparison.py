"""Differences between two runs."""

import io
import math

import pytest

from ignite.cli import main
from ignite.report import compare, read_run
from ignite.report.comparison import part, shown
from support.reported_runs import make_data, train


def diff(first, second):
    out = io.StringIO()
    return main(["diff", str(first), str(second)], out), out.getvalue()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    top = tmp_path_factory.mktemp("runs")
    train(top / "a")
    train(top / "same")
    train(top / "other", lr=0.02)
    x, y = make_data()
    x[79, 0] += 0.5  # the sign, which is the class, stays
    train(top / "data", data=(x, y))
    return top


def test_equal_runs_differ_in_nothing(runs):
    code, text = diff(runs / "a", runs / "same")
    assert (code, text.splitlines()[2:]) == (0, [
        "", "configuration: the same", "code: the same", "environment: the same", "data: the same",
        "losses: equal in all 45 common steps, up to step 45",
    ])  # fmt: skip


def test_another_rate_parts_the_losses_in_the_second_step(runs):
    # The first loss is that of equal weights; only every tenth is logged, the others are in the checkpoint.
    comparison = compare(read_run(runs / "a"), read_run(runs / "other"))
    assert [(one.name, one.first, one.second) for one in comparison.config] == [("lr", 0.05, 0.02)]
    assert [*comparison.code, *comparison.environment, *comparison.data] == []
    losses = comparison.losses
    assert (losses.num_common, losses.last_equal, losses.step) == (45, 1, 2)
    code, text = diff(runs / "a", runs / "other")
    assert code == 1
    assert "  lr\n    A  0.05\n    B  0.02\n" in text
    assert f"losses: equal up to step 1, differ first in step 2: {losses.first!r} and" in text


def test_other_data_are_told_by_their_fingerprint(runs):
    comparison = compare(read_run(runs / "a"), read_run(runs / "data"))
    assert {one.name for one in comparison.data} <= {"training.hash", "validation.hash"}
    assert len(comparison.data) == 1  # the sample is in one of them
    assert [*comparison.config, *comparison.code, *comparison.environment] == []


def test_without_checkpoints_the_logged_losses_are_compared(runs):
    first, second = (read_run(runs / name) for name in ("a", "other"))
    bare = [type(run)(**{**vars(run), "checkpoints": ()}) for run in (first, second)]
    losses = compare(*bare).losses
    assert (losses.num_common, losses.last_equal, losses.step) == (4, None, 10)


def test_code_and_environment(runs):
    run = read_run(runs / "a")
    session = {**run.environment, "git_commit": "f" * 40, "torch": "1.0", "new": "x"}
    comparison = compare(run, type(run)(**{**vars(run), "sessions": [session]}))
    assert [one.name for one in comparison.code] == ["git_commit"]
    assert [(one.name, one.second) for one in comparison.environment] == [
        ("torch", "1.0"),
        ("new", "x"),
    ]
    assert comparison.environment[1].first is None


def test_losses_that_are_not_numbers_are_equal_to_each_other():
    assert part({1: math.nan, 2: 1.0}, {1: math.nan, 2: math.nan}).step == 2
    assert str(part({}, {1: 2.0})) == "cannot be compared: no step has a recorded loss in both runs"
    assert str(part({1: 0.5}, {1: 0.25})).startswith(
        "differ first in step 1: 0.5 and 0.25 (0.25 apart)"
    )


def test_a_folder_that_is_none_is_an_error(tmp_path):
    code, text = diff(tmp_path, tmp_path / "nowhere")
    assert code == 2
    assert "path should be the folder of a run" in text


def test_values_are_shown_in_words():
    assert [shown(value) for value in (True, 1e-8, [1, None], "x")] == ["yes", "1e-08", "1 -", "x"]
