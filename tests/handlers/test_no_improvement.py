import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import Engine
from ignite.handlers import NoImprovementHandler


def calls(scores, patience, **options):
    found = []
    handler = NoImprovementHandler(
        patience,
        lambda engine: engine.state.output,
        lambda engine: found.append("stop"),
        lambda engine: found.append("pass"),
        **options,
    )
    engine = Engine(lambda engine, batch: batch)
    handler.attach(engine)
    for score in scores:
        engine.run([score])
    return found, handler


@given(scores=st.lists(st.integers(0, 3).map(float), max_size=12), patience=st.integers(1, 3))
def test_stop_after_each_series_without_improvement(scores, patience):
    expected, best, waited = [], None, 0
    for score in scores:
        if best is None or score > best:
            best, waited = score, 0
        else:
            waited += 1
        expected.append("stop" if waited == patience else "pass")
        waited %= patience
    found, handler = calls(scores, patience)
    assert found == expected
    assert (handler.counter, handler.best_score) == (waited, best)


def test_options_are_those_of_early_stopping():
    assert calls([5.0, 4.9, 4.8, 4.0], 2, mode="min", threshold=0.5)[0] == [
        "pass",
        "pass",
        "stop",
        "pass",
    ]
    assert calls([1.0, 1.3, 1.6], 2, threshold=0.5, cumulative=True)[0] == ["pass", "pass", "pass"]


def test_a_saved_handler_continues():
    _, handler = calls([1.0, 0.5], 2)
    other = calls([], 2)[1]
    other.load_state_dict(handler.state_dict())
    assert (other.counter, other.best_score) == (1, 1.0)
    with pytest.raises(ValueError, match="counter should be an integer of at least 0"):
        other.load_state_dict({"counter": -1, "best_score": None})
    assert other.counter == 1


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((1, None, print), TypeError, "score_function should be a function"),
        ((1, print, None), TypeError, "stop_function should be a function"),
        ((1, print, print, 3), TypeError, "pass_function should be a function, but given 3"),
        ((0, print, print), ValueError, "patience should be positive"),
    ],
)
def test_bad_input(arguments, error, match):
    with pytest.raises(error, match=match):
        NoImprovementHandler(*arguments)


def test_a_score_that_is_no_number():
    engine = Engine(lambda engine, batch: None)
    NoImprovementHandler(1, lambda engine: None, print).attach(engine)
    with pytest.raises(TypeError) as caught:
        engine.run([0])
    assert "score_function should return a number, but returned a NoneType" in "".join(
        caught.value.__notes__
    )
