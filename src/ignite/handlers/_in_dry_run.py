"""What a checkpoint handler does in a dry run: it saves elsewhere, and reads back what it has saved."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from ignite import storage
from ignite.handlers._loading import load_objects
from ignite.handlers._rehearsal import check_same
from ignite.handlers._saving import BaseSaveHandler, remove_each
from ignite.handlers._states import LEDGER, states_of

if TYPE_CHECKING:
    from ignite.handlers.checkpoint import Checkpoint

__all__ = ["saved_elsewhere"]


@contextmanager
def saved_elsewhere(checkpoint: Checkpoint, folder: Path) -> Iterator[Callable[[], None]]:
    """Until the end of the block, a checkpoint is saved into ``folder``; yields what reads it back.

    Save handlers of the user's own save where they always do; what they have saved is removed, if they can.
    """
    handler = checkpoint.save_handler
    elsewhere = getattr(type(handler), "dry_run_in", None)
    checkpoint.reset()  # what is tracked must not keep anything from being saved
    with nullcontext() if elsewhere is None else elsewhere(handler, folder):
        try:
            yield functools.partial(_read_back, checkpoint)
        finally:
            if elsewhere is None and isinstance(handler, BaseSaveHandler):
                remove_each(handler, [item.filename for item in checkpoint._saved])


def _read_back(checkpoint: Checkpoint) -> None:
    checkpoint.wait()
    path = checkpoint.last_checkpoint
    if not isinstance(path, Path) or not path.exists():
        return
    saved = storage.load(path).state
    load_objects(checkpoint.to_save, saved)
    states = {name: state for name, state in states_of(checkpoint.to_save, 0).items() if name != LEDGER}
    is_alone = len(states) == 1 and not checkpoint.include_self
    check_same(states, {name: saved if is_alone else saved[name] for name in states})
