"""Files written by real clients, also for a run that was killed and resumed."""

import json
import zipfile

import pytest

from support import harness, servers, stopped_runs, tracker_files

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore"),  # of the clients and of what they are made of
]

READ_TRACKIO = """
import json, sys
import trackio
rows = trackio.SQLiteStorage.get_logs("p", run_id=sys.argv[1])
print("\\n", json.dumps([[n, row["step"], row[n]] for row in rows for n in row]))
"""
READ_AIM = """
import json, sys
import aim
run = aim.Run(sys.argv[1], repo=sys.argv[2], system_tracking_interval=None, capture_terminal_logs=False)
found = []
for metric in run.metrics():
    steps, (values, *_) = metric.data.items_list()
    found += [[metric.name, step, value] for step, value in zip(steps, values)]
print("\\n", json.dumps(found))
"""


def in_a_process(code, *arguments, **variables):
    """What the last line of a process says: clients have settings that they read at import."""
    output = servers.run_python("-c", code, *arguments, **variables).stdout
    lines = [line for line in output.splitlines() if line.strip().startswith("[")]
    return [tuple(one) for one in json.loads(lines[-1])]


def read_trackio(folder, state):
    found = in_a_process(READ_TRACKIO, state["id"].split()[0], TRACKIO_DIR=str(folder / "trackio"))
    return [one for one in found if one[0] not in ("step", "timestamp")]


def read_swanlab(folder, state):
    from swanlab.proto.swanlab.record.v1.record_pb2 import Record

    found = []
    for path in folder.glob(f"swanlab/run-*-{state['id']}/*.swanlab"):
        for content in tracker_files.leveldb_records(path.read_bytes()[7:]):
            scalar = Record.FromString(content).scalar
            if scalar.key:
                found.append((scalar.key, scalar.step, scalar.value.number))
    return found


def read_comet_ml(folder, state):
    found = []
    for path in folder.glob(f"comet/{state['id']}*.zip"):
        if path.stat().st_size == 22:  # an archive without content, of the killed process
            continue
        with zipfile.ZipFile(path) as archive:
            messages = [json.loads(line) for line in archive.read("messages.json").splitlines()]
        metrics = [m["payload"]["metric"] for m in messages if m["type"] == "metric_msg"]
        found += [(m["metricName"], m["step"], m["metricValue"]) for m in metrics]
    return [one for one in found if "/" in one[0]]  # the others are Comet's own


def read_aim(folder, state):
    return in_a_process(READ_AIM, state["id"], folder)


READERS = {
    "aim": read_aim,
    "comet_ml": read_comet_ml,
    "swanlab": read_swanlab,
    "trackio": read_trackio,
}


@pytest.fixture(params=READERS)
def name(request):
    servers.skip_without(request.param)
    return request.param


@pytest.mark.slow  # three processes each
@pytest.mark.parametrize("is_named", [False, True])
def test_a_run_that_failed_was_killed_and_resumed_has_each_step_once(name, is_named, tmp_path):
    if is_named and name == "aim":
        pytest.skip("Aim names its runs itself")
    # Checkpoints are at 5, 10 and 15. The first process closes its logger, so that the client has
    # written 13 steps; the second one repeats 11 to 13, and what its client has in memory is lost.
    stops = [("fail", 13), ("kill", 17)]
    state = stopped_runs.state_of(name, tmp_path, stops, is_named)
    stopped_runs.check(READERS[name](tmp_path, state))
    assert not is_named or state["id"].split()[-1] == stopped_runs.RUN_ID


def in_module(function, name, folder, *arguments):
    """The state of the tracker at the end of a process, and what the process wrote to stderr."""
    program = ("-m", "support.tracked_things", function, name, folder)
    trackio = str(folder / "trackio")
    result = servers.run_python(*program, *arguments, cwd=folder, TRACKIO_DIR=trackio)
    lines = [line for line in result.stdout.splitlines() if line.strip().startswith("{")]
    return json.loads(lines[-1]), result.stderr


READ_ALL_OF_TRACKIO = """
import json, sys
import trackio
(row,) = [
    {"step": step} | {n: v for r in rows if r["step"] == step for n, v in r.items()}
    for rows in [trackio.SQLiteStorage.get_logs("p", run_id=sys.argv[1])] for step in {r["step"] for r in rows}
]
(run,) = trackio.Api().runs("p")
(artifact,) = [one["name"] for one in trackio.SQLiteStorage.list_artifacts("p")]
found = [row["step"], row["own"], row["histogram"]["values"], row["image"]["_type"], run.config["lr"], artifact]
print("\\n", json.dumps([found]))
"""


def test_trackio_has_all_that_was_logged(tmp_path):
    servers.skip_without("trackio")
    state, errors = in_module("log_all", "trackio", tmp_path)
    (found,) = in_a_process(
        READ_ALL_OF_TRACKIO, state["id"].split()[0], TRACKIO_DIR=str(tmp_path / "trackio")
    )
    step, own, counts, image, lr, artifact = found
    assert (step, own, image, lr, artifact) == (3, 0.5, "trackio.image", 0.125, "artifact.txt")
    assert [counts[0], counts[64 // 3], counts[-1], sum(counts)] == [1, 2, 1, 4]
    assert "before the first values, but given ['late'] after them: they are not stored" in errors


def test_swanlab_has_all_that_was_logged(tmp_path):
    servers.skip_without("swanlab")
    from swanlab.proto.swanlab.record.v1.record_pb2 import Record

    state, errors = in_module("log_all", "swanlab", tmp_path)
    (folder,) = tmp_path.glob(f"swanlab/run-*-{state['id']}")
    (path,) = folder.glob("*.swanlab")
    records = [
        Record.FromString(content)
        for content in tracker_files.leveldb_records(path.read_bytes()[7:])
    ]
    found = {
        (value.key, value.step)
        for record in records
        for value in (record.scalar, record.media)
        if value.key
    }
    assert found == {("own", 3), ("image", 3)}
    assert "0.125" in (folder / "files/config.yaml").read_text()
    assert any(record.save.name == "artifact.txt" for record in records)
    assert "SwanLab does not support histograms: skipped" in errors


def test_comet_has_all_that_was_logged(tmp_path):
    servers.skip_without("comet_ml")
    state, _ = in_module("log_all", "comet_ml", tmp_path)
    assert ("own", 3, 0.5) in read_with_own_names(tmp_path, state)
    (path,) = tmp_path.glob(f"comet/{state['id']}*.zip")
    with zipfile.ZipFile(path) as archive:
        messages = [json.loads(line) for line in archive.read("messages.json").splitlines()]
    text = json.dumps(messages)
    for content in ("artifact.txt", "histogram", "image", '"paramName": "lr"'):
        assert content in text, content


def read_with_own_names(folder, state):
    (path,) = folder.glob(f"comet/{state['id']}*.zip")
    with zipfile.ZipFile(path) as archive:
        messages = [json.loads(line) for line in archive.read("messages.json").splitlines()]
    metrics = [m["payload"]["metric"] for m in messages if m["type"] == "metric_msg"]
    return [(m["metricName"], m["step"], m["metricValue"]) for m in metrics]


READ_ALL_OF_AIM = """
import json, sys
import aim
run = aim.Run(sys.argv[1], repo=sys.argv[2], system_tracking_interval=None, capture_terminal_logs=False)
info = run.collect_sequence_info(("metric", "distributions", "images"))
found = [[one["name"], kind, one["values"]["last_step"]] for kind in info for one in info[kind]]
print("\\n", json.dumps([*found, ["lr", run["lr"], run["late"]]]))
"""


def test_aim_has_all_that_was_logged(tmp_path):
    servers.skip_without("aim")
    state, _ = in_module("log_all", "aim", tmp_path)
    assert sorted(in_a_process(READ_ALL_OF_AIM, state["id"], tmp_path)) == [
        ("histogram", "distributions", 3),
        ("image", "images", 3),
        ("lr", 0.125, 1),
        ("own", "metric", 3),
    ]


DOWN = {
    "aim": "Cannot reach the Aim server: the run is stored in the repository of the current folder",
    "comet_ml": "Cannot reach the Comet server: the run is offline",
    "swanlab": "Cannot reach the SwanLab server: the run is offline",
    "trackio": "Some logs could not be sent to the remote server",
}
FOUR = [("train/loss", step, (0.5, 1.5)[(step - 1) % 2]) for step in range(1, 5)]


def test_a_server_that_is_down_stops_nothing(name, tmp_path):
    url = f"http://127.0.0.1:{harness.free_port()}"
    state, errors = in_module("train", name, tmp_path, url)
    assert state["num_iterations"] == 4
    assert DOWN[name] in errors
    if name != "trackio":  # keeps the values for the server, in files of its own
        assert sorted(READERS[name](tmp_path, state)) == FOUR


@pytest.mark.parametrize("name", ["aim", "trackio"])
def test_a_folder_that_cannot_be_written_is_said_at_once(name, tmp_path):
    servers.skip_without(name)
    (tmp_path / "file").touch()
    code = f"""
import pathlib
from support import stopped_runs
try:
    stopped_runs.{name}(pathlib.Path({str(tmp_path / "file" / "folder")!r}))
except OSError as error:
    print('["' + type(error).__name__ + '"]')
"""
    variables = {"TRACKIO_DIR": str(tmp_path / "file" / "folder")}
    assert in_a_process(code, **variables) == [tuple("NotADirectoryError")]
