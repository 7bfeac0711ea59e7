"""The objects found to belong to a run, and their names."""

import collections
import contextvars
import dataclasses
import functools
import itertools
import logging
import random
import sys
import types
import weakref

import pytest
import torch
from torch import nn

from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.engine.resume.belongings import collect
from ignite.handlers import Checkpoint, LinearCyclicalScheduler
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
    return (
        create_supervised_trainer(model, optimizer, nn.CrossEntropyLoss(), **options),
        model,
        optimizer,
    )


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
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, functools.partial(lambda counter, engine: None, third)
    )
    assert collect(engine, {}).objects == {
        "Counter(trainer EPOCH_COMPLETED Counter)": first,
        "Counter(trainer EPOCH_COMPLETED increase)": second,
        "counter": third,  # the parameter that it is bound to
    }


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
    assert objects == {
        "Counter(validation COMPLETED Counter)": counters[0],
        "Counter(Engine COMPLETED Counter)": counters[1],
    }
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
    with pytest.raises(
        TypeError, match="schedule should have state_dict and load_state_dict, but given int"
    ):
        collect(idle(), {"schedule": 3})
    with pytest.raises(
        ValueError, match="name of an object should not be one of data, event, .* but given data"
    ):
        collect(idle(), {"data": Counter()})


class Scheduler(Counter):
    def __init__(self, score, patience, name="a"):
        super().__init__()
        self.score, self.patience, self._name = score, patience, name


def accuracy(engine): ...


def loss(engine): ...


DIFFERENT = {
    "the function that they look at": lambda: [Scheduler(accuracy, 3), Scheduler(loss, 3)],
    "the metric that it looks up": lambda: [
        Scheduler(lambda e: e.state.metrics["a"], 3), Scheduler(lambda e: e.state.metrics["b"], 3)
    ],
    "what it is bound to": lambda: [Scheduler(functools.partial(loss, 1), 3), Scheduler(functools.partial(loss, 2), 3)],
    "a number": lambda: [Scheduler(accuracy, 3), Scheduler(accuracy, 5)],
    "a name": lambda: [Scheduler(accuracy, 3, "x"), Scheduler(accuracy, 3, "y")],
    "two things": lambda: [Scheduler(accuracy, 3), Scheduler(accuracy, 5), Scheduler(loss, 3), Scheduler(loss, 5)],
}  # fmt: skip


@pytest.mark.parametrize("what", DIFFERENT)
def test_names_do_not_depend_on_the_order_of_attaching_where_objects_differ(what):
    found = []
    for order in itertools.permutations(range(len(DIFFERENT[what]()))):
        engine, objects = idle(), DIFFERENT[what]()
        for number in order:
            objects[number].count = number
            engine.add_event_handler(Events.EPOCH_COMPLETED, objects[number])
        belongings = collect(engine, {})
        assert belongings.alike == []
        found.append({name: one.count for name, one in belongings.objects.items()})
    assert all(one == found[0] for one in found)
    assert sorted(found[0].values()) == list(range(len(found[0])))


@pytest.mark.parametrize(
    "events",
    [(Events.EPOCH_COMPLETED, Events.ITERATION_COMPLETED), (Events.EPOCH_COMPLETED(every=2), Events.EPOCH_COMPLETED),
     (Events.EPOCH_COMPLETED(every=2), Events.EPOCH_COMPLETED(every=3))],
)  # fmt: skip
def test_names_do_not_depend_on_the_order_of_attaching_where_events_differ(events):
    found = []
    for order in itertools.permutations(enumerate(events)):
        engine = idle()
        for number, event in order:
            counter = Counter()
            counter.count = number
            engine.add_event_handler(event, counter)
        found.append({name: one.count for name, one in collect(engine, {}).objects.items()})
    assert found[0] == found[1]
    assert len(found[0]) == 2


def test_the_name_of_an_object_that_has_several_does_not_depend_on_the_order():
    def program(order):
        engine, net = idle(), nn.Linear(1, 1)

        def first():
            return net

        def make(model):
            def second():
                return model

            return second

        for handler in [(first, make(net)), (make(net), first)][order]:
            engine.add_event_handler(Events.STARTED, handler)
        belongings = collect(engine, {})
        return list(belongings.objects), belongings.others

    assert program(0) == program(1)
    assert program(0) == (["net"], {"net": ["model"]})


def test_objects_that_do_not_differ_are_said_to_and_need_names():
    engine, first, second = idle(), Counter(), Counter()
    engine.add_event_handler(Events.EPOCH_COMPLETED, first)
    engine.add_event_handler(Events.EPOCH_COMPLETED, second)
    belongings = collect(engine, {})
    with pytest.raises(
        ValueError, match=r"should have different names.*Counter.*first=..., second="
    ):
        belongings.check({})
    given = {"one": first, "other": second}
    named = collect(engine, given)
    assert named.objects == given
    named.check(given)


scheduler, model = Counter(), nn.Linear(1, 1)


def test_an_attribute_is_no_variable_of_the_same_name():
    engine, other = idle(), Counter()
    engine.state.scheduler = None
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: engine.state.scheduler.step())
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: engine.state.model)
    assert collect(engine, {}).objects == {}
    engine.state.scheduler = other
    assert collect(engine, {}).objects == {"scheduler": other}


def test_of_a_namespace_only_what_is_used_is_found():
    config = types.SimpleNamespace(
        net=nn.Linear(1, 1), unused=nn.Linear(1, 1), parts={"a": Counter(), "b": Counter()}
    )
    engine = Engine(lambda engine, batch: config.net(batch))
    engine.add_event_handler(Events.STARTED, lambda: config.parts["a"].increase())
    assert collect(engine, {}).objects == {"a": config.parts["a"], "net": config.net}


class Holder:
    def __init__(self, parts):
        self.parts = parts


class Slotted:
    __slots__ = ("net", "optimizer")

    def __init__(self, net, optimizer):
        self.net, self.optimizer = net, optimizer


@dataclasses.dataclass
class Parts:
    net: object
    optimizer: object


def train(parts, engine, batch):
    return parts


def train_with(engine, batch, *, net, optimizer):
    return net, optimizer


def train_with_rest(engine, batch, **parts):
    return parts["net"], parts["optimizer"]


class Step:
    def __init__(self, net, optimizer):
        self.inner = {"net": net, "optimizer": [optimizer]}

    def __call__(self, engine, batch): ...

    def method(self, engine, batch): ...

    @staticmethod
    def wrapped(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)

        return wrapper


class Lazy:
    def __init__(self, net, optimizer):
        self._net, self._optimizer = net, optimizer

    @property
    def both(self):
        return self._net, self._optimizer


def closure_of(value):
    return lambda engine, batch: value


def attribute_of(value):
    return lambda engine, batch: (value.net, value.optimizer)


def key_of(value):
    def step(engine, batch):
        return value["net"], value["optimizer"]

    return step


def default_of(net, optimizer):
    def step(engine, batch, net=net, *, optimizer=optimizer):
        return net, optimizer

    return step


def on_state(net, optimizer):
    def step(engine, batch):
        return engine.state.net, engine.state.optimizer

    def put(engine):
        engine.state.net, engine.state.optimizer = net, optimizer

    step.put = put
    return step


def in_a_module(net, optimizer):
    module = types.ModuleType("program_parts")
    module.net, module.optimizer = net, optimizer
    sys.modules["program_parts"] = module

    def step(engine, batch):
        import program_parts

        return program_parts.net, program_parts.optimizer

    return step


WAYS = {
    "partial": lambda n, o: functools.partial(train_with, net=n, optimizer=o),
    "partial with rest": lambda n, o: functools.partial(train_with_rest, net=n, optimizer=o),
    "partial of a partial": lambda n, o: functools.partial(
        functools.partial(train_with, net=n), optimizer=o
    ),
    "partial of a dictionary": lambda n, o: functools.partial(train, {"net": n, "optimizer": o}),
    "partial of a method": lambda n, o: functools.partial(Step(n, o).method),
    "callable": Step,
    "method": lambda n, o: Step(n, o).method,
    "wrapped": lambda n, o: Step.wrapped(Step(n, o).method),
    "wrapped twice": lambda n, o: Step.wrapped(Step.wrapped(closure_of((n, o)))),
    "no_grad": lambda n, o: torch.no_grad()(closure_of((n, o))),
    "dictionary": lambda n, o: key_of({"net": n, "optimizer": o}),
    "unknown key": lambda n, o: (lambda parts: lambda engine, batch: [parts[key] for key in parts])(
        {"a": n, "b": o}
    ),
    "nested": lambda n, o: closure_of({"a": [{"b": (n,)}], "c": {"d": {"e": o}}}),
    "tuple": lambda n, o: closure_of((n, o)),
    "named tuple": lambda n, o: closure_of(collections.namedtuple("P", "net optimizer")(n, o)),
    "namespace": lambda n, o: attribute_of(types.SimpleNamespace(net=n, optimizer=o)),
    "dataclass": lambda n, o: attribute_of(Parts(n, o)),
    "slots": lambda n, o: attribute_of(Slotted(n, o)),
    "object of objects": lambda n, o: closure_of(Holder(Holder(Parts(n, o)))),
    "class": lambda n, o: attribute_of(type("Config", (), {"net": n, "optimizer": o})),
    "property": lambda n, o: (lambda lazy: lambda engine, batch: lazy.both)(Lazy(n, o)),
    "default": default_of,
    "function of a function": lambda n, o: (lambda f: lambda engine, batch: f(engine, batch))(
        closure_of((n, o))
    ),
    "state": on_state,
    "module": in_a_module,
    "default dictionary": lambda n, o: closure_of(collections.defaultdict(list, {"x": [n, o]})),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_step", [True, False])
def test_the_parts_of_a_step_or_a_handler_are_found_wherever_it_keeps_them(way, is_step):
    net = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    function = WAYS[way](net, optimizer)
    engine = Engine(function if is_step else lambda engine, batch: None)
    getattr(function, "put", lambda engine: None)(engine)
    if not is_step:
        engine.add_event_handler(Events.STARTED, function, None)
    belongings = collect(engine, {})
    assert {id(one) for one in belongings.objects.values()} >= {id(net), id(optimizer)}
    assert len(belongings.objects) == 2
    belongings.check({})


HIDDEN = {
    "globals": lambda n: lambda engine, batch: globals()["model"](batch),
    "a weak reference": lambda n: (lambda ref: lambda engine, batch: ref())(weakref.ref(n)),
    "eval": lambda n: lambda engine, batch: eval("model"),
    "an iterator": lambda n: (lambda nets: lambda engine, batch: next(nets))(itertools.cycle([n])),
    "a context variable": lambda n: (lambda held: lambda engine, batch: held.get())(
        contextvars.ContextVar("net", default=n)
    ),
}


@pytest.mark.parametrize("way", HIDDEN)
def test_a_model_that_is_hidden_is_asked_for(way):
    net = nn.Linear(1, 1)
    engine = Engine(HIDDEN[way](net))
    belongings = collect(engine, {})
    assert belongings.objects == {}
    with pytest.raises(
        ValueError, match=r"neither was found.*model=model, optimizer=optimizer.*model=None"
    ):
        belongings.check({})
    belongings.check({"model": None})
    collect(engine, {"net": net}).check({"net": net})


def test_a_run_without_a_model_needs_no_word_if_all_of_it_can_be_seen():
    seen, limits = [], {"a": 1}
    engine = Engine(lambda engine, batch: seen.append(batch + limits["a"]))
    collect(engine, {}).check({})


def trained(raw):
    """A program whose trained tensors belong to no module, and these tensors."""
    if raw == "an optimizer's":
        tensors = [nn.Parameter(torch.zeros(2)), torch.zeros(3, requires_grad=True)]
        optimizer = torch.optim.Adam(tensors, lr=0.1)
        return Engine(lambda engine, batch: optimizer.step()), tensors
    if raw == "of groups of two optimizers":
        tensors = [torch.zeros(2, requires_grad=True) for _ in range(3)]
        first = torch.optim.SGD([{"params": tensors[:1]}, {"params": tensors[1:2]}], lr=0.1)
        second = torch.optim.SGD(tensors[1:], lr=0.1)
        return Engine(lambda engine, batch: (first.step(), second.step())), tensors
    tensors = [torch.zeros(2, requires_grad=True) for _ in range(3)]
    held = {"a": tensors[0], "rest": [{"b": tensors[1]}, (tensors[2],)]}
    return Engine(lambda engine, batch: list(held.values())), tensors


@pytest.mark.parametrize(
    "raw", ["an optimizer's", "of groups of two optimizers", "without an optimizer"]
)
def test_trained_tensors_of_no_module_are_saved(raw):
    states = []
    for value in (1.0, 2.0):
        engine, tensors = trained(raw)
        belongings = collect(engine, {})
        belongings.check({})
        with torch.no_grad():
            for number, tensor in enumerate(tensors):
                tensor.fill_(value + number)
        free = {name: one for name, one in belongings.objects.items() if "parameters" in name}
        states.append({name: one.state_dict() for name, one in free.items()})
    for name, one in free.items():
        one.load_state_dict(states[0][name])
    assert [tensor[0].item() for tensor in tensors] == [1.0 + i for i in range(len(tensors))]


def test_parameters_of_a_found_or_excluded_module_are_saved_once():
    model, other = nn.Linear(1, 1), nn.Linear(1, 1)
    optimizer = torch.optim.SGD([*model.parameters(), *other.parameters()], lr=0.1)
    weights = list(model.parameters())
    engine = Engine(lambda engine, batch: (model, other, optimizer, weights))
    assert collect(engine, {}).objects.keys() == {"model", "other", "optimizer"}
    assert collect(engine, {"other": None}).objects.keys() == {"model", "optimizer"}


@pytest.mark.parametrize("way", HIDDEN)
def test_the_module_of_an_optimizer_that_was_found_is_asked_for_if_it_is_hidden(way):
    net = nn.BatchNorm1d(1)
    optimizer, use = torch.optim.SGD(net.parameters(), lr=0.1), HIDDEN[way](net)
    engine = Engine(lambda engine, batch: (use(engine, batch), optimizer.step()))
    given = {"optimizer": optimizer}
    with pytest.raises(ValueError, match="optimizer.parameters: .*model=model"):
        collect(engine, given).check(given)
    given["model"] = net
    collect(engine, given).check(given)
    assert collect(engine, given).objects.keys() == {"model", "optimizer"}


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.calls = 0
        self.register_buffer("seen", torch.zeros(2))
        self.register_buffer("cache", torch.zeros(2), persistent=False)


def a_program_with_plain_variables():
    """The engine, and what changes its variables."""
    count, limit, weights, namespace = (
        0,
        3,
        {"a": torch.zeros(2)},
        types.SimpleNamespace(best=0.0, k=1),
    )
    model, mean = Counting(), torch.zeros(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []

    def step(engine, batch):
        nonlocal count
        optimizer.param_groups[0]["lr"] *= 0.5
        with torch.no_grad():
            model.weight += 1
            model.seen += 1
            if engine.state.epoch > 3:
                count += 1
                weights["a"] = weights["a"] + limit
                mean.add_(1)
                model.calls += 1
                model.cache.add_(1)
                namespace.best += namespace.k
        seen.append(count)

    engine = Engine(step)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: engine.state.iteration)
    return engine


def test_plain_variables_that_change_are_reported_once(tmp_path, caplog):
    engine = a_program_with_plain_variables()
    Checkpoint.of(engine, tmp_path, background=False)
    at_epoch_4 = []
    engine.add_event_handler(Events.EPOCH_STARTED(once=4), lambda: at_epoch_4.append(caplog.text))
    with caplog.at_level(logging.WARNING):
        engine.run([0, 0], max_epochs=6)
    assert "not saved" not in at_epoch_4[0]
    (line,) = [record.getMessage() for record in caplog.records if "not saved" in record.msg]
    names = line.partition(": ")[2].partition(". Keep")[0].split(", ")
    assert sorted(name.partition("step.")[2] or name for name in names) == [
        "count", "mean", "model.cache", "model.calls", "namespace.best", "weights.a",
    ]  # fmt: skip


def own_generators(way):
    """A program with random number generators of its own, and a draw from each."""
    numpy = pytest.importorskip("numpy")
    ours = torch.Generator().manual_seed(1)
    pythons = random.Random(2)
    numpys = [
        numpy.random.default_rng(3),
        numpy.random.RandomState(4),
        *(numpy.random.Generator(kind(5)) for kind in (numpy.random.MT19937, numpy.random.Philox, numpy.random.SFC64)),
    ]  # fmt: skip
    held = types.SimpleNamespace(python=pythons, numpys=dict(enumerate(numpys)))

    def draw(*_):
        return [
            torch.rand(2, generator=ours).tolist(),
            held.python.random(),
            pythons.gauss(0, 1),
            pythons.randint(0, 9),
            *(one.standard_normal() for one in numpys),
        ]

    engine = Engine(draw if way == "step" else lambda engine, batch: None)
    if way == "handler":
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: draw())
    return engine, draw


@pytest.mark.parametrize("way", ["step", "handler"])
def test_random_generators_of_the_program_are_saved_and_restored(way, tmp_path):
    draws = []
    for folder, stops in (("whole", [4]), ("cut", [2, 4])):
        for max_epochs in stops:
            engine, draw = own_generators(way)
            Checkpoint.of(engine, tmp_path / folder, background=False)
            engine.run([0, 0], max_epochs=max_epochs, resume="latest")
        draws.append(draw())
    assert draws[0] == draws[1]


def test_global_generators_are_no_generators_of_the_program():
    numpy = pytest.importorskip("numpy")
    engine = Engine(
        lambda engine, batch: (
            random.random(),
            random.choice([1]),
            numpy.random.rand(),
            torch.rand(1),
        )
    )
    assert collect(engine, {}).generators == {}


@pytest.mark.parametrize("is_reversed", [False, True])
def test_schedulers_of_two_optimizers_are_distinguished_by_their_optimizers(is_reversed):
    nets = nn.Linear(1, 1), nn.Linear(1, 1)
    first, second = (torch.optim.SGD(net.parameters(), lr=0.1) for net in nets)
    engine = Engine(lambda engine, batch: (nets, first, second))
    schedulers = [LinearCyclicalScheduler(one, "lr", 0.1, 0.2, 10) for one in (first, second)]
    for scheduler in schedulers[:: -1 if is_reversed else 1]:
        engine.add_event_handler(Events.ITERATION_STARTED, scheduler)
    belongings = collect(engine, {})
    belongings.check({})
    names = {id(one): name for name, one in belongings.objects.items()}
    assert [
        names[id(one)].rpartition("optimizer=")[2].partition(",")[0].strip(")")
        for one in schedulers
    ] == [
        "first",
        "second",
    ]


class Accumulating:
    """A step that accumulates gradients over four batches by hand."""

    def __init__(self, folder, sets_to_none=True):
        torch.manual_seed(0)
        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def step(engine, batch):
            model(batch).square().sum().backward()
            if engine.state.iteration % 4 == 0:
                optimizer.step()
                optimizer.zero_grad(set_to_none=sets_to_none)

        self.model, self.trainer = model, Engine(step)
        event = Events.ITERATION_COMPLETED(every=3)
        self.saver = Checkpoint.of(self.trainer, folder, event=event, background=False)

    def run(self, stop_at=None):
        batches = torch.randn(11, 3, 2, generator=torch.Generator().manual_seed(1))
        if stop_at is not None:
            stop = Events.ITERATION_COMPLETED(once=stop_at)
            self.trainer.add_event_handler(stop, lambda engine: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                self.trainer.run([*batches], max_epochs=2)
        else:
            self.trainer.run([*batches], max_epochs=2, resume="latest")
        return self.model.weight.tolist()


@pytest.mark.parametrize("sets_to_none", [True, False])
def test_gradients_that_a_step_accumulates_by_hand_are_saved(sets_to_none, tmp_path):
    whole = Accumulating(tmp_path / "whole", sets_to_none).run()
    for stop_at in (3, 5, 6, 9, 16, 22):
        folder = tmp_path / str(stop_at)
        Accumulating(folder, sets_to_none).run(stop_at)
        assert Accumulating(folder, sets_to_none).run() == whole, stop_at


def test_gradients_of_a_step_that_is_done_make_no_file_larger(tmp_path):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine, batch):
        optimizer.zero_grad()
        model(batch).sum().backward()
        optimizer.step()

    trainer = Engine(step)
    saver = Checkpoint.of(trainer, tmp_path)
    trainer.run([torch.ones(1, 2)], max_epochs=2)
    assert "accumulated" not in torch.load(saver.last_checkpoint, weights_only=True)
