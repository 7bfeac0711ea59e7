"""Keys of state dicts do not depend on wrappers."""

import itertools
from collections import OrderedDict

import pytest
import torch
import torch.distributed as dist
from torch import nn

from ignite.storage.keys import check_whole, fit_keys, load_into, state_of, unwrap
from ignite.testing import run_processes
from support import sharded_models


class Inner(nn.Module):
    """Has a submodule with the name that DDP uses for the wrapped module."""

    def __init__(self):
        super().__init__()
        self.module = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.weight = nn.Parameter(torch.randn(2))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.module = Inner()
        self.head = nn.Linear(2, 1)


@pytest.fixture(scope="module", autouse=True)
def gloo(tmp_path_factory):
    store = dist.FileStore(str(tmp_path_factory.mktemp("store") / "file"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def compiled(module):
    return torch.compile(module, backend="eager")


def with_compiled_part(net):
    net.module = compiled(net.module)
    return net


def with_wrapped_parts(net):
    net.module.module = nn.DataParallel(compiled(net.module.module))
    net.head = compiled(nn.parallel.DistributedDataParallel(net.head))
    return net


WRAPPINGS = {
    "plain": lambda net: net,
    "DDP": nn.parallel.DistributedDataParallel,
    "DataParallel": nn.DataParallel,
    "compile": compiled,
    "compile(DDP)": lambda net: compiled(nn.parallel.DistributedDataParallel(net)),
    "DDP(compile)": lambda net: nn.parallel.DistributedDataParallel(compiled(net)),
    "part compiled": with_compiled_part,
    "parts wrapped": with_wrapped_parts,
    "DDP(part compiled)": lambda net: nn.parallel.DistributedDataParallel(with_compiled_part(net)),
}
CLEAN = list(Net().state_dict())


def make(wrapping):
    return WRAPPINGS[wrapping](Net())


def assert_equal(net, other):
    ours, theirs = state_of(net), state_of(other)
    assert list(ours) == list(theirs) == CLEAN
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_state_has_the_keys_of_the_unwrapped_module(wrapping):
    net = make(wrapping)
    assert list(state_of(net)) == CLEAN
    assert type(unwrap(net)) is Net


@pytest.mark.parametrize(("saved", "loaded"), [*itertools.product(WRAPPINGS, WRAPPINGS)])
def test_a_state_loads_from_any_wrapping_into_any(saved, loaded):
    source, target = make(saved), make(loaded)
    assert not torch.equal(state_of(source)["head.weight"], state_of(target)["head.weight"])
    load_into(target, state_of(source))
    assert_equal(source, target)


# The parts of "parts wrapped" are called module, like what wrappers add: see the next test.
@pytest.mark.parametrize("loaded", ["plain", "compile(DDP)"])
@pytest.mark.parametrize("saved", [name for name in WRAPPINGS if name != "parts wrapped"])
def test_a_state_with_prefixes_of_wrappers_loads_if_keys_differ_in_them_only(saved, loaded):
    source, target = make(saved), make(loaded)
    load_into(target, source.state_dict())
    assert_equal(source, target)


def test_prefixes_of_inner_wrappers_are_removed_if_no_submodule_is_called_module():
    source = nn.Sequential(
        nn.DataParallel(compiled(nn.Linear(2, 2))), nn.DataParallel(nn.Linear(2, 2))
    )
    assert "0.module._orig_mod.weight" in source.state_dict()
    target = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    load_into(target, source.state_dict())
    assert torch.equal(target[0].weight, source[0].module.weight)


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_versions_of_modules_stay_with_their_modules(wrapping):
    state = state_of(make(wrapping))
    expected = {
        prefix: version.get("version") for prefix, version in Net().state_dict()._metadata.items()
    }
    assert {
        prefix: version.get("version") for prefix, version in state._metadata.items()
    } == expected
    assert state._metadata["module.norm"] == {"version": 2}

    module = unwrap(make("parts wrapped"))
    fitted = fit_keys(module, state)
    assert {
        key: fitted._metadata[key].get("version")
        for key in ("module.module.module._orig_mod", "module.norm")
    } == {
        "module.module.module._orig_mod": 1,
        "module.norm": 2,
    }


def test_a_state_without_versions_loads_as_torch_does():
    source, target = Net(), make("DDP")
    load_into(target, dict(source.state_dict()))
    assert_equal(source, target)


def test_with_strict_missing_and_unexpected_keys_raise_the_error_of_the_module():
    state = OrderedDict(state_of(Net()))
    state["surprise"] = state.pop("head.bias")
    target = make("compile")
    with pytest.raises(
        RuntimeError, match=r"Missing key\(s\).*head.bias(.|\n)*Unexpected key\(s\).*surprise"
    ):
        load_into(target, state)
    load_into(target, state, strict=False)
    assert torch.equal(unwrap(target).head.weight, state["head.weight"])


def test_tied_modules_keep_all_their_names():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    net.append(net[0])
    assert list(state_of(nn.DataParallel(net))) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    load_into(compiled(net), state_of(nn.DataParallel(net)))


def test_extra_state_is_renamed_like_parameters():
    class Counted(nn.Linear):
        count = 0

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    source, target = nn.Sequential(Counted(1, 1)), nn.Sequential(compiled(Counted(1, 1)))
    source[0].count = 7
    assert "0._extra_state" in state_of(nn.DataParallel(source))
    load_into(target, state_of(source))
    assert target[0]._orig_mod.count == 7


class Odd(nn.Module):
    """A module whose state is not a dictionary with string keys."""

    def state_dict(self):
        return {0: "a"}

    def load_state_dict(self, state, strict=True):
        self.loaded = state


def test_a_state_in_a_custom_format_is_loaded_unchanged():
    odd = Odd()
    assert state_of(odd) == {0: "a"}
    load_into(odd, {0: "b"})
    assert odd.loaded == {0: "b"}


def test_states_of_other_objects_are_saved_and_loaded():
    optimizer = torch.optim.SGD(Net().parameters(), lr=0.5)
    assert state_of(optimizer)["param_groups"][0]["lr"] == 0.5
    other = torch.optim.SGD(Net().parameters(), lr=0.1)
    load_into(other, state_of(optimizer))
    assert other.param_groups[0]["lr"] == 0.5


def test_wrong_types_are_named():
    with pytest.raises(TypeError, match="obj should have state_dict, but given 3"):
        state_of(3)
    with pytest.raises(TypeError, match="obj should have load_state_dict, but given 3"):
        load_into(3, {})
    with pytest.raises(TypeError, match="state should be a dictionary, but given list"):
        load_into(Net(), [])


def test_checkpoints_refuse_sharded_objects_and_save_whole_ones(
    tmp_path,
):
    found = run_processes(sharded_models.try_to_save, 2, str(tmp_path), timeout_s=180)
    expected = {
        f"{how} {handler}": "refused" if is_sharded(how, handler) else "saved"
        for how in ("fully_shard", "tensor parallel", "flat", "ddp", "plain")
        for handler in ("of", "Checkpoint", "ModelCheckpoint", "optimizer", "optimizer of")
    }
    assert found == [expected, expected]
    assert not [
        path for path in tmp_path.rglob("*.pt") if path.parent.name.startswith(("fully", "tensor"))
    ]


def is_sharded(how, handler):
    if how == "flat":  # FSDP gathers the state of the model itself
        return handler.startswith("optimizer")
    return how in ("fully_shard", "tensor parallel")


def test_shards_in_a_state_are_found_with_a_process_group(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    shard = torch.ones(2)
    shard._fsdp_flattened = True
    for state in ({"a": shard}, {"a": [{"b": (shard,)}]}, [shard], shard):
        with pytest.raises(
            ValueError,
            match="ema should be whole in each process, but given object, which is sharded over processes: ",
        ):
            check_whole("ema", object(), state)
    check_whole("ema", object(), {"a": [torch.ones(2), 3, "b", {"c": None}]})
