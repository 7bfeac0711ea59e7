import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from ignite import distributed as idist

sys.path.insert(0, str(Path(__file__).parent))
import harness
import workers


def test_a_single_process_has_a_group_of_its_own():
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
    assert "world size: 1" in caplog.text


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: idist.all_reduce("x"), TypeError, "tensor should be a tensor or a number, but given str"),
        (lambda: idist.all_reduce(1, "AVERAGE"), ValueError, "op should be one of .* but given 'AVERAGE'"),
        (lambda: idist.broadcast(None), ValueError, "Source data can not be None"),
        (lambda: idist.broadcast([1]), TypeError, "should be a tensor, number, string or path, but given list"),
        (lambda: idist.broadcast(None, src=1), ValueError, "safe_mode should be True"),
        (
            lambda: idist.initialize("carrier-pigeon"),
            ValueError,
            "Backend should be one of .* given 'carrier-pigeon'",
        ),
        (lambda: idist.initialize("gloo", rank=0), ValueError, "Both rank and world_size should be provided"),
        (lambda: idist.initialize("gloo", rank=0, world_size=1), ValueError, "should be None if no init_method"),
        (lambda: idist.one_rank_first(rank=3).__enter__(), ValueError, "rank should be between 0 and 0, but given 3"),
    ],
)
def test_wrong_arguments_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_group_can_be_made_and_ended():
    code = (
        "from ignite import distributed as idist\n"
        f"idist.initialize('gloo', init_method='tcp://127.0.0.1:{harness.free_port()}', rank=0, world_size=1)\n"
        "assert idist.model_name() == 'native-dist' and idist.backend() == 'gloo'\n"
        "try:\n    idist.initialize('gloo')\nexcept RuntimeError as error:\n    print(error)\n"
        "try:\n    idist.all_reduce(1, group='x')\nexcept ValueError as error:\n    print(error)\n"
        "idist.finalize()\n"
        "assert idist.model_name() == 'serial'"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Can not create new distributed process group" in run.stdout
    assert "group should be list of int or ProcessGroup, but given 'x'" in run.stdout


@pytest.fixture(scope="module")
def found():
    return harness.run(workers.collectives, 2)


def test_values_are_combined_and_inputs_left_alone(found):
    for rank, checks in enumerate(found):
        assert checks["sum"] == [3.0, 3.0]
        assert checks["untouched"] == [rank + 1.0] * 2
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


def test_each_process_knows_its_place(found):
    assert [checks["place"] for checks in found] == [[0, 0, 1, 0], [1, 1, 1, 0]]
    assert [checks["model"][:2] for checks in found] == [["native-dist", "gloo"]] * 2
    assert [checks["only"] for checks in found] == [None, "only"]


@pytest.mark.parametrize("size", [2, 4])
def test_tensors_of_different_lengths_are_gathered_and_groups_have_their_own_values(size):
    for rank, checks in enumerate(harness.run(workers.ragged, size)):
        assert checks["rows"] == [[other, other] for other in range(size) for _ in range(other)]
        assert checks["dtype"] == "torch.float16"
        assert checks["shapes"] == [[list(range(other + 1))] for other in range(size)]
        is_inside = rank in (0, size - 1)
        inside = [[size + 1.0], [0, size - 1], ["rank 0", f"rank {size - 1}"]]
        assert checks["group"] == checks["list"] == (inside if is_inside else [[rank + 1.0], [rank], f"rank {rank}"])
        assert checks["same group"]
        assert "rank 0 has ('torch.float32', (3,)), rank 1 has ('torch.float32', (1,))" in checks["misfit"]


def test_in_one_process_groups_and_shapes_are_its_own():
    assert idist.new_group([0]) == [0]
    (tensor,) = idist.all_gather_tensors_with_shapes(torch.ones(2), [(2,)])
    assert tensor.tolist() == [1, 1]
    for wrong, error, words in (
        (lambda: idist.new_group("x"), ValueError, "ranks should be list of int, but given 'x'"),
        (lambda: idist.all_gather_tensors_with_shapes(1, [()]), TypeError, "tensor should be a tensor, but given int"),
        (lambda: idist.all_gather_tensors_with_shapes(torch.ones(2), [(3,)]), ValueError, r"but given \[\(3,\)\]"),
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
    scores, targets = torch.randn(7, 3, generator=generator), torch.randint(3, (7,), generator=generator)
    for values in harness.run(workers.metrics, num_processes):
        assert values["accuracy"] == (scores.argmax(1) == targets).double().mean().item()
        assert values["loss"] == pytest.approx(F.cross_entropy(scores.double(), targets).item(), rel=1e-6)
        assert values["mean"] == pytest.approx(scores[:, 0].double().mean().item())
        assert values["accuracy states"] == num_processes


def test_an_attached_metric_is_that_of_all_ranks():
    assert harness.run(workers.engines, 2) == [2.0, 2.0]
