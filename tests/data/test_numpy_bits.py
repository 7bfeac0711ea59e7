import numpy as np
import pytest

from ignite.data import _numpy_bits
from ignite.data._numpy_bits import exchange, numpy_or_none, put_back, release


def state():
    kind, key, *rest = np.random.get_state()
    return kind, key.tolist(), *rest


@pytest.fixture(params=[True, False], ids=["by memory", "by copy"])
def _way(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(_numpy_bits, "_is_memory_known", lambda: False)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("num_normals", [0, 1, 2, 3])
def test_the_program_finds_its_generator_as_it_left_it_and_the_number_that_waits(num_normals):
    np.random.seed(5)
    np.random.randn(num_normals)
    before = state()
    assert before[3] == num_normals % 2, "the number that waits, which is what this is about"
    old = exchange()
    np.random.seed(1)
    np.random.randn(3)
    release(put_back(old))
    assert state() == before
    expected = np.random.RandomState(5).randn(num_normals + 4)[num_normals:]
    assert np.random.randn(4).tolist() == expected.tolist()


def test_exchanges_can_be_nested():
    before = state()
    outer = exchange()
    np.random.seed(1)
    first = np.random.rand()
    inner = exchange()
    np.random.seed(2)
    release(put_back(inner))
    second = np.random.rand()
    release(put_back(outer))
    assert state() == before
    assert [first, second] == np.random.RandomState(1).rand(2).tolist()


def test_a_generator_of_another_kind_behind_numpy_is_put_back():
    mine = np.random.get_bit_generator()
    other = np.random.PCG64(3)
    np.random.set_bit_generator(other)
    try:
        before = other.state
        old = exchange()
        np.random.seed(1)
        release(put_back(old))
        assert np.random.get_bit_generator() is other
        assert other.state == before
    finally:
        np.random.set_bit_generator(mine)


def test_the_memory_of_a_generator_is_laid_out_as_it_is_taken_to_be():
    assert _numpy_bits._is_memory_known()
    assert numpy_or_none() is np


def test_generators_are_used_again():
    release(put_back(exchange()))
    num_spare = len(_numpy_bits._spare)
    for _ in range(3):
        release(put_back(exchange()))
    assert len(_numpy_bits._spare) == num_spare
