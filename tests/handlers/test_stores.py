import pytest

from ignite.engine import Engine, Events
from ignite.handlers import EpochOutputStore


def test_each_epoch_has_its_own_list():
    engine, seen = Engine(lambda engine, batch: (engine.state.epoch, batch)), []
    store = EpochOutputStore(output_transform=lambda output: output[0] * 10 + output[1])
    store.attach(engine, "outputs")
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: seen.append(engine.state.outputs))
    engine.run([1, 2], max_epochs=2)
    assert seen == [[11, 12], [21, 22]]
    assert store.data is engine.state.outputs


def test_without_a_name_nothing_is_published():
    engine, store = Engine(lambda engine, batch: batch), EpochOutputStore()
    store.attach(engine)
    assert store.data == []
    engine.run([1, 2])
    assert store.data == [1, 2]
    with pytest.raises(AttributeError):
        _ = engine.state.outputs
