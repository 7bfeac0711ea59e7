import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.contrib.engines import Tbptt_Events, create_supervised_tbptt_trainer
from ignite.engine import Events

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
    return tuple(torch.randn(*shape, size, generator=generator, dtype=torch.float64) for size in (2, 3))


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
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), expected.parameters(), strict=True))
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
    message = r"x and y should be equally long in dimension 0, but given shapes \(4, 4, 2\) and \(3, 4, 3\)"
    with pytest.raises(ValueError, match=message):
        trainer.run([(x, y[:3])])
    assert model.num_inputs == []


def test_the_events_are_not_those_of_other_engines():
    assert {event.value for event in Tbptt_Events} == {"time_iteration_started", "time_iteration_completed"}
    assert not any(event in list(Events) for event in Tbptt_Events)
