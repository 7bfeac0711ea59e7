from ignite.engine import Events
from ignite.handlers._profilers.reports import basic_text, handlers_text

# The layout of both is recorded from pytorch-ignite 0.5.5 with other times.


def test_text_of_the_basic_results():
    stats = {"total": 0.5, "min/index": (0.1, 0), "max/index": (0.4, 1), "mean": 0.25, "std": 0.2}
    results = {
        "processing_stats": stats,
        "dataflow_stats": {"total": "not yet triggered"},
        "event_handlers_stats": {"STARTED": {"total": 0.125}, "total_time": 0.125},
        "event_handlers_names": {"STARTED_names": ["h"]},
    }
    assert basic_text(results, [Events.STARTED]).splitlines() == [
        "",
        " ----------------------------------------------------",
        "| Time profiling stats (in seconds):                 |",
        " ----------------------------------------------------",
        "total  |  min/index  |  max/index  |  mean  |  std",
        "",
        "Processing function:",
        "0.50000 | 0.10000/0 | 0.40000/1 | 0.25000 | 0.20000",
        "",
        "Dataflow:",
        "not yet triggered",
        "",
        "Event handlers:",
        "0.12500",
        "",
        "- Events.STARTED: ['h']",
        "0.12500",
    ]


def test_table_of_handlers():
    none = ("None", "None")
    rows = [
        [
            "build.<locals>.h1",
            "ITERATION_COMPLETED",
            0.02517,
            (0.00208, 9),
            (0.00212, 0),
            0.0021,
            1e-05,
        ],
        ["h", "EXCEPTION_RAISED", "not triggered", none, none, "None", "None"],
        ["Total", "", 0.03581, "", "", "", ""],
        ["Processing", "None", 0.00877, (0.00108, 7), (0.00112, 5), 0.0011, 1e-05],
        ["Dataflow", "None", 5e-05, (0.0, 7), (2e-05, 4), 1e-05, 0.0],
    ]
    rule = "-----------------  -----------------------" + 5 * "  --------------"
    assert handlers_text(rows).splitlines() == [
        "",
        rule,
        "Handler            Event Name                     Total(s)      Min(s)/IDX      Max(s)/IDX         Mean(s)"
        "          Std(s)",
        rule,
        "build.<locals>.h1  ITERATION_COMPLETED             0.02517       0.00208/9       0.00212/0          0.0021"
        "           1e-05",
        "h                  EXCEPTION_RAISED          not triggered       None/None       None/None            None"
        "            None",
        rule,
        "Total                                              0.03581",
        rule,
        "Processing took total 0.00877s [min/index: 0.00108s/7, max/index: 0.00112s/5, mean: 0.0011s, std: 1e-05s]",
        "Dataflow took total 5e-05s [min/index: 0.0s/7, max/index: 2e-05s/4, mean: 1e-05s, std: 0.0s]",
    ]
