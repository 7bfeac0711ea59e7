import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.metrics.statistics import KeptSamples, Reading


def pair(output):
    return output


def kept(batches):
    samples = KeptSamples(pair)
    for batch in batches:
        samples.update(Reading(batch))
    return samples


@given(st.lists(st.integers(0, 4), max_size=6), st.lists(st.booleans(), min_size=6, max_size=6))
def test_all_are_kept_in_their_order(sizes, is_looked_at):
    total = sum(sizes)
    first, second = (
        torch.arange(total, dtype=torch.float16),
        torch.arange(3 * total).reshape(total, 3),
    )
    samples = KeptSamples(pair)
    for batch, look in zip(
        zip(first.split(sizes), second.split(sizes), strict=True), is_looked_at, strict=False
    ):
        samples.update(Reading(batch))
        if look:
            samples.parts()
    assert samples.num_examples == total
    if sizes:
        assert torch.equal(samples.first, first)
        assert torch.equal(samples.second, second)
        assert (samples.first.dtype, samples.second.dtype) == (torch.float16, torch.int64)
    else:
        assert samples.parts() == {"num_examples": 0, "first": None, "second": None}
        assert len(samples.first) == 0


def test_later_changes_of_the_tensors_do_not_matter():
    scores, targets = torch.ones(2, requires_grad=True), torch.ones(2)
    samples = kept([(scores, targets)])
    targets.zero_()
    assert samples.second.tolist() == [1, 1]
    assert not samples.first.requires_grad


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ((torch.ones(2), torch.ones(2)), "y_pred should be of torch.float64 as before, but given torch.float32"),
        ((torch.ones(2).double(), torch.ones(2).int()), "y should be of torch.float32 as before, .* torch.int32"),
        ((torch.ones(2, 3).double(), torch.ones(2)), r"y_pred .*given \(2, 3\)"),
        ((torch.ones(2).double(), torch.ones(2, 3)), r"y .*given \(2, 3\)"),
    ],
)  # fmt: skip
def test_batches_that_cannot_be_joined_are_refused_and_change_nothing(wrong, words):
    samples = kept([(torch.ones(3).double(), torch.ones(3))])
    with pytest.raises(ValueError, match=words):
        samples.update(Reading(wrong))
    assert (samples.first.tolist(), samples.second.tolist(), samples.num_examples) == (
        [1] * 3,
        [1] * 3,
        3,
    )


def test_copies_and_loaded_states_are_independent():
    samples = kept([(torch.ones(1), torch.zeros(1)), (torch.ones(1), torch.zeros(1))])
    saved = KeptSamples(pair)
    saved.load(samples.parts())
    for other in (samples.clone(), saved):
        other.update(Reading((torch.ones(1), torch.zeros(1))))
        assert len(other.first) == len(other.second) == other.num_examples == 3
    assert len(samples.first) == samples.num_examples == 2
    empty = KeptSamples(pair)
    empty.load(KeptSamples(pair).parts())
    empty.update(Reading((torch.ones(1), torch.zeros(1))))
    assert empty.first.tolist() == [1.0]


def test_samples_of_all_processes_are_joined():
    assert [part.op for part in kept([(torch.ones(1), torch.ones(1))]).to_combine()] == [
        "SUM",
        "ROWS",
        "ROWS",
    ]


def test_other_arguments_are_other_samples():
    assert KeptSamples(pair, (1,)).key == KeptSamples(pair, (1,)).key != KeptSamples(pair, (2,)).key
