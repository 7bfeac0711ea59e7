import functools

import pytest

from ignite import distributed as idist
from support import harness, workers


@pytest.fixture(scope="module")
def found():
    return harness.run(workers.groups, 4)


def test_in_one_process_a_group_is_its_list():
    assert idist.new_group([0]) == [0]
    with pytest.raises(ValueError, match="Argument ranks should be list of int, but given 'x'"):
        idist.new_group("x")


def test_a_group_has_its_own_values_and_others_get_back_what_they_gave(found):
    inside = [[6.0], 3, [1, 3, 3, 3], ["rank 1", "rank 3"], [[1.0], [1.0] * 3]]
    for rank, checks in enumerate(found):
        outside = [[rank + 1.0], rank, [rank] * rank, f"rank {rank}", [[1.0] * rank]]
        for name in ("group", "list", "again"):
            assert checks[name] == (inside if rank in (1, 3) else outside), name


def test_a_list_makes_one_group_however_often_it_is_given(found):
    assert [checks["calls"] for checks in found] == [1] * 4
    assert [checks.get("alone") for checks in found] == [None, 4, None, 4]


def test_errors_within_a_group_name_ranks_among_all(found):
    for rank in (1, 3):
        assert (
            "rank 1 has torch.float32 of shape (1, 1), rank 3 has torch.float32"
            in found[rank]["misfit"]
        )


def test_what_is_no_group_is_refused(found):
    for checks in found:
        assert checks["wrong"] == [
            "ValueError: Argument ranks should be list of int, but given 'x'",
            *(
                f"ValueError: Argument ranks should be different ranks from 0 to 3, but given {ranks}"
                for ranks in ([0, 4], [-1], [1, 1], [])
            ),
        ]
        kind, ranks = checks["wrong group"]
        assert (
            kind
            == "ValueError: Argument group should be list of int or ProcessGroup, but given 'x'"
        )
        assert (
            ranks
            == "ValueError: Argument ranks should be different ranks from 0 to 3, but given [7]"
        )


def test_groups_end_with_the_default_group(tmp_path):
    work = functools.partial(workers.groups_of_a_second_default_group, folder=str(tmp_path))
    assert harness.run(work, 2) == [[0, 0, 1], [[1], [1], 1]]
