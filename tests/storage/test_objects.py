"""Objects of well-known classes in states keep their class."""

import argparse
import collections
import datetime
import decimal
import enum
import fractions
import io
import pathlib
import pickle
import random
import subprocess
import sys
import types
import typing
import uuid
import warnings
import zoneinfo

import numpy as np
import pytest
import torch
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from torch import nn

from ignite.exceptions import CheckpointError
from ignite.storage import (
    Note,
    Snapshot,
    decode_objects,
    load,
    load_latest,
    open_place,
    plain,
    restore,
    save,
)
from ignite.storage import _objects as objects
from ignite.storage.sharded import load_sharded, save_sharded


class Colour(enum.Enum):
    RED = (255, 0, 0)


class Level(enum.IntEnum):
    HIGH = 3


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


class Point(typing.NamedTuple):
    x: typing.Any
    y: typing.Any = 0

    class Inner(enum.StrEnum):
        A = "a"


DTYPES = [
    "?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "e", "f", "d", "g", "F", "D", "G",
    ">i2", ">f4", ">c16", "<u8", "M8[ns]", "M8[D]", "m8[25s]", ">M8[us]", "M8", "U3", ">U2", "S4", "V5",
]  # fmt: skip
LAYOUTS = {
    "whole": lambda x: x,
    "transposed": lambda x: x.T,
    "reversed": lambda x: x[::-1],
    "every other": lambda x: x[:, ::2],
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "zero-dimensional": lambda x: x[1, 2, ...].reshape(()),
    "empty": lambda x: x[:0],
    "read-only": lambda x: np.require(x.copy(), requirements="C").view(),
}


def array_of(dtype, layout, seed):
    """An array of random bits; all NaNs and NaTs occur."""
    dtype = np.dtype(dtype)
    if dtype.kind == "U":
        x = np.array([chr(65 + (seed * i) % 60) * (i % 4) for i in range(12)], dtype)
    elif dtype.kind == "b":
        x = np.random.RandomState(seed).randint(0, 2, 12).astype(bool)
    elif dtype.char in "gG":  # padding has no value
        x = np.random.RandomState(seed).randn(12).astype(dtype) / 3
    else:
        x = np.frombuffer(np.random.RandomState(seed).bytes(12 * dtype.itemsize), dtype).copy()
    x = LAYOUTS[layout](x.reshape(3, 4))
    if layout == "read-only":
        x.flags.writeable = False
    return x


arrays = st.builds(
    array_of, st.sampled_from(DTYPES), st.sampled_from(sorted(LAYOUTS)), st.integers(0, 99)
)
scalars = arrays.map(lambda x: x.reshape(-1)[-1] if x.size else np.float16(2))
zones = st.one_of(
    st.none(),
    st.just(datetime.UTC),
    st.timedeltas(datetime.timedelta(hours=-23), datetime.timedelta(hours=23)).map(datetime.timezone),
    st.just(datetime.timezone(datetime.timedelta(hours=2), "CEST")),
    st.sampled_from(["Europe/Paris", "UTC", "America/Argentina/Buenos_Aires"]).map(zoneinfo.ZoneInfo),
)  # fmt: skip
keys = st.one_of(
    st.integers(), st.text(max_size=3), st.binary(max_size=3),
    st.datetimes(timezones=zones), st.dates(), st.times(timezones=zones), st.timedeltas(), zones,
    st.decimals(allow_nan=False), st.fractions(), st.uuids(),
    st.lists(st.sampled_from(["a", "..", "ä b", "\udcff"])).map(lambda parts: pathlib.Path(*parts)),
    st.sampled_from([
        pathlib.PureWindowsPath("C:/x"), pathlib.PurePosixPath("/x"), Colour.RED, Level.HIGH, Mode.WRITE, Point.Inner.A,
        range(2, 9, 3), np.int64(3), np.float32(0.1), np.longlong(7), np.str_("a\0"), np.bytes_(b"a\0"), np.bool_(True),
        np.datetime64("NaT", "s"), np.dtype("<f4"), objects.TAG, (objects.TAG,), (objects.TAG, "tuple", 1),
        (np.str_(objects.TAG), 2),
        Point(1), frozenset([(1, pathlib.Path("b"))]), Point(objects.TAG, "datetime.date"),
    ]),
)  # fmt: skip
leaves = st.one_of(
    keys, arrays, scalars, st.sets(keys, max_size=3), st.frozensets(keys, max_size=3),
    st.sampled_from([decimal.Decimal("NaN"), decimal.Decimal("-sNaN12"), slice(None, 3), None, 1.5, bytearray(b"x")]),
    st.integers(0, 9).map(lambda i: torch.arange(i)),
)  # fmt: skip


def containers(children):
    lists = st.lists(children, max_size=3)
    dictionaries = st.dictionaries(keys, children, max_size=3)
    named = st.dictionaries(st.sampled_from("abc"), children, max_size=3)
    return st.one_of(
        lists, lists.map(tuple), dictionaries, dictionaries.map(collections.OrderedDict),
        st.builds(collections.deque, lists, st.sampled_from([None, 2, 5])),
        dictionaries.map(lambda items: collections.defaultdict(list, items)),
        dictionaries.map(lambda items: collections.defaultdict(None, items)),
        named.map(lambda items: types.SimpleNamespace(**items)),
        named.map(lambda items: argparse.Namespace(**items)),
        st.builds(Point, children, children),
        lists.map(lambda items: (objects.TAG, *items)),
        lists.map(lambda items: (objects.TAG, "numpy.ndarray", *items)),
        lists.map(as_objects),
        children.map(lambda child: [child, child]),
    )  # fmt: skip


def as_objects(items):
    array = np.empty((1, len(items)), dtype=object)
    for i, item in enumerate(items):
        array[0, i] = item
    return array


states = st.recursive(leaves, containers, max_leaves=10)


def assert_same(found, expected):  # noqa: C901 - one branch for each kind
    """Whether two states are equal in classes and bits."""
    assert type(found) is type(expected) or {type(found), type(expected)} == {bytes}
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert found.dtype.str == expected.dtype.str
        assert found.shape == expected.shape
        assert found.flags.owndata or found.base.flags.owndata
        assert found.flags.writeable
        if expected.dtype == object:
            assert_same(found.tolist(), expected.tolist())
        elif expected.dtype.char in "gG":
            assert np.array_equal(found, expected)
        else:
            assert found.tobytes() == expected.tobytes()
    elif isinstance(expected, np.generic):
        assert found.dtype == expected.dtype
        if expected.dtype.kind in "US":
            assert str(found) == str(expected)
        elif expected.dtype.char in "gG":
            assert found == expected
        else:
            assert found.tobytes() == expected.tobytes()
    elif isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        assert found.tolist() == expected.tolist()
    elif isinstance(expected, dict):
        assert_same(list(found), list(expected))
        assert_same(list(found.values()), list(expected.values()))
        assert getattr(found, "default_factory", 0) is getattr(expected, "default_factory", 0)
    elif isinstance(expected, list | tuple | collections.deque):
        assert getattr(found, "maxlen", None) == getattr(expected, "maxlen", None)
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            assert_same(*pair)
    elif isinstance(expected, set | frozenset):
        assert found == expected
        assert collections.Counter(map(type, found)) == collections.Counter(map(type, expected))
    elif isinstance(expected, types.SimpleNamespace | argparse.Namespace):
        assert_same(vars(found), vars(expected))
    elif isinstance(expected, decimal.Decimal):
        assert str(found) == str(expected)
    elif isinstance(expected, datetime.datetime | datetime.time):
        assert repr(found) == repr(expected)  # the zone and the fold, too
        assert pickle.dumps(found) == pickle.dumps(expected)
    else:
        assert found == expected


def torch_reads(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@given(states)
@example(datetime.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Paris")))
@example(np.array([np.float32("nan")]).view("i4") | np.int32(1))
@example({np.float64("nan"): 1, (objects.TAG, "x"): {(objects.TAG,)}})
@example([np.zeros((0, 2), "U3"), np.zeros((2, 0), "M8[s]"), np.array("x"), np.array(3.0)])
def test_a_state_is_loaded_as_what_it_was(state):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written = torch_reads(plain(state))
        taken = torch_reads(Snapshot().take(state))
        assert_same(decode_objects(written), state)
        assert_same(decode_objects(taken), state)


@given(st.dictionaries(st.text(max_size=2), states, max_size=2))
def test_files_return_what_was_saved(tmp_path_factory, state):
    folder = tmp_path_factory.mktemp("states")
    place = open_place(folder)
    save(place, "a.pt", state, None)
    assert_same(load((place, "a.pt")).state, state)
    save(place, "b_1.pt", Snapshot().take(state), Note(step=1), is_plain=True)
    assert_same(load_latest(place).state, state)


@settings(max_examples=8, phases=[Phase.explicit, Phase.generate])
@given(st.lists(leaves, max_size=4), arrays, st.datetimes(timezones=zones))
def test_sharded_states_return_what_was_saved(tmp_path_factory, values, array, moment):
    def state(values, array, moment):
        return {
            "values": tuple(values),
            "parts": [{"array": array, "weight": torch.ones(2)}, moment],
            "counts": collections.defaultdict(list, a=[array]),
            "options": types.SimpleNamespace(path=pathlib.Path("x"), since=moment),
        }

    folder = tmp_path_factory.mktemp("states")
    save_sharded(folder, "step_1", state(values, array, moment))
    found = state([], np.zeros(3), None)
    load_sharded(folder / "step_1", found)
    assert_same(found, state(values, array, moment))


def test_objects_that_occur_twice_are_one_and_others_share_nothing():
    base = np.arange(6.0)
    shared = collections.deque([base])
    state = {
        "a": base,
        "b": base,
        "view": base[1:],
        "q": shared,
        "r": [shared],
        "t": torch.from_numpy(base),
    }
    for store in (plain, Snapshot().take):
        found = decode_objects(torch_reads(store(state)))
        assert found["a"] is found["b"] is found["q"][0]
        assert found["q"] is found["r"][0]
        found["a"][:] = -1
        assert found["view"].tolist() == [1, 2, 3, 4, 5]
        assert found["t"].tolist() == base.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_snapshot_does_not_change_with_the_arrays():
    array, items = np.ones(3), collections.deque([1])
    taken = Snapshot().take({"array": array, "dates": array.astype("M8[s]"), "items": items})
    array[:] = 7
    items.append(2)
    found = decode_objects(taken)
    assert found["array"].tolist() == [1, 1, 1]
    assert found["items"] == collections.deque([1])


def test_states_without_objects_cost_no_call(tmp_path, monkeypatch):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2)).sum().backward()
    optimizer.step()
    state = {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "losses": [0.1] * 1000,
        "best": (1, ("a", None)), "names": {"a", "b"}, "size": torch.Size([1]), "counts": collections.Counter("aab"),
    }  # fmt: skip
    calls = []
    for name in ("encode", "_name_of", "_is_marked_safe"):
        monkeypatch.setattr(
            f"ignite.storage._serialization.{name}", lambda *_, n=name: calls.append(n)
        )
    monkeypatch.setattr(
        "ignite.storage.reader.decode_objects", lambda state: calls.append("decode")
    )
    place = open_place(tmp_path)
    save(place, "a.pt", state, Note(step=3))
    save(place, "b.pt", Snapshot().take(state), None, is_plain=True)
    assert load((place, "a.pt")).state["epoch"] == load((place, "b.pt")).state["epoch"] == 3
    assert calls == []
    assert decode_objects(state) is state


def test_only_containers_of_objects_are_copied():
    state = torch_reads(
        plain({"model": nn.Linear(1, 1).state_dict(), "since": [datetime.date(2024, 2, 29)]})
    )
    found = decode_objects(state)
    assert found["model"] is state["model"]
    assert found["since"] == [datetime.date(2024, 2, 29)]
    assert state["since"] == [(objects.TAG, "datetime.date", "2024-02-29")]


def test_attributes_of_state_dictionaries_stay():
    state = nn.BatchNorm1d(2).state_dict()
    state["since"] = datetime.date(2024, 1, 1)
    found = decode_objects(torch_reads(plain(state)))
    assert found._metadata == state._metadata
    assert found["since"] == state["since"]


def test_a_state_that_contains_itself_or_is_deep_is_searched_without_recursion():
    state = {"a": 1}
    state["self"] = state
    assert decode_objects(state) is state
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert decode_objects(deep) is deep
    while deep:  # without the recursion of the destructor
        deep = deep.pop()


def test_objects_are_rolled_back_as_what_they_were():
    class Keeper:
        def __init__(self):
            self.state = {"history": np.arange(3), "since": datetime.date(2024, 1, 1)}

        def state_dict(self):
            return self.state

        def load_state_dict(self, state):
            self.state = state

    class Refusing(Keeper):
        def load_state_dict(self, state):
            if "history" not in state:
                raise RuntimeError("no history")
            self.state = state

    keeper, refusing = Keeper(), Refusing()
    before = keeper.state
    with pytest.raises(RuntimeError, match="no history"):
        restore({"a": keeper, "b": refusing}, {"a": {"new": 1}, "b": {}})
    assert keeper.state is not before
    assert_same(keeper.state, before)


def test_classes_that_are_not_loaded_are_neither_imported_nor_called(caplog):
    def tagged(*parts):
        return {"a": (objects.TAG, *parts)}

    module = "xml.dom.pulldom"
    assert module not in sys.modules
    for parts in (
        ("enum.Enum", module, "DOMEventStream", "A", None),
        ("collections.namedtuple", module, "X", (1, 2)),
        ("collections.namedtuple", "builtins", "tuple", (1, 2)),
        ("collections.namedtuple", Point.__module__, "Point", (1, 2, 3)),
        ("enum.Enum", "subprocess", "Popen", "A", None),
    ):
        with pytest.raises(CheckpointError, match="no such class .* is imported: import it before"):
            decode_objects(tagged(*parts))
    assert module not in sys.modules
    assert decode_objects(tagged("enum.Enum", module, "X", "HIGH", 3)) == {"a": 3}
    assert "xml.dom.pulldom.X.HIGH in a checkpoint is loaded as 3" in caplog.text
    with pytest.raises(CheckpointError, match="Popen"):
        decode_objects(tagged("collections.defaultdict", "Popen", {}))


DAMAGED = {
    "unknown": ("a.b", 1),
    "no name": (None,),
    "unhashable": ([],),
    "pointers": ("numpy.ndarray", "O", torch.zeros(8).byte(), (1,), "C"),
    "fields": ("numpy.ndarray", "i4,O", torch.zeros(12).byte(), (1,), "C"),
    "too large": ("numpy.ndarray", "<f8", torch.zeros(8).byte(), (10**12,), "C"),
    "negative": ("numpy.ndarray", "<f8", torch.zeros(8).byte(), (-1, -1), "C"),
    "another dtype": ("numpy.ndarray", "<f8", torch.zeros(2)),
    "no array": ("numpy.ndarray", "<f8", [1.0]),
    "many items": ("numpy.ndarray of objects", (10**12,), [1]),
    "number": ("numpy.generic", "O", "00" * 8),
    "short number": ("numpy.generic", "<f8", "00"),
    "zone": ("zoneinfo.ZoneInfo", "../../etc/passwd"),
    "zone in a package": ("zoneinfo.ZoneInfo", "..os"),
    "date": ("datetime.date", "2024-02-30"),
    "moment": ("datetime.datetime", "x", 0, None),
    "timedelta": ("datetime.timedelta", 10**12, 0, 0),
    "deque": ("collections.deque", -1, []),
    "path": ("pathlib.Path", False, 3),
    "too many parts": ("pathlib.Path", False, "a", "b"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_tuples_are_an_error_of_the_checkpoint(kind, tmp_path):
    state = {"a": (objects.TAG, *DAMAGED[kind])}
    with pytest.raises(CheckpointError, match="^it (holds a|should hold)"):
        decode_objects(state)
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="a.pt cannot be loaded: it (holds a|should hold)"):
        load(tmp_path / "a.pt")


def test_an_object_of_numpy_without_numpy_is_an_error_of_the_checkpoint(tmp_path):
    save(open_place(tmp_path), "a.pt", {"a": np.ones(2)}, None)
    program = (
        "import sys; sys.modules['numpy'] = None\n"
        "from ignite.storage import load\n"
        "try: load(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "a.pt"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "CheckpointError" in shown.stdout
    assert "numpy" in shown.stdout


class Anything:
    """An object of no known class."""

    def __init__(self, value):
        self.value = value


@pytest.mark.parametrize("background", [False, True])
def test_other_objects_are_saved_and_loaded_if_both_sides_ask_for_it(tmp_path, background):
    place, state = (
        open_place(tmp_path),
        {"a": [Anything(torch.ones(2))], "since": datetime.date(2024, 1, 1)},
    )
    with pytest.raises(
        TypeError, match=r"^state\['a'\]\[0\] should be .*Anything: .*weights_only=False"
    ):
        save(place, "a.pt", state, None)
    assert place.names() == []
    if background:
        written = Snapshot().take(state, weights_only=False)
        state["a"][0].value.fill_(5)
    else:
        written = state
    save(place, "a.pt", written, Note(step=1), is_plain=background, weights_only=False)
    message = r"a.pt cannot be loaded safely: it refers to .*Anything, which .* load it with weights_only=False"
    with pytest.raises(CheckpointError, match=message):
        load((place, "a.pt"))
    found = load((place, "a.pt"), weights_only=False)
    assert found.note.step == 1
    assert found.state["since"] == datetime.date(2024, 1, 1)
    assert type(found.state["a"][0]) is Anything
    assert found.state["a"][0].value.tolist() == [1, 1]


def test_what_cannot_be_pickled_leaves_the_file_unchanged(tmp_path):
    place = open_place(tmp_path)
    save(place, "a.pt", {"x": 1}, None)
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        save(place, "a.pt", {"x": lambda: 0}, None, weights_only=False)
    assert load((place, "a.pt")).state == {"x": 1}
    assert place.names() == ["a.pt"]


def test_a_damaged_file_is_not_loaded_without_weights_only_either(tmp_path):
    place = open_place(tmp_path)
    save(place, "a.pt", {"x": Anything(torch.ones(2000))}, None, weights_only=False)
    content = bytearray((tmp_path / "a.pt").read_bytes())
    content[random.Random(0).randrange(3000, 8000)] ^= 1
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(CheckpointError):
        load((place, "a.pt"), weights_only=False)


def test_uuids_keep_their_value():
    one = uuid.UUID(int=2**127 + 1)
    assert decode_objects(torch_reads(plain([one, fractions.Fraction(1, 3)]))) == [
        one,
        fractions.Fraction(1, 3),
    ]
