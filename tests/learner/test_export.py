import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import ignite
from ignite.learner._prediction import export_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def convolutions():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(3, 2),
    )  # fmt: skip


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 2), nn.Linear(3, 2)

    def forward(self, a, b):
        return self.left(a) * self.right(b)


class Named(Pair):
    def forward(self, a, b):
        return {"sum": self.left(a) + self.right(b), "left": self.left(a)}


CASES = {
    "layers": (
        lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)),
        lambda n: torch.randn(n, 4),
    ),
    "convolutions": (convolutions, lambda n: torch.randn(n, 1, 6, 5)),
    "tuple": (Pair, lambda n: (torch.randn(n, 4), torch.randn(n, 3))),
    "dictionary": (Named, lambda n: {"a": torch.randn(n, 4), "b": torch.randn(n, 3)}),
    "array": (
        lambda: nn.Linear(4, 2),
        lambda n: np.random.default_rng(n).normal(size=(n, 4)).astype("float32"),
    ),
}


def called(model, x):
    if isinstance(x, dict):
        return model(**x)
    return model(*x) if isinstance(x, tuple) else model(torch.as_tensor(x))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_the_file_gives_what_the_model_gives_for_any_number_of_samples(case, suffix, tmp_path):
    torch.manual_seed(0)
    make, data = CASES[case]
    model, path = make(), tmp_path / f"model{suffix}"
    modes, state = [part.training for part in model.modules()], torch.get_rng_state()
    export_model(model, path, data(3))
    assert [part.training for part in model.modules()] == modes
    if case != "array":
        torch.set_rng_state(state)
    model.eval()
    if suffix == ".pt2":
        program = torch.export.load(path).module()
    else:
        runtime = pytest.importorskip("onnxruntime")
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for n in (1, 2, 7, 64):
        x = data(n)
        expected = called(model, x)
        if suffix == ".pt2":
            found = called(program, x)
        else:
            values = x.values() if isinstance(x, dict) else x if isinstance(x, tuple) else [x]
            inputs = {
                one.name: np.asarray(value)
                for one, value in zip(session.get_inputs(), values, strict=True)
            }
            found = [torch.from_numpy(one) for one in session.run(None, inputs)]
            expected = list(expected.values()) if isinstance(expected, dict) else [expected]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_learner_exports_its_model_to_a_program_that_has_only_torch(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(64, 4)
    learner = ignite.Learner(
        nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 2)), "cross_entropy", ema=0.9
    )
    learner.fit((x, (x[:, 0] > 0).long()), epochs=2)
    weights, random = learner.model[0].weight.clone(), torch.get_rng_state()
    learner.export(tmp_path / "deep" / "model.pt2", x[:1])
    assert (learner.model[0].weight == weights).all()
    assert (torch.get_rng_state() == random).all()
    assert not (learner.predict(x) == learner.model(x)).all()  # the average is another model
    torch.save((x, learner.predict(x)), tmp_path / "expected.pt")
    code = (
        "import sys, torch; x, expected = torch.load('expected.pt')\n"
        "found = torch.export.load('deep/model.pt2').module()(x)\n"
        "torch.testing.assert_close(found, expected); assert 'ignite' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


class Deciding(nn.Module):
    def forward(self, x):
        return x + 1 if x.sum() > 0 else x - 1


def test_a_model_that_cannot_be_followed_leaves_what_was_there(tmp_path):
    path = tmp_path / "model.pt2"
    path.write_text("before")
    with pytest.raises(Exception, match="guard|control flow|data-dependent") as info:
        export_model(Deciding(), path, torch.ones(3, 2))
    assert any("control flow may depend neither on values" in note for note in info.value.__notes__)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_gives_something_else_is_not_kept(tmp_path, monkeypatch):
    path, model = tmp_path / "model.pt2", nn.Linear(4, 2)
    load = torch.export.load
    monkeypatch.setattr(torch.export, "load", lambda path: _Wrong(load(path)))
    with pytest.raises(RuntimeError, match="should have the same outputs as the model"):
        export_model(model, path, torch.ones(3, 4))
    assert list(tmp_path.iterdir()) == []


class _Wrong:
    def __init__(self, program):
        self.program = program

    def module(self):
        return lambda x: self.program.module()(x) + 1


def test_words_for_what_cannot_be(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"\.pt2 or \.onnx, but given 'model.pth'"):
        export_model(nn.Linear(4, 2), tmp_path / "model.pth", torch.ones(3, 4))
    with pytest.raises(TypeError, match="example should be a tensor"):
        export_model(nn.Linear(4, 2), tmp_path / "model.pt2", "text")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ModuleNotFoundError, match=r"reignition\[onnx\]"):
        export_model(nn.Linear(4, 2), tmp_path / "model.onnx", torch.ones(3, 4))
    assert list(tmp_path.iterdir()) == []


class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


def test_a_model_that_draws_random_numbers_is_refused_and_draws_none(tmp_path):
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="should have the same outputs as the model"):
        export_model(Noisy(), tmp_path / "model.pt2", torch.ones(3, 4))
    assert (torch.get_rng_state() == state).all()
