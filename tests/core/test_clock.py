from ignite._core import clock


def test_a_stopwatch_measures_the_time_without_pauses(monkeypatch):
    times = {"now": 10.0}
    monkeypatch.setattr(clock, "now", lambda: times["now"])
    watch = clock.Stopwatch()
    assert watch.elapsed() == 0.0
    watch.restart()
    times["now"] = 13.0
    assert watch.elapsed() == 3.0
    watch.pause()
    times["now"] = 20.0
    assert watch.elapsed() == 3.0
    watch.resume()
    times["now"] = 21.0
    assert watch.elapsed() == 4.0
    watch.restart()
    assert watch.elapsed() == 0.0


def test_the_clock_goes_forward():
    assert clock.now() <= clock.now()


def test_durations_are_rounded_to_milliseconds():
    assert clock.format_duration(0.9996) == "00:00:01.000"
    assert clock.format_duration(90061.25) == "25:01:01.250"


def test_a_throttle_is_due_once_in_each_interval(monkeypatch):
    time = [5.0]
    monkeypatch.setattr(clock, "now", lambda: time[0])
    throttle, found = clock.Throttle(10.0), []
    for time[0] in (5.0, 14.9, 15.0, 24.0, 40.0, 45.0):
        found.append(throttle.is_due())
    assert found == [True, False, True, False, True, False]
