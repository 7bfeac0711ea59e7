"""Records public modules, names and signatures of the library imported as ``ignite``, usually pytorch-ignite.

python tests/conformance/record_api.py      with the Python of an environment that has pytorch-ignite

Facts only: a class is the parameters of its constructor and of its own methods; a name that is defined
elsewhere is the path of that module. Defaults are recorded as numbers, strings, None and so on; any other
default is ``...``.
"""

import enum
import importlib
import inspect
import json
import pkgutil
import types
import warnings
from pathlib import Path

RECORD = Path(__file__).with_name("api_0.5.5.json")
OPERATORS = ("__call__", "__len__", "__getitem__", "__iter__", "__enter__", "__exit__", "__or__")
PLAIN = (bool, int, float, str, bytes, tuple, list, dict, types.NoneType)


def parameters_of(thing):
    """The parameters of a callable, such as ``self, engine, *, every=1``; None if they are unknown."""
    try:
        found = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return None
    parts = []
    for parameter in found:
        default = parameter.default
        if default is not parameter.empty and not isinstance(default, PLAIN):
            default = ...
        bare = parameter.replace(annotation=parameter.empty, default=default)
        parts.append(bare)
    text = str(inspect.Signature(parts))[1:-1]
    return text.replace("Ellipsis", "...")


def members_of(cls):
    found = {}
    for name, member in vars(cls).items():
        if name.startswith("_") and name not in OPERATORS:
            continue
        if isinstance(member, property):
            found[name] = "property"
        elif isinstance(member, staticmethod | classmethod | types.FunctionType):
            # As it is called on the class, so that methods begin with self.
            found[name] = [parameters_of(getattr(cls, name))]
        elif not inspect.isclass(member):
            found[name] = "value"
    return found


def describe(name, thing, module):
    """What is recorded of a name; None for a name of another library."""
    home = getattr(thing, "__module__", None)
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        is_constant = name.isupper() and isinstance(thing, PLAIN) and name != "TYPE_CHECKING"
        return "value" if is_constant else None
    if not isinstance(home, str) or home.split(".")[0] != "ignite":
        return None
    if home != module:
        return f"{home}.{thing.__qualname__}"
    if inspect.isclass(thing) and issubclass(thing, enum.Enum):
        return members_of(thing)  # nobody calls an enum to construct it
    if inspect.isclass(thing):
        return {"()": [parameters_of(thing)], **members_of(thing)}
    return [parameters_of(thing)]


def record():
    import ignite

    modules = sorted(m.name for m in pkgutil.walk_packages(ignite.__path__, "ignite."))
    api = {}
    for path in ["ignite", *modules]:
        module = importlib.import_module(path)
        declared = getattr(module, "__all__", ())
        names = {}
        for name, thing in sorted(vars(module).items()):
            if (name.startswith("_") and name not in declared) or inspect.ismodule(thing):
                continue
            if (found := describe(name, thing, path)) is not None:
                names[name] = found
        api[path] = names
    return {"library": f"pytorch-ignite {ignite.__version__}", "modules": api}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    api = record()
    # A line for each module, so that the diff of a new recording can be read.
    lines = [f"{json.dumps(path)}: {json.dumps(names)}" for path, names in api["modules"].items()]
    head = f'{{"library": {json.dumps(api["library"])}, "modules": {{'
    text = "\n".join([head, ",\n".join(lines), "}}", ""])
    assert json.loads(text) == api
    RECORD.write_text(text)
