"""The three scores of clusterings against scikit-learn, and against definitions sample by sample."""

import math
from itertools import combinations

import pytest
import sklearn.metrics
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics.clustering import (
    CalinskiHarabaszScore,
    DaviesBouldinScore,
    SilhouetteScore,
    silhouette_score,
)

ORACLES = {
    SilhouetteScore: sklearn.metrics.silhouette_score,
    DaviesBouldinScore: sklearn.metrics.davies_bouldin_score,
    CalinskiHarabaszScore: sklearn.metrics.calinski_harabasz_score,
}
every_score = pytest.mark.parametrize("kind", ORACLES, ids=lambda kind: kind.__name__)
FEATURES = torch.tensor([[0.0, 0.0], [2.0, 0.0], [10.0, 0.0], [12.0, 0.0], [50.0, 0.0]])
LABELS = torch.tensor([0, 0, 1, 1, 2])


def value_of(metric, features, labels, sizes=None):
    for batch in zip(
        features.split(sizes or len(features)), labels.split(sizes or len(labels)), strict=True
    ):
        metric.update(batch)
    return metric.compute()


@st.composite
def clusterings(draw, max_features=12):
    """Blobs around centers, as features of any dtype and labels of any numbers, and sizes of batches."""
    num_clusters = draw(st.integers(2, 6))
    sizes = draw(st.lists(st.integers(0, 12), min_size=1, max_size=4))
    sizes.append(draw(st.integers(num_clusters + 1, 20)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    n, d = sum(sizes), draw(st.integers(1, max_features))
    labels = torch.randint(num_clusters, (n,), generator=generator)
    labels[-num_clusters:] = torch.arange(num_clusters)  # all occur
    spread = draw(st.sampled_from([0.0, 0.5, 5.0]))
    centers = spread * torch.randn(num_clusters, d, generator=generator)
    features = centers[labels] + torch.randn(n, d, generator=generator)
    features = features * draw(st.sampled_from([0.1, 1.0, 1e3])) + draw(
        st.sampled_from([0.0, -40.0, 1e3])
    )
    numbers = draw(st.sampled_from([torch.int64, torch.int32, torch.float32]))
    dtype = draw(st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
    return features.clamp(-6e4, 6e4).to(dtype), (3 * labels - 5).to(numbers), sizes


@every_score
@given(clusterings())
def test_it_is_the_value_of_scikit_learn(kind, case):
    features, labels, sizes = case
    expected = ORACLES[kind](features.double().numpy(), labels.numpy())
    # scikit-learn computes distances from products, and loses digits if there is an offset.
    assert value_of(kind(), features, labels, sizes) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def silhouette_by_loops(rows, labels):
    scores = []
    for x, own in zip(rows, labels, strict=True):
        means = {}
        for label in set(labels):
            distances = [
                math.dist(x, y) for y, its in zip(rows, labels, strict=True) if its == label
            ]
            means[label] = math.fsum(distances) / max(len(distances) - (label == own), 1)
        within, nearest = means.pop(own), min(means.values())
        alone = labels.count(own) == 1
        scores.append(
            0 if alone or nearest == within else (nearest - within) / max(nearest, within)
        )
    return math.fsum(scores) / len(scores)


def centers_of(rows, labels):
    members = {
        label: [x for x, its in zip(rows, labels, strict=True) if its == label]
        for label in set(labels)
    }
    means = {
        label: [math.fsum(column) / len(found) for column in zip(*found, strict=True)]
        for label, found in members.items()
    }
    return members, means


def davies_bouldin_by_loops(rows, labels):
    members, means = centers_of(rows, labels)
    spreads = {
        label: math.fsum(math.dist(x, means[label]) for x in found) / len(found)
        for label, found in members.items()
    }
    worst = dict.fromkeys(members, 0.0)
    for a, b in combinations(members, 2):
        distance = math.dist(means[a], means[b])
        if distance:
            for label in (a, b):
                worst[label] = max(worst[label], (spreads[a] + spreads[b]) / distance)
    return math.fsum(worst.values()) / len(worst)


def calinski_harabasz_by_loops(rows, labels):
    members, means = centers_of(rows, labels)
    middle = [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
    between = math.fsum(
        len(found) * math.dist(means[each], middle) ** 2 for each, found in members.items()
    )
    within = math.fsum(
        math.dist(x, means[each]) ** 2 for each, found in members.items() for x in found
    )
    if within == 0:
        return 1.0
    return between / within * (len(rows) - len(members)) / (len(members) - 1)


LOOPS = {
    SilhouetteScore: silhouette_by_loops,
    DaviesBouldinScore: davies_bouldin_by_loops,
    CalinskiHarabaszScore: calinski_harabasz_by_loops,
}


@every_score
@pytest.mark.parametrize("d", [2, 7])
@given(st.data())
def test_equal_samples_and_an_offset_cost_no_digits(kind, d, data):
    """Halves of small integers: many samples are equal, and an offset of 2**40 is exact in float64."""
    n = data.draw(st.integers(4, 24))
    halves = st.lists(st.integers(-3, 3), min_size=d, max_size=d)
    rows = [[x / 2 for x in data.draw(halves)] for _ in range(n)]
    labels = [0, 1, *data.draw(st.lists(st.integers(0, 2), min_size=n - 2, max_size=n - 2))]
    offset = data.draw(st.sampled_from([0.0, 2.0**40]))
    features = torch.tensor(rows, dtype=torch.float64) + offset
    expected = LOOPS[kind](rows, labels)
    found = value_of(kind(), features, torch.tensor(labels))
    assert found == pytest.approx(expected, rel=1e-11, abs=1e-11)


@given(
    clusterings(max_features=6),
    st.sampled_from(
        [
            {"metric": "cosine"},
            {"metric": "manhattan"},
            {"metric": "l1"},
            {"metric": "cityblock"},
            {"metric": "l2"},
            {"metric": "sqeuclidean"},
            {"metric": "chebyshev"},
            {"metric": "minkowski", "p": 3},
            {"metric": "minkowski"},
        ]
    ),
)
def test_other_distances_are_those_of_scikit_learn(case, options):
    features, labels, sizes = case
    expected = sklearn.metrics.silhouette_score(
        features.double().numpy(), labels.numpy(), **options
    )
    found = value_of(SilhouetteScore(silhouette_kwargs=options), features, labels, sizes)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-7)


@given(clusterings(), st.integers(0, 2**31))
def test_a_sample_is_the_one_that_scikit_learn_draws(case, seed):
    features, labels, _ = case
    generator = torch.Generator().manual_seed(seed)
    features = torch.cat([features] * 4)
    features = (features.double() + torch.rand(features.shape, generator=generator)).float()
    labels = torch.cat([labels] * 4)
    options = {"sample_size": len(labels) - 3, "random_state": seed}
    expected = sklearn.metrics.silhouette_score(
        features.double().numpy(), labels.numpy(), **options
    )
    found = value_of(SilhouetteScore(silhouette_kwargs=options), features, labels)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_samples_at_0_have_the_cosine_distance_1_to_others():
    features = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    labels = torch.tensor([0, 0, 1, 1, 2])
    options = {"metric": "cosine"}
    expected = sklearn.metrics.silhouette_score(
        features.double().numpy(), labels.numpy(), **options
    )
    assert value_of(SilhouetteScore(silhouette_kwargs=options), features, labels) == pytest.approx(
        expected, rel=1e-12
    )


@pytest.mark.parametrize("num_clusters", [3, 400])
def test_blocks_do_not_change_the_value_and_bound_the_memory(num_clusters, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1100, 6, generator=generator)
    labels = torch.randint(num_clusters, (1100,), generator=generator)
    expected = sklearn.metrics.silhouette_score(features.double().numpy(), labels.numpy())
    largest = 0
    known = silhouette_score.euclidean

    def measured(a, b, is_exact):
        nonlocal largest
        found = known(a, b, is_exact)
        largest = max(largest, found.numel())
        return found

    monkeypatch.setattr(silhouette_score, "euclidean", measured)
    assert value_of(SilhouetteScore(), features, labels) == pytest.approx(expected, rel=1e-10)
    assert largest == 512 * 512
    monkeypatch.setattr(silhouette_score, "_MAX_SUMS", 10 * num_clusters)
    largest = 0
    assert value_of(SilhouetteScore(), features, labels) == pytest.approx(expected, rel=1e-10)
    assert largest == 512 * 10


def test_tight_clusters_far_apart_have_accurate_distances():
    """Clusters of size 1e-6 at distances of 1e6: products of rows lose all digits of distances within clusters."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    centers = torch.tensor([[0.0] * 6, [1e6] * 6, [0.0] * 5 + [-1e6]], dtype=torch.float64)
    within = torch.randn(60, 6, generator=generator, dtype=torch.float64).mul(2**20).round() / 2**40
    features = centers[labels] + within
    within = (features - centers[labels]).tolist()
    rows, own = features.tolist(), labels.tolist()
    scores = []
    for i in range(60):
        near = [math.dist(within[i], within[j]) for j in range(60) if own[j] == own[i] and j != i]
        a = math.fsum(near) / len(near)
        others = [
            [math.dist(rows[i], rows[j]) for j in range(60) if own[j] == c]
            for c in range(3)
            if c != own[i]
        ]
        b = min(math.fsum(each) / len(each) for each in others)
        scores.append(a / b)
    found = 1 - value_of(SilhouetteScore(), features, labels)
    assert found == pytest.approx(math.fsum(scores) / 60, rel=1e-3)


@every_score
def test_a_clustering_that_has_no_score_gives_nan_as_in_ignite(kind):
    assert math.isnan(value_of(kind(), FEATURES, torch.zeros(5)))
    assert math.isnan(value_of(kind(), FEATURES, torch.arange(5)))


@pytest.mark.parametrize(
    ("kind", "value"), [(SilhouetteScore, 0), (DaviesBouldinScore, 0), (CalinskiHarabaszScore, 1)]
)
def test_equal_samples_have_the_value_of_scikit_learn(kind, value):
    assert value_of(kind(), torch.full((5, 6), 0.1), LABELS) == value


@every_score
def test_features_and_labels_may_come_by_name(kind):
    engine = Engine(lambda engine, batch: {"labels": LABELS, "features": FEATURES, "loss": 1})
    kind().attach(engine, "score")
    assert engine.run([0]).metrics["score"] == value_of(kind(), FEATURES, LABELS)


def test_all_scores_of_an_engine_share_one_copy_of_the_samples():
    engine = Engine(lambda engine, batch: batch)
    metrics = {kind.__name__: kind() for kind in ORACLES}
    for name, metric in metrics.items():
        metric.attach(engine, name)
    engine.run([(FEATURES, LABELS)] * 2)
    kept = {id(metric._statistics_in_use()[0]) for metric in metrics.values()}
    assert len(kept) == 1
    assert "all samples shared with" in str(engine.describe())


@every_score
@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (FEATURES[:, 0], LABELS, r"Features should be of shape \(batch_size, n_targets\), but given \(5,\)"),
        (FEATURES[None], LABELS[:1], r"Features should be of shape .*, but given \(1, 5, 2\)"),
        (FEATURES, LABELS[:, None], r"Labels should be of shape \(batch_size, \), but given \(5, 1\)"),
        (FEATURES, LABELS[:4], "the same number of rows, but given 5 and 4"),
        (FEATURES[:, :1], LABELS, r"features should be of shape \(batch_size, 2\) as before, but given \(5, 1\)"),
        (FEATURES.double(), LABELS, "Incoherent types between input features and stored features"),
        (FEATURES, LABELS.int(), "Incoherent types between input labels and stored labels"),
        (FEATURES * math.nan, LABELS, "Features should be finite, but given nan among features"),
        (FEATURES / 0, LABELS, "Features should be finite, but given"),
    ],
)  # fmt: skip
def test_bad_batches_are_refused_and_change_nothing(kind, features, labels, message):
    metric = kind()
    metric.update((FEATURES, LABELS))
    before = metric.compute()
    with pytest.raises(ValueError, match=message):
        metric.update((features, labels))
    assert metric.compute() == before


def test_labels_that_are_nan_are_refused():
    with pytest.raises(ValueError, match="Labels should be numbers of clusters, but given NaN"):
        SilhouetteScore().update((FEATURES, torch.tensor([0, 0, 1, 1, math.nan])))


def test_complex_features_are_refused():
    with pytest.raises(TypeError, match="should be real, but given torch.complex64"):
        SilhouetteScore().update((FEATURES + 0j, LABELS))


def test_large_finite_features_whose_sum_overflows_are_accepted():
    features = torch.tensor([[3e38], [3e38], [-3e38], [-2e38]])
    assert value_of(SilhouetteScore(), features, torch.tensor([0, 0, 1, 1])) > 0.5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (3, TypeError, "silhouette_kwargs should be a dict or None, but given 3"),
        ({"matric": "l1"}, TypeError, "the keys 'metric', .*, but given 'matric', too"),
        ({"metric": "hamming"}, ValueError, "metric should be one of .*'cosine'.*, but given 'hamming'"),
        ({"metric": math.dist}, ValueError, "metric should be one of .*, but given <built-in"),
        ({"sample_size": 0.5}, ValueError, "sample_size should be an integer .*, but given 0.5"),
        ({"random_state": -1}, ValueError, "random_state should be an integer .*, but given -1"),
        ({"metric": "minkowski", "p": 0}, ValueError, "p should be positive, but given 0"),
    ],
)  # fmt: skip
def test_unknown_options_are_refused_at_construction(options, error, message):
    with pytest.raises(error, match=message):
        SilhouetteScore(silhouette_kwargs=options)


@every_score
def test_without_samples_there_is_no_value(kind):
    with pytest.raises(NotComputableError, match=f"{kind.__name__} must have at least one example"):
        kind().compute()
