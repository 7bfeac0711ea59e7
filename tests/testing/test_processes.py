import pytest
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from ignite.testing import run_processes
from support.process_functions import (
    add_ranks,
    die_on_rank_one,
    fail_on_rank_one,
    hang_on_rank_one,
    return_a_class,
)


def test_each_rank_returns_its_result():
    results = run_processes(add_ranks, 2, 10)
    assert [result["rank"] for result in results] == [0, 1]
    assert [result["sum"].tolist() for result in results] == [[10.0], [10.0]]


def test_the_traceback_is_that_of_the_rank_that_failed_first():
    with pytest.raises(
        ProcessRaisedException,
        match=r"(?s)fail_on_rank_one.*OSError: no disk.*Raised on rank 1 of 2",
    ):
        run_processes(fail_on_rank_one)


def test_a_process_that_just_ends_is_reported():
    with pytest.raises(ProcessExitedException, match="process 1 terminated with exit code 3"):
        run_processes(die_on_rank_one)


@pytest.mark.slow
def test_a_rank_that_hangs_is_named_with_the_place_where_it_is():
    with pytest.raises(
        TimeoutError,
        match=r"(?s)After 15 s, ranks .*1\] of 2 had not finished.*in hang_on_rank_one",
    ):
        run_processes(hang_on_rank_one, timeout_s=15)


def test_a_result_that_cannot_be_read_safely_is_an_error():
    with pytest.raises(Exception, match="weights") as caught:
        run_processes(return_a_class, 1)
    assert "should return numbers, strings, tensors" in "".join(caught.value.__notes__)


def test_time_has_to_be_given():
    with pytest.raises(ValueError, match="timeout_s should be positive, but given 0"):
        run_processes(add_ranks, 2, 1, timeout_s=0)
