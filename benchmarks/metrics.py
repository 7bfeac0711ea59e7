"""What metrics cost: us per batch of 256 x 100 logits, alone and together, against an argmax and the peers."""

import json
import os
import subprocess
import sys
import time

NUM_BATCHES = 300
ROUNDS = 5
NUM_EXAMPLES, NUM_CLASSES = 256, 100
SUITE_BUDGET = 3.5  # times one argmax
ALONE = ("Accuracy", "TopK(5)", "Precision", "Recall", "Fbeta", "ConfusionMatrix", "Loss")
PEERS = ("pytorch-ignite", "torchmetrics")


def make_output():
    import torch

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(NUM_EXAMPLES, NUM_CLASSES, generator=generator)
    return scores, torch.randint(NUM_CLASSES, (NUM_EXAMPLES,), generator=generator)


def ignite_metrics():
    """Of whatever library is imported as ``ignite``."""
    from torch.nn import functional as F

    from ignite import metrics as m

    return {
        "Accuracy": m.Accuracy,
        "TopK(5)": lambda: m.TopKCategoricalAccuracy(5),
        "Precision": m.Precision,
        "Recall": m.Recall,
        "Fbeta": lambda: m.Fbeta(1),
        "ConfusionMatrix": lambda: m.ConfusionMatrix(NUM_CLASSES),
        "Loss": lambda: m.Loss(F.cross_entropy),
    }


def ignite_loops(output):
    """Name -> function that feeds metrics with all batches."""
    from ignite.engine import Engine

    def loop(makers):
        engine = Engine(lambda engine, batch: output)
        for name, make in makers.items():
            make().attach(engine, name)
        return lambda: engine.run(range(NUM_BATCHES))

    makers = ignite_metrics()
    return {**{name: loop({name: make}) for name, make in makers.items()}, "all": loop(makers)}


def torchmetrics_loops(output):
    from torch.nn import functional as F
    from torchmetrics import MeanMetric, MetricCollection
    from torchmetrics import classification as c

    kwargs = {"num_classes": NUM_CLASSES}
    makers = {
        "Accuracy": c.MulticlassAccuracy(average="micro", **kwargs),
        "TopK(5)": c.MulticlassAccuracy(average="micro", top_k=5, **kwargs),
        "Precision": c.MulticlassPrecision(average=None, **kwargs),
        "Recall": c.MulticlassRecall(average=None, **kwargs),
        "Fbeta": c.MulticlassFBetaScore(1.0, **kwargs),
        "ConfusionMatrix": c.MulticlassConfusionMatrix(**kwargs),
    }
    scores, targets = output
    collection, loss = MetricCollection({name: metric.clone() for name, metric in makers.items()}), MeanMetric()

    def update_loss():
        loss.update(F.cross_entropy(scores, targets), len(targets))

    def update_all():
        collection.update(scores, targets)
        update_loss()

    def loop(update):
        def run():
            for _ in range(NUM_BATCHES):
                update()

        return run

    loops = {name: loop(lambda metric=metric: metric.update(scores, targets)) for name, metric in makers.items()}
    return {**loops, "Loss": loop(update_loss), "all": loop(update_all)}


def time_us(function):
    function()  # warms up, and lets torchmetrics find its groups
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        function()
        best = min(best, (time.perf_counter() - started) / NUM_BATCHES * 1e6)
    return best


def measure_once(library):
    output = make_output()

    def argmax():
        for _ in range(NUM_BATCHES):
            output[0].argmax(1)

    loops = torchmetrics_loops(output) if library == "torchmetrics" else ignite_loops(output)
    return {"argmax": time_us(argmax), **{name: time_us(loop) for name, loop in loops.items()}}


def main():
    from _peers import peer_python

    pythons = {"ours": sys.executable, **{name: str(peer_python(name)) for name in PEERS}}
    results = {name: [] for name in pythons}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    for _ in range(ROUNDS):  # in turns, so that all see the same machine
        for name, python in pythons.items():
            command = [python, __file__, "--worker", name]
            run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            results[name].append(json.loads(run.stdout.splitlines()[-1]))
    best = {name: {case: min(run[case] for run in runs) for case in runs[0]} for name, runs in results.items()}
    argmax = min(found["argmax"] for found in best.values())
    print(
        f"us per batch of {NUM_EXAMPLES} x {NUM_CLASSES}, best of {ROUNDS} rounds in turns; argmax takes {argmax:.1f}"
    )
    print(f"{'':<18}{'ours':>9}" + "".join(f"{name:>16}" for name in PEERS))
    is_good = True
    for case in ALONE:
        ours, theirs = best["ours"][case], [best[name][case] for name in PEERS]
        passed = ours <= min(theirs)
        is_good &= passed
        row = "".join(f"{value:>16.1f}" for value in theirs)
        print(f"{case:<18}{ours:>9.1f}{row}  {'PASS' if passed else 'FAIL'}")
    ratios = {name: found["all"] / argmax for name, found in best.items()}
    passed = ratios["ours"] <= SUITE_BUDGET
    print(f"{'all seven':<18}{best['ours']['all']:>9.1f}" + "".join(f"{best[name]['all']:>16.1f}" for name in PEERS))
    times = f"{'all / argmax':<18}{ratios['ours']:>9.2f}" + "".join(f"{ratios[name]:>16.2f}" for name in PEERS)
    print(f"{times}  {'PASS' if passed else 'FAIL'} (budget {SUITE_BUDGET})")
    return 0 if is_good and passed else 1


if __name__ == "__main__":
    if "--worker" in sys.argv:
        print(json.dumps(measure_once(sys.argv[-1])))
    else:
        raise SystemExit(main())
