import copy
import io
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ignite.engine import Engine, Events
from ignite.handlers.param_scheduler import ReduceLROnPlateauScheduler
from support.garbage import no_garbage_collection


def make_optimizer(lrs=(0.1, 0.4)):
    return torch.optim.SGD([{"params": [torch.zeros(1)], "lr": lr} for lr in lrs], lr=0.1)


def lrs_of(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def make_engine(metric=None):
    engine = Engine(lambda engine, batch: None)
    engine.state.metrics["loss"] = metric
    return engine


def observe(scheduler, metrics):
    """The learning rates after each metric."""
    engine, seen = make_engine(), []
    for engine.state.metrics["loss"] in metrics:
        scheduler(engine)
        seen.append(lrs_of(scheduler.optimizer))
    return seen


OPTIONS = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["min", "max"]),
        "factor": st.floats(0.1, 0.9),
        "patience": st.integers(0, 3),
        "threshold": st.floats(0, 0.5),
        "threshold_mode": st.sampled_from(["rel", "abs"]),
        "cooldown": st.integers(0, 3),
        "min_lr": st.sampled_from([0.0, 0.05, 0.2]),
    }
)


@settings(max_examples=40, deadline=None)
@given(
    options=OPTIONS,
    metrics=st.lists(st.floats(-1, 1), min_size=20, max_size=20),
    num_before=st.integers(0, 20),
)
def test_the_learning_rates_are_torchs_also_after_resuming(options, metrics, num_before):
    optimizer = make_optimizer()
    oracle = ReduceLROnPlateau(optimizer, **options)
    expected = []
    for metric in metrics:
        oracle.step(metric)
        expected.append(lrs_of(optimizer))

    first = ReduceLROnPlateauScheduler(make_optimizer(), "loss", **options)
    second = ReduceLROnPlateauScheduler(make_optimizer(), "loss", **options)
    seen = observe(first, metrics[:num_before])
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert seen + observe(second, metrics[num_before:]) == expected


def test_the_least_learning_rate_is_kept_for_all_groups():
    scheduler = ReduceLROnPlateauScheduler(
        make_optimizer(), "loss", factor=0.5, patience=0, min_lr=0.08
    )
    assert observe(scheduler, [1.0, 1.0, 1.0, 1.0, 1.0])[1:] == [
        [0.08, 0.2],
        [0.08, 0.1],
        [0.08, 0.08],
        [0.08, 0.08],
    ]


def test_the_least_learning_rate_may_be_one_for_each_group():
    scheduler = ReduceLROnPlateauScheduler(
        make_optimizer(), "loss", factor=0.1, patience=0, min_lr=[0.05, 0.3]
    )
    assert observe(scheduler, [1.0, 1.0])[1] == [0.05, 0.3]


@pytest.mark.parametrize(
    ("index", "expected"), [(0, [0.05, 0.4]), (1, [0.1, 0.2]), (-1, [0.1, 0.2])]
)
def test_one_group_of_several(index, expected):
    scheduler = ReduceLROnPlateauScheduler(
        make_optimizer(), "loss", param_group_index=index, factor=0.5, patience=0, min_lr=0.05
    )
    assert observe(scheduler, [1.0, 1.0])[1] == expected
    assert scheduler.get_param() == expected[index]
    observe(scheduler, [1.0] * 9)
    assert scheduler.get_param() == pytest.approx(0.05)
    assert lrs_of(scheduler.optimizer)[1 - index % 2] == (0.1, 0.4)[1 - index % 2]


def test_groups_are_found_again_after_the_optimizer_is_loaded():
    scheduler = ReduceLROnPlateauScheduler(make_optimizer(), "loss", factor=0.5, patience=0)
    scheduler.optimizer.load_state_dict(scheduler.optimizer.state_dict())
    assert observe(scheduler, [1.0, 1.0])[1] == [0.05, 0.2]
    assert scheduler.get_param() == [0.05, 0.2]


def test_optimizers_of_other_libraries_do():
    class Other:
        def __init__(self):
            self.param_groups = [{"lr": 1.0}]

    assert observe(
        ReduceLROnPlateauScheduler(Other(), "loss", factor=0.5, patience=0), [1.0, 1.0]
    ) == [[1.0], [0.5]]


def test_it_listens_to_the_evaluator_and_writes_to_the_trainer():
    trainer, evaluator = make_engine(), make_engine()
    losses = iter([1.0, 0.5, 0.7, 0.7])
    evaluator.add_event_handler(
        Events.COMPLETED, lambda e: e.state.metrics.update(loss=torch.tensor(next(losses)))
    )
    optimizer = make_optimizer((1.0,))
    scheduler = ReduceLROnPlateauScheduler(
        optimizer, "loss", trainer=trainer, save_history=True, factor=0.5, patience=0
    )
    scheduler.attach(evaluator, Events.COMPLETED)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0]))
    trainer.run([0], max_epochs=4)
    assert trainer.state.param_history == {"lr": [[1.0], [1.0], [0.5], [0.25]]}
    assert not hasattr(evaluator.state, "param_history")
    assert scheduler.event_index == 4


def test_the_trainer_goes_without_the_garbage_collector():
    trainer, evaluator = make_engine(), make_engine()
    scheduler = ReduceLROnPlateauScheduler(
        make_optimizer(), "loss", trainer=trainer, save_history=True
    )
    scheduler.attach(evaluator, Events.COMPLETED)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, evaluator.run)
    gone = [weakref.ref(one) for one in (trainer, evaluator, scheduler)]
    with no_garbage_collection():
        del trainer, evaluator, scheduler
        assert [one() for one in gone] == [None] * 3


def test_a_metric_that_is_not_there():
    engine = make_engine()
    engine.state.metrics = {"accuracy": 1.0}
    scheduler = ReduceLROnPlateauScheduler(make_optimizer(), "loss")
    with pytest.raises(
        ValueError,
        match=r"itself has the metric loss, but given one with the metrics \['accuracy'\]",
    ):
        scheduler(engine)
    assert scheduler.event_index == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"param_group_index": 0, "min_lr": [0.1]},
            TypeError,
            "min_lr should be a float, but given <class 'list'>",
        ),
        ({"param_group_index": 2}, IndexError, "of the optimizer, which has 2, but given 2"),
        ({"factor": 2.0}, ValueError, "Factor should be < 1.0"),
        ({"paitence": 2}, TypeError, "unexpected keyword argument 'paitence'"),
    ],
)
def test_arguments_that_make_no_sense(options, error, message):
    with pytest.raises(error, match=message):
        ReduceLROnPlateauScheduler(make_optimizer(), "loss", **options)


def test_printing_is_over():
    with pytest.warns(UserWarning, match="verbose=True is ignored"):
        ReduceLROnPlateauScheduler(make_optimizer(), "loss", verbose=True)
    ReduceLROnPlateauScheduler(make_optimizer(), "loss", verbose=False)


def test_a_simulation():
    rows = ReduceLROnPlateauScheduler.simulate_values(
        5, [1.0] * 5, init_lr=0.8, factor=0.5, patience=0, min_lr=0.3, save_history=True
    )
    assert rows == [[0, 0.8], [1, 0.4], [2, 0.3], [3, 0.3], [4, 0.3]]
    with pytest.raises(ValueError, match="should be equal to num_events. 1 != 3"):
        ReduceLROnPlateauScheduler.simulate_values(3, [1.0], 0.1)


def test_the_state_can_be_loaded_safely():
    scheduler = ReduceLROnPlateauScheduler(make_optimizer(), "loss", patience=1)
    observe(scheduler, [torch.tensor(0.5), torch.tensor(0.7)])
    file = io.BytesIO()
    torch.save(scheduler.state_dict(), file)
    file.seek(0)
    assert torch.load(file, weights_only=True) == scheduler.state_dict()
    assert scheduler.state_dict()["scheduler"]["num_bad_epochs"] == 1


def test_a_state_of_ignite_fits_and_its_methods_and_zeros_stay_away():
    """As recorded from pytorch-ignite 0.5.5."""
    scheduler = ReduceLROnPlateauScheduler(make_optimizer(), "loss", factor=0.1, min_lr=0.08)
    inner = {
        "_last_lr": [0.05, 0.05], "_reduce_lr": None, "best": 1.0, "cooldown": 0, "cooldown_counter": 0,
        "default_min_lr": 0, "eps": 1e-8, "factor": 0.5, "last_epoch": 4, "min_lrs": [0, 0], "mode": "min",
        "mode_worse": float("inf"), "num_bad_epochs": 1, "patience": 1, "threshold": 1e-4, "threshold_mode": "rel",
    }  # fmt: skip
    state = {"event_index": 4, "param_name": "lr", "save_history": True, "param_group_index": None}
    scheduler.load_state_dict({**state, "metric_name": "loss", "scheduler": inner})
    assert observe(scheduler, [1.0]) == [[0.08, 0.2]]


@pytest.mark.parametrize("key", ["event_index", "param_name", "metric_name", "scheduler"])
def test_every_key_is_needed(key):
    scheduler = ReduceLROnPlateauScheduler(make_optimizer(), "loss")
    before = scheduler.state_dict()
    state = {name: value for name, value in before.items() if name != key}
    with pytest.raises(
        ValueError, match=f"Required state attribute '{key}' is absent in provided state_dict"
    ):
        scheduler.load_state_dict(state)
    assert scheduler.state_dict() == before


def test_a_state_that_does_not_fit_changes_nothing():
    scheduler = ReduceLROnPlateauScheduler(make_optimizer(), "loss")
    before = copy.deepcopy(scheduler.state_dict())
    with pytest.raises(
        TypeError, match="scheduler in state_dict should be a dictionary, but given <class 'int'>"
    ):
        scheduler.load_state_dict({**before, "event_index": 3, "scheduler": 3})
    assert scheduler.state_dict() == before


def test_copies_go_their_own_way():
    scheduler = ReduceLROnPlateauScheduler(
        make_optimizer(), "loss", trainer=make_engine(), factor=0.5, patience=0
    )
    twin = copy.deepcopy(scheduler)
    assert observe(twin, [1.0, 1.0])[1] == [0.05, 0.2]
    assert lrs_of(scheduler.optimizer) == [0.1, 0.4]
    assert twin.trainer is None
