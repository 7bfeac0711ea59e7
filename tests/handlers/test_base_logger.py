import gc
import re

import pytest
import torch

from ignite.engine import Engine, EventEnum, Events
from ignite.handlers.base_logger import (
    BaseLogger,
    BaseOptimizerParamsHandler,
    BaseOutputHandler,
    BaseWeightsHandler,
    BaseWeightsScalarHandler,
)


class Output(BaseOutputHandler):
    """As users of Ignite write them."""

    def __call__(self, engine, logger, event_name):
        step = self.global_step_transform(engine, event_name)
        logger.lines.append((step, self._setup_output_metrics_state_attrs(engine, key_tuple=False)))


class Params(BaseOptimizerParamsHandler):
    def __call__(self, engine, logger, event_name):
        logger.lines.append([group[self.param_name] for group in self.optimizer.param_groups])


class Weights(BaseWeightsScalarHandler):
    def __call__(self, engine, logger, event_name): ...


class Logger(BaseLogger):
    def __init__(self):
        self.lines, self.is_closed = [], False

    def _create_output_handler(self, *args, **kwargs):
        return Output(*args, **kwargs)

    def _create_opt_params_handler(self, *args, **kwargs):
        return Params(*args, **kwargs)

    def close(self):
        self.is_closed = True


def test_a_logger_of_a_users_own():
    engine = Engine(lambda engine, batch: {"loss": torch.tensor(batch / 2), "all": [batch, batch]})
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    with Logger() as logger:
        logger.attach_output_handler(
            engine,
            Events.ITERATION_COMPLETED(every=2),
            tag="t",
            output_transform=lambda output: output,
        )
        handle = logger.attach_opt_params_handler(
            engine, Events.STARTED | Events.COMPLETED, optimizer
        )
        engine.run([1.0, 2.0, 3.0])
        assert not logger.is_closed
    assert logger.is_closed
    assert logger.lines == [[0.5], (2, {"t/loss": 1.0, "t/all/0": 2.0, "t/all/1": 2.0}), [0.5]]
    handle.remove()
    logger.lines.clear()
    engine.run([1.0])
    assert logger.lines == []


def test_the_handle_works_although_only_the_engine_holds_the_handler():
    engine, logger = Engine(lambda engine, batch: batch), Logger()
    handle = logger.attach_output_handler(
        engine, Events.COMPLETED, tag="t", output_transform=lambda output: output
    )
    gc.collect()
    handle.remove()
    engine.run([1.0])
    assert logger.lines == []


def test_metrics_states_and_what_is_missing():
    engine = Engine(lambda engine, batch: batch)
    engine.state.metrics = {"a": 1, "b": 2}
    engine.state.alpha = 0.5
    with pytest.warns(UserWarning, match=r"\(\['a', 'b'\]\), but given 'c': it is not logged"):
        found = Output(
            "t", ["a", "c"], state_attributes=["alpha"]
        )._setup_output_metrics_state_attrs(engine)
    assert found == {("t", "a"): 1, ("t", "alpha"): 0.5}
    assert Output("t", "all")._setup_output_metrics_state_attrs(engine, key_tuple=False) == {
        "t/a": 1,
        "t/b": 2,
    }
    with pytest.warns(UserWarning, match="t/nothing should be a number"):
        assert (
            Output("t", state_attributes=["nothing"])._setup_output_metrics_state_attrs(engine)
            == {}
        )


class Custom(EventEnum):
    COUNTED = "counted"
    UNCOUNTED = "uncounted"


@pytest.mark.parametrize(
    "event", ["nope", Events.EXCEPTION_RAISED, Events.TERMINATE, Custom.UNCOUNTED]
)
def test_events_that_nothing_counts_have_no_step(event):
    engine = Engine(lambda engine, batch: batch)
    engine.register_events(*Custom, event_to_attr={Custom.COUNTED: "counted"})
    logger = Logger()
    with pytest.raises(RuntimeError, match="Unknown event name"):
        logger.attach(
            engine, print, Events.COMPLETED | event if not isinstance(event, str) else event
        )
    assert not engine.has_event_handler(print)
    logger.attach(engine, print, Custom.COUNTED)


def test_whitelists():
    model = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
    names = lambda **options: [name for name, _ in Weights(model, **options).weights]  # noqa: E731
    assert names() == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert names(whitelist=["0.w", "1"]) == ["0.weight", "1.weight", "1.bias"]
    assert names(whitelist=lambda name, parameter: parameter.ndim == 1) == ["0.bias", "1.bias"]


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (
            lambda: Output("t", metric_names="a"),
            TypeError,
            "either a list or equal 'all', but given 'a'",
        ),
        (
            lambda: Output("t", output_transform=1),
            TypeError,
            "output_transform should be a function, but given 1",
        ),
        (
            lambda: Output("t"),
            ValueError,
            "Either metric_names, output_transform or state_attributes",
        ),
        (
            lambda: Output("t", "all", None, 3),
            TypeError,
            "global_step_transform should be a function, but given 3",
        ),
        (lambda: Params(3), TypeError, "Argument optimizer should be torch.optim.Optimizer"),
        (
            lambda: Weights(3),
            TypeError,
            "Argument model should be of type torch.nn.Module, but given int",
        ),
        (
            lambda: Weights(torch.nn.Linear(1, 1), 3),
            TypeError,
            "Argument reduction should be callable",
        ),
        (
            lambda: Weights(torch.nn.Linear(1, 1), lambda x: x),
            TypeError,
            r"should be a scalar, but given Tensor of shape \(4, 2\)",
        ),
        (
            lambda: Weights(torch.nn.Linear(1, 1), whitelist=3),
            TypeError,
            "whitelist should be a list",
        ),
    ],
    ids=[
        "names",
        "transform",
        "nothing",
        "step",
        "optimizer",
        "model",
        "reduction",
        "vector",
        "whitelist",
    ],
)
def test_bad_input(make, error, match):
    with pytest.raises(error, match=match):
        make()
    assert issubclass(Weights, BaseWeightsHandler)


def test_a_step_that_is_no_integer():
    handler = Output("t", "all", global_step_transform=lambda engine, event: 1.5)
    with pytest.raises(TypeError, match="global_step must be int, got float"):
        handler._global_step(Engine(lambda engine, batch: batch), Events.COMPLETED)


def test_one_name_of_an_attribute_is_no_list_of_letters():
    with pytest.raises(
        TypeError, match="state_attributes should be a list of names, but given 'alpha'"
    ):
        Output("t", state_attributes="alpha")


@pytest.mark.parametrize(
    ("wrong", "meant"), [("body.wieght", "body.weight"), ("boddy", "body"), ("xyz", None)]
)
def test_a_name_of_no_weight_is_reported_with_a_suggestion(wrong, meant):
    model = torch.nn.Sequential()
    model.add_module("body", torch.nn.Linear(1, 1))
    end = (
        re.escape(f"starts with {wrong!r}" + (f". Did you mean {meant!r}?" if meant else "")) + "$"
    )
    with pytest.warns(UserWarning, match=end):
        handler = Weights(model, whitelist=["body.b", wrong])
    assert [name for name, _ in handler.weights] == ["body.bias"]
    Weights(model, whitelist=["body"])  # all of it, without a word
