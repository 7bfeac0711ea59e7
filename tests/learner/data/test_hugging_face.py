import pytest
import torch
from torch import nn

import ignite
from ignite._core.differences import first_difference
from ignite.engine import Events
from ignite.learner._data.sources import HuggingFaceRows, as_loader
from ignite.learner._data.splitting import split


class ClassLabel:
    names = ("no", "yes")
    dtype = "int64"


class FakeHuggingFace:
    """The part of ``datasets.Dataset`` that is used; columns that are numbers come as tensors, others as lists."""

    def __init__(self, columns, rows=None):
        self.columns = columns
        self.rows = list(range(len(next(iter(columns.values()))))) if rows is None else rows
        self.column_names = list(columns)
        self.features = {name: ClassLabel() if name == "label" else None for name in columns}

    def with_format(self, kind):
        assert kind == "torch"
        return self

    def select(self, rows):
        return FakeHuggingFace(self.columns, [self.rows[row] for row in rows])

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, key):
        if isinstance(key, str):
            return [self.columns[key][row] for row in self.rows]
        chosen = self.rows[key] if isinstance(key, slice) else [self.rows[i] for i in key]
        values = {name: [column[row] for row in chosen] for name, column in self.columns.items()}
        return {name: v if isinstance(v[0], str) else torch.tensor(v) for name, v in values.items()}


COLUMNS = {"x": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], "label": [0, 1, 0]}


def data(**more):
    real = pytest.importorskip("datasets") if more.pop("is_real", False) else None
    columns = COLUMNS | more
    if real is None:
        return FakeHuggingFace(columns)
    return real.Dataset.from_dict(columns).cast_column(
        "label", real.ClassLabel(names=["no", "yes"])
    )


@pytest.mark.parametrize("is_real", [False, True])
def test_batches_are_pairs_with_one_request_each(is_real):
    loader = as_loader(data(is_real=is_real), batch_size=2, target="label")
    (x, y), (_, last) = list(loader.batches)
    assert x.tolist() == [[1, 2], [3, 4]]
    assert (y.tolist(), last.tolist()) == ([0, 1], [0])
    assert loader.known.classes == ("no", "yes")
    assert (loader.num_samples, loader.num_batches, loader.has_targets) == (3, 2, True)


@pytest.mark.parametrize("is_real", [False, True])
def test_several_inputs_are_a_dictionary_and_a_column_can_be_the_weights(is_real):
    loader = as_loader(
        data(mask=[1, 0, 1], w=[1, 2, 3], is_real=is_real),
        batch_size=3,
        target="label",
        sample_weight="w",
    )
    x, _, w = next(iter(loader.batches))
    assert set(x) == {"x", "mask"}
    assert w.tolist() == [1.0, 2.0, 3.0]
    assert w.dtype == torch.float32
    assert as_loader(data(is_real=is_real)).has_targets is False


def test_one_row_is_a_sample():
    x, y = HuggingFaceRows(data(), "label")[1]
    assert x.tolist() == [3, 4]
    assert y.item() == 1


def test_text_and_unknown_names_are_refused():
    with pytest.raises(TypeError, match=r"tensors of one shape, but \['text'\] do not: tokenize"):
        as_loader(data(text=["a", "b", "c"]), target="label")
    with pytest.raises(
        ValueError, match=r"target should be one of \['x', 'label'\], but given 'y'"
    ):
        as_loader(data(), target="y")
    with pytest.raises(
        ValueError, match=r"sample_weight should be one of \['x', 'label'\], but given 'w'"
    ):
        as_loader(data(), target="label", sample_weight="w")


@pytest.mark.parametrize("is_real", [False, True])
def test_a_part_is_kept_apart_by_class(is_real):
    many = data(x=[[float(i)] for i in range(10)], label=[0] * 8 + [1] * 2, is_real=is_real)
    train, valid, *_ = split(many, 0.2, seed=0, target="label")
    assert (len(train), len(valid)) == (8, 2)
    assert sorted(as_loader(valid, target="label").first().y.tolist()) == [0, 1]


class Scored(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        return self.layer(x)


def trained(folder, stream, fail_at):
    """Weights and losses; None if it was left on the way."""
    datasets = pytest.importorskip("datasets")
    torch.manual_seed(0)
    x = torch.randn(40, 2)
    rows = datasets.Dataset.from_dict({"x": x.tolist(), "label": (x[:, 0] > 0).long().tolist()})
    learner = ignite.Learner(Scored(), "cross_entropy", "adam", 0.1, ["accuracy"])

    @learner.trainer.on(Events.ITERATION_COMPLETED(once=fail_at))
    def fail():
        raise InterruptedError

    try:
        history = learner.fit(
            rows.to_iterable_dataset() if stream else rows,
            target="label", epochs=3, batch_size=8, run_dir=folder, resume="latest", save_every=1,
        )  # fmt: skip
    except InterruptedError:
        return None
    return dict(learner.model.state_dict()), history.steps


@pytest.mark.parametrize("fail_at", [2, 8, 11])
@pytest.mark.parametrize("stream", [False, True])
def test_a_training_left_by_an_exception_continues_exactly(stream, fail_at, tmp_path):
    assert trained(tmp_path / "parts", stream, fail_at) is None
    parts, whole = (trained(tmp_path / name, stream, 1000) for name in ("parts", "whole"))
    assert len(whole[1]) == 15
    assert first_difference(parts, whole) is None


def stream(**more):
    return data(is_real=True, **more).to_iterable_dataset()


@pytest.mark.parametrize("kind", [None, "torch", "numpy"])
def test_a_stream_gives_pairs_in_its_order_whatever_its_format(kind):
    rows = stream() if kind is None else stream().with_format(kind)
    loader = as_loader(rows, batch_size=2, target="label")
    (x, y), (_, last) = list(loader.batches)
    assert x.tolist() == [[1, 2], [3, 4]]
    assert (y.tolist(), last.tolist()) == ([0, 1], [0])
    assert loader.known.classes == ("no", "yes")
    assert (loader.num_samples, loader.num_batches, loader.has_targets) == (None, None, True)


def test_a_stream_may_have_several_inputs_targets_and_weights():
    rows = stream(mask=[1, 0, 1], w=[1, 2, 3])
    x, y, w = next(
        iter(as_loader(rows, batch_size=3, target=["label", "mask"], sample_weight="w").batches)
    )
    assert x.tolist() == COLUMNS["x"]
    assert set(y) == {"label", "mask"}
    assert w.tolist() == [1.0, 2.0, 3.0]
    assert w.dtype == torch.float32
    assert as_loader(rows).has_targets is False
    assert len(list(as_loader(rows, batch_size=2, drop_last=True).batches)) == 1


def test_a_stream_whose_columns_are_not_known_beforehand_is_taken():
    rows = stream().map(lambda row: {"x": [-value for value in row["x"]], "label": row["label"]})
    assert rows.column_names is None
    loader = as_loader(rows, batch_size=3, target="label")
    assert loader.first().x.tolist() == [[-1, -2], [-3, -4], [-5, -6]]
    with pytest.raises(
        ValueError, match=r"target should be one of \['x', 'label'\], but given 'y'"
    ):
        as_loader(rows, target="y").first()


@pytest.mark.parametrize("column", [["a", "b", "c"], [[1], [1, 2], [3]]])
def test_columns_of_a_stream_that_are_no_tensors_are_named(column):
    with pytest.raises(TypeError, match=r"tensors of one shape, but \['more'\] do not: tokenize"):
        as_loader(stream(more=column), batch_size=3, target="label").first()


def test_what_a_stream_cannot_do_is_refused():
    with pytest.raises(
        ValueError, match=r"shuffle=True should be left out, because data is a Hugging Face stream"
    ):
        as_loader(stream(), shuffle=True)
    with pytest.raises(
        ValueError, match=r"target should be one of \['x', 'label'\], but given 'y'"
    ):
        as_loader(stream(), target="y")
    with pytest.raises(
        ValueError, match=r"sample_weight should be one of \['x', 'label'\], but given 'w'"
    ):
        as_loader(stream(), sample_weight="w").first()


@pytest.mark.parametrize("kind", ["DatasetDict", "IterableDatasetDict"])
def test_a_dictionary_of_splits_asks_for_one(kind):
    datasets = pytest.importorskip("datasets")
    rows = data(is_real=True) if kind == "DatasetDict" else stream()
    splits = getattr(datasets, kind)(train=rows, test=rows)
    with pytest.raises(
        TypeError, match=r"one dataset, such as data\['train'\], but given train, test"
    ):
        as_loader(splits, target="label")


def test_a_learner_applies_its_model_to_streams_with_and_without_targets():
    torch.manual_seed(0)
    learner = ignite.Learner(Scored(), "cross_entropy", lr=0.1, metrics=["accuracy"])
    learner.fit(stream(), valid=data(is_real=True), target="label", epochs=2, batch_size=2)
    assert learner.classes == ("no", "yes")
    scores = learner.model(torch.tensor(COLUMNS["x"])).detach()
    expected = [("no", "yes")[number] for number in scores.argmax(1)]
    for rows in (stream(), stream().remove_columns("label")):
        torch.testing.assert_close(learner.predict(rows), scores)
        assert learner.predict(rows, decide=True) == expected
    assert learner.evaluate(stream())["accuracy"] == pytest.approx(
        sum(
            one == ("no", "yes")[label]
            for one, label in zip(expected, COLUMNS["label"], strict=True)
        )
        / 3
    )
