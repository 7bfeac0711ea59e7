"""Common properties of precision, recall and specificity."""

import warnings

import pytest
import torch

from ignite.engine import Engine
from ignite.metrics import Precision, Recall, Specificity
from support.classification_oracles import FIRST

each_kind = pytest.mark.parametrize("create", [Precision, Recall, Specificity])
LONG_WANTED_OF_BOTH = (
    "`y` and `y_pred` should be of dtype long when entry type is binary and average!=False"
)


@each_kind
@pytest.mark.parametrize("average", ["mean", "", 1, 0, "Macro"])
def test_other_averages_are_refused(create, average):
    with pytest.raises(ValueError, match=f"'weighted' and 'samples'., but given {average!r}"):
        create(average=average)


@each_kind
def test_true_means_macro(create):
    metrics = [create(average=average) for average in (True, "macro")]
    for metric in metrics:
        metric.update(FIRST["multiclass"])
    assert isinstance(metrics[0].compute(), float)
    assert metrics[0].compute() == metrics[1].compute()


@pytest.mark.parametrize("create", [Precision, Recall])
@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_samples_are_those_of_labels(create, kind):
    metric = create(average="samples")
    with pytest.raises(
        ValueError, match=f"average='samples' is incompatible .*, but given {kind} data"
    ):
        metric.update(FIRST[kind])


@each_kind
@pytest.mark.parametrize("dtype", [torch.int32, torch.float32, torch.uint8])
def test_classes_that_are_not_long_count_with_a_warning(create, dtype):
    metric, other = create(), create()
    y_pred, y = FIRST["multiclass"]
    with pytest.warns(
        RuntimeWarning, match=f"should be of dtype long .* multiclass, but is {dtype}"
    ):
        metric.update((y_pred, y.to(dtype)))
    other.update((y_pred, y))
    assert torch.equal(metric.compute(), other.compute())


@each_kind
@pytest.mark.parametrize(
    "dtypes", [(torch.float32, torch.long), (torch.long, torch.bool), (torch.int32, torch.int32)]
)
def test_averages_of_binary_data_that_are_not_long_count_with_a_warning(create, dtypes):
    metric, other = create(average=None), create(average=None)
    y_pred, y = FIRST["binary"]
    with pytest.warns(
        RuntimeWarning, match=f"{LONG_WANTED_OF_BOTH}, but are {dtypes[1]} and {dtypes[0]}"
    ):
        metric.update((y_pred.to(dtypes[0]), y.to(dtypes[1])))
    other.update((y_pred, y))
    assert torch.equal(metric.compute(), other.compute())


@each_kind
def test_without_average_any_dtype_of_binary_data_will_do(create):
    metric = create()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric.update((torch.tensor([1.0, 1.0]), torch.tensor([True, True])))
    assert metric.compute() == (0.0 if create is Specificity else 1.0)


def test_metrics_of_one_engine_warn_once_a_span():
    engine = Engine(lambda engine, batch: (FIRST["multiclass"][0], FIRST["multiclass"][1].int()))
    for create in (Precision, Recall, Specificity):
        create().attach(engine, create.__name__)
    with pytest.warns(RuntimeWarning) as found:
        engine.run([0, 1])
    assert len([warning for warning in found if "dtype long" in str(warning.message)]) == 1
