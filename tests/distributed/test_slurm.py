import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignite.distributed._launch import (
    SLURM_VARIABLES,
    expand_hosts,
    from_slurm,
    is_started_by_slurm,
)
from ignite.distributed._process_group import Place, place_among, place_from_launcher

SLURM = {
    "SLURM_JOB_ID": "123456",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NTASKS": "4",
    "SLURM_JOB_NODELIST": "node[07-08]",
    "SLURM_JOB_NUM_NODES": "2",
}
MEANT = {
    "RANK": "3",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "MASTER_ADDR": "node07",
    "MASTER_PORT": "18456",
}


@pytest.mark.parametrize(
    ("node_list", "hosts"),
    [
        ("a", ["a"]),
        ("a,b-1", ["a", "b-1"]),
        ("n[9-11]", ["n9", "n10", "n11"]),
        ("n[009-011,3]x", ["n009x", "n010x", "n011x", "n3x"]),
        ("gpu-[1, 3] , c", ["gpu-1", "gpu-3", "c"]),
        ("a[1-2]b[1,3],c", ["a1b1", "a1b3", "a2b1", "a2b3", "c"]),
    ],
)
def test_lists_of_hosts_are_expanded(node_list, hosts):
    assert expand_hosts(node_list) == hosts


@given(st.integers(0, 500), st.integers(0, 50), st.integers(1, 5))
def test_ranges_keep_their_zeros(first, length, width):
    node_list = f"n[{first:0{width}d}-{first + length:0{width}d}]"
    assert expand_hosts(node_list) == [f"n{i:0{width}d}" for i in range(first, first + length + 1)]


@pytest.mark.parametrize(
    "node_list",
    ["", ",", "a,,b", "n[a-b]", "n[1-x]", "n[3-1]", "n[]", "n[1-2", "n1-2]", "n[[1]]", "a b"],
)
def test_what_is_no_list_of_hosts_is_refused(node_list):
    with pytest.raises(ValueError, match="SLURM_JOB_NODELIST should"):
        expand_hosts(node_list)


def test_slurm_is_translated():
    assert from_slurm(SLURM) == MEANT
    assert from_slurm({**SLURM, **MEANT, "MASTER_PORT": "999"}) == {}


@pytest.mark.parametrize("name", SLURM_VARIABLES)
def test_a_missing_variable_is_named(name):
    with pytest.raises(RuntimeError, match=f"configuration is missing '{name}' in env variables"):
        from_slurm({key: value for key, value in SLURM.items() if key != name})


def test_two_launchers_that_disagree_are_an_error_and_half_a_launcher_is_ignored():
    with pytest.raises(RuntimeError, match="inconsistent .* RANK=0 and SLURM_PROCID=3"):
        from_slurm({**SLURM, **MEANT, "RANK": "0"})
    with pytest.warns(
        UserWarning, match=r"Only \['RANK'\] of .* are in the environment: they are ignored"
    ):
        assert from_slurm({**SLURM, "RANK": "0"}) == MEANT


TORCH = {"WORLD_SIZE": "4", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        (SLURM, True),
        ({**SLURM, **MEANT}, True),
        ({**SLURM, "TORCHELASTIC_RUN_ID": "1"}, False),
        ({**SLURM, **TORCH, "SLURM_NTASKS": "1"}, False),
        ({**SLURM, **TORCH, "SLURM_NTASKS": "8"}, True),
        ({**SLURM, **TORCH, "WORLD_SIZE": "many"}, True),
        ({"SLURM_JOB_ID": "1", **TORCH}, False),  # a shell of salloc
        ({**SLURM, "WORLD_SIZE": "4", "SLURM_NTASKS": "1"}, True),
    ],
)
def test_another_launcher_within_an_allocation_is_recognized(environment, expected):
    assert is_started_by_slurm(environment) == expected


UNEVEN = {**SLURM, "SLURM_NTASKS": "5", "SLURM_JOB_NUM_NODES": "3", "SLURM_NODEID": "2"}
ELASTIC = {"LOCAL_WORLD_SIZE": "1", "GROUP_RANK": "2", "GROUP_WORLD_SIZE": "3", "WORLD_SIZE": "5"}


@pytest.mark.parametrize(
    ("environment", "rank", "size", "expected"),
    [
        ({}, 3, 4, None),
        (SLURM, 3, 4, Place(2, 1, 2)),
        ({**SLURM, "SLURM_NODEID": "0"}, 3, 4, Place(2, 0, 2)),  # tasks are distributed in turns
        (SLURM, 1, 2, None),
        ({**SLURM, "SLURM_JOB_NUM_NODES": "3"}, 3, 4, None),
        ({**SLURM, "SLURM_JOB_NUM_NODES": "0"}, 3, 4, None),
        (UNEVEN, 4, 5, None),
        ({**UNEVEN, "SLURM_TASKS_PER_NODE": "2(x2),1"}, 4, 5, Place(1, 2, 3)),
        (
            {
                **UNEVEN,
                "SLURM_STEP_TASKS_PER_NODE": "1,1,3",
                "SLURM_TASKS_PER_NODE": "2(x2),1",
            },
            4,
            5,
            Place(3, 2, 3),
        ),
        ({**UNEVEN, "SLURM_TASKS_PER_NODE": "two"}, 4, 5, None),
        (ELASTIC, 4, 5, Place(1, 2, 3)),
        ({**UNEVEN, **ELASTIC}, 4, 5, Place(1, 2, 3)),
        ({**ELASTIC, "WORLD_SIZE": "9"}, 1, 2, None),
        ({"LOCAL_WORLD_SIZE": "2"}, 3, 4, Place(2, 1, 2)),
        ({"LOCAL_WORLD_SIZE": "2"}, 3, 5, None),
    ],
)
def test_machines_are_those_of_the_launcher_of_this_group(environment, rank, size, expected):
    assert place_from_launcher(environment, rank, size) == expected


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_places_by_host_names_count_processes_of_each_machine(sizes, shuffle):
    hosts = [f"host{i}" for i, size in enumerate(sizes) for _ in range(size)]
    shuffle.shuffle(hosts)
    found = [place_among(hosts, rank) for rank in range(len(hosts))]
    seen = {}
    for host, (local_rank, place) in zip(hosts, found, strict=True):
        assert place == Place(hosts.count(host), list(dict.fromkeys(hosts)).index(host), len(sizes))
        assert local_rank == seen.get(host, 0)
        seen[host] = local_rank + 1
