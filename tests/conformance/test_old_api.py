"""Names and arguments of Ignite 0.1 to 0.5.3 that 0.5.5 lacks, recorded by ``record_old_api.py``, work here."""

import importlib
import inspect
import json
import warnings
from pathlib import Path

import pytest
import torch

from conformance.test_api import mismatch, parse
from ignite._core.old_arguments import OldOrder, dropped, renamed, takes_old
from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.handlers.param_scheduler import (
    ConcatScheduler,
    CosineAnnealingScheduler,
    PiecewiseLinear,
    create_lr_scheduler_with_warmup,
)
from ignite.metrics import ROC_AUC, Precision
from ignite.metrics.roc_auc import roc_auc_compute_fn
from ignite.utils import convert_tensor, setup_logger

ROWS = json.loads(Path(__file__).with_name("api_before_0.5.5.json").read_text())

PYTHON_2 = "of Python 2"
SAME = "is the same argument under another name, at the same place and by its old name"
OTHER = "is tested in tests/handlers/test_old_arguments.py"
UNUSED = "takes no others: Ignite refused or ignored them"
BASE = "is the base of enums of events, which nobody constructs"
LISTED = "is in docs/compatibility.md, with what to write instead"
DEVIATIONS = {
    "ignite._six": PYTHON_2,
    "ignite._six.with_metaclass": PYTHON_2,
    "ignite._utils.IS_PYTHON2": PYTHON_2,
    "ignite.contrib.handlers.base_logger.BaseHandler.__call__": UNUSED,
    "ignite.contrib.handlers.base_logger.with_metaclass": PYTHON_2,
    "ignite.contrib.handlers.clearml_logger.ClearMLLogger": UNUSED,
    "ignite.contrib.handlers.param_scheduler.ConcatScheduler.simulate_values": UNUSED,
    "ignite.contrib.handlers.param_scheduler.LRScheduler": UNUSED,
    "ignite.contrib.handlers.param_scheduler.with_metaclass": PYTHON_2,
    "ignite.contrib.handlers.tqdm_logger.ProgressBar.events_order": LISTED,
    "ignite.contrib.handlers.tqdm_logger.ProgressBar.log_message": LISTED,
    "ignite.contrib.metrics.cohen_kappa.CohenKappa.get_cohen_kappa_fn": LISTED,
    "ignite.contrib.handlers.trains_logger.TrainsLogger": UNUSED,
    "ignite.engine.engine.CallableEvents": BASE,
    "ignite.engine.engine.Engine.register_events": "takes event_to_attr, the only one there was",
    "ignite.engine.engine.Engine.setup_seed": LISTED,
    "ignite.engine.engine.EventWithFilter": LISTED,
    "ignite.engine.engine.IS_PYTHON2": PYTHON_2,
    "ignite.engine.events.CallableEvents": BASE,
    "ignite.handlers.checkpoint.Checkpoint": OTHER,
    "ignite.handlers.checkpoint.ModelCheckpoint": OTHER,
    "ignite.handlers.early_stopping.EarlyStopping": SAME,
    "ignite.metrics.binary_accuracy.BinaryAccuracy": UNUSED,
    "ignite.metrics.categorical_accuracy.CategoricalAccuracy": UNUSED,
    "ignite.metrics.cohen_kappa.CohenKappa.get_cohen_kappa_fn": LISTED,
    "ignite.metrics.metric.with_metaclass": PYTHON_2,
    "ignite.utils.IS_PYTHON2": PYTHON_2,
}
"""Intended differences with their reasons. A line that has ceased to be needed fails."""


def make_nothing(optimizer, param_name):
    """Stands for a class of schedulers."""


VALUES = {
    "activation": lambda scores: scores,
    "another_engine": Engine(lambda engine, batch: None),
    "average": True,
    "event": Events.EPOCH_COMPLETED,
    "format": "%(message)s",
    "global_step_transform": lambda engine, event_name: 1,
    "optimizer": torch.optim.SGD([torch.zeros(1)], lr=0.1),
    "output_transform": lambda x, y, y_pred, loss=None: y_pred,
    "save_history": True,
    "schedulers_list": [(make_nothing, {}, 3), (make_nothing, {}, None)],
    "step_mode": "exp",
    "warmup_end_value": 0.5,
    "y_preds": torch.zeros(2),
    "amp_mode": None,
    "deterministic": False,
    "gradient_accumulation_steps": 1,
    "scaler": None,
    "show_legend": True,
}
"""What programs pass, where the type of a value tells which order of arguments is meant."""


def resolve(path):
    parts = path.split(".")
    for size in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:size]))
        except ImportError:
            continue
        for name in parts[size:]:
            found = getattr(found, name)
        return found
    raise AttributeError(path)


def problem(path, fact):
    """What a program that relies on the fact does not find here; None if it does."""
    try:
        found = resolve(path)
    except AttributeError:
        return "is missing"
    if fact in ("module", "value", "property"):
        return None
    if fact.startswith("ignite."):
        try:
            return None if resolve(fact) is found else f"is not {fact}"
        except AttributeError:
            return None  # reported where it belongs
    if not callable(found):
        return f"is not callable: {type(found).__name__}"
    return problem_of_calls(fact, found)


def problem_of_calls(text, found):
    recorded = parse(text)
    reason = mismatch(recorded, list(inspect.signature(found).parameters.values()))
    function = found.__init__ if inspect.isclass(found) else found
    if reason is None or not hasattr(function, "convert_old"):
        return reason
    own = {"self": object()} if "self" in inspect.signature(function).parameters else {}
    names = [p.name for p in recorded if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]
    values = {name: VALUES.get(name, object()) for name in names}
    return call_differs(function, own, tuple(values.values()), {}, values) or call_differs(
        function, own, (), values, values
    )


def call_differs(function, own, args, kwargs, values):
    args, kwargs, advice = function.convert_old((*own.values(), *args), kwargs)
    try:
        bound = inspect.signature(function).bind(*args, **kwargs).arguments
    except TypeError as error:
        return str(error)
    arrived = {*map(id, bound.values()), *map(id, bound.get("kwargs", {}).values())}
    lost = [name for name, value in values.items() if id(value) not in arrived]
    if lost and not all(any(name in line for line in advice) for name in lost):
        return f"loses {', '.join(lost)}"
    names = inspect.signature(function).parameters
    moved = [n for n in values if n in names and n not in lost and bound.get(n) is not values[n]]
    return f"takes other values as {', '.join(moved)}" if moved else None


@pytest.fixture(scope="module")
def found():
    problems = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path, fact, releases in ROWS:
            if (reason := problem(path, fact)) is not None:
                problems[path] = f"{reason} ({releases})"
    return problems


def test_all_old_names_are_here_and_take_their_arguments(found):
    assert {path: reason for path, reason in found.items() if path not in DEVIATIONS} == {}


def test_every_exception_is_still_needed(found):
    assert [path for path in DEVIATIONS if path not in found] == [], "works now: remove it"


def test_names_without_an_equivalent_are_documented():
    text = (Path(__file__).parents[2] / "docs" / "compatibility.md").read_text()
    names = [path.rpartition(".")[2] for path, reason in DEVIATIONS.items() if reason == LISTED]
    assert [name for name in names if name not in text] == []


def test_the_record_covers_the_releases():
    assert len(ROWS) > 900
    releases = {release for *_, text in ROWS for release in text.split(" to ")}
    assert {"0.1.0", "0.2.1", "0.3.0", "0.4.2", "0.4.13", "0.5.0.post2", "0.5.3"} <= releases


@takes_old(
    OldOrder("a save_history b", lambda values: len(values) > 1 and values[1] is True),
    arguments={"old": renamed("old", "a"), "gone": dropped("gone", "remove gone")},
)
def planted(a=1, b=2, save_history=False, *, c=3):
    return a, b, save_history, c


@pytest.mark.parametrize(
    ("recorded", "reason"),
    [
        ("a, save_history, b", None),
        ("old", None),
        ("a, *, gone", None),
        ("a, missing", "missing"),
        ("a, b, save_history, d", "too many"),
        ("save_history, a", "other values as save_history, a"),
    ],
)
def test_the_check_finds_planted_faults(recorded, reason):
    try:
        found = problem_of_calls(recorded, planted)
    except TypeError as error:
        found = str(error)
    assert (found is None) if reason is None else reason in found


OPTIMIZER = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
WAVE = (OPTIMIZER, "lr", 0.0, 1.0, 10)
SCORES = torch.tensor([-1.0, 0.5, 2.0]), torch.tensor([0, 1, 1])


def first_values(scheduler):
    return [scheduler.get_param() for _ in range(5) if scheduler(None) is None]


def pieces():
    return {"milestones_values": [(0, 0.0), (3, 0.3)]}, {"milestones_values": [(0, 1.0), (9, 0.1)]}


def concatenated_as_in_0_1():
    listed = [(PiecewiseLinear, pieces()[0], 2), (PiecewiseLinear, pieces()[1], None)]
    return first_values(ConcatScheduler(OPTIMIZER, "lr", listed))


def concatenated():
    both = [PiecewiseLinear(OPTIMIZER, "lr", **given) for given in pieces()]
    return first_values(ConcatScheduler(both, [2]))


def area(*args, **kwargs):
    metric = ROC_AUC(*args, **kwargs)
    metric.update((SCORES[0].flip(0), SCORES[1]))
    return metric.compute()


def one_step(*args, **kwargs):
    model = torch.nn.Linear(1, 1)
    torch.nn.init.ones_(model.weight), torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = create_supervised_trainer(
        model, optimizer, torch.nn.functional.mse_loss, *args, **kwargs
    )
    return step.run([(torch.ones(1, 1), torch.zeros(1, 1))]).output


def shape_of_all(x, y, y_pred, loss):
    return x.shape, y.shape, y_pred.shape, loss.shape


def as_given(batch, device=None, non_blocking=False):
    return batch


def warm(*args):
    torch_scheduler = torch.optim.lr_scheduler.ConstantLR(
        torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5), factor=1.0
    )
    simulated = [None] * 6
    create_lr_scheduler_with_warmup(torch_scheduler, *args, output_simulated_values=simulated)
    return simulated


def run(*args, **kwargs):
    state = Engine(lambda engine, batch: None).run([1] * 9, *args, **kwargs)
    return state.epoch, state.iteration, state.epoch_length


PROGRAMS = {
    "average of the first argument": lambda: (
        Precision(True)._average,
        Precision(average=True)._average,
    ),
    "activation by name": lambda: (area(activation=torch.neg), area(lambda o: (-o[0], o[1]))),
    "activation before the transform": lambda: (
        area(torch.neg, lambda output: output),
        area(lambda output: (-output[0], output[1])),
    ),
    "activation of all scores": lambda: (
        roc_auc_compute_fn(*SCORES, torch.neg),
        roc_auc_compute_fn(-SCORES[0], SCORES[1]),
    ),
    "history of a cycle of 0.1": lambda: (
        CosineAnnealingScheduler(*WAVE, 1.0, True).save_history,
        True,
    ),
    "history of a cycle of 0.4": lambda: (
        (lambda one: (one.save_history, one.param_group_index))(
            CosineAnnealingScheduler(*WAVE, 1.0, 1.0, 1.0, True, 0)
        ),
        (True, 0),
    ),
    "list of schedulers": lambda: (concatenated_as_in_0_1(), concatenated()),
    "end before the duration": lambda: (warm(0.0, 0.25, 3), warm(0.0, 3, 0.25)),
    "output of a step": lambda: (
        one_step(None, False, as_given, shape_of_all),
        one_step(prepare_batch=as_given, output_transform=shape_of_all),
    ),
    "length of an epoch": lambda: (run(2, 3), run(max_epochs=2, epoch_length=3)),
    "input of a conversion": lambda: (
        convert_tensor(input_=SCORES, device="cpu"),
        convert_tensor(SCORES, "cpu"),
    ),
    "format of a log": lambda: (
        setup_logger("old", 10, "%(message)s", reset=True).handlers[0].formatter._fmt,
        "%(message)s",
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_old_calls_give_what_the_lines_of_today_give_and_warn_once(name):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        old, new = PROGRAMS[name]()
    assert repr(old) == repr(new)
    (warning,) = caught
    assert warning.category is DeprecationWarning
    assert "has arguments of an earlier version of Ignite" in str(warning.message)
    assert warning.filename == __file__


def test_a_list_of_schedulers_that_would_be_repeated_is_refused():
    listed = [(PiecewiseLinear, given, 2) for given in pieces()]
    with pytest.raises(ValueError, match="should have the duration None, but given 2"):
        ConcatScheduler(OPTIMIZER, "lr", listed)
