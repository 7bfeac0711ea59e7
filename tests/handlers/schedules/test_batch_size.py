import numpy as np
import pytest
from torch.utils.data import DataLoader

from ignite.data import resumable
from ignite.engine import Engine, Events
from ignite.handlers.param_scheduler import BatchSizeScheduler


def sizes_of(loader):
    return [len(batch) for batch in loader]


def test_the_next_pass_has_the_new_size():
    loader = DataLoader(range(12), batch_size=2)
    scheduler = BatchSizeScheduler(loader, lambda event: 3 * 2**event)
    scheduler(None)
    assert sizes_of(loader) == [3] * 4
    scheduler(None)
    assert sizes_of(loader) == [6] * 2


def test_attached_the_epoch_that_begins_has_it():
    loader = DataLoader(range(12), batch_size=2)
    trainer = Engine(lambda engine, batch: len(batch))
    seen = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: seen.append(engine.state.output)
    )
    BatchSizeScheduler(loader, lambda event: 3, save_history=True).attach(trainer)
    trainer.run(loader, epoch_length=4, max_epochs=2)
    assert seen == [3] * 8
    assert trainer.state.param_history == {"batch_size": [3, 3]}


def lengths_of(event, function, **limits):
    """The lengths of the epochs of a run over 12 samples, and how many samples it saw."""
    loader = DataLoader(range(12), batch_size=2)
    trainer = Engine(lambda engine, batch: len(batch))
    ends, samples = [], []
    BatchSizeScheduler(loader, function).attach(trainer, event)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: samples.append(engine.state.output)
    )
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda engine: ends.append(engine.state.iteration)
    )
    trainer.run(loader, **limits)
    return (
        [end - start for start, end in zip([0, *ends], ends, strict=False)],
        sum(samples),
        trainer.state,
    )


def test_an_epoch_is_as_long_as_the_loader_is_then():
    growing = lambda event: 2 * 2**event  # noqa: E731
    lengths, num_samples, state = lengths_of(Events.EPOCH_STARTED, growing, max_epochs=3)
    assert (lengths, num_samples) == ([6, 3, 2], 36)
    assert (state.epoch, state.iteration, state.epoch_length) == (3, 11, 2)
    lengths, num_samples, _ = lengths_of(
        Events.EPOCH_STARTED, lambda event: 4 // 2**event, max_epochs=3
    )
    assert (lengths, num_samples) == ([3, 6, 12], 36)
    lengths, num_samples, _ = lengths_of(Events.EPOCH_COMPLETED, growing, max_epochs=3)
    assert (lengths, num_samples) == ([6, 6, 3], 36)  # of 2, 2 and 4 samples


@pytest.mark.parametrize(("sizes", "limits", "num_said"), [
    ([2, 4, 6], {"max_epochs": 3}, 1), ([2, 2, 2], {"max_epochs": 3}, 0), ([4, 4, 4], {"max_epochs": 3}, 1),
    ([2, 4, 6], {"max_epochs": 3, "epoch_length": 6}, 0),
])  # fmt: skip
def test_an_epoch_of_another_length_is_reported_once(sizes, limits, num_said, caplog):
    lengths_of(Events.EPOCH_STARTED, lambda event: sizes[event], **limits)
    said = [record for record in caplog.records if "BatchSizeScheduler" in record.getMessage()]
    assert [record.levelname for record in said] == ["WARNING"] * num_said
    assert all("run(epoch_length=6)" in record.getMessage() for record in said)


def test_a_limit_in_iterations_holds_whatever_the_lengths():
    lengths, num_samples, state = lengths_of(
        Events.EPOCH_STARTED, lambda event: 2 * 2**event, max_iters=10
    )
    assert (lengths, num_samples, state.iteration) == ([6, 3], 12 + 12 + 8, 10)


def test_a_run_saved_after_shorter_and_shorter_epochs_is_gone_on_with():
    def parts():
        loader = DataLoader(range(12), batch_size=2)
        trainer, scheduler = (
            Engine(lambda engine, batch: None),
            BatchSizeScheduler(loader, lambda event: 2 * 2**event),
        )
        scheduler.attach(trainer)
        return loader, trainer, scheduler

    loader, trainer, scheduler = parts()
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda: trainer.terminate())
    trainer.run(loader, max_epochs=3)
    loader, resumed, other = parts()
    resumed.load_state_dict(trainer.state_dict())
    other.load_state_dict(scheduler.state_dict())
    assert len(loader) == 3
    resumed.run(loader, max_epochs=3)
    assert (resumed.state.epoch, resumed.state.iteration) == (3, 6 + 3 + 2)


def test_a_length_that_run_is_given_stays():
    lengths, _, state = lengths_of(
        Events.EPOCH_STARTED, lambda event: 2 * 2**event, max_epochs=2, epoch_length=4
    )
    assert (lengths, state.epoch_length) == ([4, 4], 4)


def test_another_event():
    loader = DataLoader(range(12), batch_size=2)
    trainer = Engine(lambda engine, batch: None)
    BatchSizeScheduler(loader, lambda event: 4 + event).attach(
        trainer, Events.EPOCH_COMPLETED(every=2)
    )
    trainer.run(loader, max_epochs=4)
    assert loader.batch_sampler.batch_size == 5


def test_the_size_may_be_of_numpy_and_the_history_is_plain():
    loader = DataLoader(range(12), batch_size=2)
    engine = Engine(lambda engine, batch: None)
    scheduler = BatchSizeScheduler(loader, lambda event: np.int64(3), save_history=True)
    scheduler(engine)
    assert type(loader.batch_sampler.batch_size) is int
    assert [type(size) for size in engine.state.param_history["batch_size"]] == [int]


def test_a_run_that_is_resumed_continues():
    loader = DataLoader(range(12), batch_size=2)
    first, second = (BatchSizeScheduler(loader, lambda event: event + 1) for _ in range(2))
    first(None)
    first(None)
    assert first.state_dict() == {
        "event_index": 2,
        "param_name": "batch_size",
        "save_history": False,
    }  # as Ignite's
    second.load_state_dict(first.state_dict())
    second(None)
    assert loader.batch_sampler.batch_size == 3


def test_a_simulation_leaves_the_loader_alone():
    loader = DataLoader(range(12), batch_size=2)
    rows = BatchSizeScheduler.simulate_values(
        3, dataloader=loader, scheduler_fn=lambda event: 2**event
    )
    assert rows == [[0, 1], [1, 2], [2, 4]]
    assert loader.batch_sampler.batch_size == 2


def test_batches_that_are_cut_beforehand_are_an_error_not_a_surprise():
    loader = DataLoader(range(12), batch_size=2)
    trainer = Engine(lambda engine, batch: None)
    BatchSizeScheduler(loader, lambda event: 3).attach(trainer)
    with pytest.raises(
        RuntimeError, match="BatchSizeScheduler cannot be used with a ResumableLoader"
    ):
        trainer.run(resumable(loader))
    assert loader.batch_sampler.batch_size == 2


@pytest.mark.parametrize("size", [0, -1, 1.0, True, "2", None], ids=repr)
def test_a_size_that_makes_no_sense_changes_nothing(size):
    loader = DataLoader(range(12), batch_size=2)
    scheduler = BatchSizeScheduler(loader, lambda event: size)
    with pytest.raises(ValueError, match=f"should be a positive integer, but given {size!r}"):
        scheduler(None)
    assert (loader.batch_sampler.batch_size, scheduler.event_index) == (2, 0)


@pytest.mark.parametrize(
    ("loader", "function", "error", "message"),
    [
        (
            1,
            len,
            TypeError,
            "dataloader should be torch.utils.data.DataLoader, but given <class 'int'>",
        ),
        (DataLoader([1]), 1, TypeError, "scheduler_fn should be callable, but given <class 'int'>"),
        (
            DataLoader([1], batch_size=None),
            len,
            ValueError,
            "should have a BatchSampler, .* but given <class 'None",
        ),
    ],
    ids=["loader", "function", "no batches"],
)
def test_arguments_that_make_no_sense(loader, function, error, message):
    with pytest.raises(error, match=message):
        BatchSizeScheduler(loader, function)
