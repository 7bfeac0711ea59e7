"""Malicious files: no code in them is executed, and they use no more memory than their size."""

import os
import pickle
from collections import Counter

import pytest
import torch

from support import malice
from support.runs import Seen, row, rows_of


def write_all(folder, files):
    paths = []
    for name, content in files:
        path = folder / f"{name}.pt"
        path.write_bytes(content)
        paths.append(path)
    return paths


def originals(folder):
    return write_all(
        folder, ((f"original_{i}", content) for i, content in enumerate(malice.originals()))
    )


def summary(paths, outcomes, good):
    wrong = [
        f"{path.stem}: {outcome}"
        for path, outcome in zip(paths, outcomes, strict=True)
        if outcome not in good
    ]
    counts = ", ".join(
        f"{number} {outcome}" for outcome, number in Counter(outcomes).items() if outcome in good
    )
    return Seen(len(paths) - len(wrong), len(paths), "; ".join(wrong) or counts)


@row(
    55, "malicious files: refused, nothing executed, memory 2 x file + 64 MB, 2 s", small=1, full=1
)
def malicious_files(count, folder):
    victim = folder / "victim"
    paths = write_all(folder, malice.corpus(victim))
    assert len(paths) >= 30
    outcomes = malice.examine(paths, warm_up=originals(folder))
    assert not victim.exists()
    return summary(paths, outcomes, ("refused",))


@row(
    55,
    "files changed at random: refused or harmless, nothing executed, no crash",
    small=300,
    full=10_000,
)
def mutated_files(count, folder):
    paths = write_all(folder, malice.mutants(count))
    return summary(paths, malice.examine(paths, warm_up=originals(folder)), ("refused", "loaded"))


@pytest.mark.parametrize("each", rows_of(__name__), ids=str)
def test_the_row_holds(each, tmp_path):
    each.check(tmp_path, each.full if os.environ.get("REIGNITION_FAULTS") == "full" else None)


def test_the_originals_are_loaded(tmp_path):
    paths = originals(tmp_path)
    assert malice.examine(paths, warm_up=paths) == ["loaded"] * len(paths)


def test_files_find_a_reader_that_executes_them(tmp_path):
    victim = tmp_path / "victim"
    paths = write_all(
        tmp_path, [(name, pickle.dumps(state)) for name, state in malice.executing(victim)]
    )

    def read(path):
        return pickle.loads(path.read_bytes())

    outcomes = malice.examine(paths, read)
    assert sum(outcome.startswith("executed") for outcome in outcomes) >= 6
    assert victim.exists()


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants:UserWarning")  # torch 2.14
def test_malicious_files_are_loaded_by_a_reader_without_checks(tmp_path):
    names = ("tuples_in_tuples_as_key", "bytearray_of_a_size", "codec_that_is_imported")
    paths = write_all(
        tmp_path,
        ((name, malice.zipped(data)) for name, data in malice.of_pickles() if name in names),
    )
    outcomes = malice.examine(
        paths, lambda path: torch.load(path, weights_only=True), warm_up=originals(tmp_path)
    )
    by_name = dict(zip((path.stem for path in paths), outcomes, strict=True))
    assert by_name["tuples_in_tuples_as_key"].startswith("died"), "the stack overflows"
    assert by_name["bytearray_of_a_size"].startswith("MemoryError")
    assert by_name["codec_that_is_imported"].startswith("executed: import('encodings.bz2_codec'")
