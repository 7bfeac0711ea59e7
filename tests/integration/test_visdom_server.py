"""Values in a real Visdom server."""

import json
import logging
import sys

import pytest
import torch

from ignite.engine import Engine, Events
from ignite.handlers import logger_utils
from ignite.handlers.visdom_logger import (
    GradsScalarHandler,
    OptimizerParamsHandler,
    OutputHandler,
    VisdomLogger,
    WeightsScalarHandler,
)
from support import harness, servers, tracked_run

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore"),  # of the client and of what it is made of
]
visdom = pytest.importorskip("visdom", reason='not installed: pip install -e ".[visdom]"')


def windows_of(port, env):
    """The windows of an environment, as Visdom's own client reads them."""
    vis = visdom.Visdom(port=port, env=env, use_incoming_socket=False)
    return list(json.loads(vis.get_window_data()).values())


def read_visdom(port, state):
    found = []
    for window in windows_of(port, state["env"]):
        (line,) = window["content"]["data"]
        found += [(window["title"], int(x), y) for x, y in zip(line["x"], line["y"], strict=True)]
    return found


VISDOM_SERVER = """
import sys
from visdom.server.run_server import start_server  # not __main__, which downloads scripts
start_server(port=int(sys.argv[1]), env_path=sys.argv[2], base_url="", bind_local=True)
"""


def visdom_server(port, folder):
    command = [sys.executable, "-c", VISDOM_SERVER, str(port), str(folder)]
    # Not its page, which newer versions of tornado refuse.
    url = f"http://127.0.0.1:{port}/user/style.css"
    return servers.serving(command, url, folder / "server.log")


def test_windows_of_a_run_that_was_killed_and_resumed_have_each_step_once(tmp_path):
    port = harness.free_port()
    with visdom_server(port, tmp_path):
        state = tracked_run.run_twice("visdom", tmp_path, VISDOM_PORT=str(port))
        tracked_run.check(read_visdom(port, state), "lr/group_0")


def test_a_server_that_goes_down_stops_nothing_and_gets_all_when_it_is_back(tmp_path):
    port = harness.free_port()
    trainer = Engine(lambda engine, batch: batch)
    with visdom_server(port, tmp_path) as process:
        logger = VisdomLogger(port=port, env="e", use_incoming_socket=False)
        logger.attach_output_handler(
            trainer,
            Events.ITERATION_COMPLETED,
            tag="t",
            output_transform=lambda x: {"x": x},
            show_legend=True,
        )
        own = logger.vis.line(X=[0], Y=[0], win="own")
        assert own == "own"
        trainer.add_event_handler(Events.EPOCH_STARTED(once=2), lambda: logger.vis)
        trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda: servers.end(process))
        trainer.run([0.5, 1.5], max_epochs=4)  # the server is down in the second half
    with visdom_server(port, tmp_path):
        logger.close()
        found = read_visdom(port, {"env": "e"})
    values = {(name, step): value for name, step, value in found if name == "t/x"}
    assert values == {("t/x", step): (0.5, 1.5)[(step - 1) % 2] for step in range(1, 9)}


def test_without_a_server_a_logger_cannot_be_created():
    port = harness.free_port()
    with pytest.raises(RuntimeError, match=f"Failed to connect to Visdom server at .*:{port}"):
        VisdomLogger(port=port, use_incoming_socket=False)


def attach_output(logger, trainer, name="x"):
    logger.attach_output_handler(
        trainer, Events.ITERATION_COMPLETED, tag="t", output_transform=lambda x: {name: x}
    )


def test_a_logger_without_a_server_warns_once_and_sends_all_when_there_is_one(tmp_path, caplog):
    port = harness.free_port()
    trainer = Engine(lambda engine, batch: batch)
    with pytest.warns(UserWarning, match=r"Failed to connect to Visdom .* Training continues"):
        logger = VisdomLogger(port=port, raise_exceptions=False, use_incoming_socket=False)
    attach_output(logger, trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: logger.vis.line([1], win="own"))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: logger.state_dict())
    trainer.run([0.5, 1.5], max_epochs=3)
    with visdom_server(port, tmp_path):
        logger.close()
        found = read_visdom(port, {"env": "main"})
    assert found == [("t/x", step, (0.5, 1.5)[(step - 1) % 2]) for step in range(1, 7)]
    ours = [one for one in caplog.records if one.name.startswith("ignite")]
    assert [one.levelno for one in ours if "Cannot reach" in one.message] == [logging.WARNING]


def test_names_of_all_handlers_are_those_of_ignite(tmp_path):
    port = harness.free_port()
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)

    def step(engine, batch):
        model(batch).sum().backward()
        engine.state.metrics = {"v": torch.tensor([1.0, 2.0]), "d": {"a": {"b": 3}}}
        engine.state.alpha = 0.5
        return 1.5

    trainer = Engine(step)
    event = Events.ITERATION_COMPLETED
    with visdom_server(port, tmp_path):
        with VisdomLogger(port=port, env="e", use_incoming_socket=False) as logger:
            for handler in (
                WeightsScalarHandler(model, tag="w", show_legend=True),
                GradsScalarHandler(model, reduction=torch.sum),
                OptimizerParamsHandler(optimizer, tag="o"),
                OutputHandler("t", "all", lambda x: x, state_attributes=["alpha"]),
            ):
                logger.attach(trainer, handler, event)
            trainer.run([torch.ones(1, 2)])
        windows = windows_of(port, "e")
        found = {name: value for name, _, value in read_visdom(port, {"env": "e"})}
    weights, bias = model[0].weight, model[0].bias
    assert found == pytest.approx(
        {
            "w/weights_norm/0/weight": weights.norm().item(),
            "w/weights_norm/0/bias": bias.norm().item(),
            "grads_sum/0/weight": 2.0,
            "grads_sum/0/bias": 1.0,
            "o/lr/group_0": 0.25,
            "t/v/0": 1.0,
            "t/v/1": 2.0,
            "t/d/a/b": 3.0,
            "t/output": 1.5,
            "t/alpha": 0.5,
        }
    )
    legends = {one["title"]: one["content"]["layout"]["showlegend"] for one in windows}
    assert legends == {name: name.startswith("w/") for name in found}


def test_values_of_the_program_and_of_handlers_are_in_order(tmp_path, monkeypatch):
    port = harness.free_port()
    trainer = Engine(lambda engine, batch: batch)
    calls = []
    with visdom_server(port, tmp_path), VisdomLogger(port=port) as logger:
        send = type(logger.vis)._send

        def record(self, msg, endpoint="events", *args, **kwargs):
            if endpoint in ("events", "update"):
                line = msg["data"][0]
                calls.append((line["name"], line["x"][0]))
            return send(self, msg, endpoint, *args, **kwargs)

        monkeypatch.setattr(type(logger.vis), "_send", record)
        attach_output(logger, trainer)
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED,
            lambda engine: logger.vis.line([0], [engine.state.iteration], win="o", name="own"),
        )
        trainer.run([0.5, 1.5])
    assert calls == [("t/x", 1), ("own", 1), ("t/x", 2), ("own", 2)]


def test_queued_values_of_a_killed_process_are_drawn_after_a_resume(tmp_path):
    port = harness.free_port()
    with pytest.warns(UserWarning, match="Failed to connect"):
        logger = VisdomLogger(port=port, raise_exceptions=False, use_incoming_socket=False)
    logger.log([(("x",), 0.5)], 1)
    state = logger.state_dict()
    with visdom_server(port, tmp_path):
        with VisdomLogger(port=port, use_incoming_socket=False) as resumed:
            resumed.load_state_dict(state)
            resumed.log([(("x",), 1.5)], 2)
        logger.tracker._outbox._items.clear()  # as if the process were killed
        assert read_visdom(port, {"env": "main"}) == [("x", 1, 0.5), ("x", 2, 1.5)]


def test_a_file_of_an_offline_client_has_each_step_once_after_a_resume(tmp_path):
    def make():
        path = str(tmp_path / "visdom.log")
        logger = VisdomLogger(offline=True, log_to_filename=path, env="e")
        trainer = Engine(lambda engine, batch: batch)
        attach_output(logger, trainer)
        return logger, trainer

    logger, trainer = make()
    trainer.run([0.5, 1.5])
    state, state_of_logger = trainer.state_dict(), logger.state_dict()
    trainer.run([0.5, 1.5], max_epochs=2)
    logger.close()
    logger, trainer = make()
    trainer.load_state_dict({**state, "max_epochs": 3})
    logger.load_state_dict(state_of_logger)
    trainer.run([0.5, 1.5])
    logger.close()
    port = harness.free_port()
    with visdom_server(port, tmp_path):
        vis = visdom.Visdom(port=port, env="e", use_incoming_socket=False)
        vis.replay_log(str(tmp_path / "visdom.log"))
        found = read_visdom(port, {"env": "e"})
    assert found == [("t/x", step, (0.5, 1.5)[(step - 1) % 2]) for step in range(1, 7)]


def test_the_setup_attaches_to_trainer_and_optimizer(tmp_path):
    port = harness.free_port()
    trainer, _, optimizer, data = tracked_run.make_training()
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda: trainer.state.metrics.update(loss=trainer.state.iteration),
    )
    with visdom_server(port, tmp_path):
        logger = logger_utils.setup_visdom_logging(
            trainer, optimizer, log_every_iters=2, port=port, use_incoming_socket=False
        )
        trainer.run(data)
        logger.close()
        found = read_visdom(port, {"env": "main"})
    lr = [("lr/group_0", step, 0.125) for step in (2, 4)]
    assert sorted(found) == [*lr, *(("training/loss", step, float(step)) for step in (2, 4))]
