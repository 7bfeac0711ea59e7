import pickle

import pytest
import torch

from ignite.engine import Engine
from ignite.metrics import Metric
from ignite.metrics._outputs import identity, pick, unroll


class Seen(Metric):
    def reset(self):
        self.seen = []

    def update(self, output):
        self.seen.append(output)

    def compute(self):
        return len(self.seen)


def seen(output, **arguments):
    engine, metric = Engine(lambda engine, batch: output), Seen(**arguments)
    metric.attach(engine, "seen")
    engine.run([0])
    return metric.seen


IMAGES = [torch.zeros(3, 4, 4), torch.zeros(3, 5, 6)]
MASKS = [torch.ones(4, 4), torch.ones(5, 6)]


@pytest.mark.parametrize("kind", [list, tuple])
def test_pairs_of_lists_of_tensors_are_batches_of_one(kind):
    found = seen(kind((IMAGES, tuple(MASKS))))
    assert [(tuple(y_pred.shape), tuple(y.shape)) for y_pred, y in found] == [
        ((1, 3, 4, 4), (1, 4, 4)),
        ((1, 3, 5, 6), (1, 5, 6)),
    ]


def test_numbers_become_tensors_where_their_partner_is():
    found = unroll(([torch.zeros(2, device="meta"), torch.ones(2)], [3, 0.5]))
    assert [y.tolist() for _, y in found[1:]] == [[0.5]]
    assert [(tuple(y.shape), y.device.type, y.dtype) for _, y in found] == [
        ((1,), "meta", torch.int64),
        ((1,), "cpu", torch.float32),
    ]
    assert [(y_pred.tolist(), y.tolist()) for y_pred, y in unroll(([1, 2], [True, False]))] == [
        ([1], [True]),
        ([2], [False]),
    ]


@pytest.mark.parametrize(
    "output",
    [
        torch.zeros(2, 2),
        (torch.zeros(2), torch.zeros(2)),
        (IMAGES, torch.zeros(2)),
        ([["a"], ["b"]]),
        ("ab", "cd"),
        "ab",
        3.0,
        None,
        (),
        [],
        ([{"boxes": torch.zeros(1, 4)}], [{"boxes": torch.zeros(1, 4)}]),
        ([IMAGES], [MASKS]),
    ],
    ids=lambda output: type(output).__name__,
)
def test_all_else_is_one_output(output):
    found = unroll(output)
    assert len(found) == 1
    assert found[0] is output


def test_lists_of_nothing_are_no_output():
    assert unroll(([], [])) == []


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (([1, 2], [1]), r"2 items of the same length, but given 2 of length \[2, 1\]"),
        (([1, 2], [1, 2], [3, 4]), r"2 items of the same length, but given 3 of length \[2, 2, 2\]"),
        (([1, 2],), r"2 items of the same length, but given 1 of length \[2\]"),
    ],
)
def test_lists_that_are_no_pairs_are_refused(output, words):
    with pytest.raises(ValueError, match=words):
        seen(output)
    assert seen(output, skip_unrolling=True) == [output]


def test_a_mapping_of_lists_is_unrolled_in_the_order_of_the_metrics_keys():
    found = seen({"y": [3, 4], "more": 1, "y_pred": [torch.zeros(2), torch.zeros(5)]})
    assert [(tuple(y_pred.shape), y.tolist()) for y_pred, y in found] == [((1, 2), [3]), ((1, 5), [4])]


def test_picking():
    output = {"a": 1, "b": 2, "c": 3}
    assert pick(output, ("c", "a"), "Metric") == (3, 1)
    assert pick(output, (), "Metric") == ()
    with pytest.raises(ValueError, match=r"should contain \('a', 'd'\) keys, but given \['a', 'b', 'c'\]"):
        pick(output, ("a", "d"), "Metric")
    with pytest.raises(TypeError, match="output for Median metric should be a tuple/list, but given <class 'dict'>"):
        pick(output, None, "Median")


def test_the_default_transform_is_one_object_that_is_pickled():
    assert pickle.loads(pickle.dumps(identity)) is identity
    assert Seen()._output_transform is Seen()._output_transform is identity
