import pytest

from ignite.contrib.custom_events import CustomPeriodicEvent
from ignite.engine import Engine, Events


@pytest.mark.parametrize(
    ("kwargs", "prefix", "attribute", "expected"),
    [
        # 2 epochs of 5 iterations; the last period of iterations does not end.
        (
            {"n_iterations": 3},
            "ITERATIONS_3",
            "iterations_3",
            [
                ("STARTED", 1, 1),
                ("COMPLETED", 1, 3),
                ("STARTED", 2, 4),
                ("COMPLETED", 2, 6),
                ("STARTED", 3, 7),
                ("COMPLETED", 3, 9),
                ("STARTED", 4, 10),
            ],
        ),
        ({"n_epochs": 2}, "EPOCHS_2", "epochs_2", [("STARTED", 1, 0), ("COMPLETED", 1, 10)]),
        ({"n_iterations": 20}, "ITERATIONS_20", "iterations_20", [("STARTED", 1, 1)]),
    ],
)
def test_periods(kwargs, prefix, attribute, expected):
    engine, seen = Engine(lambda engine, batch: None), []
    periodic = CustomPeriodicEvent(**kwargs)
    periodic.attach(engine)
    for moment in ("STARTED", "COMPLETED"):
        engine.add_event_handler(
            periodic.Events[f"{prefix}_{moment}"],
            lambda engine, moment=moment: seen.append(
                (moment, getattr(engine.state, attribute), engine.state.iteration)
            ),
        )
    engine.run([0] * 5, max_epochs=2)
    assert seen == expected
    assert [event.name for event in periodic.Events] == [f"{prefix}_STARTED", f"{prefix}_COMPLETED"]


def test_several_periods_on_one_engine_and_filters_on_them():
    engine, seen = Engine(lambda engine, batch: None), []
    two, three = CustomPeriodicEvent(n_iterations=2), CustomPeriodicEvent(n_iterations=3)
    two.attach(engine)
    three.attach(engine)
    engine.add_event_handler(
        two.Events.ITERATIONS_2_COMPLETED(every=2), lambda: seen.append("2 x 2")
    )
    engine.add_event_handler(three.Events.ITERATIONS_3_COMPLETED, lambda: seen.append("3"))
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=4), lambda: seen.append("4"))
    engine.run([0] * 6)
    assert seen == ["3", "2 x 2", "4", "3"]


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"n_iterations": "a"}, TypeError, "n_iterations should be an integer, but given 'a'"),
        ({"n_iterations": 10.0}, TypeError, "n_iterations should be an integer"),
        ({"n_epochs": True}, TypeError, "n_epochs should be an integer"),
        ({"n_iterations": 0}, ValueError, "n_iterations should be positive"),
        ({"n_epochs": -1}, ValueError, "n_epochs should be positive, but given -1"),
        ({}, ValueError, "Either n_iterations or n_epochs"),
        ({"n_iterations": 1, "n_epochs": 1}, ValueError, "but not both"),
    ],
)
def test_bad_input(kwargs, error, match):
    with pytest.raises(error, match=match):
        CustomPeriodicEvent(**kwargs)
