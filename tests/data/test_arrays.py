import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from ignite.data import ArrayLoader, SampleOrder, resumable
from ignite.data.order import Cutting, cut


def rows(num_samples):
    return torch.arange(num_samples)


@given(
    num_samples=st.integers(1, 30),
    batch_size=st.integers(1, 7),
    world_size=st.integers(1, 3),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    seed=st.integers(0, 5),
)
def test_each_process_gets_its_cut_of_the_one_order(
    num_samples, batch_size, world_size, shuffle, drop_last, seed
):
    for rank in range(world_size):
        loader = ArrayLoader(
            rows(num_samples),
            batch_size,
            shuffle=shuffle,
            seed=seed,
            rank=rank,
            world_size=world_size,
            drop_last=drop_last,
        )
        for epoch in range(2):
            order = SampleOrder(num_samples, seed, shuffle).of(epoch)
            expected = list(cut(order, Cutting(batch_size, rank, world_size, drop_last)))
            assert [batch.tolist() for batch in loader] == expected
            assert len(loader) == len(expected)


@given(
    num_samples=st.integers(1, 30),
    batch_size=st.integers(1, 7),
    stop=st.integers(0, 30),
    before=st.integers(1, 3),
    after=st.integers(1, 3),
)
def test_a_stopped_pass_continues_with_any_number_of_processes(
    num_samples, batch_size, stop, before, after
):
    """What all processes see after the stop is what they would have seen, in the same order."""

    def loaders(world_size):
        # The global batch is the same, as a position asks for.
        size = batch_size * before * after // world_size
        return [
            resumable(
                ArrayLoader(rows(num_samples), size, shuffle=True, seed=7),
                rank=rank,
                world_size=world_size,
            )
            for rank in range(world_size)
        ]

    first = loaders(before)
    iterators = [iter(loader) for loader in first]
    seen = [
        row
        for _ in range(stop)
        for iterator in iterators
        for row in next(iterator, torch.tensor([])).tolist()
    ]
    state = first[0].state_dict()
    second = loaders(after)
    for loader in second:
        loader.load_state_dict(state)
    passes = [list(loader) for loader in second]
    rest = [
        row
        for k in range(len(passes[0]))
        for one in passes
        if k < len(one)
        for row in one[k].tolist()
    ]
    order = SampleOrder(num_samples, seed=7).of(0).tolist()
    if state["epoch"] == 0:
        assert seen + rest == order or (len(order) - len(seen) < after and rest == [])
    else:  # in which fewer samples than processes are nobody's, too
        order = SampleOrder(num_samples, seed=7).of(1).tolist()
        assert rest == order or (len(order) < after and rest == [])


def test_batches_are_those_of_a_loader_over_a_tensor_dataset():
    x, y = torch.randn(10, 3), rows(10)
    expected = list(DataLoader(TensorDataset(x, y), batch_size=4))
    found = list(ArrayLoader([x, y], 4))
    for (x_found, y_found), (x_expected, y_expected) in zip(found, expected, strict=True):
        torch.testing.assert_close(x_found, x_expected, rtol=0, atol=0)
        torch.testing.assert_close(y_found, y_expected, rtol=0, atol=0)


def test_containers_keep_their_types_and_arrays_become_tensors():
    data = {"image": np.zeros((4, 2), np.uint8), "meta": (rows(4), [np.ones(4, np.float32)])}
    batch = next(iter(ArrayLoader(data, 3)))
    assert isinstance(batch["meta"], tuple)
    assert isinstance(batch["meta"][1], list)
    assert (batch["image"].dtype, batch["image"].shape) == (torch.uint8, (3, 2))
    assert batch["meta"][1][0].dtype == torch.float32


def test_batches_are_copied_and_arrays_as_a_whole_never_are():
    array = np.arange(6.0)
    loader = ArrayLoader(array, 4)
    assert loader.data.data_ptr() == array.ctypes.data
    assert next(iter(loader)).data_ptr() != array.ctypes.data


def test_one_gather_for_each_array_and_batch():
    calls = []

    class Counting(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            calls.append(func.__name__)
            return func(*args, **(kwargs or {}))

    loader = ArrayLoader((torch.randn(12, 3), rows(12)), 4, shuffle=True)
    with Counting():
        list(loader)
    assert calls.count("index_select.default") == 2 * 3
    assert len(calls) <= 2 * 3 + 3 * 1 + 1  # and a slice of the order for each batch, and the order


def test_the_random_state_of_the_program_stays():
    before = torch.get_rng_state()
    list(ArrayLoader(rows(9), 2, shuffle=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_passes_are_counted_and_can_be_set():
    loader = ArrayLoader(rows(8), 8, shuffle=True, seed=1)
    first, second = next(iter(loader)).tolist(), next(iter(loader)).tolist()
    loader.set_epoch(0)
    assert next(iter(loader)).tolist() == first != second
    assert next(iter(loader.copy())).tolist() == first


@pytest.mark.parametrize(
    ("data", "error", "match"),
    [
        ((torch.zeros(3), torch.zeros(4)), ValueError, r"data\[0\] has 3, data\[1\] has 4"),
        (
            {"x": [torch.zeros(3)], "y": np.zeros(2)},
            ValueError,
            r"data\['x'\]\[0\] has 3, data\['y'\] has 2",
        ),
        (
            (torch.zeros(3), torch.tensor(1.0)),
            ValueError,
            r"data\[1\] should have a dimension of samples",
        ),
        ((), ValueError, "at least one array"),
        ((torch.zeros(2), None), TypeError, "given None"),
        ((torch.zeros(2), [1, 2]), TypeError, "given 1"),
        (np.array(["a", "b"]), TypeError, "numpy.str_"),
        (torch.zeros(3), ValueError, "batch_size should be at least 1"),
    ],
    ids=lambda value: None if isinstance(value, str | type) else "",
)
def test_bad_input(data, error, match):
    with pytest.raises(error, match=match):
        ArrayLoader(data, 0 if isinstance(data, torch.Tensor) else 2)


def test_data_of_another_length_cannot_be_continued():
    state = resumable(ArrayLoader(rows(6), 2)).state_dict()
    with pytest.raises(ValueError, match="the length of the dataset was 6 and is 8"):
        resumable(ArrayLoader(rows(8), 2)).load_state_dict(state)


def test_words_among_the_arrays_are_the_same_in_each_batch():
    loader = ArrayLoader({"x": torch.arange(3), "what": "numbers"}, batch_size=2)
    assert [(batch["x"].tolist(), batch["what"]) for batch in loader] == [
        ([0, 1], "numbers"),
        ([2], "numbers"),
    ]
