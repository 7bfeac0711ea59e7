import pytest

from ignite.engine import Engine, Events


def test_requests_can_be_made_by_setting_the_flags():
    engine = Engine(lambda engine, batch: None)

    @engine.on(Events.ITERATION_COMPLETED(once=2))
    def stop(engine):
        engine.should_terminate = True

    assert engine.run(range(9)).iteration == 2
    assert engine.should_terminate is True
    assert engine.should_terminate_single_epoch is False
    assert engine.should_interrupt is False


@pytest.mark.parametrize("verb", ["terminate", "terminate_epoch", "interrupt"])
def test_a_step_may_ask_too(verb):
    def step(engine, batch):
        if engine.state.iteration == 2:
            getattr(engine, verb)()

    assert Engine(step).run(range(9)).iteration == 2


def test_a_request_before_the_run_is_forgotten():
    engine = Engine(lambda engine, batch: None)
    engine.terminate()
    assert engine.run(range(3)).iteration == 3
    assert engine.should_terminate is False


def test_terminate_goes_before_the_end_of_the_epoch_and_that_before_a_pause():
    engine, fired = Engine(lambda engine, batch: None), []
    engine.add_event_handler(Events.TERMINATE, lambda: fired.append("terminate"))
    engine.add_event_handler(Events.TERMINATE_SINGLE_EPOCH, lambda: fired.append("epoch"))
    engine.add_event_handler(Events.INTERRUPT, lambda: fired.append("interrupt"))

    @engine.on(Events.ITERATION_COMPLETED(once=1))
    def ask_for_two(engine):
        engine.interrupt()
        engine.terminate_epoch()

    @engine.on(Events.ITERATION_COMPLETED(once=2))
    def ask_for_three(engine):
        engine.interrupt()
        engine.terminate_epoch()
        engine.terminate()

    engine.run(range(3), max_epochs=4)
    assert fired == ["epoch", "interrupt"]
    engine.run(range(3))
    assert fired == ["epoch", "interrupt", "terminate"]


@pytest.mark.parametrize(
    "event", [Events.STARTED, Events.EPOCH_STARTED, Events.ITERATION_COMPLETED, Events.COMPLETED]
)
def test_skip_iteration_where_there_is_nothing_to_skip_is_refused(event):
    engine = Engine(lambda engine, batch: None)
    engine.add_event_handler(event, engine.skip_iteration)
    with pytest.raises(
        RuntimeError,
        match=rf"skip_iteration\(\) should be called during .*but was called on Events.{event.name}",
    ):
        engine.run([0])
    with pytest.raises(RuntimeError, match="on an engine that is not running"):
        Engine(lambda engine, batch: None).skip_iteration()


def test_a_skip_survives_a_pause():
    engine, steps = Engine(lambda engine, batch: steps.append(batch)), []

    @engine.on(Events.ITERATION_STARTED(once=2))
    def skip_and_pause(engine):
        engine.skip_iteration()
        engine.interrupt()

    engine.run("abc")
    assert engine.state.iteration == 2
    engine.run()
    assert steps == ["a", "c"]
