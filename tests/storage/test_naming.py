"""Names are plain, and temporary names identify their process."""

import os

import pytest

from ignite.storage import naming
from ignite.storage.naming import check_name, is_temporary, owner_is_dead, temporary_name


@pytest.mark.parametrize(
    "name",
    ["model.pt", "a" * 255, "best_model_3_acc=0.5.pt", "-x", "größe.pt", "a b.pt", "x~", "x."],
)
def test_plain_names_are_returned(name):
    assert check_name(name) is name


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "is empty"),
        (".", "begins with '.'"),
        ("..", "begins with '.'"),
        (".hidden", "begins with '.'"),
        ("~root", "begins with '~'"),
        ("a/b", "has a separator"),
        ("/etc/passwd", "has a separator"),
        ("a\\b", "has a separator"),
        ("C:x", "has a drive"),
        ("a\0b", "has a control character"),
        ("a\nb", "has a control character"),
        ("a\x1b[2J", "has a control character"),
        ("a\x85b", "has a control character"),
        ("a\u2028b", "has a control character"),
        ("a\ud800", "cannot be encoded"),
        ("a" * 256, "has 256 bytes, of at most 255"),
        ("ä" * 128, "has 256 bytes, of at most 255"),
    ],
)
def test_other_names_are_refused(name, fault):
    with pytest.raises(
        ValueError, match=f"name should be the plain name of a file, but given .*, which {fault}"
    ):
        check_name(name)


def test_a_name_that_is_not_a_string_is_refused():
    with pytest.raises(TypeError, match="name should be a string, but given b'x'"):
        check_name(b"x")


@pytest.mark.parametrize("name", ["model.pt", "x" * 255, "ä" * 127, "€" * 85])
def test_temporary_names_are_short_and_new_each_time(name):
    one, other = temporary_name(name), temporary_name(name)
    assert one != other
    assert one.startswith(".")
    assert len(one.encode()) <= 255
    assert is_temporary(one)


@pytest.mark.parametrize(
    "name", ["model.pt", ".model.pt", "a.tmp", ".a.b.1.c.tmp", ".lock", "tmp1234"]
)
def test_other_names_are_not_temporary(name):
    assert not is_temporary(name)
    assert not owner_is_dead(name)


def name_of_a_dead_process():
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, temporary_name("x").encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        name = pipe.read()
    os.waitpid(pid, 0)
    return name


def test_the_owner_is_dead_if_its_process_has_ended():
    assert owner_is_dead(name_of_a_dead_process())


def test_the_owner_is_not_dead_while_it_runs():
    assert not owner_is_dead(temporary_name("x"))
    parent = temporary_name("x").replace(f".{os.getpid()}.", f".{os.getppid()}.")
    assert not owner_is_dead(parent)


def test_a_process_is_distinguished_from_an_earlier_one_with_its_pid(monkeypatch):
    name = temporary_name("x")
    monkeypatch.setattr(naming, "_TOKEN", "00000000")
    assert owner_is_dead(name)


def test_owners_on_other_hosts_are_not_considered_dead(monkeypatch):
    name = name_of_a_dead_process()
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    assert not owner_is_dead(name)


def test_a_process_of_another_user_is_alive(monkeypatch):
    def refuse(pid, signum):
        raise PermissionError

    name = name_of_a_dead_process()
    monkeypatch.setattr(os, "kill", refuse)
    assert not owner_is_dead(name)


def test_an_impossible_pid_is_dead():
    assert owner_is_dead(temporary_name("x").replace(f".{os.getpid()}.", ".9999999999."))
