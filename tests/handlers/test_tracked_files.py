"""Files are written before others are removed; a failure changes nothing; files of earlier runs count."""

import logging
import os

import pytest
import torch
from torch import nn

from ignite.engine import Engine, State
from ignite.exceptions import CheckpointError
from ignite.handlers import Checkpoint, DiskSaver
from ignite.handlers.checkpoint import BaseSaveHandler
from support import checkpoint_processes, harness


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """What functions have returned in two processes; all of them in one go, as processes take seconds to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHECKPOINT_FOLDER", str(tmp_path_factory.mktemp("processes")))
        first, second = harness.run(checkpoint_processes.all_of_them)
    return lambda function: (first[function.__name__], second[function.__name__])


class Recorder(BaseSaveHandler):
    def __init__(self):
        self.log = []
        self.error = None

    def __call__(self, checkpoint, filename, metadata=None):
        if self.error is not None:
            raise self.error
        self.log.append(f"+{filename}")

    def remove(self, filename):
        self.log.append(f"-{filename}")


def trainer(iteration=1, **metrics):
    engine = Engine(lambda engine, batch: None)
    engine.state = State(iteration=iteration, epoch=1, metrics=metrics)
    return engine


def names_in(folder):
    return sorted(os.listdir(folder))


MODEL = nn.Linear(1, 1)


def test_a_file_is_written_then_others_are_removed():
    recorder = Recorder()
    checkpoint = Checkpoint({"m": MODEL}, recorder, n_saved=2)
    for i in (1, 2, 3, 4):
        checkpoint(trainer(i))
    assert recorder.log == ["+m_1.pt", "+m_2.pt", "+m_3.pt", "-m_1.pt", "+m_4.pt", "-m_2.pt"]


def test_a_file_of_the_same_name_is_replaced_and_not_removed():
    recorder = Recorder()
    checkpoint = Checkpoint({"m": MODEL}, recorder, n_saved=2, filename_pattern="{name}.{ext}")
    for i in (1, 2, 3):
        checkpoint(trainer(i))
    assert recorder.log == ["+m.pt"] * 3
    assert checkpoint._saved == [(3, "m.pt")]


def test_files_go_even_if_a_listener_fails():
    recorder, engine = Recorder(), trainer(1)
    checkpoint = Checkpoint({"m": MODEL}, recorder, n_saved=1)
    checkpoint(engine)
    seen = []

    def fail():
        seen.extend(recorder.log)
        raise KeyError("listener")

    engine.add_event_handler(Checkpoint.SAVED_CHECKPOINT, fail)
    engine.state.iteration = 2
    with pytest.raises(KeyError, match="listener"):
        checkpoint(engine)
    assert seen == ["+m_1.pt", "+m_2.pt"], "the old file is still there when the event is fired"
    assert recorder.log[-1] == "-m_1.pt"
    assert checkpoint._saved == [(2, "m_2.pt")]


def test_a_failed_save_changes_nothing_and_the_next_one_works():
    recorder = Recorder()
    checkpoint = Checkpoint({"m": MODEL}, recorder, n_saved=1)
    checkpoint(trainer(1))
    before = (checkpoint.state_dict(), checkpoint.last_checkpoint, list(recorder.log))
    recorder.error = OSError("no space left")
    with pytest.raises(OSError, match="no space left"):
        checkpoint(trainer(2))
    assert (checkpoint.state_dict(), checkpoint.last_checkpoint, recorder.log) == before
    recorder.error = None
    checkpoint(trainer(3))
    assert recorder.log == ["+m_1.pt", "+m_3.pt", "-m_1.pt"]


def test_what_could_not_be_removed_is_tried_again(tmp_path, caplog):
    checkpoint = Checkpoint({"m": MODEL}, tmp_path, n_saved=1)
    saver = checkpoint.save_handler
    remove, held = saver.remove, {"m_1.pt"}

    def remove_if_not_held(name):
        if name in held:
            raise PermissionError(name)
        remove(name)

    saver.remove = remove_if_not_held
    with caplog.at_level(logging.WARNING, "ignite.handlers"):
        for i in (1, 2, 3):
            checkpoint(trainer(i))
    assert names_in(tmp_path) == ["m_1.pt", "m_3.pt"]
    assert "Cannot remove checkpoint m_1.pt" in caplog.text
    held.clear()
    checkpoint(trainer(4))
    assert names_in(tmp_path) == ["m_4.pt"]


def test_a_handler_that_fails_is_called_once():
    calls = []

    def save(checkpoint, filename, metadata=None):
        calls.append(filename)
        raise TypeError("inside")

    with pytest.raises(TypeError, match="inside"):
        Checkpoint({"m": MODEL}, save)(trainer())
    assert calls == ["m_1.pt"]


def test_files_of_an_earlier_run_are_taken_over(tmp_path):
    for begin in (1, 4, 1, 100):  # one run goes on, one begins anew
        checkpoint = Checkpoint(
            {"m": MODEL}, DiskSaver(tmp_path, require_empty="resume"), n_saved=2
        )
        for i in range(begin, begin + 3):
            checkpoint(trainer(i))
            assert len(names_in(tmp_path)) <= 2
        assert names_in(tmp_path) == sorted(f"m_{i}.pt" for i in (begin + 1, begin + 2))
    assert checkpoint._files.restarts == 3


def test_they_are_known_before_the_first_save(tmp_path):
    Checkpoint({"m": MODEL}, tmp_path, score_name="acc")(trainer(1, acc=0.5))
    checkpoint = Checkpoint(
        {"m": MODEL}, DiskSaver(tmp_path, require_empty="resume"), score_name="acc"
    )
    assert checkpoint.last_checkpoint == tmp_path / "m_acc=0.5000.pt"
    checkpoint(trainer(2, acc=0.4))
    checkpoint(trainer(3, acc=0.6))
    assert names_in(tmp_path) == ["m_acc=0.6000.pt"]


def test_more_than_are_to_be_kept_go_with_the_first_save(tmp_path):
    checkpoint = Checkpoint({"m": MODEL}, tmp_path, n_saved=None)
    for i in range(5):
        checkpoint(trainer(i))
    Checkpoint({"m": MODEL}, DiskSaver(tmp_path, require_empty="resume"), n_saved=2)(trainer(5))
    assert names_in(tmp_path) == ["m_4.pt", "m_5.pt"]


def test_files_of_others_are_let_be(tmp_path):
    Checkpoint({"other": MODEL}, tmp_path)(trainer(1))
    Checkpoint({"m": MODEL}, DiskSaver(tmp_path, require_empty=False), filename_prefix="best")(
        trainer(1)
    )
    (tmp_path / "m_0.pt").write_bytes(b"not of this library")
    checkpoint = Checkpoint({"m": MODEL}, DiskSaver(tmp_path, require_empty="resume"))
    for i in (1, 2):
        checkpoint(trainer(i))
    assert names_in(tmp_path) == ["best_m_1.pt", "m_0.pt", "m_2.pt", "other_1.pt"]


def test_the_content_of_a_loaded_state_is_joined_to_them(tmp_path):
    checkpoint = Checkpoint({"m": MODEL}, tmp_path, n_saved=3)
    for i in (10, 11, 12):
        checkpoint(trainer(i))
        if i == 11:
            state = checkpoint.state_dict()
    again = Checkpoint({"m": MODEL}, DiskSaver(tmp_path, require_empty="resume"), n_saved=3)
    again.load_state_dict(
        state
    )  # of the file of iteration 11: the run that is resumed from it writes 12 once more
    for i in (12, 13):
        again(trainer(i))
    assert names_in(tmp_path) == ["m_11.pt", "m_12.pt", "m_13.pt"]
    again.load_state_dict(state)
    assert [name for _, name in again._saved] == [
        "m_10.pt",
        "m_11.pt",
        "m_12.pt",
    ]  # the last one is still there


def test_a_forgotten_file_is_not_taken_over(tmp_path):
    Checkpoint({"m": MODEL}, tmp_path)(trainer(1))
    checkpoint = Checkpoint({"m": MODEL}, DiskSaver(tmp_path, require_empty="resume"))
    checkpoint.reset()
    assert checkpoint.last_checkpoint is None
    checkpoint(trainer(2))
    assert names_in(tmp_path) == ["m_1.pt", "m_2.pt"]


class Failing:
    """Lets a saver fail as long as it is told to."""

    def __init__(self, saver):
        self.is_on, self.real = False, saver._opened.write
        saver._opened.write = self.write

    def write(self, *args):
        if self.is_on:
            raise OSError("disk is gone")
        return self.real(*args)


def test_a_write_in_the_background_that_fails_is_taken_back(tmp_path):
    saver = DiskSaver(tmp_path, background=True)
    disk = Failing(saver)
    checkpoint = Checkpoint({"m": MODEL}, saver, n_saved=1)
    checkpoint(trainer(1))
    checkpoint.wait()
    disk.is_on = True
    checkpoint(trainer(2))
    with pytest.raises(OSError, match="disk is gone"):
        checkpoint(trainer(3))
    assert checkpoint._saved == [(1, "m_1.pt")]
    assert names_in(tmp_path) == ["m_1.pt"]
    checkpoint(trainer(4))
    with pytest.raises(OSError, match="disk is gone"):
        saver.wait()  # whoever hears of it, it is taken back
    disk.is_on = False
    checkpoint(trainer(5))
    checkpoint.wait()
    assert checkpoint._saved == [(5, "m_5.pt")]
    assert names_in(tmp_path) == ["m_5.pt"]


def test_two_handlers_may_share_a_saver_in_the_background(tmp_path):
    saver = DiskSaver(tmp_path, background=True)
    disk = Failing(saver)
    a, b = Checkpoint({"a": MODEL}, saver), Checkpoint({"b": MODEL}, saver)
    a(trainer(1))
    b(trainer(1))
    b.wait()
    disk.is_on = True
    a(trainer(2))
    with pytest.raises(OSError, match="disk is gone"):
        b(trainer(2))
    disk.is_on = False
    for one in (a, b):
        one(trainer(3))
    a.wait()
    assert names_in(tmp_path) == ["a_3.pt", "b_3.pt"]


def test_what_is_loaded_while_a_file_is_written_counts(tmp_path):
    saver = DiskSaver(tmp_path, background=True)
    Failing(saver).is_on = True
    checkpoint = Checkpoint({"m": MODEL}, saver)
    checkpoint(trainer(1))
    checkpoint.load_state_dict({"_saved": [(7, "m_7.pt")]})
    with pytest.raises(OSError, match="disk is gone"):
        checkpoint.wait()
    assert checkpoint._saved == [(7, "m_7.pt")]


def test_a_loaded_state_may_not_lead_out_of_the_folder(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    checkpoint = Checkpoint({"m": MODEL}, tmp_path / "run")
    checkpoint(trainer(1))
    with pytest.raises(CheckpointError, match="_saved should hold names of files in one folder"):
        checkpoint.load_state_dict({"_saved": [(0, "../victim"), (0, "m_0.pt")]})
    assert checkpoint._saved == [(1, "m_1.pt")]
    checkpoint(trainer(2))
    assert victim.exists()


def test_the_process_that_writes_is_the_savers(tmp_path):
    checkpoint = Checkpoint({"m": MODEL}, DiskSaver(tmp_path, save_on_rank=1))
    assert checkpoint._files.rank == 1
    assert Checkpoint({"m": MODEL}, Recorder(), save_on_rank=2)._files.rank == 2


def test_one_process_writes_for_all(processes):
    first, second = processes(checkpoint_processes.one_writes)
    assert (first.pop("opened"), second.pop("opened")) == (False, True)
    assert first == second
    assert first == {
        "files": ["checkpoint_2.pt"], "model": ["weight", "bias"], "count": 2, "num_in_optimizer": 2,
        "saved": [(2, "checkpoint_2.pt")],
    }  # fmt: skip


NO_SPACE = "OSError: [Errno 28] No space left on device"


def test_if_one_process_cannot_write_it_raises_and_no_process_waits_for_it(processes):
    first, second = processes(checkpoint_processes.writing_fails_in_the_first)
    assert first == (NO_SPACE, [(1, "c_1.pt")], ["c_3.pt"])
    assert second == (None, [(2, "c_2.pt")], ["c_3.pt"])


def test_if_it_cannot_write_behind_it_raises_at_the_next_save(processes):
    first, second = processes(checkpoint_processes.writing_behind_fails_in_the_first)
    assert first == ([NO_SPACE], [[(1, "c_1.pt")]], ["c_4.pt"])
    assert second == ([None], [[(3, "c_3.pt")]], ["c_4.pt"])


def test_each_process_goes_by_its_own_score(processes):
    first, second = processes(checkpoint_processes.scores_differ)
    assert first == (["c_0.6000.pt"], [(0.6, "c_0.6000.pt")])
    assert second == (["c_0.6000.pt"], [(0.95, "c_0.9500.pt")])


def test_the_one_that_writes_decides_for_all_where_all_hold_a_part(processes):
    assert (
        processes(checkpoint_processes.scores_of_a_spread_state_differ)
        == ((["o_0.6000.pt"], [(0.6, "o_0.6000.pt")]),) * 2
    )


def test_the_one_that_writes_takes_over_what_is_there(processes):
    (files, saved, restarts), (_, others, _) = processes(checkpoint_processes.files_are_taken_over)
    assert files == saved == ["c_12.pt", "c_13.pt"]
    assert others == saved, "it has the same room, and has seen those that came last"
    assert restarts == 1


def test_creating_one_does_not_wait_for_other_processes(processes):
    assert processes(checkpoint_processes.constructors_ask_nobody) == (True, True)


def test_all_processes_hear_of_each_file(processes):
    assert (
        processes(checkpoint_processes.a_run_with_events)
        == (([2, 4, 6], ["c_4.pt", "c_6.pt"]),) * 2
    )


class Fixed(DiskSaver):
    """The best model under one name."""

    def __call__(self, checkpoint, filename, metadata=None):
        super().__call__(checkpoint, "best.pt", metadata)

    def remove(self, filename):
        super().remove("best.pt")


class FixedWithoutRemoving(DiskSaver):
    def __call__(self, checkpoint, filename, metadata=None):
        super().__call__(checkpoint, "best.pt", metadata)


class FixedWithoutMetadata(DiskSaver):
    def __call__(self, checkpoint, filename):
        super().__call__(checkpoint, "best.pt")

    def remove(self, filename):
        os.unlink(self.dirname / "best.pt")


class InPairs(DiskSaver):
    """Two iterations to a file."""

    def name(self, filename):
        return f"pair_{(int(filename.split('_')[-1].removesuffix('.pt')) + 1) // 2}.pt"

    def __call__(self, checkpoint, filename, metadata=None):
        super().__call__(checkpoint, self.name(filename), metadata)

    def remove(self, filename):
        super().remove(self.name(filename))


class WritesItself(DiskSaver):
    def __call__(self, checkpoint, filename, metadata=None):
        (self.dirname / "best.pt").write_text(filename)

    def remove(self, filename):
        (self.dirname / "best.pt").unlink()


class InMemory(BaseSaveHandler):
    def __init__(self, folder):
        self.folder = folder

    def __call__(self, checkpoint, filename, metadata=None):
        (self.folder / "best.pt").write_text(filename)

    def remove(self, filename):
        (self.folder / "best.pt").unlink()


SEVERAL_NAMES = [Fixed, FixedWithoutRemoving, FixedWithoutMetadata, InPairs, WritesItself, InMemory]


@pytest.mark.parametrize("n_saved", [1, 2, 3])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("kind", SEVERAL_NAMES)
def test_where_several_names_lead_to_one_file_the_file_just_written_and_those_kept_are_there(
    tmp_path, kind, n_saved, background, restart, caplog
):
    """After each save, the file of each item that is tracked is there, and that of the newest holds the newest."""
    options = (
        {"require_empty": False, "background": background} if issubclass(kind, DiskSaver) else {}
    )
    counter = nn.Linear(1, 1)
    checkpoint = Checkpoint({"m": counter}, kind(tmp_path, **options), n_saved=n_saved)
    for i in range(1, 8):
        nn.init.constant_(counter.weight, i)
        checkpoint(trainer(i))
        checkpoint.wait()
        name_of = getattr(checkpoint.save_handler, "name", lambda name: "best.pt")
        assert {name_of(item.filename) for item in checkpoint._saved} <= set(names_in(tmp_path))
        newest = tmp_path / name_of(f"m_{i}.pt")
        if kind in (WritesItself, InMemory):
            assert newest.read_text() == f"m_{i}.pt"
        else:
            assert torch.load(newest, weights_only=True)["weight"].item() == i
        if restart:  # another process, which knows the names only
            state = checkpoint.state_dict()
            checkpoint = Checkpoint({"m": counter}, kind(tmp_path, **options), n_saved=n_saved)
            checkpoint.load_state_dict(state)
    assert len(names_in(tmp_path)) <= n_saved
    if not restart:
        assert "should be removed" not in caplog.text


def test_a_renaming_saver_still_removes_what_is_not_kept(tmp_path):
    class Renamed(DiskSaver):
        def __call__(self, checkpoint, filename, metadata=None):
            super().__call__(checkpoint, f"my_{filename}", metadata)

        def remove(self, filename):
            super().remove(f"my_{filename}")

    for background in (False, True):
        checkpoint = Checkpoint(
            {"m": MODEL}, Renamed(tmp_path / str(background), background=background), n_saved=2
        )
        for i in range(1, 6):
            checkpoint(trainer(i))
        checkpoint.wait()
        assert names_in(tmp_path / str(background)) == ["my_m_4.pt", "my_m_5.pt"]


def test_a_saver_may_still_be_asked_to_remove_a_file(tmp_path):
    checkpoint = Checkpoint({"m": MODEL}, Fixed(tmp_path))
    for i in (1, 2):
        checkpoint(trainer(i))
    checkpoint.save_handler.remove("whatever")
    assert names_in(tmp_path) == []
