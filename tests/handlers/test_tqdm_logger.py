import io
import re
import sys

import pytest
import torch

from ignite._core import clock
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar


def frames(text):
    """What was to be seen, without times and repetitions."""
    seen = []
    for frame in re.split(r"[\r\n]+", re.sub(r"\d\d:\d\d", "T", text)):
        if frame.strip() and (not seen or seen[-1] != frame):
            seen.append(frame)
    return [frame.strip() for frame in seen]


def run(attach, num_batches=3, options=None, step=lambda engine, batch: batch, **limits):
    file, engine = io.StringIO(), Engine(step)
    bar = ProgressBar(file=file, mininterval=0, **(options or {}))
    attach(bar, engine)
    engine.run(list(range(num_batches)), **(limits or {"max_epochs": 2}))
    assert bar.pbar is None
    return frames(file.getvalue())


def both_epochs(*lines):
    return [line.replace("Epoch", f"Epoch [{epoch}/2]") for epoch in (1, 2) for line in lines]


def with_metrics(bar, engine):
    values = {"b": 1.23456, "a": 2, "v": torch.tensor([1.0, 2.0]), "d": {"x": 1}, "s": "txt"}
    engine.add_event_handler(Events.STARTED, lambda: engine.state.metrics.update(values))
    bar.attach(engine, metric_names="all")


# As pytorch-ignite 0.5.5 shows it, each picture once.
PLAIN = [
    "Epoch: [1/3]  33%|###3       [T<?]",
    "Epoch: [2/3]  67%|######6    [T<T]",
    "Epoch: [3/3] 100%|########## [T<T]",
]
VALUES = "b=1.23, a=2, v_0=1, v_1=2, d_x=1, s=txt"


@pytest.mark.parametrize(
    ("attach", "expected"),
    [
        (lambda bar, engine: bar.attach(engine), both_epochs(*PLAIN)),
        (
            lambda bar, engine: bar.attach(
                engine, output_transform=lambda x: {"l": x}, state_attributes=["epoch_length"]
            ),
            both_epochs(
                "Epoch: [1/3]  33%|###3       [T<?]",
                "Epoch: [1/3]  33%|###3      , l=0, epoch_length=3 [T<?]",
                "Epoch: [2/3]  67%|######6   , l=1, epoch_length=3 [T<T]",
                "Epoch: [3/3] 100%|##########, l=2, epoch_length=3 [T<T]",
            ),
        ),
        (
            with_metrics,
            both_epochs(
                "Epoch: [1/3]  33%|###3       [T<?]",
                f"Epoch: [1/3]  33%|###3      , {VALUES} [T<?]",
                f"Epoch: [2/3]  67%|######6   , {VALUES} [T<T]",
                f"Epoch: [3/3] 100%|##########, {VALUES} [T<T]",
            ),
        ),
    ],
    ids=["plain", "output", "metrics"],
)
def test_what_is_shown(attach, expected):
    assert run(attach) == expected


def test_one_epoch_and_names():
    expected = [line.replace("Epoch", "Iteration") for line in PLAIN]
    assert run(lambda bar, engine: bar.attach(engine), max_epochs=1) == expected
    assert run(lambda bar, engine: bar.attach(engine), options={"desc": "Hey"})[0].startswith(
        "Hey [1/2]: [1/3]"
    )


@pytest.mark.parametrize("event", [Events.EPOCH_STARTED, Events.EPOCH_COMPLETED])
def test_a_bar_of_epochs(event):
    def attach(bar, engine):
        bar.attach(engine, event_name=event, closing_event_name=Events.COMPLETED)

    assert run(attach, max_epochs=3) == PLAIN


def test_limits_of_iterations_and_unknown_lengths():
    found = run(lambda bar, engine: bar.attach(engine), max_iters=4)
    assert found[2:] == [
        PLAIN[2].replace("Epoch", "Epoch [1]"),
        PLAIN[0].replace("Epoch", "Epoch [2]"),
    ]
    file, engine = io.StringIO(), Engine(lambda engine, batch: None)
    ProgressBar(file=file, mininterval=0).attach(engine)
    engine.run((i for i in range(3)), max_epochs=1)
    assert [line[:18] for line in frames(file.getvalue())] == ["Iteration: [1/?]  "] + [
        f"Iteration: [{n}/?]  " for n in (2, 3)
    ] + ["Iteration: [3/3] 1"]


def test_bars_that_stay():
    file, engine = io.StringIO(), Engine(lambda engine, batch: batch)
    ProgressBar(persist=True, file=file, mininterval=0).attach(engine)
    engine.run([0, 0], max_epochs=2)
    assert file.getvalue().count("\n") == 2


def test_a_bar_is_closed_by_an_error_and_begins_where_the_run_does():
    file, engine = io.StringIO(), Engine(lambda engine, batch: 1 / (engine.state.iteration - 3))
    bar = ProgressBar(file=file, mininterval=0)
    bar.attach(engine)
    with pytest.raises(ZeroDivisionError):
        engine.run([0] * 5, max_epochs=2)  # with one epoch, it would begin anew
    assert bar.pbar is None
    file.truncate(0)
    engine.run([0] * 5, max_epochs=2)
    assert frames(file.getvalue().replace("\x00", ""))[0].startswith("Epoch [1/2]: [4/5]  80%")


def test_it_is_drawn_now_and_then_and_values_are_read_only_then(monkeypatch):
    time, reads = [0.0], []
    monkeypatch.setattr(clock, "now", lambda: time[0])

    def step(engine, batch):
        time[0] += 0.03

    engine = Engine(step)
    file = io.StringIO()
    ProgressBar(file=file).attach(
        engine, output_transform=lambda output: reads.append(engine.state.iteration) or 1
    )
    engine.run(range(20))
    # Every 0.1 s is every fourth iteration; and the last one. There is no output to be read once more in the end.
    assert reads == [1, 5, 9, 13, 17, 20]


def test_a_last_iteration_that_is_skipped_leaves_what_is_shown(capsys):
    engine = Engine(lambda engine, batch: {"loss": batch / 2})
    engine.add_event_handler(Events.ITERATION_STARTED(once=3), lambda: engine.skip_iteration())
    ProgressBar().attach(engine, output_transform=lambda output: {"loss": output["loss"]})
    engine.run(range(3))
    assert engine.state.output is None
    assert [line.rpartition(" [")[0] for line in capsys.readouterr().err.splitlines()] == [
        "Iteration: [1/3]  33%, loss=0",
        "Iteration: [3/3] 100%, loss=0",
    ]


@pytest.mark.parametrize("options", [{}, {"desc": "Iteration"}])
def test_plain_lines_where_there_is_no_terminal(monkeypatch, capsys, options):
    time = [0.0]
    monkeypatch.setattr(clock, "now", lambda: time[0])

    def step(engine, batch):
        time[0] += 3
        return batch

    engine = Engine(step)
    ProgressBar(**options).attach(engine, output_transform=lambda output: {"loss": output / 2})
    engine.run(range(10))
    assert capsys.readouterr().err.splitlines() == [
        "Iteration: [1/10]  10%, loss=0 [00:00<?]",
        "Iteration: [5/10]  50%, loss=2 [00:12<00:15]",
        "Iteration: [9/10]  90%, loss=4 [00:24<00:03]",
        "Iteration: [10/10] 100%, loss=4.5 [00:27<00:00]",
    ]


def test_messages_go_above_the_bar():
    file = io.StringIO()
    ProgressBar(file=file).log_message("hello")
    assert file.getvalue() == "hello\n"


def test_hyper_parameters_are_not_shown():
    engine = Engine(lambda engine, batch: None)
    handle = ProgressBar().attach_opt_params_handler(engine, Events.COMPLETED, None)
    handle.remove()
    assert not engine._tables["COMPLETED"].calls


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (
            {"event_name": "nope"},
            ValueError,
            "Logging event nope is not in allowed events for this engine",
        ),
        (
            {"event_name": Events.EPOCH_COMPLETED},
            ValueError,
            "Logging event .* should be called before closing event",
        ),
        (
            {"closing_event_name": Events.EPOCH_COMPLETED(every=2)},
            ValueError,
            "should not be a filtered event",
        ),
        ({"metric_names": "a"}, TypeError, "either a list or equal 'all'"),
    ],
)
def test_bad_input(arguments, error, match):
    engine = Engine(lambda engine, batch: None)
    with pytest.raises(error, match=match):
        ProgressBar().attach(engine, **arguments)
    assert not any(table.calls for table in engine._tables.values())


def test_without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "reignition\[progress\]"'):
        ProgressBar()
