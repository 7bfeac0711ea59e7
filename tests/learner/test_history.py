import math

import pytest

from ignite.learner import History


def make():
    history = History()
    history.add({"epoch": 1, "loss": 0.5})
    history.add({"epoch": 2, "loss": 0.25, "valid_accuracy": 0.75})
    history.add({"epoch": 3, "loss": math.nan, "valid_accuracy": 0.75})
    history.steps += [0.5, 0.125]
    return history


def test_figures_by_name_and_by_epoch():
    history = make()
    assert history.names == ["epoch", "loss", "valid_accuracy"]
    assert history["loss"][:2] == [0.5, 0.25]
    assert math.isnan(history["valid_accuracy"][0])
    assert (len(history), [row["epoch"] for row in history]) == (3, [1, 2, 3])
    with pytest.raises(
        KeyError, match="the history has no 'accuracy', only epoch, loss, valid_accuracy"
    ):
        history["accuracy"]


def test_the_best_epoch_is_the_first_of_equal_ones_and_never_one_without_a_number():
    history = make()
    assert history.best("loss")["epoch"] == 2
    assert history.best("valid_accuracy", "max")["epoch"] == 2
    with pytest.raises(ValueError, match="mode should be 'min' or 'max', but given 'low'"):
        history.best("loss", "low")
    history = History()
    history.add({"loss": math.nan})
    with pytest.raises(ValueError, match="loss has not been a number in any epoch"):
        history.best("loss")


def test_it_prints_as_a_table():
    assert str(make()).splitlines() == [
        "epoch    loss  valid_accuracy",
        "    1  0.5000               -",
        "    2  0.2500          0.7500",
        "    3     nan          0.7500",
    ]
    assert repr(make()) == "<History of 3 epochs, 2 steps>"
    assert str(History()) == ""


def test_a_state_is_a_copy():
    history, other = make(), History()
    other.load_state_dict(history.state_dict())
    assert (str(other), other.steps) == (str(history), history.steps)
    other.epochs[0]["loss"] = 7
    assert history["loss"][0] == 0.5


def test_a_plot_has_losses_apart_from_the_rest():
    pytest.importorskip("matplotlib").use("Agg")
    figure = make().plot()
    assert [[line.get_label() for line in ax.lines] for ax in figure.axes] == [
        ["loss"],
        ["valid_accuracy"],
    ]
    assert list(figure.axes[0].lines[0].get_xdata()) == [1, 2, 3]


def test_a_data_frame_has_a_row_for_each_epoch():
    pytest.importorskip("pandas", reason="pandas is not installed")
    assert make().to_pandas()["loss"].tolist()[:2] == [0.5, 0.25]
