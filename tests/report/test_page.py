"""The page as text; tests/integration/test_report_page.py opens it in a browser."""

import html
import io
import json
import math
import re
import urllib.error
import urllib.request
from multiprocessing import get_context
from threading import Thread

import pytest

from ignite.cli import main
from ignite.report import LiveReport, read_run, read_runs
from ignite.report.figures import Seen, charts, parts_of, results_of, thinned
from ignite.report.page import content
from ignite.report.timeline import Timeline
from support import harness
from support.reported_runs import train, train_when_told

pytest.importorskip("plotly", reason="plotly is not installed")

EVIL = "a & <img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def top(tmp_path_factory):
    top = tmp_path_factory.mktemp("runs")
    train(top / "plain", is_profiled=True)
    with pytest.raises(RuntimeError):
        train(top / EVIL, fails_at=20, lr=0.02)
    train(top / EVIL, lr=0.02, resume="latest")
    checkpoint = sorted((top / "plain" / "checkpoints").glob("checkpoint_*.pt"))[0]
    damaged = bytearray(checkpoint.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    checkpoint.write_bytes(damaged)
    return top


def words(page):
    """The text of a part of a page."""
    return html.unescape(re.sub(r"<[^>]+>", " ", page))


def test_the_page_is_one_file_that_loads_nothing(top, tmp_path):
    out = io.StringIO()
    output = tmp_path / "new" / "page.html"
    assert main(["report", str(top), "--output", str(output)], out) == 0
    assert out.getvalue() == f"{output} shows 2 runs\n"
    page = output.read_text(encoding="utf-8")
    own = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r'(src|href)="|url\(|@import', own)
    assert "default-src &#x27;none&#x27;; script-src &#x27;nonce-" in own
    assert "connect-src &#x27;none&#x27;" in own
    assert "<img" not in own
    assert html.escape(EVIL) in own
    (figures,) = re.findall(
        r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL
    )
    assert "<" not in figures
    assert [run["name"] for run in json.loads(figures)["runs"]] == [EVIL, "plain"]


def test_it_tells_what_the_folders_tell(top):
    found = content(read_runs([top]))
    overview, details = words(found["overview"]), words(found["details"])
    assert re.search(r"plain\s+finished\s+3\s+45", overview)
    assert "valid_accuracy" in overview
    assert "★" in overview
    for text in (
        "failed  RuntimeError: out of <b>memory</b>",
        "resumed  15",
        "verified",
        "≠  lr  0.02  0.05",
    ):
        assert " ".join(text.split()) in " ".join(details.split())
    assert re.search(r"damaged\s+the checksum of entry", details)
    assert re.search(r"handlers/validate\s+-\s+[\d.e-]+ s", details)
    assert "git_commit" in details
    assert "training.hash" in details
    assert "All the same." in details


def test_curves_are_grouped_by_metric_with_all_axes(top):
    found = content(read_runs([top]))["figures"]
    assert [chart["title"] for chart in found["charts"]] == ["loss", "accuracy", "learning rate"]
    loss = [one for one in found["charts"][0]["traces"] if one["run"] == 1]
    assert [(one["phase"], one["is_mean"], one["is_faint"]) for one in loss] == [
        ("training", False, True), ("validation", False, False), ("training", True, False),
    ]  # fmt: skip
    assert (loss[0]["step"], loss[0]["epoch"]) == ([10, 20, 30, 40], [0.6667, 1.3333, 2.0, 2.6667])
    assert loss[2]["epoch"] == [1.0, 2.0, 3.0]
    assert all(
        0 < one <= two for one, two in zip(loss[0]["elapsed"], loss[0]["elapsed"][1:], strict=False)
    )
    marks = found["sessions"][0]["marks"]
    assert [(mark["kind"], mark["step"]) for mark in marks] == [("failed", 20), ("resumed", 15)]
    assert "<b>" in marks[0]["text"]  # as data; the script shows it as text


def test_best_values_and_times(top):
    run = read_run(top / "plain")
    rows = [event["row"] for event in run.epochs]
    best = results_of(run)["valid_accuracy"]
    assert best["best"] == max(row["valid_accuracy"] for row in rows)
    assert results_of(run)["loss"]["best"] == min(row["loss"] for row in rows)
    parts = parts_of(run)
    assert {"step", "data", "engine", "handlers/validate"} <= set(parts)
    whole = sum(run.curves["training/time/whole"].values)
    assert sum(parts.values()) == pytest.approx(whole, rel=1e-6)


def test_a_single_run_and_an_empty_one_have_a_page(top, tmp_path):
    (tmp_path / "run.json").write_text('{"format": 1, "config": {}, "sessions": []}')
    found = content([read_run(tmp_path)])
    assert "end not recorded" in found["overview"]
    assert found["figures"]["charts"] == []
    assert "accuracy" in content([read_run(top / "plain")])["details"]


def test_thinning_keeps_the_ends_and_all_spikes():
    values = [math.sin(i / 50) for i in range(100_000)]
    values[12_345], values[54_321], values[70_000] = 9.0, -9.0, math.nan
    kept = thinned(values, 400)
    assert len(kept) <= 803
    assert {0, 12_345, 54_321, 70_000, 99_999} <= set(kept)
    assert kept == sorted(set(kept))
    assert thinned([1.0] * 800, 400) == list(range(800))


def test_gaps_and_unknown_directions():
    run = read_run.__globals__["Run"]("r", None, curves={}, directions={"x": None}, events=[
        {"event": "epoch", "epoch": 1, "step": 5, "time": 1.0, "row": {"epoch": 1, "x": "NaN", "loss": "NaN"}},
        {"event": "epoch", "epoch": 2, "step": 10, "time": 2.0, "row": {"epoch": 2, "x": 3.0, "loss": 0.5}},
    ])  # fmt: skip
    assert results_of(run)["x"] == {"last": 3.0, "is_higher": None}
    assert results_of(run)["loss"]["best"] == 0.5
    found = charts([Seen(run, Timeline(run, 0.0))])
    assert found[0]["traces"][0]["value"] == [None, 0.5]


def test_what_is_no_run_is_named(tmp_path):
    out = io.StringIO()
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "x.html")], out) == 1
    assert out.getvalue() == f"{tmp_path} is no run\n"
    assert not (tmp_path / "x.html").exists()
    (tmp_path / "run.json").write_text("{")
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "x.html")], out) == 2
    with pytest.raises(
        ValueError, match="paths should contain the folder of a run, but given none"
    ):
        LiveReport([tmp_path / "none"])


class Served:
    """A server in a thread, and what it answers."""

    def __init__(self, report):
        self.report = report

    def get(self, path, **headers):
        request = urllib.request.Request(self.report.url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()

    def news(self, version=""):
        status, text = self.get(f"content?version={version}")
        return json.loads(text) if status == 200 else None


@pytest.fixture
def serve():
    reports = []

    def start(path):
        report = LiveReport([path])
        thread = Thread(target=report.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        reports.append((report, thread))
        return Served(report)

    yield start
    for report, thread in reports:
        report.shutdown()
        report.server_close()
        thread.join()


def test_a_run_that_continues_is_followed_until_it_is_killed(tmp_path, serve):
    context = get_context(harness.START_METHOD)
    ours, theirs = context.Pipe()
    process = context.Process(target=train_when_told, args=(tmp_path / "run", theirs))
    process.start()
    try:
        assert ours.recv() == 1
        served = serve(tmp_path)
        first = served.news()
        assert re.search(r"run\s+running\s+1\s+15", words(first["overview"]))
        assert served.news(first["version"]) is None
        ours.send("go on")
        assert ours.recv() == 2
        second = served.news(first["version"])
        assert re.search(r"run\s+running\s+2\s+30", words(second["overview"]))
        loss = second["figures"]["charts"][0]["traces"][0]
        assert loss["step"] == [10, 20, 30]
    finally:
        process.kill()
        process.join()
    third = served.news(second["version"])  # no file has changed
    assert re.search(r"run\s+killed\s+2\s+30", words(third["overview"]))


def test_only_this_machine_is_served_and_nothing_but_the_page(top, serve):
    served = serve(top)
    assert served.report.server_address[0] == "127.0.0.1"
    status, page = served.get("")
    assert status == 200
    assert "connect-src &#x27;self&#x27;" in page
    for path, headers, expected in [
        ("", {"Host": "evil.example"}, 403),
        ("content", {"Host": f"evil.example:{served.report.server_port}"}, 403),
        ("run.json", {}, 404),
        ("../../etc/passwd", {}, 404),
        ("plain/run.json", {}, 404),
    ]:
        with pytest.raises(urllib.error.HTTPError) as error:
            served.get(path, **headers)
        assert error.value.code == expected
        error.value.close()
