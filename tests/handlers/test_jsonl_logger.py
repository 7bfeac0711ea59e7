import json
import logging
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, JSONLLogger


def lines(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def entries(path):
    return [
        {name: value for name, value in line.items() if name != "time"} for line in lines(path)[1:]
    ]


def test_each_kind_of_line(tmp_path):
    path = tmp_path / "new" / "log.jsonl"
    with JSONLLogger(path) as logger:
        logger.log(
            [(("t", "a"), 1), (("t", "s"), "text"), (("t", "b"), torch.tensor([1.5, 2.5]))], step=3
        )
        logger.histogram("w", torch.tensor([0.0, 1.0, 1.0, math.nan]), step=4)
        logger.params({"lr": 0.1, "flag": True, "shape": (1, 2)})
        logger.artifact(tmp_path / "model.pt")
    head = lines(path)[0]
    assert (head["format"], len(head["id"])) == (1, 32)
    assert all(isinstance(line["time"], float) for line in lines(path))
    scalars, histogram, params, artifact = entries(path)
    assert scalars == {"step": 3, "scalars": {"t/a": 1, "t/s": "text", "t/b/0": 1.5, "t/b/1": 2.5}}
    counts = histogram["histogram"].pop("counts")
    assert histogram == {"step": 4, "histogram": {"name": "w", "low": 0.0, "high": 1.0}}
    assert (len(counts), counts[0], counts[-1], sum(counts)) == (64, 1, 2, 3)
    assert params == {"params": {"lr": 0.1, "flag": True, "shape": "(1, 2)"}}
    assert artifact == {"artifact": str(tmp_path / "model.pt")}


@given(value=st.floats() | st.integers(-(10**20), 10**20) | st.booleans())
def test_numbers_come_back(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    with JSONLLogger(path) as logger:
        logger.log([(("a",), value)], step=1)
    found = entries(path)[0]["scalars"]["a"]
    assert isinstance(found, str) == (isinstance(value, float) and not math.isfinite(value))
    assert float(found) == value or (math.isnan(value) and math.isnan(float(found)))


def test_figures_are_pictures_beside_the_file(tmp_path):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    with JSONLLogger(tmp_path / "log.jsonl") as logger:
        logger.figure("a/b", figure, 7)
    found = entries(tmp_path / "log.jsonl")[0]
    assert found == {"step": 7, "figure": {"name": "a/b", "path": "log_figures/a_b_7.png"}}
    assert (tmp_path / "log_figures/a_b_7.png").read_bytes().startswith(b"\x89PNG")


def test_a_torn_line_is_removed_and_the_file_gone_on_with(tmp_path, caplog):
    path = tmp_path / "log.jsonl"
    with JSONLLogger(path) as logger:
        logger.log([(("a",), 1)], step=1)
    head = lines(path)[0]
    with path.open("a") as file:
        file.write('{"time": 1, "st')
    with caplog.at_level(logging.WARNING), JSONLLogger(path) as logger:
        logger.log([(("a",), 2)], step=2)
    assert lines(path)[0] == head
    assert [entry["step"] for entry in entries(path)] == [1, 2]
    assert "Removed an incomplete last line from " in caplog.text


def test_another_file_is_not_touched(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("my notes\n")
    with pytest.raises(ValueError, match="one written by JSONLLogger, but given .*notes.txt"):
        JSONLLogger(path)
    assert path.read_text() == "my notes\n"


def run(folder, fails):
    trainer = Engine(lambda engine, batch: batch / 2)
    Checkpoint.of(trainer, folder / "checkpoints")
    with JSONLLogger(folder / "log.jsonl") as logger:
        transform = {"tag": "t", "output_transform": lambda output: output}
        logger.attach_output_handler(trainer, Events.ITERATION_COMPLETED, **transform)
        logger.attach_output_handler(trainer, Events.STARTED, tag="s", state_attributes=["epoch"])
        if fails:
            trainer.add_event_handler(
                Events.ITERATION_COMPLETED(once=8), lambda: 1 / 0, priority=-1
            )
        trainer.run([1.0, 2.0, 3.0], max_epochs=4, resume="latest")


def test_a_resumed_run_leaves_the_file_of_one_that_was_not_stopped(tmp_path):
    run(tmp_path / "whole", fails=False)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path / "stopped", fails=True)
    assert len(entries(tmp_path / "stopped" / "log.jsonl")) == 9
    run(tmp_path / "stopped", fails=False)
    assert entries(tmp_path / "stopped" / "log.jsonl") == entries(tmp_path / "whole" / "log.jsonl")


def test_a_state_of_another_file_cuts_nothing(tmp_path, caplog):
    first, second = JSONLLogger(tmp_path / "a.jsonl"), JSONLLogger(tmp_path / "b.jsonl")
    state = first.state_dict()
    second.log([(("a",), 1)], step=1)
    with caplog.at_level(logging.WARNING):
        second.load_state_dict(state)
    assert len(entries(tmp_path / "b.jsonl")) == 1
    assert "is not the file of the resumed run" in caplog.text
    first.close()
    second.close()
