"""Time to the first new step of a resumed run, in addition to the sampler's permutation: < 0.1 s."""

import contextlib
import logging
import tempfile
import time

import torch
from torch.utils.data import DataLoader, Dataset

BUDGET_S = 0.1
ROUNDS = 5
CASES = ((1_500, 2_000), (1_500_000, 2_000_000))  # resumed after, of iterations in an epoch


class Numbers(Dataset):
    """Has a sample for each iteration, and counts the samples that are loaded."""

    num_fetched = 0

    def __init__(self, num_samples):
        self.num_samples = num_samples

    def __len__(self):
        return self.num_samples

    def __getitem__(self, index):
        Numbers.num_fetched += 1
        return torch.tensor([float(index)])


class ReachedError(Exception):
    """Raised when the measured step is reached."""


def make_run(folder, num_iterations):
    from ignite.engine import Engine, Events
    from ignite.handlers import Checkpoint

    model = torch.nn.Linear(1, 1)
    trainer = Engine(lambda engine, batch: model(batch))
    Checkpoint.of(
        trainer, folder, event=Events.ITERATION_COMPLETED(every=num_iterations), model=model
    )
    return trainer, DataLoader(Numbers(num_iterations), batch_size=1, shuffle=True)


def make_checkpoint(folder, resumed_at, num_iterations):
    """A run up to that point would take minutes, so the counters are set after the first batch."""
    from ignite.engine import Events

    trainer, loader = make_run(folder, num_iterations)

    def save_and_stop(engine):
        data = engine.state.dataloader
        data.load_state_dict(
            {**data.state_dict(), "num_batches": resumed_at, "num_samples": resumed_at}
        )
        engine.state.iteration = resumed_at
        trainer.run_saver.save()
        trainer.run_saver.wait()
        raise ReachedError

    trainer.add_event_handler(Events.ITERATION_COMPLETED, save_and_stop)
    with contextlib.suppress(ReachedError):
        trainer.run(loader, max_epochs=1)


def time_permutation(num_samples):
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        torch.randperm(num_samples)
        best = min(best, time.perf_counter() - started)
    return best


def time_first_step(folder, resumed_at, num_iterations):
    """Returns seconds from ``run`` to the first new step, and the number of samples loaded for it."""
    from ignite.engine import Events

    best = float("inf")
    for _ in range(ROUNDS):
        trainer, loader = make_run(folder, num_iterations)
        times = []

        def note(engine, times=times):
            times.append(time.perf_counter())
            assert engine.state.iteration == resumed_at + 1, engine.state.iteration
            raise ReachedError

        trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
        Numbers.num_fetched = 0
        started = time.perf_counter()
        try:
            trainer.run(loader, max_epochs=1, resume="latest")
        except ReachedError:
            best = min(best, times[0] - started)
        assert Numbers.num_fetched == 1, Numbers.num_fetched
    return best


def main():
    torch.set_num_threads(1)
    logging.disable(logging.ERROR)  # that these runs are stopped is no news
    print(
        f"seconds to the first new step, best of {ROUNDS}; the permutation alone; the difference (budget {BUDGET_S})"
    )
    is_good = True
    for resumed_at, num_iterations in CASES:
        with tempfile.TemporaryDirectory() as folder:
            make_checkpoint(folder, resumed_at, num_iterations)
            total, permutation = (
                time_first_step(folder, resumed_at, num_iterations),
                time_permutation(num_iterations),
            )
        passed = total - permutation < BUDGET_S
        is_good &= passed
        print(
            f"after {resumed_at:>9,} of {num_iterations:>9,}: {total:.4f} {permutation:.4f} {total - permutation:.4f}  "
            f"{'PASS' if passed else 'FAIL'}"
        )
    return 0 if is_good else 1


if __name__ == "__main__":
    raise SystemExit(main())
