"""Sharded checkpoints appear complete or not at all, and damage is detected."""

import json
import os
import random
import shutil
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from torch import nn

from ignite.exceptions import CheckpointError
from ignite.storage import sharded
from ignite.storage.naming import temporary_name
from ignite.storage.sharded import load_sharded, save_sharded


def make_state(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1 + seed)
    model(torch.randn(2, 4)).sum().backward()
    optimizer.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3 + seed,
        "random": (seed, (1, 2), None),
        "parts": [{"tensor": torch.randn(2)}, {"name": str(seed)}],
    }


def flat(x):
    if isinstance(x, dict):
        return {
            (key, *path): leaf for key, value in x.items() for path, leaf in flat(value).items()
        }
    if isinstance(x, list):
        return flat(dict(enumerate(x)))
    return {(): x.tolist() if isinstance(x, torch.Tensor) else x}


@pytest.fixture
def saved(tmp_path):
    save_sharded(tmp_path, "step_1", make_state())
    return tmp_path / "step_1"


def test_a_state_is_loaded_as_it_was_saved(saved, tmp_path):
    state = make_state(seed=1)
    assert flat(state) != flat(make_state())
    load_sharded(saved, state)
    assert flat(state) == flat(make_state())
    assert list(state["optimizer"]["state"]) == [0, 1, 2, 3]
    assert os.listdir(tmp_path) == ["step_1"]


def test_tensors_are_filled_in_place(saved):
    state = make_state(seed=1)
    weight = state["model"]["0.weight"]
    load_sharded(saved, state)
    assert state["model"]["0.weight"] is weight


@pytest.fixture
def gloo(tmp_path_factory):
    store = dist.FileStore(str(tmp_path_factory.mktemp("store") / "file"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_process_group_makes_no_difference(gloo, tmp_path):
    save_sharded(tmp_path, "a", make_state(), group=dist.group.WORLD)
    state = make_state(seed=1)
    load_sharded(tmp_path / "a", state, group=dist.group.WORLD)
    assert flat(state) == flat(make_state())


PROGRAM = """
import sys
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from ignite.storage.sharded import load_sharded, save_sharded

rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", store=dist.FileStore(sys.argv[3], 2), rank=rank, world_size=2)

def agree(value):
    values = [None, None]
    dist.all_gather_object(values, value)
    return values

mesh = init_device_mesh("cpu", (2,))
whole = torch.arange(20.0).view(5, 4)
weight = distribute_tensor(whole, mesh, [Shard(0)])
save_sharded(folder, "a", {"weight": weight, "epoch": 3}, rank=rank, agree=agree)
other = {"weight": distribute_tensor(torch.zeros(5, 4), mesh, [Shard(1)]), "epoch": 0}
load_sharded(folder + "/a", other, rank=rank, agree=agree)
assert torch.equal(other["weight"].to_local(), whole[:, 2 * rank : 2 * rank + 2]), other
assert other["epoch"] == 3
try:
    save_sharded(folder, "b", {"bad": print} if rank else {"bad": 1}, rank=rank, agree=agree)
except Exception as error:
    print(f"{type(error).__name__}: {error}")
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_write_their_shards_and_one_reads_them_all(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-W", "ignore", tmp_path / "program.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [*command, str(rank), folder, tmp_path / "store"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    # Versions of torch before 2.10 also print that the processes are connected.
    assert (
        "CheckpointError: all processes should succeed, but rank 1 has failed: TypeError: state['bad']"
    ) in outputs[0]
    assert "\nTypeError: state['bad'] should be something that torch.load" in f"\n{outputs[1]}"
    assert os.listdir(folder) == ["a"]

    assert len([name for name in os.listdir(folder / "a") if name.endswith(".distcp")]) == 2
    state = {"weight": torch.zeros(5, 4), "epoch": 0}
    load_sharded(folder / "a", state)
    assert state["weight"].flatten().tolist() == list(range(20))
    assert state["epoch"] == 3


@pytest.mark.parametrize("step", ["save", "_checksums", "sync", "_publish"])
def test_a_save_that_fails_leaves_nothing(tmp_path, monkeypatch, step):
    fired = []

    def fail(*args, **kwargs):
        fired.append(step)
        raise OSError(28, "disk full")

    monkeypatch.setattr(sharded, step, fail)
    with pytest.raises(OSError, match="disk full"):
        save_sharded(tmp_path, "a", make_state())
    assert fired == [step]
    assert os.listdir(tmp_path) == []


def test_an_error_of_a_write_inside_of_torch_is_raised_unchanged(tmp_path, monkeypatch):
    fired = []

    def fail(*args, **kwargs):
        fired.append(1)
        raise OSError(28, "disk full")

    monkeypatch.setattr("torch.distributed.checkpoint.filesystem.FileSystemWriter.write_data", fail)
    with pytest.raises(OSError, match="disk full"):
        save_sharded(tmp_path, "a", make_state())
    assert fired
    assert os.listdir(tmp_path) == []


def test_a_failure_of_one_process_is_raised_by_all(tmp_path):
    def agree(value):
        return [value, "ValueError: of the other" if isinstance(value, str | None) else value]

    with pytest.raises(
        CheckpointError, match="should succeed, but rank 1 has failed: ValueError: of the other"
    ):
        save_sharded(tmp_path, "a", {}, agree=agree)
    assert os.listdir(tmp_path) == []


def test_the_folder_gets_its_name_when_it_is_complete(tmp_path, monkeypatch):
    names, rename = [], os.rename

    def watched(source, target):
        if os.path.dirname(target) == str(tmp_path):
            names.append((os.listdir(tmp_path), sorted(os.listdir(source))))
        rename(source, target)

    monkeypatch.setattr(os, "rename", watched)
    save_sharded(str(tmp_path), "a", make_state())
    ((before, files),) = names
    assert "a" not in before
    assert files == [".metadata", "__0_0.distcp", "ignite.json"]


def test_a_name_is_used_once_and_cannot_lead_outside_of_the_folder(saved, tmp_path):
    with pytest.raises(
        FileExistsError, match="name should be new, but given 'step_1', which is in"
    ):
        save_sharded(tmp_path, "step_1", make_state())
    with pytest.raises(ValueError, match="name should be the plain name"):
        save_sharded(tmp_path, "../a", make_state())
    load_sharded(saved, make_state(1))


def test_a_state_that_could_not_be_loaded_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"^state\['hook'\] should be something"):
        save_sharded(tmp_path, "a", {"hook": print})
    assert os.listdir(tmp_path) == []


def test_folders_of_dead_writers_are_swept_and_those_of_living_ones_are_not(tmp_path):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    dead = temporary_name("sharded").replace(f".{os.getpid()}.", f".{pid}.")
    alive = f"{temporary_name('sharded')}.dir"
    for name in (f"{dead}.dir", alive, ".other.dir"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    save_sharded(tmp_path, "a", {})
    assert sorted(os.listdir(tmp_path)) == sorted(["a", alive, ".other.dir"])


def test_every_flipped_bit_is_detected(saved):
    generator, num_detected = random.Random(0), 0
    names = [".metadata", "__0_0.distcp"]
    for i in range(100):
        path = saved / names[i % 2]
        data = path.read_bytes()
        damaged = bytearray(data)
        damaged[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(
            CheckpointError,
            match=f"is damaged: {names[i % 2]} is missing, or its checksum is wrong",
        ):
            load_sharded(saved, {})
        num_detected += 1
        path.write_bytes(data)
    assert num_detected == 100


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m.update(version=2), "should be of version 1 at most, but is of 2: update"),
        (lambda m: m.pop("version"), "should be complete, but ignite.json is missing or damaged"),
        (lambda m: m.update(files=3), "should be complete, but ignite.json is missing or damaged"),
        (lambda m: m.update(files={}), "should list the files of its folder"),
        (lambda m: m["files"].update({"../x": [0, 0]}), "should list the files of its folder"),
        (
            lambda m: m["files"].pop("__0_0.distcp"),
            "should have checksums for all its files, but has none for {'__0_0",
        ),
        (lambda m: m["files"].update(absent=[0, 0]), "is damaged: absent is missing"),
    ],
)
def test_a_wrong_list_of_checksums_is_refused(saved, edit, message):
    manifest = json.loads((saved / "ignite.json").read_text())
    edit(manifest)
    (saved / "ignite.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=message):
        load_sharded(saved, make_state())


def test_missing_folders_and_lists_are_named(saved, tmp_path):
    with pytest.raises(FileNotFoundError, match="path should be a folder, but given"):
        load_sharded(tmp_path / "none", {})
    shutil.copytree(saved, tmp_path / "b")
    (tmp_path / "b" / "ignite.json").unlink()
    with pytest.raises(CheckpointError, match="should be complete, but ignite.json is missing"):
        load_sharded(tmp_path / "b", {})


def test_a_state_with_fewer_or_more_keys_or_other_shapes_is_refused(saved):
    with pytest.raises(
        CheckpointError,
        match="should have all keys of the checkpoint, but lacks epoch, m",
    ):
        load_sharded(saved, {"random": ()})
    state = {"epoch": 0}
    load_sharded(saved, state, strict=False)
    assert state == {"epoch": 3}
    with pytest.raises(CheckpointError, match="could not be loaded: rank 0: .*surprise"):
        load_sharded(saved, {**make_state(), "surprise": torch.ones(1)})
    wrong = make_state()
    wrong["model"]["0.weight"] = torch.ones(9)
    with pytest.raises(CheckpointError, match="could not be loaded: rank 0: .*model.0.weight"):
        load_sharded(saved, wrong)
