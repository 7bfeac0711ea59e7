"""Puts the functions that tests start processes with on the path, for this process and for those."""

import os
import sys
from pathlib import Path

FOLDER = str(Path(__file__).parent)
if FOLDER not in sys.path:
    sys.path.insert(0, FOLDER)
paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
if FOLDER not in paths:
    os.environ["PYTHONPATH"] = os.pathsep.join([FOLDER, *filter(None, paths)])
