import json
import subprocess

import pytest

from ignite.exceptions import CheckpointError
from ignite.learner._runs import Provenance, environment, note_session


def test_each_session_is_noted(tmp_path):
    folder = tmp_path / "deep" / "run"
    note_session(folder, {"lr": 0.1, "schedule": len})
    record = note_session(folder, {"lr": 0.2})
    found = json.loads((folder / "run.json").read_text())
    assert found == record
    assert (found["format"], found["config"], len(found["sessions"])) == (1, {"lr": 0.2}, 2)
    assert found["sessions"][0]["started"].endswith("Z")


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2, "sessions": []}', '{"format": 1}', "{"])
def test_another_file_of_that_name_is_left_alone(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(
        CheckpointError, match="should be the record of a run in format 1: choose another folder"
    ):
        note_session(tmp_path, {})
    assert (tmp_path / "run.json").read_text() == text


def test_the_code_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert environment()["git_commit"] is None
    options = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", *options, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    found = environment()
    assert (len(found["git_commit"]), found["git_is_dirty"]) == (40, False)
    (tmp_path / "new.py").touch()
    assert environment()["git_is_dirty"] is True


def test_a_record_in_a_checkpoint_is_plain_and_written_when_the_run_begins(tmp_path):
    provenance = Provenance(tmp_path, {"a": len, "b": (1, 2)})
    assert list(tmp_path.iterdir()) == []
    assert provenance.state_dict() == {"record": "{}"}
    provenance.note()
    record = json.loads(provenance.state_dict()["record"])
    assert record == json.loads((tmp_path / "run.json").read_text())
    assert record["config"]["b"] == [1, 2]
    provenance.load_state_dict({"record": "{}"})
    assert provenance.record["config"]["b"] == [1, 2]
