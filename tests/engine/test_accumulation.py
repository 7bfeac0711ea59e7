"""Gradients accumulated over a window of batches equal those of one large batch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import (
    BackpropEvents,
    CountedLoss,
    Engine,
    Events,
    create_supervised_trainer,
    supervised_training_step,
)
from support.accumulate_in_processes import NUM_COUNTED
from support.linear_models import linear, make_batches

mse = torch.nn.functional.mse_loss


class Stream:
    """Data that can be iterated over, of unknown length."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def train_on_windows(windows):
    """The loop one would write: each window in one batch, one step of the optimizer."""
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for window in windows:
        optimizer.zero_grad()
        mse(model(torch.cat([x for x, _ in window])), torch.cat([y for _, y in window])).backward()
        optimizer.step()
    return model


def make_trainer(steps, **options):
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trainer = create_supervised_trainer(
        model, optimizer, mse, gradient_accumulation_steps=steps, **options
    )
    return trainer, model


def assert_same_weights(model, other):
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def windows_of(batches, steps):
    return [batches[start : start + steps] for start in range(0, len(batches), steps)]


@pytest.mark.parametrize("knows_length", [True, False])
@given(
    steps=st.integers(1, 5),
    number=st.integers(1, 7),
    size=st.integers(1, 3),
    epochs=st.integers(1, 3),
)
def test_windows_equal_full_batches_and_the_last_one_of_an_epoch_is_stepped(
    knows_length, steps, number, size, epochs
):
    batches = make_batches(number, size)
    trainer, model = make_trainer(steps)
    num_steps = []
    trainer.add_event_handler(BackpropEvents.OPTIM_STEP_COMPLETED, lambda: num_steps.append(1))

    trainer.run(batches if knows_length else Stream(batches), max_epochs=epochs)

    assert_same_weights(model, train_on_windows(windows_of(batches, steps) * epochs))
    assert len(num_steps) == epochs * -(-number // steps)


@given(steps=st.integers(1, 4), length=st.integers(1, 5), max_iters=st.integers(1, 12))
def test_a_run_limited_by_iterations_steps_with_what_its_last_window_has(steps, length, max_iters):
    batches = make_batches(length)
    trainer, model = make_trainer(steps)
    trainer.run(batches, max_iters=max_iters)

    seen = (batches * max_iters)[:max_iters]
    epochs = [seen[start : start + length] for start in range(0, max_iters, length)]
    assert_same_weights(
        model, train_on_windows([window for epoch in epochs for window in windows_of(epoch, steps)])
    )


def test_the_window_of_a_known_end_is_stepped_within_its_last_iteration():
    trainer, model = make_trainer(2)
    before, changed = [p.clone() for p in model.parameters()], []

    @trainer.on(Events.ITERATION_COMPLETED)
    def compare():
        changed.append(
            any(not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
        )
        before[:] = [p.clone() for p in model.parameters()]

    trainer.run(make_batches(3))
    assert changed == [False, True, True]


@pytest.mark.parametrize(("length", "limits", "num_said"), [
    (3, {"max_epochs": 4}, 1), (4, {"max_epochs": 2}, 0), (4, {"max_iters": 7}, 1), (2, {"max_epochs": 1}, 0),
    (8, {"max_epochs": 4, "epoch_length": 1}, 1),
])  # fmt: skip
def test_a_window_that_ends_with_its_epoch_is_reported_once(length, limits, num_said, caplog):
    model = linear()
    trainer = create_supervised_trainer(
        model, torch.optim.SGD(model.parameters(), 0.1), mse, gradient_accumulation_steps=2
    )
    trainer.run(make_batches(length), **limits)
    said = [
        record for record in caplog.records if "gradient_accumulation_steps" in record.getMessage()
    ]
    assert [record.levelname for record in said] == ["WARNING"] * num_said


@pytest.mark.parametrize("verb", ["terminate", "terminate_epoch"])
def test_an_end_that_a_handler_asks_for_steps_with_what_the_window_has(verb):
    batches = make_batches(6)
    trainer, model = make_trainer(4)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda: getattr(trainer, verb)())
    trainer.run(batches)
    assert_same_weights(model, train_on_windows([batches[:3]]))


def test_an_epoch_ended_without_its_event_is_stepped_too():
    batches = make_batches(6)
    trainer, model = make_trainer(4)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=3),
        lambda: trainer.terminate_epoch(skip_epoch_completed=True),
    )
    trainer.run(batches)
    assert_same_weights(model, train_on_windows([batches[:3]]))


def test_all_handlers_of_the_end_of_an_epoch_find_the_window_stepped():
    batches = make_batches(3)
    trainer, model = make_trainer(2)
    expected = train_on_windows(windows_of(batches, 2))
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: assert_same_weights(model, expected), priority=10**9
    )
    assert trainer.run(Stream(batches)).epoch == 1


def test_a_pause_does_not_cut_the_window():
    batches = make_batches(5)
    trainer, model = make_trainer(4)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: trainer.interrupt())
    untrained = linear()

    trainer.run(batches)
    assert trainer.state.iteration == 2
    assert_same_weights(model, untrained)
    trainer.run(batches)
    assert_same_weights(model, train_on_windows([batches[:4], batches[4:]]))


@pytest.mark.parametrize(
    "event", [Events.GET_BATCH_COMPLETED, Events.ITERATION_STARTED, BackpropEvents.BACKWARD_STARTED]
)
def test_a_skipped_batch_adds_nothing_to_its_window(event):
    batches = make_batches(5)
    trainer, model = make_trainer(2)

    @trainer.on(event)
    def skip_the_second():
        if trainer.state.batch is batches[1]:
            trainer.skip_iteration()

    trainer.run(batches)
    assert_same_weights(model, train_on_windows([[batches[0], batches[2]], batches[3:]]))


def test_a_window_whose_last_batch_is_skipped_is_stepped_at_the_end_of_the_epoch():
    batches = make_batches(4)
    trainer, model = make_trainer(3)
    trainer.add_event_handler(
        BackpropEvents.BACKWARD_STARTED(once=4), lambda: trainer.skip_iteration()
    )
    trainer.run(batches)
    assert_same_weights(model, train_on_windows([batches[:3]]))

    trainer, model = make_trainer(3)
    trainer.add_event_handler(
        BackpropEvents.BACKWARD_STARTED(once=3), lambda: trainer.skip_iteration()
    )
    trainer.run(batches[:3])
    assert_same_weights(model, train_on_windows([batches[:2]]))


def test_skipping_after_the_backward_pass_gives_the_window_up():
    batches = make_batches(5)
    trainer, model = make_trainer(3)
    trainer.add_event_handler(
        BackpropEvents.BACKWARD_COMPLETED(once=2), lambda: trainer.skip_iteration()
    )
    trainer.run(batches)
    assert_same_weights(model, train_on_windows([batches[2:5]]))


def test_a_backward_pass_that_fails_gives_the_window_up():
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise ArithmeticError("half way")

    batches, model = make_batches(5), linear()

    def loss_fn(y_pred, y):
        loss = mse(y_pred, y)
        return loss + 0 * Fails.apply(model.weight.sum()) if y is batches[1][1] else loss

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trainer = create_supervised_trainer(model, optimizer, loss_fn, gradient_accumulation_steps=3)
    failures = []

    @trainer.on(Events.EXCEPTION_RAISED)
    def skip(engine, error):
        failures.append(str(error))
        engine.skip_iteration()

    trainer.run(batches)
    assert failures == ["half way"]
    assert_same_weights(model, train_on_windows([batches[2:5]]))


def raise_once():
    raise ArithmeticError("once")


def test_the_window_of_a_run_that_failed_does_not_reach_one_that_begins_earlier():
    batches = make_batches(4)
    trainer, model = make_trainer(4)
    failing = trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), raise_once)
    with pytest.raises(ArithmeticError, match="once"):
        trainer.run(batches)
    failing.remove()

    trainer.state.max_epochs = None  # from the beginning
    trainer.run(batches)
    assert_same_weights(model, train_on_windows([batches]))


def test_a_run_that_continues_after_a_failure_completes_its_window():
    batches = make_batches(4)
    trainer, model = make_trainer(4)
    failing = trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), raise_once)
    with pytest.raises(ArithmeticError, match="once"):
        trainer.run(batches, max_epochs=2)
    failing.remove()

    trainer.run(batches[2:] + batches[:2])
    assert (trainer.state.epoch, trainer.state.iteration) == (2, 8)
    assert_same_weights(model, train_on_windows([batches, batches]))


def test_the_reported_loss_is_that_of_the_batch():
    batches = make_batches(4)
    trainer, _ = make_trainer(4)
    losses = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: losses.append(trainer.state.output)
    )
    model = linear()
    expected = [mse(model(x), y).item() for x, y in batches]
    trainer.run(batches)
    assert losses == expected


def test_the_gradients_of_a_window_stay_until_the_next_one_begins():
    batches = make_batches(5)
    trainer, model = make_trainer(2)
    seen = []
    trainer.add_event_handler(
        Events.ITERATION_STARTED, lambda: seen.append(model.weight.grad is not None)
    )
    trainer.add_event_handler(
        BackpropEvents.BACKWARD_STARTED, lambda: seen.append(model.weight.grad is not None)
    )
    trainer.run(batches)
    assert seen == [False, False, True, True, True, False, True, True, True, False]


def test_a_step_in_a_plain_engine_carries_a_window_over_an_epoch_of_unknown_length():
    batches, model = make_batches(3), linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trainer = Engine(supervised_training_step(model, optimizer, mse, gradient_accumulation_steps=2))
    trainer.run(Stream(batches), max_epochs=1)
    assert_same_weights(model, train_on_windows([batches[:2]]))

    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trainer = Engine(supervised_training_step(model, optimizer, mse, gradient_accumulation_steps=2))
    trainer.run(batches, max_epochs=2)
    assert_same_weights(model, train_on_windows(windows_of(batches, 2) * 2))


def test_without_accumulation_no_handler_is_attached():
    assert not make_trainer(1)[0]._event_handlers
    assert len(make_trainer(2)[0]._event_handlers) == 3


@pytest.mark.parametrize("steps", [0, -2])
def test_a_window_has_at_least_one_batch(steps):
    with pytest.raises(
        ValueError,
        match=f"Gradient_accumulation_steps must be strictly positive, but given {steps}",
    ):
        make_trainer(steps)


@pytest.mark.parametrize("steps", [1.5, "2"])
def test_a_window_has_a_whole_number_of_batches(steps):
    with pytest.raises(
        TypeError, match=f"gradient_accumulation_steps should be an integer, but given {steps!r}"
    ):
        make_trainer(steps)


# Losses that say what they are the mean of ---------------------------------------------------------------------------


def counted_mse(y_pred, y):
    """Rows whose first target is NaN do not count."""
    counts = ~y[:, 0].isnan()
    num_counted = int(counts.sum())
    total = (y_pred[counts] - y[counts]).square().sum()
    return CountedLoss(total / max(num_counted, 1), num_counted)


def counted_on_device(y_pred, y):
    """The same, with a number that would have to be waited for on an accelerator."""
    loss, num_counted, _ = counted_mse(y_pred, y)
    return CountedLoss(loss, torch.tensor(num_counted))


def summed_mse(y_pred, y):
    loss, num_counted, _ = counted_mse(y_pred, y)
    return CountedLoss(loss * num_counted, num_counted, is_sum=True)


def ragged_batches(sizes, ignored, seed=0):
    """Batches of these sizes; of each, as many rows as it has in ``ignored`` do not count."""
    batches = []
    for number, (size, num_ignored) in enumerate(zip(sizes, ignored, strict=True)):
        x, y = make_batches(1, size, seed + number)[0]
        y[: min(num_ignored, size)] = float("nan")
        batches.append((x, y))
    return batches


def train_by_definition(windows, is_sum=False):
    """Sum over all elements of a window that count, divided by their number, in one batch."""
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for window in windows:
        optimizer.zero_grad()
        y = torch.cat([y for _, y in window])
        counts = ~y[:, 0].isnan()
        squares = (model(torch.cat([x for x, _ in window])) - y)[counts].square()
        (squares.sum() / (1 if is_sum else max(int(counts.sum()), 1))).backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("knows_length", [True, False])
@pytest.mark.parametrize("loss_fn", [counted_mse, counted_on_device, summed_mse])
@given(
    steps=st.integers(1, 4),
    rows=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 5)), min_size=1, max_size=6),
    epochs=st.integers(1, 2),
)
def test_a_window_of_counted_losses_is_one_batch_of_all_that_counts(
    loss_fn, knows_length, steps, rows, epochs
):
    batches = ragged_batches([size for size, _ in rows], [ignored for _, ignored in rows])
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trainer = create_supervised_trainer(
        model, optimizer, loss_fn, gradient_accumulation_steps=steps
    )
    trainer.run(batches if knows_length else Stream(batches), max_epochs=epochs)
    expected = train_by_definition(
        windows_of(batches, steps) * epochs, is_sum=loss_fn is summed_mse
    )
    assert_same_weights(model, expected)


def test_the_reported_loss_of_a_counted_one_is_its_mean():
    batches = ragged_batches([3, 2], [1, 0])
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(
        model, optimizer, counted_mse, gradient_accumulation_steps=2
    )
    losses = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: losses.append(trainer.state.output)
    )
    expected = [counted_mse(linear()(x), y).loss.item() for x, y in batches]
    trainer.run(batches)
    assert losses == expected


def test_a_skipped_batch_counts_nothing():
    batches = ragged_batches([1, 4, 2], [0, 0, 0])
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trainer = create_supervised_trainer(
        model, optimizer, counted_mse, gradient_accumulation_steps=3
    )
    trainer.add_event_handler(
        BackpropEvents.BACKWARD_STARTED(once=2), lambda: trainer.skip_iteration()
    )
    trainer.run(batches)
    assert_same_weights(model, train_by_definition([[batches[0], batches[2]]]))


def test_a_window_of_counted_losses_continues_from_its_state_and_from_one_without_counts():
    batches = ragged_batches([1, 4, 2, 3], [0, 2, 0, 0])

    def make(loss_fn):
        model = linear()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        return Engine(
            supervised_training_step(model, optimizer, loss_fn, gradient_accumulation_steps=4)
        ), model

    for loss_fn, expected in (
        (counted_mse, train_by_definition([batches])),
        (lambda y_pred, y: counted_mse(y_pred, y).loss, None),
    ):
        whole, first, second = make(loss_fn), make(loss_fn), make(loss_fn)
        whole[0].run(batches)
        first[0].add_event_handler(Events.ITERATION_COMPLETED(once=2), first[0].interrupt)
        first[0].run(batches)
        state = first[0]._process_function.state_dict()
        assert ("num_counted" in state) is (expected is not None)
        second[0]._process_function.load_state_dict(state)
        second[0].run(batches[2:], epoch_length=2)
        assert_same_weights(second[1], whole[1])
        if expected is not None:
            assert_same_weights(second[1], expected)


def test_a_window_of_plain_losses_after_one_of_counted_ones_is_the_mean_over_its_batches():
    batches = ragged_batches([1, 3, 1, 2], [0, 0, 0, 0])
    model, expected, kinds = linear(), linear(), iter([counted_mse, counted_mse, mse, mse])
    for losses in (
        lambda: [((expected(x) - y).square().sum(), 1 / 4) for x, y in batches[:2]],
        lambda: [(mse(expected(x), y), 1 / 2) for x, y in batches[2:]],
    ):
        expected.zero_grad()
        sum(loss * share for loss, share in losses()).backward()
        with torch.no_grad():
            for parameter in expected.parameters():
                parameter -= 0.1 * parameter.grad

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(
        model, optimizer, lambda y_pred, y: next(kinds)(y_pred, y), gradient_accumulation_steps=3
    )
    trainer.run(batches[:2])
    trainer.run(batches[2:])
    assert_same_weights(model, expected)


# Two processes, with DDP ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("knows_length", [True, False])
@pytest.mark.parametrize("kind", ["mean", "sum"])
def test_counted_losses_of_processes_give_the_gradient_of_all_elements(
    processes, kind, knows_length
):
    x, y, results = processes
    windows = [[0, 1], [2, 3], [4]]
    model = ddp_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected = []
    for window in windows:
        optimizer.zero_grad()
        losses, counts = zip(
            *(elements_of(model, x[r, i], y[r, i], r, i) for r in range(2) for i in window),
            strict=True,
        )
        (sum(losses) / (1 if kind == "sum" else max(sum(counts), 1))).backward()
        expected.append([p.grad.flatten().tolist() for p in model.parameters()])
        optimizer.step()
    for result in results:
        assert_gradients(result[f"counted {kind} {knows_length}"]["gradients"], expected)


def elements_of(model, x, y, rank, batch):
    """Sum and number of the elements that count: see ``NUM_COUNTED``."""
    num_counted = NUM_COUNTED[rank][batch]
    return (model(x) - y)[:num_counted].square().sum(), num_counted


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """What two processes have seen, and the data: 5 batches of 2 samples on each."""
    folder = tmp_path_factory.mktemp("ddp")
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(
        2, 5, 2, 2, generator=generator, dtype=torch.float64
    )  # rank, batch, sample, feature
    y = torch.randn(2, 5, 2, 1, generator=generator, dtype=torch.float64)
    torch.save({"x": x, "y": y}, folder / "data.pt")
    script = Path(__file__).parents[1] / "support" / "accumulate_in_processes.py"
    running = [
        subprocess.Popen(
            [sys.executable, script, str(rank), folder], stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    try:
        for process in running:
            _, errors = process.communicate(timeout=100)
            assert process.returncode == 0, errors
    finally:
        for process in running:
            process.kill()
    return x, y, [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


def full_batch_gradients(model, x, y, windows):
    """Gradients of the mean loss over each window of all processes, the model being stepped in between."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    gradients = []
    for window in windows:
        optimizer.zero_grad()
        sum(mse(model(x[r, i]), y[r, i]) for r in range(len(x)) for i in window).div(
            len(x) * len(window)
        ).backward()
        gradients.append(
            [None if p.grad is None else p.grad.flatten().tolist() for p in model.parameters()]
        )
        optimizer.step()
    return gradients


def assert_gradients(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert a == pytest.approx(b, rel=1e-10, abs=1e-12) if b is not None else a is None


def ddp_model():
    torch.manual_seed(0)
    return torch.nn.Linear(2, 1, dtype=torch.float64)


@pytest.mark.parametrize(
    ("case", "windows", "num_exchanges"),
    [
        (
            "known",
            [[0, 1], [2, 3], [4]],
            3,
        ),  # 5 backward passes, an exchange only in those that end a window
        ("unknown", [[0, 1], [2, 3], [4]], 2),  # the last window is averaged by hand
        ("stopped", [[0, 1], [2]], 1),
        ("compiled", [[0, 1], [2, 3], [4]], 3),
    ],
)
def test_processes_get_the_full_batch_gradient_and_exchange_once_a_window(
    processes, case, windows, num_exchanges
):
    x, y, results = processes
    expected = full_batch_gradients(ddp_model(), x, y, windows)
    for result in results:
        assert_gradients(result[case]["gradients"], expected)
        assert result[case]["num_exchanges"] == num_exchanges
    assert results[0][case]["weights"] == results[1][case]["weights"]


def test_a_parameter_that_some_processes_did_not_use_is_averaged_and_one_that_none_used_is_left_alone(
    processes,
):
    _, _, results = processes
    last = [result["branches"]["gradients"][-1] for result in results]
    assert last[0] == last[1]
    assert last[0][2] != [0.0, 0.0]  # second branch: rank 0 only
    assert last[0][4:] == [None, None]  # third branch
    assert results[0]["branches"]["weights"] == results[1]["branches"]["weights"]


def test_gradients_are_averaged_over_the_processes_of_the_models_group(processes):
    x, y, results = processes
    for rank, result in enumerate(results):
        own = slice(rank, rank + 1)
        expected = full_batch_gradients(ddp_model(), x[own], y[own], [[0, 1], [2, 3], [4]])
        assert_gradients(result["alone"]["gradients"], expected)
