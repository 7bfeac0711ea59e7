"""Autocast, scalers, apex and XLA within the training step."""

import sys
from collections import OrderedDict, defaultdict, namedtuple
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import (
    BackpropEvents,
    Engine,
    create_supervised_evaluator,
    create_supervised_trainer,
    supervised_evaluation_step_amp,
    supervised_training_step_amp,
    supervised_training_step_apex,
    supervised_training_step_tpu,
)
from ignite.engine._supervised.evaluation_step import (
    MixedPrecision,
    device_type_of,
    in_float32,
    to_dtype,
)
from ignite.metrics import Loss
from support import linear_models

mse = torch.nn.functional.mse_loss


def linear(dtype=torch.float32):
    return linear_models.linear(dtype)


def make_batches(number, dtype=torch.float32):
    return linear_models.make_batches(number, dtype=dtype)


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def assert_equal(model, other):
    assert all(
        torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("asked", "computed"),
    [
        (None, torch.bfloat16),
        ("bfloat16", torch.bfloat16),
        ("float16", torch.float16),
        (torch.float16, torch.float16),
    ],
)
def test_the_model_is_called_under_autocast_in_the_dtype_that_was_asked_for(asked, computed):
    model, batches, seen = linear(), make_batches(2), []

    def note(output):
        seen.append(output.dtype)
        return output

    trainer = create_supervised_trainer(
        model,
        sgd(model),
        mse,
        amp_mode="amp",
        amp_dtype=asked,
        model_transform=note,
        output_transform=lambda x, y, y_pred, loss: y_pred.dtype,
    )
    trainer.run(batches)
    evaluator = create_supervised_evaluator(
        model, amp_mode="amp", amp_dtype=asked, model_transform=note
    )
    evaluator.run(batches)
    assert seen == [computed] * 4
    assert trainer.state.output == evaluator.state.output[0].dtype == torch.float32
    assert model.weight.dtype == torch.float32


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "loss_fn",
    [
        mse,
        lambda y_pred, y: (y_pred - y).abs().mean(),
        lambda y_pred, y: (y_pred - y).square().sum() / 4,
    ],
)
def test_losses_and_metrics_under_autocast_are_those_of_the_outputs_in_float32(dtype, loss_fn):
    model, batch = linear(), make_batches(1)[0]
    with torch.autocast("cpu", dtype=getattr(torch, dtype)), torch.no_grad():
        expected = loss_fn(model(batch[0]).double(), batch[1].double()).item()
    evaluator = create_supervised_evaluator(
        model, {"loss": Loss(loss_fn)}, amp_mode="amp", amp_dtype=dtype
    )
    trainer = create_supervised_trainer(model, sgd(model), loss_fn, amp_mode="amp", amp_dtype=dtype)
    assert evaluator.run([batch]).metrics["loss"] == pytest.approx(expected, rel=1e-6)
    assert trainer.run([batch]).output == pytest.approx(expected, rel=1e-6)


Pair = namedtuple("Pair", "logits kind")


@dataclass(frozen=True)
class Result:
    logits: torch.Tensor
    kind: str


class Named(OrderedDict):
    """Stands for the outputs of libraries: a mapping that is not made from a dictionary."""

    def __init__(self, **values):
        super().__init__(values)


half, ids = torch.tensor([0.5], dtype=torch.bfloat16), torch.tensor([7])


@pytest.mark.parametrize(
    ("output", "find"),
    [
        (half, lambda output: output),
        ([ids, (half, None)], lambda output: output[1][0]),
        ({"a": {"b": half}, "n": 3}, lambda output: output["a"]["b"]),
        (defaultdict(list, a=half), lambda output: output["a"]),
        (Pair(half, "x"), lambda output: output.logits),
        (Result(half, "x"), lambda output: output.logits),
        (Named(logits=half, ids=ids), lambda output: output["logits"]),
    ],
)
def test_outputs_of_any_form_keep_it_and_lose_their_half_precision(output, find):
    found = in_float32(output)
    assert type(found) is type(output)
    assert (find(found).dtype, find(found).tolist(), find(output).dtype) == (
        torch.float32,
        [0.5],
        torch.bfloat16,
    )


@pytest.mark.parametrize(
    "output",
    [
        None,
        "a",
        torch.ones(1),
        torch.ones(1, dtype=torch.float64),
        ids,
        (ids, "a"),
        {"a": ids},
        Result(ids, "b"),
        Pair,
    ],
)
def test_outputs_without_half_precision_are_the_very_objects(output):
    assert in_float32(output) is output


def test_the_loss_is_computed_under_autocast_and_the_backward_pass_is_not():
    model, seen = linear(), []

    def loss_fn(y_pred, y):
        seen.append(torch.is_autocast_enabled("cpu"))
        return mse(y_pred, y)

    trainer = create_supervised_trainer(model, sgd(model), loss_fn, amp_mode="amp")
    for event in BackpropEvents:
        trainer.add_event_handler(event, lambda: seen.append(torch.is_autocast_enabled("cpu")))
    trainer.run(make_batches(1))
    assert seen == [True, False, False, False, False]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_training_under_autocast_is_the_hand_written_loop_bit_for_bit(dtype):
    batches, model, expected = make_batches(5), linear(), linear()
    optimizer = sgd(expected)
    for x, y in batches * 2:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=getattr(torch, dtype)):
            loss = mse(expected(x), y)
        loss.backward()
        optimizer.step()
    create_supervised_trainer(model, sgd(model), mse, amp_mode="amp", amp_dtype=dtype).run(
        batches, max_epochs=2
    )
    assert_equal(model, expected)


def test_training_with_autocast_scaler_windows_and_clipping_is_the_hand_written_loop_bit_for_bit():
    batches, model, expected = make_batches(5), linear(), linear()
    optimizer, scaler = sgd(expected), torch.amp.GradScaler("cpu", 1024, growth_interval=2)
    for window in (batches[:2], batches[2:4], batches[4:]):
        optimizer.zero_grad()
        for x, y in window:
            with torch.autocast("cpu", dtype=torch.float16):
                loss = mse(expected(x), y)
            scaler.scale(loss / 2).backward()
        if len(window) == 1:
            for parameter in expected.parameters():
                parameter.grad.mul_(2)
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_value_(expected.parameters(), 0.4)
        torch.nn.utils.clip_grad_norm_(expected.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()

    own = torch.amp.GradScaler("cpu", 1024, growth_interval=2)
    trainer = create_supervised_trainer(
        model, sgd(model), mse, amp_mode="amp", amp_dtype="float16", scaler=own, gradient_accumulation_steps=2,
        clip_grad_norm=0.5, clip_grad_value=0.4,
    )  # fmt: skip
    trainer.run(batches)
    assert_equal(model, expected)
    assert (
        scaler.get_scale() == own.get_scale() == 2048
    )  # grown once in three steps: none was left out
    assert not hasattr(trainer.state, "scaler")


@given(
    steps=st.integers(1, 4),
    number=st.integers(1, 6),
    limit=st.floats(0.01, 5),
    knows_length=st.booleans(),
)
def test_scaled_accumulated_and_clipped_gradients_equal_the_full_batch_ones(
    steps, number, limit, knows_length
):
    """In float64, which autocast leaves alone, so that nothing but the order of sums can differ."""
    batches = make_batches(number, torch.float64)
    expected, model = linear(torch.float64), linear(torch.float64)
    optimizer = sgd(expected)
    for start in range(0, number, steps):
        window = batches[start : start + steps]
        optimizer.zero_grad()
        mse(
            expected(torch.cat([x for x, _ in window])), torch.cat([y for _, y in window])
        ).backward()
        torch.nn.utils.clip_grad_norm_(expected.parameters(), limit)
        optimizer.step()

    trainer = create_supervised_trainer(
        model,
        sgd(model),
        mse,
        amp_mode="amp",
        scaler=True,
        gradient_accumulation_steps=steps,
        clip_grad_norm=limit,
    )
    trainer.run(batches if knows_length else iter(batches))
    for ours, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


def test_gradients_are_scaled_after_the_backward_pass_and_true_before_the_step():
    batches, model, norms = make_batches(1), linear(), []
    trainer = create_supervised_trainer(model, sgd(model), mse, amp_mode="amp", scaler=True)
    for event in (BackpropEvents.BACKWARD_COMPLETED, BackpropEvents.OPTIM_STEP_STARTED):
        trainer.add_event_handler(event, lambda: norms.append(model.weight.grad.norm().item()))
    scale = trainer.state.scaler.get_scale()
    trainer.run(batches)
    assert scale == 65536
    assert norms[0] == pytest.approx(scale * norms[1], rel=1e-2)


def test_a_scaler_leaves_out_a_step_with_infinite_gradients_and_halves_its_scale():
    model, losses = linear(), []
    trainer = create_supervised_trainer(
        model, sgd(model), mse, amp_mode="amp", scaler=True, clip_grad_norm=1.0,
        output_transform=lambda x, y, y_pred, loss: losses.append(loss.item()),
    )  # fmt: skip
    x, y = make_batches(1)[0]
    trainer.run([(x, y * float("inf"))])
    assert_equal(model, linear())
    assert trainer.state.scaler.get_scale() == 65536 / 2
    trainer.run([(x, y)])
    assert model.weight.isfinite().all()
    assert losses == [
        float("inf"),
        pytest.approx(mse(linear()(x), y).item(), rel=1e-2),
    ]  # reported unscaled


@pytest.mark.parametrize("scaler", [True, False])
def test_a_step_that_is_skipped_lets_the_next_one_be_taken(scaler):
    batches, model, expected = make_batches(3), linear(), linear()
    trainer = create_supervised_trainer(model, sgd(model), mse, amp_mode="amp", scaler=scaler)
    trainer.add_event_handler(
        BackpropEvents.OPTIM_STEP_STARTED(once=2), lambda: trainer.skip_iteration()
    )
    trainer.run(batches)
    create_supervised_trainer(expected, sgd(expected), mse, amp_mode="amp", scaler=scaler).run(
        [batches[0], batches[2]]
    )
    assert_equal(model, expected)


def test_the_bare_amp_steps_make_engines_too():
    batches, model, expected = make_batches(3), linear(), linear()
    step = supervised_training_step_amp(
        model, sgd(model), mse, None, False, scaler=torch.amp.GradScaler("cpu"), gradient_accumulation_steps=2,
        clip_grad_norm=0.5, clip_grad_value=0.3, amp_dtype="bfloat16",
    )  # fmt: skip
    Engine(step).run(batches)
    create_supervised_trainer(
        expected, sgd(expected), mse, amp_mode="amp", scaler=True, gradient_accumulation_steps=2,
        clip_grad_norm=0.5, clip_grad_value=0.3,
    ).run(batches)  # fmt: skip
    assert_equal(model, expected)

    evaluator = Engine(supervised_evaluation_step_amp(model, amp_dtype="float16"))
    evaluator.run(batches)
    y_pred = evaluator.state.output[0]
    assert y_pred.dtype == torch.float32
    assert torch.equal(y_pred, y_pred.half().float())


def test_on_cuda_autocast_is_torchs_own():
    if torch.cuda.is_available():
        context = MixedPrecision("cuda:0", linear()).autocast()
    else:
        with pytest.warns(UserWarning, match="CUDA is not available"):
            context = MixedPrecision("cuda:0", linear()).autocast()
    assert (context.device, context.fast_dtype) == ("cuda", torch.float16)


def test_autocast_is_for_the_given_device_else_for_that_of_the_model_else_for_the_cpu():
    assert device_type_of("cuda:1", linear()) == "cuda"
    assert device_type_of(torch.device("xpu"), None) == "xpu"
    assert device_type_of(None, torch.nn.Linear(1, 1, device="meta")) == "meta"
    assert device_type_of(None, torch.nn.Identity()) == "cpu"
    assert device_type_of(None, lambda x: x) == "cpu"


def test_a_model_may_be_moved_after_its_step_is_made(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "autocast", lambda device_type, dtype: asked.append(device_type))
    model = linear()
    precision = MixedPrecision(None, model)
    precision.autocast()
    model.to("meta")
    precision.autocast()
    assert asked == ["cpu", "meta"]


@pytest.mark.parametrize(
    "dtype", ["float32", "nn", "half-precision", torch.float64, torch.int8, 16]
)
def test_a_dtype_that_autocast_does_not_know_is_refused(dtype):
    with pytest.raises(
        ValueError, match=f"amp_dtype should be float16 or bfloat16, but given {dtype!r}"
    ):
        to_dtype(dtype)
    model = linear()
    for make in (
        lambda: supervised_training_step_amp(model, sgd(model), mse, amp_dtype=dtype),
        lambda: supervised_evaluation_step_amp(model, amp_dtype=dtype),
    ):
        with pytest.raises(ValueError, match="amp_dtype should be"):
            make()


@contextmanager
def scale_loss(loss, optimizer):
    """Apex scales the loss, and the gradients back when its block is left."""
    yield loss * 8
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad /= 8


def install(monkeypatch, **modules):
    for name, members in modules.items():
        module = ModuleType(name.replace("__", "."))
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, module.__name__, module)


def test_apex_scales_the_loss(monkeypatch):
    amp = ModuleType("amp")
    amp.scale_loss = scale_loss
    install(monkeypatch, apex={"amp": amp})
    batches, model, expected = make_batches(3), linear(), linear()
    create_supervised_trainer(model, sgd(model), mse, amp_mode="apex").run(batches)
    create_supervised_trainer(expected, sgd(expected), mse).run(batches)
    assert_equal(model, expected)


@pytest.mark.parametrize("installed", [None, ModuleType("apex")])
def test_apex_has_to_be_installed_and_be_the_right_one(monkeypatch, installed):
    monkeypatch.setitem(sys.modules, "apex", installed)
    message = "Please install apex from https://github.com/nvidia/apex to use amp_mode='apex'."
    with pytest.raises(ModuleNotFoundError, match=message):
        supervised_training_step_apex(linear(), sgd(linear()), mse)


def test_on_xla_the_optimizer_steps_through_torch_xla(monkeypatch):
    calls = []

    def optimizer_step(optimizer, barrier=False):
        calls.append(barrier)
        optimizer.step()

    xla_model = ModuleType("torch_xla.core.xla_model")
    xla_model.optimizer_step = optimizer_step
    install(
        monkeypatch,
        torch_xla={},
        torch_xla__core={"xla_model": xla_model},
        torch_xla__core__xla_model={},
    )
    monkeypatch.setitem(sys.modules, "torch_xla.core.xla_model", xla_model)
    batches, model, expected = make_batches(3), linear(), linear()
    Engine(supervised_training_step_tpu(model, sgd(model), mse, gradient_accumulation_steps=2)).run(
        batches
    )
    create_supervised_trainer(expected, sgd(expected), mse, gradient_accumulation_steps=2).run(
        batches
    )
    assert_equal(model, expected)
    assert calls == [True, True]


def test_torch_xla_has_to_be_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_xla", None)
    with pytest.raises(
        ModuleNotFoundError, match="torch_xla cannot be imported, please install PyTorch XLA."
    ):
        supervised_training_step_tpu(linear(), sgd(linear()), mse)
