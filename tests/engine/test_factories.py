"""The trainers and evaluators created by the factories."""

import inspect
import re
import sys
from types import ModuleType

import pytest
import torch

import ignite.engine
from ignite.engine import (
    BackpropEvents,
    DeterministicEngine,
    Engine,
    Events,
    _check_arg,
    create_supervised_evaluator,
    create_supervised_trainer,
)
from support.linear_models import linear, make_batches

mse = torch.nn.functional.mse_loss


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def make_trainer(**options):
    model = linear()
    return create_supervised_trainer(model, sgd(model), mse, **options)


def make_evaluator(**options):
    return create_supervised_evaluator(linear(), **options)


MAKERS = [make_trainer, make_evaluator]


class Attached:
    """What can be given as a metric: it attaches itself."""

    def __init__(self, calls):
        self.calls = calls

    def attach(self, engine, name):
        self.calls.append((engine, name))


def test_a_trainer_trains_as_a_hand_written_loop_does():
    model, expected = linear(), linear()
    optimizer, losses, reported = sgd(expected), [], []
    for x, y in make_batches(3) * 2:
        optimizer.zero_grad()
        loss = mse(expected(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    trainer = create_supervised_trainer(model, sgd(model), mse)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: reported.append(trainer.state.output)
    )
    trainer.run(make_batches(3), max_epochs=2)
    assert reported == losses
    assert all(
        torch.equal(p, q) for p, q in zip(model.parameters(), expected.parameters(), strict=True)
    )


def test_all_arguments_reach_the_training_step():
    model, calls = linear(), []

    def prepare_batch(batch, device, non_blocking):
        calls.append(("prepare_batch", device, non_blocking))
        return batch

    trainer = create_supervised_trainer(
        model,
        sgd(model),
        lambda y_pred, y: mse(y_pred, y),
        "cpu",
        True,
        prepare_batch,
        lambda output: calls.append("model_transform") or output[0],
        lambda x, y, y_pred, loss: calls.append("output_transform") or "output",
        gradient_accumulation_steps=2,
        model_fn=lambda given, x: calls.append("model_fn") or [given(x)],
        clip_grad_norm=0.25,
        clip_grad_value=0.125,
    )
    largest, norms = [], []

    @trainer.on(BackpropEvents.OPTIM_STEP_STARTED)
    def look():
        largest.append(max(p.grad.abs().max().item() for p in model.parameters()))
        norms.append(sum(p.grad.square().sum().item() for p in model.parameters()) ** 0.5)

    trainer.run(make_batches(2))
    once = [("prepare_batch", "cpu", True), "model_fn", "model_transform", "output_transform"]
    assert calls == once * 2
    assert trainer.state.output == "output"
    assert len(norms) == 1
    assert norms[0] == pytest.approx(0.25, rel=1e-3)
    assert largest[0] <= 0.125


def test_all_arguments_reach_the_evaluation_step():
    calls = []

    def prepare_batch(batch, device, non_blocking):
        calls.append(("prepare_batch", device, non_blocking))
        return batch

    evaluator = create_supervised_evaluator(
        linear(),
        None,
        "cpu",
        True,
        prepare_batch,
        lambda output: calls.append("model_transform") or output[0],
        lambda x, y, y_pred: calls.append("output_transform") or "output",
        model_fn=lambda given, x: calls.append("model_fn") or [given(x)],
    )
    evaluator.run(make_batches(1))
    assert calls == [
        ("prepare_batch", "cpu", True),
        "model_fn",
        "model_transform",
        "output_transform",
    ]
    assert evaluator.state.output == "output"


def test_metrics_are_attached_under_their_names_in_order():
    calls = []
    evaluator = create_supervised_evaluator(
        linear(), metrics={"b": Attached(calls), "a": Attached(calls)}
    )
    assert calls == [(evaluator, "b"), (evaluator, "a")]


def test_the_kind_of_engine_is_as_asked_for():
    assert type(make_trainer()) is Engine
    assert type(make_trainer(deterministic=True)) is DeterministicEngine
    assert type(make_evaluator()) is Engine


def test_a_deterministic_trainer_trains_with_windows_too():
    trainer = make_trainer(deterministic=True, gradient_accumulation_steps=2)
    steps = []
    trainer.add_event_handler(
        BackpropEvents.OPTIM_STEP_COMPLETED, lambda: steps.append(trainer.state.iteration)
    )
    trainer.run(make_batches(3), max_epochs=2)
    assert steps == [2, 3, 5, 6]


def test_the_trainer_registers_the_events_of_its_step():
    trainer = make_trainer()
    assert all(trainer.has_registered_events(event) for event in BackpropEvents)


@pytest.mark.parametrize(
    ("options", "factory"),
    [
        ({}, "supervised_training_step"),
        ({"amp_mode": "amp"}, "supervised_training_step_amp"),
        ({"amp_mode": "apex"}, "supervised_training_step_apex"),
        ({"device": "xla"}, "supervised_training_step_tpu"),
        ({"device": torch.device("xla:1")}, "supervised_training_step_tpu"),
    ],
)
def test_the_training_step_is_taken_from_where_programs_can_put_their_own(
    monkeypatch, options, factory
):
    monkeypatch.setitem(sys.modules, "torch_xla", ModuleType("torch_xla"))
    made = []

    def own_factory(  # Ignite's signature, without what is new here
        model, optimizer, loss_fn, device=None, non_blocking=False, prepare_batch=None, model_transform=None,
        output_transform=None, gradient_accumulation_steps=1, model_fn=None, scaler=None,
    ):  # fmt: skip
        made.append((device, gradient_accumulation_steps, scaler))
        return lambda engine, batch: "own"

    monkeypatch.setattr(ignite.engine, factory, own_factory)
    trainer = make_trainer(gradient_accumulation_steps=2, **options)
    assert trainer.run([0]).output == "own"
    assert made == [(options.get("device"), 2, None)]


@pytest.mark.parametrize(
    ("options", "factory"),
    [
        ({}, "supervised_evaluation_step"),
        ({"amp_mode": "amp"}, "supervised_evaluation_step_amp"),
        ({"device": "xla"}, "supervised_evaluation_step"),
    ],
)
def test_the_evaluation_step_is_taken_from_where_programs_can_put_their_own(
    monkeypatch, options, factory
):
    monkeypatch.setitem(sys.modules, "torch_xla", ModuleType("torch_xla"))

    def own_factory(
        model, device=None, non_blocking=False, prepare_batch=None, model_transform=None, output_transform=None,
        model_fn=None,
    ):  # fmt: skip
        return lambda engine, batch: "own"

    monkeypatch.setattr(ignite.engine, factory, own_factory)
    assert make_evaluator(**options).run([0]).output == "own"


def test_a_scaler_that_was_asked_for_is_put_into_the_state_and_a_given_one_is_not():
    trainer = make_trainer(amp_mode="amp", scaler=True)
    assert isinstance(trainer.state.scaler, torch.amp.GradScaler)
    assert trainer.state.scaler.is_enabled()

    given = torch.amp.GradScaler("cpu", init_scale=4.0)
    trainer = make_trainer(amp_mode="amp", scaler=given)
    assert not hasattr(trainer.state, "scaler")
    assert not hasattr(make_trainer(amp_mode="amp").state, "scaler")
    assert not hasattr(make_trainer().state, "scaler")


def test_the_choice_of_the_step():
    given = torch.amp.GradScaler("cpu")
    assert _check_arg(False, False, None, False) == (None, None)
    assert _check_arg(False, False, None, None) == (None, None)
    assert _check_arg(False, True, None, None) == (None, None)
    assert _check_arg(False, False, "apex", False) == ("apex", None)
    assert _check_arg(False, False, "amp", False) == ("amp", None)
    assert _check_arg(False, False, "amp", None) == ("amp", None)
    assert _check_arg(False, False, "amp", given) == ("amp", given)
    mode, scaler = _check_arg(False, False, "amp", True, "cpu")
    assert (mode, type(scaler)) == ("amp", torch.amp.GradScaler)


@pytest.mark.parametrize("make", MAKERS)
def test_devices_that_know_no_mixed_precision_refuse_it(make):
    with pytest.raises(
        ValueError, match="amp_mode cannot be used with mps device, but given 'amp'"
    ):
        make(device="mps", amp_mode="amp")
    with pytest.raises(
        ValueError, match="amp_mode cannot be used with xla device, but given 'apex'"
    ):
        make(device="xla", amp_mode="apex")


@pytest.mark.parametrize("make", MAKERS)
def test_a_mode_that_does_not_exist_is_refused(make):
    with pytest.raises(
        ValueError, match="amp_mode should be None, 'amp' or 'apex', but given 'fp8'"
    ):
        make(amp_mode="fp8")


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("mode", [None, "apex"])
def test_a_dtype_without_autocast_is_refused(make, mode, monkeypatch):
    monkeypatch.setitem(sys.modules, "apex", ModuleType("apex"))
    message = f"amp_dtype should be given with amp_mode='amp', but given 'bfloat16' with {mode!r}"
    with pytest.raises(ValueError, match=message):
        make(amp_mode=mode, amp_dtype="bfloat16")


@pytest.mark.parametrize("mode", [None, "apex"])
@pytest.mark.parametrize("scaler", [True, torch.amp.GradScaler("cpu")])
def test_a_scaler_without_autocast_is_refused(mode, scaler):
    message = f"scaler argument is {scaler}, but amp_mode is {mode}. Consider using amp_mode='amp'."
    with pytest.raises(ValueError, match=re.escape(message)):
        make_trainer(amp_mode=mode, scaler=scaler)


@pytest.mark.parametrize("make", MAKERS)
def test_xla_without_its_package_is_refused(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_xla", None)
    with pytest.raises(RuntimeError, match="In order to run on TPU, please install PyTorch XLA"):
        make(device="xla")


def test_apex_without_its_package_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "apex", None)
    with pytest.raises(ModuleNotFoundError, match="Please install apex"):
        make_trainer(amp_mode="apex")


@pytest.mark.parametrize("make", MAKERS)
def test_mps_is_used_in_full_precision(make):
    assert isinstance(make(device="mps"), Engine)


@pytest.mark.parametrize("make", MAKERS)
def test_compile_reaches_the_step(make, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda model, **options: asked.append(options) or model)
    make(compile=True)
    make(compile={"dynamic": True})
    make()
    assert asked == [{}, {"dynamic": True}]


NEW = {"clip_grad_norm": None, "clip_grad_value": None, "amp_dtype": None, "compile": False}


def test_the_signatures_are_ignites_and_what_is_new_is_given_by_keyword():
    trainer = inspect.signature(create_supervised_trainer).parameters
    assert list(trainer)[:13] == [
        "model", "optimizer", "loss_fn", "device", "non_blocking", "prepare_batch", "model_transform",
        "output_transform", "deterministic", "amp_mode", "scaler", "gradient_accumulation_steps", "model_fn",
    ]  # fmt: skip
    assert {name: p.default for name, p in trainer.items() if p.kind is p.KEYWORD_ONLY} == NEW
    assert len(trainer) == 17

    evaluator = inspect.signature(create_supervised_evaluator).parameters
    assert list(evaluator)[:9] == [
        "model", "metrics", "device", "non_blocking", "prepare_batch", "model_transform", "output_transform",
        "amp_mode", "model_fn",
    ]  # fmt: skip
    assert {n: p.default for n, p in evaluator.items() if p.kind is p.KEYWORD_ONLY} == {
        "amp_dtype": None,
        "compile": False,
    }


@pytest.mark.parametrize(("options", "is_told"), [
    ({"amp_mode": "amp"}, True), ({"amp_mode": "amp", "device": "cpu"}, True),
    ({"amp_mode": "amp", "device": "cuda"}, False),
    ({"amp_mode": "amp", "amp_dtype": "bfloat16"}, False), ({}, False),
])  # fmt: skip
def test_autocast_on_the_cpu_is_reported_because_ignite_ignores_it(options, is_told, caplog):
    model = torch.nn.Linear(1, 1)
    create_supervised_trainer(
        model, torch.optim.SGD(model.parameters(), 0.1), torch.nn.MSELoss(), **options
    )
    create_supervised_evaluator(model, **options)
    said = [
        record.levelname
        for record in caplog.records
        if "bfloat16 on the CPU" in record.getMessage()
    ]
    assert said == ["WARNING", "WARNING"] * is_told


SUPERVISED = [name for name in ignite.engine.__all__ if "supervised" in name]


@pytest.mark.parametrize("name", SUPERVISED)
def test_the_docstring_describes_each_argument(name):
    function = getattr(ignite.engine, name)
    described = re.findall(r"^    (\w+): \S", inspect.getdoc(function), re.M)
    parameters = list(inspect.signature(function).parameters)
    assert described[: len(parameters)] == parameters
