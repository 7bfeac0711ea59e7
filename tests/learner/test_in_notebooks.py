"""What a notebook shows of learners, histories, engines, profilers and states; one is executed."""

import copy
import math
import os
import pickle

import pytest
import torch

from ignite._core.markup import Text, in_brief
from ignite.engine import Engine, Events, State
from ignite.handlers import RunProfiler
from ignite.learner import History
from support.reported_runs import make_data, make_learner

EVIL = "<img src=x onerror=alert(1)>"


def make_history():
    history = History()
    history.directions |= {"valid_accuracy": True, EVIL: None}
    for epoch, accuracy in ((1, 0.5), (2, 0.75), (3, 0.625)):
        history.add({"epoch": epoch, "loss": 1 / epoch, "valid_accuracy": accuracy, EVIL: math.nan})
    return history


def test_a_history_is_a_table_with_the_best_values_marked():
    page = make_history()._repr_html_()
    assert page.count("<tr>") == 4
    assert [part.split("</b>")[0] for part in page.split("<b>★ ")[1:]] == ["0.7500", "0.3333"]
    assert "&lt;img src=x" in page
    assert "<img" not in page
    assert "<table>" in History()._repr_html_()


def test_a_long_history_shows_its_ends():
    history = History()
    for epoch in range(1, 1001):
        history.add({"epoch": epoch, "loss": 1.0})
    page = history._repr_html_()
    assert page.count("<tr>") == 42
    assert all(f">{epoch}</td>" in page for epoch in (1, 20, 981, 1000))


def test_a_learner_tells_its_options_history_and_handlers():
    learner = make_learner()
    before = learner._repr_html_()
    assert "not known before the first fit" in before
    assert "valid_loss" not in before
    learner.fit(make_data(), valid=0.25, epochs=2, batch_size=8, progress=False)
    page = learner._repr_html_()
    for text in ("Learner of Linear", "multiclass", "valid_loss", "<summary>Handlers</summary>"):
        assert text in page


def test_summary_and_description_are_texts_and_tables():
    learner = make_learner()
    for text, inside in ((learner.summary(), "Linear"), (learner.describe(), "cross_entropy")):
        assert isinstance(text, str)
        assert repr(text) == str(text) == f"{text}"
        assert type(str(text)) is str
        assert inside in text
        assert "<table>" in text._repr_html_()
        assert inside in text._repr_html_()
        for other in (copy.deepcopy(text), pickle.loads(pickle.dumps(text))):
            assert (other, other._repr_html_()) == (text, text._repr_html_())
    assert Text("a", "b") == "a"


def test_an_engine_and_its_state():
    engine = Engine(lambda engine, batch: batch)
    engine.state.mine = EVIL
    engine.add_event_handler(Events.STARTED, lambda: None)
    assert "not run yet" in engine._repr_html_()
    engine.run([torch.zeros(2, 3)], max_epochs=2)
    assert "epoch 2, iteration 2" in engine._repr_html_()
    assert "STARTED" in engine._repr_html_()
    page = engine.state._repr_html_()
    assert "Tensor float32 (2, 3)" in page
    assert "&lt;img src=x" in page
    assert "<img" not in page
    assert "_event_counts" not in page


def test_a_state_is_short_whatever_it_holds():
    class Loud:
        def __repr__(self):
            raise RuntimeError("is not asked")

    state = State(
        a=Loud(), b="x" * 10_000, c=list(range(10_000)), d={i: Loud() for i in range(1000)}
    )
    assert len(state._repr_html_()) < 4000
    assert in_brief((1, None, math.pi)) == "(1, None, 3.142)"


def test_a_profiler_is_a_table_with_bars():
    engine, profiler = Engine(lambda engine, batch: None), RunProfiler()
    profiler.attach(engine)
    assert "whole" in profiler._repr_html_()
    engine.run(range(3))
    page = profiler._repr_html_()
    for part in ("step", "data", "engine", "whole"):
        assert f">{part}</span>" in page
    assert "100.0%" in page


def test_a_plot_has_whole_epochs_labels_and_the_best_epoch():
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib import pyplot

    history = make_history()
    figure = history.plot(["loss", "valid_accuracy"])
    figure.canvas.draw()
    left, right = figure.axes
    assert [ax.get_xlabel() for ax in figure.axes] == ["epoch", "epoch"]
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "metric"]
    assert all(tick == int(tick) for ax in figure.axes for tick in ax.get_xticks())
    assert [text.get_text() for text in right.get_legend().get_texts()] == [
        "valid_accuracy",
        "best: 0.75 (epoch 2)",
    ]
    assert right.collections[0].get_offsets().tolist() == [[2.0, 0.75]]
    assert not left.collections  # only the validation is marked if there is one
    pickle.dumps(figure)
    pyplot.close(figure)


@pytest.mark.parametrize("num_epochs", [0, 1])
def test_short_histories_are_plotted(num_epochs):
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib import pyplot

    history = History()
    for epoch in range(num_epochs):
        history.add({"epoch": epoch + 1, "loss": 0.5})
    figure = history.plot()
    figure.canvas.draw()
    assert all(tick == int(tick) for tick in figure.axes[0].get_xticks())
    pyplot.close(figure)


CELLS = """
import torch
from ignite import Learner
from ignite.handlers import RunProfiler
torch.manual_seed(0)
x = torch.randn(400, 4)
y = (x[:, 0] > 0).long()
learner = Learner(torch.nn.Linear(4, 2), "cross_entropy", lr=0.05, metrics=["accuracy"])
profiler = RunProfiler()
profiler.attach(learner.trainer)
history = learner.fit((x, y), valid=0.25, epochs=3, batch_size=16)
---
history
---
learner
---
learner.trainer
---
learner.trainer.state
---
profiler
---
learner.summary()
---
learner.describe()
---
learner.trainer.describe()
---
history.plot()
---
figure = history.plot()
---
figure
---
import matplotlib.pyplot as plt
history.plot()
plt.show()
""".strip().split("\n---\n")


def test_an_executed_notebook_shows_tables_and_each_plot_once():
    for name in ("nbclient", "ipykernel", "matplotlib"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    from support.seen_in_a_notebook import execute

    notebook, (_, *shown, plotted, kept, again, with_show) = execute(*CELLS)
    if folder := os.environ.get("SAVE_NOTEBOOK"):  # to look at
        import nbformat

        nbformat.write(notebook, folder)
    for outputs in shown:
        (output,) = outputs
        assert "text/html" in output["data"]
        assert "object at 0x" not in output["data"]["text/html"]
    for outputs in (plotted, kept, again, with_show):
        assert [("image/png" in output["data"]) for output in outputs] == [True]
