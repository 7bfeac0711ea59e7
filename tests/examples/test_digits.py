import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

DIGITS = Path(__file__).parents[2] / "examples" / "digits.py"


def command(folder, *arguments):
    return [sys.executable, DIGITS, "--output", folder, *arguments]


def test_it_reaches_its_accuracy_keeps_the_best_weights_and_prints_the_paths(tmp_path):
    run = subprocess.run(command(tmp_path), capture_output=True, text=True, check=True)
    best = re.search(r"Best accuracy on 360 held-out digits: (\S+) \(epoch (\d+)\)", run.stdout)
    by_epoch = dict(re.findall(r"epoch +(\d+)  accuracy (\S+)  loss", run.stdout))
    assert len(by_epoch) == 12
    assert float(best[1]) >= 0.97
    assert by_epoch[best[2]] == best[1] == max(by_epoch.values())
    for place in ("best.pt", "tensorboard --logdir", "examples/guide.py", "describe()"):
        assert place in run.stdout
    folder = tmp_path / "checkpoints"
    checkpoint = torch.load(folder / "best.pt", weights_only=True)
    assert f"{checkpoint['results']['evaluator']['accuracy']:.4f}" == best[1]
    assert {path.name for path in folder.iterdir() if path.is_symlink()} == {"best.pt", "last.pt"}
    check_event_files(tmp_path)

    again = subprocess.run(command(tmp_path), capture_output=True, text=True, check=True)
    assert "epoch " not in again.stdout.partition("Best accuracy")[0], (
        "the run is over: nothing is trained"
    )
    assert (
        re.search(
            r"Best accuracy on 360 held-out digits: (\S+) \(epoch (\d+)\)", again.stdout
        ).groups()
        == best.groups()
    )


def check_event_files(folder):
    """They hold training and validation."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {
        "training/loss",
        "lr/group_0",
        "validation/accuracy",
        "validation/loss",
    }
    steps = [event.step for event in events.Scalars("training/loss")]
    assert (steps[:5], steps[-1]) == ([5, 10, 15, 20, 25], 12 * 23)


def stop_in_epoch(number, folder, signum):
    """Lets the example run until it has validated an epoch, and sends it a signal."""
    process = subprocess.Popen(
        command(folder, "--epochs", "5"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(f"epoch {number:>2}"):
            process.send_signal(signum)
            break
    rest, errors = process.communicate(timeout=60)
    return process.returncode, "".join(lines) + rest, errors


@pytest.mark.slow
def test_stopped_and_killed_and_run_again_it_ends_with_the_same_weights(tmp_path):
    subprocess.run(command(tmp_path / "whole", "--epochs", "5"), capture_output=True, check=True)
    code, output, errors = stop_in_epoch(1, tmp_path / "cut", signal.SIGINT)
    assert code == 130
    assert "Traceback" not in errors
    assert re.search(
        r"Stopped in epoch \d+, after \d+ iterations. Run it again to continue.", output
    )
    assert "Best accuracy on 360 held-out digits" in output

    code, _, _ = stop_in_epoch(3, tmp_path / "cut", signal.SIGKILL)
    assert code == -signal.SIGKILL
    subprocess.run(command(tmp_path / "cut", "--epochs", "5"), capture_output=True, check=True)
    expected, found = (
        torch.load(tmp_path / name / "checkpoints" / "last.pt", weights_only=True)["model"]
        for name in ("whole", "cut")
    )
    assert all(torch.equal(found[name], value) for name, value in expected.items())
