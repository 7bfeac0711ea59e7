"""The variables that functions read, found in their bytecode."""

from ignite._core.reads import global_names, reads_of


def found(function):
    return {
        (read.root, read.kind, tuple(key for _, key in read.path))
        for read in reads_of(function.__code__)
    }


def test_attributes_and_keys_of_variables_are_followed():
    def step(engine, batch):
        net = parts["model"]  # noqa: F821
        cfg.opt.zero_grad()  # noqa: F821
        return net.forward(batch), engine.state.scheduler.step(), [one for one in models]  # noqa: F821, C416

    assert found(step) >= {
        ("parts", "global", ("model", "forward")), ("cfg", "global", ("opt", "zero_grad")),
        ("engine", "local", ("state", "scheduler", "step")), ("models", "global", ()), ("batch", "local", ()),
    }  # fmt: skip
    assert {root for root, kind, _ in found(step) if kind == "global"} == {"parts", "cfg", "models"}


def test_functions_within_read_what_is_around_them():
    def outer(holder):
        return lambda: (holder.net, free)  # noqa: F821

    assert {("holder", "local", ("net",)), ("free", "global", ())} <= found(outer)


def test_names_of_variables_are_no_attributes_and_what_is_set_counts():
    def step(engine):
        global best
        best = engine.state.scheduler

    assert list(global_names(step.__code__)) == ["best"]
