from tqdm import tqdm

from ignite._core import clock
from ignite.handlers._progress_display import PlainBar


def test_lines(monkeypatch, capsys):
    time = [0.0]
    monkeypatch.setattr(clock, "now", lambda: time[0])
    bar = PlainBar(tqdm.format_meter, total=None, initial=1)
    bar.set_description("Epoch")
    bar.refresh()
    bar.refresh()  # nothing new
    time[0], bar.n = 4.0, 3
    bar.set_postfix({"a": 0.12345, "s": "text", "n": 3})
    bar.close()
    bar.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Epoch: [1/?]   0% [00:00<?]"
    assert lines[1].startswith("Epoch: [3/?]   0%, a=0.123, s=text, n=3 [00:04<")
    assert len(lines) == 2
