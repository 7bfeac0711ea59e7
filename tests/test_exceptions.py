from ignite.exceptions import NotComputableError


def test_it_is_a_runtime_error():
    assert issubclass(NotComputableError, RuntimeError)
