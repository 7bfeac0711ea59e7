import inspect
import pickle

import pytest
import torch

from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce


class Extremes(Metric):
    @reinit__is_reduced
    def reset(self):
        """Forgets."""
        self.low, self.high = float("inf"), torch.tensor(float("-inf"))

    @reinit__is_reduced
    def update(self, output):
        self.low, self.high = min(self.low, output), torch.clamp(self.high, min=output)

    @sync_all_reduce("low:MIN", "high:MAX")
    def compute(self, scale=1):
        """The range."""
        return scale * (self.high.item() - self.low)


def test_in_one_process_attributes_are_unchanged():
    metric = Extremes()
    metric.update(3.0)
    metric.update(7.0)
    assert [metric.compute(), metric.compute(), metric.compute(scale=2)] == [4.0, 4.0, 8.0]
    assert (metric.low, metric.high.item()) == (3.0, 7.0)


def test_decorated_methods_keep_their_names_words_and_signatures():
    assert (Extremes.compute.__name__, Extremes.compute.__doc__) == ("compute", "The range.")
    assert (Extremes.reset.__name__, Extremes.reset.__doc__) == ("reset", "Forgets.")
    assert str(inspect.signature(Extremes.compute)) == "(self, scale=1)"
    assert all(method._decorated for method in (Extremes.reset, Extremes.update, Extremes.compute))
    metric = Extremes()
    metric.update(3.0)
    assert pickle.loads(pickle.dumps(metric)).compute() == 0.0


def test_it_is_refused_outside_of_metrics():
    class Statistics:
        total = 3

        @sync_all_reduce("total")
        def compute(self):
            return self.total

    with pytest.raises(
        RuntimeError,
        match="ignite.metric.Metric class methods only, but used on a method of Statisti",
    ):
        Statistics().compute()

    @sync_all_reduce("total")
    def compute(number):
        return number

    with pytest.raises(RuntimeError, match="class methods only, but used on a method of int"):
        compute(3)


def test_without_attributes_it_changes_nothing():
    class Nothing(Extremes):
        @sync_all_reduce()
        def compute(self):
            return "nothing"

    assert Nothing().compute() == "nothing"


def test_errors_of_compute_are_unchanged():
    class Failing(Extremes):
        @sync_all_reduce("low:MIN")
        def compute(self):
            raise ZeroDivisionError("of nothing")

    with pytest.raises(ZeroDivisionError, match="of nothing"):
        Failing().compute()


class Cached(Extremes):
    @sync_all_reduce("low:MIN")
    def compute(self):
        if self.__dict__.get("_result") is None:
            self._result = self.low
        return self._result


@pytest.mark.parametrize(
    "forget", [lambda metric: metric.reset(), lambda metric: metric.update(2.0)]
)
def test_only_update_and_reset_clear_a_cached_result(forget):
    metric = Cached()
    metric.update(3.0)
    assert metric.compute() == 3.0
    metric.low = 1.0
    assert metric.compute() == 3.0
    forget(metric)
    assert metric._result is None
    assert metric.compute() == metric.low


def test_no_cached_result_is_created():
    metric = Extremes()
    metric.update(3.0)
    metric.reset()
    assert "_result" not in vars(metric)


def test_an_update_that_fails_keeps_the_cached_result():
    metric = Cached()
    metric.update(3.0)
    metric.compute()
    with pytest.raises(TypeError, match="not supported between"):
        metric.update("three")
    assert metric._result == 3.0
