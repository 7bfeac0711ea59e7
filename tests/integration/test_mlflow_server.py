"""Logging to a real MLflow server, which is sometimes down."""

import logging
import sys

import pytest
import torch

from ignite.engine import Events, create_supervised_trainer
from ignite.handlers import Checkpoint, global_step_from_engine
from support import harness, servers

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore"),  # of MLflow and of what it is made of
]


@pytest.fixture
def mlflow(monkeypatch):
    servers.skip_without("mlflow", "flask")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow

    yield mlflow
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(None)


class Server:
    def __init__(self, folder):
        self.port = harness.free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder = folder

    def up(self):
        command = [
            *(
                sys.executable,
                "-m",
                "mlflow",
                "server",
                "--host",
                "127.0.0.1",
                "--port",
                str(self.port),
            ),
            *("--backend-store-uri", f"sqlite:///{self.folder}/runs.db", "--workers", "1"),
            *("--artifacts-destination", str(self.folder / "artifacts")),
        ]
        return servers.serving(command, f"{self.uri}/health", self.folder / "server.log")


def make_trainer():
    torch.manual_seed(1)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.mse_loss)
    data = [(torch.randn(4, 2), torch.randn(4, 1)) for _ in range(5)]
    return trainer, model, optimizer, data


def attach(logger, trainer, optimizer, seen):
    event = Events.ITERATION_COMPLETED
    logger.attach_output_handler(
        trainer, event, tag="train", output_transform=lambda loss: {"loss": loss}
    )
    logger.attach_opt_params_handler(trainer, Events.ITERATION_STARTED, optimizer)
    trainer.add_event_handler(
        event, lambda engine: seen.append((engine.state.iteration, engine.state.output))
    )


def history(mlflow, run_id, name):
    return [(one.step, one.value) for one in mlflow.MlflowClient().get_metric_history(run_id, name)]


def test_a_run_on_a_server_that_goes_down_and_comes_back(mlflow, tmp_path, caplog):
    from ignite.handlers.mlflow_logger import MLflowLogger

    server = Server(tmp_path)
    trainer, _, optimizer, data = make_trainer()
    seen = []
    with server.up() as process:
        logger = MLflowLogger(tracking_uri=server.uri)
        run_id = logger.active_run.info.run_id
        logger.log_params({"lr": 0.1})  # of mlflow itself
        attach(logger, trainer, optimizer, seen)
        trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda: servers.end(process))
        with caplog.at_level(logging.WARNING):
            trainer.run(data, max_epochs=4)  # the server is down in the second half
    assert len(seen) == 20
    with server.up():
        logger.close()
        assert history(mlflow, run_id, "train loss") == seen
        assert history(mlflow, run_id, "lr group_0") == [(step, 0.1) for step, _ in seen]
        run = mlflow.MlflowClient().get_run(run_id)
        assert (run.info.status, run.data.params) == ("FINISHED", {"lr": "0.1"})
    told = [record.getMessage() for record in caplog.records if record.name.startswith("ignite")]
    assert (
        len(
            [
                text
                for text in told
                if text.startswith("Cannot reach the server; training continues")
            ]
        )
        <= 1
    )


@pytest.mark.slow
def test_a_resumed_run_continues_with_its_run(mlflow, tmp_path):
    from ignite.handlers.mlflow_logger import MLflowLogger

    server, seen, first = Server(tmp_path), [], None
    with server.up():
        for fails in (True, False):
            trainer, model, optimizer, data = make_trainer()
            Checkpoint.of(trainer, tmp_path / "run", model=model, optimizer=optimizer)
            logger = MLflowLogger(tracking_uri=server.uri)
            made = logger.active_run.info.run_id
            first = first or made
            attach(logger, trainer, optimizer, seen)

            def fail(engine):
                raise ZeroDivisionError

            if fails:
                trainer.add_event_handler(Events.ITERATION_COMPLETED(once=10), fail, priority=-1)
                with pytest.raises(ZeroDivisionError):
                    trainer.run(data, max_epochs=3, resume="latest")
            else:
                trainer.run(data, max_epochs=3, resume="latest")
            logger.close()
        steps = [step for step, _ in history(mlflow, first, "train loss")]
        assert sorted(set(steps)) == list(range(1, 16))
        assert (
            len(steps) - len(set(steps)) <= 5
        )  # what was logged between the checkpoint and the failure
        found = mlflow.search_runs(experiment_ids=["0"], output_format="list")
        assert [run.info.run_id for run in found] == [first]


def test_a_server_that_never_comes_up_stops_nothing(mlflow, tmp_path, caplog, monkeypatch):
    from ignite.handlers._trackers.outbox import Outbox
    from ignite.handlers.mlflow_logger import MLflowLogger

    close = Outbox.close
    monkeypatch.setattr(Outbox, "close", lambda self, timeout_s=1.0: close(self, timeout_s))
    trainer, _, optimizer, data = make_trainer()
    expected, seen = [], []
    attach_nothing = make_trainer()[0]
    attach_nothing.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda engine: expected.append((engine.state.iteration, engine.state.output)),
    )
    attach_nothing.run(data, max_epochs=2)
    with MLflowLogger(tracking_uri=f"http://127.0.0.1:{harness.free_port()}") as logger:
        assert logger.active_run is None
        attach(logger, trainer, optimizer, seen)
        trainer.run(data, max_epochs=2)
    assert seen == expected
    assert "20 entries were not sent to the server" in caplog.text


@pytest.mark.slow
def test_validation_counts_by_the_trainer_and_names_that_mlflow_refuses(mlflow, tmp_path):
    from ignite.engine import Engine
    from ignite.handlers.mlflow_logger import MLflowLogger

    trainer, evaluator = Engine(lambda engine, batch: batch), Engine(lambda engine, batch: batch)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate():
        evaluator.state.metrics = {"accuracy": 0.5, "a,b": 1.0, "vector": torch.tensor([1.0, 2.0])}
        evaluator.run([0])

    with MLflowLogger(tracking_uri=f"sqlite:///{tmp_path}/runs.db") as logger:
        run_id = logger.active_run.info.run_id
        logger.attach_output_handler(
            evaluator,
            Events.COMPLETED,
            tag="validation",
            metric_names="all",
            global_step_transform=global_step_from_engine(trainer),
        )
        with pytest.warns(UserWarning, match="given 'validation a,b': it is not logged") as caught:
            trainer.run([0, 0], max_epochs=2)
    assert len([one for one in caught if "a,b" in str(one.message)]) == 1
    assert history(mlflow, run_id, "validation accuracy") == [(1, 0.5), (2, 0.5)]
    assert history(mlflow, run_id, "validation vector 1") == [(1, 2.0), (2, 2.0)]
