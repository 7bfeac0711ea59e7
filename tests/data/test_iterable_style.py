import logging

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from ignite.data import resumable
from support.noisy_data import (
    NoisyStream,
    StatefulStream,
    noise,
    random_states,
    same,
    states_along,
    take,
)

NUM_BATCHES = 4


def resumed(make, state):
    loader = make()
    loader.load_state_dict(state)
    return loader


@pytest.mark.parametrize(("num_workers", "persistent_workers"), [(0, False), (2, False), (2, True)])
def test_a_stream_is_made_again_up_to_the_position(num_workers, persistent_workers):
    def make():
        options = {"num_workers": num_workers, "persistent_workers": persistent_workers}
        return resumable(DataLoader(NoisyStream(), batch_size=3, **options), seed=4)

    before = random_states()
    expected = take(make(), 2 * NUM_BATCHES)
    for num_done, state in enumerate(states_along(make(), NUM_BATCHES + 1)):
        assert same(take(resumed(make, state), 2 * NUM_BATCHES - num_done), expected[num_done:]), (
            num_done
        )
    assert random_states() == before
    assert not same(expected[:NUM_BATCHES], expected[NUM_BATCHES:])


def test_a_stream_with_a_state_is_asked_for_it_and_makes_nothing_again():
    def make(dataset=None):
        return resumable(DataLoader(dataset or StatefulStream(), batch_size=3), seed=4)

    expected = take(make(), 2 * NUM_BATCHES)
    before = random_states()
    for num_done, state in enumerate(states_along(make(), NUM_BATCHES + 1)):
        dataset = StatefulStream()
        loader = make(dataset)
        loader.load_state_dict(state)
        assert same(take(loader, 2 * NUM_BATCHES - num_done), expected[num_done:])
        assert dataset.num_made == 2 * 11 - min(3 * num_done, 11) - max(
            0, 3 * (num_done - NUM_BATCHES)
        )
    assert random_states() == before


def test_the_state_of_a_stream_can_be_read_safely(tmp_path):
    state = states_along(resumable(DataLoader(StatefulStream(), batch_size=3), seed=4), 2)[-1]
    torch.save(state, tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    assert loaded["inner"]["dataset"] == {"next": 6}
    assert (loaded["num_batches"], loaded["num_samples"]) == (2, 6)


def test_another_number_of_workers_shards_a_stream_otherwise_and_is_refused():
    state = states_along(resumable(DataLoader(NoisyStream(), num_workers=1), seed=4), 2)[-1]
    with pytest.raises(ValueError, match="num_workers was 1 and is 2"):
        resumable(DataLoader(NoisyStream(), num_workers=2)).load_state_dict(state)
    resumable(DataLoader(NoisyStream(), num_workers=2), on_change="accept").load_state_dict(state)


def test_another_batch_size_if_accepted_continues_after_the_same_number_of_samples():
    state = states_along(resumable(DataLoader(NoisyStream(), batch_size=2), seed=4), 3)[-1]
    loader = resumable(DataLoader(NoisyStream(), batch_size=3), on_change="accept")
    loader.load_state_dict(state)
    assert next(iter(loader))[:, 0].tolist() == [6, 7, 8]


def test_data_that_have_become_shorter_are_reported(caplog):
    state = states_along(resumable(DataLoader(NoisyStream(12), batch_size=3), seed=4), 4)[-1]
    loader = resumable(DataLoader(NoisyStream(5), batch_size=3), on_change="accept")
    loader.load_state_dict(state)
    with caplog.at_level(logging.WARNING):
        assert list(loader) == []
    assert "has only 2 batches, but had at least 4 before" in caplog.text


def test_set_epoch_of_a_stream_is_called():
    class Told(IterableDataset):
        def set_epoch(self, epoch):
            self.epoch = epoch

        def __iter__(self):
            return iter([self.epoch])

    loader = resumable(DataLoader(Told()), seed=1)
    assert [int(batch) for _ in range(3) for batch in loader] == [0, 1, 2]


def test_processes_draw_other_numbers():
    first, second = (
        next(iter(resumable(DataLoader(NoisyStream()), seed=1, rank=rank))) for rank in range(2)
    )
    assert (first[0, 1:] != second[0, 1:]).all()


def test_errors_name_the_batch():
    class Breaks(IterableDataset):
        def __iter__(self):
            yield noise(0)
            raise OSError("disk")

    iterator = iter(resumable(DataLoader(Breaks()), seed=1))
    next(iterator)
    with pytest.raises(OSError, match="disk") as error:
        next(iterator)
    assert error.value.__notes__ == ["in batch 1 of epoch 0, made by DataLoader"]


def test_a_list_counts_the_remaining_iterations():
    loader = resumable([1, 2, 3])
    next(iter(loader))
    assert loader.num_batches_left() == 2
    assert len(loader) == 3


def test_a_list_of_another_length_is_other_data():
    state = states_along(resumable([1, 2, 3]), 1)[-1]
    with pytest.raises(ValueError, match="the length of the dataset was 3 and is 4"):
        resumable([1, 2, 3, 4]).load_state_dict(state)
