import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignite.handlers._patience import Patience

NAN, INF = math.nan, math.inf
SCORES = st.lists(
    st.one_of(st.sampled_from([0.0, 0.1, 0.2, 0.3, -0.1, -1.0, INF, -INF]), st.floats(-2, 2)),
    max_size=12,
)


def verdicts(scores, limit, **options):
    patience = Patience(limit, **options)
    return [patience.observe(score) for score in scores]


def slow_oracle(scores, limit, mode, threshold, threshold_mode, cumulative):
    """The rule in words: from the reference, a score is an improvement if the gain is more than what is required."""
    sign = 1 if mode == "max" else -1
    reference, waited, found = None, 0, []
    for score in scores:
        own = sign * score  # from here on, higher is better
        if reference is None or math.isinf(reference):
            required = reference
        elif threshold_mode == "abs":
            required = reference + threshold
        else:
            required = reference * (1 + threshold if reference >= 0 else 1 - threshold)
        if reference is None or own > required:
            reference, waited = own, 0
        else:
            waited += 1
            reference = reference if cumulative else max(reference, own)
        found.append(waited >= limit)
    return found


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["abs", "rel"])
@pytest.mark.parametrize("cumulative", [False, True])
@given(scores=SCORES, limit=st.integers(1, 4), threshold=st.sampled_from([0.0, 0.1, 0.5]))
def test_patience_runs_out_by_its_definition(
    mode, threshold_mode, cumulative, scores, limit, threshold
):
    expected = slow_oracle(scores, limit, mode, threshold, threshold_mode, cumulative)
    options = {
        "mode": mode,
        "threshold": threshold,
        "threshold_mode": threshold_mode,
        "cumulative": cumulative,
    }
    assert verdicts(scores, limit, **options) == expected


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.5, NAN, 0.4, 0.3], [False, False, True, True]),
        ([NAN, NAN], [False, True]),
        ([NAN, 0.5, NAN, 0.6, 0.5, 0.5], [False, False, False, False, False, True]),
        ([-INF, 0.1, 0.2, NAN, 0.2], [False, False, False, False, True]),
    ],
)
def test_nan_is_never_an_improvement_and_never_the_reference(scores, expected):
    assert verdicts(scores, 2) == expected


def test_a_worse_negative_score_is_no_improvement_by_a_fraction():
    assert verdicts([-1.0, -1.05, -1.1], 1, threshold=0.1, threshold_mode="rel") == [
        False,
        True,
        True,
    ]
    assert (
        verdicts([-1.0, -0.95, -0.85], 2, threshold=0.1, threshold_mode="rel", cumulative=True)
        == [False] * 3
    )


def test_whatever_is_finite_improves_on_minus_infinity():
    for threshold_mode in ("abs", "rel"):
        assert verdicts([-INF, -5.0, -5.0], 1, threshold=1.0, threshold_mode=threshold_mode) == [
            False,
            False,
            True,
        ]


def test_small_steps_add_up_if_they_are_cumulative():
    scores = [0.0, 0.3, 0.6, 0.9]
    assert verdicts(scores, 2, threshold=0.5) == [False, False, True, True]
    assert verdicts(scores, 2, threshold=0.5, cumulative=True) == [False] * 4


def test_a_score_exactly_at_the_bar_is_no_improvement():
    assert verdicts([0.3, 0.3 + 0.1], 1, threshold=0.1) == [False, True]


def test_after_a_reset_the_next_score_is_the_first():
    patience = Patience(1)
    patience.observe(1.0)
    patience.reset()
    assert patience.best is None
    assert patience.observe(0.5) is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "patience should be positive integer, but given 0"),
        (
            {"limit": 1, "threshold": -0.1},
            "threshold should not be a negative number, but given -0.1",
        ),
        (
            {"limit": 1, "threshold": NAN},
            "threshold should not be a negative number, but given nan",
        ),
        (
            {"limit": 1, "threshold_mode": "x"},
            "threshold_mode should be either 'abs' or 'rel', but given 'x'",
        ),
        ({"limit": 1, "mode": "x"}, "mode should be either 'min' or 'max', but given 'x'"),
    ],
)
def test_what_is_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Patience(**options)
