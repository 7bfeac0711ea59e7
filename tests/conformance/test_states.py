"""States saved by Ignite, and the results of continuing from them (states/, created by record_states.py)."""

import json
import math
from pathlib import Path

import pytest

from conformance.stateful import CASES, as_json, from_json

RECORDS = {
    path.stem: json.loads(path.read_text())
    for path in sorted(Path(__file__).with_name("states").glob("*.json"))
}
RECORDED = [
    pytest.param(name, recorded, id=f"{name} of {version}")
    for version, cases in RECORDS.items()
    for name, recorded in cases.items()
]
GROUPS = {"DemographicParityDifference", "SubgroupAccuracyDifference", "SubgroupMetric"}
"""Ignite saves them as metrics of each group, here they are counted together."""
INCOMPLETE = {
    "CohenKappa": "CohenKappa starts from scratch, because Ignite saves nothing of its",
    "CohenKappa, num_classes": "CohenKappa starts from scratch, because Ignite saves nothing of its",
    "CharacterErrorRate": "CharacterErrorRate starts from scratch, because Ignite saves nothing of its",
    "MeanAveragePrecision": "MeanAveragePrecision starts from scratch, because Ignite saves nothing of its",
    "MutualInformation": "MutualInformation starts .* Ignite saves only the sum of probabilities",
}
"""Of these, Ignite saves less than it needs to continue (some versions of CohenKappa do not)."""


def is_refused_by_ignite(recorded):
    """Whether Ignite does not load what it has saved, as it is with all metrics that keep samples."""
    return "Size of y: " in recorded.get("its own rest", "")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "recorded"), RECORDED)
def test_a_state_of_ignite_is_continued_as_there(name, recorded):
    state = from_json(recorded["state"])
    if name in GROUPS:
        with pytest.raises(ValueError, match="but given one of Ignite"):
            CASES[name](state)
        return
    if name in INCOMPLETE and "_targets" not in str(state):
        with pytest.warns(RuntimeWarning, match=INCOMPLETE[name]):
            CASES[name](state)
        return
    _, rest = CASES[name](state)
    # The progress of a warm-up is not in the state of a model and an engine.
    wanted = json.loads(recorded["its own rest"]) if name == "EMAHandler" else recorded["rest"]
    assert is_like(as_json(rest), wanted)


VALUES_DIFFER = {  # and Ignite continues from them, see test_exchange.py
    "MaximumMeanDiscrepancy": "the first of its sums, which Ignite adds up, holds all",
    "InceptionScore": "the first of its sums, which Ignite adds up, holds all",
    "SSIM": "Ignite makes the kernel",
    "arithmetic": "Ignite counts a batch each time that a metric occurs in the formula",
    "Fbeta": "likewise",
    "ClassificationReport": "likewise",
    "LRScheduler, ExponentialLR": "Ignite skips the first value, with the installed torch",
    "warmup": "Ignite advances the scheduler of torch by one, here it is called once",
    "warmup of two groups": "likewise",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RECORDS["0.5.5"])
def test_our_states_hold_what_ignite_saves(name):
    recorded = RECORDS["0.5.5"][name]
    if name in GROUPS or is_refused_by_ignite(recorded):
        return
    state, _ = CASES[name](None)
    tolerance = 1e9 if name in VALUES_DIFFER else 1e-5
    assert is_in(recorded["state"], json.loads(json.dumps(as_json(state))), tolerance)


NOT_COMPARED = {"_updated", "_step_count", "_last_lr"}
"""Whether update was called on the metric itself; what Ignite does not count and so does not read."""


def is_in(wanted, found, tolerance):
    """Whether ``found`` has at least the keys of ``wanted``, and there the same kinds and values."""
    if isinstance(wanted, dict) and "dtype" in wanted and isinstance(found, dict):
        return is_like(found.get("tensor"), wanted["tensor"], tolerance)
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(
            key in found and (found[key] is None or is_in(value, found[key], tolerance))
            if key == "_kernel"
            else key in found and is_in(value, found[key], tolerance)
            for key, value in wanted.items()
            if key not in NOT_COMPARED
        )
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(
            map(is_in, wanted, found, len(wanted) * [tolerance])
        )
    return is_like(found, wanted, tolerance)


def is_like(found, wanted, tolerance=1e-5):
    """Whether numbers are close, and all else is equal. A number is like a tensor of one number."""
    if isinstance(wanted, dict) and "dtype" in wanted:
        wanted = wanted["tensor"]
    if isinstance(found, dict) and "dtype" in found:
        found = found["tensor"]
    if isinstance(wanted, dict):
        return set(found) == set(wanted) and all(is_like(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(
            is_like(*pair, tolerance) for pair in zip(found, wanted, strict=True)
        )
    if isinstance(wanted, int | float) and isinstance(found, int | float):
        both_nan = math.isnan(wanted) and math.isnan(found)
        return both_nan or math.isclose(found, wanted, rel_tol=tolerance, abs_tol=1e-6)
    return found == wanted
