import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignite.distributed._launch import SLURM_VARIABLES, expand_hosts, from_slurm
from ignite.distributed._process_group import slurm_tasks_per_node

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


@pytest.mark.parametrize(
    ("environment", "world_size", "found"),
    [
        ({}, 4, None),
        (SLURM, 4, 2),
        ({**SLURM, "SLURM_NTASKS_PER_NODE": "4"}, 4, 4),
        ({**SLURM, "SLURM_NTASKS_PER_NODE": "4"}, 2, None),
        ({**SLURM, "SLURM_JOB_NUM_NODES": "3"}, 4, None),
        ({**SLURM, "SLURM_JOB_NUM_NODES": "0"}, 4, None),
    ],
)
def test_tasks_per_node_are_those_of_slurm_if_it_has_started_the_group(
    environment, world_size, found
):
    assert slurm_tasks_per_node(environment, world_size) == found
