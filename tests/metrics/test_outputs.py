import pickle

import pytest
import torch

from ignite.engine import Engine
from ignite.metrics import Accuracy, Entropy, Loss, MeanSquaredError, Metric
from ignite.metrics._outputs import as_loss_arguments, as_pair, identity, is_pair, pick, unroll


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


def test_numbers_become_tensors_on_the_device_of_their_partner():
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
def test_other_outputs_are_not_unrolled(output):
    found = unroll(output)
    assert len(found) == 1
    assert found[0] is output


def test_empty_lists_are_no_outputs():
    assert unroll(([], [])) == []


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (([1, 2], [1]), r"2 items of the same length, but given 2 of length \[2, 1\]"),
        (
            ([1, 2], [1, 2], [3, 4]),
            r"2 items of the same length, but given 3 of length \[2, 2, 2\]",
        ),
        (([1, 2],), r"2 items of the same length, but given 1 of length \[2\]"),
    ],
)
def test_lists_that_are_not_pairs_are_refused(output, words):
    with pytest.raises(ValueError, match=words):
        seen(output)
    assert seen(output, skip_unrolling=True) == [output]


def test_a_mapping_of_lists_is_unrolled_in_the_order_of_the_metrics_keys():
    found = seen({"y": [3, 4], "more": 1, "y_pred": [torch.zeros(2), torch.zeros(5)]})
    assert [(tuple(y_pred.shape), y.tolist()) for y_pred, y in found] == [
        ((1, 2), [3]),
        ((1, 5), [4]),
    ]


def test_picking():
    output = {"a": 1, "b": 2, "c": 3}
    assert pick(output, ("c", "a"), "Metric") == (3, 1)
    assert pick(output, (), "Metric") == ()
    with pytest.raises(
        ValueError, match=r"should contain \('a', 'd'\) keys, but given \['a', 'b', 'c'\]"
    ):
        pick(output, ("a", "d"), "Metric")
    with pytest.raises(
        TypeError, match="output for Median metric should be a tuple/list, but given <class 'dict'>"
    ):
        pick(output, None, "Median")


def test_the_default_transform_is_one_object_that_is_pickled():
    assert pickle.loads(pickle.dumps(identity)) is identity
    assert Seen()._output_transform is Seen()._output_transform is identity


A, B = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1.0, 1.0, 1.0])


def test_a_pair_is_returned_unchanged():
    pair = (A, B)
    assert is_pair(pair)
    assert as_pair(pair, "Metric") is pair
    assert [item.data_ptr() for item in as_pair([A, B], "Metric")] == [A.data_ptr(), B.data_ptr()]
    assert not any(map(is_pair, ([A, B], (A,), (A, B, A), (A, 1), (A, torch.tensor(1.0)), A, None)))


@pytest.mark.parametrize(
    ("y_pred", "y", "shapes"),
    [
        ((), (), ((1,), (1,))),
        ((), (1,), ((1,), (1,))),
        ((1,), (), ((1,), (1,))),
        ((4,), (), ((1, 4), (1,))),
        ((1, 4), (), ((1, 4), (1,))),
        ((), (1, 1), ((1,), (1, 1))),
        ((), (3,), ((1,), (3,))),
    ],
    ids=str,
)
def test_tensors_without_a_batch_dimension_are_one_example(y_pred, y, shapes):
    found = as_pair((torch.zeros(y_pred), torch.zeros(y)), "Metric")
    assert tuple(tuple(item.shape) for item in found) == shapes
    assert (
        tuple(
            tuple(item.shape)
            for item in as_loss_arguments((torch.zeros(y_pred), torch.zeros(y)), "M")
        )
        == shapes
    )


MALFORMED = [
    (None, r"None \(does the engine's step return its output\?\)"),
    (0.5, r"the number 0\.5"),
    (A, r"one tensor of shape \(3,\)"),
    (torch.stack([A, B]), r"one tensor of shape \(2, 3\)"),
    ("ab", "a str"),
    ({1, 2}, "a set"),
    ((A,), r"1 items: a tensor of shape \(3,\)"),
    (
        (A, B, A),
        r"3 items: a tensor of shape \(3,\), a tensor of shape \(3,\), a tensor of shape \(3,\)",
    ),
    ((A,) * 5, r"5 items: .*, \.\.\."),
]
NO_TENSORS = [
    ((A, None), r"2 items: a tensor of shape \(3,\), None"),
    ((A, 1.0), r"2 items: a tensor of shape \(3,\), a float"),
    (([A, B], B), r"2 items: a list, a tensor of shape \(3,\)"),
    ((A.numpy(), B.numpy()), "2 items: a ndarray, a ndarray"),
]


@pytest.mark.parametrize(("output", "words"), [*MALFORMED, *NO_TENSORS])
def test_the_error_for_other_outputs_names_output_transform(output, words):
    words = rf"should be given \(y_pred, y\), two tensors, but given {words}; choose them in output_transform"
    for kind in (Accuracy, MeanSquaredError):
        metric = kind()
        metric.update((A, B))
        before = metric.compute()
        with pytest.raises((TypeError, ValueError), match=f"^{kind.__name__} {words}"):
            metric.update(output)
        assert metric.compute() == before
        engine = Engine(lambda engine, batch: output)
        kind().attach(engine, "value")
        with pytest.raises((TypeError, ValueError), match=words):
            engine.run([0])


@pytest.mark.parametrize(
    ("output", "words"),
    [case for case in MALFORMED if not isinstance(case[0], tuple) or len(case[0]) != 3],
)
def test_a_loss_takes_two_or_three_items(output, words):
    metric = Loss(torch.nn.functional.mse_loss)
    words = rf"Loss should be given \(y_pred, y\) or \(y_pred, y, kwargs\), but given {words}; .* output_transform"
    with pytest.raises((TypeError, ValueError), match=words):
        metric.update(output)
    metric.update((A, B, {"reduction": "mean"}))  # of errors 0, -1 and 0
    assert metric.compute() == pytest.approx(1 / 3)
    with pytest.raises(TypeError, match=r"3 items: .*; choose them in output_transform"):
        metric.update((A, B, A))
    assert metric.compute() == pytest.approx(1 / 3)


def test_a_mapping_is_picked_from_by_update_too():
    metric = Accuracy()
    metric.update({"y_pred": A, "y": B, "loss": 0.5})
    assert metric.compute() == pytest.approx(2 / 3)
    with pytest.raises(
        ValueError,
        match=r"contain \('y_pred', 'y'\) keys, but given \['loss'\]; .*output_transform",
    ):
        metric.update({"loss": 0.5})


def test_metrics_of_predictions_ignore_targets():
    metric = Entropy()
    metric.update((torch.zeros(1, 4), None))
    with pytest.raises(TypeError, match="2 items: None, None"):
        metric.update((None, None))
    assert metric.compute() == pytest.approx(torch.log(torch.tensor(4.0)).item())
