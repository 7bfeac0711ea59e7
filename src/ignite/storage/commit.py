"""How a file comes to be: whole or not at all, whenever the process or the machine stops."""

import errno
import io
import os
import shutil
import stat
import zlib
from collections.abc import Buffer
from contextlib import suppress
from pathlib import Path
from typing import Any

from ignite.storage._types import Check, Write, Written
from ignite.storage.naming import check_name, is_temporary, owner_is_dead, temporary_name
