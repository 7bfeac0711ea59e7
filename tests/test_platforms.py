"""Platforms other than Linux with UTF-8, each simulated in a process."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(module, *arguments, **environment):
    path = os.pathsep.join(
        [str(ROOT / "src"), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    )
    return subprocess.run(
        [sys.executable, "-W", "ignore::EncodingWarning", "-X", "warn_default_encoding", "-m", module, *arguments],
        env={**os.environ, "PYTHONPATH": path, **environment}, capture_output=True, timeout=110,
    )  # fmt: skip


def parts_of(text):
    found = {}
    for line in text.splitlines():
        found |= json.loads(line)
    return found


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("windows")
    result = run("support.windows_program", str(folder))
    assert result.returncode == 0, result.stderr.decode()
    return parts_of(result.stdout.decode())


@pytest.mark.slow
class TestWindows:
    """What POSIX has is removed, and what Windows refuses is refused, see ``support.without_posix``."""

    def test_all_modules_are_imported(self, windows):
        assert windows["every_module"] == []

    def test_a_fit_is_resumed_exactly_and_the_index_replaces_links(self, windows):
        found = windows["fit_and_resume"]
        assert found["is_equal"] is True
        assert found["links"] == []
        assert found["follows"] == found["last"]

    def test_a_run_continues_from_its_newest_checkpoint(self, windows):
        assert windows["checkpoint_of"] == [3, 6]

    def test_checkpoints_are_saved_and_only_those_of_dead_processes_are_removed(self, windows):
        assert windows["disk_saver"] == {
            "names": ["model_3.pt"], "is_dead_swept": True, "is_living_kept": True,
        }  # fmt: skip

    def test_names_that_windows_forbids_are_refused(self, windows):
        errors = windows["refused_names"]
        assert len(errors) == 4
        assert "has '<', which Windows forbids" in errors[0]
        assert "is 'aux', a device name on Windows" in errors[1]

    def test_files_that_are_open_elsewhere_are_waited_for(self, windows):
        assert windows["open_files"] == ["new", True, []]

    def test_ctrl_break_stops_a_run(self, windows):
        assert windows["preemption"] == [2, True]

    def test_resume_is_tested_without_killing(self, windows):
        *resumptions, error, kills_otherwise = windows["faults"]
        assert resumptions == [[1, 1], [2, 2], [3, 3]]
        assert "this system has no os.fork: leave kill out" in error
        assert kills_otherwise

    def test_shards_are_saved_and_loaded(self, windows):
        assert windows["sharded"] == [[1, 1, 1], 0.5]

    def test_the_command_inspects_runs(self, windows):
        code, last_line, code_of_env = windows["doctor"]
        assert (code, code_of_env) == (0, 0)
        assert last_line.startswith("resume='latest' loads checkpoint_")

    def test_no_signal_is_sent_and_nothing_is_warned_of(self, windows):
        assert windows["logs"] == [[], []]


@pytest.fixture(scope="module")
def ascii_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ascii") / "Läufe_日"


@pytest.fixture(scope="module")
def in_ascii(ascii_folder):
    ascii_folder.mkdir()
    results = ascii_folder.with_name("results")
    result = run(
        "support.ascii_program", str(ascii_folder), str(results),
        LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr.decode()
    return parts_of(results.read_text(encoding="ascii")), result


@pytest.mark.slow
class TestASCII:
    """A locale without UTF-8, as on some servers: files are UTF-8 all the same."""

    def test_the_locale_is_ascii(self, in_ascii):
        assert in_ascii[0]["encodings"] == ["ascii", "ascii", "surrogateescape"]

    @pytest.mark.parametrize(
        "part", ["csv_file", "jsonl_file", "tensorboard", "progress", "profilers"]
    )
    def test_nothing_fails(self, in_ascii, part):
        assert in_ascii[0][part] is None

    def test_csv_is_utf_8(self, in_ascii, ascii_folder):
        with (ascii_folder / "log.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["é/Größe"] for row in rows] == ["1.5"] * 4
        assert [row["é/名"] for row in rows] == ["2.5"] * 4
        assert [row["é/Name"] for row in rows] == ["ü"] * 4
        assert [row["é/Spät"] for row in rows] == ["", "", "日", "日"]

    def test_json_lines_are_read(self, in_ascii, ascii_folder):
        lines = (ascii_folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        assert json.loads(lines[-1])["scalars"] == {"é/Größe": 1.5, "é/名": 2.5, "é/Name": "ü"}

    def test_tensorboard_has_the_names(self, in_ascii, ascii_folder):
        accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        events = accumulator.EventAccumulator(str(ascii_folder / "tensorboard"))
        events.Reload()
        assert sorted(events.Tags()["scalars"]) == ["é/Größe", "é/名"]

    def test_checkpoints_are_saved_and_loaded(self, in_ascii, ascii_folder):
        assert in_ascii[0]["checkpoints"] == 1
        assert [path.name for path in (ascii_folder / "saver").glob("*.pt")] == ["netz_ä_2.pt"]

    def test_a_run_has_its_names(self, in_ascii, ascii_folder):
        classes, names = in_ascii[0]["fit"]
        assert classes == ["ä", "日"]
        assert names == ["valid_Güte"]
        record = json.loads((ascii_folder / "fit" / "run.json").read_text(encoding="utf-8"))
        assert "日" in str(record["learnt"])

    def test_commands_show_what_they_can(self, in_ascii):
        assert in_ascii[0]["commands"] == [0, 0, 0]
        shown = in_ascii[1].stdout
        shown.decode("ascii")
        assert rb"L\xe4ufe" in shown
        assert b"#" in shown, "the curve"

    def test_a_path_that_the_locale_cannot_express_is_utf_8(self, in_ascii, ascii_folder):
        assert in_ascii[0]["paths_in_the_program"] is None
        names = os.listdir(ascii_folder / "weitere_Läufe")
        assert sorted(name for name in names if name[0] != ".") == [
            "best_日.pt",
            "ä.csv",
            "ä.jsonl",
        ]
