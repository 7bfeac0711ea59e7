"""Growth of cost with size: tensors, handlers, metrics, samples, rows, epochs with a folder; and of pytorch-ignite."""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 5
MAX_EXPONENT = 1.2  # of cost as a power of size, between the two largest: linear, and what caches no longer hold
MAX_RATIO = 1.0  # to pytorch-ignite, at the largest size
NUM_FEATURES = 8


def timed(function, *args, **kwargs):
    started = time.perf_counter()
    function(*args, **kwargs)
    return time.perf_counter() - started


class Parts:
    """A state of many small tensors, such as that of an optimizer over a model of many small layers."""

    def __init__(self, num_tensors):
        import torch

        self.tensors = {f"part{i}": torch.full((8,), float(i)) for i in range(num_tensors)}

    def state_dict(self):
        return dict(self.tensors)

    def load_state_dict(self, state):
        for name, tensor in self.tensors.items():
            tensor.copy_(state[name])


def checkpoint_of(parts, folder):
    from ignite.handlers import Checkpoint, DiskSaver

    return Checkpoint({"parts": parts}, DiskSaver(folder, require_empty=False), n_saved=1)


def idle_engine():
    from ignite.engine import Engine

    return Engine(lambda engine, batch: batch)


def save_tensors(num_tensors, folder):
    engine, parts = idle_engine(), Parts(num_tensors)
    saver = checkpoint_of(parts, folder)
    times = []
    for iteration in range(1, 4):
        engine.state.iteration = iteration
        times.append(timed(saver, engine))
    return min(times)


def load_tensors(num_tensors, folder):
    from ignite.handlers import Checkpoint

    engine, parts = idle_engine(), Parts(num_tensors)
    saver = checkpoint_of(parts, folder)
    saver(engine)
    path = str(Path(folder, saver.last_checkpoint))
    return min(timed(Checkpoint.load_objects, {"parts": parts}, path) for _ in range(3))


def call_handlers(num_handlers, folder):
    from ignite.engine import Events

    engine = idle_engine()
    for _ in range(num_handlers):
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: None)
    return min(timed(engine.run, range(300)) for _ in range(3))


def update_metrics(num_metrics, folder):
    import torch

    from ignite.metrics import Average

    engine = idle_engine()
    for i in range(num_metrics):
        Average(output_transform=lambda output, i=i: output + i).attach(engine, f"metric{i}")
    batch = torch.ones(1)
    return min(timed(engine.run, [batch] * 50) for _ in range(3))


def keep_samples(num_batches, folder):
    import torch

    from ignite.metrics import EpochMetric

    engine = idle_engine()
    metric = EpochMetric(lambda y_pred, y: (y_pred - y).abs().mean().item(), check_compute_fn=False)
    metric.attach(engine, "error")
    batch = torch.ones(16, 1), torch.zeros(16, 1)
    return min(timed(engine.run, [batch] * num_batches) for _ in range(3))


def table_of(num_rows):
    import torch

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num_rows, NUM_FEATURES, generator=generator)
    return x, (x.sum(dim=1) > 0).long()


def fit_rows(num_rows, folder):
    return fit(table_of(num_rows), max_epochs=1, folder=None)


def fit_epochs(num_epochs, folder):
    return fit(table_of(256), max_epochs=num_epochs, folder=folder)


def fit(table, max_epochs, folder):
    """Uses the Learner if there is one; else loader, trainer and a checkpoint after each epoch."""
    import torch

    import ignite

    model = torch.nn.Linear(NUM_FEATURES, 2)
    if hasattr(ignite, "Learner"):
        learner = ignite.Learner(model, loss="cross_entropy", optimizer="sgd", lr=0.1)
        run_dir = None if folder is None else Path(folder, str(max_epochs))
        return timed(
            learner.fit, table, epochs=max_epochs, batch_size=64, run_dir=run_dir, progress=False
        )

    from ignite.engine import Events, create_supervised_trainer

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(model, optimizer, torch.nn.CrossEntropyLoss())
    if folder is not None:
        saver = checkpoint_of(model, folder)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, saver)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*table), batch_size=64, shuffle=True
    )
    return timed(trainer.run, loader, max_epochs=max_epochs)


CASES = {
    "tensors saved": (save_tensors, (1_000, 6_000, 30_000)),
    "tensors loaded": (load_tensors, (1_000, 6_000, 30_000)),
    "handlers": (call_handlers, (10, 100, 1_000)),
    "metrics": (update_metrics, (10, 100, 400)),
    "batches kept": (keep_samples, (100, 1_000, 10_000)),
    "rows of fit": (fit_rows, (1_000, 10_000, 100_000)),
    "epochs with a folder": (fit_epochs, (10, 100, 500)),
}


def measure(case):
    """Returns seconds for each size, with the library that is imported as ``ignite``."""
    import torch

    torch.set_num_threads(1)
    function, sizes = CASES[case]
    found = {}
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="ignite-bench-") as folder:
            found[size] = function(size, folder)
    return found


def run_worker(python, case):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [python, __file__, "--worker", case]
    run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return {int(size): seconds for size, seconds in json.loads(run.stdout.splitlines()[-1]).items()}


def best_of(pythons, case):
    """Returns the shortest time of each library and size; the libraries alternate in each round."""
    best = {name: {} for name in pythons}
    for _ in range(ROUNDS):
        for name, python in pythons.items():
            for size, seconds in run_worker(python, case).items():
                best[name][size] = min(seconds, best[name].get(size, math.inf))
    return best


def exponent(seconds):
    """Returns the exponent of cost as a power of size, between the two largest sizes."""
    (size, cost), (larger, higher) = sorted(seconds.items())[-2:]
    return math.log(higher / cost) / math.log(larger / size)


def main(names):
    from _peers import peer_python

    pythons = {"ours": sys.executable, "pytorch-ignite": str(peer_python("pytorch-ignite"))}
    print(f"ms, best of {ROUNDS} rounds in turns; one thread")
    print(f"{'case':<22}{'size':>8}{'ours':>11}{'pytorch-ignite':>16}{'ratio':>8}")
    is_good = True
    for case in names or CASES:
        best = best_of(pythons, case)
        ours, theirs = best["ours"], best["pytorch-ignite"]
        for size in CASES[case][1]:
            ratio = ours[size] / theirs[size]
            print(
                f"{case:<22}{size:>8}{ours[size] * 1e3:>11.2f}{theirs[size] * 1e3:>16.2f}{ratio:>8.2f}"
            )
        passed = exponent(ours) <= MAX_EXPONENT and ratio <= MAX_RATIO
        is_good &= passed
        verdict = "PASS" if passed else "FAIL"
        powers = f"{exponent(ours):.2f} of the size, theirs with {exponent(theirs):.2f}"
        print(f"{'':<22}grows with the power {powers}  {verdict}")
    return 0 if is_good else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("case", nargs="*", choices=[[], *CASES], help="only these")
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(measure(arguments.worker)))
    else:
        raise SystemExit(main(arguments.case))
