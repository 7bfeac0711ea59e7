import io
import random

import numpy as np
import pytest
import torch

from ignite.data import _numpy_bits, _random
from ignite.data._random import PrivateRandom, random_scope, seed_all
from support.noisy_data import noise, random_states


def draw():
    return [*noise(0).tolist(), np.random.randn()]


def test_seeds_reach_every_generator():
    seed_all(2**64 - 1)
    first = draw()
    seed_all(2**64 - 1)
    assert draw() == first
    seed_all(2**64 - 2)
    assert all(a != b for a, b in zip(draw()[1:2], first[1:2], strict=True))
    seed_all(1 << 40)
    one = np.random.rand()
    seed_all(1 << 41)
    assert np.random.rand() != one


def test_a_scope_leaves_no_trace_even_if_it_is_left_by_an_exception():
    np.random.randn()
    random.gauss(0, 1)
    before = random_states()
    with random_scope(3):
        draw()
    assert random_states() == before
    with pytest.raises(ZeroDivisionError), random_scope():
        draw()[0] / 0
    assert random_states() == before


def test_what_is_drawn_in_a_scope_depends_on_its_seed_only():
    with random_scope(3):
        first = draw()
    draw()
    with random_scope(3):
        assert draw() == first
    with random_scope(4):
        assert draw() != first


def test_a_private_stream_goes_on_where_it_stopped():
    before = random_states()
    mine, other = PrivateRandom(3), PrivateRandom(3)
    with mine:
        first = noise(0).tolist()
    assert random_states() == before
    with mine:
        second = noise(0).tolist()
    with other:
        assert noise(0).tolist() == first
    draw()
    with other:
        assert noise(0).tolist() == second
    assert first != second


def test_a_private_stream_can_be_saved_and_gone_on_with_in_another_process():
    generator = torch.Generator().manual_seed(1)
    mine = PrivateRandom(3, [generator])
    with mine:
        draw()
        torch.rand(1, generator=generator)
    file = io.BytesIO()
    torch.save(mine.state_dict(), file)
    with mine:
        expected = [*draw(), torch.rand(1, generator=generator)]
    file.seek(0)
    other = PrivateRandom(0, [torch.Generator()])
    other.load_state_dict(torch.load(file, weights_only=True))
    with other:
        assert [*draw(), torch.rand(1, generator=other._generators[0])] == expected


def test_a_stream_that_has_not_begun_can_be_saved_too():
    other = PrivateRandom(0)
    other.load_state_dict(PrivateRandom(8).state_dict())
    with other:
        first = noise(0).tolist()
    with PrivateRandom(8):
        assert noise(0).tolist() == first


def test_generators_that_belong_to_somebody_else_are_put_back():
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    with PrivateRandom(3, [generator]):
        torch.rand(2, generator=generator)
    assert torch.equal(generator.get_state(), before)


def test_numpy_is_not_needed(monkeypatch):
    monkeypatch.setattr(_random, "numpy_or_none", lambda: None)
    monkeypatch.setattr(_numpy_bits, "numpy_or_none", lambda: None)
    before = random_states()
    mine = PrivateRandom(2)
    with mine:
        torch.rand(1)
    with random_scope(1):
        random.random()
    assert random_states() == before
    assert "numpy" not in mine.state_dict()
