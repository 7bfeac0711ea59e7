"""Records states that the library imported as ``ignite`` saves, and the results of continuing from them.

python tests/conformance/record_states.py      with the Python of an environment that has pytorch-ignite
"""

import json
import logging
import sys
import warnings
from pathlib import Path


def main():
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    import ignite

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    from conformance.stateful import CASES, as_json, from_json

    recorded, errors = {}, {}
    for name, case in CASES.items():
        try:
            saved, rest = case(None)
        except Exception as error:  # younger than this version, or than what this version asks for
            errors[name] = f"{type(error).__name__}: {error}"
            continue
        state, rest = as_json(saved), as_json(rest)
        if name == "DeterministicEngine":
            continue  # the state of random generators takes 30 kB; test_exchange.py has it
        recorded[name] = {"state": state, "rest": rest}
        try:
            gone_on = json.dumps(as_json(case(from_json(json.loads(json.dumps(state))))[1]))
        except Exception as error:
            gone_on = f"{type(error).__name__}: {error}"
        if gone_on != json.dumps(rest):  # this version cannot go on from its own state
            recorded[name]["its own rest"] = gone_on
    lines = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(value)}" for name, value in recorded.items()
    )
    path = Path(__file__).with_name("states") / f"{ignite.__version__}.json"
    path.write_text(f"{{\n{lines}\n}}\n")
    sys.stdout.write(
        f"{path.name}: {len(recorded)} states; not recorded: {json.dumps(errors, indent=1)}\n"
    )


if __name__ == "__main__":
    main()
