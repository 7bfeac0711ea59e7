"""HitRate, MeanReciprocalRank, RecallAtK, PrecisionAtK and NDCG against slow definitions and scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import Accuracy
from ignite.metrics.rec_sys import NDCG, HitRate, MeanReciprocalRank, PrecisionAtK, RecallAtK
from support import ranking_oracles as oracle

OF_K = {HitRate: oracle.hit_rate, RecallAtK: oracle.recall, PrecisionAtK: oracle.precision}
GRADES = (0.0, 0.0, 0.0, 0.5, 1.0, 2.0, 3.0, -1.0)


@st.composite
def users(draw):
    """Scores with many ties, and graded relevance, of users with 1 to 40 items."""
    num_users, num_items = draw(st.integers(1, 6)), draw(st.sampled_from([1, 2, 3, 5, 9, 40]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    num_levels = draw(st.sampled_from([1, 2, 5, 1000]))
    scores = torch.randint(num_levels, (num_users, num_items), generator=generator) / 7 - 0.3
    scores[
        torch.rand(scores.shape, generator=generator) < draw(st.sampled_from([0, 0.3]))
    ] = -torch.inf
    grades = torch.tensor(GRADES)
    return scores, grades[torch.randint(len(GRADES), scores.shape, generator=generator)]


top_ks = st.lists(st.integers(1, 12), min_size=1, max_size=3)


def computed(metric, *batches):
    for batch in batches:
        metric.update(batch)
    try:
        return metric.compute()
    except NotComputableError:
        return None


def halves(scores, relevance):
    return (scores[::2], relevance[::2]), (scores[1::2], relevance[1::2])


@given(users(), top_ks, st.booleans())
def test_rates_equal_their_definitions(pair, top_k, ignore_zero_hits):
    scores, relevance = (tensor.tolist() for tensor in pair)
    for kind, measure in OF_K.items():
        expected = [
            oracle.mean_over_users(
                lambda ranked, k=k, measure=measure: measure(ranked, k),
                scores,
                relevance,
                ignore_zero_hits,
            )
            for k in sorted(top_k)
        ]
        found = computed(kind(top_k, ignore_zero_hits), *halves(*pair))
        assert found == (None if expected[0] is None else pytest.approx(expected, abs=1e-12))


@given(users(), st.one_of(st.none(), st.integers(1, 12)), st.booleans())
def test_the_mean_reciprocal_rank_equals_its_definition(pair, top_k, ignore_zero_hits):
    scores, relevance = (tensor.tolist() for tensor in pair)
    expected = oracle.mean_over_users(
        lambda ranked: oracle.reciprocal_rank(ranked, top_k), scores, relevance, ignore_zero_hits
    )
    found = computed(MeanReciprocalRank(top_k, ignore_zero_hits), *halves(*pair))
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-12))


@given(
    users(),
    top_ks,
    st.booleans(),
    st.sampled_from([0, 0.5, 1.0, 2]),
    st.sampled_from(["exp_rank", "linear_rank"]),
)
def test_ndcg_equals_its_definition(pair, top_k, ignore_zero_hits, threshold, gain):
    scores, relevance = (tensor.tolist() for tensor in pair)
    expected = [
        oracle.mean_over_users(
            lambda ranked, k=k: oracle.ndcg(ranked, k, threshold, gain),
            scores,
            [[max(r, 0.0) for r in row] for row in relevance],
            ignore_zero_hits,
            threshold,
        )
        for k in sorted(top_k)
    ]
    found = computed(NDCG(top_k, ignore_zero_hits, threshold, gain), *halves(*pair))
    assert found == (None if expected[0] is None else pytest.approx(expected, abs=1e-12))


@given(st.integers(0, 10**6), st.integers(2, 50), st.integers(1, 60))
def test_ndcg_without_ties_equals_that_of_scikit_learn(seed, num_items, k):
    generator = np.random.default_rng(seed)
    scores = generator.permuted(np.tile(np.arange(num_items), (5, 1)), axis=1) / 3
    relevance = generator.integers(1, 6, (5, num_items)).astype(float)
    pair = torch.from_numpy(scores), torch.from_numpy(relevance)
    for gain, gains in {"exp_rank": 2**relevance - 1, "linear_rank": relevance}.items():
        expected = sklearn.metrics.ndcg_score(gains, scores, k=k, ignore_ties=True)
        found = computed(NDCG([k], gain_function=gain), pair)
        assert found == pytest.approx([expected], abs=1e-12)


@given(st.integers(0, 10**6))
def test_a_permutation_of_items_changes_nothing(seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(4, (5, 30), generator=generator).float()
    relevance = torch.randint(3, (5, 30), generator=generator)
    order = torch.randperm(30, generator=generator)
    for make in (HitRate, NDCG, PrecisionAtK, RecallAtK):
        a = computed(make([1, 3, 10]), (scores, relevance))
        b = computed(make([1, 3, 10]), (scores[:, order], relevance[:, order]))
        assert a == pytest.approx(b)


def test_a_model_that_cannot_distinguish_items_scores_0_at_1():
    """Also if the relevant item comes first, as in lists of one positive and sampled negatives."""
    pair = torch.zeros(4, 100), torch.eye(100)[torch.zeros(4, dtype=torch.long)]
    assert computed(HitRate([1, 99, 100]), pair) == [0.0, 0.0, 1.0]
    assert computed(NDCG([1, 99]), pair) == [0.0, 0.0]
    assert computed(RecallAtK([1, 99]), pair) == [0.0, 0.0]
    assert computed(PrecisionAtK([1, 99]), pair) == [0.0, 0.0]
    assert computed(MeanReciprocalRank(), pair) == pytest.approx(0.01)


def test_a_k_above_the_number_of_items_counts_all_of_them():
    pair = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[0, 0, 1]])
    assert computed(HitRate([1, 50]), pair) == [0.0, 1.0]
    assert computed(RecallAtK([1, 50]), pair) == [0.0, 1.0]
    assert computed(PrecisionAtK([1, 50]), pair) == [0.0, 1 / 50]
    assert computed(NDCG([1, 50]), pair) == [0.0, pytest.approx(0.5)]


def test_padding_changes_only_nothing():
    scores, relevance = torch.tensor([[0.3, 0.9, 0.5]]), torch.tensor([[1.0, 0.0, 2.0]])
    padded = (
        torch.cat([scores, torch.full((1, 4), -torch.inf)], dim=1),
        torch.cat([relevance, torch.zeros(1, 4)], dim=1),
    )
    for make in (HitRate, NDCG, PrecisionAtK, RecallAtK):
        assert computed(make([1, 2, 9]), (scores, relevance)) == computed(make([1, 2, 9]), padded)
    plain, with_padding = (
        computed(MeanReciprocalRank(), pair) for pair in ((scores, relevance), padded)
    )
    assert plain == with_padding == 0.5


def test_batches_may_have_different_numbers_of_items():
    wide = torch.tensor([[0.1, 0.2, 0.3, 0.4]]), torch.tensor([[0, 0, 1, 0]])
    narrow = torch.tensor([[0.9, 0.1]]), torch.tensor([[1, 0]])
    assert computed(HitRate([1, 2]), wide, narrow, wide) == [1 / 3, 1.0]


def test_large_relevances_do_not_overflow():
    pair = torch.tensor([[1.0, 2.0]]), torch.tensor([[5000.0, 4999.0]])
    # Without the factor 2 ** 4999: gains 1, 2; 1 + 2 / log2(3), divided by 2 + 1 / log2(3).
    expected = (1 + 2 / np.log2(3)) / (2 + 1 / np.log2(3))
    assert computed(NDCG([2]), pair) == [pytest.approx(expected)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_all_dtypes_of_scores_and_relevance(dtype):
    scores = torch.tensor([[3, 1, 2], [1, 2, 3]]).to(dtype)
    for kind in (torch.bool, torch.int8, torch.int64, torch.float16, torch.float64):
        relevance = torch.tensor([[0, 1, 0], [0, 1, 1]]).to(kind)
        assert computed(HitRate([1, 3]), (scores, relevance)) == [0.5, 1.0]
        assert computed(RecallAtK(2), (scores, relevance)) == [0.5]
        assert computed(NDCG([1]), (scores, relevance)) == [0.5]


def test_many_items_in_half_precision_are_counted_exactly():
    scores = torch.zeros(1, 5000, dtype=torch.float16)
    relevance = torch.zeros(1, 5000)
    relevance[0, 7] = 1
    assert computed(MeanReciprocalRank(), (scores, relevance)) == pytest.approx(1 / 5000)


def test_metrics_of_one_engine_sort_once_and_have_the_values_that_they_have_alone():
    generator = torch.Generator().manual_seed(3)
    batches = [
        (torch.randn(7, 20, generator=generator), torch.randint(3, (7, 20), generator=generator))
        for _ in range(5)
    ]
    makes = {
        "hit": lambda: HitRate([1, 5]),
        "mrr": lambda: MeanReciprocalRank(),
        "recall": lambda: RecallAtK([3, 15]),
        "precision": lambda: PrecisionAtK([2]),
        "ndcg": lambda: NDCG([1, 4]),
        "linear": lambda: NDCG([4], gain_function="linear_rank"),
    }
    engine = Engine(lambda engine, batch: batch)
    metrics = {name: make() for name, make in makes.items()}
    for name, metric in metrics.items():
        metric.attach(engine, name)
    found = engine.run(batches).metrics
    assert len({id(metric._statistics_in_use()[0]) for metric in metrics.values()}) == 1
    for name, make in makes.items():
        assert found[name] == pytest.approx(computed(make(), *batches)), name
    other = NDCG([1, 4])
    other.load_state_dict(metrics["ndcg"].state_dict())
    assert other.compute() == pytest.approx(found["ndcg"])
    assert "rankings" in str(engine.describe())


def test_a_state_of_other_arguments_is_refused():
    metric = NDCG([1, 4])
    metric.update((torch.rand(2, 5), torch.ones(2, 5)))
    for other in (NDCG([1, 5]), NDCG([1, 4], gain_function="linear_rank"), HitRate([1, 4])):
        with pytest.raises(ValueError, match=r"state_dict (should have the key|does not fit)"):
            other.load_state_dict(metric.state_dict())
    with pytest.raises(ValueError, match="does not fit"):
        Accuracy().load_state_dict(metric.state_dict())


def test_a_computed_list_may_be_changed_by_its_owner():
    metric = HitRate([1, 2])
    metric.update((torch.tensor([[0.1, 0.2]]), torch.tensor([[1, 0]])))
    metric.compute()[1] = -7
    assert metric.compute() == [0.0, 1.0]


@pytest.mark.parametrize("make", [HitRate, NDCG, RecallAtK, PrecisionAtK])
def test_top_k_is_checked(make):
    with pytest.raises(ValueError, match="top_k must have at least one positive value"):
        make([])
    for wrong in ([0], [2, -1], 0, [1.5], [True], ["a"]):
        with pytest.raises(ValueError, match="top_k must be list of positive integers only"):
            make(wrong)
    for wrong in ("ab", None, 1.5):
        with pytest.raises(ValueError, match=r"top_k must be either int or a list\[int\], but"):
            make(wrong)
    assert make([4, 1]).top_k == [1, 4]
    assert make(3).top_k == [3]


def test_arguments_are_checked():
    for wrong in (0, -1, True):
        with pytest.raises(ValueError, match="top_k must be list of positive integers only"):
            MeanReciprocalRank(wrong)
    with pytest.raises(ValueError, match="a positive integer or None, but given 'a'"):
        MeanReciprocalRank("a")
    with pytest.raises(ValueError, match="gain_function must be either 'exp_rank' or .* given 'x'"):
        NDCG([1], gain_function="x")
    for wrong in (-1, "a", float("nan")):
        with pytest.raises(ValueError, match=f"relevance_threshold should be .* given {wrong!r}"):
            NDCG([1], relevance_threshold=wrong)


@pytest.mark.parametrize("make", [HitRate, NDCG, RecallAtK, PrecisionAtK])
def test_wrong_outputs_are_refused_and_leave_the_metric_unchanged(make):
    good = torch.tensor([[0.1, 0.2, 0.3]]), torch.tensor([[0.0, 1.0, 0.0]])
    nan, inf = float("nan"), float("inf")
    metric = make([2])
    metric.update(good)
    before = metric.compute()
    for output, words in {
        (good[0], torch.ones(1, 2)): r"must be in the same shape, .* given \(1, 3\) and \(1, 2\)",
        (good[0][0], good[1][0]): r"must be in the same shape, .* given \(3,\) and \(3,\)",
        (torch.ones(1, 2, 2), torch.ones(1, 2, 2)): "must be in the same shape",
        (torch.tensor([[nan, 0, 1]]), good[1]): "y_pred should be scores, .* given nan",
        (torch.tensor([[inf, 0, 1]]).half(), good[1]): "y_pred should be scores, .* given inf",
        (torch.tensor([[nan, 0, 1]]).bfloat16(), good[1]): "y_pred should be scores, .* given nan",
        (good[0], torch.tensor([[nan, 0, 1]])): "y should be the relevance of items, .* given nan",
        (good[0], torch.tensor([[0, -inf, 1]]).bfloat16()): "y should be .* given -inf",
    }.items():
        with pytest.raises(ValueError, match=words):
            metric.update(output)
        assert metric.compute() == before
    for output, name in (
        ((good[0] * 1j, good[1]), "y_pred"),
        ((good[0], good[1] * 1j), "y"),
    ):
        with pytest.raises(TypeError, match=f"{name} should be of real numbers, but given"):
            metric.update(output)
    assert metric.compute() == before


def test_wrong_values_on_accelerators_are_reported_by_compute():
    metric = HitRate(1)
    metric.update((torch.ones(1, 3), torch.ones(1, 3)))
    metric._own[0].num_invalid = torch.tensor(2)  # what an accelerator counts
    with pytest.raises(ValueError, match="2 of those given are NaN or infinite"):
        metric.compute()


@pytest.mark.parametrize("make", [HitRate, NDCG, RecallAtK, PrecisionAtK, MeanReciprocalRank])
def test_users_without_a_relevant_item(make):
    metric = make(1)
    metric.update((torch.rand(2, 5), torch.zeros(2, 5)))
    with pytest.raises(NotComputableError, match="must have at least one example with a relevant"):
        metric.compute()
    counting = make(1, ignore_zero_hits=False)
    counting.update((torch.rand(2, 5), torch.zeros(2, 5)))
    assert counting.compute() in (0.0, [0.0])
    counting.reset()
    counting.update((torch.rand(2, 0), torch.zeros(2, 0)))
    assert counting.compute() in (0.0, [0.0])
