"""A pickle cannot access or allocate memory outside of its file, or overflow the stack."""

import io
import pickle
import struct
import tracemalloc

import pytest
import torch

from ignite.exceptions import CheckpointError
from ignite.storage import _pickle_safety
from ignite.storage._archive import Archive
from ignite.storage._pickle_safety import check_calls as check
from ignite.storage._pickle_safety import check_legacy_calls

MB = 1 << 20
SIZES = {"data/0": 16, "data/1": 16, "data/17": 4, "data.pkl": 100}


def check_calls(pickled, file_size, sizes=SIZES):
    check(pickled, file_size, sizes)


def check_file(content):
    archive = Archive(io.BytesIO(content))
    check_calls(archive.content("data.pkl", MB), len(content), archive.sizes())


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return pickle.dumps(value, 2)[2:-1]


def called(module, name, *arguments, how=b"R"):
    return b"c" + f"{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"t" + how


def pickled(body):
    return b"\x80\x02" + body + b"."


def numbers(*values):
    return b"(" + b"".join(map(number, values)) + b"t"


KEY = text("0")


def reference(num=4, kind="FloatStorage", key=KEY, tag="storage", more=b""):
    return (
        b"("
        + text(tag)
        + f"ctorch\n{kind}\n".encode()
        + key
        + text("cpu")
        + number(num)
        + more
        + b"tQ"
    )


STORAGE = reference()


def tensor(stored=STORAGE, offset=0, size=(4,), stride=(1,), name="_rebuild_tensor_v2", more=b""):
    return called(
        "torch._utils", name, stored, number(offset), numbers(*size), numbers(*stride), b"\x89",
        called("collections", "OrderedDict"), more,
    )  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        called("torch", "Tensor", number(10**9)),
        called("torch", "Tensor", number(10**9), how=b"\x81"),
        called("torch", "FloatTensor", called("torch", "Size", b"(" + number(10**9) + b"t")),
        called("torch.cuda", "FloatTensor", number(10**9)),
        called("builtins", "bytearray", number(10**10)),
        called("__builtin__", "bytearray", number(10**10)),
        called("builtins", "bytearray", called("torch", "Size", b"(" + number(10**9) + b"t")),
        called("torch.storage", "UntypedStorage", number(10**10)),
        called("torch.storage", "TypedStorage", number(10**10)),
        called("torch._utils", "_rebuild_qtensor", STORAGE, number(0), b"(" + number(10**9) + b"t"),
        called(
            "torch._utils",
            "_rebuild_qtensor",
            STORAGE,
            number(0),
            b"(" + number(-5) * 2 + number(10**9) + b"t",
        ),
        called(
            "torch._tensor",
            "_rebuild_from_type_v2",
            b"ctorch\nFloatTensor\n",
            b"N",
            b"(" + number(10**9) + b"t",
            b"N",
        ),
        # The class is memoized, and called later.
        b"ctorch\nTensor\nq\x05h\x05(" + number(10**9) + b"tR",
    ],
)
def test_calls_that_allocate_more_memory_than_the_file_has_are_refused(body):
    with pytest.raises(
        CheckpointError, match="loading it would allocate more memory for .* than the file has"
    ):
        check_calls(pickled(body), MB)


@pytest.mark.parametrize(
    "body",
    [b")" + b"\x85" * 6000, b")" * 9000 + b"\x86" * 8000, b"}" + b")" + b"\x85" * 9000 + b"Ns"],
)
def test_tuples_that_are_nested_too_deeply_are_refused(body):
    with pytest.raises(CheckpointError, match="nested at most 1000 deep"):
        check_calls(pickled(body), MB)


@pytest.mark.parametrize(
    "arguments", [(text("x"), text("bz2_codec")), (text("x"),), (text("x"), b"N")]
)
def test_bytes_in_codecs_that_would_be_imported_are_refused(arguments):
    with pytest.raises(CheckpointError, match="in another encoding than latin1"):
        check_calls(pickled(called("_codecs", "encode", *arguments)), MB)


@pytest.mark.parametrize("body", [b"\nTensor\n", b"h\x07" + b"\x85" * 6000, b"X\xff" + b"t" * 6000])
def test_damaged_pickles_are_refused(body):
    with pytest.raises(CheckpointError, match="its pickle is damaged"):
        check_calls(pickled(body), MB)


def state():
    model = torch.nn.Linear(3, 2)
    tensor_with_more = torch.zeros(2)
    tensor_with_more.colour = "red"
    return {
        "bytes": [b"abc", b"\xff", bytearray(b"abc"), bytearray()],
        "tensors": [
            torch.ones(2, dtype=torch.uint16),
            torch.ones(2).to(torch.float8_e4m3fn),
            tensor_with_more,
        ],
        "sparse": torch.eye(2).to_sparse(),
        "others": [
            {1, 2},
            3j,
            torch.Size([1, 2]),
            torch.float16,
            2**70,
            -1,
            0.5,
            None,
            True,
            ("a", ("b", ())),
        ],
        "model": model.state_dict(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "optimizer": torch.optim.Adam(model.parameters()).state_dict(),
        "Tensor": "torch\nTensor\n",  # looks like a call
        "history": [i % 3 if i % 2 else i / 7 for i in range(5000)],
        "epochs": dict.fromkeys(range(3000)),
    }


def saved(state, **options):
    file = io.BytesIO()
    torch.save(state, file, **options)
    return file.getvalue()


def test_pickles_of_torch_pass():
    check_file(saved(state()))


def dtypes():
    found = {value for value in vars(torch).values() if isinstance(value, torch.dtype)}
    return sorted(found, key=str)


@pytest.mark.filterwarnings(
    "ignore:.*uantize:UserWarning", "ignore:.*omplex.* support is experimental:UserWarning"
)
def test_tensors_of_all_dtypes_pass():
    passed = set()
    for dtype in dtypes():
        try:
            content = saved(torch.empty(3, 5, dtype=dtype)[1:].T)
        except (RuntimeError, TypeError, NotImplementedError, KeyError):
            continue  # has no tensors, or only quantized ones
        check_file(content)
        passed.add(str(dtype).removeprefix("torch."))
    assert {"float32", "bool", "complex128", "uint16", "float8_e5m2", "uint64"} <= passed
    assert len(passed) >= 20


@pytest.mark.filterwarnings("ignore:.*uantize:UserWarning")
def test_quantized_tensors_pass():
    for dtype in (torch.quint8, torch.qint8, torch.qint32):
        check_file(saved(torch.quantize_per_tensor(torch.ones(5, 3), 0.1, 0, dtype)))
    check_file(
        saved(torch.quantize_per_channel(torch.ones(5, 5), torch.ones(5), torch.zeros(5), 0, torch.quint4x2))
    )  # fmt: skip


def test_views_of_one_storage_pass():
    empty, whole = torch.empty(0), torch.zeros(4, 6, dtype=torch.uint8)
    views = [whole[1:3, 2:], whole.view(torch.uint16), whole.expand(3, 4, 6), whole[4:], whole.T]
    check_file(saved([*views, empty, empty.view(torch.int32), torch.zeros(5).untyped_storage()]))
    check_file(saved([torch.zeros(2, 3).as_strided((9, 2), (0, 5)), torch.zeros(0, 5)]))


# What torch loads with a storage, or memory, of another size than its entry of the file: 2.9 the sizes,
# all versions the dtypes. No version is asked here.
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (reference(8), "should have 32 bytes, as its pickle says, but has 16"),
        (reference(2), "should have 8 bytes, as its pickle says, but has 16"),
        (reference(0), "should have 0 bytes, as its pickle says, but has 16"),
        (reference(-4), "is not one that torch writes"),
        (reference(2**62), "as its pickle says, but has 16"),
        (reference(4, "DoubleStorage"), "should have 32 bytes"),
        (reference(4, "ByteStorage"), "should have 4 bytes"),
        (reference(17, "UntypedStorage"), "should have 17 bytes"),
        (reference(17, "QUInt4x2Storage"), "should have 17 bytes"),
        (reference(4, "Tensor"), "is not one that torch writes"),
        (reference(key=text("7")), "its storage '7' is missing"),
        (reference(key=text("../data.pkl")), "its storage '../data.pkl' is missing"),
        (reference(key=number(0)), "is not one that torch writes"),
        (reference(tag="module"), "is not one that torch writes"),
        (reference(more=b"N"), "is not one that torch writes"),
        (b"NQ", "is not one that torch writes"),
        (b"(" + reference() + reference(2, "DoubleStorage") + b"t", "'0' has two sizes"),
        (b"(" + reference() + reference(8) + b"t", "'0' has two sizes"),
    ],
)
def test_storages_that_are_not_as_large_as_their_part_of_the_file_are_refused(body, message):
    with pytest.raises(CheckpointError, match=message):
        check_calls(pickled(body), MB)


OUTSIDE = [
    {"size": (5,)},
    {"size": (2, 2), "stride": (3, 1)},
    {"size": (1,), "offset": 4},
    {"size": (4,), "offset": 1},
    {"offset": -1},
    {"size": (-4,)},
    {"stride": (-1,), "offset": 3},
    {"size": (2**62, 4), "stride": (4, 1)},
    {"size": (2, 3), "stride": (2**62, 2**62)},
    {"size": (1,), "offset": 2**63 - 1},
    {"size": (2,), "stride": (1, 1)},
    {"size": (2, 2), "stride": (1,)},
]
NAMES = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor")


@pytest.mark.parametrize("name", NAMES)
def test_tensors_that_do_not_lie_in_their_storage_are_refused(name):
    more = b"ctorch\nfloat32\n"
    check_calls(pickled(tensor(name=name, more=more)), MB)
    for outside in OUTSIDE:
        bad = tensor(name=name, more=more, **outside)
        # Tensors with attributes are rebuilt by a function that is given the function and its arguments.
        function, arguments = bad[: bad.index(b"(")], bad[bad.index(b"(") : -1]
        subclass = function + b"ctorch\nTensor\n" + arguments + b"}"
        for body in (bad, called("torch._tensor", "_rebuild_from_type_v2", subclass)):
            with pytest.raises(CheckpointError, match="is not inside of its storage|allocate more"):
                check_calls(pickled(body), MB)


def test_tensors_of_another_dtype_than_their_storage_are_checked_by_their_own():
    stored = reference(16, "UntypedStorage")
    for dtype, num, is_in in (("uint16", 8, True), ("uint16", 9, False), ("uint64", 3, False)):
        body = tensor(
            stored, size=(num,), name="_rebuild_tensor_v3", more=f"ctorch\n{dtype}\n".encode()
        )
        if is_in:
            check_calls(pickled(body), MB)
        else:
            with pytest.raises(CheckpointError, match="is not inside of its storage of 16 bytes"):
                check_calls(pickled(body), MB)
    for more in (b"", b"N", b"ctorch\nTensor\n", b"ctorch\nnothing\n"):
        with pytest.raises(CheckpointError, match="has no dtype"):
            check_calls(pickled(tensor(stored, name="_rebuild_tensor_v3", more=more)), MB)


@pytest.mark.parametrize(
    "body",
    [
        tensor(b"N"),
        tensor(tensor()),
        called("torch._utils", "_rebuild_tensor_v2", STORAGE, b"N", numbers(4), numbers(1)),
        called("torch._utils", "_rebuild_tensor_v2", STORAGE, number(0), b"](K\4e", b"](K\1e"),
        called("torch._utils", "_rebuild_tensor_v2", STORAGE),
        called("torch._utils", "_rebuild_tensor_v2"),
        # Tensor.set_ is called with the tuple.
        tensor() + b"(" + STORAGE + numbers(4) + numbers(1) + b"tb",
    ],
)
def test_other_arguments_of_tensors_are_refused(body):
    with pytest.raises(CheckpointError, match="the arguments of a tensor are not those"):
        check_calls(pickled(body), MB)


def test_a_state_that_moves_a_tensor_out_of_its_storage_is_refused():
    state = b"(" + STORAGE + number(0) + numbers(5) + numbers(1) + b"tb"
    with pytest.raises(CheckpointError, match="is not inside of its storage"):
        check_calls(pickled(tensor() + state), MB)
    check_calls(pickled(tensor() + state.replace(numbers(5), numbers(4))), MB)


def old_file(*tensors):
    return io.BytesIO(saved(list(tensors), _use_new_zipfile_serialization=False))


def test_storages_of_old_files_are_together_at_most_as_large_as_the_file():
    file = old_file(torch.zeros(1000), torch.zeros(500))
    check_legacy_calls(file, len(file.getvalue()))
    for size in (999, 5999):
        file.seek(0)
        with pytest.raises(CheckpointError, match="would allocate more memory for its storages"):
            check_legacy_calls(file, size)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (number(77) + b"\x85", number(78) + b"\x85", "is not inside of its storage of 308 bytes"),
        (number(77) + b"N", number(76) + b"N", "is not inside of its storage of 304 bytes"),
        (number(77) + b"N", number(77) + b"(K\1K\1K\1t", "is not one that torch writes"),
    ],
)
def test_tensors_of_old_files_lie_in_their_storages(old, new, message):
    content = old_file(torch.zeros(77)).getvalue()
    assert content.count(old) == 1
    with pytest.raises(CheckpointError, match=message):
        check_legacy_calls(io.BytesIO(content.replace(old, new)), len(content))


def tensors(count):
    whole = torch.arange(count)
    kinds = [
        lambda i: torch.ones(i % 7),
        lambda i: torch.tensor(i, dtype=torch.int64),
        lambda i: whole[i : i + 2],
        lambda i: torch.ones(1, 2, 3, 1, 1),
        lambda i: torch.ones(2, 300).T,
        lambda i: torch.ones(1, 1, 1, requires_grad=True),
        lambda i: torch.zeros(70_000, dtype=torch.bool)[60_000 + i :],
    ]
    return {f"part{i}": kinds[i % len(kinds)](i) for i in range(count)}


def test_many_tensors_pass_and_other_opcodes_between_them_are_checked():
    content = saved(tensors(3000))
    check_file(content)
    archive = Archive(io.BytesIO(content))
    sizes = archive.sizes()
    data = archive.content("data.pkl", MB)
    bad = called("builtins", "bytearray", number(10**9))
    at = data.index(text("part2990"))
    for planted in (
        b"\x80\x02" + bad + data[2:],
        data[:at] + bad + data[at:],
        data[:-1] + bad + b".",
    ):
        with pytest.raises(CheckpointError, match="allocate more memory for bytearray"):
            check_calls(planted, MB, sizes)
    with pytest.raises(CheckpointError, match="its pickle is damaged"):
        check_calls(data[: at + 40], MB, sizes)
    # Each of the storages and tensors is looked at, also where the opcodes of a tensor are skipped.
    storages = [name for name in sizes if name.startswith("data/")]
    for name in (storages[1], storages[40], storages[-2]):
        with pytest.raises(CheckpointError, match=f"storage '{name[5:]}' should have"):
            check_calls(data, MB, {**sizes, name: sizes[name] + 1})
        with pytest.raises(CheckpointError, match=f"storage '{name[5:]}' is missing"):
            check_calls(data, MB, {key: size for key, size in sizes.items() if key != name})


def test_skipped_opcodes_and_interpreted_ones_give_the_same_answer(monkeypatch):
    """One number of a pickle is changed at a time; which of them may be, must not depend on the way."""
    whole = torch.zeros(5, 5, dtype=torch.int64)
    content = saved(
        [[torch.zeros(3, 2)[1:], whole[i:, 1:], torch.arange(7)[2:5]] for i in range(3)]
    )
    archive = Archive(io.BytesIO(content))
    sizes = archive.sizes()
    data = archive.content("data.pkl", MB)

    def refused():
        found = []
        for at in range(len(data) - 1):
            if data[at : at + 1] != b"K":
                continue
            for value in (0, 1, 5, 200):
                try:
                    check_calls(data[: at + 1] + bytes([value]) + data[at + 2 :], MB, sizes)
                except CheckpointError as error:
                    found.append((at, value, str(error)))
        return found

    skipped = refused()
    monkeypatch.setattr(_pickle_safety._Interpreter, "_skip_tensor", lambda self: False)
    assert skipped == refused()
    assert len(skipped) > 100


@pytest.mark.parametrize(
    "items", [b"K\1" * 3000, b"G" + bytes(8), b"h\x63h\x63", b"K(", b"J\1\1\1\1N\x88\x89M\2\2"]
)
@pytest.mark.parametrize("start", [b"](", b"]K\1a(", b"}(", b"}K\1K\1s("])
def test_plain_items_do_not_hide_what_follows(start, items):
    end = b"e" if start[:1] == b"]" else b"u"
    prefix = b"K\1q\x63"
    check_calls(pickled(prefix + start + items + end), MB)
    bad = called("builtins", "bytearray", number(10**9))
    for body in (start + items + end + bad, start + items + bad + end, start + bad + items + end):
        with pytest.raises(CheckpointError, match="allocate more memory for bytearray"):
            check_calls(pickled(prefix + body), MB)


def test_memory_of_the_check_does_not_grow_with_the_number_of_plain_items():
    data = pickled(b"](" + b"K\1" * 100_000 + b"h\0")  # ends where it should not
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="its pickle is damaged"):
        check_calls(data, MB)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 100_000 * 2.5  # what the stack takes, and no more


# What comes before the tensors below: 5 values.
PREFIX = (
    b"ctorch._utils\n_rebuild_tensor_v2\nq\1ccollections\nOrderedDict\nq\2"
    + text("storage")
    + b"q\3ctorch\nFloatStorage\nq\4)"
    + b"\x85" * 999
    + b"q\5"
)
STORAGE_TUPLE, SIZE, STRIDE, ARGUMENTS = b"h\7", b"h\x08", b"h\x09", b"h\x0b"


def tensor_of(kind=b"h\4", hooks=b"h\2", size=b"K\1\x85"):
    storage = b"(h\3" + kind + text("17") + b"q\6h\3K\1tq\7Q"
    return (
        b"h\1("
        + storage
        + b"K\0"
        + size
        + b"q\x08K\1\x85q\x09\x89"
        + hooks
        + b")Rq\x0atq\x0bRq\x0c"
    )


def test_tensors_do_not_hide_tuples_that_are_nested_too_deeply():
    check_calls(pickled(PREFIX + tensor_of()), MB)
    for tensor in (tensor_of(kind=b"h\5"), tensor_of(size=b"h\5\x85")):
        with pytest.raises(CheckpointError, match="nested at most 1000 deep|is not one that torch"):
            check_calls(pickled(PREFIX + tensor), MB)
    for get, num_allowed in ((STORAGE_TUPLE, 999), (SIZE, 999), (STRIDE, 999), (ARGUMENTS, 998)):
        start = PREFIX + tensor_of() + get
        check_calls(pickled(start + b"\x85" * num_allowed), MB)
        with pytest.raises(CheckpointError, match="nested at most 1000 deep"):
            check_calls(pickled(start + b"\x85" * (num_allowed + 1)), MB)


@pytest.mark.parametrize("get", [STORAGE_TUPLE, SIZE, STRIDE, ARGUMENTS])
@pytest.mark.parametrize("name", ["bytearray", "encode", "FloatTensor", "_rebuild_qtensor"])
def test_tuples_of_a_tensor_are_not_accepted_as_other_arguments(get, name):
    with pytest.raises(
        CheckpointError, match="allocate more|another encoding|arguments of a tensor"
    ):
        check_calls(pickled(PREFIX + tensor_of() + f"cx\n{name}\n".encode() + get + b"R"), MB)


def test_the_tuple_of_a_storage_is_not_accepted_a_second_time():
    check_calls(pickled(PREFIX + tensor_of()), MB)
    with pytest.raises(CheckpointError, match="is not one that torch writes"):
        check_calls(pickled(PREFIX + tensor_of() + STORAGE_TUPLE + b"Q"), MB)


def test_a_call_in_place_of_the_hooks_of_a_tensor_is_checked():
    hooks = b"ctorch\nFloatTensor\nq\x0dh\x0d"
    with pytest.raises(CheckpointError, match="allocate more memory for FloatTensor"):
        check_calls(pickled(PREFIX + hooks + tensor_of(hooks=b"h\x0d")), MB)
