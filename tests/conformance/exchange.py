"""Saves the states of all cases to files, or loads those of another library, with the library imported as ``ignite``.

python exchange.py save FOLDER      writes a file for each case
python exchange.py load FOLDER [TRUSTED...]      prints what each case gives from the state in its file, as JSON;
    the files of the trusted cases may hold any object
"""

import json
import logging
import re
import sys
import warnings
from pathlib import Path


def save(folder):
    """Returns what the cases give that go on without being saved."""
    import torch

    from conformance.stateful import CASES, as_json

    results = {}
    for name, case in CASES.items():
        try:
            state, rest = case(None)
            torch.save(state, Path(folder) / file_of(name))
            results[name] = as_json(rest)
        except Exception as error:
            results[name] = f"{type(error).__name__}: {error}"
    return results


def load(folder, *trusted):
    import torch

    from conformance.stateful import CASES, as_json

    results = {}
    for name, case in CASES.items():
        path = Path(folder) / file_of(name)
        if not path.exists():
            continue
        try:
            state = torch.load(path, weights_only=name not in trusted)
            results[name] = as_json(case(state)[1])
        except Exception as error:
            results[name] = f"{type(error).__name__}: {error}"
    return results


def file_of(name):
    return re.sub(r"\W+", "_", name) + ".pt"


def main(what, folder, *trusted):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sys.stdout.write(json.dumps({"save": save, "load": load}[what](folder, *trusted)))


if __name__ == "__main__":
    main(*sys.argv[1:])
