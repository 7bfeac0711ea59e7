import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name):
    for package in ("transformers", "tokenizers", "sklearn"):
        pytest.importorskip(package)
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sentences_are_classified_better_than_by_chance():
    history = load("text_classification").main(epochs=10)
    assert max(history["valid_accuracy"]) > 0.45  # the most frequent class has 0.42
    assert history["loss"][-1] < 0.5


def test_a_language_model_learns_and_writes(capsys):
    history = load("language_model").main(epochs=2)
    assert history["perplexity"][-1] < history["perplexity"][0] < 60
    assert "The data set " in capsys.readouterr().out
