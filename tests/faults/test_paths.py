"""Names and links that lead outside of the folder: nothing is written, read or removed there."""

import json
import os
import stat

import pytest

from ignite.exceptions import CheckpointError
from ignite.storage import (
    Note,
    build_index,
    commit,
    hold,
    load,
    open_place,
    read_index,
    save,
    scan,
    temporary_name,
    write_index,
)
from ignite.storage.ledger import Row
from support.disk import state_of
from support.runs import Seen, row, rows_of

NAMES = [
    "../victim.pt", "../../etc/passwd", "/etc/passwd", "a/../../victim.pt", "sub/model.pt", "..\\victim.pt", "..", ".",
    "", "~/victim.pt", "~root", "C:victim.pt", "model\0.pt", "model\n.pt", "m\x1b]0;x\x07.pt", "m" * 300, "ä" * 200,
    "\ud800.pt", ".hidden.pt", "..model.pt",
]  # fmt: skip


def refuses(act):
    try:
        act()
    except (ValueError, CheckpointError):
        return True
    return False


class Folders:
    """A folder to save to, and a victim beside it, which should be as it was."""

    def __init__(self, base):
        self.victim, self.run = base / "victim.pt", base / "run"
        self.victim.write_text("precious")
        self.place = open_place(self.run)
        save(self.place, "model_1.pt", state_of(1), Note(step=1))

    def is_unharmed(self):
        beside = sorted(os.listdir(self.victim.parent)) == ["run", "victim.pt"]
        return (
            beside
            and self.victim.read_text() == "precious"
            and load(self.run / "model_1.pt").note.step == 1
        )


def name_is_refused(name):
    """For writing, reading, removing, pointing, and in the index that is read."""

    def attack(folders):
        place = folders.place
        note = Note(step=2)
        place.write("index.json", lambda file: file.write(_index_with(name)))
        acts = [
            lambda: save(place, name, state_of(2), note),
            lambda: load((place, name)),
            lambda: place.remove(name),
            lambda: place.point("last.pt", name),
            lambda: place.point(name, "model_1.pt"),
            lambda: commit(folders.run, name, lambda file: file.write(b"x")),
            lambda: read_index(place),
        ]
        is_good = all(refuses(act) for act in acts) and place.read_link(name) is None
        return is_good and sorted(os.listdir(folders.run)) == ["index.json", "model_1.pt"]

    return attack


def _index_with(name):
    values = {
        "step": 1,
        "epoch": None,
        "score": None,
        "score_name": None,
        "mode": "max",
        "restarts": 0,
        "created": 0,
    }
    row = {"file": name, "rank": None, **values, "size_bytes": 1, "crc32": 1}
    return json.dumps({"version": 1, "best": None, "last": None, "checkpoints": [row]}).encode()


def link_as_target(folders):
    (folders.run / "model_2.pt").symlink_to(folders.victim)
    save(folders.place, "model_2.pt", state_of(2), Note(step=2))
    return not (folders.run / "model_2.pt").is_symlink()


def link_as_index(folders):
    (folders.run / "index.json").symlink_to(folders.victim)
    write_index(folders.place, [])
    return not (folders.run / "index.json").is_symlink()


def link_as_lock(folders):
    (folders.run / ".lock").symlink_to(folders.victim)
    try:
        with hold(folders.run):
            return False
    except OSError:
        return True


def link_as_temporary(folders):
    name = temporary_name("model_2.pt").replace(f".{os.getpid()}.", ".9999999999.")
    (folders.run / name).symlink_to(folders.victim)
    return folders.place.sweep() == [name] and not (folders.run / name).is_symlink()


def folder_of_a_dead_writer(folders):
    name = temporary_name("sharded").replace(f".{os.getpid()}.", ".9999999999.")
    (folders.run / name).mkdir()
    (folders.run / name / "link").symlink_to(folders.run.parent)
    return folders.place.sweep() == [name]


def link_that_is_removed(folders):
    (folders.run / "model_2.pt").symlink_to(folders.victim)
    return folders.place.remove("model_2.pt") and not (folders.run / "model_2.pt").is_symlink()


def link_as_last(folders):
    (folders.run / "last.pt").symlink_to("../victim.pt")
    return folders.place.read_link("last.pt") is None


def link_that_is_listed(folders):
    (folders.run / "model_9.pt").symlink_to(folders.victim)
    return [found.name for found in scan(folders.place)] == ["model_1.pt"] and build_index(
        folders.place
    ).last == "model_1.pt"


def folder_that_is_a_link(folders):
    (folders.run.parent / "run" / "real").mkdir()
    (folders.run / "alias").symlink_to("real")
    save(open_place(folders.run / "alias"), "model_2.pt", state_of(2), None)
    return os.listdir(folders.run / "real") == ["model_2.pt"]


def pipe_as_checkpoint(folders):
    os.mkfifo(folders.run / "model_9.pt")
    return refuses(lambda: load(folders.run / "model_9.pt")) and len(scan(folders.place)) == 1


def index_that_names_the_victim(folders):
    """The names in an index are those that a run removes when it prunes."""
    folders.place.write("index.json", lambda file: file.write(_index_with("../victim.pt")))
    note = Note(step=0)
    row = Row("../victim.pt", note)
    return refuses(lambda: read_index(folders.place)) and refuses(
        lambda: folders.place.remove(row.file)
    )


def umask_077(folders):
    before = os.umask(0o077)
    try:
        save(folders.place, "model_2.pt", state_of(2), None)
        with hold(folders.run):
            write_index(folders.place, [])
    finally:
        os.umask(before)
    modes = {
        name: stat.S_IMODE((folders.run / name).stat().st_mode)
        for name in ("model_2.pt", "index.json", ".lock")
    }
    return set(modes.values()) == {0o600}


def folder_of_everybody(folders):
    """Who can guess a name of a temporary file there gets nothing for it."""
    folders.run.chmod(0o1777)
    names = {temporary_name("model_2.pt") for _ in range(100)}
    save(folders.place, "model_2.pt", state_of(2), None)
    return len(names) == 100 and load(folders.run / "model_2.pt").state["step"] == 2


ATTACKS = [
    *((f"name {name!r:.20}", name_is_refused(name)) for name in NAMES),
    *((attack.__name__, attack) for attack in (
        link_as_target, link_as_index, link_as_lock, link_as_temporary, folder_of_a_dead_writer, link_that_is_removed,
        link_as_last, link_that_is_listed, folder_that_is_a_link, pipe_as_checkpoint, index_that_names_the_victim,
        umask_077, folder_of_everybody,
    )),
]  # fmt: skip


def attack_all(folder, attacks):
    wrong = []
    for i, (name, attack) in enumerate(attacks):
        base = folder / str(i)
        base.mkdir()
        folders = Folders(base)
        if not (attack(folders) and folders.is_unharmed()):
            wrong.append(name)
    return Seen(len(attacks) - len(wrong), len(attacks), ", ".join(wrong))


@row(56, "names, links and an index that lead out of the folder; umask 077", small=1, full=1)
def paths_that_lead_elsewhere(count, folder):
    return attack_all(folder, ATTACKS)


@pytest.mark.parametrize("each", rows_of(__name__), ids=str)
def test_the_row_holds(each, tmp_path):
    each.check(tmp_path)


def follows_links(folders):
    (folders.run / "model_2.pt").symlink_to(folders.victim)
    (folders.run / "model_2.pt").write_text("new")
    return True


def believes_names(folders):
    (folders.run / "../victim.pt").unlink()
    return True


def test_attacks_find_a_bad_saver(tmp_path):
    seen = attack_all(tmp_path, [("a", follows_links), ("b", believes_names)])
    assert (seen.passed, seen.total) == (0, 2)
