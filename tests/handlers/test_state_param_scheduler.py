import copy
import io
import math
import pickle
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ignite.engine import Engine, Events
from ignite.handlers.state_param_scheduler import (
    ExpStateScheduler,
    LambdaStateScheduler,
    MultiStepStateScheduler,
    PiecewiseLinearStateScheduler,
    StateParamScheduler,
    StepStateScheduler,
)
from support.garbage import no_garbage_collection


def make_engine():
    return Engine(lambda engine, batch: None)


def halve(n):
    return 0.5**n


MAKERS = {
    "lambda": lambda **o: LambdaStateScheduler(halve, "weight", **o),
    "piecewise": lambda **o: PiecewiseLinearStateScheduler([(2, 0.0), (6, 1.0)], "weight", **o),
    "exp": lambda **o: ExpStateScheduler(2.0, 0.9, "weight", **o),
    "step": lambda **o: StepStateScheduler(2.0, 0.9, 3, "weight", **o),
    "multistep": lambda **o: MultiStepStateScheduler(2.0, 0.9, [2, 5, 5], "weight", **o),
}
# The values after event n = 1, 2, ... 8.
EXPECTED = {
    "lambda": [0.5**n for n in range(1, 9)],
    "piecewise": [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0],
    "exp": [2 * 0.9**n for n in range(1, 9)],
    "step": [2 * 0.9**i for i in (0, 0, 1, 1, 1, 2, 2, 2)],
    "multistep": [2 * 0.9**i for i in (0, 1, 1, 1, 3, 3, 3, 3)],
}


def run(engine, num_iterations):
    """The values that the step sees, and the one after it."""
    seen = []
    handle = engine.add_event_handler(
        Events.ITERATION_STARTED, lambda: seen.append(engine.state.weight)
    )
    engine.run([0] * num_iterations)
    handle.remove()
    return [*seen, engine.state.weight]


@pytest.mark.parametrize("name", MAKERS)
def test_the_first_value_is_that_of_event_one(name):
    engine = make_engine()
    MAKERS[name](create_new=True, save_history=True).attach(engine)
    assert engine.state.weight is None
    seen = run(engine, 8)
    assert seen[0] is None
    assert seen[1:] == pytest.approx(EXPECTED[name])
    assert engine.state.param_history == {"weight": seen[1:]}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("is_attached_first", [True, False])
@pytest.mark.parametrize("num_before", [0, 1, 5])
def test_a_run_that_is_resumed_continues_from_its_first_iteration(
    name, is_attached_first, num_before
):
    first, engine = MAKERS[name](create_new=True), make_engine()
    first.attach(engine)
    seen = run(engine, num_before)[:-1] if num_before else []
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)

    second, engine = MAKERS[name](create_new=True), make_engine()
    if is_attached_first:
        second.attach(engine)
    second.load_state_dict(torch.load(file, weights_only=True))
    if not is_attached_first:
        second.attach(engine)
    seen += run(engine, 8 - num_before)
    assert seen[0] is None
    assert seen[1:] == pytest.approx(EXPECTED[name])


@settings(max_examples=40, deadline=None)
@given(
    points=st.lists(
        st.tuples(st.integers(0, 30), st.floats(0, 9)),
        min_size=1,
        max_size=6,
        unique_by=lambda p: p[0],
    ),
    initial=st.floats(-2, 2),
    gamma=st.floats(0.1, 1.2),
    size=st.integers(1, 7),
)
def test_any_event_is_the_closed_form(points, initial, gamma, size):
    milestones, values = zip(*sorted(points), strict=True)
    events = np.arange(1, 31)
    num_passed = (np.array(milestones)[:, None] <= events).sum(axis=0)
    for kind, options, expected in (
        (
            PiecewiseLinearStateScheduler,
            {"milestones_values": sorted(points)},
            np.interp(events, milestones, values),
        ),
        (ExpStateScheduler, {"initial_value": initial, "gamma": gamma}, initial * gamma**events),
        (
            StepStateScheduler,
            {"initial_value": initial, "gamma": gamma, "step_size": size},
            initial * gamma ** np.floor(events / size),
        ),
        (
            MultiStepStateScheduler,
            {"initial_value": initial, "gamma": gamma, "milestones": list(milestones)},
            initial * gamma**num_passed,
        ),
    ):
        rows = kind.simulate_values(30, param_name="weight", save_history=True, **options)
        assert [index for index, _ in rows] == list(range(30))
        assert [value for _, value in rows] == pytest.approx(expected.tolist(), abs=1e-12)


def test_an_attribute_that_is_missing_is_created_with_a_warning():
    engine = make_engine()
    with pytest.warns(
        UserWarning,
        match="'weight' is not defined in the engine.state. ExpStateScheduler will create",
    ):
        MAKERS["exp"]().attach(engine)
    assert engine.state.weight is None


def test_an_attribute_that_is_there_keeps_its_value_up_to_the_first_event():
    engine = make_engine()
    engine.state.weight = 7.0
    MAKERS["exp"]().attach(engine)
    assert run(engine, 2) == pytest.approx([7.0, 1.8, 1.62])


def test_a_new_attribute_that_is_there_is_an_error_that_changes_nothing():
    engine, scheduler = make_engine(), MAKERS["exp"](create_new=True)
    engine.state.weight = 7.0
    with pytest.raises(
        ValueError, match="'weight' already exists in the engine.state. .* create_new=False"
    ):
        scheduler.attach(engine)
    assert not engine.has_event_handler(scheduler)


def test_an_event_that_is_not_there_changes_nothing():
    engine = make_engine()
    with pytest.raises(ValueError, match="no_event"):
        MAKERS["exp"](create_new=True).attach(engine, "no_event")
    assert not hasattr(engine.state, "weight")


def test_other_events():
    engine = make_engine()
    MAKERS["step"](create_new=True).attach(engine, Events.EPOCH_COMPLETED | Events.STARTED)
    engine.run([0] * 3, max_epochs=2)
    assert engine.state.weight == pytest.approx(1.8)


def test_what_the_handler_writes_is_not_what_is_loaded_before_the_first_event():
    """Loading a state of a run that had not begun leaves the attribute alone."""
    engine, scheduler = make_engine(), MAKERS["exp"]()
    engine.state.weight = 7.0
    scheduler.attach(engine)
    scheduler.load_state_dict(scheduler.state_dict())
    assert engine.state.weight == 7.0


def test_lists_do():
    engine = make_engine()
    scheduler = LambdaStateScheduler(
        lambda n: [n, 2 * n], "weights", save_history=True, create_new=True
    )
    scheduler.attach(engine)
    engine.run([0] * 2)
    assert engine.state.param_history == {"weights": [[1, 2], [2, 4]]}
    assert LambdaStateScheduler.simulate_values(2, lambda_obj=lambda n: [n], param_name="a") == [
        [0, [1]],
        [1, [2]],
    ]


def test_a_function_that_fails_is_not_counted():
    def fail(n):
        raise KeyError(n)

    engine, scheduler = make_engine(), LambdaStateScheduler(fail, "weight", create_new=True)
    scheduler.attach(engine)
    with pytest.raises(KeyError, match="1"):
        engine.run([0])
    assert scheduler.event_index == 0


class Remembering:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, n):
        return self.factor * n

    def state_dict(self):
        return {"factor": self.factor}

    def load_state_dict(self, state):
        self.factor = state["factor"]


def test_the_state_of_a_callable_is_part_of_it():
    first, second = (LambdaStateScheduler(Remembering(factor), "weight") for factor in (3.0, 5.0))
    first(make_engine())
    second.load_state_dict(first.state_dict())
    assert second.get_param() == 3.0


def test_a_callable_that_takes_no_state_has_none():
    class Half:
        def __call__(self, n):
            return n / 2

        def state_dict(self):
            return {"value": 3}

    first, second = LambdaStateScheduler(Half(), "weight"), LambdaStateScheduler(Half(), "weight")
    first(make_engine())
    assert "lambda_obj" not in first.state_dict()
    second.load_state_dict(first.state_dict())
    assert second.get_param() == 0.5


def test_states_of_ignite_fit():
    """As recorded from pytorch-ignite 0.5.5 after three events."""
    common = {"event_index": 3, "save_history": False, "param_name": "weight"}
    for name, more, expected in (
        ("lambda", {"lambda_obj": print}, 0.5**3),
        ("piecewise", {"values": [1.0, 3.0], "milestones": [2, 4], "_index": 0}, 2.0),
        ("exp", {"initial_value": 1.0, "gamma": 0.9}, 0.9**3),
        ("step", {"initial_value": 1.0, "gamma": 0.9, "step_size": 2}, 0.9),
        ("multistep", {"initial_value": 1.0, "gamma": 0.9, "milestones": [1, 3]}, 0.81),
    ):
        scheduler = MAKERS[name]()
        scheduler.load_state_dict({**common, **more})
        assert scheduler.get_param() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"event_index": -1},
            ValueError,
            "event_index in state_dict should be at least 0, but given -1",
        ),
        (
            {"event_index": "3"},
            TypeError,
            "event_index in state_dict should be an integer, but given '3'",
        ),
        (
            {"param_name": "other"},
            ValueError,
            "of a scheduler of 'weight', but given one of 'other'",
        ),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(changes, error, message):
    engine, scheduler = make_engine(), MAKERS["exp"](create_new=True)
    scheduler.attach(engine)
    before = scheduler.state_dict()
    with pytest.raises(error, match=message):
        scheduler.load_state_dict({**before, "event_index": 5, **changes})
    assert scheduler.state_dict() == before
    assert engine.state.weight is None


@pytest.mark.parametrize("name", MAKERS)
def test_it_can_be_pickled_and_copied_when_attached(name):
    engine, scheduler = make_engine(), MAKERS[name](create_new=True)
    scheduler.attach(engine)
    engine.run([0] * 3)
    for twin in (pickle.loads(pickle.dumps(scheduler)), copy.deepcopy(scheduler)):
        assert twin.get_param() == engine.state.weight
        twin.load_state_dict({**twin.state_dict(), "event_index": 1})
    assert engine.state.weight == pytest.approx(EXPECTED[name][2])


def test_the_engine_goes_without_the_garbage_collector():
    engine, scheduler = make_engine(), MAKERS["exp"](create_new=True)
    scheduler.attach(engine)
    gone = weakref.ref(engine)
    with no_garbage_collection():
        del engine
        assert gone() is None
        scheduler.load_state_dict({**scheduler.state_dict(), "event_index": 4})
    assert scheduler.get_param() == pytest.approx(EXPECTED["exp"][3])


def test_classes_of_users_implement_get_param():
    class Squares(StateParamScheduler):
        def get_param(self):
            return self.event_index**2

    assert Squares.simulate_values(3, param_name="a") == [[0, 1], [1, 4], [2, 9]]
    with pytest.raises(TypeError, match="abstract"):
        StateParamScheduler("a")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LambdaStateScheduler(1, "a"), ValueError, "Expected lambda_obj to be callable, but given 1"),
        (lambda: LambdaStateScheduler(len, 1), TypeError, "param_name should be a string, but given 1"),
        (lambda: PiecewiseLinearStateScheduler([(3, 1), (2, 1)], "a"), ValueError, "given 2 is smaller than"),
        (lambda: PiecewiseLinearStateScheduler([], "a"), ValueError, "with at least one value"),
        (lambda: ExpStateScheduler("1", 0.9, "a"), TypeError, "initial_value should be a number, but given '1'"),
        (lambda: ExpStateScheduler(1.0, math.nan, "a"), ValueError, "gamma should be a finite number, but given nan"),
        (lambda: StepStateScheduler(1.0, 0.9, 0, "a"), ValueError, "step_size should be at least 1, but given 0"),
        (lambda: StepStateScheduler(1.0, 0.9, True, "a"), TypeError, "step_size should be an integer, but given True"),
        (lambda: StepStateScheduler(None, 0.9, 1, "a"), TypeError, "initial_value should be a number, but given None"),
        (lambda: StepStateScheduler(1.0, None, 1, "a"), TypeError, "gamma should be a number, but given None"),
        (lambda: MultiStepStateScheduler(1.0, 0.9, 3, "a"), TypeError, "milestones should be a list or tuple, but"),
        (lambda: MultiStepStateScheduler(1.0, 0.9, [3, 1], "a"), ValueError, "given 1 is smaller than .* 3"),
        (lambda: MultiStepStateScheduler(1.0, 0.9, [1.5], "a"), TypeError, "should be integer, but given 1.5"),
        (lambda: MultiStepStateScheduler(None, 0.9, [1], "a"), TypeError, "initial_value should be a number"),
        (lambda: MultiStepStateScheduler(1.0, None, [1], "a"), TypeError, "gamma should be a number"),
    ],
)  # fmt: skip
def test_arguments_that_make_no_sense(make, error, message):
    with pytest.raises(error, match=message):
        make()
