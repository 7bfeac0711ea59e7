import io
import itertools
import logging
import multiprocessing
import pickle
import sys

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from torchdata.stateful_dataloader import StatefulDataLoader

from ignite.data import ShardedBatchSampler, resumable, seeded
from support.effort import diagonal
from support.garbage import no_garbage_collection
from support.noisy_data import (
    Counting,
    Noisy,
    StatefulStream,
    noise,
    random_states,
    same,
    states_along,
    take,
)

NUM_BATCHES = 4  # of 11 samples in batches of 3

DATASETS = {
    "tensors": TensorDataset(torch.arange(11)),
    "noisy": Noisy(),
    "seeded": seeded(Noisy(), seed=2),
}
# Workers, whether they persist, prefetch factor. Row 50 of the fault matrix has all combinations.
WORKERS = [(0, False, None), (1, False, 2), (1, True, 4), (2, False, 4), (2, True, 2)]


def plain(batch):
    return batch[0] if isinstance(batch, list) else batch


def through_a_file(state):
    """What comes back from a checkpoint."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def resumed(make, state):
    loader = make()
    loader.load_state_dict(through_a_file(state))
    return loader


@pytest.mark.parametrize(("kind", "workers"), diagonal(DATASETS, WORKERS))
def test_a_pass_stopped_at_any_batch_continues_exactly(kind, workers):
    num_workers, persistent_workers, prefetch_factor = workers

    def make(
        num_workers=num_workers,
        persistent_workers=persistent_workers,
        prefetch_factor=prefetch_factor,
    ):
        return resumable(
            DataLoader(
                DATASETS[kind],
                batch_size=3,
                shuffle=True,
                num_workers=num_workers,
                persistent_workers=persistent_workers,
                prefetch_factor=prefetch_factor,
            ),
            seed=5,
        )

    expected = list(map(plain, take(make(0, False, None), 2 * NUM_BATCHES)))
    before = random_states()
    states = states_along(make(), NUM_BATCHES + 1)
    for num_done, state in enumerate(states):
        rest = map(plain, take(resumed(make, state), 2 * NUM_BATCHES - num_done))
        assert same(list(rest), expected[num_done:]), num_done
    assert random_states() == before


def test_the_second_pass_differs_from_the_first_and_another_seed_from_both():
    first, second = (
        list(resumable(DataLoader(Noisy(), shuffle=True), seed=seed)) for seed in (1, 2)
    )
    loader = resumable(DataLoader(Noisy(), shuffle=True), seed=1)
    assert same(list(loader), first)
    assert not same(list(loader), first)
    assert not same(second, first)


def test_spawned_workers_give_what_this_process_gives():
    def make(**options):
        return resumable(DataLoader(Noisy(), batch_size=3, shuffle=True, **options), seed=5)

    expected = list(make())
    assert same(list(make(num_workers=1, multiprocessing_context="spawn")), expected)


def test_random_numbers_of_a_collate_fn_are_the_same_wherever_it_runs():
    def collate(samples):
        return torch.stack([*samples, noise(-1)])

    def make(num_workers, dataset):
        loader = DataLoader(dataset, batch_size=3, num_workers=num_workers, collate_fn=collate)
        return resumable(loader, seed=5)

    for dataset in (Noisy(), [noise(i) for i in range(5)]):
        before = random_states()
        expected = list(make(0, dataset))
        assert random_states() == before
        assert same(list(make(2, dataset)), expected)
        loader = make(1, dataset)
        state = states_along(loader, 1)[1]
        assert same(list(resumed(lambda dataset=dataset: make(0, dataset), state)), expected[1:])


class NotedBatches(Noisy):
    """Has batches of its own making."""

    def __getitems__(self, indices):
        return [noise(i) for i in reversed(indices)]


def test_a_dataset_that_makes_batches_itself_is_asked_for_batches():
    batches = list(resumable(DataLoader(NotedBatches(6), batch_size=3), seed=1))
    assert [batch[:, 0].tolist() for batch in batches] == [[2, 1, 0], [5, 4, 3]]


def test_resuming_loads_nothing_but_what_comes_next():
    loader = resumable(DataLoader(Counting(1000), batch_size=2, shuffle=True), seed=1)
    batches = list(loader)
    state = loader.state_dict() | {"epoch": 0, "num_batches": 450, "num_samples": 900}
    dataset = Counting(1000)
    other = resumable(DataLoader(dataset, batch_size=2, shuffle=True))
    other.load_state_dict(state)
    assert same([next(iter(other))], [batches[450]])
    assert dataset.num_calls - 1000 == 2  # its count is restored, too


def test_what_workers_have_prepared_does_not_count_as_delivered():
    loader = resumable(
        DataLoader(Counting(100), batch_size=2, num_workers=2, prefetch_factor=4), seed=1
    )
    iterator = iter(loader)
    for _ in range(3):
        next(iterator)
    state = loader.state_dict()
    assert (state["epoch"], state["num_batches"], state["num_samples"]) == (0, 3, 6)


SAMPLERS = {
    "weighted": lambda: WeightedRandomSampler(
        torch.rand(11, generator=torch.Generator().manual_seed(1)), 11
    ),
    "subset": lambda: SubsetRandomSampler(range(2, 11)),
    "replacement": lambda: RandomSampler(
        range(11), replacement=True, generator=torch.Generator().manual_seed(4)
    ),
    "fewer": lambda: RandomSampler(range(11), num_samples=7),
    "endless": lambda: EndlessSampler(),
    "user's": lambda: [3, 1, 4, 1, 5, 9, 2, 6],
}


class EndlessSampler(torch.utils.data.Sampler):
    """Has no length."""

    def __iter__(self):
        for _ in range(2500):
            yield int(torch.randint(11, ()))


@pytest.mark.parametrize(("name", "num_workers"), diagonal(SAMPLERS, [0, 1]))
def test_what_any_sampler_draws_is_drawn_again(name, num_workers):
    def make():
        sampler = SAMPLERS[name]()
        return resumable(
            DataLoader(Noisy(), batch_size=3, sampler=sampler, num_workers=num_workers), seed=3
        )

    expected = take(make(), 6)
    before = random_states()
    for num_done, state in enumerate(states_along(make(), 4)):
        assert same(take(resumed(make, state), 6 - num_done), expected[num_done:])
    assert random_states() == before


def test_the_generator_of_a_sampler_is_left_where_it_was():
    sampler = SAMPLERS["replacement"]()
    before = sampler.generator.get_state()
    list(resumable(DataLoader(Noisy(), sampler=sampler), seed=1))
    assert torch.equal(sampler.generator.get_state(), before)


@pytest.mark.parametrize(
    "batch_sampler",
    [
        [[3, 1], [4], [1, 5, 9]],
        BatchSampler(SubsetRandomSampler(range(9)), 2, drop_last=True),
        [torch.tensor([1, 2]), torch.tensor([3])],
    ],
    ids=["lists", "of torch", "tensors"],
)
def test_batches_of_the_users_own_batch_sampler_are_kept(batch_sampler):
    def make():
        return resumable(DataLoader(Noisy(), batch_sampler=batch_sampler), seed=3)

    expected = take(make(), 6)
    for num_done, state in enumerate(states_along(make(), 4)):
        assert same(take(resumed(make, state), 6 - num_done), expected[num_done:])


def test_samples_are_counted_in_batches_of_any_size():
    loader = resumable(DataLoader(Noisy(), batch_sampler=[[3, 1], [4], [1, 5, 9]]), seed=3)
    assert [state["num_samples"] for state in states_along(loader, 2)] == [0, 2, 3]


@pytest.mark.parametrize("dataset", [Noisy(6), TensorDataset(torch.arange(6)), seeded(Noisy(6))])
def test_loaders_without_batches_are_resumed(dataset):
    def make(sampler=None):
        return resumable(DataLoader(dataset, batch_size=None, sampler=sampler), seed=3)

    first = [plain(item) for item in make()]
    assert [int(item.flatten()[0]) for item in first] == list(range(6))
    for num_done, state in enumerate(states_along(make(), 5)):
        assert same(list(map(plain, take(resumed(make, state), 6 - num_done))), first[num_done:])


def test_a_sampler_of_batches_gives_keys_to_a_loader_without_batches():
    values = torch.arange(20, 31)
    loader = DataLoader(
        TensorDataset(values), batch_size=None, sampler=BatchSampler(range(11), 4, False)
    )
    assert [batch[0].tolist() for batch in resumable(loader, seed=1)] == [
        [20, 21, 22, 23],
        [24, 25, 26, 27],
        [28, 29, 30],
    ]


def test_a_sharded_batch_sampler_is_used_as_it_is():
    sampler = ShardedBatchSampler(11, 3, seed=8, rank=1, world_size=2)
    loader = resumable(DataLoader(range(11), batch_sampler=sampler))
    assert same(list(loader), [torch.tensor(batch) for batch in sampler.batches(0)])
    assert loader.state_dict()["fingerprint"]["world_size"] == 2


def distributed(rank, world_size, dataset, **options):
    sampler = DistributedSampler(dataset, num_replicas=world_size, rank=rank, **options)
    return resumable(DataLoader(dataset, batch_size=2, sampler=sampler))


def test_a_distributed_sampler_is_taken_over_and_neither_pads_nor_drops():
    loaders = [distributed(rank, 3, range(11), seed=9) for rank in range(3)]
    by_rank = [[i for batch in loader for i in batch.tolist()] for loader in loaders]
    assert sorted(itertools.chain(*by_rank)) == list(range(11))
    assert len(set(map(len, loaders))) == 1
    assert loaders[0].state_dict()["seed"] == 9


def test_a_distributed_sampler_that_drops_continues_dropping():
    loaders = [distributed(rank, 3, range(13), drop_last=True) for rank in range(3)]
    assert [sum(len(batch) for batch in loader) for loader in loaders] == [4, 4, 4]


def test_the_rest_of_a_pass_is_divided_among_another_number_of_processes():
    loaders = [distributed(rank, 2, range(23), seed=1) for rank in range(2)]
    expected = [
        i
        for together in zip(*map(list, loaders), strict=True)
        for batch in together
        for i in batch.tolist()
    ]
    loaders = [distributed(rank, 2, range(23), seed=1) for rank in range(2)]
    state = states_along(loaders[0], 3)[-1]
    assert state["num_samples"] == 12
    for world_size in (1, 2, 3, 4):
        others = [distributed(rank, world_size, range(23)) for rank in range(world_size)]
        for other in others:
            other.load_state_dict(state)
        # 11 samples: with 4 processes, 3 of them are too few for a batch of their own, and join the one before.
        assert {other.num_batches_left() for other in others} == {
            {1: 6, 2: 3, 3: 2, 4: 1}[world_size]
        }
        rest = [
            i
            for together in zip(*map(list, others), strict=True)
            for batch in together
            for i in batch.tolist()
        ]
        assert rest == expected[12:]


def test_too_few_samples_for_all_processes_are_left_out_so_that_none_waits(caplog):
    state = states_along(distributed(0, 1, range(11)), 5)[-1]
    assert state["num_samples"] == 10
    with caplog.at_level(logging.WARNING):
        others = [distributed(rank, 2, range(11)) for rank in range(2)]
        for other in others:
            other.load_state_dict(state)
    assert [list(other) for other in others] == [[], []]
    assert (
        "continues after 10 samples, with fewer samples left than there are processes (2)"
        in caplog.text
    )


def test_processes_that_share_no_data_have_orders_of_their_own_from_one_seed():
    def make(rank):
        return resumable(DataLoader(range(50), shuffle=True), seed=4, rank=rank)

    orders = [torch.cat(list(make(rank))).tolist() for rank in range(2)]
    assert orders[0] != orders[1]
    state = states_along(make(0), 1)[1]  # what rank 0 has saved is loaded by all
    assert state["seed"] == 4
    assert torch.cat(list(resumed(lambda: make(1), state))).tolist() == orders[1][1:]


def test_without_a_seed_that_of_the_program_counts_and_nothing_is_drawn():
    torch.manual_seed(7)
    before = random_states()
    first = list(resumable(DataLoader(range(30), shuffle=True)))
    assert random_states() == before
    torch.rand(3)
    assert same(list(resumable(DataLoader(range(30), shuffle=True))), first)
    torch.manual_seed(8)
    assert not same(list(resumable(DataLoader(range(30), shuffle=True))), first)


def test_the_seed_of_the_loaders_own_generator_counts_before_that_of_the_program():
    def order(seed):
        generator = torch.Generator().manual_seed(seed)
        return list(resumable(DataLoader(range(30), shuffle=True, generator=generator)))

    assert same(order(1), order(1))
    assert not same(order(1), order(2))


def test_for_several_processes_the_seed_does_not_depend_on_how_each_was_seeded():
    orders = []
    for rank in range(2):
        torch.manual_seed(rank)
        loader = resumable(DataLoader(range(8), shuffle=True), rank=rank, world_size=2)
        orders += [i for batch in loader for i in batch.tolist()]
    assert sorted(orders) == list(range(8))


class TestPositions:
    """What a state says, and what comes after it was loaded."""

    def make(self, **options):
        return resumable(DataLoader(range(6), batch_size=2), seed=1, **options)

    def values(self, batches):
        return [batch.tolist() for batch in batches]

    def place(self, loader):
        state = loader.state_dict()
        return state["epoch"], state["num_batches"], state["num_samples"], state["is_complete"]

    def test_the_position_counts_what_was_delivered(self):
        loader = self.make()
        assert self.place(loader) == (0, 0, 0, False)
        iterator = iter(loader)
        assert self.place(loader) == (0, 0, 0, False)
        places = [self.place(loader) for _ in iterator]
        assert places == [(0, 1, 2, False), (0, 2, 4, False), (0, 3, 6, True)]
        assert self.place(loader) == (1, 0, 0, False)
        next(iter(loader))
        assert self.place(loader) == (1, 1, 2, False)

    def test_a_loaded_position_is_the_position_until_the_pass_begins(self):
        loader = self.make()
        loader.load_state_dict(states_along(self.make(), 5)[5])
        assert self.place(loader) == (1, 2, 4, False)
        assert loader.num_batches_left() == 1
        assert self.values(loader) == [[4, 5]]
        assert self.values(loader) == [[0, 1], [2, 3], [4, 5]]
        assert self.place(loader) == (3, 0, 0, False)

    def test_behind_the_last_batch_the_pass_has_an_end_but_no_batch_left(self):
        loader = resumed(self.make, states_along(self.make(), 3)[3])
        assert loader.num_batches_left() == 0
        assert self.values(loader) == []
        assert len(self.values(loader)) == 3
        assert self.place(loader) == (2, 0, 0, False)

    def test_once_the_end_was_met_the_next_pass_begins(self):
        loader = self.make()
        list(loader)
        assert len(list(resumed(self.make, loader.state_dict()))) == 3

    def test_the_next_pass_begins_with_a_new_iterator_even_if_the_end_was_not_met(self):
        loader = self.make()
        iterator = iter(loader)
        for _ in range(3):
            next(iterator)
        assert len(list(loader)) == 3
        assert self.place(loader) == (2, 0, 0, False)

    def test_an_old_iterator_does_not_move_the_position(self):
        loader = self.make()
        old, new = iter(loader), iter(loader)
        next(new)
        list(old)
        assert self.place(loader) == (1, 1, 2, False)

    def test_set_epoch_numbers_the_next_pass(self):
        loader = self.make()
        loader.set_epoch(7)
        assert self.place(loader) == (7, 0, 0, False)
        iterator = iter(loader)
        next(iterator)
        assert self.place(loader) == (7, 1, 2, False)
        loader.set_epoch(3)
        assert self.place(loader) == (7, 1, 2, False)
        list(iterator)
        assert self.place(loader) == (3, 0, 0, False)

    @pytest.mark.parametrize("epoch", [0, 1, 2])
    def test_set_epoch_leaves_a_loaded_position_alone(self, epoch):
        loader = resumed(self.make, states_along(self.make(), 5)[5])
        loader.set_epoch(epoch)
        assert self.values(loader) == [[4, 5]]

    def test_set_epoch_goes_past_the_loaded_end_of_a_pass(self):
        loader = resumed(self.make, states_along(self.make(), 3)[3])
        loader.set_epoch(1)
        assert len(list(loader)) == 3

    def test_the_rest_of_a_pass_can_be_given_up(self):
        loader = self.make()
        next(iter(loader))
        loader.end_pass()
        assert self.place(loader) == (1, 0, 0, False)
        loader.load_state_dict(states_along(self.make(), 5)[5])
        loader.end_pass()
        assert self.place(loader) == (2, 0, 0, False)

    def test_states_can_be_loaded_again_and_again(self):
        states = states_along(self.make(), 2)
        loader = self.make()
        for state in (states[2], states[1], states[2], states[0]):
            loader.load_state_dict(state)
            assert len(list(loader)) == 3 - state["num_batches"]

    def test_what_was_saved_is_loaded_into_a_loader_in_the_middle_of_its_pass(self):
        for num_workers in (0, 1):
            loader = resumable(
                DataLoader(
                    Noisy(),
                    num_workers=num_workers,
                    persistent_workers=num_workers > 0,
                    shuffle=True,
                ),
                seed=1,
            )
            expected = list(resumable(DataLoader(Noisy(), shuffle=True), seed=2))
            iterator = iter(loader)
            next(iterator)
            loader.load_state_dict(
                states_along(resumable(DataLoader(Noisy(), shuffle=True), seed=2), 4)[4]
            )
            assert same(list(loader), expected[4:])


class TestChangedData:
    """What happens if a position meets other data."""

    def state(self):
        loader = resumable(DataLoader(Counting(23), batch_size=2, shuffle=True), seed=1)
        return states_along(loader, 6)[-1]

    def load(self, dataset=None, on_change="raise", **options):
        dataset = Counting(23) if dataset is None else dataset
        loader = resumable(
            DataLoader(dataset, **{"batch_size": 2, "shuffle": True} | options), on_change=on_change
        )
        before = loader.state_dict()
        try:
            loader.load_state_dict(self.state())
        except ValueError:
            assert loader.state_dict() == before
            raise
        return loader

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"dataset": Counting(24)}, "the length of the dataset was 23 and is 24"),
            ({"batch_size": 3}, "batch_size was 2 and is 3"),
            ({"drop_last": True}, "drop_last was False and is True"),
            (
                {"dataset": StatefulStream(23), "shuffle": None},
                "the kind of data was 'map' and is 'stream'",
            ),
        ],
    )
    def test_it_is_an_error_that_names_both_and_what_to_do(self, options, text):
        with pytest.raises(ValueError, match=text) as error:
            self.load(**options)
        assert 'resumable(..., on_change="accept")' in str(error.value)

    def test_if_accepted_the_pass_continues_after_the_same_number_of_samples(self):
        order = torch.cat(
            list(resumable(DataLoader(Counting(23), batch_size=2, shuffle=True), seed=1))
        ).tolist()
        loader = self.load(batch_size=5, on_change="accept")
        assert torch.cat(list(loader)).tolist() == order[12:]

    def test_if_accepted_data_shorter_than_the_position_have_nothing_left_of_the_pass(self):
        loader = self.load(dataset=Counting(9), on_change="accept")
        assert list(loader) == []
        assert len(list(loader)) == 5

    @pytest.mark.parametrize("num_workers", [1, 2])
    def test_the_number_of_workers_changes_nothing(self, num_workers):
        expected = list(resumable(DataLoader(Counting(23), batch_size=2, shuffle=True), seed=1))
        assert same(list(self.load(num_workers=num_workers)), expected[6:])

    def test_the_same_global_batch_may_be_cut_in_another_way(self):
        state = states_along(distributed(0, 2, range(23)), 3)[-1]
        loader = resumable(DataLoader(range(23), batch_size=4, shuffle=True), seed=0)
        loader.load_state_dict(state)
        assert loader.num_batches_left() == 3

    def test_anything_but_raise_and_accept_is_refused(self):
        with pytest.raises(
            ValueError, match="on_change should be 'raise' or 'accept', but given 'ignore'"
        ):
            resumable([1], on_change="ignore")


class TestOtherData:
    """Without indices to skip."""

    def test_lists_are_resumed(self):
        data = [[1], [2], [3]]
        for num_done, state in enumerate(states_along(resumable(data), 4)):
            assert (
                take(resumed(lambda: resumable(data), state), 3)
                == take(data * 3, 7)[num_done % 3 :][:3]
            )

    def test_what_an_iterable_draws_is_drawn_again_and_the_program_none_the_wiser(self):
        class Draws:
            def __iter__(self):
                return (noise(i) for i in range(4))

        def make():
            return resumable(Draws(), seed=6)

        before = random_states()
        expected = take(make(), 8)
        for num_done, state in enumerate(states_along(make(), 6)):
            assert same(take(resumed(make, state), 8 - num_done), expected[num_done:])
        assert random_states() == before

    def test_an_iterator_cannot_be_resumed_and_reports_it(self):
        state = states_along(resumable(iter([1, 2, 3])), 2)[-1]
        loader = resumable(iter([1, 2, 3]))
        with pytest.raises(
            ValueError,
            match="after 2 batches, but given a list_iterator, which can be iterated over only once",
        ):
            loader.load_state_dict(state)
        loader.load_state_dict(state | {"num_batches": 0})
        accepting = resumable(iter([3]), on_change="accept")
        accepting.load_state_dict(state)
        assert list(accepting) == [3]

    @pytest.mark.filterwarnings(
        "ignore:'set_vital' is deprecated:UserWarning"
    )  # torchdata 0.11 with torch 2.13
    @pytest.mark.parametrize(
        ("workers", "dataset"),
        diagonal(
            [(0, False), (2, False), (1, True)], [StatefulStream(), TensorDataset(torch.arange(11))]
        ),
    )
    def test_a_stateful_loader_is_asked_for_its_state(self, workers, dataset):
        def make():
            options = dict(zip(("num_workers", "persistent_workers"), workers, strict=True))
            if isinstance(dataset, TensorDataset):
                options["shuffle"] = True
            return resumable(
                StatefulDataLoader(pickle.loads(pickle.dumps(dataset)), batch_size=3, **options),
                seed=4,
            )

        expected = [
            plain(batch)[..., 0] if plain(batch).ndim > 1 else plain(batch)
            for batch in take(make(), 8)
        ]
        for num_done, state in enumerate(states_along(make(), 5)):
            rest = [plain(batch) for batch in take(resumed(make, state), 8 - num_done)]
            rest = [batch[..., 0] if batch.ndim > 1 else batch for batch in rest]
            assert same(rest, expected[num_done:]), num_done

    def test_attributes_are_those_of_what_was_given(self):
        dataset = Noisy()
        loader = DataLoader(dataset, batch_size=3, shuffle=True)
        wrapped = resumable(loader)
        assert wrapped.batch_size == 3
        assert wrapped.dataset is dataset
        assert wrapped.sampler is loader.sampler
        assert len(wrapped) == 4
        assert resumable(wrapped) is wrapped
        assert repr(wrapped) == f"resumable({loader!r})"
        with pytest.raises(AttributeError, match="nonsense"):
            _ = wrapped.nonsense

    def test_data_without_length_have_none(self):
        with pytest.raises(TypeError):
            len(resumable(iter([1])))
        assert resumable(iter([1])).num_batches_left() is None


def test_memory_of_a_long_order_stays_that_of_a_tensor():
    tracemalloc = pytest.importorskip("tracemalloc")
    loader = resumable(DataLoader(Counting(1_000_000), batch_size=8, shuffle=True), seed=1)
    tracemalloc.start()
    try:
        next(iter(loader))
        assert (
            tracemalloc.get_traced_memory()[1] < 2_000_000
        )  # a list of a million numbers takes 36 MB
    finally:
        tracemalloc.stop()


def test_a_subclass_of_the_loader_stays_one():
    class Doubling(DataLoader):
        def __iter__(self):
            return (2 * batch for batch in super().__iter__())

    loader = resumable(Doubling(range(4), batch_size=2), seed=1)
    assert [batch.tolist() for batch in loader] == [[0, 2], [4, 6]]


def test_a_batch_sampler_that_does_not_know_its_rank_is_not_shared():
    with pytest.raises(
        ValueError,
        match=r"batch_sampler should have num_replicas and rank .* world_size=2, but given list",
    ):
        resumable(DataLoader(range(4), batch_sampler=[[1], [2]]), world_size=2)


def test_single_samples_are_shared_only_if_it_can_be_done_evenly():
    with pytest.raises(ValueError, match=r"should be a multiple of world_size=2, but given 5"):
        resumable(DataLoader(range(5), batch_size=None), world_size=2)
    assert len(resumable(DataLoader(range(6), batch_size=None), world_size=2)) == 3


@pytest.mark.parametrize(
    "sampler", [SubsetRandomSampler(range(9)), EndlessSampler()], ids=["drawn", "in chunks"]
)
def test_an_iterator_made_while_an_exception_is_handled_does_not_keep_it(sampler):
    # As at the end of a pass, when the next one begins. It would keep the old pass, and with it its workers.
    loader = resumable(DataLoader(range(9), sampler=sampler), seed=1)
    try:
        raise StopIteration
    except StopIteration as error:
        num_before = sys.getrefcount(error)
        iterator = iter(loader)
        next(iterator)
        num_after = sys.getrefcount(error)
    assert num_after == num_before


@pytest.mark.parametrize("persistent_workers", [False, True])
def test_workers_end_with_the_iterator_or_the_loader(persistent_workers):
    loader = resumable(
        DataLoader(range(9), num_workers=1, persistent_workers=persistent_workers), seed=1
    )
    with no_garbage_collection():
        iterator = iter(loader)
        next(iterator)
        assert multiprocessing.active_children()
        del iterator
        if persistent_workers:
            del loader
        assert multiprocessing.active_children() == []
