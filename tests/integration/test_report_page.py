"""The page about runs in a real browser, at two widths: its drawings, and scripts that must not run."""

import threading
from multiprocessing import get_context

import pytest

from ignite.report import LiveReport, read_runs, write_page
from support import harness, servers
from support.reported_runs import train, train_when_told

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

EVIL = "<script><img src=x onerror=alert(1)>&<b>"


def drawn(page):
    page.wait_for_function("Number(document.body.dataset.drawn) > 0", timeout=20_000)


def watched(page):
    """What goes wrong in a page: errors, dialogs, requests."""
    found = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("dialog", lambda dialog: (found.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda line: line.type == "error" and found.append(line.text))
    page.on(
        "request",
        lambda one: one.url.startswith(("file:", "data:", "blob:")) or found.append(one.url),
    )
    return found


def test_all_is_drawn_within_the_page_at_both_widths(tmp_path):
    servers.skip_without("plotly", "playwright", browser=True)
    evil = tmp_path / "runs" / EVIL
    train(tmp_path / "runs" / "plain", is_profiled=True)
    with pytest.raises(RuntimeError):
        train(evil, fails_at=20)
    train(evil, resume="latest")
    with (evil / "scalars.jsonl").open("a") as file:
        file.write(
            '{"time": 1, "step": 99, "scalars": {"training/<b>x</b><a href=\'javascript:alert(1)\'>": 1}}\n'
        )
    path = write_page(tmp_path / "page.html", read_runs([tmp_path / "runs"]))
    with servers.browsing() as page:
        problems = watched(page)
        for width in (400, 1400):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(path.as_uri())
            drawn(page)
            inside = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert inside, f"wider than {width} pixels"
            boxes = page.evaluate(
                "[...document.querySelectorAll('figure')].map(one => [one.querySelector('svg').getBoundingClientRect()"
                ".right, one.getBoundingClientRect().right])"
            )
            assert len(boxes) == 4
            assert all(inner <= outer for inner, outer in boxes)
            tables = page.evaluate(
                "[...document.querySelectorAll('.scroll')].map(one => one.getBoundingClientRect().right - innerWidth)"
            )
            assert max(tables) <= 0
        titles = page.locator("figcaption").all_inner_texts()
        assert titles[:2] == ["loss", "accuracy"]
        assert any("<b>x</b>" in title for title in titles)
        assert page.locator("img, figure a, #details b:not([title])").count() == 0
        for axis, title in (
            ("epoch", "epoch"),
            ("elapsed", "training time (s)"),
            ("clock", "time (UTC)"),
        ):
            page.click(f"button[data-axis={axis}]")
            assert page.locator("figure .xtitle").first.text_content() == title
        num_lines = page.locator("figure").first.locator(".js-line").count()
        page.locator("#overview input").first.uncheck()
        assert page.locator("figure").first.locator(".js-line").count() < num_lines
        back = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(back)
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(back) != light
    assert problems == []


def test_the_page_follows_a_run(tmp_path):
    servers.skip_without("plotly", "playwright", browser=True)
    context = get_context(harness.START_METHOD)
    ours, theirs = context.Pipe()
    process = context.Process(target=train_when_told, args=(tmp_path / "run", theirs))
    process.start()
    try:
        assert ours.recv() == 1
        with LiveReport([tmp_path]) as report, servers.browsing() as page:
            thread = threading.Thread(target=report.serve_forever, daemon=True)
            thread.start()
            page.goto(report.url)
            drawn(page)
            for epoch in (2, 3):
                ours.send("go on")
                assert ours.recv() == epoch
                seen = page.locator(f"#overview td:nth-child(4):text-is('{15 * epoch}')")
                seen.wait_for(timeout=20_000)
            process.kill()
            process.join()
            page.locator("#overview .killed").wait_for(timeout=20_000)
            report.shutdown()
            report.server_close()
            page.locator("#status.lost").wait_for(timeout=20_000)
    finally:
        process.kill()
        process.join()
