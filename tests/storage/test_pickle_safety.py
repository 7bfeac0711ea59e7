"""A pickle cannot allocate more memory than the file has, or overflow the stack."""

import io
import pickle
import struct
import zipfile

import pytest
import torch

from ignite.exceptions import CheckpointError
from ignite.storage._pickle_safety import check_calls, check_legacy_calls

MB = 1 << 20


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return pickle.dumps(value, 2)[2:-1]


def called(module, name, *arguments, how=b"R"):
    return b"c" + f"{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"t" + how


def pickled(body):
    return b"\x80\x02" + body + b"."


STORAGE = (
    b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(4) + b"tQ"
)


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
    with pytest.raises(CheckpointError, match="in another encoding than torch writes"):
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
        "Tensor": "torch\nTensor\n",  # looks like a call, so that the pickle is interpreted
    }


def test_pickles_of_torch_pass():
    file = io.BytesIO()
    torch.save(state(), file)
    start = file.getvalue().index(b"\x80\x02")
    check_calls(file.getvalue()[start:], MB)


@pytest.mark.filterwarnings("ignore:.*quantize:UserWarning")
def test_quantized_tensors_pass():
    file = io.BytesIO()
    torch.save(torch.quantize_per_tensor(torch.ones(5), 0.1, 0, torch.quint8), file)
    check_calls(file.getvalue()[file.getvalue().index(b"\x80\x02") :], 5)


def test_storages_of_old_files_are_at_most_as_large_as_the_file():
    file = io.BytesIO()
    torch.save({"x": torch.zeros(1000)}, file, _use_new_zipfile_serialization=False)
    file.seek(0)
    check_legacy_calls(file, len(file.getvalue()))
    file.seek(0)
    with pytest.raises(CheckpointError, match="would allocate more memory for a storage"):
        check_legacy_calls(file, 999)


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


def pickle_of(state):
    file = io.BytesIO()
    torch.save(state, file)
    with zipfile.ZipFile(file) as archive:
        return archive.read("archive/data.pkl")


def test_many_tensors_pass_and_other_opcodes_between_them_are_checked():
    data = pickle_of(tensors(3000))
    check_calls(data, MB)
    bad = called("builtins", "bytearray", number(10**9))
    at = data.index(text("part2990"))
    for planted in (
        b"\x80\x02" + bad + data[2:],
        data[:at] + bad + data[at:],
        data[:-1] + bad + b".",
    ):
        with pytest.raises(CheckpointError, match="allocate more memory for bytearray"):
            check_calls(planted, MB)
    with pytest.raises(CheckpointError, match="its pickle is damaged"):
        check_calls(data[: at + 40], MB)


# What comes before the tensors below: tuples, so many that the pickle is interpreted, and 5 values.
PREFIX = (
    b")\x85" * 5001
    + b"ctorch._utils\n_rebuild_tensor_v2\nq\1ccollections\nOrderedDict\nq\2"
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
        with pytest.raises(CheckpointError, match="nested at most 1000 deep"):
            check_calls(pickled(PREFIX + tensor), MB)
    for get, num_allowed in ((STORAGE_TUPLE, 999), (SIZE, 999), (STRIDE, 999), (ARGUMENTS, 998)):
        start = PREFIX + tensor_of() + get
        check_calls(pickled(start + b"\x85" * num_allowed), MB)
        with pytest.raises(CheckpointError, match="nested at most 1000 deep"):
            check_calls(pickled(start + b"\x85" * (num_allowed + 1)), MB)


@pytest.mark.parametrize("get", [STORAGE_TUPLE, SIZE, STRIDE, ARGUMENTS])
@pytest.mark.parametrize("name", ["bytearray", "encode", "FloatTensor", "_rebuild_qtensor"])
def test_tuples_of_a_tensor_are_not_accepted_as_other_arguments(get, name):
    size = b"(K\1K\1K\1K\1t"
    with pytest.raises(CheckpointError, match="allocate more memory|another encoding"):
        check_calls(
            pickled(PREFIX + tensor_of(size=size) + f"cx\n{name}\n".encode() + get + b"R"), MB
        )


def test_a_call_in_place_of_the_hooks_of_a_tensor_is_checked():
    hooks = b"ctorch\nFloatTensor\nq\x0dh\x0d"
    with pytest.raises(CheckpointError, match="allocate more memory for FloatTensor"):
        check_calls(pickled(PREFIX + hooks + tensor_of(hooks=b"h\x0d")), MB)
