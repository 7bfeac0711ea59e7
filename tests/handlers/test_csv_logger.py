import csv
import logging

import pytest
import torch

from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, CSVLogger


def rows(path):
    with path.open(newline="") as file:
        return [
            {name: value for name, value in row.items() if name != "time"}
            for row in csv.DictReader(file)
        ]


def test_columns_come_as_names_do(tmp_path):
    path = tmp_path / "new" / "log.csv"
    with CSVLogger(path) as logger:
        logger.log([(("a",), 1.5)], step=1)
        logger.log([(("b, c",), 'say "x"\n'), (("a",), float("nan"))], step=2)
        logger.log([(("b, c",), 3)], step=3)
    assert rows(path) == [
        {"step": "1", "a": "1.5", "b, c": ""},
        {"step": "2", "a": "nan", "b, c": 'say "x"\n'},
        {"step": "3", "a": "", "b, c": "3"},
    ]
    assert [file.name for file in path.parent.iterdir()] == ["log.csv"]


def test_a_torn_row_is_removed_and_the_file_gone_on_with(tmp_path):
    path = tmp_path / "log.csv"
    with CSVLogger(path) as logger:
        logger.log([(("a",), 1)], step=1)
    with path.open("a") as file:
        file.write("2,17")
    with CSVLogger(path) as logger:
        logger.log([(("a",), 3), (("b",), 4)], step=3)
    assert rows(path) == [{"step": "1", "a": "1", "b": ""}, {"step": "3", "a": "3", "b": "4"}]


def test_another_table_is_not_touched(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("x,y\n1,2\n")
    with pytest.raises(ValueError, match="one written by CSVLogger, but given .*data.csv"):
        CSVLogger(path)
    assert path.read_text() == "x,y\n1,2\n"


def test_histograms_are_left_out_with_a_warning(tmp_path):
    with (
        CSVLogger(tmp_path / "log.csv") as logger,
        pytest.warns(UserWarning, match="CSVLogger does not support histograms"),
    ):
        logger.histogram("a", torch.zeros(3), 1)
    assert rows(tmp_path / "log.csv") == []


def test_a_resumed_run_leaves_the_table_of_one_that_was_not_stopped(tmp_path):
    def run(folder, fails):
        trainer = Engine(
            lambda engine, batch: {"a": batch} if engine.state.iteration < 5 else {"b": batch}
        )
        Checkpoint.of(trainer, folder / "checkpoints")
        with CSVLogger(folder / "log.csv") as logger:
            event = Events.ITERATION_COMPLETED
            logger.attach_output_handler(
                trainer, event, tag="t", output_transform=lambda output: output
            )
            if fails:
                trainer.add_event_handler(event(once=5), lambda: 1 / 0, priority=-1)
            trainer.run([1.0, 2.0, 3.0], max_epochs=3, resume="latest")

    run(tmp_path / "whole", fails=False)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path / "stopped", fails=True)
    run(tmp_path / "stopped", fails=False)
    assert rows(tmp_path / "stopped" / "log.csv") == rows(tmp_path / "whole" / "log.csv")


def test_a_state_of_another_file_cuts_nothing(tmp_path, caplog):
    with CSVLogger(tmp_path / "a.csv") as first, CSVLogger(tmp_path / "b.csv") as second:
        first.log([(("a",), 1)], step=5)
        second.log([(("a",), 1)], step=1)
        second.log([(("a",), 1)], step=2)
        with caplog.at_level(logging.WARNING):
            second.load_state_dict(first.state_dict())
    assert len(rows(tmp_path / "b.csv")) == 2
    assert "is not the file of the resumed run" in caplog.text
