"""Tools that do not depend on any other room of the library."""

import sys

from ignite._core import installation

installation.check_package(sys.modules.get("ignite"))
