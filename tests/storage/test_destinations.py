"""All storage backends have the same methods."""

import inspect

import pytest

from ignite.storage import Bucket, Folder, Place, Written

METHODS = [
    name
    for name, value in vars(Place).items()
    if inspect.isfunction(value) and not name.startswith("_")
]


def test_a_place_has_methods():
    assert {"write", "local", "remove", "names", "size", "point", "read_link", "sweep"} <= set(
        METHODS
    )


@pytest.mark.parametrize("place", [Folder, Bucket])
@pytest.mark.parametrize("method", METHODS)
def test_each_place_takes_the_same_arguments(place, method):
    expected = inspect.signature(getattr(Place, method)).parameters
    given = inspect.signature(getattr(place, method)).parameters
    assert list(given) == list(expected)
    assert [parameter.default for parameter in given.values()] == [
        one.default for one in expected.values()
    ]


def test_a_written_file_has_a_size_and_a_checksum():
    assert Written(3, 7) == (3, 7)
