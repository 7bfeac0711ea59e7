import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "examples" / "guide.py"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guide")
    command = [sys.executable, "-W", "ignore", GUIDE, "--epochs", "2", "--log_dir", folder]
    return folder, subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_losses_that_it_prints_fall(run):
    _, output = run
    found = {
        name: [
            float(loss)
            for loss in re.findall(rf"{name} Results - Epoch: \d  Avg loss: (\S+)", output)
        ]
        for name in ("Training", "Validation")
    }
    for losses in found.values():
        assert len(losses) == 2
        assert losses[1] < losses[0] < 2.4  # ln 10 is what guessing costs
    assert re.findall(r"Iteration\[(\d+)/23\]", output) == ["10", "20"] * 2


def test_the_event_file_holds_what_it_printed_and_the_graph(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, output = run
    events = EventAccumulator(str(folder))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {
        "training/loss",
        "training/avg_loss",
        "validation/avg_loss",
    }
    assert events.Tags()["graph"]
    losses = events.Scalars("training/loss")
    assert [event.step for event in losses] == [10, 20, 33, 43]
    printed = [float(loss) for loss in re.findall(r"\] Loss: (\S+)", output)]
    assert [round(event.value, 4) for event in losses] == pytest.approx(printed, abs=1e-4)
    printed = [
        float(loss)
        for loss in re.findall(r"Validation Results - Epoch: \d  Avg loss: (\S+)", output)
    ]
    assert [event.value for event in events.Scalars("validation/avg_loss")] == pytest.approx(
        printed, abs=1e-4
    )
