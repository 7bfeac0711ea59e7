import gc

import pytest

from ignite.handlers._checkpoints.run_checkpoint import raise_together
from support import checkpoint_processes, harness


def fail():
    raise OSError("no space left")


def test_in_one_process_it_is_a_call():
    assert raise_together(lambda: 5) == 5
    gc.collect()
    with pytest.raises(OSError, match="no space left"):
        raise_together(fail)


def test_all_processes_raise_what_one_raises_and_say_where():
    own, others = (
        "OSError: no space left",
        "CheckpointError: Cannot save the checkpoint: rank 1 raised",
    )
    first, second = harness.run(checkpoint_processes.second_fails)
    assert first == f"{others} {own}"
    assert second == own
