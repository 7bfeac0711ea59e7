"""Runs saved in the background: the saved state is that of the moment of saving, and at most one save is pending."""

import threading
import time

import pytest
import torch

from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
from ignite.storage import reader
from support.runs import Seen, row, rows_of

NUM_NUMBERS = 100_000


def make_trainer(folder, model, **options):
    """Each step fills the model with its number."""

    def step(engine, batch):
        with torch.no_grad():
            model.weight.fill_(engine.state.iteration)
        return engine.state.iteration

    trainer = Engine(step)
    Checkpoint.of(
        trainer, folder, event=Events.ITERATION_COMPLETED, model=model, background=True, **options
    )
    return trainer


@row(16, "parameters change while they are saved in the background", small=30, full=200)
def parameters_change(count, folder):
    model = torch.nn.Linear(NUM_NUMBERS, 1, bias=False)
    trainer = make_trainer(folder, model, keep_last=count + 1)
    save, overlapping = reader.write_state, []

    def save_after_next_step(file, state, parts):
        saved, deadline = state["trainer"]["iteration"], time.monotonic() + 5
        while model.weight[0, -1].item() <= saved < count and time.monotonic() < deadline:
            time.sleep(0.0002)
        overlapping.append(model.weight[0, -1].item() > saved)
        return save(file, state, parts)

    reader.write_state = save_after_next_step
    try:
        trainer.run(range(count))
    finally:
        reader.write_state = save
    assert sum(overlapping) >= count - 1, "parameters should change during each save but the last"
    num_good = 0
    for step in range(1, count + 1):
        state = torch.load(folder / f"checkpoint_{step:08d}.pt", weights_only=True)
        num_good += (
            bool((state["model"]["weight"] == step).all()) and state["trainer"]["iteration"] == step
        )
    return Seen(num_good, count, f"{sum(overlapping)} changed during a save")


@row(18, "slow disk: one save pending, memory for one copy", small=10, full=50)
def slow_disk(count, folder):
    model = torch.nn.Linear(NUM_NUMBERS, 1, bias=False)
    trainer = make_trainer(folder, model)
    pending, most, buffers = [], [], set()
    save = reader.write_state

    def slow_save(file, state, parts):
        pending.append(threading.get_ident())
        most.append(len(pending))
        buffers.add(state["model"]["weight"].data_ptr())
        time.sleep(0.02)  # a step takes a fiftieth of it
        is_written = save(file, state, parts)
        pending.pop()
        return is_written

    reader.write_state = slow_save
    try:
        trainer.run(range(count))
    finally:
        reader.write_state = save
    num_saved = len(most)
    is_good = max(most) == 1 and len(buffers) <= 2 and num_saved >= count
    return Seen(
        num_saved if is_good else 0,
        num_saved,
        f"at most {max(most)} pending, {len(buffers)} buffers",
    )


@row(
    17,
    "Checkpoint.of: disk full in the background, said at the next save or the end",
    small=3,
    full=20,
)
def disk_full_in_the_background(count, folder):
    num_good = 0
    for i in range(count):
        model, place, fails_at = (
            torch.nn.Linear(NUM_NUMBERS, 1, bias=False),
            folder / str(i),
            1 + i % 3,
        )
        trainer = make_trainer(place, model)
        save, calls = reader.write_state, []

        def failing_save(*args, save=save, calls=calls, fails_at=fails_at, **kwargs):
            calls.append(None)
            if len(calls) == fails_at:
                raise OSError(28, "No space left on device")
            return save(*args, **kwargs)

        reader.write_state = failing_save
        try:
            with pytest.raises(OSError, match="No space left"):
                trainer.run(range(3))
        finally:
            reader.write_state = save
        is_early = trainer.state.iteration <= fails_at + 1
        kept = sorted(path.name for path in place.glob("checkpoint_*.pt"))
        num_good += (
            is_early and kept == [f"checkpoint_{step:08d}.pt" for step in range(1, fails_at)][-2:]
        )
    return Seen(num_good, count)


@pytest.mark.parametrize("each", rows_of(__name__), ids=str)
def test_the_row_holds(each, tmp_path):
    each.check(tmp_path)
