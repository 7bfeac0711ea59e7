"""The command ``ignite``."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ignite
from ignite import storage
from ignite.cli import main
from ignite.engine import Engine
from ignite.handlers import Checkpoint
from support import harness


def doctor(*arguments):
    out = io.StringIO()
    code = main(["doctor", *map(str, arguments)], out)
    return code, out.getvalue()


@pytest.fixture
def run_dir(tmp_path):
    scores = iter([0.25, 0.75, 0.5])
    engine = Engine(lambda engine, batch: None)
    checkpoint = Checkpoint.of(
        engine, tmp_path, score=lambda trainer: next(scores, 0.5), keep_last=3, background=False
    )
    checkpoint._score.name = "accuracy"
    engine.run([1, 2], max_epochs=3)
    return tmp_path


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_checkpoints_are_listed_the_newest_first_with_their_score_and_size(run_dir):
    for name in os.listdir(run_dir):
        os.utime(run_dir / name, (0, 0), follow_symlinks=False)  # times of files say nothing
    code, text = doctor(run_dir)
    assert code == 0
    lines = text.splitlines()
    assert lines[0].split() == ["file", "step", "epoch", "score", "age", "size", "state"]
    rows = [line.split() for line in lines[1:4]]
    assert [row[:4] for row in rows] == [
        ["checkpoint_00000006.pt", "6", "3", "accuracy=0.5"],
        ["checkpoint_00000004.pt", "4", "2", "accuracy=0.75"],
        ["checkpoint_00000002.pt", "2", "1", "accuracy=0.25"],
    ]
    assert all(row[-1] == "whole" and row[5] == "s" and row[7] == "MB" for row in rows)
    assert lines[4] == "resume='latest' loads checkpoint_00000006.pt"


def test_a_damaged_one_is_found_and_what_is_resumed_from_instead(run_dir):
    damage(run_dir / "checkpoint_00000006.pt")
    code, text = doctor(run_dir)
    assert code == 1
    assert "DAMAGED: " in text.splitlines()[1]
    assert "resume='latest' loads checkpoint_00000004.pt" in text


def test_repair_rebuilds_the_index_from_what_is_whole_and_touches_no_checkpoint(run_dir):
    damage(run_dir / "checkpoint_00000004.pt")
    (run_dir / "index.json").write_text("{")
    (run_dir / "best.pt").unlink()
    before = {path.name: path.read_bytes() for path in run_dir.glob("checkpoint_*.pt")}
    # Of a process that has ended.
    name = harness.run_program(
        "from ignite.storage import temporary_name as t; print(t('x.pt'), end='')"
    )
    leftover = run_dir / name
    leftover.write_bytes(b"half")

    code, text = doctor(run_dir, "--repair")
    assert code == 1
    assert (
        "index.json now lists 2 checkpoints; removed 1 temporary files of killed processes" in text
    )
    assert {path.name: path.read_bytes() for path in run_dir.glob("checkpoint_*.pt")} == before
    assert not leftover.exists()
    index = json.loads((run_dir / "index.json").read_text())
    assert (index["best"], index["last"]) == ("checkpoint_00000006.pt", "checkpoint_00000006.pt")
    assert torch.load(run_dir / "best.pt", weights_only=True)["trainer"]["iteration"] == 6
    assert storage.read_index(storage.open_place(run_dir)).best == "checkpoint_00000006.pt"


def test_without_checkpoints_or_a_folder_an_error_is_raised(tmp_path):
    assert doctor(tmp_path) == (1, f"No checkpoints in {tmp_path}\n")
    code, text = doctor(tmp_path / "nowhere")
    assert code == 2
    assert "nowhere" in text


def test_files_of_ignite_are_listed_too(tmp_path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "model_12.pt")
    code, text = doctor(tmp_path)
    assert code == 0
    assert text.splitlines()[1].split()[:4] == ["model_12.pt", "12", "?", "-"]


def test_it_is_installed_as_a_command_and_explains_itself(run_dir, capsys):
    command = os.path.join(os.path.dirname(sys.executable), "ignite")
    shown = subprocess.run([command, "doctor", run_dir], capture_output=True, text=True)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "checkpoint_00000006.pt" in shown.stdout
    with pytest.raises(SystemExit, match="0"):
        main(["doctor", "--help"])
    text = capsys.readouterr().out
    for word in ("run_dir", "--repair", "index.json", "resume='latest'"):
        assert word in text


def test_env_prints_what_a_result_depends_on():
    out = io.StringIO()
    assert main(["env"], out) == 0
    lines = dict(
        line.split(maxsplit=1) for line in out.getvalue().splitlines() if len(line.split()) > 1
    )
    assert lines["torch"] == torch.__version__
    assert {"python", "platform", "threads", "command", "git_commit"} <= set(lines)


def save_run(folder, **options):
    engine = Engine(lambda engine, batch: None)
    Checkpoint.of(engine, folder, background=False, **options)
    engine.run([1, 2])


def test_the_folder_of_a_run_is_enough_where_checkpoints_are_in_a_folder_of_it(tmp_path):
    save_run(tmp_path / "run" / "checkpoints")
    code, text = doctor(tmp_path / "run")
    assert code == 0
    assert text.splitlines()[0] == f"{tmp_path / 'run'}/checkpoints"
    assert "checkpoint_00000002.pt" in text
    assert "resume='latest' loads checkpoint_00000002.pt" in text
    code, text = doctor(tmp_path)
    assert code == 1
    assert (
        text
        == f"No checkpoints in {tmp_path}, but there are checkpoints in {tmp_path / 'run' / 'checkpoints'}\n"
    )


def test_both_folders_are_listed_and_damage_in_either_counts(tmp_path):
    save_run(tmp_path / "checkpoints")
    Checkpoint({"m": torch.nn.Linear(1, 1)}, tmp_path)(Engine(lambda engine, batch: None))
    assert doctor(tmp_path)[0] == 0
    damage(tmp_path / "checkpoints" / "checkpoint_00000002.pt")
    code, text = doctor(tmp_path)
    assert code == 1
    assert "m_0.pt" in text


def test_files_of_others_are_not_taken_for_checkpoints_of_a_run(tmp_path):
    save_run(tmp_path)
    torch.save({"weight": torch.ones(2)}, tmp_path / "weights_99999.pt")
    Checkpoint({"m": torch.nn.Linear(1, 1)}, lambda state, name: torch.save(state, tmp_path / name))
    code, text = doctor(tmp_path)
    assert code == 0
    states = {line.split()[0]: line for line in text.splitlines()}
    assert states["weights_99999.pt"].endswith("readable, not written by this library")
    assert states["checkpoint_00000002.pt"].endswith("whole")
    assert text.endswith("resume='latest' loads checkpoint_00000002.pt\n")


def test_without_the_checkpoint_of_a_run_what_to_do_with_the_others_is_said(tmp_path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "model_12.pt")
    assert (
        "No intact checkpoint of a run; checkpoints of single objects are loaded with Checkpoint.load_objects"
        in doctor(tmp_path)[1]
    )


NO_READER_PROGRAM = """
import json, os, sys
import ignite.cli
from ignite.cli import main

def demo(folder, epochs, out):
    out.write("trained\\n")
    return 0

ignite.cli.demo = demo  # training takes seconds
results = []
for arguments in json.loads(sys.argv[1]):
    reader, writer = os.pipe()
    os.close(reader)
    errors, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writer, 1)
        os.dup2(told, 2)
        try:
            code = main(arguments)
        except SystemExit as error:
            code = error.code
        sys.stdout.flush()  # as Python does when it ends
        os._exit(code)
    os.close(writer), os.close(told)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    results.append([arguments, code, os.read(errors, 1000).decode()])
print(json.dumps(results))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_every_command_ends_quietly_if_its_reader_has_gone(run_dir):
    """As `ignite doctor | head` does."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit):
        main(["--help"])
    commands = set(re.search(r"\{(.*?)\}", shown.getvalue())[1].split(","))
    calls = [["--help"], ["--version"], ["doctor", str(run_dir)], ["env"], ["demo"]]
    calls += [["report", "--live", str(run_dir)], ["diff", str(run_dir), str(run_dir)]]
    calls += [["ctl", str(run_dir), "pause"]]
    assert commands == {call[0] for call in calls[2:]}
    result = subprocess.run(
        [sys.executable, "-c", NO_READER_PROGRAM, json.dumps(calls)],
        env={**os.environ, "PYTHONUNBUFFERED": ""},  # with it, argparse swallows the error itself
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == [[call, 141, ""] for call in calls]


def test_an_error_of_another_pipe_is_not_hidden(monkeypatch, capfd):
    def fail(out):
        raise BrokenPipeError("of a server")

    monkeypatch.setattr("ignite.cli._env", fail)
    with open(os.devnull, "w") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        with pytest.raises(BrokenPipeError, match="of a server"):
            main(["env"])


def test_python_m_ignite_is_the_command():
    result = subprocess.run(
        [sys.executable, "-m", "ignite", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout == f"reignition {ignite.__version__}\n"


def test_the_demo_says_in_one_line_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "sklearn", None)  # which Python takes for missing
    monkeypatch.delitem(sys.modules, "sklearn.datasets", raising=False)
    assert main(["demo", "--output", str(tmp_path / "run")]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        "ignite demo: sklearn.datasets should be installed for this, but is missing: "
        'pip install "reignition[demo]"\n'
    )
    assert not (tmp_path / "run").exists()


def repository_with_a_fake_environment(folder, pip_status):
    """scripts/ beside a .venv whose pip only talks, and whose command says what it was called with."""
    root = Path(__file__).parents[1]
    for name in ("demo", "install"):
        target = folder / "scripts" / name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(root / "scripts" / name, target)
    (folder / "pyproject.toml").write_text("")
    programs = {
        "python": f'case "$*" in *" pip "*) echo collecting; echo warned >&2; exit {pip_status};; esac',
        "ignite": 'echo "$@"',
    }
    for name, text in programs.items():
        path = folder / ".venv" / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    (folder / ".venv" / "bin" / "activate").write_text(f"VIRTUAL_ENV={folder.resolve()}/.venv\n")
    return folder / "scripts" / "demo"


@pytest.mark.skipif(os.name == "nt", reason="runs scripts of the shell")
def test_the_script_of_the_demo_is_quiet_about_the_installation_unless_it_fails(tmp_path):
    (tmp_path / "fails").mkdir()
    (tmp_path / "works").mkdir()
    failing = repository_with_a_fake_environment(tmp_path / "fails", 1)
    result = subprocess.run([failing], capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert result.stdout == ""
    assert "collecting\nwarned\n" in result.stderr
    working = repository_with_a_fake_environment(tmp_path / "works", 0)
    for is_first in (True, False):
        result = subprocess.run(
            [working, "--epochs", "3"], capture_output=True, text=True, check=False
        )
        assert (result.returncode, result.stdout) == (0, "demo --epochs 3\n")
        assert result.stderr.count("\n") == is_first
        assert ("first time takes some minutes" in result.stderr) == is_first


@pytest.mark.skipif(os.name == "nt", reason="runs scripts of the shell")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_script_for_gpus_fails_where_there_is_none():
    script = Path(__file__).parents[1] / "scripts" / "gpu-check"
    result = subprocess.run(
        [script],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (1, "")
    is_old = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 11)
    expected = "needs torch 2.11 or newer" if is_old else "without a GPU: scripts/gpu-check --cpu\n"
    assert expected in result.stderr
