import pickle
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from ignite.engine import Engine, Events
from ignite.metrics import GpuInfo


class FakeNvml(ModuleType):
    """Two GPUs, of which the second may keep silent."""

    class NVMLError(Exception): ...

    def __init__(self, name):
        super().__init__(name)
        self.num_initialised = self.num_asked = 0
        self.silent = set()
        self.used = [300, 999]

    def nvmlInit(self):
        self.num_initialised += 1

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, i):
        return i

    def nvmlDeviceGetMemoryInfo(self, i):
        self.num_asked += 1
        if (i, "mem") in self.silent:
            raise self.NVMLError
        return SimpleNamespace(used=self.used[i], total=1000)

    def nvmlDeviceGetUtilizationRates(self, i):
        if (i, "util") in self.silent:
            raise self.NVMLError
        return SimpleNamespace(gpu=40 + i, memory=7)


@pytest.fixture
def nvml(monkeypatch):
    fake = FakeNvml("pynvml")
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return fake


def idle():
    return Engine(lambda engine, batch: None)


EXPECTED = {"gpu:0 mem(%)": 30, "gpu:0 util(%)": 40, "gpu:1 mem(%)": 99, "gpu:1 util(%)": 41}


def test_percents_of_each_gpu(nvml):
    metric = GpuInfo()
    assert nvml.num_initialised == 1
    assert metric.compute() == [{"mem": 30, "util": 40}, {"mem": 99, "util": 41}]


def test_attached_it_reads_after_each_iteration(nvml):
    engine, seen = idle(), []
    GpuInfo().attach(engine)

    @engine.on(Events.ITERATION_COMPLETED)
    def see():
        seen.append(engine.state.metrics["gpu:0 mem(%)"])
        nvml.used[0] += 100

    engine.run([0, 0, 0])
    assert seen == [30, 40, 50]
    assert engine.state.metrics == {**EXPECTED, "gpu:0 mem(%)": 50}
    assert all(type(value) is int for value in engine.state.metrics.values())


@pytest.mark.parametrize(
    "event", [Events.EPOCH_COMPLETED, "EPOCH_COMPLETED", Events.ITERATION_COMPLETED(every=2)]
)
def test_name_and_event_can_be_chosen(nvml, event):
    engine = idle()
    GpuInfo().attach(engine, name="device", event_name=event)
    found = engine.run([0, 0, 0]).metrics
    assert found == {name.replace("gpu", "device"): value for name, value in EXPECTED.items()}
    assert nvml.num_asked == 2  # once for each GPU


def test_an_event_that_the_engine_does_not_know_is_refused(nvml):
    with pytest.raises(ValueError, match="no_event"):
        GpuInfo().attach(idle(), event_name="no_event")


@pytest.mark.parametrize(("key", "word"), [("mem", "memory"), ("util", "utilisation")])
def test_missing_values_are_warned_about_and_skipped(nvml, key, word):
    nvml.silent.add((1, key))
    engine = idle()
    GpuInfo().attach(engine)
    with pytest.warns(UserWarning, match=f"No GPU {word} information available for GPU 1"):
        engine.run([0])
    missing = f"gpu:1 {key}(%)"
    assert engine.state.metrics == {
        name: value for name, value in EXPECTED.items() if name != missing
    }


def test_outputs_are_ignored(nvml):
    metric = GpuInfo()
    before = metric.compute()
    metric.update((torch.ones(2), torch.ones(2)))
    metric.reset()
    assert metric.compute() == before


def test_it_is_pickled(nvml):
    pickled = pickle.dumps(GpuInfo())
    assert pickle.loads(pickled).compute() == [{"mem": 30, "util": 40}, {"mem": 99, "util": 41}]


def test_the_error_without_a_gpu(nvml, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="This contrib module requires available GPU"):
        GpuInfo()
    assert nvml.num_initialised == 0


def test_the_error_without_the_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # which Python takes for missing
    with pytest.raises(ModuleNotFoundError, match=r'pynvml.*pip install "reignition\[gpu\]"'):
        GpuInfo()
