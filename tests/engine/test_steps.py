"""The step factories treat their arguments in the same way."""

import inspect
from collections import namedtuple

import pytest
import torch

from ignite.engine import (
    Engine,
    _prepare_batch,
    supervised_evaluation_step,
    supervised_evaluation_step_amp,
    supervised_training_step,
    supervised_training_step_amp,
    supervised_training_step_apex,
    supervised_training_step_tpu,
)
from support.linear_models import linear, make_batches

mse = torch.nn.functional.mse_loss
TRAINING = [supervised_training_step, supervised_training_step_amp]
EVALUATION = [supervised_evaluation_step, supervised_evaluation_step_amp]


def sgd(model, **options):
    return torch.optim.SGD(model.parameters(), lr=0.1, **options)


def test_a_batch_is_unpacked_and_moved():
    x, y = _prepare_batch((torch.ones(2), {"a": [torch.zeros(1)]}), device="meta")
    assert x.is_meta
    assert y["a"][0].is_meta
    x, y = torch.ones(2), torch.ones(3)
    assert _prepare_batch([x, y]) == (x, y)  # the very tensors
    with pytest.raises(ValueError, match="a tuple of 3 items"):
        _prepare_batch((x, y, x))


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({"x": 1, "y": 2}, r"a dict with the keys \['x', 'y'\]"),
        (torch.zeros(2, 3), r"a tensor of shape \(2, 3\)"),
        ("xy", "a str"),
        ([torch.zeros(2)], "a list of 1 items"),
        ((1, 2, 3), "a tuple of 3 items"),
        (3, "a int"),
        (None, "a NoneType"),
    ],
)
def test_what_is_no_pair_is_refused_with_the_name_of_prepare_batch(batch, words):
    with pytest.raises(
        (TypeError, ValueError),
        match=rf"pair \(x, y\), but given {words}: convert it in prepare_batch",
    ):
        _prepare_batch(batch)


def test_whatever_unpacks_into_two_is_a_pair():
    pair = namedtuple("Pair", "x y")(torch.zeros(1), torch.ones(1))
    for batch in (pair, iter(pair), [*pair], {pair.x: 0, pair.y: 1}.keys()):
        assert [item.tolist() for item in _prepare_batch(batch)] == [[0.0], [1.0]]


@pytest.mark.parametrize("make", TRAINING)
def test_a_training_step_calls_its_parts_in_order_and_hands_over_what_it_should(make):
    model, calls = linear(), []
    x, y = make_batches(1)[0]
    Sample = namedtuple("Sample", "features label")

    def prepare_batch(sample, device, non_blocking):
        calls.append(("prepare_batch", device, non_blocking))
        return sample.features, sample.label

    def model_fn(given, features):
        calls.append(("model_fn", given is model, features is x, model.training, model.weight.grad))
        return {"out": given(features)}

    def model_transform(output):
        calls.append(("model_transform", list(output)))
        return output["out"]

    def loss_fn(y_pred, target):
        calls.append(("loss_fn", y_pred.shape, target is y))
        return mse(y_pred, target)

    def output_transform(features, target, y_pred, loss):
        calls.append(
            ("output_transform", features is x, target is y, y_pred.shape, loss.requires_grad)
        )
        return "output"

    step = make(
        model,
        sgd(model),
        loss_fn,
        "cpu",
        True,
        prepare_batch,
        model_transform,
        output_transform,
        model_fn=model_fn,
    )
    model.weight.grad = torch.ones_like(model.weight)  # of somebody else: cleared
    model.eval()
    trainer = Engine(step)
    trainer.run([Sample(x, y)])
    assert calls == [
        ("prepare_batch", "cpu", True),
        ("model_fn", True, True, True, None),
        ("model_transform", ["out"]),
        ("loss_fn", (2, 2), True),
        ("output_transform", True, True, (2, 2), True),
    ]
    assert trainer.state.output == "output"


@pytest.mark.parametrize("make", TRAINING)
def test_the_default_output_of_training_is_the_loss_as_a_number(make):
    model = linear()
    expected = mse(model(make_batches(1)[0][0]), make_batches(1)[0][1]).item()
    trainer = Engine(make(model, sgd(model), mse))
    trainer.run([make_batches(1)[0]])
    assert trainer.state.output == expected
    assert isinstance(trainer.state.output, float)


@pytest.mark.parametrize("make", EVALUATION)
def test_an_evaluation_step_calls_its_parts_without_gradients_and_in_evaluation_mode(make):
    model, calls = torch.nn.Sequential(linear(), torch.nn.Dropout(0.5)), []
    x, y = make_batches(1)[0]

    def prepare_batch(sample, device, non_blocking):
        calls.append(("prepare_batch", device, non_blocking, torch.is_grad_enabled()))
        return sample

    def model_fn(given, features):
        calls.append(("model_fn", given is model, model.training, torch.is_grad_enabled()))
        return [given(features)]

    def output_transform(features, target, y_pred):
        return features is x, target is y, y_pred.requires_grad, torch.equal(y_pred, linear()(x))

    evaluator = Engine(
        make(
            model, "cpu", True, prepare_batch, lambda output: output[0], output_transform, model_fn
        )
    )
    evaluator.run([(x, y)])
    assert calls == [("prepare_batch", "cpu", True, False), ("model_fn", True, False, False)]
    assert evaluator.state.output == (True, True, False, True)
    assert not model.training  # it stays so
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("make", EVALUATION)
def test_the_default_output_of_evaluation_is_what_metrics_expect(make):
    x, y = make_batches(1)[0]
    evaluator = Engine(make(linear()))
    evaluator.run([(x, y)])
    y_pred, target = evaluator.state.output
    assert torch.equal(y_pred, linear()(x))
    assert target is y


def test_the_model_is_not_moved():
    model = torch.nn.Linear(3, 2, device="meta", dtype=torch.float64)
    Engine(supervised_evaluation_step(model, device="meta")).run([make_batches(1)[0]])
    assert model.weight.is_meta
    with pytest.raises(RuntimeError, match="device"):  # torch's own words
        Engine(supervised_evaluation_step(linear(), device="meta", output_transform=len)).run(
            [make_batches(1)[0]]
        )


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_traced_model_is_trained_and_evaluated():
    model, plain = torch.jit.trace(linear(), make_batches(1)[0][0]), linear()
    Engine(supervised_training_step(model, sgd(model), mse)).run([make_batches(1)[0]])
    Engine(supervised_training_step(plain, sgd(plain), mse)).run([make_batches(1)[0]])
    assert torch.equal(model.weight, plain.weight)
    evaluator = Engine(supervised_evaluation_step(model))
    evaluator.run([make_batches(1)[0]])
    assert torch.equal(evaluator.state.output[0], plain(make_batches(1)[0][0]))


@pytest.mark.parametrize("make", [*TRAINING, *EVALUATION])
@pytest.mark.parametrize("wrap", [lambda model: model, torch.nn.Sequential])
def test_a_compiled_model_is_called_and_the_model_stays_as_it_is(make, wrap):
    model, graphs, called = wrap(linear()), [], []
    keys = list(model.state_dict())

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    def model_fn(given, x):
        called.append(given)
        return given(x)

    arguments = (sgd(model), mse) if make in TRAINING else ()
    torch.compiler.reset()
    engine = Engine(make(model, *arguments, model_fn=model_fn, compile={"backend": backend}))
    engine.run([make_batches(1)[0]] * 3)
    assert graphs
    assert called[0] is not model
    assert list(model.state_dict()) == keys
    expected = wrap(linear())
    arguments = (sgd(expected), mse) if make in TRAINING else ()
    Engine(make(expected, *arguments)).run([make_batches(1)[0]] * 3)
    assert all(
        torch.allclose(p, q) for p, q in zip(model.parameters(), expected.parameters(), strict=True)
    )


def test_compile_without_arguments_compiles_with_torchs_defaults(monkeypatch):
    asked = []
    monkeypatch.setattr(
        torch, "compile", lambda model, **options: asked.append((model, options)) or model
    )
    model = linear()
    supervised_training_step(model, sgd(model), mse, compile=True)
    supervised_evaluation_step(model, compile=True)
    supervised_evaluation_step(model, compile={"mode": "max-autotune"})
    supervised_evaluation_step(model)
    assert asked == [(model, {}), (model, {}), (model, {"mode": "max-autotune"})]


COMMON = ["device", "non_blocking", "prepare_batch", "model_transform", "output_transform"]


@pytest.mark.parametrize(
    ("factory", "positional", "keyword_only"),
    [
        (
            supervised_training_step,
            ["model", "optimizer", "loss_fn", *COMMON, "gradient_accumulation_steps", "model_fn"],
            {"clip_grad_norm", "clip_grad_value", "compile"},
        ),
        (
            supervised_training_step_amp,
            [
                "model",
                "optimizer",
                "loss_fn",
                *COMMON,
                "scaler",
                "gradient_accumulation_steps",
                "model_fn",
            ],
            {"clip_grad_norm", "clip_grad_value", "amp_dtype", "compile"},
        ),
        (
            supervised_training_step_apex,
            ["model", "optimizer", "loss_fn", *COMMON, "gradient_accumulation_steps", "model_fn"],
            {"clip_grad_norm", "clip_grad_value", "compile"},
        ),
        (
            supervised_training_step_tpu,
            ["model", "optimizer", "loss_fn", *COMMON, "gradient_accumulation_steps", "model_fn"],
            {"clip_grad_norm", "clip_grad_value", "compile"},
        ),
        (supervised_evaluation_step, ["model", *COMMON, "model_fn"], {"compile"}),
        (supervised_evaluation_step_amp, ["model", *COMMON, "model_fn"], {"amp_dtype", "compile"}),
    ],
)
def test_what_is_not_in_ignites_signature_is_given_by_keyword(factory, positional, keyword_only):
    parameters = inspect.signature(factory).parameters.values()
    assert [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] == positional
    assert {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} == keyword_only
    assert len(positional) + len(keyword_only) == len(parameters)
