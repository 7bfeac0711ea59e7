"""Which objects are freed by reference counts alone."""

import contextlib
import gc
import weakref


@contextlib.contextmanager
def no_garbage_collection():
    """Objects in reference cycles stay alive within the block."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Batch:
    """An object that can be referred to weakly."""


def watched_batches(number, alive):
    """Yields batches, and adds to ``alive`` whether the previous one still exists."""
    last = None
    for _ in range(number):
        alive.append(last is not None and last() is not None)
        batch = Batch()
        last = weakref.ref(batch)
        yield batch
        del batch
