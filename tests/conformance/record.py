"""Records the results of the scenarios with the library that is imported as ``ignite``, usually pytorch-ignite.

python tests/conformance/record.py      with the Python of an environment that has pytorch-ignite
"""

import json
import logging
from pathlib import Path


def main():
    from scenarios import SCENARIOS

    import ignite

    logging.disable(logging.CRITICAL)
    lines = [
        f"{json.dumps(name)}: {json.dumps(scenario())}" for name, scenario in SCENARIOS.items()
    ]
    library = json.dumps(f"pytorch-ignite {ignite.__version__}")
    # A line for each scenario, so that the diff of a new recording can be read.
    text = "\n".join([f'{{"library": {library}, "traces": {{', ",\n".join(lines), "}}", ""])
    json.loads(text)
    Path(__file__).with_name("traces.json").write_text(text)


if __name__ == "__main__":
    main()
