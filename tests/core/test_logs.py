import io
import logging

import pytest

from ignite.utils import setup_logger


@pytest.fixture
def name(request):
    yield request.node.name
    logger = logging.getLogger(request.node.name)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def test_a_logger_gets_level_stream_format_and_file(name, tmp_path):
    stream, file = io.StringIO(), tmp_path / "log.txt"
    logger = setup_logger(name, logging.DEBUG, stream, "%(levelname)s|%(message)s", file)
    logger.debug("é")
    assert stream.getvalue() == "DEBUG|é\n"
    assert file.read_text(encoding="utf-8") == "DEBUG|é\n"
    assert logger is logging.getLogger(name)
    assert not logger.propagate


def test_a_logger_with_handlers_is_not_changed_unless_reset(name):
    first, second = io.StringIO(), io.StringIO()
    logger = setup_logger(name, stream=first)
    assert setup_logger(name, level=logging.ERROR, stream=second) is logger
    logger.info("one")
    assert "one" in first.getvalue()
    assert second.getvalue() == ""
    setup_logger(name, stream=second, reset=True)
    logger.info("two")
    assert "two" not in first.getvalue()
    assert "two" in second.getvalue()


def test_other_ranks_are_silent(name):
    stream = io.StringIO()
    logger = setup_logger(name, stream=stream, distributed_rank=1)
    logger.info("nothing")
    assert stream.getvalue() == ""
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]
    assert logger.level == logging.NOTSET
