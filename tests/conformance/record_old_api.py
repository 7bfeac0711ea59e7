"""Records names and signatures of earlier releases of pytorch-ignite that 0.5.5 lacks.

python tests/conformance/record_old_api.py FOLDER

FOLDER has a folder for each release, filled by ``pip install --no-deps --target FOLDER/0.3.0
pytorch-ignite==0.3.0``. Facts only, as in ``record_api.py``. A row is ``[path, fact, releases]``: the
parameters of a callable, "value", "property", the path of a name that is defined elsewhere, or "module".
"""

import collections
import json
import os
import subprocess
import sys
import types
import warnings
from pathlib import Path

RECORD = Path(__file__).with_name("api_before_0.5.5.json")


def torch_of_then():
    """Adds what old releases import, and Python and torch no longer have."""
    six = types.ModuleType("torch._six")
    six.string_classes, six.int_classes, six.inf = (str, bytes), int, float("inf")
    six.container_abcs = collections.abc
    sys.modules["torch._six"] = six
    for name in ("Mapping", "Sequence", "Iterable", "Hashable", "Callable"):
        setattr(collections, name, getattr(collections.abc, name))


def flat(modules):
    """Facts by path."""
    found = {}
    for module, names in modules.items():
        found[module] = "module"
        for name, fact in names.items():
            members = fact if isinstance(fact, dict) else {"()": fact}
            if isinstance(fact, dict) and "()" not in fact:
                found[f"{module}.{name}"] = "value"
            for member, one in members.items():
                path = f"{module}.{name}" if member == "()" else f"{module}.{name}.{member}"
                found[path] = one[0] if isinstance(one, list) else one
    return found


def record(folder):
    import record_api

    today = flat(json.loads(record_api.RECORD.read_text())["modules"])
    rows = {}
    for release in sorted(
        os.listdir(folder), key=lambda text: list(map(numbered, text.split(".")))
    ):
        run = [sys.executable, __file__, "--one"]
        env = {**os.environ, "PYTHONPATH": str(Path(folder, release).resolve())}
        answer = subprocess.run(run, env=env, check=True, capture_output=True, text=True).stdout
        for path, fact in flat(json.loads(answer.splitlines()[-1])).items():
            if fact is not None and today.get(path) != fact:
                rows.setdefault((path, fact), []).append(release)
    return [[*key, releases] for key, releases in sorted(rows.items())]


def numbered(part):
    return int(part) if part.isdecimal() else -1


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1] == "--one":
        torch_of_then()
        import record_api

        sys.stdout.write(json.dumps(record_api.record()["modules"]))
    else:
        found = record(sys.argv[1])
        lines = []
        for path, fact, releases in found:
            first_and_last = (
                releases[0] if len(releases) == 1 else f"{releases[0]} to {releases[-1]}"
            )
            lines.append(json.dumps([path, fact, first_and_last]))
        RECORD.write_text("[\n" + ",\n".join(lines) + "\n]\n")
