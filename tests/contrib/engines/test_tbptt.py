import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.contrib.engines import Tbptt_Events, create_supervised_tbptt_trainer
from ignite.engine import BackpropEvents, Events
from ignite.handlers import Checkpoint

mse = torch.nn.functional.mse_loss


class Recurrent(torch.nn.Module):
    """An LSTM, whose hidden state is a pair of tensors."""

    def __init__(self, batch_first=False):
        super().__init__()
        torch.manual_seed(3)
        self.lstm = torch.nn.LSTM(2, 3, batch_first=batch_first, dtype=torch.float64)
        self.num_inputs = []

    def forward(self, *inputs):
        self.num_inputs.append(len(inputs))
        return self.lstm(*inputs)


def make_sequence(length, batch_first=False):
    generator = torch.Generator().manual_seed(5)
    shape = (4, length) if batch_first else (length, 4)
    return tuple(
        torch.randn(*shape, size, generator=generator, dtype=torch.float64) for size in (2, 3)
    )


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)


@given(length=st.integers(1, 9), step=st.integers(1, 10), batch_first=st.booleans())
def test_training_in_chunks_is_the_hand_written_loop_bit_for_bit(length, step, batch_first):
    x, y = make_sequence(length, batch_first)
    expected, model = Recurrent(batch_first), Recurrent(batch_first)
    optimizer, hidden, losses = sgd(expected), None, []
    for start in range(0, length, step):
        times = slice(start, start + step)
        at = (slice(None), times) if batch_first else times
        optimizer.zero_grad()
        if hidden is None:
            y_pred, hidden = expected.lstm(x[at])
        else:
            y_pred, hidden = expected.lstm(x[at], tuple(part.detach() for part in hidden))
        loss = mse(y_pred, y[at])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    trainer = create_supervised_tbptt_trainer(model, sgd(model), mse, step, dim=int(batch_first))
    model.eval()
    trainer.run([(x, y)])
    assert model.training
    assert all(
        torch.equal(p, q) for p, q in zip(model.parameters(), expected.parameters(), strict=True)
    )
    assert trainer.state.output == pytest.approx(sum(losses) / len(losses), rel=1e-12)
    assert model.num_inputs == [1] + [2] * (len(losses) - 1)


def test_each_sequence_begins_without_a_hidden_state():
    model = Recurrent()
    create_supervised_tbptt_trainer(model, sgd(model), mse, 2).run([make_sequence(4)] * 2)
    assert model.num_inputs == [1, 2, 1, 2]


def test_each_chunk_is_prepared_then_its_events_are_fired_around_it():
    model, seen = Recurrent(), []

    def prepare_batch(chunk, device, non_blocking):
        seen.append((tuple(chunk[0].shape), device, non_blocking))
        return chunk

    trainer = create_supervised_tbptt_trainer(
        model, sgd(model), mse, 2, device="cpu", non_blocking=True, prepare_batch=prepare_batch
    )
    trainer.add_event_handler(
        Tbptt_Events.TIME_ITERATION_STARTED, lambda: seen.append(("started", len(model.num_inputs)))
    )
    outputs = []

    @trainer.on(Tbptt_Events.TIME_ITERATION_COMPLETED)
    def look():
        seen.append(("completed", len(model.num_inputs)))
        outputs.append(trainer.state.output)

    trainer.run([make_sequence(3)])
    assert seen == [
        ((2, 4, 2), "cpu", True),
        ("started", 0),
        ("completed", 1),
        ((1, 4, 2), "cpu", True),
        ("started", 1),
        ("completed", 2),
    ]
    assert outputs[0] != outputs[1]
    assert trainer.state.output == sum(outputs) / 2


def test_filters_count_chunks():
    model, seen = Recurrent(), []
    trainer = create_supervised_tbptt_trainer(model, sgd(model), mse, 1)
    trainer.add_event_handler(
        Tbptt_Events.TIME_ITERATION_COMPLETED(every=3), lambda: seen.append(trainer.state.iteration)
    )
    trainer.run([make_sequence(4)] * 2)
    assert seen == [1, 2]  # chunks 3 and 6


def test_chunks_are_moved_to_the_device():
    model = Recurrent().to("meta")
    trainer = create_supervised_tbptt_trainer(model, sgd(model), mse, 2, device="meta")
    with pytest.raises(RuntimeError, match="meta"):  # torch: a loss there has no value
        trainer.run([make_sequence(2)])
    assert model.num_inputs == [1]


@pytest.mark.parametrize("step", [0, -3])
def test_a_chunk_has_at_least_one_time_step(step):
    with pytest.raises(ValueError, match=f"tbtt_step should be at least 1, but given {step}"):
        create_supervised_tbptt_trainer(Recurrent(), None, mse, step)


def test_input_and_target_are_equally_long():
    model = Recurrent()
    trainer = create_supervised_tbptt_trainer(model, sgd(model), mse, 2)
    x, y = make_sequence(4)
    message = r"x and y should have the same length in dimension 0, but given shapes \(4, 4, 2\) and \(3, 4, 3\)"
    with pytest.raises(ValueError, match=message):
        trainer.run([(x, y[:3])])
    assert model.num_inputs == []


def test_the_events_are_not_those_of_other_engines():
    assert {event.value for event in Tbptt_Events} == {
        "time_iteration_started",
        "time_iteration_completed",
    }
    assert not any(event in list(Events) for event in Tbptt_Events)


# The steps of the supervised trainer ----------------------------------------------------------------------------------


def by_hand(model, sequences, size, window=1, norm=None, value=None):
    """Chunks of ``size``; a step for each window of chunks, or what a sequence has left, with the mean of gradients."""
    optimizer = sgd(model)
    for x, y in sequences:
        hidden, chunks = None, list(zip(x.split(size), y.split(size), strict=True))
        for start in range(0, len(chunks), window):
            part = chunks[start : start + window]
            optimizer.zero_grad()
            for chunk, target in part:
                y_pred, hidden = model.lstm(chunk) if hidden is None else model.lstm(chunk, hidden)
                hidden = tuple(one.detach() for one in hidden)
                (mse(y_pred, target) / len(part)).backward()
            if value is not None:
                torch.nn.utils.clip_grad_value_(model.parameters(), value)
            if norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), norm)
            optimizer.step()
    return model


@given(
    length=st.integers(1, 9),
    size=st.integers(1, 4),
    window=st.integers(1, 3),
    value=st.sampled_from([None, 0.02]),
)
def test_chunks_are_clipped_and_accumulated_like_batches_and_a_window_ends_with_its_sequence(
    length, size, window, value
):
    sequences, model = [make_sequence(length), make_sequence(length + 1)], Recurrent()
    trainer = create_supervised_tbptt_trainer(
        model,
        sgd(model),
        mse,
        size,
        gradient_accumulation_steps=window,
        clip_grad_norm=0.05,
        clip_grad_value=value,
    )
    steps = []
    trainer.add_event_handler(
        BackpropEvents.OPTIM_STEP_COMPLETED, lambda: steps.append(trainer.state.iteration)
    )
    trainer.run(sequences)
    expected = by_hand(Recurrent(), sequences, size, window, norm=0.05, value=value)
    for ours, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    chunks = [-(-n // size) for n in (length, length + 1)]
    assert [steps.count(i) for i in (1, 2)] == [-(-n // window) for n in chunks]


def test_a_chunk_may_be_left_out():
    model, seen = Recurrent(), []
    trainer = create_supervised_tbptt_trainer(model, sgd(model), mse, 2)
    trainer.add_event_handler(
        BackpropEvents.BACKWARD_STARTED(once=2), lambda: trainer.skip_iteration()
    )
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: seen.append(trainer.state.iteration)
    )
    trainer.run([make_sequence(6), make_sequence(2)])
    assert (model.num_inputs, seen) == ([1, 2, 1], [2])


class Summing(torch.nn.Module):
    """Its hidden state is the last output; torch's LSTM does not know bfloat16 on each CPU."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 3)

    def forward(self, x, hidden=0.0):
        y_pred = self.linear(x).cumsum(0) + hidden
        return y_pred, y_pred[-1:]


def test_under_autocast_losses_are_those_of_float32():
    model, seen = Summing(), []
    x, y = (part.float() for part in make_sequence(4))

    def loss_fn(y_pred, y):
        seen.append(y_pred.dtype)
        return mse(y_pred, y)

    trainer = create_supervised_tbptt_trainer(
        model, sgd(model), loss_fn, 2, amp_mode="amp", scaler=True, amp_dtype="bfloat16"
    )
    trainer.run([(x, y)])
    assert seen == [torch.float32] * 2
    assert isinstance(trainer.state.scaler, torch.amp.GradScaler)
    assert sorted(trainer._process_function.parts()) == ["model", "optimizer", "scaler", "sequence"]


class Dropping(Recurrent):
    """Draws random numbers in each chunk, so that a resumed run has to have the right ones."""

    def forward(self, *inputs):
        y_pred, hidden = self.lstm(*inputs)
        return torch.nn.functional.dropout(y_pred, 0.3), hidden


class Killed(BaseException):
    pass


@pytest.mark.parametrize("killed_at", range(1, 19))
def test_a_run_killed_after_any_chunk_continues_with_its_hidden_state_to_the_same_bits(
    tmp_path, killed_at
):
    def program(folder, kill=None):
        model, outputs = Dropping(), []
        optimizer = sgd(model)
        torch.manual_seed(11)
        trainer = create_supervised_tbptt_trainer(
            model, optimizer, mse, 2, gradient_accumulation_steps=2
        )
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED, lambda: outputs.append(trainer.state.output)
        )
        Checkpoint.of(
            trainer, folder, event=Tbptt_Events.TIME_ITERATION_COMPLETED, background=False
        )
        count = iter(range(1, 100))

        @trainer.on(Tbptt_Events.TIME_ITERATION_STARTED)
        def end():
            if next(count) == kill:
                raise Killed

        data = [make_sequence(5), make_sequence(3), make_sequence(7)]  # 3, 2 and 4 chunks
        trainer.run(data, max_epochs=2, resume="latest")
        return [p.tolist() for p in model.parameters()], trainer.state.iteration, outputs

    weights, iteration, outputs = program(tmp_path / "whole")
    with pytest.raises(Killed):
        program(tmp_path / "cut", killed_at)
    found = program(tmp_path / "cut")
    assert found[:2] == (weights, iteration)
    assert found[2] == outputs[len(outputs) - len(found[2]) :], (
        "also the losses of sequences, from the one at hand on"
    )


def test_a_run_that_starts_again_after_a_failure_between_two_chunks_has_nothing_in_its_window():
    model, data = Recurrent(), [make_sequence(5)]  # 3 chunks
    trainer = create_supervised_tbptt_trainer(
        model, sgd(model), mse, 2, gradient_accumulation_steps=2
    )
    fails = iter([False, True])

    @trainer.on(Tbptt_Events.TIME_ITERATION_STARTED)
    def fail_once():
        if next(fails, False):
            raise ValueError

    with pytest.raises(ValueError):
        trainer.run(data)
    trainer.run(data)
    for ours, theirs in zip(
        model.parameters(), by_hand(Recurrent(), data, 2, 2).parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_other_moments_of_an_iteration_cannot_be_saved_at(tmp_path):
    model = Recurrent()
    trainer = create_supervised_tbptt_trainer(model, sgd(model), mse, 2)
    with pytest.raises(
        ValueError, match="event should be ITERATION_COMPLETED or EPOCH_COMPLETED, .* resumed"
    ):
        Checkpoint.of(trainer, tmp_path, event=Tbptt_Events.TIME_ITERATION_STARTED)


def test_windows_that_end_with_their_sequence_are_not_reported(caplog):
    model = Recurrent()
    trainer = create_supervised_tbptt_trainer(
        model, sgd(model), mse, 2, gradient_accumulation_steps=2
    )
    trainer.run([make_sequence(5)])  # three chunks
    assert "gradient_accumulation_steps" not in caplog.text
