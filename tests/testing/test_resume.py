import itertools
import random
import re

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from ignite.data import seeded
from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.handlers import Checkpoint
from ignite.metrics import Average
from ignite.testing import Resumption, Run, assert_resume_is_exact


class Noisy(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.tensor([float(index) + random.random()]), torch.tensor([1.0])


def make_run(folder, *, every=1, dataset=None, seed=1, **given):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.mse_loss)
    Average().attach(trainer, "loss")
    Checkpoint.of(trainer, folder, event=Events.ITERATION_COMPLETED(every=every), **given)
    loader = DataLoader(seeded(Noisy()) if dataset is None else dataset, batch_size=2, shuffle=True)
    return Run(trainer, loader, {"model": model, "optimizer": optimizer}, max_epochs=2)


def test_a_run_that_saves_everything_passes_and_it_is_said_where_it_was_stopped():
    assert assert_resume_is_exact(make_run) == [Resumption(i, i) for i in range(1, 9)]


@pytest.mark.parametrize("kill", [False, True])
def test_a_run_continues_from_the_last_checkpoint_before_it_was_stopped(kill):
    resumptions = assert_resume_is_exact(
        lambda folder: make_run(folder, every=3, background=False), every=5, kill=kill
    )
    assert resumptions == [Resumption(5, 3), Resumption(8, 6)]


def test_a_run_that_is_stopped_before_its_first_iteration_starts_again():
    assert assert_resume_is_exact(make_run, at=[0, 2]) == [Resumption(0, 0), Resumption(2, 2)]


def test_what_a_checkpoint_leaves_out_is_found():
    match = r"resumed after 3: metrics of trainer after iteration 8\['loss'\] is .* should"
    with pytest.raises(AssertionError, match=match):
        assert_resume_is_exact(lambda folder: make_run(folder, optimizer=None), at=[3])


def test_batches_that_a_resumed_run_sees_for_the_first_time_are_found():
    match = r"resumed after 2: batch of iteration 3 is '\w+' and should be"
    with pytest.raises(AssertionError, match=match):
        assert_resume_is_exact(lambda folder: make_run(folder, dataset=Stale()), at=[2])


class Stale(Noisy):
    """Changes with what was fetched before, which no checkpoint knows."""

    def __init__(self):
        self.num_fetched = memoryview(bytearray(1))

    def __getitem__(self, index):
        self.num_fetched[0] += 1
        return torch.tensor([float(self.num_fetched[0])]), torch.tensor([1.0])


def test_metrics_of_an_engine_in_a_handler_are_compared():
    def with_evaluator(folder):
        run = make_run(folder)
        seen = []

        def score(engine, batch):
            seen.append(batch)
            engine.state.metrics["score"] = len(seen)

        evaluator = Engine(score)
        run.trainer.add_event_handler(
            Events.EPOCH_COMPLETED, lambda: evaluator.run([1]), priority=1
        )
        run.objects["val"] = evaluator
        return run

    match = r"metrics of val after iteration 8\['score'\] is 1 and should be 2"
    with pytest.raises(AssertionError, match=match):
        assert_resume_is_exact(with_evaluator, at=[6])


def test_runs_that_differ_without_resuming_are_distinguished_from_inexact_resuming():
    seeds = itertools.count()
    with pytest.raises(
        AssertionError,
        match="Two uninterrupted runs differ: make_run should seed all random numbers",
    ):
        assert_resume_is_exact(lambda folder: make_run(folder, seed=next(seeds)), at=[2])


def test_a_run_that_starts_again_shows_what_is_not_seeded():
    with pytest.raises(
        AssertionError, match="make_run should seed all random numbers: batch of iteration 1 is"
    ):
        assert_resume_is_exact(
            lambda folder: make_run(folder, every=5, seed=random.randrange(10**9)), at=[2]
        )


def test_a_run_without_checkpoints_in_time_tests_nothing_and_fails():
    with pytest.raises(
        AssertionError, match="No run was resumed from a checkpoint.* before iteration 4"
    ):
        assert_resume_is_exact(lambda folder: make_run(folder, every=5), at=[2, 4])


def test_iterations_to_stop_at_are_those_of_the_run():
    with pytest.raises(
        ValueError, match="at should have iterations of the run, from 0 to 8, but given 9"
    ):
        assert_resume_is_exact(make_run, at=[9])
    with pytest.raises(ValueError, match="every should be positive, but given 0"):
        assert_resume_is_exact(make_run, every=0)


def test_an_error_in_a_killed_run_is_reported():
    def fail(folder):
        raise OSError("no data")

    with pytest.raises(RuntimeError, match=re.escape("OSError: no data")):
        assert_resume_is_exact(fail, kill=True)


def test_random_numbers_of_the_test_are_left_alone():
    before = torch.get_rng_state()
    assert_resume_is_exact(make_run, at=[2])
    assert bool((torch.get_rng_state() == before).all())
