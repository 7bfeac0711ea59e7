import logging

import pytest
import torch

from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.handlers import trackers
from ignite.handlers.trackers import TrackerLogger


class Memory:
    """A tracker that remembers."""

    def __init__(self):
        self.entries, self.num_closed = [], 0

    def scalars(self, values, step):
        self.entries.append((step, dict(values)))

    def histogram(self, name, values, step):
        self.entries.append((step, name, tuple(values.shape)))

    def close(self):
        self.num_closed += 1


def make_training():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.mse_loss)
    return trainer, model, optimizer, [(torch.ones(2, 2), torch.ones(2, 1))] * 2


def test_all_handlers_with_the_three_verbs():
    trainer, model, optimizer, data = make_training()
    frozen = torch.nn.Parameter(torch.zeros(3), requires_grad=False)
    model.register_parameter("frozen", frozen)
    memory, expected = Memory(), {}
    logger = TrackerLogger(memory)
    event = Events.ITERATION_COMPLETED(once=2)
    logger.attach_output_handler(
        trainer, event, tag="t", output_transform=lambda loss: {"loss": loss}
    )
    logger.attach_opt_params_handler(trainer, event, optimizer, tag="o")
    logger.attach(trainer, trackers.WeightsScalarHandler(model), event)
    logger.attach(trainer, trackers.GradsScalarHandler(model, reduction=torch.mean, tag="g"), event)
    logger.attach(trainer, trackers.WeightsHistHandler(model, whitelist=["0.w"]), event)
    logger.attach(trainer, trackers.GradsHistHandler(model), event)

    @trainer.on(event)
    def note():
        expected.update(
            loss=trainer.state.output,
            norms={
                n.replace(".", "/"): p.detach().norm().item() for n, p in model.named_parameters()
            },
            grads={
                n.replace(".", "/"): p.grad.mean().item() for n, p in model[0].named_parameters()
            },
        )

    trainer.run(data)
    assert memory.entries[0] == (2, {"t/loss": expected["loss"]})
    assert memory.entries[1] == (2, {"o/lr/group_0": 0.5})
    # H9 of Ignite: a parameter without a gradient has a norm, too.
    norms = {f"weights_norm/{name}": norm for name, norm in expected["norms"].items()}
    assert memory.entries[2] == (2, pytest.approx(norms))
    assert "weights_norm/frozen" in norms
    assert memory.entries[3] == (
        2,
        pytest.approx({f"g/grads_mean/0/{n}": m for n, m in expected["grads"].items()}),
    )
    assert memory.entries[4:] == [
        (2, "weights/0/weight", (1, 2)),
        (2, "grads/0/weight", (1, 2)),
        (2, "grads/0/bias", (1,)),
    ]


def test_closing_once_is_enough_and_happens_at_the_end_of_a_block():
    memory = Memory()
    with TrackerLogger(memory) as logger:
        logger.close()
    assert memory.num_closed == 1
    del logger
    assert memory.num_closed == 1


def test_names_are_joined_as_the_tracker_has_it_and_text_goes_where_it_is_taken():
    memory = Memory()
    memory.separator, memory.takes_text = " ", True
    engine = Engine(lambda engine, batch: batch)
    TrackerLogger(memory).attach_output_handler(
        engine,
        Events.COMPLETED,
        tag="t",
        output_transform=lambda output: {"s": "text", "v": torch.tensor([1, 2])},
    )
    engine.run([0])
    assert memory.entries == [(1, {"t s": "text", "t v 0": 1, "t v 1": 2})]


def test_a_full_disk_does_not_stop_the_run_and_is_reported(caplog):
    class Full(Memory):
        def scalars(self, values, step):
            raise OSError(28, "No space left on device")

    engine, seen = Engine(lambda engine, batch: batch), []
    with caplog.at_level(logging.WARNING), TrackerLogger(Full()) as logger:
        logger.attach_output_handler(
            engine, Events.ITERATION_COMPLETED, tag="t", output_transform=lambda x: x
        )
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: seen.append(1))
        engine.run([0, 0, 0])
    assert len(seen) == 3
    assert (
        "Cannot write logged values, training continues: OSError: [Errno 28] No space left on device"
        in caplog.text
    )
    assert "3 entries could not be logged" in caplog.text


def test_errors_of_the_program_are_not_hidden():
    class Broken(Memory):
        def scalars(self, values, step):
            raise ZeroDivisionError

    engine = Engine(lambda engine, batch: batch)
    logger = TrackerLogger(Broken())
    logger.attach_output_handler(engine, Events.COMPLETED, tag="t", output_transform=lambda x: x)
    with pytest.raises(ZeroDivisionError):
        engine.run([0])


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("params", ({},)),
        ("image", ("a", None, 1)),
        ("figure", ("a", None, 1)),
        ("artifact", ("path",)),
    ],
)
def test_verbs_that_a_tracker_has_not(verb, arguments):
    with pytest.warns(UserWarning, match=f"Memory does not support {verb}: skipped"):
        getattr(TrackerLogger(Memory()), verb)(*arguments)


def test_states_are_those_of_the_tracker():
    class Stateful(Memory):
        loaded = None

        def state_dict(self):
            return {"size": 3}

        def load_state_dict(self, state_dict):
            self.loaded = state_dict

    logger = TrackerLogger(Stateful())
    logger.load_state_dict(logger.state_dict())
    assert logger.tracker.loaded == {"size": 3}
    plain = TrackerLogger(Memory())
    plain.load_state_dict(plain.state_dict())
    assert plain.state_dict() == {"tracker": None}


def test_bad_input():
    with pytest.raises(
        TypeError,
        match="tracker should have the methods scalars, histogram and close, but given int",
    ):
        TrackerLogger(3)
    handler = trackers.OutputHandler("t", "all")
    with pytest.raises(
        RuntimeError, match="OutputHandler works only with TrackerLogger, but given int"
    ):
        handler(Engine(lambda engine, batch: batch), 3, Events.COMPLETED)


def test_a_misspelled_optimizer_parameter_is_reported_with_a_suggestion():
    trainer, _, optimizer, data = make_training()
    with TrackerLogger(Memory()) as logger:
        logger.attach_opt_params_handler(
            trainer, Events.STARTED, optimizer=optimizer, param_name="momentun"
        )
        with pytest.raises(ValueError, match="given 'momentun'. Did you mean 'momentum'"):
            trainer.run(data)
