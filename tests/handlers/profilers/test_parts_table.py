from ignite.handlers._profilers.reports import parts_table
from ignite.handlers._profilers.timings import Part


def spend(part, ns, calls=1):
    part.total += ns
    part.calls += calls


def test_the_largest_comes_first_and_what_is_within_below_it():
    run = Part("run", "run", track=1)
    spend(run.child("data", "data"), 1_000_000, calls=4)
    validate = run.child("validate", "handlers", "EPOCH_COMPLETED")
    spend(validate, 600_000_000)
    nested = validate.child("evaluate", "run", track=2)
    validate.inner = 500_000_000
    spend(nested, 500_000_000)
    nested.inner = 400_000_000
    spend(nested.child("step", "step"), 400_000_000, calls=200)
    run.child("never called", "handlers", "STARTED")
    spend(run.child("quick", "handlers", "STARTED"), 500)
    lines = parts_table(run, whole=4_000_000_000).splitlines()
    assert lines == [
        "part                          seconds   share  calls         mean",
        "validate (EPOCH_COMPLETED)      0.600  15.0 %      1   600.000 ms",
        "  run of evaluate               0.500  12.5 %      1   500.000 ms",
        "    step                        0.400  10.0 %    200     2.000 ms",
        "    engine                      0.100   2.5 %",
        "  itself                        0.100   2.5 %",
        "data                            0.001   0.0 %      4   250.000 us",
        "quick (STARTED)                 0.000   0.0 %      1     0.500 us",
        "engine                          3.399  85.0 %",
        "whole                           4.000 100.0 %",
    ]


def test_means_of_seconds_and_long_names():
    run = Part("run", "run")
    spend(run.child("x" * 90, "handlers", "STARTED"), 3_000_000_000, calls=2)
    lines = parts_table(run, whole=3_000_000_000).splitlines()
    assert lines[1].startswith("x" * 57 + "...")
    assert lines[1].endswith("     2     1.500  s")


def test_a_run_that_has_not_begun_has_no_time():
    assert "whole       0.000   0.0 %" in parts_table(Part("run", "run"), whole=0)
