"""Every public module, name and signature of Ignite 0.5.5, recorded by ``record_api.py``, exists here."""

import importlib
import inspect
import json
import warnings
from pathlib import Path

import pytest

API = json.loads(Path(__file__).with_name("api_0.5.5.json").read_text())["modules"]

FLAG = "tells whether torch is new enough for a feature that every supported torch has"
DEVIATIONS = {
    "ignite.handlers.checkpoint.HAVE_ZERO": FLAG,
    "ignite.metrics.js_divergence.TORCH_VERSION_GE_160": FLAG,
    "ignite.metrics.kl_divergence.TORCH_VERSION_GE_160": FLAG,
}
"""Intended differences with their reasons. A line that has ceased to be needed fails."""


def parse(text):
    """Turns recorded parameters such as ``self, *, every=1`` into parameters."""
    namespace = {}
    exec(f"def recorded({text}): ...", namespace)
    return list(inspect.signature(namespace["recorded"]).parameters.values())


def mismatch(recorded, ours):
    """Why a call that suits the ``recorded`` parameters may not suit ``ours``; None if every one does."""
    kinds = inspect.Parameter
    takes_any = {p.kind for p in ours}
    by_position = [
        p for p in ours if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    ]
    by_name = {
        p.name: p for p in ours if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
    }
    for index, parameter in enumerate(recorded):
        if parameter.kind in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD):
            if parameter.kind not in takes_any:
                return f"takes no *{parameter.name}"
            continue
        if parameter.kind is kinds.POSITIONAL_OR_KEYWORD:
            if index < len(by_position):
                if by_position[index].name != parameter.name and parameter.name != "self":
                    return f"has {by_position[index].name} in place of {parameter.name}"
            elif kinds.VAR_POSITIONAL not in takes_any:
                return f"does not take {parameter.name} by position"
        if parameter.name not in by_name and kinds.VAR_KEYWORD not in takes_any:
            return f"does not take {parameter.name} by name"
        if (
            parameter.default is not kinds.empty
            and parameter.name in by_name
            and by_name[parameter.name].default is kinds.empty
        ):
            return f"requires {parameter.name}"
    known = {p.name for p in recorded}
    required = [n for n, p in by_name.items() if p.default is kinds.empty and n not in known]
    return f"requires {', '.join(required)}" if required else None


def check_callable(path, recorded, thing):
    if not callable(thing):
        yield path, f"is not callable: {type(thing).__name__}"
        return
    if recorded[0] is None:
        return
    try:
        ours = list(inspect.signature(thing).parameters.values())
    except (TypeError, ValueError):
        return
    if (reason := mismatch(parse(recorded[0]), ours)) is not None:
        yield path, reason


def check_name(path, recorded, thing):
    if isinstance(recorded, list):
        yield from check_callable(path, recorded, thing)
    elif isinstance(recorded, dict):
        for member, fact in recorded.items():
            if member == "()":
                yield from check_callable(path, fact, thing)
            elif not hasattr(thing, member) and fact != "value":
                yield f"{path}.{member}", "is missing"
            elif isinstance(fact, list):
                yield from check_callable(f"{path}.{member}", fact, getattr(thing, member))
    elif recorded != "value":
        home, _, name = recorded.rpartition(".")
        try:
            original = getattr(importlib.import_module(home), name)
        except (ImportError, AttributeError):
            return  # reported where it belongs
        if original is not thing:
            yield path, f"is not {recorded}"


def differences():
    for module, names in API.items():
        try:
            found = importlib.import_module(module)
        except ImportError:
            yield module, "is missing"
            continue
        for name, recorded in names.items():
            path = f"{module}.{name}"
            try:
                thing = getattr(found, name)
            except AttributeError:
                yield path, "is missing"
                continue
            yield from check_name(path, recorded, thing)


@pytest.fixture(scope="module")
def found():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(differences())


def test_every_name_of_ignite_is_here_and_takes_the_same_arguments(found):
    assert {path: reason for path, reason in found.items() if path not in DEVIATIONS} == {}


def test_every_exception_is_still_needed(found):
    assert [path for path in DEVIATIONS if path not in found] == [], "is here now: remove it"


def test_the_record_covers_ignite():
    assert len(API) > 150
    assert sum(map(len, API.values())) > 900


@pytest.mark.parametrize(
    ("recorded", "ours", "reason"),
    [
        ("a, b=1", lambda a, b=2, *, c=3: ..., None),
        ("a, *, b=1", lambda *args, **kwargs: ..., None),
        ("a, b", lambda a: ..., "does not take b by position"),
        ("a, b", lambda b, a: ..., "has b in place of a"),
        ("a, b", lambda a, *, b: ..., "does not take b by position"),
        ("a, *, b", lambda a: ..., "does not take b by name"),
        ("a", lambda a, b: ..., "requires b"),
        ("a", lambda a, *, b: ..., "requires b"),
        ("a, b=1", lambda a, b: ..., "requires b"),
        ("a, **others", lambda a: ..., "takes no *others"),
    ],
)
def test_the_check_of_signatures_finds_planted_faults(recorded, ours, reason):
    assert mismatch(parse(recorded), list(inspect.signature(ours).parameters.values())) == reason


def test_the_check_of_names_finds_planted_faults():
    class Planted:
        def wait(self):
            pass

        speed = 3

    recorded = {
        "()": [""],
        "wait": ["self, seconds"],
        "speed": ["self"],
        "gone": ["self"],
        "x": "value",
    }
    assert dict(check_name("Planted", recorded, Planted)) == {
        "Planted.wait": "does not take seconds by position",
        "Planted.speed": "is not callable: int",
        "Planted.gone": "is missing",
    }
    assert dict(check_name("m.name", "ignite.engine.engine.Engine", Planted)) == {
        "m.name": "is not ignite.engine.engine.Engine"
    }
