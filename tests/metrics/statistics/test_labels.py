import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from ignite.metrics.statistics import LabelCounts, Reading
from ignite.metrics.statistics.labels import CLASSES, CORRECT, MATRIX, SAMPLES
from support.classification_oracles import Elsewhere, elsewhere, label_cases

NEEDS = (CORRECT, CLASSES, MATRIX, SAMPLES)
sets_of_needs = st.lists(st.sampled_from(NEEDS[:3]), min_size=1, max_size=3, unique=True)


def counted(batches, needs, is_multilabel=False, **kwargs):
    counts = LabelCounts(needs[0], is_multilabel, **kwargs)
    for need in needs[1:]:
        counts.widen(LabelCounts(need, is_multilabel, **kwargs))
    for batch in batches:
        counts.update(Reading(batch))
    return counts


@given(label_cases(["binary", "multiclass"]), sets_of_needs)
def test_all_counts_of_classes_follow_from_the_most_detailed_one(case, needs):
    counts = counted(case.batches, needs)
    matrix = confusion_matrix(case.true, case.predicted, labels=case.classes)
    assert int(counts.num_correct) == np.trace(matrix)
    if needs != [CORRECT]:
        assert counts.true_positives.tolist() == matrix.diagonal().tolist()
        assert counts.num_predicted.tolist() == matrix.sum(axis=0).tolist()
        assert counts.num_true.tolist() == matrix.sum(axis=1).tolist()
    if MATRIX in needs:
        assert counts.matrix.tolist() == matrix.tolist()
    held = [name for name in NEEDS if getattr(counts, name) is not None]
    assert held == [max(needs, key=NEEDS.index)]


@given(label_cases(["multilabel"]))
def test_of_labels_each_need_is_counted(case):
    counts = counted(case.batches, [CORRECT, CLASSES, SAMPLES], is_multilabel=True)
    true, predicted = case.true.astype(bool), case.predicted.astype(bool)
    assert int(counts.correct) == (true == predicted).all(axis=1).sum()
    both = true & predicted
    assert counts.classes.tolist() == [
        values.sum(axis=0).tolist() for values in (both, predicted, true)
    ]
    rows = [
        [b.sum() / part.sum() if part.sum() else 0 for b, part in zip(both, parts, strict=True)]
        for parts in (predicted, true)
    ]
    assert counts.samples.tolist() == pytest.approx([math.fsum(row) for row in rows])


@given(label_cases(["binary", "multiclass"]), sets_of_needs, st.sampled_from(NEEDS[:3]))
def test_a_narrowed_copy_is_as_if_nothing_had_been_shared(case, needs, wanted):
    cut = len(case.batches) // 2
    shared = counted(case.batches[:cut], [*{*needs, wanted}])
    other = shared.narrowed(LabelCounts(wanted))
    before = repr(shared.parts())
    for batch in case.batches[cut:]:
        other.update(Reading(batch))
    alone = counted(case.batches, [wanted])
    assert repr(other.parts()) == repr(alone.parts())
    assert repr(shared.parts()) == before


@given(label_cases(["multiclass"]))
def test_saved_counts_continue(case):
    cut = len(case.batches) // 2
    first, second = counted(case.batches[:cut], [MATRIX]), LabelCounts(MATRIX)
    second.update(Reading(case.batches[0]))
    second.load(first.clone().parts())
    for batch in case.batches[cut:]:
        second.update(Reading(batch))
    assert repr(second.parts()) == repr(counted(case.batches, [MATRIX]).parts())


OUTSIDE = (torch.eye(3), torch.tensor([0, 255, -100]))


def test_invalid_targets_are_ignored_only_if_all_allow_it():
    counts = counted([OUTSIDE], [MATRIX], allows_outside=True)
    assert (counts.matrix.sum().item(), counts.num_outside, counts.num_items) == (1, 2, 3)
    counts.widen(LabelCounts(CORRECT))
    with pytest.raises(ValueError, match="from 0 to 2, but 2 of those given are not"):
        counts.update(Reading(OUTSIDE))
    assert counts.num_items == 3


@pytest.mark.parametrize("need", [CLASSES, MATRIX])
def test_check_reports_invalid_values_on_an_accelerator(need):
    counts = counted([elsewhere(*OUTSIDE), elsewhere(torch.eye(3), torch.arange(3))], [need])
    assert isinstance(counts.num_outside, Elsewhere)
    assert int(counts.num_true.sum()) == 4
    with pytest.raises(ValueError, match="from 0 to 2, but 2 of those given are not"):
        counts.check()
    binary = counted([elsewhere(torch.tensor([0, 2]), torch.tensor([1, -1]))], [need])
    with pytest.raises(ValueError, match="must be comprised of 0's and 1's., but 2 are not"):
        binary.check()
    counted([elsewhere(torch.eye(3), torch.arange(3))], [need]).check()


@pytest.mark.parametrize("need", NEEDS[:3])
@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ((torch.eye(4), torch.arange(4)), ValueError, "changed from 3 to 4"),
        ((torch.ones(2), torch.ones(2)), RuntimeError, "changed from multiclass to binary"),
        (OUTSIDE, ValueError, "but 2 of those given are not"),
    ],
)
def test_invalid_outputs_change_nothing(need, wrong, error, words):
    counts = counted([(torch.eye(3), torch.arange(3))], [need])
    before, version = repr(counts.parts()), counts.version
    with pytest.raises(error, match=words):
        counts.update(Reading(wrong))
    assert (repr(counts.parts()), counts.version) == (before, version)


def test_classes_have_no_samples_and_asking_for_them_changes_nothing():
    counts = LabelCounts(SAMPLES)
    before = repr(counts.parts())
    for batch, kind in (
        ((torch.eye(3), torch.arange(3)), "multiclass"),
        ((torch.ones(2), torch.ones(2)), "binary"),
    ):
        with pytest.raises(
            ValueError, match=f"average='samples' is incompatible .*, but given {kind} data"
        ):
            counts.update(Reading(batch))
        assert repr(counts.parts()) == before


def test_only_labels_and_classes_are_counted_apart():
    assert LabelCounts(CORRECT).key == LabelCounts(MATRIX, allows_outside=True).key
    assert LabelCounts(CORRECT).key != LabelCounts(CORRECT, is_multilabel=True).key
    counts = LabelCounts(MATRIX)
    counts.widen(LabelCounts(CORRECT))
    assert str(counts) == "label counts (correct, matrix)"


@given(label_cases(), st.sampled_from(NEEDS[:3]))
def test_later_changes_of_the_tensors_do_not_matter(case, need):
    counts, expected = (LabelCounts(need, case.is_multilabel) for _ in range(2))
    for y_pred, y in case.batches:
        expected.update(Reading((y_pred.clone(), y.clone())))
        expected.parts()
        memory = (y_pred.clone(), y.clone())
        counts.update(Reading(memory))
        for tensor in memory:
            tensor.fill_(1)
    assert repr(counts.parts()) == repr(expected.parts())
