"""The estimators in scikit-learn: its checks, searches, pipelines, and bit-identical repetition."""

import pickle
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from ignite.sklearn import Classifier, Regressor

_OF_WEIGHTS = (
    "a batch has other samples and other sums if samples are repeated instead of weighted: equal only "
    "with all samples in one batch, and then up to the rounding of float32, not to 1e-7"
)
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": _OF_WEIGHTS,
    "check_sample_weight_equivalence_on_sparse_data": _OF_WEIGHTS,
}

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(120, 4)).astype(np.float32)
LABELS = np.array(["a", "b", "c"])[(X[:, 0] > 0).astype(int) + (X[:, 1] > 0)]
NUMBERS = X @ np.array([1.0, -2.0, 0.5, 0.0])


def classifier(**options):
    return Classifier(**{"hidden": (8,), "epochs": 4, "lr": 0.05, "random_state": 0, **options})


def regressor(**options):
    return Regressor(**{"hidden": (8,), "epochs": 4, "lr": 0.05, "random_state": 0, **options})


def weights_of(estimator):
    return torch.cat([p.flatten() for p in estimator.learner_.model.state_dict().values()])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", [Classifier, Regressor])
def test_scikit_learns_own_checks_pass_but_for_those_with_a_reason(kind):
    estimator = kind(hidden=(16,), epochs=10, lr=0.02)
    found = check_estimator(
        estimator, expected_failed_checks=EXPECTED_FAILURES, on_fail=None, on_skip=None
    )
    failed = {each["check_name"]: each["exception"] for each in found if each["status"] == "failed"}
    assert failed == {}
    expected = {each["check_name"] for each in found if each["status"] == "xfail"}
    assert expected == set(EXPECTED_FAILURES), "no longer exceptions"
    assert sum(each["status"] == "passed" for each in found) > 45


@pytest.mark.parametrize(("make", "y"), [(classifier, LABELS), (regressor, NUMBERS)])
def test_a_fit_with_a_seed_repeats_to_the_bit_and_leaves_the_generators_alone(make, y):
    def dropout(in_features, out_features):
        return nn.Sequential(nn.Linear(in_features, 8), nn.Dropout(), nn.Linear(8, out_features))

    torch.manual_seed(3)
    np.random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first = make(model=dropout).fit(X, y)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()
    torch.rand(5)
    second = clone(first).fit(X, y)
    assert torch.equal(weights_of(first), weights_of(second))
    assert not torch.equal(
        weights_of(first), weights_of(make(model=dropout, random_state=1).fit(X, y))
    )
    seeded = [make(random_state=None) for _ in range(2)]
    for each in seeded:
        np.random.seed(3)
        each.fit(X, y)
    assert torch.equal(weights_of(seeded[0]), weights_of(seeded[1]))


def test_sparse_data_gives_the_same_weights_and_predictions_as_dense():
    dense = np.where(np.abs(X) < 0.5, 0, X)
    weight = np.linspace(0.5, 1.5, len(X))
    for make, y in ((classifier, LABELS), (regressor, NUMBERS)):
        one = make().fit(dense, y, sample_weight=weight)
        other = make().fit(csr_array(dense), y, sample_weight=weight)
        assert torch.equal(weights_of(one), weights_of(other))
        np.testing.assert_array_equal(one.predict(dense), other.predict(csr_array(dense)))


def test_a_model_is_a_module_a_class_a_function_or_left_out():
    module = nn.Linear(4, 3)
    before = module.weight.clone()
    by_module = classifier(model=module).fit(X, LABELS)
    assert torch.equal(module.weight, before)
    assert not torch.equal(by_module.learner_.model.weight, before)
    by_class = classifier(model=nn.Linear, model_options={"bias": False}).fit(X, LABELS)
    assert by_class.learner_.model.bias is None
    assert by_class.learner_.model.weight.shape == (3, 4)
    fixed = classifier(model=lambda: nn.Linear(4, 3)).fit(X, LABELS)
    assert isinstance(fixed.learner_.model, nn.Linear)
    codes = RANDOM.integers(0, 5, size=(120, 4))
    embedded = classifier(
        model=lambda out_features: nn.Sequential(nn.EmbeddingBag(5, 8), nn.Linear(8, out_features))
    )
    assert embedded.fit(codes, LABELS).predict(codes).shape == (120,)
    assert classifier().fit(codes, LABELS).predict(codes).shape == (120,)
    images = X.reshape(-1, 1, 2, 2)
    assert classifier().fit(images, LABELS).predict_proba(images[:5]).shape == (5, 3)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"model": 3}, TypeError, "model should be a torch.nn.Module"),
        (
            {"model": lambda width: None},
            TypeError,
            "model should accept in_features and out_features",
        ),
        ({"model": lambda: 3}, TypeError, "model should return a torch.nn.Module"),
        ({"model_options": {"a": 1}}, ValueError, "model_options should be empty"),
        ({"hidden": 8}, TypeError, "hidden should be a tuple"),
        ({"hidden": (0,)}, ValueError, "hidden should have widths of at least 1"),
        ({"valid": (X,)}, ValueError, "valid should be a fraction"),
        ({"model": nn.Linear(4, 2)}, ValueError, "y should be class indices from 0 to 1"),
        ({"epochs": 0}, ValueError, "epochs should be at least 1"),
    ],
)
def test_a_refused_fit_leaves_the_estimator_unchanged(options, error, words):
    estimator = classifier().fit(X, LABELS)
    before, learner = estimator.predict_proba(X), estimator.learner_
    estimator.set_params(**options)
    with pytest.raises(error, match=words):
        estimator.fit(X, LABELS)
    assert estimator.learner_ is learner
    np.testing.assert_array_equal(estimator.predict_proba(X), before)


def test_two_classes_may_have_one_output_or_two():
    y = np.where(X[:, 0] > 0, "yes", "no")
    found = {}
    for loss in ("cross_entropy", "bce_with_logits", "nll", "bce"):
        ends = {"nll": [nn.LogSoftmax(1)], "bce": [nn.Sigmoid()]}.get(loss, [])

        def model(in_features, out_features, ends=ends):
            return nn.Sequential(nn.Linear(in_features, out_features), *ends)

        one = found[loss] = classifier(model=model, loss=loss, epochs=20).fit(X, y)
        proba, decided = one.predict_proba(X), one.decision_function(X)
        assert proba.shape == (len(X), 2)
        assert decided.shape == (len(X),)
        np.testing.assert_allclose(proba.sum(1), 1, atol=1e-6)
        np.testing.assert_allclose(proba[:, 1], 1 / (1 + np.exp(-decided)), atol=1e-5)
        np.testing.assert_array_equal(one.predict(X), one.classes_[(decided > 0).astype(int)])
        assert one.score(X, y) > 0.9
    assert found["bce"].learner_.model[0].out_features == 1
    assert found["nll"].learner_.model[0].out_features == 2


def test_several_labels_and_several_numbers():
    bits = (X[:, :2] > 0).astype(int)
    for y in (bits, csr_array(bits)):
        one = classifier(epochs=20).fit(X, y)
        assert one.predict(X).shape == one.predict_proba(X).shape == (len(X), 2)
        assert (one.predict(X) == bits).mean() > 0.9
    assert regressor(epochs=20).fit(X, X[:, :2]).predict(X).shape == (len(X), 2)
    assert regressor(epochs=20).fit(X, X[:, 0]).score(X, X[:, 0]) > 0.8
    with pytest.raises(ValueError, match="class_weight should be None for several labels"):
        classifier(class_weight="balanced").fit(X, bits)


def test_columns_are_known_and_checked():
    table = pd.DataFrame(X, columns=list("abcd"))
    estimator = regressor().fit(table, NUMBERS)
    assert estimator.feature_names_in_.tolist() == list("abcd")
    assert estimator.n_features_in_ == 4
    with pytest.raises(ValueError, match="feature names"):
        estimator.predict(table[["b", "a", "c", "d"]])
    with pytest.raises(ValueError, match="expecting 4 features"):
        regressor().fit(X, NUMBERS).predict(X[:, :3])
    with pytest.raises(ValueError, match="sample_weight should have shape"):
        estimator.fit(table[["a", "b"]], NUMBERS, sample_weight=[1.0, 2.0])
    assert estimator.feature_names_in_.tolist() == list("abcd"), "as before the refused fit"
    with pytest.raises(NotFittedError):
        classifier().predict(X)
    with pytest.warns(DataConversionWarning):
        classifier().fit(X, LABELS[:, None])


def test_training_continues_with_warm_start_and_partial_fit():
    once = classifier(epochs=2, shuffle=False).fit(X, LABELS)
    parts = classifier(shuffle=False)
    for _ in range(2):
        parts.partial_fit(X, LABELS)
    warm = classifier(epochs=1, warm_start=True, shuffle=False).fit(X, LABELS).fit(X, LABELS)
    assert torch.equal(weights_of(once), weights_of(parts))
    assert torch.equal(weights_of(once), weights_of(warm))
    cold = classifier(epochs=1, shuffle=False).fit(X, LABELS).fit(X, LABELS)
    assert not torch.equal(weights_of(cold), weights_of(warm))
    few = classifier().partial_fit(X[:20], np.full(20, "a"), classes=["a", "b"])
    assert few.classes_.tolist() == ["a", "b"]
    for y, words in (
        (LABELS, "y should have labels from"),
        (X[:, :2] > 0, "y should have one label"),
    ):
        with pytest.raises(ValueError, match=words):
            few.partial_fit(X, y.astype(int) if y.ndim > 1 else y)
    with pytest.raises(ValueError, match="y should have shape"):
        regressor().partial_fit(X, NUMBERS).partial_fit(X, X[:, :2])


def test_weights_of_classes_and_samples_count():
    y = np.where(X[:, 0] > 0.8, "rare", "often")
    plain = classifier().fit(X, y).predict_proba(X)[:, 1].mean()
    by_label = classifier(class_weight={"rare": 9.0}).fit(X, y)
    by_sample = classifier().fit(X, y, sample_weight=np.where(y == "rare", 9.0, 1.0))
    assert by_label.predict_proba(X)[:, 1].mean() > plain + 0.05
    np.testing.assert_allclose(by_label.predict_proba(X), by_sample.predict_proba(X), atol=1e-5)
    assert classifier(class_weight="balanced").fit(X, y).predict_proba(X)[:, 1].mean() > plain


def test_validation_data_may_be_given_held_out_or_stop_the_training():
    others = np.roll(LABELS, 1)  # the better the training labels are learnt, the worse are these
    options = {"valid": (X, others), "metrics": "accuracy", "early_stopping": 2}
    estimator = classifier(epochs=30, restore_best=True, **options).fit(X, LABELS)
    assert len(estimator.history_) < 30
    best = estimator.history_.best("valid_loss")
    assert estimator.score(X, others) == pytest.approx(best["valid_accuracy"])
    held = classifier(valid=0.25).fit(csr_array(X), LABELS)
    assert "valid_loss" in held.history_.names


def test_searches_pipelines_and_pickles_give_the_same_here_and_in_other_processes():
    pipeline = make_pipeline(StandardScaler(), classifier(epochs=2))
    grid = {"classifier__hidden": [(2,), (8,)], "classifier__lr": [1e-4, 0.1]}
    here = GridSearchCV(pipeline, grid, cv=2, n_jobs=1).fit(X, LABELS)
    assert here.best_params_ == {"classifier__hidden": (8,), "classifier__lr": 0.1}
    copied = pickle.loads(pickle.dumps(here))
    np.testing.assert_array_equal(copied.predict_proba(X), here.predict_proba(X))
    scores = cross_val_score(clone(pipeline), X, LABELS, cv=2)
    assert scores.shape == (2,)


@pytest.mark.slow
def test_a_search_in_two_processes_gives_the_scores_of_one():
    from joblib import Parallel, delayed

    grid = {"hidden": [(2,), (8,)], "lr": [1e-4, 0.1]}
    one, two = (
        GridSearchCV(classifier(epochs=2), grid, cv=2, n_jobs=n_jobs).fit(X, LABELS)
        for n_jobs in (1, 2)
    )
    for fold in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(one.cv_results_[fold], two.cv_results_[fold])
    assert torch.equal(weights_of(one.best_estimator_), weights_of(two.best_estimator_))
    data = pickle.dumps(one.best_estimator_)
    (elsewhere,) = Parallel(n_jobs=2)([delayed(_proba)(data, X)])
    np.testing.assert_array_equal(elsewhere, one.predict_proba(X))


def _proba(data, x):
    return pickle.loads(data).predict_proba(x)


def test_parameters_are_read_set_and_cloned():
    estimator = classifier(ema=0.9)
    assert clone(estimator).get_params() == estimator.get_params()
    estimator.set_params(lr=0.5, class_weight="balanced")
    assert (estimator.lr, estimator.class_weight) == (0.5, "balanced")
    assert "hidden=(8,)" in repr(estimator)
    only = set(Classifier().get_params()) - set(Regressor().get_params())
    assert only == {"class_weight"}


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("sklearn", "ignite.sklearn."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(vars(sys.modules["ignite.sklearn"]), "Classifier")
    with pytest.raises(ModuleNotFoundError, match=r"reignition\[sklearn\]"):
        from ignite.sklearn import Classifier  # noqa: F401
