"""Runs after an exception or Ctrl-C: nothing is lost, repeated or partial."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ignite.data import ArrayLoader, resumable
from ignite.engine import DeterministicEngine, Engine, Events
from ignite.metrics import Average

RECORDED = [
    event for event in Events if event.name not in ("EXCEPTION_RAISED", "INTERRUPT", "TERMINATE")
]
ERRORS = (ValueError, KeyboardInterrupt)


class Failing:
    """A trace of events and steps that raises at each of ``moments``, once."""

    def __init__(self, moments, error):
        self.moments, self.error, self.trace = set(moments), error, []

    def see(self, *row):
        self.trace.append(row)
        if row[:3] in self.moments:
            self.moments.remove(row[:3])
            raise self.error


def record(engine, failing):
    for event in RECORDED:

        def handler(engine, name=event.name, **kwargs):
            failing.see(name, engine.state.epoch, engine.state.iteration)

        engine.add_event_handler(event, handler)
    return engine


def traced(moments, error, data, **limits):
    """All events and steps of a run that is run again, over the same data, until it comes to its end."""
    failing = Failing(moments, error)
    engine = Engine(
        lambda engine, batch: failing.see("step", engine.state.epoch, engine.state.iteration, batch)
    )
    record(engine, failing)
    for _ in range(len(moments) + 1):
        try:
            engine.run(data, **limits)
        except error:
            continue
        return failing.trace
    raise AssertionError("more failures than there should be")


def cut(full, place):
    """From where on a run that has failed at a place of the trace ``full`` goes on."""
    name = full[place][0]
    if name in ("STARTED", "EPOCH_STARTED", "GET_BATCH_STARTED", "GET_BATCH_COMPLETED"):
        return place  # the event once more
    if name == "DATALOADER_STOP_ITERATION":
        return place - 1  # the batch is requested once more
    if name == "COMPLETED":
        return place
    return place + {"ITERATION_STARTED": 3, "step": 2}.get(
        name, 1
    )  # the iteration, or the event, is given up


class Again:
    """Data that can be iterated over again, by a generator."""

    def __init__(self, num_batches, has_length):
        self.num_batches = num_batches
        if has_length:
            self.__class__ = AgainWithLength

    def __iter__(self):
        yield from range(self.num_batches)


class AgainWithLength(Again):
    def __len__(self):
        return self.num_batches


@st.composite
def limits_and_data(draw):
    size = draw(st.integers(1, 5))
    kind = draw(
        st.sampled_from(["list", "again", "unknown", "loader", "resumable", "arrays", "none"])
    )
    length = draw(st.none() | st.integers(1, 6)) if kind != "none" else size
    data = {
        "list": lambda: list(range(size)),
        "again": lambda: Again(size, has_length=True),
        "unknown": lambda: Again(size, has_length=False),
        "loader": lambda: DataLoader(range(size), batch_size=None),
        "resumable": lambda: resumable(DataLoader(range(size), batch_size=None)),
        "arrays": lambda: ArrayLoader(torch.arange(size), batch_size=1),
        "none": lambda: None,
    }[kind]
    limits = {"max_epochs": draw(st.integers(2, 4))}
    if draw(st.booleans()) and kind != "unknown":  # there, the first epoch says how many there are
        limits = {"max_iters": draw(st.integers((length or size) + 1, 3 * size + 6))}
    return data, limits | ({"epoch_length": length} if length else {})


@settings(max_examples=300)
@given(case=limits_and_data(), error=st.sampled_from(ERRORS), draws=st.data())
def test_a_run_that_fails_anywhere_and_is_run_again_is_the_run_that_never_failed(
    case, error, draws
):
    data, limits = case
    full = traced([], error, data(), **limits)
    moments = draws.draw(st.sets(st.sampled_from([row[:3] for row in full]), max_size=4))
    expected, left, place = [], set(moments), 0
    while place < len(full):
        expected.append(full[place])
        if full[place][:3] in left:
            left.remove(full[place][:3])
            place = cut(full, place)
        else:
            place += 1
    found = traced(moments, error, data(), **limits)
    assert without_starts(found) == without_starts(expected)


def without_starts(trace):
    """Each call of run fires STARTED, but for that no event comes twice."""
    return [tuple(map(plain, row)) for row in trace if row[0] != "STARTED"]


def plain(value):
    return value.item() if isinstance(value, torch.Tensor) else value


def fail_at(moments, error=ValueError):
    """A step that raises at these iterations, each once, and the batches that it has been given, by iteration."""
    seen, left = [], set(moments)

    def step(engine, batch):
        seen.append((engine.state.iteration, plain(batch)))
        if engine.state.iteration in left:
            left.remove(engine.state.iteration)
            raise error
        return plain(batch)

    return step, seen


def run_failing(engine, data, error=ValueError, **limits):
    with pytest.raises(error):
        engine.run(data, **limits)


class TestEvaluators:
    """A run that has one epoch begins anew."""

    @pytest.mark.parametrize("error", ERRORS)
    @pytest.mark.parametrize(
        "make",
        [
            list,
            lambda numbers: DataLoader(numbers, batch_size=None),
            lambda numbers: resumable(DataLoader(numbers)),
        ],
        ids=["list", "loader", "resumable"],
    )
    def test_so_does_one_over_the_same_data(self, error, make):
        data, failing = make([1.0, 2.0, 3.0, 4.0]), [3]

        def step(engine, batch):
            if engine.state.iteration in failing:
                failing.clear()
                raise error
            return float(batch)

        evaluator = Engine(step)
        Average().attach(evaluator, "mean")
        with pytest.raises(error):
            evaluator.run(data)
        assert evaluator.run(data).metrics["mean"] == (1 + 2 + 3 + 4) / 4

    @pytest.mark.parametrize("error", ERRORS)
    @pytest.mark.parametrize(
        "event",
        [
            "step",
            *(
                event.name
                for event in RECORDED
                if "STOP" not in event.name and "SINGLE" not in event.name
            ),
        ],
    )
    @pytest.mark.parametrize(
        "limits", [{}, {"max_epochs": 1}, {"max_iters": 4}, {"epoch_length": 4}]
    )
    @pytest.mark.parametrize("is_taken_over", [False, True])
    def test_the_next_run_is_over_all_of_its_data(self, error, event, limits, is_taken_over):
        failing = [event]

        def fail(engine, batch=0.0, **kwargs):
            if failing and engine.state.iteration >= 2 * (
                event not in ("STARTED", "EPOCH_STARTED")
            ):
                failing.clear()
                raise error
            return batch

        engine = Engine(fail if event == "step" else lambda engine, batch: batch)
        Average().attach(engine, "mean")
        if event != "step":
            engine.add_event_handler(Events[event], fail)
        if is_taken_over:
            engine.add_event_handler(Events.EXCEPTION_RAISED, lambda error: None)
            engine.run([1.0, 2.0, 3.0, 4.0], **limits)
        else:
            run_failing(engine, [1.0, 2.0, 3.0, 4.0], error, **limits)
        other = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0][: 4 if limits else 6]
        state = engine.run(other, **limits)
        assert state.metrics["mean"] == sum(other) / len(other)
        assert (state.epoch, state.iteration) == (1, len(other))
        assert engine.run(other).metrics["mean"] == sum(other) / len(other)

    def test_a_validation_that_ctrl_c_has_cut_is_whole_when_it_is_run_again(self):
        def step(engine, batch):
            if batch == 3.0 and not cut:
                cut.append(batch)
                raise KeyboardInterrupt
            return batch

        cut, evaluator, trainer = [], Engine(step), Engine(lambda engine, batch: batch)
        Average().attach(evaluator, "mean")
        trainer.add_event_handler(
            Events.EPOCH_COMPLETED, lambda: evaluator.run([1.0, 2.0, 3.0, 6.0])
        )
        run_failing(trainer, [0, 1], KeyboardInterrupt, max_epochs=3)
        assert evaluator.run([1.0, 2.0, 3.0, 6.0]).metrics["mean"] == 3.0
        assert evaluator.run([5.0, 7.0]).metrics["mean"] == 6.0
        trainer.run([0, 1])
        assert (trainer.state.epoch, trainer.state.iteration) == (3, 6)
        assert evaluator.state.metrics["mean"] == 3.0

    def test_one_that_was_stopped_before_it_began_is_as_long_as_its_next_data(self):
        engine = Engine(lambda engine, batch: batch)
        Average().attach(engine, "mean")
        engine.add_event_handler(
            Events.STARTED, lambda: len(seen) == 0 and (seen.append(1), engine.terminate())
        )
        seen = []
        engine.run([1.0, 2.0])
        assert engine.run([1.0, 2.0, 3.0, 4.0]).metrics["mean"] == 2.5

    def test_a_run_with_checkpoints_belongs_to_a_trainer_and_continues(self, tmp_path):
        from ignite.handlers import Checkpoint

        step, seen = fail_at([2])
        engine = Engine(step)
        engine.state_of_mine = torch.nn.Linear(1, 1)
        Checkpoint.of(engine, tmp_path, model=engine.state_of_mine)
        run_failing(engine, data := [1, 2, 3, 4])
        engine.run(data)
        assert seen == [(1, 1), (2, 2), (3, 3), (4, 4)]


class Torn(Dataset):
    """Raises once, at one of its samples."""

    def __init__(self, size, at, error=OSError):
        self.size, self.left, self.error = size, {at}, error

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index in self.left:
            self.left.remove(index)
            raise self.error
        return index


class TornStream(IterableDataset):
    def __init__(self, size, at):
        self.torn = Torn(size, at)

    def __iter__(self):
        return (self.torn[i] for i in range(self.torn.size))


class TornList(Torn):
    """Not a list for the engine, which begins it anew."""

    def __iter__(self):
        return (self[i] for i in range(self.size))


class TestTrainers:
    @pytest.mark.parametrize("error", ERRORS)
    def test_the_rest_of_the_epoch_comes_from_the_rest_of_the_data(self, error):
        """The row of the issue: the second of 4 batches of the second epoch."""
        step, seen = fail_at([6], error)
        engine, data = Engine(step), ["a", "b", "c", "d"]
        run_failing(engine, data, error, max_epochs=3)
        assert (engine.state.epoch, engine.state.iteration) == (2, 6)
        assert engine._dataloader_iter is None
        started = []
        engine.add_event_handler(
            Events.STARTED | Events.EPOCH_STARTED, lambda: started.append(engine.state.epoch)
        )
        engine.run(["a", "b", "c", "d"])  # the same data, in another list
        assert seen == [(i, "abcd"[(i - 1) % 4]) for i in range(1, 13)]
        assert (engine.state.epoch, engine.state.iteration) == (3, 12)
        assert started == [1, 3]  # of the epochs that are over, and the one that begins

    @pytest.mark.parametrize("at", [5, 6, 8])
    def test_metrics_of_an_epoch_that_is_gone_on_with_are_of_all_of_it(self, at, caplog):
        step, _ = fail_at([at])
        engine, means = Engine(step), []
        Average().attach(engine, "mean")
        engine.add_event_handler(
            Events.EPOCH_COMPLETED, lambda: means.append(engine.state.metrics["mean"])
        )
        data = [1.0, 2.0, 3.0, 10.0]
        run_failing(engine, data, max_epochs=3)
        engine.run(data)
        completed = [
            batch for i, batch in enumerate(data, 5) if i != at
        ]  # its step has given nothing
        assert means == [4.0, sum(completed) / 3, 4.0]
        assert (
            f"failed in epoch 2, iteration {at}: it continues with the rest of the epoch"
            in caplog.text
        )

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_a_shuffled_loader_gives_what_it_has_not_given(self, num_workers):
        torch.manual_seed(0)
        step, seen = fail_at([8, 11])
        loader = DataLoader(range(6), batch_size=1, shuffle=True, num_workers=num_workers)
        engine = Engine(step)
        run_failing(engine, loader, max_epochs=3)
        run_failing(engine, loader)
        engine.run(loader)
        batches = [batch for _, batch in seen]
        assert [sorted(batches[i : i + 6]) for i in (0, 6, 12)] == [[*range(6)]] * 3

    def test_a_loader_that_others_have_used_meanwhile_has_lost_the_place(self, caplog):
        step, seen = fail_at([6])
        loader = DataLoader(range(4), batch_size=1, num_workers=1, persistent_workers=True)
        engine = Engine(step)
        run_failing(engine, loader, max_epochs=2)
        next(iter(loader))  # persistent workers have one iterator for all
        engine.run(loader)
        assert seen[6:] == [(5, 0), (6, 1), (7, 2), (8, 3)]
        assert (
            caplog.text.count(
                "its position in the data is lost: the epoch is repeated from its start, iteration 4"
            )
            == 1
        )

    def test_workers_that_have_ended_with_ctrl_c_have_lost_the_place(self):
        step, seen = fail_at([6], KeyboardInterrupt)
        loader = DataLoader(range(4), batch_size=1, num_workers=1)
        engine = Engine(step)
        run_failing(engine, loader, KeyboardInterrupt, max_epochs=2)
        (worker,) = engine._source.interruption.iterator._workers
        worker.terminate()
        worker.join()
        engine.run(loader)
        assert seen[6:] == [(5, 0), (6, 1), (7, 2), (8, 3)]

    @pytest.mark.parametrize("kind", ["loader", "stream", "generator"])
    @pytest.mark.parametrize("listens", [False, True])
    def test_data_that_fail_themselves_have_lost_the_place_and_the_epoch_is_repeated(
        self, kind, listens, caplog
    ):
        data = {
            "loader": lambda: DataLoader(Torn(4, at=2), batch_size=1),
            "stream": lambda: DataLoader(TornStream(4, at=2), batch_size=1),
            "generator": lambda: TornList(4, at=2),
        }[kind]()
        step, seen = fail_at([])
        engine, means = Engine(step), []
        Average().attach(engine, "mean")
        if listens:
            engine.add_event_handler(
                Events.GET_BATCH_STARTED | Events.GET_BATCH_COMPLETED, lambda: None
            )
        engine.add_event_handler(
            Events.EPOCH_COMPLETED, lambda: means.append(engine.state.metrics["mean"])
        )
        run_failing(engine, data, OSError, max_epochs=2)
        assert (engine.state.epoch, engine.state.iteration) == (1, 2)
        engine.run(data)
        assert seen == [(1, 0), (2, 1), *((i, (i - 1) % 4) for i in range(1, 9))]
        assert means == [1.5, 1.5]
        assert (engine.state.epoch, engine.state.iteration) == (2, 8)
        assert caplog.text.count("the epoch is repeated") == 1

    @pytest.mark.parametrize("listens", [False, True])
    def test_data_that_know_their_place_are_asked_for_it_when_they_fail(self, listens):
        step, seen = fail_at([])
        data = resumable(DataLoader(Torn(4, at=2), batch_size=1))
        engine = Engine(step)
        if listens:
            engine.add_event_handler(Events.GET_BATCH_STARTED, lambda: None)
        run_failing(engine, data, OSError, max_epochs=2)
        engine.run(data)
        assert seen == [(i, (i - 1) % 4) for i in range(1, 9)]

    def test_ctrl_c_while_arrays_are_gathered_costs_no_batch(self, monkeypatch):
        data, left = ArrayLoader(torch.arange(12), batch_size=3, shuffle=True, seed=3), [5]
        gather = type(data)._made

        def made(self, epoch, num_seen):
            for i, batch in enumerate(gather(self, epoch, num_seen)):
                if epoch == 1 and i == 2 and left:
                    left.clear()
                    raise KeyboardInterrupt
                yield batch

        def trained(data, error=None):
            batches = []
            engine = Engine(lambda engine, batch: batches.append(batch.tolist()))
            if error:
                run_failing(engine, data, error, max_epochs=3)
            engine.run(data, max_epochs=3)
            return batches

        full = trained(data.copy())
        monkeypatch.setattr(type(data), "_made", made)
        assert trained(data, KeyboardInterrupt) == full

    def test_an_epoch_shorter_or_longer_than_the_data_continues_in_them(self):
        for length in (3, 7):
            step, seen = fail_at([2, 9])
            engine, data = Engine(step), list(range(5))
            run_failing(engine, data, max_epochs=4, epoch_length=length)
            run_failing(engine, data)
            engine.run(data)
            assert seen == [(i, (i - 1) % 5) for i in range(1, 4 * length + 1)]

    def test_a_stream_continues_with_its_next_batches(self):
        step, seen = fail_at([3, 5])
        engine, stream = Engine(step), iter(range(100))
        run_failing(engine, stream, max_epochs=2, epoch_length=4)
        run_failing(engine, stream)
        engine.run(stream)
        assert seen == [(i, i - 1) for i in range(1, 9)]

    def test_a_generator_that_has_ended_with_the_exception_is_refused(self):
        def generate():
            yield from (1, 2)
            raise OSError

        engine, data = Engine(lambda engine, batch: batch), generate()
        run_failing(engine, data, OSError, max_epochs=2, epoch_length=4)
        before = engine.state_dict()
        with pytest.raises(
            ValueError,
            match="given a generator that has ended with the exception. Pass a new one to run",
        ):
            engine.run(data)
        assert engine.state_dict() == before

    def test_data_that_a_handler_has_put_in_place_stay_there(self):
        step, seen = fail_at([4])
        engine, data = Engine(step), [0, 1, 2, 3]
        engine.add_event_handler(
            Events.ITERATION_COMPLETED(once=2), lambda: engine.set_data([10, 11, 12, 13])
        )
        run_failing(engine, data, max_epochs=2)
        engine.run(data)
        assert [batch for _, batch in seen] == [0, 1, 10, 11, 12, 13, 10, 11]

    def test_a_run_over_other_data_starts_again(self, caplog):
        step, seen = fail_at([6])
        engine = Engine(step)
        run_failing(engine, [1, 2, 3, 4], max_epochs=3)
        engine.run([1, 2, 5], max_epochs=2)
        assert seen[6:] == [(1, 1), (2, 2), (3, 5), (4, 1), (5, 2), (6, 5)]
        assert (engine.state.epoch, engine.state.max_epochs, engine.state.epoch_length) == (2, 2, 3)
        assert "is not continued, because it was over other data" in caplog.text

    def test_a_run_over_other_data_may_have_any_limit_and_has_by_default_that_of_the_one_that_failed(
        self,
    ):
        for limits, epochs in (({}, 3), ({"max_epochs": 1}, 1), ({"max_iters": 5}, 3)):
            step, _ = fail_at([6])
            engine = Engine(step)
            run_failing(engine, [1, 2, 3, 4], max_epochs=3)
            engine.run([7, 8], **limits)
            assert (engine.state.epoch, engine.state.iteration) == (
                epochs,
                limits.get("max_iters", 2 * epochs),
            )

    def test_an_exception_that_is_taken_over_outside_of_the_batches_leaves_the_epoch_to_be_finished(
        self,
    ):
        step, seen = fail_at([6], KeyboardInterrupt)
        engine, data = Engine(step), [0, 1, 2, 3]
        engine.add_event_handler(Events.EXCEPTION_RAISED, lambda error: None)
        engine.run(data, max_epochs=3)
        assert (engine.state.epoch, engine.state.iteration) == (2, 6)
        engine.run(data)
        assert seen == [(i, (i - 1) % 4) for i in range(1, 13)]

    def test_a_handler_that_takes_it_over_and_ends_the_run_gives_up_the_epoch(self):
        step, seen = fail_at([6], KeyboardInterrupt)
        engine, data = Engine(step), [0, 1, 2, 3]
        engine.add_event_handler(Events.EXCEPTION_RAISED, lambda error: engine.terminate())
        engine.run(data, max_epochs=3)
        engine.run(data)
        assert seen[6:] == [(i, (i - 7) % 4) for i in range(7, 11)]
        assert engine.state.epoch == 3

    def test_a_finished_run_whose_last_handler_failed_and_was_taken_over_is_finished(self):
        engine = Engine(lambda engine, batch: batch)
        engine.add_event_handler(Events.COMPLETED, lambda: 1 / 0)
        engine.add_event_handler(Events.EXCEPTION_RAISED, lambda error: None)
        engine.run(data := [0, 1], max_epochs=2)
        assert engine.run(data, max_epochs=2).iteration == 4

    def test_counters_that_are_set_between_the_runs_count(self):
        step, seen = fail_at([6])
        engine, data = Engine(step), [0, 1, 2, 3]
        run_failing(engine, data, max_epochs=3)
        engine.state.epoch, engine.state.iteration = 1, 4
        engine.run(data)
        assert seen[6:] == [(i, (i - 5) % 4) for i in range(5, 13)]

    def test_a_deterministic_engine_continues_with_its_seed_and_pass(self):
        def trained(moments):
            torch.manual_seed(5)
            step, seen = fail_at(moments)
            loader = DataLoader(range(6), batch_size=1, shuffle=True)
            engine = DeterministicEngine(step)
            for _ in moments:
                run_failing(engine, loader, max_epochs=3)
            engine.run(loader, max_epochs=3)
            return seen

        assert trained([2, 9, 12, 13]) == trained([])

    def test_an_engine_that_has_failed_keeps_the_iterator_and_lets_it_go(self):
        step, _ = fail_at([2])
        engine, loader = Engine(step), DataLoader(range(4), batch_size=1)
        run_failing(engine, loader, max_epochs=2)
        assert engine._source.interruption.iterator is not None
        engine.run(loader)
        assert engine._source.interruption is None
        run_failing(evaluator := Engine(fail_at([2])[0]), loader)
        assert evaluator._source.interruption is None
        run_failing(other := Engine(fail_at([2])[0]), loader, max_epochs=2)
        other.load_state_dict({"iteration": 0, "epoch_length": 4, "max_epochs": 3})
        assert other._source.interruption is None
