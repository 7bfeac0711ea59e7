import pickle

import pytest
import torch

from ignite.engine import Engine, Events
from ignite.metrics import (
    Accuracy,
    Average,
    BatchFiltered,
    BatchWise,
    Metric,
    Recall,
    RunningBatchWise,
    RunningEpochWise,
    SingleEpochRunningBatchWise,
)
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce


class Sum(Metric):
    required_output_keys = ("value",)
    _state_dict_all_req_keys = ("total",)

    @reinit__is_reduced
    def reset(self):
        self.total = 0

    @reinit__is_reduced
    def update(self, output):
        (value,) = output
        self.total += value

    @sync_all_reduce("total")
    def compute(self):
        return self.total


def echo():
    return Engine(lambda engine, batch: {"value": batch})


@pytest.mark.parametrize(
    ("usage", "values"),
    [
        ("epoch_wise", {(1, 2): 3, (2, 4): 3}),
        ("running_epoch_wise", {(1, 2): 2, (2, 4): 4}),
        (RunningEpochWise(), {(1, 2): 2, (2, 4): 4}),
        (BatchWise(), {(1, 1): 1, (1, 2): 2, (2, 3): 1, (2, 4): 2}),
        (RunningBatchWise(), {(1, 1): 1, (1, 2): 3, (2, 3): 4, (2, 4): 6}),
        (SingleEpochRunningBatchWise(), {(1, 1): 1, (1, 2): 3, (2, 3): 1, (2, 4): 3}),
        (BatchFiltered(every=2), {(1, 2): 2, (2, 4): 2}),
    ],
)
def test_usages_determine_the_span_of_a_value(usage, values):
    engine, metric, seen = echo(), Sum(), {}
    metric.attach(engine, "sum", usage)
    assert metric.is_attached(engine, usage)

    @engine.on(Events.ITERATION_COMPLETED | Events.EPOCH_COMPLETED)
    def see(engine):
        if "sum" in engine.state.metrics:
            seen[engine.state.epoch, engine.state.iteration] = engine.state.metrics.pop("sum")

    engine.run([1, 2], max_epochs=2)
    assert seen == values
    metric.detach(engine, usage)
    assert not metric.is_attached(engine, usage)
    assert not any(
        engine.has_event_handler(handler)
        for handler in (metric.started, metric.iteration_completed)
    )


def test_a_metric_under_two_names_is_updated_once():
    engine, metric = echo(), Sum()
    metric.attach(engine, "a")
    metric.attach(engine, "b")
    assert engine.run([1, 2]).metrics == {"a": 3, "b": 3}


def test_values_are_available_to_handlers_attached_later():
    engine, seen = echo(), []
    Sum().attach(engine, "sum")
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda engine: seen.append(engine.state.metrics["sum"])
    )
    engine.run([1, 2], max_epochs=2)
    assert seen == [3, 3]


def test_unknown_usages_are_refused():
    with pytest.raises(TypeError, match="usage should be a str or MetricUsage, but given int"):
        Sum().attach(echo(), "sum", 3)
    with pytest.raises(
        ValueError, match="Argument usage should be one of epoch_wise, .* but given 'weekly'"
    ):
        Sum().attach(echo(), "sum", "weekly")


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="output_transform should be callable, got"):
        Sum(output_transform=3)
    with pytest.raises(ValueError, match="Cannot create metric on an XLA device"):
        Sum(device="xla")
    with pytest.raises(ValueError, match="metrics_result_mode should be .* but given 'other'"):
        Sum(metrics_result_mode="other")


def test_outputs_that_are_mappings_need_the_metrics_keys():
    engine = Engine(lambda engine, batch: {"other": batch, "more": 1})
    Sum().attach(engine, "sum")
    with pytest.raises(
        ValueError, match=r"should contain \('value',\) keys, but given \['other', 'more'\]"
    ):
        engine.run([1])
    engine = echo()
    Average().attach(engine, "mean")
    with pytest.raises(TypeError, match="output for Average metric should be a tuple/list"):
        engine.run([1])


class Pairs(Metric):
    def reset(self):
        self.seen = []

    def update(self, output):
        self.seen.append(output)

    def compute(self):
        return len(self.seen)


def test_lists_of_items_of_different_sizes_are_unrolled():
    output = ([torch.zeros(3, 2), torch.zeros(3, 5)], [torch.zeros(2), torch.zeros(5)])
    metric, engine = Pairs(), Engine(lambda engine, batch: output)
    metric.attach(engine, "pairs")
    assert engine.run([0]).metrics == {"pairs": 2}
    assert [tuple(y_pred.shape) for y_pred, _ in metric.seen] == [(1, 3, 2), (1, 3, 5)]
    whole = Pairs(skip_unrolling=True)
    whole.attach(engine, "whole")
    assert engine.run([0]).metrics["whole"] == 1
    assert whole.seen == [output]


def test_lists_that_do_not_pair_are_refused():
    engine = Engine(lambda engine, batch: ([1, 2], [1]))
    Pairs().attach(engine, "pairs")
    with pytest.raises(
        ValueError, match=r"2 items of the same length, but given 2 of length \[2, 1\]"
    ):
        engine.run([0])


class Many(Metric):
    required_output_keys = ("value",)

    def reset(self): ...

    def update(self, output): ...

    def compute(self):
        return {"mean": torch.tensor(0.5), "all": torch.ones(2)}


@pytest.mark.parametrize(
    ("mode", "keys"),
    [("flatten", {"mean", "all"}), ("named", {"m"}), ("both", {"mean", "all", "m"})],
)
def test_the_result_mode_determines_where_a_mapping_goes(mode, keys):
    engine = echo()
    Many(metrics_result_mode=mode).attach(engine, "m")
    metrics = engine.run([0]).metrics
    assert set(metrics) == keys
    assert metrics.get("mean", 0.5) == 0.5
    # As in Ignite, items of a mapping stay what they are; a program calls their .item().
    assert all(isinstance(metrics[key], torch.Tensor) for key in keys - {"m"})
    if mode != "flatten":
        Many(metrics_result_mode=mode).attach(engine, "mean")
        with pytest.raises(
            ValueError, match="Argument name 'mean' is conflicting with mapping keys"
        ):
            engine.run([0])


def test_updates_build_no_graph():
    weight = torch.ones(1, requires_grad=True)
    engine, metric = Engine(lambda engine, batch: {"value": weight * batch}), Sum()
    metric.attach(engine, "sum")
    assert engine.run([1.0, 2.0]).metrics["sum"].item() == 3.0
    assert not metric.total.requires_grad


def test_state_dicts_and_pickles_keep_what_was_accumulated():
    metric, other = Sum(), Sum()
    metric.update((3,))
    saved = metric.state_dict()
    assert saved == {"__metric_state_per_rank": [{"total": 3}]}
    other.load_state_dict(saved)
    assert other.compute() == 3
    assert pickle.loads(pickle.dumps(Average())).num_examples == 0


def test_invalid_states_are_refused():
    with pytest.raises(TypeError, match="Argument state_dict should be a dictionary, but given"):
        Sum().load_state_dict(3)
    with pytest.raises(ValueError, match=r"Incorrect state_dict object.*keys \['total'\]"):
        Sum().load_state_dict({"total": 3})
    with pytest.raises(ValueError, match="size equal world_size 1, but given 2"):
        Sum().load_state_dict({"__metric_state_per_rank": [{"total": 3}] * 2})
    with pytest.raises(ValueError, match="total"):
        Sum().load_state_dict({"__metric_state_per_rank": [{}]})
    metric = Sum()
    metric.total = object()
    with pytest.raises(TypeError, match="unsupported type: total is a object"):
        metric.state_dict()


def test_an_update_clears_the_cached_result():
    metric = Sum()
    metric._result = 5
    metric.update((1,))
    assert metric._result is None
    assert Sum.update._decorated
    assert Sum.compute._decorated


def test_sync_all_reduce_is_for_metrics():
    class Other:
        @sync_all_reduce("x")
        def compute(self): ...

    with pytest.raises(
        RuntimeError, match="should be used on ignite.metric.Metric class methods only.*Other"
    ):
        Other().compute()


def test_describe_names_the_metrics_that_share():
    engine = echo()
    for name, metric in {"accuracy": Accuracy(), "recall": Recall(), "mean": Average()}.items():
        metric.attach(engine, name)
    lines = str(engine.describe()).splitlines()
    updates = [
        line.partition("  (")[0].strip(" -") for line in lines if "iteration_completed" in line
    ]
    assert updates == [
        "Accuracy.iteration_completed  label counts (correct) shared with Recall",
        "Recall.iteration_completed  label counts (classes) shared with Accuracy",
        "Average.iteration_completed  accumulation by add_examples",
    ]
