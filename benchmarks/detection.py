"""Detection of objects on 5,000 images: the twelve values of COCO, compared with pycocotools and faster-coco-eval."""

import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NUM_IMAGES, NUM_CLASSES, BATCH_SIZE = 5000, 80, 16
ROUNDS = 3
TOLERANCE = 1e-9
PEERS = ("pycocotools", "faster-coco-eval")
NAMES = ["AP@50..95", "AP@50", "AP@75", "AP-S", "AP-M", "AP-L", "AR-1", "AR-10", "AR-100"]
NAMES += ["AR-S", "AR-M", "AR-L"]


# Data: 7 true boxes an image on average, one in a hundred of them a crowd, and 30 to 100 predicted
# ones, half of them near true boxes.


def make_image(numpy, random):
    num_true, num_found = random.integers(0, 15), random.integers(30, 101)
    true = boxes(numpy, random, num_true)
    labels = random.integers(NUM_CLASSES, size=num_true)
    found, classes = boxes(numpy, random, num_found), random.integers(NUM_CLASSES, size=num_found)
    num_near = num_found // 2 if num_true else 0
    near = random.integers(max(num_true, 1), size=num_near)
    if num_near:
        sizes = numpy.tile(true[near, 2:] - true[near, :2], 2)
        moved = true[near] + random.normal(scale=0.1, size=(num_near, 4)) * sizes
        found[:num_near, :2] = numpy.minimum(moved[:, :2], moved[:, 2:])
        found[:num_near, 2:] = numpy.maximum(moved[:, :2], moved[:, 2:])
        is_right = random.random(num_near) < 0.8
        classes[:num_near] = numpy.where(is_right, labels[near], classes[:num_near])
    return {
        "true": true.astype("float32"),
        "labels": labels,
        "crowd": random.random(num_true) < 0.01,
        "found": found.astype("float32"),
        "scores": random.random(num_found).astype("float32"),
        "classes": classes,
    }


def boxes(numpy, random, size):
    sides = numpy.exp(random.normal(4, 0.9, size=(size, 2))).clip(2, 600)
    corner = random.random((size, 2)) * (640 - sides)
    return numpy.concatenate([corner, corner + sides], axis=1)


def make_data(path):
    import numpy

    random = numpy.random.default_rng(0)
    images = [make_image(numpy, random) for _ in range(NUM_IMAGES)]
    arrays = {name: numpy.concatenate([image[name] for image in images]) for name in images[0]}
    counts = [[len(image["true"]), len(image["found"])] for image in images]
    numpy.savez(path, counts=counts, **arrays)


# Libraries: each returns the values, and seconds for taking in the boxes and for the values.


def ours(data):
    import torch

    from ignite.metrics import CommonObjectDetectionMetrics

    torch.set_num_threads(1)
    arrays = {name: torch.from_numpy(data[name]) for name in data.files}
    num_true, num_found = arrays.pop("counts").T.tolist()
    of = {
        name: array.split(num_true if name in ("true", "labels", "crowd") else num_found)
        for name, array in arrays.items()
    }
    columns = zip(of["found"], of["scores"], of["classes"], strict=True)
    y_pred = [{"bbox": b, "scores": s, "labels": c} for b, s, c in columns]
    columns = zip(of["true"], of["labels"], of["crowd"], strict=True)
    y = [{"bbox": b, "labels": c, "iscrowd": k} for b, c, k in columns]
    times = [time.perf_counter()]
    metric = CommonObjectDetectionMetrics(NUM_CLASSES)
    for i in range(0, NUM_IMAGES, BATCH_SIZE):
        metric.update((y_pred[i : i + BATCH_SIZE], y[i : i + BATCH_SIZE]))
    times.append(time.perf_counter())
    values = metric.compute()
    return [values[name] for name in NAMES], [times[1] - times[0], time.perf_counter() - times[1]]


def as_coco(data):
    """The annotations of COCO, and an array with image, position, size, score and class of each predicted box."""
    import numpy

    images = [numpy.repeat(numpy.arange(NUM_IMAGES), data["counts"][:, i]) for i in (0, 1)]
    true, found = (data[name].astype(float) for name in ("true", "found"))
    true[:, 2:] -= true[:, :2]
    found[:, 2:] -= found[:, :2]
    rows = zip(images[0].tolist(), data["labels"].tolist(), data["crowd"], true, strict=True)
    annotations = [
        {
            "id": i + 1,
            "image_id": image,
            "category_id": label,
            "iscrowd": int(crowd),
            "bbox": box.tolist(),
            "area": float(box[2] * box[3]),
        }
        for i, (image, label, crowd, box) in enumerate(rows)
    ]
    frame = {
        "images": [{"id": i} for i in range(NUM_IMAGES)],
        "categories": [{"id": i} for i in range(NUM_CLASSES)],
        "annotations": annotations,
    }
    return frame, numpy.column_stack([images[1], found, data["scores"], data["classes"]])


def pycocotools(data):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    frame, rows = as_coco(data)
    results = [
        {"image_id": int(i), "category_id": int(c), "bbox": box, "score": score}
        for i, *box, score, c in rows.tolist()
    ]

    def evaluation():
        coco = COCO()
        coco.dataset = frame
        coco.createIndex()
        return COCOeval(coco, coco.loadRes(results), "bbox")

    return run(evaluation)


def faster_coco_eval(data):
    from faster_coco_eval import COCO, COCOeval_faster

    frame, rows = as_coco(data)

    def evaluation():
        coco = COCO(frame)
        return COCOeval_faster(coco, coco.loadRes(rows), "bbox")

    return run(evaluation)


def run(make):
    times = [time.perf_counter()]
    evaluation = make()
    times.append(time.perf_counter())
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    seconds = [times[1] - times[0], time.perf_counter() - times[1]]
    return [float(value) for value in evaluation.stats[:12]], seconds


LIBRARIES = {"ours": ours, "pycocotools": pycocotools, "faster-coco-eval": faster_coco_eval}


def measure_once(library, path):
    import numpy

    with numpy.load(path) as data, contextlib.redirect_stdout(io.StringIO()):
        return LIBRARIES[library](data)


def main():
    from _peers import peer_python

    pythons = {"ours": sys.executable, **{name: str(peer_python(name)) for name in PEERS}}
    results = {name: [] for name in pythons}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "boxes.npz"
        make_data(path)
        for _ in range(ROUNDS):  # in turns, so that all see the same machine
            for name, python in pythons.items():
                command = [python, __file__, "--worker", name, str(path)]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                results[name].append(json.loads(output))
    values = results["ours"][0][0]
    best = {
        name: [min(seconds) for seconds in zip(*(times for _, times in runs), strict=True)]
        for name, runs in results.items()
    }
    print(
        f"{NUM_IMAGES} images, AP@50..95 = {values[0]:.4f}; seconds, best of {ROUNDS} interleaved rounds, one thread"
    )
    print(f"{'':<18}{'boxes':>9}{'values':>9}{'both':>9}{'ours / it':>12}{'difference':>13}")
    is_good = True
    for name, (taking, computing) in best.items():
        difference = max(abs(a - b) for a, b in zip(values, results[name][0][0], strict=True))
        # All of ours against the values of the other alone, whose boxes may come from elsewhere.
        ratio = sum(best["ours"]) / computing
        is_good &= name == "ours" or (ratio <= 1 and difference <= TOLERANCE)
        cells = f"{name:<18}{taking:>9.2f}{computing:>9.2f}{taking + computing:>9.2f}"
        cells += "" if name == "ours" else f"{ratio:>12.2f}{difference:>13.1e}"
        print(cells)
    print("PASS" if is_good else "FAIL")
    return 0 if is_good else 1


if __name__ == "__main__":
    if "--worker" in sys.argv:
        print(json.dumps(measure_once(*sys.argv[-2:])))
    else:
        raise SystemExit(main())
