"""Average precision and recall of detection, compared with pycocotools, and refused inputs."""

import copy
import re

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from ignite.engine import Engine
from ignite.metrics.metric import Metric
from ignite.metrics.vision import (
    CommonObjectDetectionMetrics,
    ObjectDetectionAvgPrecisionRecall,
    _matching,
    coco_tensor_list_to_dict_list,
)
from support import coco_oracle
from support.effort import few

NUM_CLASSES = 3
TOLERANCE = 1e-12


def tensor(rows, *shape):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, *shape)


def predicted(boxes, scores, labels):
    classes = torch.tensor(labels, dtype=torch.int64)
    return {"bbox": tensor(boxes, 4), "scores": tensor(scores), "labels": classes}


def true(boxes, labels, **more):
    return {"bbox": tensor(boxes, 4), "labels": torch.tensor(labels, dtype=torch.int64), **more}


# On a coarse grid, overlaps and scores are often equal, boxes have no area, or exactly 32 x 32.
positions = st.sampled_from([0, 8, 16, 32, 96])
sides = st.sampled_from([0, 8, 16, 32, 40, 96])
box = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), positions, positions, sides, sides)
label = st.integers(0, NUM_CLASSES - 1)
score = st.sampled_from([-1.0, -0.0, 0.0, 0.25, 0.5, 1.0])
area = st.sampled_from([0.0, 500.0, 1024.0, 4000.0, 9216.0, 20000.0])


@st.composite
def images(draw, max_images=4):
    y_pred, y = [], []
    has_area = draw(st.booleans())
    for _ in range(draw(st.integers(1, max_images))):
        targets = draw(st.lists(st.tuples(box, label, st.booleans(), area), max_size=5))
        corners, labels, crowd, areas = (
            map(list, zip(*targets, strict=True)) if targets else [[]] * 4
        )
        more = {"area": tensor(areas)} if has_area else {}
        crowd = torch.tensor(crowd, dtype=torch.bool)
        y.append(true(corners, labels, iscrowd=crowd, **more))
        near = st.sampled_from(corners) if corners else box
        found = draw(st.lists(st.tuples(box | near, score, label), max_size=9))
        y_pred.append(predicted(*(zip(*found, strict=True) if found else [[]] * 3)))
    return y_pred, y


def close_to(expected):
    return pytest.approx(expected, abs=TOLERANCE)


@given(images())
@few(50)
def test_the_twelve_values_are_those_of_pycocotools(batch):
    metric = CommonObjectDetectionMetrics(NUM_CLASSES)
    metric.update(batch)
    assert metric.compute() == close_to(coco_oracle.common(*batch, NUM_CLASSES))


thresholds = st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.75, 1.0]), min_size=1, unique=True)
limits = st.sampled_from([1, 2, 4, 100])
ranges = st.sampled_from(["all", "small", "medium", "large"])


@given(images(), thresholds, thresholds, limits, ranges)
@few(50)
def test_any_thresholds_limits_and_areas_are_those_of_pycocotools(
    batch, overlaps, recalls, limit, area_range
):
    metric = ObjectDetectionAvgPrecisionRecall(overlaps, recalls, NUM_CLASSES, limit, area_range)
    metric.update(batch)
    expected = coco_oracle.precision_recall(
        *batch, NUM_CLASSES, area_range, limit, overlaps=sorted(overlaps), recalls=sorted(recalls)
    )
    assert metric.compute() == close_to(expected)


def many_images(seed, num_images=40, num_classes=4):
    """With up to 250 predicted boxes an image, half of them near true ones, in float64."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    y_pred, y = [], []
    for _ in range(num_images):
        num_true, num_found = (rand(2) * torch.tensor([12, 250])).long().tolist()
        corner = rand(num_true, 2) * 300
        boxes = torch.cat([corner, corner + rand(num_true, 2) ** 2 * 200], dim=1)
        labels = torch.randint(num_classes, (num_true,), generator=generator)
        y.append({"bbox": boxes, "labels": labels, "iscrowd": rand(num_true) < 0.1})
        corner = rand(num_found, 2) * 300
        found = torch.cat([corner, corner + rand(num_found, 2) * 200], dim=1)
        classes = torch.randint(num_classes, (num_found,), generator=generator)
        if num_true:
            half = num_found // 2
            near = torch.randint(num_true, (half,), generator=generator)
            found[:half] = boxes[near] + (rand(half, 1) - 0.5) * 30
            classes[:half] = labels[near]
        y_pred.append({"bbox": found, "scores": rand(num_found), "labels": classes})
    return y_pred, y


def in_batches(batch, size):
    y_pred, y = batch
    return [(y_pred[i : i + size], y[i : i + size]) for i in range(0, len(y), size)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_boxes_give_the_values_of_pycocotools(seed, dtype):
    batch = many_images(seed)
    for image in batch[0]:  # scores in float64 are sorted in another way
        image["scores"] = image["scores"].to(dtype)
    metric = CommonObjectDetectionMetrics(4)
    for part in in_batches(batch, 7):
        metric.update(part)
    assert metric.compute() == close_to(coco_oracle.common(*batch, 4))


def test_pairs_are_found_in_parts_without_changing_values(monkeypatch):
    batch = many_images(9, num_images=12)
    monkeypatch.setattr(_matching, "_MAX_PAIRS", 7)
    metric = CommonObjectDetectionMetrics(4)
    metric.update(batch)
    assert metric.compute() == close_to(coco_oracle.common(*batch, 4))


def test_values_are_computed_in_one_thread_and_the_number_is_restored(monkeypatch):
    found = []

    def average_recall(self, *args):
        found.append(torch.get_num_threads())
        raise ArithmeticError("not this one")

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        metric = ObjectDetectionAvgPrecisionRecall(num_classes=4)
        metric.update(many_images(2, num_images=3))
        metric.compute()
        assert torch.get_num_threads() == 2
        monkeypatch.setattr(_matching.Evaluation, "average_recall", average_recall)
        metric.update(many_images(3, num_images=3))
        with pytest.raises(ArithmeticError, match="not this one"):
            metric.compute()
        assert (found, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


@given(st.lists(st.integers(0, 2**61)), st.booleans())
@example([3, 1, 3, 1], True)
def test_a_stable_order_with_and_without_numpy(keys, has_numpy):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_matching, "has_numpy", lambda: has_numpy)
        order = _matching.stable_order(torch.tensor(keys, dtype=torch.int64)).tolist()
    assert order == sorted(range(len(keys)), key=lambda i: keys[i])


SQUARE = [0, 0, 10, 10]


def value_of(y_pred, y, **arguments):
    metric = ObjectDetectionAvgPrecisionRecall(num_classes=NUM_CLASSES, **arguments)
    metric.update((y_pred, y))
    return metric.compute()


def test_a_box_that_is_found_twice_is_found_once():
    y_pred = [predicted([SQUARE, SQUARE], [0.9, 0.8], [1, 1])]
    assert value_of(y_pred, [true([SQUARE], [1])]) == (1.0, 1.0)
    y_pred = [predicted([SQUARE, [50, 50, 60, 60]], [0.8, 0.9], [1, 1])]
    assert value_of(y_pred, [true([SQUARE], [1])]) == (0.5, 1.0)


def test_without_true_boxes_there_is_no_value():
    nothing, found = predicted([], [], []), predicted([SQUARE], [0.5], [1])
    assert ObjectDetectionAvgPrecisionRecall().compute() == (-1.0, -1.0)
    assert value_of([nothing], [true([], [])]) == (-1.0, -1.0)
    assert value_of([found], [true([], [])]) == (-1.0, -1.0)
    crowd = true([SQUARE], [1], iscrowd=torch.tensor([1]))
    assert value_of([found], [crowd]) == (-1.0, -1.0)
    assert value_of([nothing], [true([SQUARE], [1])]) == (0.0, 0.0)
    assert set(CommonObjectDetectionMetrics().compute().values()) == {-1.0}


def test_keys_of_torchvision_are_taken_and_further_ones_are_ignored():
    found = predicted([SQUARE], [0.5], [1])
    found["boxes"] = found.pop("bbox")
    target = true([SQUARE], [1], image_id=7, area=torch.tensor([5000.0]))
    assert value_of([found], [target]) == (1.0, 1.0)
    assert value_of([found], [target], area_range="small") == (-1.0, -1.0)
    assert value_of([found], [target], area_range="medium") == (1.0, 1.0)


def test_attached_metrics_share_the_boxes_and_give_the_values_of_each_epoch():
    y_pred, y = many_images(3, num_images=9)
    engine = Engine(lambda engine, batch: batch)
    ObjectDetectionAvgPrecisionRecall(num_classes=4).attach(engine, "single")
    ObjectDetectionAvgPrecisionRecall([0.5], num_classes=4).attach(engine, "half")
    CommonObjectDetectionMetrics(4).attach(engine, "common")
    metrics = engine.run(in_batches((y_pred, y), 4), max_epochs=2).metrics
    expected = coco_oracle.common(y_pred, y, 4)
    assert metrics["common"] == close_to(expected)
    assert {name: metrics[name] for name in expected} == close_to(expected)
    assert metrics["single"] == close_to((expected["AP@50..95"], expected["AR-100"]))
    assert metrics["half"][0] == close_to(expected["AP@50"])
    assert "all boxes shared with ObjectDetectionAvgPrecisionRecall" in str(engine.describe())
    assert Metric.directions(engine) == {
        "single": True,
        "half": True,
        "common": None,
        **dict.fromkeys(expected, True),
    }


def test_the_state_of_all_twelve_values_has_the_boxes_once():
    metric = CommonObjectDetectionMetrics(4)
    metric.update(many_images(5, num_images=6))
    state = metric.state_dict()
    (own,) = state["__metric_state_per_rank"]
    parts = ["0.counts", "0.num_examples", "0.num_wrong", "0.predicted", "0.true"]
    assert sorted(own) == [*parts, "metric"]
    other = CommonObjectDetectionMetrics(4)
    other.load_state_dict(state)
    for each in (metric, other):
        each.update(many_images(6, num_images=3))
    assert other.compute() == close_to(metric.compute())
    with pytest.raises(ValueError, match=r"it should be of .*\(3,\),?\)?, but given one of .*\(4,"):
        CommonObjectDetectionMetrics(3).load_state_dict(state)


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("counts", torch.ones(6), r"counts should be a tensor of shape \(images, 2\)"),
        ("counts", torch.ones(6, 2).long(), r"predicted should be a tensor of shape \(6, 6\)"),
        ("true", torch.ones(2, 7), r"true should be .* shape \(\d+, 7\), but given \(2, 7\)"),
        ("num_examples", 5, r"counts should be .* shape \(5, 2\), but given \(6, 2\)"),
    ],
)
def test_states_that_do_not_fit_are_refused(part, value, words):
    metric = ObjectDetectionAvgPrecisionRecall(num_classes=4)
    metric.update(many_images(5, num_images=6))
    before, state = metric.compute(), copy.deepcopy(metric.state_dict())
    state["__metric_state_per_rank"][0][f"0.{part}"] = value
    with pytest.raises(ValueError, match=words):
        metric.load_state_dict(state)
    assert metric.compute() == before


NAN, INF = float("nan"), float("inf")
GOOD = (predicted([SQUARE, [1, 1, 5, 5]], [0.9, 0.1], [1, 2]), true([SQUARE], [1]))
# Name -> side, key, value, and words of the error.
WRONG = {
    "a width": ("y_pred", "bbox", tensor([[5, 5, 3, 9], SQUARE], 4), "Boxes in y_pred should be"),
    "a height": ("y", "bbox", tensor([[5, 5, 9, 3]], 4), r"but given \(5\.0, 5\.0, 9\.0, 3\.0\)"),
    "NaN": ("y", "bbox", tensor([[0, NAN, 9, 9]], 4), "Boxes in y should be finite"),
    "infinity": ("y", "bbox", tensor([[0, 0, INF, 9]], 4), "Boxes in y should be finite"),
    "-infinity": ("y", "bbox", tensor([[0, -INF, 9, 9]], 4), "Boxes in y should be finite"),
    "class 3": ("y", "labels", torch.tensor([3]), "from 0 to 2, but given 3; set num_classes"),
    "class -1": ("y_pred", "labels", torch.tensor([1, -1]), "Labels in y_pred .* but given -1"),
    "class 0.5": ("y", "labels", torch.tensor([0.5]), "Labels in y should be .* but given 0.5"),
    "class NaN": ("y", "labels", torch.tensor([NAN]), "Labels in y should be .* but given nan"),
    "a score": ("y_pred", "scores", tensor([0.5, NAN]), "Scores in y_pred .* but given nan"),
    "a crowd": ("y", "iscrowd", torch.tensor([2]), "iscrowd should be 0 or 1 .* iscrowd=2"),
    "an area": ("y", "area", torch.tensor([-2]), "area at least 0, .* iscrowd=0 and area=-2"),
    "NaN as area": ("y", "area", torch.tensor([NAN]), "and area=nan"),
    "flat boxes": ("y_pred", "bbox", torch.ones(8), r"\(num_boxes, 4\), but given \(8,\)"),
    "a list": ("y", "bbox", [SQUARE], "'bbox' in y should be a tensor .*, but given list"),
    "3 scores": ("y_pred", "scores", torch.ones(3), r"'scores' .* \(2,\), but given \(3,\)"),
    "a column": ("y", "labels", torch.ones(1, 1), r"'labels' in y .* \(1,\), but given \(1, 1\)"),
    "a number": ("y", "iscrowd", 0, "'iscrowd' in y should be a tensor .*, but given int"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("kind", [ObjectDetectionAvgPrecisionRecall, CommonObjectDetectionMetrics])
def test_what_is_no_box_is_refused_in_update_and_changes_nothing(case, kind):
    side, key, value, words = case
    metric = kind(num_classes=NUM_CLASSES)
    metric.update(([GOOD[0]], [GOOD[1]]))
    before, state = metric.compute(), repr(metric.state_dict())
    y_pred, y = copy.deepcopy(GOOD)
    {"y_pred": y_pred, "y": y}[side][key] = value
    with pytest.raises((TypeError, ValueError), match=words):
        metric.update(([GOOD[0], y_pred], [GOOD[1], y]))
    assert (metric.compute(), repr(metric.state_dict())) == (before, state)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (None, r"\(y_pred, y\), two lists of dictionaries, but given NoneType; .*output_transform"),
        (([],), r"\(y_pred, y\), two lists of dictionaries, but given tuple; .*output_transform"),
        ((torch.ones(1, 4), torch.ones(1)), "y_pred should be .*Tensor; make .*output_transform"),
        (([GOOD[0]], GOOD[1]), "y should be a list .*, but given a dict; .*output_transform"),
        (([GOOD[0]], []), "y_pred and y should have the same number .*, but given 1 and 0"),
        (([torch.ones(1, 6)], [GOOD[1]]), "y_pred should .* given a Tensor; .*output_transform"),
        (([GOOD[1]], [GOOD[1]]), re.escape("given keys: ['bbox', 'labels']; rename them in out")),
        (([GOOD[0]], [{"boxes": 1}]), "'labels' and optionally 'iscrowd' keys, but given keys"),
    ],
)
def test_what_is_no_pair_of_lists_is_refused_and_names_output_transform(output, words):
    metric = ObjectDetectionAvgPrecisionRecall(num_classes=NUM_CLASSES)
    with pytest.raises((TypeError, ValueError), match=words):
        metric.update(output)
    assert metric.compute() == (-1.0, -1.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"area_range": "tiny"}, r"area_range should be one of \['all', .*, but given 'tiny'"),
        ({"num_classes": 0}, "num_classes should be a positive integer, but given 0"),
        ({"max_detections_per_image_per_class": 1.5}, "positive integer, but given 1.5"),
        ({"iou_thresholds": [0.5, 2]}, r"iou_thresholds .* 0 and 1, but given \[0.5, 2.0\]"),
        ({"rec_thresholds": []}, r"rec_thresholds should .* not empty, but given .*\(0,\)"),
        ({"rec_thresholds": "ab"}, "rec_thresholds should .*, but given <class 'str'>"),
        ({"iou_thresholds": ["a"]}, r"a sequence of floats or a tensor, but given \['a'\]"),
        ({"iou_thresholds": torch.ones(2, 2)}, r"a one-dimensional tensor .* shape \(2, 2\)"),
        ({"iou_thresholds": [NAN]}, "should be between 0 and 1, but given"),
    ],
)
def test_invalid_arguments_are_refused(arguments, words):
    with pytest.raises((TypeError, ValueError), match=words):
        ObjectDetectionAvgPrecisionRecall(**arguments)


def test_tensors_of_images_become_dictionaries_that_the_metric_takes():
    y_pred = [torch.tensor([[*SQUARE, 0.5, 1]]), torch.zeros(0, 6)]
    y = [torch.tensor([[*SQUARE, 1, 0], [*SQUARE, 1, 1]]), torch.tensor([[*SQUARE, 2]])]
    engine = Engine(lambda engine, batch: (y_pred, y))
    metric = ObjectDetectionAvgPrecisionRecall(
        num_classes=NUM_CLASSES,
        output_transform=coco_tensor_list_to_dict_list,
        skip_unrolling=True,
    )
    metric.attach(engine, "value")
    assert engine.run([0]).metrics["value"] == (0.5, 0.5)
    found = coco_tensor_list_to_dict_list((y_pred, y))
    assert [sorted(image) for image in found[1]] == [
        ["bbox", "iscrowd", "labels"],
        ["bbox", "labels"],
    ]
    assert coco_tensor_list_to_dict_list(found) == found
    with pytest.raises(ValueError, match=r"Images in y_pred .* 6\), but given \(1, 5\)"):
        coco_tensor_list_to_dict_list(([torch.ones(1, 5)], [torch.ones(1, 5)]))
    with pytest.raises(ValueError, match=r"Images in y should be .* or .*, but given \(4,\)"):
        coco_tensor_list_to_dict_list(([], [torch.ones(4)]))
