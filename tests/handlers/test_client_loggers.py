"""Loggers of clients that need not be installed; tests/integration has the clients."""

import importlib
import sys

import pytest
import torch

from ignite.engine import Engine, Events
from ignite.handlers import logger_utils
from ignite.handlers.tensorboard_logger import TensorboardLogger
from ignite.handlers.trackers import TrackerLogger

LOGGERS = {
    "aim": ("AimLogger", "aim", RuntimeError),
    "clearml": ("ClearMLLogger", "clearml", RuntimeError),
    "comet": ("CometLogger", "comet_ml", RuntimeError),
    "neptune": ("NeptuneLogger", "neptune", TypeError),
    "polyaxon": ("PolyaxonLogger", "polyaxon.tracking", RuntimeError),
    "swanlab": ("SwanLabLogger", "swanlab", RuntimeError),
    "trackio": ("TrackioLogger", "trackio", RuntimeError),
    "visdom": ("VisdomLogger", "visdom", RuntimeError),
    "wandb": ("WandBLogger", "wandb", RuntimeError),
}

ARGUMENTS = {"trackio": ("project",)}


@pytest.fixture(params=LOGGERS)
def name(request):
    return request.param


def module_of(name):
    return importlib.import_module(f"ignite.handlers.{name}_logger")


def test_without_the_client(name, monkeypatch):
    class_name, client, _ = LOGGERS[name]
    monkeypatch.setitem(sys.modules, client, None)
    with pytest.raises(ModuleNotFoundError, match=rf'pip install "reignition\[{name}\]"'):
        getattr(module_of(name), class_name)(*ARGUMENTS.get(name, ()))


def test_handlers_work_with_their_logger_only(name):
    class_name, _, error = LOGGERS[name]
    module = module_of(name)
    model = torch.nn.Linear(1, 1)
    handlers = [module.OutputHandler("t", "all"), module.OptimizerParamsHandler(Parameters())]
    handlers += [
        getattr(module, handler)(model)
        for handler in module.__all__
        if handler.startswith(("Weights", "Grads"))
    ]
    assert len(handlers) == {"clearml": 6, "neptune": 4, "visdom": 4}.get(name, 2)
    for handler in handlers:
        with pytest.raises(error, match=f"works only with {class_name}, but given int"):
            handler(Engine(lambda engine, batch: batch), 3, Events.COMPLETED)


class Parameters:
    param_groups = ()


def test_a_logger_attaches_the_handlers_of_its_module(name):
    module = module_of(name)
    logger = object.__new__(getattr(module, LOGGERS[name][0]))  # which has no client
    assert type(logger._create_output_handler("t", "all")) is module.OutputHandler
    made = logger._create_opt_params_handler(Parameters())
    assert type(made) is module.OptimizerParamsHandler


OTHER = Engine(lambda engine, batch: None)


@pytest.mark.parametrize(
    ("handler", "args", "attributes"),
    [
        ("OptimizerParamsHandler", (Parameters(), "momentum", True), {"param_name": "momentum"}),
        ("WeightsScalarHandler", (torch.nn.Linear(1, 1), torch.mean, True), {"tag": None}),
        ("GradsScalarHandler", (torch.nn.Linear(1, 1), torch.mean, True), {"tag": None}),
        ("OutputHandler", ("t", "all", None, OTHER, True), {"metric_names": "all"}),
        ("OutputHandler", ("t", "all", None, OTHER, None, True), {"metric_names": "all"}),
        ("OutputHandler", ("t", "all", None, None, None, True), {"state_attributes": None}),
    ],
)
def test_handlers_of_visdom_take_arguments_in_the_order_of_ignite_0_2_and_0_3(
    handler, args, attributes
):
    with pytest.warns(DeprecationWarning, match="arguments of an earlier version of Ignite"):
        made = getattr(module_of("visdom"), handler)(*args)
    assert made.show_legend is True
    assert {name: getattr(made, name) for name in attributes} == attributes
    if OTHER in args:
        OTHER.state.iteration = 7
        assert made.global_step_transform(None, Events.ITERATION_COMPLETED) == 7


class Run(dict):
    """Stands for a run of Neptune."""

    def stop(self):
        pass


class FakeNeptune:
    """Stands for Neptune's package before there is a server; records what its runs are made of."""

    NeptuneConnectionLostException = ConnectionError

    def init_run(self, **arguments):
        self.arguments, self.run = arguments, Run()
        return self.run

    def stringify_unsupported(self, values):
        return values


def test_arguments_of_neptune_of_ignite_0_4(monkeypatch):
    fake = FakeNeptune()
    for module in ("neptune", "neptune.exceptions", "neptune.utils"):
        monkeypatch.setitem(sys.modules, module, fake)
    with pytest.warns(DeprecationWarning, match="write project= instead of project_name=") as found:
        logger = module_of("neptune").NeptuneLogger(
            project_name="me/digits",
            experiment_name="first",
            upload_source_files=["train.py"],
            params={"lr": 0.1},
            mode="debug",
        )
    logger.close()
    (warning,) = found
    assert "logger.params(...) instead of passing params=" in str(warning.message)
    given = {name: fake.arguments[name] for name in ("project", "name", "source_files")}
    assert given == {"project": "me/digits", "name": "first", "source_files": ["train.py"]}
    assert fake.run["params"] == {"lr": 0.1}
    assert "params" not in fake.arguments


@pytest.mark.parametrize("position", ["OutputHandler", "OptimizerParamsHandler"])
def test_sync_of_wandb_has_no_effect_and_warns(position):
    module = module_of("wandb")
    first = ("t", "all") if position == "OutputHandler" else (Parameters(),)
    with pytest.warns(UserWarning, match="sync argument for the WandBLoggers is no longer used"):
        getattr(module, position)(*first, sync=True)


@pytest.mark.parametrize(
    ("path", "title", "series"),
    [
        (("train", "loss"), "train", "loss"),
        (("train", "v", "0"), "train/v", "0"),
        (("train", "d", "b", "c"), "train/d", "b/c"),
        (("lr", "0"), "lr", "0"),
        (("o", "lr", "0"), "o/lr", "0"),
        (("alone",), "alone", "alone"),
    ],
)
def test_titles_and_series_of_clearml_are_those_of_ignite(path, title, series):
    logger_class = module_of("clearml").ClearMLLogger
    assert logger_class.name(None, path) == f"{title}\n{series}"


def test_titles_of_weights_of_clearml_are_those_of_ignite():
    module = module_of("clearml")
    assert module._number_path("t", "weights_norm", "0.weight") == ("t/weights_norm/0", "weight")
    assert module._number_path(None, "grads_norm", "emb") == ("grads_norm/emb", "")
    assert module._distribution_path(None, "weights", "a.b.c") == ("weights_a", "b.c")


def test_bypass_mode_of_clearml(monkeypatch):
    logger_class = module_of("clearml").ClearMLLogger
    monkeypatch.setattr(logger_class, "_bypasses", None)
    monkeypatch.delenv("CI", raising=False)
    assert not logger_class.bypass_mode()
    monkeypatch.setenv("CI", "true")
    assert logger_class.bypass_mode()
    logger_class.set_bypass_mode(False)
    assert not logger_class.bypass_mode()


def test_trains_is_clearml(monkeypatch):
    monkeypatch.setitem(sys.modules, "clearml", None)
    with (
        pytest.warns(
            UserWarning, match="setup_trains_logging was renamed to setup_clearml_logging"
        ),
        pytest.raises(ModuleNotFoundError, match="clearml"),
    ):
        logger_utils.setup_trains_logging(Engine(lambda engine, batch: batch))


class Client:
    def __init__(self):
        self.calls = []

    def write(self, text):
        self.calls.append(text)


class Tracker:
    def __init__(self, client):
        self.client = client

    def scalars(self, values, step):
        self.client.write(f"ours {step}")

    def histogram(self, name, values, step):
        pass

    def close(self):
        pass


def test_a_client_gets_what_handlers_logged_before_the_program_uses_it():
    client = Client()
    logger = TrackerLogger(Tracker(client))
    logger._queue._waiting.append(([(("a",), 1.0)], 1))  # as if the copy were still under way
    logger.write("own")
    assert client.calls == ["ours 1", "own"]


def test_attributes_that_neither_the_logger_nor_its_client_has():
    with pytest.raises(AttributeError, match="'Client' object has no attribute 'nothing'"):
        _ = TrackerLogger(Tracker(Client())).nothing
    tracker = Tracker(None)
    del tracker.client
    with pytest.raises(AttributeError, match="'TrackerLogger' object has no attribute 'nothing'"):
        _ = TrackerLogger(tracker).nothing


def test_the_writer_of_tensorboard_can_be_replaced(tmp_path):
    calls = []

    class Writer:
        def add_scalar(self, name, value, step):
            calls.append((name, value, step))

        def flush(self):
            calls.append("flush")

        def close(self):
            calls.append("close")

    engine = Engine(lambda engine, batch: batch)
    with TensorboardLogger(log_dir=str(tmp_path)) as logger:
        logger.writer.close()
        logger.writer = Writer()
        event = Events.ITERATION_COMPLETED
        logger.attach_output_handler(engine, event, tag="t", output_transform=lambda x: {"x": x})
        engine.add_event_handler(event, lambda: logger.writer.add_scalar("own", 0, 0))
        engine.run([0.5])
        logger.flush()
    assert calls == [("t/x", 0.5, 1), ("own", 0, 0), "flush", "close"]
