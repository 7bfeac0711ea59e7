from ignite.engine import Engine, EventEnum, Events


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
    assert "test_describe.py:" in lines[2]


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
