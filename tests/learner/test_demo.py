import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

IGNITE = Path(sys.executable).parent / "ignite"


def run(folder, *arguments):
    return subprocess.run(
        [IGNITE, "demo", "--output", folder, *arguments], capture_output=True, text=True, check=True
    ).stdout


def test_the_demo_reaches_its_accuracy_and_prints_the_paths(tmp_path):
    said = run(tmp_path)
    best = re.search(r"Best accuracy on 359 held-out digits: (\S+) \(epoch (\d+)\)", said)
    assert float(best[1]) >= 0.97
    assert "multiclass with 10 classes" in said
    for place in ("run.json", "ignite doctor", "tensorboard --logdir", "examples/digits.py"):
        assert place in said
    assert len(re.findall(r"^ +\d+  \d\.\d{4}", said, re.MULTILINE)) == 12
    assert best.group() in run(tmp_path), "run again it has nothing to do, and says the same"


@pytest.mark.slow
def test_killed_and_run_again_it_ends_with_the_same_weights(tmp_path):
    run(tmp_path / "whole", "--epochs", "4")
    command = [IGNITE, "demo", "--output", tmp_path / "cut", "--epochs", "4"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in (
        process.stderr
    ):  # what is shown where there is no terminal: a line at the end of each epoch
        if "epoch 2/4" in line:
            process.send_signal(signal.SIGKILL)
            break
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()
    run(tmp_path / "cut", "--epochs", "4")
    expected, found = (
        torch.load(tmp_path / name / "checkpoints" / "last.pt", weights_only=True)["model"]
        for name in ("whole", "cut")
    )
    assert all(torch.equal(found[name], value) for name, value in expected.items())
