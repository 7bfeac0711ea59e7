import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignite.handlers._profilers.reports import stats_row, summarize, write_csv

SECONDS = st.floats(0, 1e4, allow_nan=False)


@given(st.dictionaries(st.integers(0, 50), SECONDS, min_size=2))
def test_statistics_are_those_of_numpy(times):
    stats, values = summarize(times), np.array(list(times.values()))
    assert list(stats) == ["total", "min/index", "max/index", "mean", "std"]
    assert stats["total"] == pytest.approx(values.sum())
    assert stats["min/index"][0] == values.min() == times[stats["min/index"][1]]
    assert stats["max/index"][0] == values.max() == times[stats["max/index"][1]]
    assert stats["mean"] == pytest.approx(values.mean())
    assert stats["std"] == pytest.approx(values.std(ddof=1), abs=1e-6)


def test_one_time_has_only_a_total_and_without_times_the_report_says_none():
    assert dict(summarize({7: 0.5})) == {"total": 0.5}
    assert dict(summarize({})) == {"total": "not yet triggered"}


def test_rows_are_rounded_to_five_places_and_as_recorded_from_pytorch_ignite_for_few_calls():
    assert stats_row([0.123456789, 0.2]) == [0.32346, (0.12346, 0), (0.2, 1), 0.16173, 0.05412]
    assert stats_row([0.25]) == [0.25, (0.25, 0), (0.25, 0), 0.25, "None"]
    assert stats_row([]) == ["not triggered", ("None", "None"), ("None", "None"), "None", "None"]


def test_names_with_commas_survive_in_csv(tmp_path):
    path = tmp_path / "a.csv"
    write_csv(path, ["#", "f(a, b)"], [[1.0, 2.0], [3.0, 4.0]])
    with path.open() as file:
        assert list(csv.reader(file)) == [["#", "f(a, b)"], ["1.0", "2.0"], ["3.0", "4.0"]]
    assert path.read_bytes().count(b"\r") == 0
