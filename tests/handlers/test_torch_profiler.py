import json

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity

from ignite.engine import Engine, Events
from ignite.handlers.torch_profiler import TorchProfiler


def make(fail_at=None):
    model = nn.Linear(4, 2)

    def step(engine, batch):
        if engine.state.iteration == fail_at:
            raise KeyError("told")
        with torch.profiler.record_function(f"iteration {engine.state.iteration}"):
            return model(torch.ones(3, 4))

    return Engine(step)


def recorded(path):
    """The iterations and the operators in a trace."""
    names = [event.get("name", "") for event in json.loads(path.read_text())["traceEvents"]]
    return sorted({int(name.split()[1]) for name in names if name.startswith("iteration ")}), set(
        names
    )


def test_exactly_the_scheduled_iterations_are_written_with_the_operators_of_the_model(tmp_path):
    trainer, profiler = (
        make(),
        TorchProfiler(tmp_path / "new", wait=2, warmup=1, active=2, repeat=2, skip_first=1),
    )
    profiler.attach(trainer)
    profiler.attach(trainer)
    trainer.run(range(20))
    # 1 is left out; 2 and 3 wait, 4 warms up, 5 and 6 are written; the same from 7 on
    assert [path.name for path in profiler.traces] == [
        "trace_rank0_00000006.json",
        "trace_rank0_00000011.json",
    ]
    for path, expected in zip(profiler.traces, ([5, 6], [10, 11]), strict=True):
        iterations, names = recorded(path)
        assert iterations == expected
        assert {"aten::linear", "aten::addmm"} <= names
    assert sorted((tmp_path / "new").iterdir()) == profiler.traces
    assert not trainer.has_event_handler(profiler._step)


def test_a_run_that_fails_writes_what_it_has_and_a_new_one_records_again(tmp_path):
    trainer, profiler = make(fail_at=4), TorchProfiler(tmp_path, wait=0, warmup=1, active=10)
    profiler.attach(trainer)
    with pytest.raises(KeyError, match="told"):
        trainer.run(range(20))
    assert profiler._profile is None
    assert not trainer.has_event_handler(profiler._step)
    assert recorded(profiler.traces[0])[0] == [2, 3]
    trainer.state.max_epochs = None  # to begin anew
    with pytest.raises(KeyError, match="told"):
        trainer.run(range(20))
    assert len(profiler.traces) == 2


def test_without_an_end_to_the_cycles_there_are_as_many_as_fit_and_the_last_may_be_short(tmp_path):
    trainer, profiler = make(), TorchProfiler(tmp_path, wait=0, warmup=1, active=2, repeat=0)
    profiler.attach(trainer)
    trainer.run(range(8))
    assert [recorded(path)[0] for path in profiler.traces] == [[2, 3], [5, 6], [8]]


def test_a_folder_that_cannot_be_made_ends_the_run_with_that_error(tmp_path):
    (tmp_path / "file").touch()
    trainer, profiler = (
        make(),
        TorchProfiler(tmp_path / "file" / "folder", wait=0, warmup=1, active=1),
    )
    profiler.attach(trainer)
    with pytest.raises(OSError, match="file"):
        trainer.run(range(8))
    assert trainer.state.iteration == 2
    assert profiler._profile is None


def test_a_continued_run_has_its_own_traces(tmp_path):
    trainer, profiler = make(), TorchProfiler(tmp_path, wait=0, warmup=1, active=1)
    profiler.attach(trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=4), lambda: trainer.interrupt())
    trainer.run(range(8))
    trainer.run(range(8))
    assert [recorded(path)[0] for path in profiler.traces] == [[2], [6]]


def test_tensorboards_files_have_the_rank_in_their_names(tmp_path):
    trainer, profiler = (
        make(),
        TorchProfiler(tmp_path, wait=0, warmup=1, active=1, format="tensorboard"),
    )
    profiler.attach(trainer)
    trainer.run(range(2))
    assert profiler.traces == []
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("rank0.")
    assert path.name.endswith(".pt.trace.json")
    assert recorded(path)[0] == [2]


def test_options_reach_the_profiler(tmp_path):
    profiler = TorchProfiler(tmp_path, wait=0, warmup=1, active=1, record_shapes=True,
                             activities=iter([ProfilerActivity.CPU]))  # fmt: skip
    trainer = make()
    profiler.attach(trainer)
    trainer.run(range(2))
    events = json.loads(profiler.traces[0].read_text())["traceEvents"]
    shapes = [
        event["args"].get("Input Dims") for event in events if event.get("name") == "aten::linear"
    ]
    assert shapes == [[[3, 4], [2, 4], [2]]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"active": 0}, "active should be a positive integer, but given 0"),
        ({"wait": -1}, "wait should be zero or a positive integer, but given -1"),
        ({"warmup": 1.5}, "warmup should be zero or a positive integer, but given 1.5"),
        ({"format": "html"}, "format should be one of .* but given 'html'"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        TorchProfiler(tmp_path, **options)


def test_it_is_attached_to_engines_only(tmp_path):
    with pytest.raises(
        TypeError, match="Argument engine should be ignite.engine.Engine, but given <class 'int'>"
    ):
        TorchProfiler(tmp_path).attach(3)
