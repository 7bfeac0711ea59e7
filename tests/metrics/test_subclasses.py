"""Subclasses of built-in metrics that read and write the attributes in which Ignite accumulates."""

import copy
import math
import pickle

import pytest
import torch

from ignite.engine import Engine, Events
from ignite.metrics import (
    Accuracy,
    ConfusionMatrix,
    JSDivergence,
    Loss,
    MeanSquaredError,
    MutualInformation,
    Precision,
    Recall,
    cmAccuracy,
    cmPrecision,
    cmRecall,
)
from ignite.metrics.accuracy import _BaseClassification
from ignite.metrics.regression import FractionalAbsoluteError
from support import harness
from support.ignite_subclasses import (
    SHARES,
    SUBCLASSES,
    Largest,
    TwiceAverage,
    matrix_of,
    over_processes,
    scores,
)


def batches_of(data):
    return [data(length, seed) for seed, length in enumerate((6, 1, 9))]


def close(value):
    value = value.tolist() if isinstance(value, torch.Tensor) else value
    return pytest.approx(value, rel=1e-6)


def as_plain(value):
    return value.tolist() if isinstance(value, torch.Tensor) else value


def rows(value):
    return value if isinstance(value, list) and isinstance(value[0], list) else [value]


def assert_close(found, expected):
    for row, other in zip(rows(as_plain(found)), rows(as_plain(expected)), strict=True):
        assert row == close(other)


@pytest.mark.parametrize("name", SUBCLASSES)
class TestSubclasses:
    def expected(self, name, batches):
        return SUBCLASSES[name][2](*map(torch.cat, zip(*batches, strict=True)))

    def test_by_hand_and_after_a_reset(self, name):
        make, data, _ = SUBCLASSES[name]
        metric, batches = make(), batches_of(data)
        for _ in range(2):
            metric.reset()
            for batch in batches:
                metric.update(batch)
            assert_close(metric.compute(), self.expected(name, batches))

    def test_attached_beside_others(self, name):
        make, data, _ = SUBCLASSES[name]
        batches = batches_of(data)
        engine = Engine(lambda engine, batch: batch)
        others = [Accuracy, Precision] if data is scores else [MeanSquaredError]
        for i, other in enumerate(others):
            other().attach(engine, f"other {i}")
        make().attach(engine, "value")
        state = engine.run(batches, max_epochs=2)
        assert_close(state.metrics["value"], self.expected(name, batches))
        for i, other in enumerate(others):
            alone = other()
            for batch in batches:
                alone.update(batch)
            assert_close(state.metrics[f"other {i}"], alone.compute())

    @pytest.mark.parametrize(
        "continued", [copy.deepcopy, lambda metric: pickle.loads(pickle.dumps(metric)), None]
    )
    def test_continued_from_a_copy_or_a_state(self, name, continued):
        make, data, _ = SUBCLASSES[name]
        batches = batches_of(data)
        metric = make()
        for batch in batches[:2]:
            metric.update(batch)
        if continued is None:
            other = make()
            other.load_state_dict(metric.state_dict())
        else:
            other = continued(metric)
        metric.update(batches[0])
        other.update(batches[2])
        assert_close(other.compute(), self.expected(name, batches))


def test_over_processes():
    for found in harness.run(over_processes, 2):
        for (name, shares), value in found.items():
            _, data, expected = SUBCLASSES[name]
            assert_close(value, expected(*data(sum(shares), 3)))
            assert shares in SHARES


def test_the_average_of_a_subclass_that_accumulates():
    engine = Engine(lambda engine, batch: batch)
    TwiceAverage().attach(engine, "value")
    assert engine.run([1.0, 2.0, 6.0]).metrics == {"value": 6.0}


def test_a_running_average_that_writes_its_value():
    metric = Largest(output_transform=lambda output: output)
    for value in (1.0, 3.0, 2.0):
        metric.update(value)
    assert (metric.compute(), metric._value) == (3.0, 3.0)


class TestReading:
    """From outside, and as Ignite has them."""

    def test_before_the_first_batch(self):
        assert (Accuracy()._num_correct, Accuracy()._num_examples) == (torch.tensor(0), 0)
        assert ConfusionMatrix(3).confusion_matrix.tolist() == [[0] * 3] * 3
        metric = Precision()
        assert (metric._numerator, metric._denominator, metric._weight) == (0, 0, 0)
        assert metric._updated is False
        assert Loss(torch.nn.functional.mse_loss)._sum == 0

    @pytest.mark.parametrize("average", [False, None, "macro", "micro", "weighted"])
    def test_of_precision_and_recall(self, average):
        batch = scores(20, 1)
        matrix = matrix_of(*batch)
        for metric, dim in ((Precision(average=average), 0), (Recall(average=average), 1)):
            metric.update(batch)
            numerator, denominator = matrix.diag(), matrix.sum(dim=dim)
            if average == "micro":
                numerator, denominator = numerator.sum(), denominator.sum()
            assert torch.equal(metric._numerator, numerator)
            assert torch.equal(metric._denominator, denominator)
            weight = matrix.sum(dim=1) if average == "weighted" else 0
            assert torch.equal(torch.as_tensor(metric._weight), torch.as_tensor(weight))
            assert metric._updated is True

    def test_of_binary_data_is_that_of_class_1(self):
        y_pred, y = torch.tensor([1, 1, 0, 1]), torch.tensor([1, 0, 0, 1])
        metric = Precision()
        metric.update((y_pred, y))
        assert (metric._numerator.item(), metric._denominator.item()) == (2.0, 3.0)

    def test_of_samples(self):
        y_pred, y = torch.tensor([[1, 1], [0, 1]]), torch.tensor([[1, 0], [0, 1]])
        metric = Precision(average="samples", is_multilabel=True)
        metric.update((y_pred, y))
        assert (metric._numerator.item(), metric._denominator) == (1.5, 2)

    def test_while_it_is_shared_changes_nothing(self):
        seen = []
        engine = Engine(lambda engine, batch: batch)
        metrics = [Accuracy(), Precision()]
        for i, metric in enumerate(metrics):
            metric.attach(engine, str(i))

        @engine.on(Events.ITERATION_COMPLETED)
        def look(engine):
            seen.append((metrics[0]._num_correct.item(), metrics[0]._num_examples))

        batches = batches_of(scores)
        engine.run(batches)
        x, y = map(torch.cat, zip(*batches, strict=True))
        assert seen[-1] == ((x.argmax(dim=1) == y).sum().item(), 16)
        assert (
            metrics[0]._subscriptions[0].statistics[0] is metrics[1]._subscriptions[0].statistics[0]
        )

    def test_what_is_returned_is_a_copy(self):
        metric = Accuracy()
        metric.update(scores(10, 1))
        before = metric.compute()
        metric._num_correct.add_(1)
        assert metric.compute() == before

    def test_the_shares_of_mutual_information(self):
        metric = MutualInformation()
        batch = scores(10, 1)
        metric.update(batch)
        expected = batch[0].double().softmax(dim=1).sum(dim=0)
        assert torch.allclose(metric._sum_of_probabilities, expected)

    def test_a_sum_from_which_a_factor_is_left_out(self):
        y_pred, y = torch.tensor([1.0, 3.0]), torch.tensor([3.0, 1.0])
        metric = FractionalAbsoluteError()
        metric.update((y_pred, y))
        assert metric._sum_of_errors == 2 * (2 * 2 / 4)
        metric._sum_of_errors += 2.0
        assert metric.compute() == (2.0 + 2.0) / 2
        metric = JSDivergence()
        metric.update((torch.tensor([[99.0, 0.0]]), torch.tensor([[0.0, 99.0]])))
        assert metric._sum_of_kl == pytest.approx(2 * math.log(2))
        assert metric.compute() == pytest.approx(math.log(2))


def test_a_reset_that_writes_zeros_leaves_the_kind_of_data_open():
    class ResetsByItself(Precision):
        def reset(self):
            self._numerator = self._denominator = self._weight = 0
            self._updated = False

    metric = ResetsByItself()
    for seed in (0, 1):
        metric.reset()
        batch = scores(20, seed)
        metric.update(batch)
        matrix = matrix_of(*batch)
        assert_close(metric.compute(), matrix.diag() / matrix.sum(dim=0))


class TestRefused:
    def test_what_is_no_number(self):
        with pytest.raises(
            TypeError, match="_num_correct of Accuracy should be a number or a tensor"
        ):
            Accuracy()._num_correct = "three"

    def test_names_that_begin_with_an_underscore_are_no_methods(self):
        with pytest.raises(AttributeError, match="no attribute '_num_corect'"):
            Accuracy()._num_corect  # noqa: B018

    def test_a_subclass_of_the_base_without_compute(self):
        class Empty(_BaseClassification):
            pass

        metric = Empty()
        metric.update(scores(4, 1))
        with pytest.raises(NotImplementedError, match=r"Empty should define compute\(\)"):
            metric.compute()


def test_a_loss_that_differentiates_its_input():
    def penalty(y_pred, y):
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(y_pred.sum(), inputs, create_graph=True)
        return gradient.square().mean()

    inputs = torch.tensor([1.0, 2.0], requires_grad=True)
    metric = Loss(penalty)
    engine = Engine(lambda engine, batch: (inputs**2, batch))
    metric.attach(engine, "penalty")
    assert engine.run([torch.zeros(2)]).metrics["penalty"] == (4.0 + 16.0) / 2
    metric.reset()
    metric.update((inputs**2, torch.zeros(2)))
    assert metric.compute() == 10.0
    assert not metric._sum.requires_grad


def test_functions_of_a_confusion_matrix_take_arithmetic():
    matrix = ConfusionMatrix(3)
    engine = Engine(lambda engine, batch: batch)
    for function in (cmAccuracy, cmPrecision, cmRecall):
        function(matrix).attach(engine, function.__name__)
        function(matrix * 2 + 0).attach(engine, f"{function.__name__} of arithmetic")
    metrics = engine.run(batches_of(scores)).metrics
    for function in (cmAccuracy, cmPrecision, cmRecall):
        name = function.__name__
        assert metrics[f"{name} of arithmetic"] == pytest.approx(metrics[name])
