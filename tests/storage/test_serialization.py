"""``torch.load(weights_only=True)`` loads all states that pass the check; others are refused."""

import datetime
import enum
import io
import math
import pathlib
import pickle
import threading
import types
from collections import Counter, OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ignite._core.torch_private import reads_bytearray
from ignite.storage import _serialization
from ignite.storage._objects import decode_objects
from ignite.storage._serialization import MAX_DEPTH, _EmptyBytes, check_storable, plain
from ignite.storage.snapshot import Snapshot

LOADED_BY_TORCH = "should be something that torch.load(weights_only=True) reads, but given a "


def there_and_back(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


class Level(enum.IntEnum):
    HIGH = 3


class Colour(enum.StrEnum):
    RED = "red"


class Rate(float):
    def __float__(self):
        return 0.0


class Named(dict):
    pass


class Series(list):
    pass


DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.complex64, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint16, torch.uint32, torch.uint64,
]  # fmt: skip
LAYOUTS = {
    "plain": lambda t: t,
    "transposed": lambda t: t.t(),
    "column": lambda t: t[:, 0],
    "rows": lambda t: t[1:],
    "every other": lambda t: t[:, ::2],
    "expanded": lambda t: t[:, :1].expand(-1, 5),
    "scalar": lambda t: t[0, 0],
    "empty": lambda t: t[:0],
    "windows": lambda t: t.view(-1).unfold(0, 3, 1),
    "bytes": lambda t: t.view(torch.uint8),
}
tensors = st.builds(
    lambda dtype, layout, seed: LAYOUTS[layout](
        torch.randint(0, 2, (3, 4), generator=torch.Generator().manual_seed(seed)).to(dtype)
    ),
    st.sampled_from(DTYPES),
    st.sampled_from(sorted(LAYOUTS)),
    st.integers(0, 9),
)
integers = st.integers() | st.integers(-(2**2000), 2**2000)
keys = st.one_of(
    st.none(), st.booleans(), integers, st.floats(allow_nan=False), st.text(), st.binary(),
    st.sampled_from([Level.HIGH, Colour.RED, np.int64(7), np.str_("s"), torch.float32, ("a", (1, b""))]),
)  # fmt: skip
leaves = keys | tensors | st.one_of(
    st.complex_numbers(), st.floats(), st.binary().map(bytearray), st.sets(keys),
    st.sampled_from([
        torch.Size([1, 2]), torch.device("cuda", 3), torch.strided, torch.sparse_csr, Rate(0.5), np.float32(0.1),
        np.float64(math.pi), np.bool_(True), np.uint64(2**63), np.complex64(1j), np.bytes_(b"x"), np.float16(2.0),
    ]),
)  # fmt: skip


def containers(children):
    dictionaries = st.dictionaries(keys, children, max_size=4)
    return st.one_of(
        st.lists(children, max_size=4), st.lists(children, max_size=4).map(tuple), dictionaries,
        st.lists(children, max_size=4).map(Series), dictionaries.map(Named), dictionaries.map(OrderedDict),
        dictionaries.map(lambda items: defaultdict(list, items)),
        st.dictionaries(keys, st.integers(), max_size=4).map(Counter),
        children.map(lambda child: [child, child]),
    )  # fmt: skip


states = st.recursive(leaves, containers, max_leaves=12)


def assert_same(found, expected):
    """Whether two states are bitwise equal; subclasses of Python's classes count as these."""
    if isinstance(expected, torch.Tensor):
        assert type(found) is torch.Tensor
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert (
            found.contiguous()
            .flatten()
            .view(torch.uint8)
            .equal(expected.contiguous().flatten().view(torch.uint8))
        )
    elif isinstance(expected, dict):
        assert type(found) is (dict if type(expected) is Named else type(expected))
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert type(found) in (list, tuple, torch.Size)
        assert isinstance(found, tuple) == isinstance(expected, tuple)
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            assert_same(*pair)
    else:
        if isinstance(expected, np.generic | enum.Enum):
            assert type(found) is type(expected)
        else:
            assert type(found) is _EmptyBytes or type(found).__module__ in ("builtins", "torch")
        if isinstance(expected, float):
            assert float.hex(found) == float.hex(expected)
        else:
            assert (
                repr(found) == repr(expected)
                if isinstance(expected, complex)
                else found == expected
            )


@given(states)
def test_a_state_that_passes_the_check_is_loaded_unchanged(state):
    check_storable(state)
    assert_same(decode_objects(there_and_back(plain(state))), state)


@given(states)
def test_a_snapshot_is_loaded_as_its_state(state):
    taken = Snapshot().take(state)
    assert_same(decode_objects(taken), state)
    assert_same(decode_objects(there_and_back(taken)), state)


@given(states)
def test_a_plain_state_is_a_separate_state(state):
    once = plain(state)
    assert_same(decode_objects(plain(once)), once)


ODD_TENSORS = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "csr": lambda: torch.eye(3).to_sparse_csr(),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "jagged": lambda: torch.nested.nested_tensor(
        [torch.ones(2), torch.ones(3)], layout=torch.jagged
    ),
    "meta": lambda: torch.empty(3, 2, device="meta"),
    "conj": lambda: torch.tensor([1 + 2j]).conj(),
    "imag of conj": lambda: torch.tensor([1 + 2j]).conj().imag,
    "parameter": lambda: nn.Parameter(torch.ones(2)),
    "buffer": lambda: nn.Buffer(torch.ones(2)),
    "result": lambda: torch.ones(2, requires_grad=True) * 2,
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
@pytest.mark.parametrize("store", [plain, Snapshot().take], ids=["plain", "snapshot"])
@pytest.mark.parametrize("kind", ODD_TENSORS)
def test_tensors_of_all_kinds_are_loaded(kind, store):
    tensor = ODD_TENSORS[kind]()
    check_storable(tensor)
    stored = store([tensor])[0]
    loaded = there_and_back(stored)
    assert not loaded.requires_grad
    assert loaded.layout == tensor.layout
    if kind != "meta":
        assert str(loaded.to_padded_tensor(0) if "ed" in kind else loaded.to_dense()) == str(
            (tensor.to_padded_tensor(0) if "ed" in kind else tensor.to_dense())
            .detach()
            .resolve_conj()
            .resolve_neg()
        )


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("store", [plain, Snapshot().take], ids=["plain", "snapshot"])
def test_quantized_tensors_are_loaded(store):
    for tensor in (
        torch.quantize_per_tensor(torch.randn(3), 0.1, 0, torch.qint8),
        torch.quantize_per_channel(
            torch.randn(3, 2), torch.ones(3), torch.zeros(3), 0, torch.quint8
        ),
    ):
        assert there_and_back(store(tensor)).equal(tensor)


def test_attributes_and_hooks_of_tensors_are_dropped():
    weight = nn.Parameter(torch.ones(2))
    weight.hook = weight.register_hook(lambda grad: grad)
    weight.lock = threading.Lock()
    assert there_and_back(plain({"weight": weight}))["weight"].tolist() == [1, 1]


def test_plain_copies_no_tensor_unless_torch_cannot_save_it():
    weight = nn.Parameter(torch.ones(4))
    state = plain(
        {
            "weight": weight,
            "same": weight,
            "view": weight.detach()[:2],
            "bits": weight.detach().view(torch.int32),
        }
    )
    assert state["weight"] is state["same"]
    assert (
        state["weight"].data_ptr()
        == state["view"].data_ptr()
        == weight.data_ptr()
        != state["bits"].data_ptr()
    )
    there_and_back(state)
    tensor = torch.ones(2)
    assert plain([tensor])[0] is tensor


def test_versions_of_modules_are_kept():
    model = nn.BatchNorm1d(2)
    for store in (plain, Snapshot().take):
        assert there_and_back(store(model.state_dict()))._metadata == model.state_dict()._metadata


def test_shared_containers_stay_shared():
    shared = {"a": [1]}
    state = there_and_back(plain([shared, shared]))
    assert state[0] is state[1]


def test_optimizers_of_torch_are_storable():
    parameter = nn.Parameter(torch.ones(2))
    for kind in (
        torch.optim.SGD,
        torch.optim.Adam,
        torch.optim.Adagrad,
        torch.optim.LBFGS,
        torch.optim.Adafactor,
    ):
        optimizer = kind([parameter])
        check_storable(optimizer.state_dict())
        check_storable(
            torch.optim.lr_scheduler.OneCycleLR(torch.optim.SGD([parameter]), 0.1, 10).state_dict()
        )


class Tagged(torch.Tensor):
    pass


Point = namedtuple("Point", "x y")
REFUSED = {
    "function": (print, "builtins.builtin_function_or_method: save tensors, plain"),
    "lambda": (
        lambda: 0,
        "builtins.function: save tensors, plain numbers and strings instead; or, if unpickling",
    ),
    "lock": (threading.Lock(), "_thread.lock: "),
    "class": (int, "builtins.type: "),
    "object": (
        types.MappingProxyType({}),
        r"builtins.mappingproxy: .* torch.serialization.add_safe_globals\(\[type\(x\)\]\); or save with "
        r"DiskSaver\(folder, weights_only=False\) and load with weights_only=False$",
    ),
    "structured array": (
        np.zeros(1, dtype=[("a", "i4")]),
        "numpy.ndarray: save the fields of the structured array instead, {name: x",
    ),
    "array of strings of any length": (
        np.array(["a"], dtype=np.dtypes.StringDType()),
        r"numpy.ndarray: its dtype should be one of .* is StringDType\(\): save x.tolist\(\) instead$",
    ),
    "masked array": (np.ma.ones(2), r"numpy.ma.MaskedArray: save numpy.asarray\(x\)"),
    "namedtuple": (
        namedtuple("Local", "x")(1),
        r"Local: its class should be importable .* save tuple\(x\) instead$",
    ),
    "time zone": (
        datetime.datetime(2024, 1, 1, tzinfo=type("Zone", (datetime.tzinfo,), {})()),
        r"datetime.datetime: its time zone should be .*: save x.astimezone\(datetime.timezone.utc\) instead$",
    ),
    "path": (
        type("Own", (pathlib.PurePosixPath,), {})("a"),
        r"Own: save pathlib.Path\(x\) instead$",
    ),
    "generator": (torch.Generator(), r"torch._C.Generator: save its get_state\(\)$"),
    "module": (nn.Linear(1, 1), "torch.nn.modules.linear.Linear: "),
    "tensor of a class": (torch.ones(2).as_subclass(Tagged), "Tagged: "),
    "lazy parameter": (nn.UninitializedParameter(), "UninitializedParameter: run a batch"),
    "lazy buffer": (nn.UninitializedBuffer(), "UninitializedBuffer: run a batch"),
    "record": (np.zeros(1, dtype=[("a", "i4")])[0], "numpy.void: save the fields"),
    "memory format": (torch.channels_last, "torch.memory_format: "),
    "enumeration": (
        enum.Enum("Kind", "A").A,
        "Kind: its class should be importable .*: save x.value instead$",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_values_that_could_not_be_loaded_are_refused_with_path_and_advice(kind):
    value, message = REFUSED[kind]
    state = {"optimizer": {"state": [{"hook": value}]}}
    start = r"^state\['optimizer'\]\['state'\]\[0\]\['hook'\] should be something that torch.load\(weights_only=True\)"
    for check in (check_storable, plain, Snapshot().take):
        with pytest.raises(TypeError, match=f"{start} reads, but given a .*{message}"):
            check(state)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": 2**2032}, r"^state\['a'\] should be an integer of at most 2032 bits, but given 2033$"),
        ({print: 1}, r"^state\[the key <built-in function print>\] should be something"),
        ({threading.Lock(): 1}, r"^state\[the key <_thread.lock>\] should be something"),
        ({torch.ones(1): 1}, r"the key <torch.Tensor>\] should be a number, a string or a tuple, but given a tensor"),
        ({Colour.RED: {print: 1}}, r"^state\[<.*Colour>\]\[the key <built-in function print>\] should be"),
        ({"x" * 100: print}, r"^state\['x{56}\.\.\.\] should be"),
        ([{1, frozenset([print])}], r"^state\[0\]\[the key frozenset.*\]\[the key <built-in.*\] should be"),
        (torch.randn(2).to_mkldnn(), "^state should be a tensor with a storage, but given one of mkldnn"),
        (torch.empty(2, dtype=torch.uint4), "^state should have a dtype of whole bytes, but given torch.uint4"),
    ],
)  # fmt: skip
def test_values_and_keys_that_could_not_be_loaded_are_refused(state, message):
    with pytest.raises(TypeError, match=message):
        check_storable(state)


def test_a_refused_item_of_a_long_list_is_named():
    numbers = [*range(100_000), 2**3000, "text"]
    with pytest.raises(TypeError, match=r"^state\['n'\]\[100000\] should be an integer of at most"):
        check_storable({"n": numbers})
    with pytest.raises(TypeError, match=r"^state\[100001\] should be something that"):
        check_storable((*range(100_000), None, print))
    assert plain([*range(5), None, 2**2000]) == [0, 1, 2, 3, 4, None, 2**2000]


def test_the_path_starts_with_that_of_the_caller():
    with pytest.raises(TypeError, match=r"^state\['model'\]\[0\] should be"):
        check_storable([print], "['model']")


def test_attributes_of_ordered_dictionaries_are_checked_too():
    state = OrderedDict()
    state._metadata = {"": print}
    with pytest.raises(TypeError, match=r"^state\._metadata\[''\] should be"):
        check_storable(state)


def test_keys_that_are_equal_as_plain_values_are_refused():
    class Key(str):
        __hash__ = object.__hash__

        def __eq__(self, other):
            return self is other

    with pytest.raises(TypeError, match="^state should have keys that differ as plain values, too"):
        plain({Key("a"): 1, Key("a"): 2})


def test_a_state_that_contains_itself_is_refused():
    state = {"a": []}
    state["a"].append([state])
    with pytest.raises(
        TypeError, match=r"^state\['a'\]\[0\]\[0\] should not contain itself, but given a bu.*dict"
    ):
        check_storable(state)


def test_depth_is_limited_and_what_is_within_the_limit_is_loaded():
    def nested(depth):
        state = leaf = {}
        for _ in range(depth):
            leaf["a"] = leaf = OrderedDict()
        return state

    there_and_back(plain(nested(MAX_DEPTH)))
    with pytest.raises(
        TypeError, match="should be at most 100 containers deep, but given one that is deeper"
    ):
        check_storable(nested(100_000))


def test_a_state_with_a_million_paths_is_converted_once():
    state = []
    for _ in range(90):
        state = [state, state]
    check_storable(state)


class Safe:
    def __init__(self, value):
        self.value = value


def test_objects_of_safe_classes_pass_if_their_contents_pass():
    state = {"safe": Safe(torch.ones(2))}
    with pytest.raises(TypeError, match="add_safe_globals"):
        check_storable(state)
    with torch.serialization.safe_globals([Safe]):
        assert plain(state)["safe"] is state["safe"]
        taken = Snapshot().take(state)["safe"]
        state["safe"].value.fill_(2)
        assert taken.value.tolist() == [1, 1]
        assert there_and_back(taken).value.tolist() == [1, 1]
        with pytest.raises(
            TypeError,
            match=r"^state\['safe'\] should be something that .* is marked as safe but fails to load.* range",
        ):
            check_storable({"safe": Safe(range(3))})
    with torch.serialization.safe_globals([Point, (Tagged, "elsewhere.Tagged")]):
        assert there_and_back(plain(Point(1, 2))) == (1, 2)
        check_storable(torch.ones(2).as_subclass(Tagged))


def test_a_bytearray_is_refused_by_a_loader_that_cannot_read_it(monkeypatch):
    """torch 2.4 wrote it, and refused to load it."""
    monkeypatch.setattr(_serialization, "reads_bytearray", lambda: False)
    for state in ({"a": bytearray(b"x")}, {"a": [1, bytearray()]}):
        with pytest.raises(
            TypeError, match=r"state\['a'\].* but given a builtins.bytearray: save bytes"
        ):
            check_storable(state)


def test_whether_a_bytearray_is_read_is_tried(monkeypatch):
    def refuse(*args, **kwargs):
        raise pickle.UnpicklingError("Unsupported global")

    reads_bytearray.cache_clear()
    monkeypatch.setattr(torch, "load", refuse)
    assert not reads_bytearray()
    monkeypatch.undo()
    reads_bytearray.cache_clear()
    assert reads_bytearray()
