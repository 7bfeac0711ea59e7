"""What is found to belong to a run, and under which names."""

import functools

import pytest
import torch
from torch import nn

from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.engine._collect import collect
from ignite.metrics import Accuracy, Average, Loss, RunningAverage


class Counter:
    """Anything with a state."""

    def __init__(self):
        self.count = 0

    def __call__(self, engine):
        self.count += 1

    def increase(self):
        self.count += 1

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def make_trainer(**options):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return create_supervised_trainer(model, optimizer, nn.CrossEntropyLoss(), **options), model, optimizer


def idle():
    return Engine(lambda engine, batch: None)


def test_the_parts_of_a_supervised_step_are_found():
    trainer, model, optimizer = make_trainer(gradient_accumulation_steps=2)
    objects = collect(trainer, {}).objects
    assert objects == {"model": model, "optimizer": optimizer, "window": trainer._process_function}


def test_a_scaler_is_found():
    trainer, _, _ = make_trainer(amp_mode="amp", scaler=True, device="cpu")
    assert collect(trainer, {}).objects["scaler"] is trainer.state.scaler


def test_a_given_object_is_found_once_under_its_given_name():
    trainer, model, _ = make_trainer()
    assert list(collect(trainer, {"net": model}).objects) == ["net", "optimizer"]


def test_what_is_given_as_none_is_left_out():
    trainer, model, _ = make_trainer()
    assert collect(trainer, {"optimizer": None}).objects == {"model": model}


def test_handlers_and_the_objects_of_methods_are_found_under_their_class():
    engine, first, second, third = idle(), Counter(), Counter(), Counter()
    engine.add_event_handler(Events.EPOCH_COMPLETED, first)
    engine.add_event_handler(Events.EPOCH_COMPLETED, second.increase)
    engine.add_event_handler(Events.EPOCH_COMPLETED, functools.partial(lambda counter, engine: None, third))
    assert collect(engine, {}).objects == {"Counter": first, "Counter#2": second, "Counter#3": third}


def test_metrics_are_found_under_the_name_of_their_value():
    engine = idle()
    Average().attach(engine, "mean")
    RunningAverage(output_transform=float).attach(engine, "loss")
    assert list(collect(engine, {}).objects) == ["Average.mean", "RunningAverage.loss"]


def test_variables_of_handlers_and_of_functions_that_they_call_are_found():
    engine, schedule, average = idle(), Counter(), Counter()

    def update_average():
        average.increase()

    @engine.on(Events.ITERATION_COMPLETED)
    def step():
        schedule.increase()
        update_average()

    assert collect(engine, {}).objects == {"schedule": schedule, "average": average}


GLOBAL = Counter()


def test_globals_of_handlers_and_of_functions_within_them_are_found():
    engine = idle()
    engine.add_event_handler(Events.STARTED, lambda: [(lambda: GLOBAL)() for _ in range(1)])
    assert collect(engine, {}).objects == {"GLOBAL": GLOBAL}


def test_attributes_of_the_object_whose_methods_are_handlers_are_found():
    class Training:
        def __init__(self):
            self.model, self.name = nn.Linear(1, 1), "net"
            self.engine = Engine(self.step)

        def step(self, engine, batch): ...

    training = Training()
    assert collect(training.engine, {}).objects == {"model": training.model}


def test_engines_are_looked_into_but_what_their_runs_reset_is_left_out():
    trainer, model, optimizer = make_trainer()
    evaluator = create_supervised_evaluator(model, metrics={"accuracy": Accuracy()})
    stopper = Counter()
    evaluator.add_event_handler(Events.COMPLETED, stopper)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate():
        evaluator.run([])

    objects, engines, *_ = collect(trainer, {})
    assert objects == {"model": model, "optimizer": optimizer, "Counter": stopper}
    assert engines == {"trainer": trainer, "evaluator": evaluator}


def test_engines_given_by_name_or_as_arguments_are_looked_into():
    trainer, given, argument = idle(), idle(), idle()
    counters = Counter(), Counter()
    given.add_event_handler(Events.COMPLETED, counters[0])
    argument.add_event_handler(Events.COMPLETED, counters[1])
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine, other: None, argument)
    objects, engines, *_ = collect(trainer, {"validation": given})
    assert objects == {"Counter": counters[0], "Counter#2": counters[1]}
    assert list(engines.values()) == [trainer, given, argument]


def test_what_has_no_state_of_a_run_is_left_out():
    engine = idle()
    loss, loader, kind = nn.CrossEntropyLoss(), torch.utils.data.DataLoader([1]), Counter

    @engine.on(Events.STARTED)
    def use():
        return loss, loader, kind, torch

    Loss(loss).attach(engine, "loss")
    assert list(collect(engine, {}).objects) == ["Loss.loss"]


def test_names_are_the_same_in_the_next_run_of_the_program():
    def program():
        trainer, _, _ = make_trainer()
        scheduler = torch.optim.lr_scheduler.StepLR(trainer._process_function.optimizer, 1)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: scheduler.step())
        trainer.add_event_handler(Events.EPOCH_COMPLETED, Counter())
        RunningAverage(output_transform=float).attach(trainer, "loss")
        return list(collect(trainer, {}).objects)

    assert program() == program()
    assert program() == ["model", "optimizer", "Counter", "RunningAverage.loss", "scheduler"]


def test_objects_without_state_and_reserved_names_are_refused():
    with pytest.raises(TypeError, match="schedule should have state_dict and load_state_dict, but given int"):
        collect(idle(), {"schedule": 3})
    with pytest.raises(ValueError, match="should have another name than data, event, .* but given data"):
        collect(idle(), {"data": Counter()})
