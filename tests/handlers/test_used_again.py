"""Closed handlers reopen when they are used again, and a second run works like the first."""

import csv
import io
import json

import pytest

from ignite._core import clock
from ignite.engine import Engine, Events
from ignite.handlers import (
    BasicTimeProfiler,
    CSVLogger,
    HandlersTimeProfiler,
    JSONLLogger,
    LiveProgress,
    ProgressBar,
    RunProfiler,
    TensorboardLogger,
    TimeLimit,
    TrackerLogger,
)
from ignite.handlers.mlflow_logger import _Run
from ignite.handlers.tensorboard_logger import OutputHandler
from ignite.metrics import Accuracy, Precision, Recall


def trainer():
    return Engine(lambda engine, batch: float(batch))


def run_twice_with(logger):
    engine = trainer()
    logger.attach_output_handler(
        engine, Events.ITERATION_COMPLETED, tag="t", output_transform=lambda output: {"x": output}
    )
    engine.add_event_handler(Events.COMPLETED, logger.close)
    engine.run([1, 2])
    engine.run([3])


def test_a_file_of_lines_is_gone_on_with(tmp_path):
    run_twice_with(JSONLLogger(tmp_path / "log.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["scalars"]["t/x"] for line in lines[1:]] == [1.0, 2.0, 3.0]


def test_a_table_is_gone_on_with(tmp_path):
    run_twice_with(CSVLogger(tmp_path / "log.csv"))
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [float(row["t/x"]) for row in rows] == [1.0, 2.0, 3.0]


def test_event_files_are_gone_on_with(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_twice_with(TensorboardLogger(str(tmp_path)))
    found = EventAccumulator(str(tmp_path)).Reload().Scalars("t/x")
    assert sorted(entry.value for entry in found) == [1.0, 2.0, 3.0]


class Tracker:
    def __init__(self):
        self.log = []

    def scalars(self, values, step):
        self.log.append(values["t/x"])

    def histogram(self, name, values, step):
        pass

    def close(self):
        self.log.append("closed")

    def reopen(self):
        self.log.append("opened")


def test_a_tracker_is_closed_as_often_as_it_was_opened():
    tracker = Tracker()
    logger = TrackerLogger(tracker)
    run_twice_with(logger)
    logger.close()
    assert tracker.log == [1.0, 2.0, "closed", "opened", 3.0, "closed"]


class FakeMlflow:
    """As much of the client as a run needs; it has one run."""

    MlflowException = OSError

    def __init__(self):
        self.started, self.ended, self.sent = [], 0, []
        run = type("Run", (), {"info": type("Info", (), {"run_id": "7"})()})()
        self.active_run = lambda: None
        self.start_run = lambda run_id=None: self.started.append(run_id) or run
        self.entities = type(
            "Entities", (), {"Metric": lambda self, name, value, now, step: value}
        )()

    def MlflowClient(self):
        return self

    def get_tracking_uri(self):
        return "sqlite:///mlflow.db"

    def end_run(self):
        self.ended += 1


def test_a_run_of_mlflow_is_gone_on_with(monkeypatch):
    mlflow = FakeMlflow()
    monkeypatch.setattr(_Run, "_send", lambda self, items: mlflow.sent.extend(items))
    run = _Run(mlflow, "mlflow")
    logger = TrackerLogger(run)
    logger.log([(("x",), 1.0)], 1)
    logger.close()
    logger.log([(("x",), 2.0)], 2)
    logger.close()
    assert [content for _, content in mlflow.sent] == [[1.0], [2.0]]
    assert (mlflow.started, mlflow.ended) == ([None, "7"], 2)


def test_a_bar_that_was_closed_is_drawn_again():
    engine, screen = trainer(), io.StringIO()
    bar = ProgressBar(file=screen, mininterval=0.0)
    bar.attach(engine, output_transform=lambda output: {"x": output})
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), bar.close)
    engine.run([1, 2, 3], max_epochs=2)
    bar.close()
    assert "x=3" in screen.getvalue()
    assert bar.pbar is None


@pytest.mark.parametrize("num_profilers", [1, 2, 3])
def test_each_handler_is_named_once_however_many_profilers_there_are(num_profilers):
    engine = trainer()

    def twin(engine):
        pass

    for _ in range(2):
        engine.add_event_handler(Events.EPOCH_COMPLETED, twin)
    engine.add_event_handler(Events.ITERATION_COMPLETED, len, "a")
    profilers = [BasicTimeProfiler(), HandlersTimeProfiler(), RunProfiler()][:num_profilers]
    for profiler in profilers:
        profiler.attach(engine)
    for _ in range(2):
        engine.run([1, 2])
    name = f"{twin.__qualname__}"
    assert profilers[0].event_handlers_names[Events.EPOCH_COMPLETED] == [name] * 2
    if num_profilers > 1:
        assert profilers[1].event_handlers_names[Events.EPOCH_COMPLETED] == [name] * 2


def test_the_rate_of_a_second_run_is_its_own(monkeypatch):
    now, rates = {"s": 0.0}, []
    monkeypatch.setattr(clock, "now", lambda: now["s"])

    def step(engine, batch):
        now["s"] += 0.5  # two a second

    engine, progress = Engine(step), LiveProgress()
    progress.attach(engine)
    monkeypatch.setattr(progress, "_screen", type("Screen", (), {
        "show": lambda self, figures: rates.append(figures.rate), "close": lambda self: None,
    })())  # fmt: skip
    for _ in range(2):
        engine.run(range(20))
        assert rates[-1] == pytest.approx(2.0)


def test_without_a_limit_of_time_nothing_ends():
    engine = trainer()
    engine.add_event_handler(Events.ITERATION_COMPLETED, TimeLimit(limit_sec=None))
    assert engine.run([1, 2]).iteration == 2


@pytest.mark.parametrize("place", ["by name", "in place of the step"])
def test_the_step_may_be_that_of_another_engine_as_in_ignite_01(place):
    other, evaluator = trainer(), trainer()
    other.state.epoch, other.state.iteration = 5, 70
    args, kwargs = ((), {"another_engine": other}) if place == "by name" else ((None, other), {})
    with pytest.warns(
        DeprecationWarning, match="replace another_engine by global_step_transform="
    ) as said:
        handler = OutputHandler("valid", ["m"], *args, **kwargs)
    assert len([one for one in said if "another_engine" in str(one.message)]) == 1
    assert handler.global_step_transform(evaluator, Events.EPOCH_COMPLETED) == 5
    assert handler.global_step_transform(evaluator, Events.ITERATION_COMPLETED) == 70


def test_what_is_computed_from_a_detached_metric_is_not_attached():
    engine = trainer()
    precision, recall = Precision(average=False), Recall(average=False)
    f1 = 2 * precision * recall / (precision + recall)
    other = Accuracy() + 1
    for metric, name in ((f1, "f1"), (other, "other")):
        metric.attach(engine, name)
        assert metric.is_attached(engine)
    precision.detach(engine)
    assert not f1.is_attached(engine)
    assert other.is_attached(engine)
    f1.attach(engine, "f1")
    assert f1.is_attached(engine)
