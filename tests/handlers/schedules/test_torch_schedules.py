import copy
import io
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler as schedules
from torch.optim.swa_utils import SWALR

from ignite.engine import Engine, Events
from ignite.handlers.param_scheduler import LRScheduler

NUM_STEPS = 24


class Growing:
    """A callable with a state of its own, which torch saves."""

    def __init__(self):
        self.rate = 1.1

    def __call__(self, epoch):
        return self.rate**epoch


MAKERS = {
    "step": lambda o: schedules.StepLR(o, 3, gamma=0.5),
    "multistep": lambda o: schedules.MultiStepLR(o, [2, 5, 5, 9], gamma=0.5),
    "constant": lambda o: schedules.ConstantLR(o, factor=0.25, total_iters=4),
    "linear": lambda o: schedules.LinearLR(o, 0.1, 1.0, total_iters=7),
    "exponential": lambda o: schedules.ExponentialLR(o, 0.9),
    "polynomial": lambda o: schedules.PolynomialLR(o, total_iters=10, power=2.0),
    "cosine": lambda o: schedules.CosineAnnealingLR(o, 6, eta_min=0.01),
    "restarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 3, T_mult=2),
    "lambda": lambda o: schedules.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    "object": lambda o: schedules.LambdaLR(o, Growing()),
    "multiplicative": lambda o: schedules.MultiplicativeLR(
        o, lambda epoch: 0.9 if epoch % 2 else 1.05
    ),
    "sequential": lambda o: schedules.SequentialLR(
        o,
        [schedules.ConstantLR(o, 0.1, 2), schedules.ExponentialLR(o, 0.9), schedules.StepLR(o, 2)],
        [3, 8],
    ),
    "chained": lambda o: schedules.ChainedScheduler(
        [schedules.ConstantLR(o, 0.1, 2), schedules.ExponentialLR(o, 0.9)]
    ),
    "cyclic": lambda o: schedules.CyclicLR(o, 0.01, 0.1, step_size_up=4),
    "cyclic falling": lambda o: schedules.CyclicLR(
        o, 0.01, 0.1, step_size_up=4, mode="exp_range", gamma=0.9
    ),
    "one cycle": lambda o: schedules.OneCycleLR(o, 0.1, total_steps=NUM_STEPS),
    "swa": lambda o: SWALR(o, swa_lr=0.05, anneal_epochs=5),
}


def make_optimizer(lrs=(0.1, 0.3)):
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in lrs]
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def values_of(optimizer):
    return [(float(group["lr"]), group["momentum"]) for group in optimizer.param_groups]


def torchs_own(make, num_steps=NUM_STEPS, lrs=(0.1, 0.3)):
    """What the optimizer uses in the plain loop."""
    optimizer = make_optimizer(lrs)
    scheduler = make(optimizer)
    used = []
    for _ in range(num_steps):
        used.append(values_of(optimizer))
        optimizer.step()
        scheduler.step()
    return used


class Run:
    """The same with the handler."""

    def __init__(self, make, event=Events.ITERATION_STARTED, **options):
        self.optimizer = make_optimizer()
        self.scheduler = LRScheduler(make(self.optimizer), **options)
        self.used = []
        self.trainer = Engine(self.step)
        self.scheduler.attach(self.trainer, event)

    def step(self, engine, batch):
        self.used.append(values_of(self.optimizer))
        self.optimizer.step()

    def go(self, num_steps=NUM_STEPS):
        self.trainer.run(range(num_steps), max_epochs=1)
        return self.used


@pytest.mark.parametrize("name", MAKERS)
def test_each_iteration_uses_what_torch_uses(name):
    assert Run(MAKERS[name]).go() == torchs_own(MAKERS[name])


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("num_before", [0, 1, 2, 7, 15])
def test_a_resumed_run_continues_exactly(name, num_before):
    first = Run(MAKERS[name])
    if num_before:
        first.go(num_before)
    file = io.BytesIO()
    torch.save([first.optimizer.state_dict(), first.scheduler.state_dict()], file)
    file.seek(0)
    second = Run(MAKERS[name])
    for one, state in zip(
        [second.optimizer, second.scheduler], torch.load(file, weights_only=True), strict=True
    ):
        one.load_state_dict(state)
    assert first.used + second.go(NUM_STEPS - num_before) == torchs_own(MAKERS[name])


@pytest.mark.parametrize("name", MAKERS)
def test_looking_ahead_changes_nothing(name):
    run = Run(MAKERS[name])
    run.go(5)
    scheduler = run.scheduler.lr_scheduler
    before = copy.deepcopy([scheduler.state_dict(), run.optimizer.state_dict()])
    ahead = run.scheduler.get_param()
    rows = LRScheduler.simulate_values(NUM_STEPS - 6, scheduler)
    assert [scheduler.state_dict(), run.optimizer.state_dict()] == before
    expected = torchs_own(MAKERS[name])
    assert ahead == [lr for lr, _ in expected[5]]
    assert [row[1:] for row in rows] == [[lr for lr, _ in values] for values in expected[4:-2]]
    assert [row[0] for row in rows] == list(range(NUM_STEPS - 6))


def test_what_a_simulation_has_changed_is_restored_if_it_fails():
    optimizer = make_optimizer()
    scheduler = schedules.OneCycleLR(optimizer, 0.1, total_steps=4)
    before = copy.deepcopy([scheduler.state_dict(), optimizer.state_dict()])
    with pytest.raises(ValueError, match="Tried to step 5 times"):
        LRScheduler.simulate_values(9, scheduler)
    assert [scheduler.state_dict(), optimizer.state_dict()] == before


@settings(max_examples=25, deadline=None)
@given(
    gamma=st.floats(0.5, 1.0),
    size=st.integers(1, 6),
    lr=st.floats(1e-3, 1.0),
    num_before=st.integers(0, 19),
)
def test_any_step_schedule_is_the_closed_form(gamma, size, lr, num_before):
    optimizer = make_optimizer([lr])
    scheduler = LRScheduler(schedules.StepLR(optimizer, size, gamma))
    used = []
    for k in range(20):
        if k == num_before:
            states = [optimizer.state_dict(), scheduler.state_dict()]
            optimizer = make_optimizer([lr])
            scheduler = LRScheduler(schedules.StepLR(optimizer, size, gamma))
            optimizer.load_state_dict(states[0])
            scheduler.load_state_dict(states[1])
        scheduler(None)
        used.append(optimizer.param_groups[0]["lr"])
    assert used == pytest.approx([lr * gamma ** (k // size) for k in range(20)])


def test_the_legacy_way_is_for_the_end_of_iterations():
    with pytest.warns(
        UserWarning, match="the first lr value from the optimizer, otherwise it will be skipped"
    ):
        run = Run(MAKERS["exponential"], Events.ITERATION_COMPLETED, use_legacy=True)
    assert run.go(6) == torchs_own(MAKERS["exponential"], 6)


def test_the_legacy_way_is_resumed_as_such():
    with pytest.warns(UserWarning, match="use_legacy"):
        first = Run(MAKERS["exponential"], Events.ITERATION_COMPLETED, use_legacy=True)
    first.go(3)
    second = Run(MAKERS["exponential"], Events.ITERATION_COMPLETED)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.scheduler.load_state_dict(first.scheduler.state_dict())
    assert first.used + second.go(3) == torchs_own(MAKERS["exponential"], 6)


def test_a_learning_rate_in_a_tensor_is_written_in_place():
    weight = torch.zeros(1, requires_grad=True)
    rate = torch.tensor(1.0)
    optimizer = torch.optim.Adam([weight], lr=rate)
    scheduler = LRScheduler(schedules.ExponentialLR(optimizer, 0.5), save_history=True)
    trainer = Engine(lambda engine, batch: optimizer.param_groups[0]["lr"].item())
    scheduler.attach(trainer)
    assert trainer.run([0] * 3).output == 0.25
    assert optimizer.param_groups[0]["lr"] is rate
    assert trainer.state.param_history == {
        "lr": [[torch.tensor(1.0)], [torch.tensor(0.5)], [torch.tensor(0.25)]]
    }
    scheduler.get_param()
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate == 0.25


def test_changes_by_hand_stay_as_they_do_in_torch():
    """Such as the reduction after a spike: most of torch's schedulers go on from what they find."""
    run = Run(MAKERS["exponential"])
    handle = run.trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=2), lambda: halve(run.optimizer)
    )
    run.go(4)
    handle.remove()
    lrs = [values[0][0] for values in run.used]
    assert lrs == pytest.approx([0.1, 0.09, 0.5 * 0.081, 0.5 * 0.0729])


def halve(optimizer):
    for group in optimizer.param_groups:
        group["lr"] /= 2


def test_the_history_has_a_list_for_each_event():
    run = Run(MAKERS["exponential"], save_history=True)
    run.go(3)
    assert run.trainer.state.param_history == {"lr": [pytest.approx(row) for row in EXPONENTIAL]}


EXPONENTIAL = [[0.1, 0.3], [0.09, 0.27], [0.081, 0.243]]


def test_the_first_step_needs_none_of_the_optimizer():
    """With gradients accumulated over two iterations, say, there is none."""
    scheduler = LRScheduler(MAKERS["step"](make_optimizer()))
    for _ in range(4):
        scheduler(None)  # warnings are errors


def test_later_warnings_of_torch_come_through():
    class Chatty(schedules.LRScheduler):
        def get_lr(self):
            if self.last_epoch == 1:
                warnings.warn("I was asked for a value", UserWarning, stacklevel=1)
            return [group["lr"] for group in self.optimizer.param_groups]

    scheduler = LRScheduler(Chatty(make_optimizer()))
    scheduler(None)
    with pytest.warns(UserWarning, match="I was asked for a value"):
        scheduler(None)


def test_a_warning_of_each_step_is_shown_once():
    class Chatty(schedules.LRScheduler):
        def get_lr(self):
            warnings.warn("I was asked for a value", UserWarning, stacklevel=1)
            return [group["lr"] for group in self.optimizer.param_groups]

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        run = Run(Chatty)
        run.go(2)  # the first step is a quiet one, which makes Python forget what it has shown
        shown.clear()
        run.go(8)
    assert len(shown) == 1


def test_a_failing_step_is_not_counted():
    optimizer = make_optimizer()
    scheduler = LRScheduler(schedules.OneCycleLR(optimizer, 0.1, total_steps=2))
    for _ in range(3):
        scheduler(None)
    with pytest.raises(ValueError, match="Tried to step 3 times"):
        scheduler(None)
    assert scheduler.event_index == 3


def of_ignite(num_calls, **changes):
    """As recorded from pytorch-ignite 0.5.5, StepLR(step_size=2, gamma=0.1), lr=0.1, after three calls."""
    inner = {
        "step_size": 2, "gamma": 0.1, "base_lrs": [0.1], "last_epoch": num_calls, "_step_count": 1,
        "_is_initial": False, "_get_lr_called_within_step": False, "_last_lr": [0.1],
    }  # fmt: skip
    state = {
        "event_index": num_calls,
        "param_name": "lr",
        "save_history": False,
        "param_group_index": None,
    }
    return {**state, "lr_scheduler": inner, **changes}


@pytest.mark.parametrize("num_before", [0, 1, 2, 3])
def test_a_state_of_ignite_fits(num_before):
    expected = [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    optimizer = make_optimizer([expected[max(num_before - 1, 0)]])
    scheduler = LRScheduler(schedules.StepLR(optimizer, 2))
    scheduler.load_state_dict(of_ignite(num_before))
    used = []
    for _ in range(num_before, 6):
        scheduler(None)
        used.append(optimizer.param_groups[0]["lr"])
    assert used == pytest.approx(expected[num_before:])


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (3, TypeError, "should be a dictionary, but given <class 'int'>"),
        ({}, ValueError, "'event_index' is absent"),
        (
            of_ignite(3, lr_scheduler=3),
            TypeError,
            "lr_scheduler in state_dict should be a dictionary, but given <class",
        ),
        (
            of_ignite(3, event_index=-1),
            ValueError,
            "event_index in state_dict should be at least 0, but given -1",
        ),
        (
            of_ignite(3, event_index=1.5),
            TypeError,
            "event_index in state_dict should be an integer, but given 1.5",
        ),
        (
            of_ignite(3, param_name="momentum"),
            ValueError,
            "of a scheduler of 'lr', but given one of 'momentum'",
        ),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(state, error, message):
    scheduler = LRScheduler(MAKERS["step"](make_optimizer()))
    before = copy.deepcopy(scheduler.state_dict())
    with pytest.raises(error, match=message):
        scheduler.load_state_dict(state)
    assert scheduler.state_dict() == before


def test_a_state_that_torch_refuses_changes_nothing():
    scheduler, other = (
        LRScheduler(MAKERS[name](make_optimizer())) for name in ("sequential", "step")
    )
    scheduler(None)
    other(None)
    other(None)
    before = copy.deepcopy(scheduler.state_dict())
    with pytest.raises(KeyError):
        scheduler.load_state_dict(other.state_dict())
    assert scheduler.state_dict() == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            1,
            "should be a subclass of torch.optim.lr_scheduler.LRScheduler, but given <class 'int'>",
        ),
        (
            schedules.ReduceLROnPlateau(make_optimizer()),
            "without a metric, but given ReduceLROnPlateau: use Reduce",
        ),
    ],
    ids=["number", "plateau"],
)
def test_what_cannot_be_stepped_is_refused(given, message):
    with pytest.raises(TypeError, match=message):
        LRScheduler(given)


def test_a_copy_goes_its_own_way():
    optimizer = make_optimizer()
    scheduler = LRScheduler(MAKERS["exponential"](optimizer))
    twin = copy.deepcopy(scheduler)
    for _ in range(3):
        twin(None)
    assert values_of(optimizer)[0][0] == 0.1
    assert twin.optimizer.param_groups[0]["lr"] == pytest.approx(0.081)


def test_the_first_steps_after_resuming_need_none_of_the_optimizer():
    """Also that of a part of the scheduler whose turn has come, and which torch has not seen before."""
    first = Run(MAKERS["sequential"])
    first.go(3)
    second = Run(MAKERS["sequential"])
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.scheduler.load_state_dict(first.scheduler.state_dict())
    second.scheduler(second.trainer)  # warnings are errors
    second.optimizer.step()
    second.scheduler(second.trainer)


def test_simulations_need_no_step_of_the_optimizer():
    rows = LRScheduler.simulate_values(12, MAKERS["sequential"](make_optimizer()))
    assert [row[1] for row in rows] == [
        values[0][0] for values in torchs_own(MAKERS["sequential"], 12)
    ]


def test_a_state_that_is_loaded_again_needs_no_step_of_the_optimizer():
    """A run that is wound back to its beginning, with an optimizer that has not been stepped since."""
    scheduler, trainer = (
        LRScheduler(MAKERS["step"](make_optimizer())),
        Engine(lambda engine, batch: None),
    )
    scheduler(trainer)
    beginning = copy.deepcopy(scheduler.state_dict())
    for _ in range(3):
        scheduler(trainer)
    scheduler.load_state_dict(beginning)
    scheduler(trainer)  # warnings are errors
    assert scheduler.event_index == 2
