"""Programs for Ignite 0.1 to 0.4: arguments of their checkpoint handlers, and the files that they write.

What those versions wrote was recorded by running pytorch-ignite 0.1.2, 0.2.1 and 0.3.0.
"""

import os
import warnings

import pytest
import torch
from torch import nn

from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, ModelCheckpoint

MODEL = nn.Linear(1, 1)
OPTIMIZER = torch.optim.SGD(MODEL.parameters(), lr=0.1)
LAST_ONE = "p_m_6.pth"


def files_of(folder, to_save, *args, prepare=None, **kwargs):
    """What six epochs leave, with a handler that is made of these arguments; one warning at most."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        handler = ModelCheckpoint(folder, *args, **kwargs)
    assert [one.category for one in caught] == [DeprecationWarning]
    assert caught[0].filename == __file__
    if prepare is not None:
        prepare(handler)
    engine = Engine(lambda engine, batch: None)
    engine.add_event_handler(Events.EPOCH_COMPLETED, handler, to_save)
    engine.run([0, 0], max_epochs=6)
    return sorted(os.listdir(folder))


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        (
            ("p",),
            {"save_interval": 2, "n_saved": 2, "create_dir": True},
            ["p_m_4.pth", "p_m_6.pth"],
        ),
        (("p", 2), {}, [LAST_ONE]),
        (("p", 1, None, None, 3), {}, ["p_m_4.pth", "p_m_5.pth", "p_m_6.pth"]),
        (("p", 4, None, None, 1, False, False, True, True), {}, ["p_m_4.pth"]),
        (("p",), {"save_interval": 1, "save_as_state_dict": True}, [LAST_ONE]),
        (("p",), {"save_interval": 3, "atomic": False}, [LAST_ONE]),
        (("p",), {"save_interval": 7}, []),
        (("",), {"save_interval": 1}, ["_m_6.pth"]),
    ],
)
def test_every_kth_call_saves_and_files_are_numbered_by_calls(tmp_path, args, kwargs, expected):
    assert files_of(tmp_path, {"m": MODEL}, *args, **kwargs) == expected
    for name in expected:
        assert torch.load(tmp_path / name, weights_only=True).keys() == MODEL.state_dict().keys()


def test_each_object_has_its_own_files(tmp_path):
    found = files_of(tmp_path, {"m": MODEL, "o": OPTIMIZER}, "p", save_interval=2, n_saved=2)
    assert found == ["p_m_4.pth", "p_m_6.pth", "p_o_4.pth", "p_o_6.pth"]
    assert set(torch.load(tmp_path / "p_o_6.pth", weights_only=True)) == {"state", "param_groups"}


def test_programs_that_resume_set_the_number_of_calls(tmp_path):
    found = files_of(
        tmp_path,
        {"m": MODEL},
        "p",
        save_interval=1,
        prepare=lambda one: setattr(one, "_iteration", 10),
    )
    assert found == ["p_m_16.pth"]


def test_it_is_saved_with_a_run(tmp_path):
    for max_epochs in (3, 6):
        with pytest.warns(DeprecationWarning, match="save_interval"):
            old = ModelCheckpoint(
                tmp_path / "old", "p", save_interval=2, n_saved=9, require_empty=False
            )
        engine = Engine(lambda engine, batch: None)
        engine.add_event_handler(Events.EPOCH_COMPLETED, old, {"m": MODEL})
        Checkpoint.of(engine, tmp_path / "run", background=False)
        engine.run([0], max_epochs=max_epochs, resume="latest")
    assert sorted(os.listdir(tmp_path / "old")) == ["p_m_2.pth", "p_m_4.pth", "p_m_6.pth"]
    assert old.last_checkpoint == tmp_path / "old" / LAST_ONE


def score(engine):
    return engine.state.epoch / 8


@pytest.mark.parametrize(
    "args",
    [
        ("p", None, score, "acc", 2, True, True, True),
        ("p", None, score, "acc", 2),
        ("p", None, score, "acc", 2, 1),
    ],
)
def test_the_order_of_then_is_understood(tmp_path, args):
    assert files_of(tmp_path, {"m": MODEL}, *args) == ["p_m_acc=0.6250.pt", "p_m_acc=0.7500.pt"]


def test_the_order_of_today_is_not_mistaken_for_it(tmp_path):
    handler = ModelCheckpoint(
        tmp_path, "p", score, "acc", 2, True, False, True, None, "{name}_{score}.{ext}"
    )
    assert (handler.score_function, handler.score_name, handler.n_saved) == (score, "acc", 2)
    assert ModelCheckpoint(tmp_path / "b", "p", None, None, None).n_saved is None


def test_archived_files_are_what_torch_writes(tmp_path):
    assert files_of(tmp_path, {"m": MODEL}, "p", archived=True) == ["p_m_12.pt"]
    with pytest.warns(DeprecationWarning, match="archived"):
        assert (
            Checkpoint({"m": MODEL}, tmp_path / "a", "", None, None, 1, None, True).filename_pattern
            is None
        )
    with pytest.warns(DeprecationWarning, match="archived"):
        Checkpoint({"m": MODEL}, tmp_path / "b", archived=True)


def test_files_with_the_prefix_are_refused_as_then(tmp_path):
    (tmp_path / "p_m_2.pth").write_bytes(b"")
    with (
        pytest.warns(DeprecationWarning, match="save_interval"),
        pytest.raises(ValueError, match=r"p_m_2.pth.*already present"),
    ):
        ModelCheckpoint(tmp_path, "p", save_interval=1)
    assert files_of(tmp_path, {"m": MODEL}, "q", save_interval=1) == ["p_m_2.pth", "q_m_6.pth"]


@pytest.mark.parametrize("interval", [0, -1, 1.5, "2", True])
def test_intervals_are_positive_integers(tmp_path, interval):
    with pytest.raises(
        ValueError, match=f"save_interval should be a positive integer, but given {interval!r}"
    ):
        ModelCheckpoint(tmp_path, "p", save_interval=interval)


def test_what_has_no_meaning_any_more_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"save_as_state_dict should be True, but given False.*load_state_dict"
    ):
        ModelCheckpoint(tmp_path, "p", save_as_state_dict=False)
    with (
        pytest.warns(DeprecationWarning, match="save_interval"),
        pytest.raises(ValueError, match="Either save_interval or score_function"),
    ):
        ModelCheckpoint(tmp_path, "p", 2, score)
    with pytest.raises(TypeError, match="got multiple values for argument 'n_saved'"):
        ModelCheckpoint(tmp_path, "p", 2, None, None, 3, n_saved=3)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("n_save", "n_saved"), ("filename_prefx", "filename_prefix"), ("require_emtpy", "require_empty"),
     ("save_intervall", "save_interval"), ("score_func", "score_function"), ("backgroud", "background")],
)  # fmt: skip
def test_a_misspelled_argument_is_refused_with_the_one_that_is_meant(tmp_path, name, meant):
    with pytest.raises(
        TypeError, match=f"ModelCheckpoint has no argument {name!r}. Did you mean {meant!r}"
    ):
        ModelCheckpoint(tmp_path / "run", **{name: 1})
    assert not (tmp_path / "run").exists()


def test_options_of_torch_are_no_misspelled_arguments(tmp_path):
    assert ModelCheckpoint(tmp_path, pickle_protocol=3).save_handler.kwargs == {
        "pickle_protocol": 3
    }
    with pytest.raises(TypeError, match="ModelCheckpoint has no argument 'colour'$"):
        ModelCheckpoint(tmp_path, colour=1)
