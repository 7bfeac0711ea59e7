"""Public names and signatures against tests/public_api.json. After an intended change: scripts/record-api."""

import importlib
import inspect
import json
import pkgutil
from pathlib import Path

import ignite

RECORD = Path(__file__).with_name("public_api.json")


def public_modules():
    found = [module.name for module in pkgutil.walk_packages(ignite.__path__, "ignite.")]
    return sorted(["ignite._utils", *(name for name in found if "._" not in name)])


def signature_of(thing):
    try:
        signature = inspect.signature(thing)
    except ValueError:
        return "(...)"
    parameters = []
    for parameter in signature.parameters.values():
        default = parameter.default
        if callable(default) and default is not inspect.Parameter.empty:
            parameter = parameter.replace(
                default=f"<{getattr(default, '__name__', type(default).__name__)}>"
            )
        elif type(default).__module__.startswith("ignite"):
            parameter = parameter.replace(default=f"<{type(default).__name__}>")
        parameters.append(parameter.replace(annotation=inspect.Parameter.empty))
    return str(inspect.Signature(parameters))


def describe(thing):
    if not inspect.isclass(thing):
        return signature_of(thing) if callable(thing) else type(thing).__name__
    members = {"__init__": signature_of(thing)}
    # What comes from a private base is as public as the rest.
    own = [
        base
        for base in thing.__mro__
        if base is thing or ("._" in base.__module__ and base.__module__[:6] == "ignite")
    ]
    for name, member in {n: m for base in reversed(own) for n, m in vars(base).items()}.items():
        if name.startswith("_"):
            continue
        function = member.__func__ if isinstance(member, staticmethod | classmethod) else member
        if isinstance(member, property):
            members[name] = "property"
        elif inspect.isfunction(function):
            members[name] = signature_of(function)
        else:
            members[name] = type(member).__name__
    return members


def public_api():
    api = {}
    for name in public_modules():
        module = importlib.import_module(name)
        api[name] = {
            public: describe(getattr(module, public)) for public in getattr(module, "__all__", [])
        }
    return api


def test_the_public_api_is_the_recorded_one():
    recorded, found = json.loads(RECORD.read_text()), json.loads(json.dumps(public_api()))
    gone = [f"{m}.{n}" for m in recorded for n in recorded[m] if n not in found.get(m, {})]
    new = [f"{m}.{n}" for m in found for n in found[m] if n not in recorded.get(m, {})]
    changed = [
        f"{m}.{n}: {recorded[m][n]} -> {found[m][n]}"
        for m in recorded
        for n in recorded[m]
        if n in found.get(m, {}) and found[m][n] != recorded[m][n]
    ]
    assert (gone, changed) == ([], []), (
        "public names have changed; if that is meant, run scripts/record-api"
    )
    assert new == [], (
        "public names are new; run scripts/record-api and commit tests/public_api.json"
    )


if __name__ == "__main__":
    RECORD.write_text(json.dumps(public_api(), indent=1, sort_keys=True) + "\n")
