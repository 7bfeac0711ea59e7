"""Without a server; tests/integration has one."""

import sys

import pytest

from ignite.engine import Engine, Events
from ignite.handlers.mlflow_logger import (
    MLflowLogger,
    OptimizerParamsHandler,
    OutputHandler,
    _is_refused,
)


def test_without_mlflow(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "reignition\[mlflow\]"'):
        MLflowLogger()


@pytest.mark.parametrize(
    "make", [lambda: OutputHandler("t", "all"), lambda: OptimizerParamsHandler(Engine)]
)
def test_handlers_work_with_their_logger_only(make, monkeypatch):
    monkeypatch.setattr(Engine, "param_groups", [], raising=False)
    with pytest.raises(TypeError, match="works only with MLflowLogger, but given int"):
        make()(Engine(lambda engine, batch: batch), 3, Events.COMPLETED)


class Answer(Exception):
    def __init__(self, status):
        self.status = status

    def get_http_status_code(self):
        return self.status


@pytest.mark.parametrize(
    ("error", "is_refused"),
    [
        (Answer(400), True),
        (Answer(404), True),
        (Answer(408), False),
        (Answer(429), False),
        (Answer(500), False),
        (Answer(503), False),
        (ConnectionError(), False),
        (TimeoutError(), False),
        (ZeroDivisionError(), True),
    ],
    ids=["400", "404", "408", "429", "500", "503", "connection", "timeout", "bug"],
)
def test_what_a_server_has_refused_is_not_sent_again(error, is_refused):
    assert _is_refused(error) is is_refused
