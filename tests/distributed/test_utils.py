import functools
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from ignite import distributed as idist
from support import harness, workers


def test_a_single_process_has_its_own_group():
    assert (idist.get_rank(), idist.get_world_size(), idist.get_local_rank()) == (0, 1, 0)
    assert (idist.get_nnodes(), idist.get_node_rank(), idist.get_nproc_per_node()) == (1, 0, 1)
    assert (idist.backend(), idist.model_name()) == (None, "serial")
    assert "gloo" in idist.available_backends()
    assert idist.has_native_dist_support
    assert not idist.has_xla_support
    assert not idist.has_hvd_support
    assert isinstance(idist.device(), torch.device)
    assert idist.hostname()
    tensor = torch.ones(2)
    assert idist.all_reduce(tensor) is tensor
    assert idist.all_gather(tensor) is tensor
    assert idist.all_gather(3) == [3]
    assert idist.broadcast("x") == "x"
    idist.barrier()
    idist.sync()
    idist.finalize()
    assert idist.one_rank_only(rank=1)(lambda: 5)() is None


def test_show_config_logs_what_was_found(caplog):
    with caplog.at_level("INFO", logger="ignite.distributed.utils"):
        idist.show_config()
    assert {record.name for record in caplog.records} == {"ignite.distributed.utils"}
    for line in (
        "configuration: serial",
        "backend: None",
        f"hostname: {idist.hostname()}",
        "world size: 1",
        "rank: 0",
    ):
        assert line in caplog.text


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: idist.all_reduce("x"),
            TypeError,
            "tensor should be a tensor or a number, but given str",
        ),
        (
            lambda: idist.all_reduce(1, "AVERAGE"),
            ValueError,
            "op should be one of .* but given 'AVERAGE'",
        ),
        (
            lambda: idist.broadcast(None),
            ValueError,
            "Argument tensor should not be None, but given None",
        ),
        (
            lambda: idist.all_reduce(torch.ones(1), "OR"),
            TypeError,
            "boolean or integer with op=OR, but given tensor",
        ),
        (
            lambda: idist.set_local_rank(-1),
            ValueError,
            "index should be an integer of at least 0, but given -1",
        ),
        (
            lambda: idist.broadcast([1]),
            TypeError,
            "should be a tensor, number, string or path, but given list",
        ),
        (
            lambda: idist.initialize("carrier-pigeon"),
            ValueError,
            "Backend should be one of .* given 'carrier-pigeon'",
        ),
        (
            lambda: idist.initialize("gloo", rank=0),
            ValueError,
            "Both rank and world_size should be provided",
        ),
        (
            lambda: idist.initialize("gloo", rank=0, world_size=1),
            ValueError,
            "should be None if no init_method",
        ),
        (
            lambda: idist.one_rank_first(rank=3).__enter__(),
            ValueError,
            "rank should be between 0 and 0, but given 3",
        ),
    ],
)
def test_wrong_arguments_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_group_can_be_made_and_ended():
    code = (
        "import torch\nfrom ignite import distributed as idist\n"
        f"idist.initialize('gloo', init_method='tcp://127.0.0.1:{harness.free_port()}', rank=0, world_size=1)\n"
        "assert idist.model_name() == 'native-dist' and idist.backend() == 'gloo'\n"
        "try:\n    idist.initialize('gloo')\nexcept RuntimeError as error:\n    print(error)\n"
        "for give in (lambda: idist.all_reduce(1, group='x'), lambda: idist.broadcast(None)):\n"
        "    try:\n        give()\n    except ValueError as error:\n        print(error)\n"
        "tensor = idist.all_reduce(torch.ones(1))\n"
        "idist.finalize()\n"
        "assert idist.model_name() == 'serial'"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Can not create new distributed process group" in run.stdout
    assert "group should be list of int or ProcessGroup, but given 'x'" in run.stdout
    assert "Source data can not be None" in run.stdout


@pytest.fixture(scope="module")
def found():
    return harness.run(workers.collectives, 2)


def test_values_are_combined_and_tensors_in_place(found):
    for checks in found:
        assert checks["sum"] == [3.0, 3.0]
        assert checks["gradient"] == 1.5  # the mean of one and two
        in_place = checks["in place"]
        assert in_place.pop("others in memory") == [0]
        assert in_place.pop("empty") == (True, torch.float32, (0, 3), [])
        assert all(
            (is_same, values) == (True, [3]) for is_same, _, _, values in in_place.values()
        ), in_place
        assert [in_place[str(dtype)][1] for dtype in workers.DTYPES] == list(workers.DTYPES)
        assert in_place["transposed"][2] == (3, 2)
        assert [checks[op] for op in ("PRODUCT", "MIN", "MAX")] == [2, 1, 2]
        assert checks["AND"] == [True, False]
        assert checks["OR"] == [False, True]


def test_numbers_are_combined_exactly(found):
    for checks in found:
        assert checks["whole number"] == 2**54 + 1
        assert checks["number"] == 0.2
        assert checks["of two"] == 1


def test_values_are_gathered_and_broadcast(found):
    for checks in found:
        assert checks["gather"] == [[0, 0], [1, 1]]
        assert checks["gather scalars"] == [0, 1]
        assert checks["gather objects"] == [{"rank": 0}, {"rank": 1}]
        assert checks["broadcast"] == [[1, 7], 1e300, "from 0", "/0", (1, 2)]


def test_each_process_has_its_rank(found):
    assert [checks["place"] for checks in found] == [[0, 0, 1, 0], [1, 1, 1, 0]]
    assert [checks["model"][:2] for checks in found] == [["native-dist", "gloo"]] * 2
    assert [checks["only"] for checks in found] == [None, "only"]


@pytest.mark.parametrize("size", [2, 4])
def test_tensors_of_different_lengths_are_gathered_with_one_exchange_of_sizes(size):
    for checks in harness.run(workers.ragged, size):
        assert checks["rows"] == [[other, other] for other in range(size) for _ in range(other)]
        assert (checks["dtype"], checks["collectives"]) == ("torch.int16", 2)
        assert checks["nothing"] == ([0, 3], [2 * size, 0])
        assert checks["views"] == [0, 2, 4] * size
        assert checks["scalars"] == [True] + [True, False] * (size - 1)
        assert checks["shapes"] == [[[float(i) for i in range(other + 1)]] for other in range(size)]


@pytest.mark.parametrize("size", [2, 4])
def test_tensors_that_do_not_go_together_are_an_error_of_all_processes_that_names_them(size):
    for checks in harness.run(workers.ragged, size):
        shape, dtype, own_shape, own_dtype, shapes = checks["misfits"]
        assert (
            "rank 0 has torch.float32 of shape (2, 3), rank 1 has torch.float32 of shape (2, 1)"
            in shape
        )
        assert (
            "rank 0 has torch.float32 of shape (0,), rank 1 has torch.float64 of shape (1,)"
            in dtype
        )
        assert f"rank 1 has torch.float32 of shape (1, 2) and shapes={[(1, 1)] * size}" in own_shape
        assert "rank 0 has torch.float32 of shape () and" in own_dtype
        assert "rank 1 has torch.float64 of shape () and" in own_dtype
        assert f"shapes={[()] * size}" in shapes
        assert f"shapes={[()] * (size + 1)}" in shapes


@pytest.mark.parametrize("size", [2, 4])
def test_numbers_are_combined_and_broadcast_exactly_and_tensors_whatever_their_dtype(size):
    found = harness.run(workers.numbers, size)
    for checks in found:
        assert checks["mixed"] == [1 + 0.5 * (size - 1), 0.5 ** (size - 1), 0.5, 1.0]
        assert checks["whole"] == [6 + 3 * (size - 1), 6 * 3 ** (size - 1), 3, 6, 2, 7]
        assert checks["large"]
        assert checks["nan"] == ["nan", "nan"]
        assert checks["int16"] == [size, -7]
        assert checks["booleans"] == [[True, True], [True, False]]
        assert checks["strides"] == [[0, 3], [1, 4], [2, 5]]
        assert checks["gradient"], "written past autograd"
        assert checks["broadcast"] == [2**60 + 1, 0.1, True, 2**53 + 1]
        assert [type(value) for value in checks["broadcast"]] == [int, float, bool, int]
        assert checks["broadcast tensors"][:5] == [[1, -7], [2, -6], [], [[0, 2], [1, 3]], [2, 3]]
        assert checks["path"]
        assert (
            checks["fractions"]
            == "TypeError: tensor should be boolean or integer with op=AND, but given 0.5"
        )
        assert (
            checks["wrong source"]
            == f"ValueError: src should be between 0 and {size - 1}, but given 9"
        )
    assert [checks["broadcast tensors"][5] for checks in found] == [
        [rank + 1, -7] for rank in range(size)
    ]


def test_one_rank_of_all_or_of_each_node_goes_first(tmp_path):
    found = harness.run(functools.partial(workers.who_is_first, folder=str(tmp_path)), 4)
    assert found == [[True, True], [False, False], [True, True], [True, False]]


def test_in_one_process_the_shape_is_its_own():
    (tensor,) = idist.all_gather_tensors_with_shapes(torch.ones(2), [(2,)])
    assert tensor.tolist() == [1, 1]
    for wrong, error, words in (
        (
            lambda: idist.all_gather_tensors_with_shapes(1, [()]),
            TypeError,
            "tensor should be a tensor, but given int",
        ),
        (
            lambda: idist.all_gather_tensors_with_shapes(torch.ones(2), [(3,)]),
            ValueError,
            r"shapes=\[\(3,\)\]",
        ),
    ):
        with pytest.raises(error, match=words):
            wrong()


def test_others_are_let_in_when_the_first_rank_fails():
    assert harness.run(workers.first_rank_fails, 2) == ["download failed", "came through"]


def test_local_ranks_are_found_by_host_names_with_one_warning_or_set_by_hand():
    found = harness.run(workers.local_rank_by_hosts, 2)
    warning = ["Local rank information is found by compa"]
    assert found == [((0, 2, 0), warning, 5), ((1, 2, 1), warning, 5)]


@pytest.mark.parametrize("num_processes", [2, 4])
def test_metrics_over_k_processes_are_those_over_one(num_processes):
    generator = torch.Generator().manual_seed(0)
    scores, targets = (
        torch.randn(7, 3, generator=generator),
        torch.randint(3, (7,), generator=generator),
    )
    for values in harness.run(workers.metrics, num_processes):
        assert values["accuracy"] == (scores.argmax(1) == targets).double().mean().item()
        assert values["loss"] == pytest.approx(
            F.cross_entropy(scores.double(), targets).item(), rel=1e-6
        )
        assert values["mean"] == pytest.approx(scores[:, 0].double().mean().item())
        assert values["accuracy states"] == num_processes


def test_an_attached_metric_is_that_of_all_ranks():
    assert harness.run(workers.engines, 2) == [2.0, 2.0]
