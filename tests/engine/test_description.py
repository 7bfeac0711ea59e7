import torch
from torch import nn

from ignite.engine import Engine, EventEnum, Events, create_supervised_trainer
from ignite.handlers import Checkpoint
from ignite.metrics import RunningAverage


class Custom(EventEnum):
    HALF = "half"


def step(engine, batch): ...


def validate(engine): ...


def save(engine): ...


def log(engine): ...


def make_engine():
    engine = Engine(step)
    engine.register_events(*Custom)
    engine.add_event_handler(Events.EPOCH_COMPLETED(every=5, last=True), save, priority=-10)
    engine.add_event_handler(Events.EPOCH_COMPLETED, validate)
    engine.add_event_handler(Events.ITERATION_COMPLETED(every=100), log)
    engine.add_event_handler(Custom.HALF, log)
    engine.add_event_handler(Events.STARTED, log)
    return engine


def test_the_description_shows_events_in_their_order_with_handlers_filters_and_places():
    lines = str(make_engine().describe()).splitlines()
    assert [line.partition("  (")[0] for line in lines] == [
        "Engine",
        "  STARTED",
        "    - log",
        "  each epoch",
        "    each iteration",
        "      step: step",
        "      ITERATION_COMPLETED",
        "        - log  [every=100]",
        "    EPOCH_COMPLETED",
        "      - validate",
        "      - save  [every=5, last=True]  priority -10",
        "  when fired",
        "    HALF",
        "      - log",
    ]
    assert "test_description.py:" in lines[2]


def test_the_description_is_html_in_a_notebook_with_names_escaped():
    page = make_engine().describe()._repr_html_()
    assert page.count("EPOCH_COMPLETED") == 1
    assert "<b>HALF</b>" in page
    assert "&lt;lambda&gt;" in Engine(lambda engine, batch: None).describe()._repr_html_()


def test_all_of_it_is_known_before_the_run():
    engine = make_engine()
    before = str(engine.describe())
    engine.run([0])
    assert str(engine.describe()) == before


def test_what_a_checkpoint_saves_and_where_is_listed(tmp_path):
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(model, optimizer, nn.MSELoss())
    RunningAverage(output_transform=float).attach(trainer, "loss")
    Checkpoint.of(trainer, tmp_path / "run", event=Events.ITERATION_COMPLETED(every=7))
    (line,) = [line for line in str(trainer.describe()).splitlines() if "->" in line]
    assert "RunCheckpoint  [every=7]  priority -inf" in line
    assert f"model, optimizer, RunningAverage.loss -> {tmp_path / 'run'}  (" in line
