import pytest

from ignite.handlers._profiles.iterators import CalledIterator


def test_it_gives_what_the_function_returns_up_to_the_end():
    iterator = CalledIterator(iter([1, 2]).__next__)
    assert iter(iterator) is iterator
    assert list(iterator) == [1, 2]
    with pytest.raises(StopIteration):
        next(iterator)


def test_it_goes_on_after_an_exception():
    answers = [1, OSError("once"), 2]

    def fetch():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    iterator = CalledIterator(fetch)
    assert next(iterator) == 1
    with pytest.raises(OSError, match="once"):
        next(iterator)
    assert next(iterator) == 2
