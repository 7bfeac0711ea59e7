"""The record of a run in its folder: starts, resumes, failures, ends, data, rates, times."""

import json
import os
import signal

import pytest
import torch

from ignite.engine import Engine, Events
from ignite.handlers import Preemption, RunProfiler
from ignite.learner._data.fingerprint import fingerprint
from ignite.learner._data.sources import as_loader
from ignite.storage import read_lines
from support.reported_runs import make_data, make_learner, train


def told(folder):
    return [
        (line["event"], line["step"], line["epoch"]) for line in read_lines(folder / "events.jsonl")
    ]


def test_a_failure_a_resume_and_the_end_are_told(tmp_path):
    with pytest.raises(RuntimeError, match="memory"):
        train(tmp_path, fails_at=20)
    train(tmp_path, resume="latest")
    train(tmp_path, resume="latest")  # finds the run finished, and tells nothing
    assert told(tmp_path) == [
        ("started", 0, 0),
        ("epoch", 15, 1),
        ("failed", 20, 2),
        ("resumed", 15, 1),
        ("epoch", 30, 2),
        ("epoch", 45, 3),
        ("finished", 45, 3),
    ]
    lines = list(read_lines(tmp_path / "events.jsonl"))
    assert (lines[0]["process"], lines[0]["max_epochs"]) == (os.getpid(), 3)
    assert (lines[2]["error"], lines[2]["message"]) == ("RuntimeError", "out of <b>memory</b>")
    assert "reported_runs.py:" in lines[2]["place"]


def test_each_epoch_is_told_with_its_row_of_the_history(tmp_path):
    history = train(tmp_path, epochs=2)
    rows = [
        line["row"] for line in read_lines(tmp_path / "events.jsonl") if line["event"] == "epoch"
    ]
    assert rows == history.epochs


def fit(learner, folder, **options):
    learner.fit(
        make_data(), valid=0.25, epochs=2, batch_size=4, run_dir=folder, progress=False, **options
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyboardInterrupt(), "SIGINT"),
        (SystemExit(128 + signal.SIGTERM), "SIGTERM"),
        (SystemExit(3), "exit 3"),
        (SystemExit("bye"), "exit bye"),
    ],
)
def test_what_stops_a_run_is_no_failure(tmp_path, error, expected):
    learner = make_learner()

    @learner.trainer.on(Events.ITERATION_COMPLETED(once=5))
    def stop(engine):
        raise error

    with pytest.raises(type(error)):
        fit(learner, tmp_path)
    last = list(read_lines(tmp_path / "events.jsonl"))[-1]
    assert (last["event"], last["reason"], last["step"]) == ("stopped", expected, 5)


def test_a_signal_after_which_fit_returns_is_told(tmp_path):
    learner = make_learner()
    Preemption(raise_exit=False).attach(learner.trainer)
    learner.trainer.on(Events.ITERATION_COMPLETED(once=5))(
        lambda engine: signal.raise_signal(signal.SIGTERM)
    )
    fit(learner, tmp_path)
    last = list(read_lines(tmp_path / "events.jsonl"))[-1]
    assert (last["event"], last["reason"], last["step"]) == ("stopped", "SIGTERM", 5)


def test_a_run_that_is_refused_leaves_no_events(tmp_path):
    with pytest.raises(ValueError, match="mode"):
        fit(make_learner(), tmp_path, mode="low")
    assert not (tmp_path / "events.jsonl").exists()


def test_events_that_cannot_be_written_do_not_stop_the_run(tmp_path, caplog):
    (tmp_path / "events.jsonl").mkdir()
    history = train(tmp_path, epochs=1)
    assert len(history) == 1
    assert "events.jsonl lacks 'started'" in caplog.text


def test_rates_and_times_are_logged(tmp_path):
    train(tmp_path, epochs=2, is_profiled=True)
    lines = [line for line in read_lines(tmp_path / "scalars.jsonl") if "scalars" in line]
    rates = {
        line["step"]: line["scalars"]["training/lr"]
        for line in lines
        if "training/lr" in line["scalars"]
    }
    assert rates == {10: pytest.approx(0.05 * 21 / 30), 20: pytest.approx(0.05 * 11 / 30),
                     30: pytest.approx(0.05 * 1 / 30)}  # fmt: skip
    times = {
        line["step"]: line["scalars"] for line in lines if "training/time/step" in line["scalars"]
    }
    assert list(times) == [15, 30]
    assert times[30]["training/time/handlers/validate"] > 0


def test_handlers_of_metrics_are_no_checkpoints_to_the_profiler():
    learner = make_learner()
    profiler = RunProfiler()
    profiler.attach(learner.trainer)
    learner.fit(make_data(), valid=0.25, batch_size=4, progress=False)
    assert [name for name in profiler.scalars() if "checkpoints" in name] == []


def test_the_record_has_directions_options_and_fingerprints(tmp_path):
    train(tmp_path, epochs=1)
    record = json.loads((tmp_path / "run.json").read_text())
    assert (record["directions"]["valid_accuracy"], record["directions"]["loss"]) == (True, False)
    assert record["config"]["optimizer_options"]["momentum"] == 0
    assert record["config"]["num_parameters"] == 10
    data = record["sessions"][-1]["data"]
    assert data["training"]["num_samples"] == 60
    assert data["training"]["arrays"] == {"x": "float32 (60, 4)", "y": "int64 (60,)"}
    assert data["training"]["hash"] != data["validation"]["hash"]


def loader(x, y=None, **options):
    return as_loader((x,) if y is None else (x, y), batch_size=8, **options)


def test_a_fingerprint_depends_on_every_value_and_on_shapes_and_dtypes():
    x, y = make_data()
    known = fingerprint(loader(x, y))
    assert fingerprint(loader(x.clone(), y.clone())) == known
    assert known["covers"] == "all samples"
    changed = x.clone()
    changed[37, 2] += 1e-6
    others = [(changed, y), (x, 1 - y), (x.double(), y), (x.reshape(80, 2, 2), y), (x, None)]
    hashes = {fingerprint(loader(*other))["hash"] for other in others} | {known["hash"]}
    assert len(hashes) == len(others) + 1


def test_large_arrays_are_hashed_in_part_and_say_so(monkeypatch):
    monkeypatch.setattr("ignite.learner._data.fingerprint._MAX_BYTES", 1 << 12)
    x = torch.arange(16_384.0).reshape(-1, 4)
    known = fingerprint(loader(x))
    assert known["covers"] == "0.062 of the samples, in equal distances"
    assert fingerprint(loader(x + 1))["hash"] != known["hash"]


def test_of_other_data_the_first_batch_is_hashed_and_not_lost():
    x, y = make_data()
    dataset = [(x[i], y[i]) for i in range(80)]
    batches = torch.utils.data.DataLoader(dataset, batch_size=8)
    found = fingerprint(as_loader(batches))
    assert (found["batches"], found["covers"]) == ("list", "the first batch")
    assert found["arrays"]["x"] == "float32 (8, 4)"
    stream = as_loader(iter([(x, y)]))
    assert fingerprint(stream)["covers"] == "the first batch"
    assert next(iter(stream.batches))[0] is x


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(0, 3), torch.tensor(1.0), torch.ones(4, 4).to_sparse(), torch.ones(2, dtype=torch.bfloat16),
        torch.ones(3, 2).T, torch.tensor([1 + 2j]).conj(), torch.ones(2, requires_grad=True),
    ],
)  # fmt: skip
def test_tensors_of_all_kinds_have_a_fingerprint(tensor):
    assert fingerprint(as_loader([tensor]))["num_samples"] in (None, 1, 2, 3, 4, 0)


def test_an_engine_has_a_journal_of_handlers_around_its_runs():
    from ignite.learner._journal import attached_to

    engine, preemption = Engine(lambda engine, batch: None), Preemption()
    assert attached_to(engine, Preemption) is None
    preemption.attach(engine)
    assert attached_to(engine, Preemption) is preemption
    assert attached_to(engine, RunProfiler) is None
