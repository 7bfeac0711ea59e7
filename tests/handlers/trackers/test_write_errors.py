import logging

from ignite._core import clock
from ignite.handlers.trackers import _WriteErrors


def test_one_warning_a_minute_and_one_at_the_end(monkeypatch, caplog):
    time = [0.0]
    monkeypatch.setattr(clock, "now", lambda: time[0])
    errors = _WriteErrors("ignite.test")
    with caplog.at_level(logging.WARNING):
        errors.report()
        for time[0] in (0.0, 59.0, 60.0, 61.0):
            errors.add(OSError("disk full"))
        errors.report()
    assert [record.getMessage() for record in caplog.records] == [
        "Cannot write logged values, training continues: OSError: disk full",
        "Cannot write logged values, training continues: OSError: disk full",
        "4 entries could not be logged",
    ]
