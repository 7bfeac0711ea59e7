"""Subclasses of built-in metrics as written for Ignite, each with its value computed in another way."""

import torch
from torch.nn.functional import mse_loss, one_hot

from ignite.metrics import (
    Accuracy,
    Average,
    ConfusionMatrix,
    EpochMetric,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    Precision,
    Recall,
    RunningAverage,
    TopKCategoricalAccuracy,
)
from ignite.metrics.accuracy import _BaseClassification
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce
from ignite.metrics.precision import _BasePrecisionRecall

NUM_CLASSES = 3


def scores(length, seed):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(length, NUM_CLASSES, generator=generator),
        torch.randint(NUM_CLASSES, (length,), generator=generator),
    )


def numbers(length, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, length, generator=generator, dtype=torch.float64).unbind()


class CountsByItself(Accuracy):
    @reinit__is_reduced
    def update(self, output):
        self._check_shape(output)
        self._check_type(output)
        y_pred, y = output
        correct = torch.eq(y_pred.argmax(dim=1), y).view(-1)
        self._num_correct += torch.sum(correct).to(self._device)
        self._num_examples += correct.shape[0]


class AddsAfterwards(Accuracy):
    def update(self, output):
        super().update(output)
        self._num_correct = self._num_correct + 0.5 * len(output[1])


class InPercent(Accuracy):
    @sync_all_reduce("_num_correct", "_num_examples")
    def compute(self):
        return 100 * self._num_correct.item() / self._num_examples


class TwiceTheLoss(Loss):
    @reinit__is_reduced
    def update(self, output):
        y_pred, y = output
        length = self._batch_size(y)
        self._sum += 2 * self._loss_fn(y_pred, y).to(self._device) * length
        self._num_examples += length


class ResetsByItself(Loss):
    @reinit__is_reduced
    def reset(self):
        self._sum = torch.tensor(0.0, dtype=torch.float64, device=self._device)
        self._num_examples = 0


class Mistakes(_BaseClassification):
    _state_dict_all_req_keys = ("_num_wrong", "_num_seen")

    @reinit__is_reduced
    def reset(self):
        self._num_wrong = torch.tensor(0, device=self._device)
        self._num_seen = 0
        super().reset()

    @reinit__is_reduced
    def update(self, output):
        self._check_shape(output)
        self._check_type(output)
        assert (self._type, self._num_classes) == ("multiclass", NUM_CLASSES)
        self._num_wrong += (output[0].argmax(dim=1) != output[1]).sum()
        self._num_seen += len(output[1])

    @sync_all_reduce("_num_wrong", "_num_seen")
    def compute(self):
        return self._num_wrong.item() / self._num_seen


class Dice(_BasePrecisionRecall):
    @reinit__is_reduced
    def update(self, output):
        self._check_shape(output)
        self._check_type(output)
        y_pred, y, correct = self._prepare_output(output)
        self._numerator += 2 * correct.sum(dim=0)
        self._denominator += (y_pred + y).sum(dim=0)
        self._updated = True


class MeanOfClasses(Precision):
    @sync_all_reduce("_numerator", "_denominator")
    def compute(self):
        return (self._numerator / (self._denominator + self.eps)).mean().item()


class HalfRecall(Recall):
    @reinit__is_reduced
    def update(self, output):
        self._check_shape(output)
        self._check_type(output)
        y_pred, y = one_hot(output[0].argmax(dim=1), 3), one_hot(output[1], 3)
        self._numerator += (y_pred * y).sum(dim=0).double()
        self._denominator += 2 * y.sum(dim=0)
        self._updated = True


class RecallOfMatrix(ConfusionMatrix):
    @sync_all_reduce("confusion_matrix", "_num_examples")
    def compute(self):
        matrix = self.confusion_matrix.double()
        return (matrix.diag() / (matrix.sum(dim=1) + 1e-15)).mean().item()


class WeightedMatrix(ConfusionMatrix):
    @reinit__is_reduced
    def update(self, output):
        y_pred, y = output
        self._num_examples += len(y)
        pairs = torch.bincount(NUM_CLASSES * y + y_pred.argmax(dim=1), minlength=NUM_CLASSES**2)
        self.confusion_matrix = self.confusion_matrix + 0.25 * pairs.view(NUM_CLASSES, -1)


class TopKByTopk(TopKCategoricalAccuracy):
    @reinit__is_reduced
    def update(self, output):
        y_pred, y = output
        self._num_correct += (y_pred.topk(self._k, dim=1)[1] == y[:, None]).sum()
        self._num_examples += len(y)


class TopKMistakes(TopKCategoricalAccuracy):
    @sync_all_reduce("_num_correct", "_num_examples")
    def compute(self):
        return 1 - self._num_correct.item() / self._num_examples


class ThreeTimesMSE(MeanSquaredError):
    @reinit__is_reduced
    def update(self, output):
        self._sum_of_squared_errors += 3 * ((output[0] - output[1]) ** 2).sum().to(self._device)
        self._num_examples += len(output[1])


class RootOfMAE(MeanAbsoluteError):
    def compute(self):
        return super().compute() ** 0.5


class TwicePredictions(EpochMetric):
    @reinit__is_reduced
    def update(self, output):
        self._check_shape(output)
        self._check_type(output)
        self._predictions.append(2 * output[0])
        self._targets.append(output[1])


class TwiceAverage(Average):
    def update(self, output):
        self.accumulator += output * 2
        self.num_examples += 1


def largest_error(y_pred, y):
    return (y_pred - y).abs().max().item()


def matrix_of(x, y):
    counts = torch.zeros(NUM_CLASSES, NUM_CLASSES, dtype=torch.float64)
    for predicted, true in zip(x.argmax(dim=1).tolist(), y.tolist(), strict=True):
        counts[true, predicted] += 1
    return counts


def accuracy(x, y):
    return (x.argmax(dim=1) == y).double().mean().item()


def dice(x, y):
    matrix = matrix_of(x, y)
    return 2 * matrix.diag() / (matrix.sum(dim=0) + matrix.sum(dim=1))


def in_top_two(x, y):
    hits = [
        t in row.argsort(descending=True)[:2].tolist() for row, t in zip(x, y.tolist(), strict=True)
    ]
    return sum(hits) / len(hits)


SUBCLASSES = {
    # How to make it, its data, and its value over all of them.
    "CountsByItself": (CountsByItself, scores, accuracy),
    "AddsAfterwards": (AddsAfterwards, scores, lambda x, y: accuracy(x, y) + 0.5),
    "InPercent": (InPercent, scores, lambda x, y: 100 * accuracy(x, y)),
    "TwiceTheLoss": (
        lambda: TwiceTheLoss(mse_loss),
        numbers,
        lambda x, y: 2 * ((x - y) ** 2).mean().item(),
    ),
    "ResetsByItself": (
        lambda: ResetsByItself(mse_loss),
        numbers,
        lambda x, y: ((x - y) ** 2).mean().item(),
    ),
    "Mistakes": (Mistakes, scores, lambda x, y: 1 - accuracy(x, y)),
    "Dice": (lambda: Dice(average=None), scores, dice),
    "MacroDice": (lambda: Dice(average="macro"), scores, lambda x, y: dice(x, y).mean().item()),
    "MeanOfClasses": (
        lambda: MeanOfClasses(average=None),
        scores,
        lambda x, y: (matrix_of(x, y).diag() / matrix_of(x, y).sum(dim=0)).mean().item(),
    ),
    "HalfRecall": (
        HalfRecall,
        scores,
        lambda x, y: matrix_of(x, y).diag() / matrix_of(x, y).sum(dim=1) / 2,
    ),
    "RecallOfMatrix": (
        lambda: RecallOfMatrix(NUM_CLASSES),
        scores,
        lambda x, y: (matrix_of(x, y).diag() / matrix_of(x, y).sum(dim=1)).mean().item(),
    ),
    "WeightedMatrix": (
        lambda: WeightedMatrix(NUM_CLASSES),
        scores,
        lambda x, y: 0.25 * matrix_of(x, y),
    ),
    "TopKByTopk": (lambda: TopKByTopk(2), scores, in_top_two),
    "TopKMistakes": (lambda: TopKMistakes(2), scores, lambda x, y: 1 - in_top_two(x, y)),
    "ThreeTimesMSE": (ThreeTimesMSE, numbers, lambda x, y: 3 * ((x - y) ** 2).mean().item()),
    "RootOfMAE": (RootOfMAE, numbers, lambda x, y: (x - y).abs().mean().item() ** 0.5),
    "TwicePredictions": (
        lambda: TwicePredictions(largest_error),
        numbers,
        lambda x, y: max(abs(2 * a - b) for a, b in zip(x.tolist(), y.tolist(), strict=True)),
    ),
}


class Largest(RunningAverage):
    @reinit__is_reduced
    def update(self, output):
        self._value = output if self._value is None else max(self._value, output)


SHARES = ((5, 4), (9, 0), (0, 9))


def over_processes(rank):
    """``{(name, shares): value}`` with the examples of ``numbers`` or ``scores`` cut into uneven shares."""
    found = {}
    for name, (make, data, _) in SUBCLASSES.items():
        for shares in SHARES:
            metric, start = make(), sum(shares[:rank])
            batch = tuple(values[start : start + shares[rank]] for values in data(sum(shares), 3))
            if shares[rank]:
                metric.update(batch)
            value = metric.compute()
            again = metric.compute()
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(again)), name
            found[name, shares] = value.tolist() if isinstance(value, torch.Tensor) else value
    return found
