import re
import signal
import subprocess
import sys
from pathlib import Path

import torch

DIGITS = Path(__file__).parents[2] / "examples" / "digits.py"


def command(folder, *arguments):
    return [sys.executable, DIGITS, "--output", folder, *arguments]


def test_it_reaches_its_accuracy_keeps_the_best_and_says_where_to_look(tmp_path):
    run = subprocess.run(command(tmp_path), capture_output=True, text=True, check=True)
    best = re.search(r"Best accuracy on 360 held-out digits: (\S+) \(epoch (\d+)\)", run.stdout)
    by_epoch = dict(re.findall(r"epoch +(\d+)  accuracy (\S+)  loss", run.stdout))
    assert len(by_epoch) == 12
    assert float(best[1]) >= 0.97
    assert by_epoch[best[2]] == best[1] == max(by_epoch.values())
    for place in ("best.pt", "tensorboard --logdir", "examples/guide.py", "describe()"):
        assert place in run.stdout
    checkpoint = torch.load(tmp_path / "best.pt", weights_only=True)
    assert f"{checkpoint['accuracy']:.4f}" == best[1]
    assert not list(tmp_path.glob("*.partial"))


def test_the_event_files_hold_training_and_validation(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    subprocess.run(command(tmp_path, "--epochs", "1"), capture_output=True, check=True)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"training/loss", "validation/accuracy", "validation/loss"}
    assert [event.step for event in events.Scalars("training/loss")] == [5, 10, 15, 20, 23]


def test_ctrl_c_ends_it_cleanly_with_the_best_so_far(tmp_path):
    process = subprocess.Popen(
        command(tmp_path, "--epochs", "10000"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("epoch  2"):
            process.send_signal(signal.SIGINT)
            break
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert re.search(r"Stopped in epoch \d+, after \d+ iterations\.", rest)
    assert "Best accuracy on 360 held-out digits" in rest
    assert torch.load(tmp_path / "best.pt", weights_only=True)["epoch"] >= 1
