import pytest
import torch
from sklearn import metrics as sk

from ignite.engine import Engine
from ignite.learner._by_name import make_metrics
from ignite.metrics import Accuracy

GENERATOR = torch.Generator().manual_seed(0)
LOGITS, CLASSES = (
    torch.randn(60, 4, generator=GENERATOR),
    torch.randint(0, 4, (60,), generator=GENERATOR),
)
SCORES, YES = (
    torch.randn(60, 1, generator=GENERATOR),
    torch.randint(0, 2, (60,), generator=GENERATOR),
)
LABELS = torch.randint(0, 2, (60, 4), generator=GENERATOR)
NUMBERS = torch.randn(60, generator=GENERATOR)


def value(name, kind, y_pred, y, has_logits=True, ignored=None):
    engine = Engine(lambda engine, batch: batch)
    make_metrics([name], kind, has_logits, ignored)[name].attach(engine, name)
    return float(engine.run([(y_pred[:23], y[:23]), (y_pred[23:], y[23:])]).metrics[name])


CHOSEN = LOGITS.argmax(1)
DECIDED = (SCORES[:, 0] > 0).long()
BY_LABEL = (LOGITS > 0).long()
CLASSIFICATIONS = [
    ("multiclass", LOGITS, CLASSES, CHOSEN, "macro"),
    ("binary", SCORES, YES, DECIDED, "binary"),
    ("multilabel", LOGITS, LABELS, BY_LABEL, "macro"),
]
"""Kind, scores, targets, what the scores predict, and scikit-learn's name of the average."""
AVERAGED = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}
CASES = [
    *(
        ("accuracy", kind, y_pred, y, sk.accuracy_score(y, predicted))
        for kind, y_pred, y, predicted, _ in CLASSIFICATIONS
    ),
    *(
        (name, kind, y_pred, y, score(y, predicted, average=average))
        for name, score in AVERAGED.items()
        for kind, y_pred, y, predicted, average in CLASSIFICATIONS
    ),
    *(
        (name, "multiclass", LOGITS, CLASSES, score(CLASSES, CHOSEN))
        for name, score in (
            ("balanced_accuracy", sk.balanced_accuracy_score),
            ("kappa", sk.cohen_kappa_score),
            ("mcc", sk.matthews_corrcoef),
        )
    ),
    ("top2_accuracy", "multiclass", LOGITS, CLASSES, sk.top_k_accuracy_score(CLASSES, LOGITS, k=2)),
    ("roc_auc", "binary", SCORES, YES, sk.roc_auc_score(YES, SCORES)),
    ("average_precision", "binary", SCORES, YES, sk.average_precision_score(YES, SCORES)),
    *(
        (name, "regression", SCORES, NUMBERS, score(NUMBERS, SCORES))
        for name, score in (
            ("mae", sk.mean_absolute_error),
            ("mse", sk.mean_squared_error),
            ("rmse", sk.root_mean_squared_error),
            ("r2", sk.r2_score),
        )
    ),
]


@pytest.mark.parametrize(("name", "kind", "y_pred", "y", "expected"), CASES)
def test_each_name_is_what_scikit_learn_calls_so(name, kind, y_pred, y, expected):
    assert value(name, kind, y_pred, y) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", ["binary", "multilabel"])
@pytest.mark.parametrize("name", ["accuracy", "f1"])
def test_probabilities_are_compared_with_a_half(kind, name):
    y_pred, y = (SCORES, YES) if kind == "binary" else (LOGITS, LABELS)
    assert value(name, kind, y_pred.sigmoid(), y, has_logits=False) == value(name, kind, y_pred, y)


SOFT = torch.nn.functional.one_hot(CLASSES, 4) * 0.9 + 0.025
IGNORING = torch.where(torch.arange(60) % 3 == 0, -100, CLASSES)


@pytest.mark.parametrize(
    "name", ["accuracy", "balanced_accuracy", "f1", "kappa", "mcc", "precision", "top2_accuracy"]
)
def test_probabilities_as_targets_stand_for_the_larger_one_and_ignored_ones_do_not_count(name):
    expected = value(name, "multiclass", LOGITS, CLASSES)
    assert value(name, "multiclass", LOGITS, SOFT) == expected
    assert 0 < expected < 1
    kept = IGNORING != -100
    expected = value(name, "multiclass", LOGITS[kept], CLASSES[kept])
    assert value(name, "multiclass", LOGITS, IGNORING, ignored=-100) == pytest.approx(expected)
    tokens = value(
        name, "multiclass", LOGITS.reshape(30, 2, 4).mT, IGNORING.reshape(30, 2), ignored=-100
    )
    assert tokens == pytest.approx(expected)


@pytest.mark.parametrize("name", ["accuracy", "f1", "roc_auc", "average_precision"])
def test_soft_yes_or_no_is_the_nearer_one(name):
    soft = YES * 0.9 + 0.05
    assert value(name, "binary", SCORES, soft) == value(name, "binary", SCORES, YES)
    assert value(name, "binary", SCORES.sigmoid(), soft, has_logits=False) == value(
        name, "binary", SCORES, YES
    )


def test_soft_labels_are_the_nearer_ones():
    assert value("accuracy", "multilabel", LOGITS, LABELS * 0.9 + 0.05) == value(
        "accuracy", "multilabel", LOGITS, LABELS
    )


def test_objects_and_names_of_ones_own():
    own = Accuracy()
    made = make_metrics({"mine": own, "score": "f1"}, "multiclass", True)
    assert made["mine"] is own
    assert list(make_metrics([own, "mcc"], "multiclass", True)) == ["Accuracy", "mcc"]
    with pytest.raises(
        ValueError, match="multilabel metric 'roc_auc' is not known. Known names are accuracy, f1"
    ):
        make_metrics(["roc_auc"], "multilabel", True)
