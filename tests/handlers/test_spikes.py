import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import median_abs_deviation

from ignite.handlers.spike_guard import SpikeDetector


def detector_of(losses, **options):
    detector = SpikeDetector(**{"min_samples": 2, **options})
    for loss in losses:
        detector.accept(loss)
    return detector


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("num_known", [0, 50])
def test_what_is_not_finite_is_always_a_spike(loss, num_known):
    detector = detector_of([1.0] * num_known, threshold=math.inf)
    assert detector.is_spike(loss)
    assert detector.score(loss) == math.inf
    assert not detector.is_spike(1e300)


@given(st.lists(st.floats(0.5, 2), min_size=5, max_size=40), st.floats(-10, 10))
def test_the_score_is_the_robust_z_score(losses, loss):
    losses = [*losses, 0.5, 1.0, 2.0]
    spread = median_abs_deviation(losses, scale="normal")
    center = sorted(losses)[len(losses) // 2] if len(losses) % 2 else None
    center = center or sum(sorted(losses)[len(losses) // 2 - 1 : len(losses) // 2 + 1]) / 2
    if spread < 0.01 * center:
        return
    assert detector_of(losses).score(loss) == pytest.approx(
        (loss - center) / spread, rel=1e-4, abs=1e-9
    )


def test_spikes_stand_out_of_noise_and_noise_does_not():
    generator = random.Random(0)
    detector, num_alarms = SpikeDetector(), 0
    for i in range(5000):
        loss = 3 * math.exp(-i / 500) + 1 + generator.gauss(0, 0.1)
        num_alarms += detector.is_spike(loss)
        detector.accept(loss)
    assert num_alarms == 0
    assert detector.is_spike(1 + 9 * 0.1 + 0.2)
    assert not detector.is_spike(1 + 6 * 0.1)


def test_a_loss_below_the_others_is_no_spike():
    assert not detector_of([1.0, 1.1, 0.9] * 10).is_spike(-1e9)


def test_before_there_are_enough_to_compare_with_whatever_is_finite_is_good():
    detector = SpikeDetector(min_samples=20)
    for _ in range(19):
        detector.accept(1.0)
    assert not detector.is_spike(1e9)
    detector.accept(1.0)
    assert detector.is_spike(1e9)


def test_among_equal_losses_a_deviation_of_a_few_percent_is_none():
    detector = detector_of([2.0] * 50)
    assert not detector.is_spike(2.15)
    assert detector.is_spike(2.17)


def test_where_most_are_zero_the_mean_distance_is_the_scale():
    losses = [0.0] * 45 + [1.0] * 5  # mean distance 0.1
    assert detector_of(losses).score(1.0) == pytest.approx(1 / (1.2533 * 0.1))


def test_a_window_of_zeros_has_no_scale():
    assert not detector_of([0.0] * 50).is_spike(1e9)


def test_only_what_is_accepted_counts_and_old_losses_leave():
    detector = detector_of([1.0, 1.1, 0.9], window=3)
    assert [detector.is_spike(100.0) for _ in range(10)] == [True] * 10
    for _ in range(3):
        detector.accept(100.0)
    assert not detector.is_spike(100.0)
    assert detector.center == 100.0


def test_the_window_is_saved_and_loaded():
    detector = detector_of([1.0, 2, 3.0])
    other = SpikeDetector(window=2, min_samples=2)
    other.load_state_dict(detector.state_dict())
    assert other.state_dict() == {"losses": [2.0, 3.0]}


@pytest.mark.parametrize("losses", [[1.0, math.nan], ["1"], "12", None])
def test_a_window_that_is_impossible_changes_nothing(losses):
    detector = detector_of([1.0, 2.0])
    with pytest.raises(ValueError, match="losses should be a list of finite numbers, but given"):
        detector.load_state_dict({"losses": losses})
    assert detector.state_dict() == {"losses": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 1}, "window should be at least 2, but given 1"),
        ({"threshold": 0}, "threshold should be greater than 0, but given 0"),
        ({"threshold": math.nan}, "threshold should be greater than 0, but given nan"),
        (
            {"window": 10, "min_samples": 11},
            "min_samples should be from 2 to window=10, but given 11",
        ),
    ],
)
def test_what_is_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SpikeDetector(**options)


def test_an_empty_window_has_no_center():
    assert math.isnan(SpikeDetector().center)
