"""Batches that do not fit into memory are computed in parts, with the same gradients."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ignite.engine import (
    BackpropEvents,
    CountedLoss,
    Events,
    create_supervised_trainer,
)
from ignite.handlers import Checkpoint
from ignite.learner import Learner
from ignite.testing import run_processes
from support import split_processes
from support.linear_models import linear, make_batches
from support.scarce_memory import ScarceMemory, above

F = torch.nn.functional
WEIGHT = torch.tensor([0.5, 2.0, 1.0, 0.0], dtype=torch.float64)


def counted(y_pred, y):
    counts = y != 3
    total = F.cross_entropy(y_pred, y, ignore_index=3, reduction="sum")
    return CountedLoss(total / counts.sum().clamp(min=1), counts.sum())


CLASS_LOSSES = {
    "mean": F.cross_entropy,
    "sum": nn.CrossEntropyLoss(reduction="sum"),
    "ignored": functools.partial(F.cross_entropy, ignore_index=3),
    "weights": functools.partial(F.cross_entropy, weight=WEIGHT),
    "weights and ignored": nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=1),
    "smoothed and ignored": nn.CrossEntropyLoss(label_smoothing=0.1, ignore_index=2),
    "counted": counted,
    "scaled": lambda y_pred, y: 3 * F.cross_entropy(y_pred, y),
    "mean over samples": lambda y_pred, y: (
        F.cross_entropy(y_pred, y, reduction="none").sum() / len(y)
    ),
    "two terms": lambda y_pred, y: F.cross_entropy(y_pred, y) + 0.1 * y_pred.square().mean(),
}


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).double()


def gradients_of(model):
    return [p.grad.clone() for p in model.parameters()]


def whole(loss_fn, x, y):
    """The loss and gradients of the batch as a whole, by hand."""
    model = network()
    loss = loss_fn(model(x), y)
    loss = loss.loss if isinstance(loss, CountedLoss) else loss
    loss.backward()
    return loss.item(), gradients_of(model)


def make_trainer(model, loss_fn=F.mse_loss, lr=0.1, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    return create_supervised_trainer(
        model, optimizer, loss_fn, gradient_accumulation_steps="auto", **options
    )


@settings(max_examples=150)
@given(
    name=st.sampled_from(sorted(CLASS_LOSSES)),
    size=st.integers(8, 21),
    seed=st.integers(0, 99),
    refused=st.sets(st.integers(1, 12), max_size=3),
    limit=st.integers(1, 30),
)
def test_gradients_and_loss_are_those_of_the_whole_batch(name, size, seed, refused, limit):
    torch.manual_seed(seed)
    x, y = torch.randn(size, 3, dtype=torch.float64), torch.randint(0, 4, (size,))
    y[0] = 0  # something counts
    loss, expected = whole(CLASS_LOSSES[name], x, y)
    num_refused = []

    def refuses(kind, number, rows):
        # At random in either pass, and always above a limit; a single row fits in the end.
        if rows > limit or (rows > 1 and number in refused):
            num_refused.append(number)
            return True
        return False

    model = ScarceMemory(network(), refuses)
    trainer = make_trainer(model, CLASS_LOSSES[name])
    trainer.run([(x, y)])
    for found, wanted in zip(gradients_of(model), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    assert trainer.state.output == pytest.approx(loss, rel=1e-9)
    part_size = trainer.step_function.part_size
    assert (part_size is None) == (not num_refused)
    assert part_size is None or part_size <= limit


@pytest.mark.parametrize("kind", ["forward", "backward"])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_the_size_that_fits_is_kept_and_logged_once(kind, error, caplog):
    model = ScarceMemory(linear(), above(3, kind), error)
    trainer = make_trainer(model)
    trainer.run(make_batches(3, size=10), max_epochs=2)
    told = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert told == [
        "Memory ran out in a batch of 10 samples. From now on, batches are computed in parts of at "
        "most 3 samples, with the gradients of whole batches"
    ]
    forward = [rows for given, rows in model.passes if given == "forward"]
    assert forward == [10, 5, 3, 3, 2, 2] + [3, 3, 2, 2] * 5


def test_random_numbers_and_buffers_are_those_of_a_step_that_begins_with_this_size():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm = nn.Linear(3, 6), nn.BatchNorm1d(6)
            self.last = nn.Linear(6, 2)

        def forward(self, x):
            return self.last(F.dropout(self.norm(self.first(x)), 0.5, self.training))

    def train(part_size, limit):
        torch.manual_seed(0)
        model = ScarceMemory(Network().double(), above(limit))
        trainer = make_trainer(model)
        trainer.step_function.part_size = part_size
        trainer.run(make_batches(4, size=9))
        return model.state_dict(), torch.rand(3)

    first, drawn = train(None, limit=3)
    second, also_drawn = train(3, limit=99)
    assert torch.equal(drawn, also_drawn)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    assert first["model.norm.num_batches_tracked"] == 4 * 3


class Noting(nn.Module):
    """Changes one buffer in place, and sets another anew."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("latest", torch.zeros(3, dtype=torch.float64))

    def forward(self, x):
        self.seen += len(x)
        self.latest = x[-1] + torch.rand(3)
        return x


@pytest.mark.parametrize("kind", ["forward", "backward"])
def test_nothing_of_failed_attempts_is_left(kind):
    noting = Noting()
    model = ScarceMemory(nn.Sequential(noting, network()), above(0, kind))
    trained, other = model.model[1][0], model.model[1][2].weight  # one has a gradient of its own
    other.grad = torch.full_like(other, 7)
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
    trainer = create_supervised_trainer(
        model, optimizer, F.cross_entropy, gradient_accumulation_steps="auto"
    )
    state, latest = torch.get_rng_state(), noting.latest
    with pytest.raises(torch.OutOfMemoryError) as caught:
        trainer.run([(torch.ones(5, 3).double(), torch.zeros(5).long())])
    assert "accumulation: memory runs out with a single sample" in caught.value.__notes__
    assert all(p.grad is None for p in trained.parameters())
    assert torch.equal(other.grad, torch.full_like(other, 7))
    assert torch.equal(torch.get_rng_state(), state)
    assert noting.seen == 0
    assert noting.latest is latest
    assert not latest.any()


@pytest.mark.parametrize("batch", [
    (nn.utils.rnn.pack_sequence([torch.ones(2, 3).double()]), torch.zeros(2, 2).double()),
    (torch.ones(4, 3).double(), torch.tensor(1.0).double()),
])  # fmt: skip
def test_batches_that_cannot_be_split_say_so(batch):
    x, y = batch
    y = y if y.ndim else (y,)

    def model_fn(model, x):
        return model(x.data if isinstance(x, nn.utils.rnn.PackedSequence) else x)

    model = ScarceMemory(linear(), above(1))
    trainer = make_trainer(
        model, lambda y_pred, y: y_pred.mean(), model_fn=model_fn, prepare_batch=lambda b, **o: b
    )
    if isinstance(x, torch.Tensor):
        trainer.run([(x, y)])  # the inputs tell the number of samples
        assert trainer.step_function.part_size == 1
        return
    with pytest.raises(torch.OutOfMemoryError) as caught:
        trainer.run([(x, y)])
    assert "the batch cannot be split" in caught.value.__notes__[0]


def test_other_errors_are_raised_at_once():
    model = ScarceMemory(linear(), above(1), error=lambda text: ValueError(text))
    with pytest.raises(ValueError, match="out of memory"):
        make_trainer(model).run(make_batches(1, size=4))
    assert len(model.passes) == 1


def test_events_are_fired_once_per_batch_with_the_loss_and_can_skip_it():
    model = ScarceMemory(linear(), above(2))
    trainer, fired = make_trainer(model), []
    before = [p.clone() for p in model.parameters()]
    for event in BackpropEvents:
        trainer.add_event_handler(event, lambda engine, name: fired.append(name), event.name)

    @trainer.on(BackpropEvents.BACKWARD_STARTED)
    def skip_first():
        x, y = trainer.state.batch
        found = trainer.step_function.loss
        with torch.no_grad():
            expected = F.mse_loss(model.model(x), y)
        torch.testing.assert_close(found, expected)
        if trainer.state.iteration == 1:
            trainer.skip_iteration()

    @trainer.on(Events.ITERATION_COMPLETED(once=1))
    def never():
        raise AssertionError

    trainer.run(make_batches(1, size=5))
    assert fired == ["BACKWARD_STARTED"]
    assert all(map(torch.equal, model.parameters(), before))
    trainer.run(make_batches(2, size=5), max_epochs=2)
    assert fired[1:5] == [event.name for event in BackpropEvents]


def test_outputs_of_parts_are_put_together():
    model = ScarceMemory(linear(), above(2))
    trainer = make_trainer(
        model,
        lambda y_pred, y: F.mse_loss(y_pred["y"][0], y),
        model_transform=lambda y_pred: {"y": (y_pred, "name"), "mean": y_pred.mean()},
        output_transform=lambda x, y, y_pred, loss: (x, y, y_pred, loss),
        lr=0.0,
    )
    [(x, y)] = batches = make_batches(1, size=4)
    found_x, found_y, y_pred, loss = trainer.run(batches).output
    with torch.no_grad():
        expected = model.model(x)
    assert found_x is x
    assert found_y is y
    torch.testing.assert_close(y_pred["y"][0], expected)
    assert y_pred["y"][1] == "name"
    torch.testing.assert_close(y_pred["mean"], expected.mean())
    torch.testing.assert_close(loss, F.mse_loss(expected, y))


def test_containers_are_split_and_what_belongs_to_all_rows_is_not():
    seen = []

    def model_fn(model, x):
        seen.append((len(x["a"]), len(x["table"]), x["scale"]))
        return model(x["a"]) * x["scale"]

    model = ScarceMemory(linear(), above(3))
    trainer = make_trainer(model, model_fn=model_fn, prepare_batch=lambda batch, **options: batch)
    x, y = make_batches(1, size=4)[0]
    trainer.run([({"a": x, "table": torch.ones(7), "scale": 2.0}, y)])
    assert seen == [(4, 7, 2.0), (2, 7, 2.0), (2, 7, 2.0)]


def test_a_resumed_run_begins_with_the_size_that_fits(tmp_path):
    def program(max_epochs):
        model = ScarceMemory(linear(), above(2))
        trainer = make_trainer(model)
        Checkpoint.of(trainer, tmp_path)
        trainer.run(make_batches(2, size=4), max_epochs=max_epochs, resume="latest")
        return [rows for kind, rows in model.passes if kind == "forward"]

    assert program(1) == [4, 2, 2, 2, 2]
    assert program(2) == [2, 2, 2, 2]


def test_mixed_precision_is_split_too():
    model = ScarceMemory(nn.Linear(3, 2), above(2))
    trainer = make_trainer(model, amp_mode="amp", amp_dtype="bfloat16")
    x, y = (one.float() for one in make_batches(1, size=5)[0])
    trainer.run([(x, y)])
    assert trainer.step_function.part_size == 2
    assert model.model.weight.grad.isfinite().all()


def test_a_loss_of_unknown_kind_is_reported_once(caplog):
    model = ScarceMemory(network(), above(2))
    trainer = make_trainer(model, CLASS_LOSSES["two terms"])
    trainer.run([(torch.ones(4, 3).double(), torch.zeros(4).long())] * 3)
    told = [r for r in caplog.records if "taken for the mean over samples" in r.getMessage()]
    assert len(told) == 1


def test_what_cannot_be_repeated_is_refused(monkeypatch):
    monkeypatch.setattr(
        "ignite.engine.supervised_training_step", lambda *args, **options: lambda engine, batch: 0
    )
    with pytest.raises(ValueError, match="needs a step of this library in full precision"):
        make_trainer(linear())


def test_without_auto_the_step_is_the_usual_one():
    model = linear()
    trainer = create_supervised_trainer(model, torch.optim.SGD(model.parameters(), 0.1), F.mse_loss)
    assert type(trainer.step_function).__name__ == "TrainingStep"


@pytest.mark.parametrize("loss", ["cross_entropy", nn.CrossEntropyLoss(reduction="sum")])
def test_a_learner_trains_and_records_as_with_enough_memory(loss):
    def fit(limit):
        model = ScarceMemory(network(), above(limit, "backward"))
        torch.manual_seed(0)
        x, y = torch.randn(53, 3).double(), torch.randint(0, 4, (53,))
        weight = torch.linspace(0.5, 1.5, 53).double()
        learner = Learner(model, loss, "sgd", lr=0.05, accumulation="auto", metrics=["accuracy"])
        history = learner.fit((x, y, weight), epochs=2, batch_size=25, schedule="linear")
        return history, learner

    (wanted, whole), (found, parts) = fit(99), fit(16)
    assert parts.trainer.step_function.part_size == 13
    for name in ("loss", "accuracy"):
        assert found[name] == pytest.approx(wanted[name], rel=1e-6)
    for one, other in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_processes_split_on_their_own_and_exchange_gradients_equally_often():
    first, second = run_processes(split_processes.train, 2)
    for kind in ("plain", "counted"):
        torch.testing.assert_close(first[kind], second[kind], rtol=0, atol=0)
        torch.testing.assert_close(first[kind], first[f"{kind}, expected"], rtol=1e-9, atol=1e-12)
        assert first[f"{kind}, collectives"] == second[f"{kind}, collectives"]
        assert first[f"{kind}, passes"] != second[f"{kind}, passes"]
    assert first["buffers"] == second["buffers"]
    assert first["refused"] == second["refused"] == "SyncBatchNorm: pass a number"
