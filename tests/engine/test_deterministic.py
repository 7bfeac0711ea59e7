import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from ignite.engine import Engine, Events
from ignite.engine.deterministic import (
    DeterministicEngine,
    ReproducibleBatchSampler,
    keep_random_state,
    update_dataloader,
)
from ignite.utils import manual_seed
from support.effort import diagonal


class Noisy(Dataset):
    """Items with noise from all three generators."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, i):
        return torch.tensor(
            [float(i), torch.rand(1).item(), random.random(), np.random.rand()], dtype=torch.float64
        )


def make_loader(size, batch_size=2, num_workers=0, kind="shuffle", dataset=None):
    dataset = dataset or TensorDataset(torch.arange(size))
    if kind == "weighted":
        sampler = WeightedRandomSampler(torch.arange(size, dtype=torch.float64) + 1, size)
        return DataLoader(dataset, batch_size, sampler=sampler, num_workers=num_workers)
    if kind == "distributed":
        sampler = DistributedSampler(dataset, num_replicas=2, rank=1)
        return DataLoader(dataset, batch_size, sampler=sampler, num_workers=num_workers)
    return DataLoader(dataset, batch_size, shuffle=kind == "shuffle", num_workers=num_workers)


def record(data, save_at=None, state=None, seed=12, **kwargs):
    """The batches of a run by iteration, and the state saved on the way."""
    batches, saved = {}, {}

    def step(engine, batch):
        batches[engine.state.iteration] = torch.as_tensor(
            batch[0] if isinstance(batch, list) else batch
        ).tolist()

    engine = DeterministicEngine(step)
    if state is not None:
        engine.load_state_dict(state)
    if save_at is not None:
        engine.add_event_handler(
            Events.ITERATION_COMPLETED(once=save_at), lambda: saved.update(engine.state_dict())
        )
    manual_seed(seed)
    engine.run(data, **kwargs)
    return batches, saved


@settings(max_examples=40)
@given(
    size=st.integers(1, 12),
    batch_size=st.integers(1, 4),
    epoch_length=st.none() | st.integers(1, 8),
    max_epochs=st.integers(1, 4),
    save_at=st.integers(1, 20),
    kind=st.sampled_from(["shuffle", "sequential", "weighted"]),
    again=st.sampled_from([12, 99]),
)
def test_a_run_resumed_at_any_iteration_sees_the_same_batches(
    size, batch_size, epoch_length, max_epochs, save_at, kind, again
):
    """Whether or not the user seeds again before the resumed run."""

    def loader():
        return make_loader(size, batch_size, kind=kind)

    full, saved = record(loader(), save_at, epoch_length=epoch_length, max_epochs=max_epochs)
    if not saved:
        return
    rest, _ = record(loader(), state=saved, seed=again)
    assert rest == {iteration: batch for iteration, batch in full.items() if iteration > save_at}


@pytest.mark.parametrize("save_at", [3, 4, 7])
def test_noise_drawn_in_this_process_is_the_same_too(save_at):
    loader = make_loader(8, dataset=Noisy(8))
    full, saved = record(loader, save_at, max_epochs=3)
    rest, _ = record(loader, state=saved)
    assert rest == {iteration: batch for iteration, batch in full.items() if iteration > save_at}
    assert len({str(batch) for batch in full.values()}) == len(full)


def test_with_workers_the_order_is_the_same():
    full, saved = record(make_loader(8, num_workers=2), 5, max_epochs=2)
    rest, _ = record(make_loader(8, num_workers=0), state=saved)
    assert rest == {iteration: batch for iteration, batch in full.items() if iteration > 5}


def test_lists_and_streams_are_fetched_forward(caplog):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(range(6))

    for data in (list(range(6)), DataLoader(Stream(), batch_size=None)):
        full, saved = record(data, 8, max_epochs=2, epoch_length=6)
        with caplog.at_level("INFO", logger="ignite.engine.engine.DeterministicEngine"):
            rest, _ = record(data, state=saved)
        assert rest == {iteration: batch for iteration, batch in full.items() if iteration > 8}
        assert "fetch data until required iteration 2" in caplog.text
        caplog.clear()


def test_batches_of_indices_that_are_no_batch_sampler_are_fetched_forward():
    loader = DataLoader(TensorDataset(torch.arange(5)), batch_sampler=[[0, 1], [4], [2, 3]])
    full, saved = record(loader, 1)
    rest, _ = record(loader, state=saved)
    assert full == {1: [0, 1], 2: [4], 3: [2, 3]}
    assert rest == {2: [4], 3: [2, 3]}


def test_a_state_of_ignite_may_lie_beyond_one_pass_of_a_stream():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(range(4))

    state = {"epoch_length": 6, "iteration": 5, "max_epochs": 1, "rng_states": None}
    rest, _ = record(DataLoader(Stream(), batch_size=None), state=state)
    assert rest == {6: 1}


def test_distributed_samplers_are_resumed_with_their_epoch():
    def run(save_at=None, state=None):
        loader = make_loader(12, kind="distributed")
        batches, saved = {}, {}
        engine = DeterministicEngine(
            lambda engine, batch: batches.update({engine.state.iteration: batch[0].tolist()})
        )
        engine.add_event_handler(
            Events.EPOCH_STARTED, lambda engine: loader.sampler.set_epoch(engine.state.epoch)
        )
        if state:
            engine.load_state_dict(state)
        if save_at:
            engine.add_event_handler(
                Events.ITERATION_COMPLETED(once=save_at), lambda: saved.update(engine.state_dict())
            )
        manual_seed(1)
        engine.run(loader, max_epochs=3)
        return batches, saved

    full, saved = run(5)
    rest, _ = run(state=saved)
    assert rest == {iteration: batch for iteration, batch in full.items() if iteration > 5}
    with pytest.warns(
        UserWarning, match="distributed sampler indices can not be setup .*: 2 and 3"
    ):
        record(make_loader(12, kind="distributed"), epoch_length=2)


def test_after_an_epoch_that_was_cut_short_the_order_is_another_and_can_be_resumed():
    def run(state=None):
        batches, saved = {}, {}
        engine = DeterministicEngine(
            lambda engine, batch: batches.update({engine.state.iteration: batch[0].tolist()})
        )
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=3), engine.terminate_epoch)
        engine.add_event_handler(
            Events.ITERATION_COMPLETED(once=6), lambda: saved.update(engine.state_dict())
        )
        if state:
            engine.load_state_dict(state)
        manual_seed(3)
        engine.run(make_loader(8), max_epochs=3)
        return batches, saved

    full, saved = run()
    assert sorted(full) == [*range(1, 12)]
    for second, third in ((4, 8), (8, 12)):
        assert sorted(item for i in range(second, third) for item in full[i]) == [*range(8)]
    assert [full[i] for i in range(4, 7)] != [full[i] for i in range(1, 4)]
    rest, _ = run(saved)
    assert rest == {iteration: batch for iteration, batch in full.items() if iteration > 6}


def test_weights_after_a_resume_are_those_of_the_uninterrupted_run_bit_for_bit(tmp_path):
    def train(path=None, save_at=None, max_epochs=3):
        manual_seed(5)
        model = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1)
        ).double()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)

        def step(engine, batch):
            optimizer.zero_grad()
            model(batch).mean().backward()
            optimizer.step()

        engine, file = DeterministicEngine(step), tmp_path / "state.pt"
        if save_at:

            @engine.on(Events.ITERATION_COMPLETED(once=save_at))
            def save(engine):
                torch.save([engine.state_dict(), model.state_dict(), optimizer.state_dict()], file)

        if path:
            for target, state in zip(
                (engine, model, optimizer), torch.load(path, weights_only=True), strict=True
            ):
                target.load_state_dict(state)
        engine.run(make_loader(8, dataset=Noisy(8)), max_epochs=max_epochs)
        return torch.cat([p.detach().flatten() for p in model.parameters()]), file

    expected, file = train(save_at=6)
    found, _ = train(path=file)
    assert torch.equal(found, expected)


def test_the_state_dict_has_ignites_keys_and_is_read_safely(tmp_path):
    engine = DeterministicEngine(lambda engine, batch: None)
    assert list(engine.state_dict()) == ["epoch_length", "iteration", "max_epochs", "rng_states"]
    torch.save(engine.state_dict(), tmp_path / "state.pt")
    assert len(torch.load(tmp_path / "state.pt", weights_only=True)["rng_states"]) >= 3
    plain = Engine(lambda engine, batch: None)
    manual_seed(0)
    engine.run([0, 1])
    plain.load_state_dict(engine.state_dict())


def test_random_states_that_ignite_has_saved_are_accepted():
    manual_seed(8)
    states = [random.getstate(), torch.get_rng_state(), np.random.get_state()]
    expected = random.random(), torch.rand(1).item(), np.random.rand()
    found = []

    def step(engine, batch):
        found.append((random.random(), torch.rand(1).item(), np.random.rand()))

    engine = DeterministicEngine(step)
    engine.load_state_dict(
        {"epoch_length": 4, "iteration": 1, "max_epochs": 1, "rng_states": states}
    )
    engine.run([0, 1, 2, 3])
    assert found[0] == expected


def test_without_data_there_is_nothing_to_order():
    with pytest.raises(ValueError, match="does not support the option of data=None"):
        DeterministicEngine(lambda engine, batch: None).run(epoch_length=3)


def test_the_users_loader_is_not_touched():
    loader = make_loader(6)
    sampler = loader.batch_sampler
    engine = DeterministicEngine(lambda engine, batch: None)
    engine.run(loader)
    assert loader.batch_sampler is sampler
    assert isinstance(engine.state.dataloader.batch_sampler, ReproducibleBatchSampler)


@pytest.mark.parametrize("fails", [False, True])
def test_keep_random_state_leaves_all_generators_alone(fails):
    def draw():
        return random.random(), torch.rand(1).item(), np.random.rand()

    @keep_random_state
    def validate(x, y=1):
        draw()
        if fails:
            raise ValueError("wrong")
        return x + y

    manual_seed(4)
    expected = draw()
    manual_seed(4)
    if fails:
        with pytest.raises(ValueError, match="wrong"):
            validate(1)
    else:
        assert validate(1, y=2) == 3
    assert draw() == expected
    assert validate.__name__ == "validate"


def test_an_updated_loader_is_like_the_one_it_came_from():
    class Mine(DataLoader):
        pass

    loader = Mine(range(8), batch_size=3, collate_fn=sum, num_workers=2, prefetch_factor=5, timeout=3,
                  generator=torch.Generator(), persistent_workers=True)  # fmt: skip
    sampler = BatchSampler(SequentialSampler(range(8)), 2, False)
    new = update_dataloader(loader, sampler)
    assert type(new) is Mine
    assert new.batch_sampler is sampler
    for name in (
        "dataset",
        "collate_fn",
        "num_workers",
        "prefetch_factor",
        "timeout",
        "generator",
        "persistent_workers",
    ):
        assert getattr(new, name) is getattr(loader, name)


def test_a_reproducible_sampler_wraps_batch_samplers_only():
    with pytest.raises(
        TypeError,
        match="should be torch.utils.data.sampler.BatchSampler, but given SequentialSampler",
    ):
        ReproducibleBatchSampler(SequentialSampler(range(3)))
    inner = BatchSampler(SequentialSampler(range(5)), 2, False)
    sampler = ReproducibleBatchSampler(inner, start_iteration=2)
    assert (len(sampler), sampler.sampler) == (3, inner.sampler)
    assert list(sampler) == [[4]]
    assert sampler.start_iteration is None
    assert len(list(sampler)) == 3


def passes_by_hand(data, seed, num_batches, cut_at=None):
    """The batches of the loop that the engine stands for; the pass of iteration ``cut_at`` ends there."""
    batches, number = [], 0
    while len(batches) < num_batches:
        manual_seed(seed + number)
        number += 1
        for batch in data:
            batches.append(batch.tolist())
            if len(batches) in (num_batches, cut_at):
                break
    return batches


class Shuffled:
    """Data that are no loader, with or without a length."""

    def __init__(self, size, batch_size):
        self.size, self.batch_size = size, batch_size

    def __iter__(self):
        return iter(torch.randperm(self.size).split(self.batch_size))


class SizedShuffled(Shuffled):
    def __len__(self):
        return -(-self.size // self.batch_size)


def make_data(kind, size, batch_size, **kwargs):
    items, options = torch.arange(size), {"batch_size": batch_size, **kwargs}
    if kind in ("unsized", "sized"):
        return (SizedShuffled if kind == "sized" else Shuffled)(size, batch_size)
    samplers = {
        "weighted": WeightedRandomSampler(items + 1.0, 2 * size),
        "replacement": RandomSampler(items, replacement=True, num_samples=size + 35),
        "subset": SubsetRandomSampler([*range(0, size, 2)]),
        "own generator": RandomSampler(items, generator=torch.Generator().manual_seed(8)),
        "noisy": None,
        "single": None,
    }
    if kind in samplers:
        options["sampler"] = samplers[kind]
    if kind in ("shuffled", "noisy", "single"):
        options["shuffle"] = True
    if kind == "single":
        options["batch_size"] = None
    if kind == "batch sampler":
        del options["batch_size"]
        options["batch_sampler"] = BatchSampler(RandomSampler(items), batch_size, drop_last=False)
    return DataLoader(Noisy(size) if kind == "noisy" else items, **options)


KINDS = [
    "sequential", "shuffled", "single", "weighted", "replacement", "subset", "own generator", "batch sampler", "noisy",
    "sized", "unsized",
]  # fmt: skip


def compare_with_passes_by_hand(kind, size, batch_size, epoch_length, cut_at, **kwargs):
    if kind == "own generator":
        cut_at = None  # RandomSampler draws from it once more after the last index of a pass
    batches = []
    engine = DeterministicEngine(lambda engine, batch: batches.append(batch.tolist()))
    if cut_at is not None:
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=cut_at), engine.terminate_epoch)
    torch.manual_seed(11)
    engine.run(make_data(kind, size, batch_size, **kwargs), max_epochs=4, epoch_length=epoch_length)
    data = make_data(kind, size, batch_size, **kwargs)
    assert batches == passes_by_hand(data, engine.state.seed, len(batches), cut_at)


@settings(max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    size=st.integers(1, 12),
    batch_size=st.integers(1, 4),
    epoch_length=st.none() | st.integers(1, 9),
    cut_at=st.none() | st.integers(1, 12),
)
def test_pass_i_has_the_batches_of_the_data_after_the_seed_plus_i(
    kind, size, batch_size, epoch_length, cut_at
):
    """Also after an epoch that ended early, whose rest of the pass is left out."""
    compare_with_passes_by_hand(kind, size, batch_size, epoch_length, cut_at)


@pytest.mark.parametrize(
    ("kind", "how"), diagonal(KINDS[:-2], [(2, None, False), (5, 3, False), (5, None, True)])
)
def test_with_workers_pass_i_has_the_batches_of_the_data_after_the_seed_plus_i(kind, how):
    epoch_length, cut_at, persistent = how
    compare_with_passes_by_hand(
        kind, 7, 2, epoch_length, cut_at, num_workers=2, persistent_workers=persistent
    )


@settings(max_examples=60)
@given(
    kind=st.sampled_from([kind for kind in KINDS if kind != "own generator"]),
    epoch_length=st.integers(1, 6),
    cut_at=st.integers(1, 9),
    save_at=st.integers(1, 16),
    event=st.sampled_from(
        [Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED, Events.EPOCH_STARTED]
    ),
)
def test_after_an_epoch_that_ended_early_a_resumed_run_has_the_batches_of_an_undisturbed_one(
    kind, epoch_length, cut_at, save_at, event
):
    def run(state=None):
        batches, saved = {}, {}
        engine = DeterministicEngine(
            lambda engine, batch: batches.update({engine.state.iteration: batch.tolist()})
        )
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=cut_at), engine.terminate_epoch)

        @engine.on(event)
        def save(engine):
            is_cut = event is Events.ITERATION_COMPLETED and engine.state.iteration == cut_at
            if engine.state.iteration >= save_at and not saved and not is_cut:
                saved.update(engine.state_dict())

        if state:
            engine.load_state_dict(state)
        torch.manual_seed(3)
        engine.run(make_data(kind, 7, 2), max_epochs=4, epoch_length=epoch_length)
        return batches, saved

    full, saved = run()
    if saved:
        rest, _ = run(saved)
        assert rest == {i: batch for i, batch in full.items() if i > saved["iteration"]}
