from ignite.handlers._profilers.timings import Part


def test_own_times_and_sums():
    run = Part("run", "run", track=1)
    handler = run.child("validate", "handlers", "EPOCH_COMPLETED")
    nested = handler.child("evaluate", "run", track=2)
    step = nested.child("step", "step")
    run.total, run.inner = 100, 70
    handler.total, handler.inner = 70, 60
    nested.total, nested.inner = 60, 50
    step.total = 50
    assert [part.own for part in run.walk()] == [30, 10, 10, 50]
    assert (run.sum, handler.sum, nested.sum) == (100, 70, 60)
    assert (handler.track, nested.track, step.track) == (1, 2, 2)


def test_what_is_still_open_is_not_less_than_nothing():
    part = Part("validate", "handlers")
    part.inner = 5
    assert part.own == 0


def test_children_are_distinguished_by_name_kind_event_and_engine():
    run = Part("run", "run", track=1)
    first = run.child("log", "handlers", "STARTED")
    assert run.child("log", "handlers", "STARTED") is first
    others = [
        run.child("log", "handlers", "COMPLETED"),
        run.child("log", "run"),
        run.child("log", "run", track=2),
    ]
    assert len({id(part) for part in [first, *others]}) == 4
    assert run.children == [first, *others]
    assert [part.name for part in others] == ["log", "log", "log 2"]
    assert [part.path for part in others] == ["handlers/log", "run/log", "run/log 2"]
    assert run.child("data", "data").path == "data"
